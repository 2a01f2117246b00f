package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var docs = filepath.Join("..", "..", "docs")

// The diagrams are those that the traces give.
func TestDiagramsAreDrawn(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(docs, "traces"), dir); err != nil {
		t.Fatal(err)
	}
	drawn, kept := images(t, dir), images(t, filepath.Join(docs, "img"))
	if !slices.Equal(drawn, kept) {
		t.Errorf("the traces give %q, docs/img has %q", drawn, kept)
	}
	for _, name := range drawn {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(docs, "img", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/img/%s is not what its trace tells: go run ./example/sequence", name)
		}
	}
}

func images(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "uma-*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i] = filepath.Base(name)
	}
	return names
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, dir); err == nil {
		t.Error("no traces: no error")
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(`{"titel":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, dir); err == nil || !strings.Contains(err.Error(), "x.json") {
		t.Errorf("text that is not a trace: error %v", err)
	}
}
