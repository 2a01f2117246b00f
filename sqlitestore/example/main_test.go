//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/replicastest"
)

func TestMain(m *testing.M) { replicastest.Main(m, main) }

func TestReplicas(t *testing.T) { replicastest.TestReplicas(t) }

// Sign-ins outlive every replica and the command.
func TestSignInsStay(t *testing.T) {
	replicastest.TestSignInsStay(t, filepath.Join(t.TempDir(), "100% of?them.db"), nil)
}

func TestMissing(t *testing.T) {
	said := replicastest.Refused(t, nil, "-addr", filepath.Join(t.TempDir(), "nowhere", "photos.db"))
	if !strings.Contains(said, "SQLite cannot be made ready") {
		t.Errorf("it says %q", said)
	}
}
