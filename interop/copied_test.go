package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/process"
)

// A copied is one of the programs of example/ that people copy, as a process of
// its own with the race detector.
type copied struct {
	base string // where browsers reach it
	name string
	path string
	args []string
	env  []string
	proc *process.Process
}

// buildCopied builds a program.
func buildCopied(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-C", "..", "-race", "-o", path, "./example/"+name).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// start starts it and waits until it listens. It ends with the test.
func (c *copied) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), exampleTime, fmt.Errorf("%v have passed", exampleTime))
	defer cancel()
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	proc, err := process.Start(ctx, c.name, cmd, func(line []byte) bool { return bytes.Equal(line, []byte("site: "+c.base)) })
	if err != nil {
		t.Fatal(err)
	}
	c.proc = proc
	t.Cleanup(func() {
		proc.Stop()
		if log := proc.Log(process.LogKept); strings.Contains(log, "DATA RACE") || t.Failed() {
			t.Errorf("%s said:\n%s", c.name, log)
		}
	})
}

// restart ends it and starts it again.
func (c *copied) restart(t *testing.T) {
	t.Helper()
	c.proc.Stop()
	c.start(t)
}

// said returns what follows a text in a line that the program wrote since its
// start, or "".
func (c *copied) said(text string) string {
	for line := range strings.Lines(c.proc.Log(process.LogKept)) {
		if rest, ok := strings.CutPrefix(line, text); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
