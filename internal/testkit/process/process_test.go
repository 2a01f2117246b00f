//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func sh(script string) *exec.Cmd {
	return exec.Command("sh", "-c", script)
}

func lineIs(want string) func([]byte) bool {
	return func(line []byte) bool { return string(line) == want }
}

func TestStart(t *testing.T) {
	soon, cancel := context.WithCancel(t.Context())
	for _, test := range []struct {
		name, script string
		wantErr      string
	}{
		{"ready", "echo one; echo ready; exec cat", ""},
		{"ready on standard error", "echo ready >&2; exec cat", ""},
		{"ends before", "echo no disk; exit 3", "ended before it was ready: exit status 3\nno disk"},
		{"ends well before", "echo done", "ended before it was ready: exit status 0\ndone"},
		{"line without end", "printf ready", "ended before it was ready"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := sh(test.script)
			stdin, err := cmd.StdinPipe() // cat reads it for as long as we live
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			p, err := Start(soon, "thing", cmd, lineIs("ready"))
			if p != nil {
				p.Stop()
			}
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
	cancel()
	if _, err := Start(soon, "thing", sh("echo waiting; exec sleep 600"), lineIs("ready")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	if _, err := Start(t.Context(), "thing", exec.Command("/nonexistent"), lineIs("ready")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

func TestRun(t *testing.T) {
	if err := Run(t.Context(), "thing", sh("echo fine")); err != nil {
		t.Error(err)
	}
	if err := Run(t.Context(), "thing", sh("echo bad >&2; exit 4")); err == nil || err.Error() != "thing: exit status 4\nbad\n" {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, "thing", sh("exec sleep 600")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// Stop ends what the process has started too. Its child keeps the output open,
// so done is closed only when the child has ended as well.
func TestStopEndsTheGroup(t *testing.T) {
	p, err := Start(t.Context(), "thing", sh("sleep 600 & echo ready; wait"), lineIs("ready"))
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Stop()
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", p.err)
	}
}

func TestLogBuffer(t *testing.T) {
	var lines []string
	log := newLogBuffer(20, func(line []byte) bool {
		lines = append(lines, string(line))
		return string(line) == "go"
	})
	for _, part := range []string{"st", "ea", "dy\n", "\ng", "o\nno longer asked\n"} {
		log.Write([]byte(part))
	}
	if got := strings.Join(lines, "|"); got != "steady||go" {
		t.Errorf("lines %q", got)
	}
	select {
	case <-log.ready:
	default:
		t.Error("not ready")
	}
	for range 100 {
		log.Write([]byte("123456\n"))
	}
	if got := string(log.tail(1000)); len(got) > 40 || !strings.HasSuffix(got, "123456\n") {
		t.Errorf("kept %q", got)
	}
	if got := string(log.tail(10)); got != "123456\n" {
		t.Errorf("tail %q, want whole lines", got)
	}
}
