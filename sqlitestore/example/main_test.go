//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/replicastest"
)

func TestMain(m *testing.M) { replicastest.Main(m, main) }

func TestReplicas(t *testing.T) { replicastest.TestReplicas(t) }

// Sign-ins outlive every replica and the command.
func TestSignInsStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "100% of?them.db")
	replicastest.TestSignInsStay(t, file, nil)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the file has the mode %o, and holds secrets", mode)
	}
}

func TestMissing(t *testing.T) {
	said := replicastest.Refused(t, nil, "-addr", filepath.Join(t.TempDir(), "nowhere", "photos.db"))
	if !strings.Contains(said, "SQLite cannot be opened: open ") {
		t.Errorf("it says %q", said)
	}
}
