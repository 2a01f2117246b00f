package servers

import (
	"context"
	"errors"
	"net"
	"testing"

	"example.com/gatehouse/internal/testkit/process"
)

// portTries is how often a server is started again because its port was taken.
// After a free port is chosen, somebody else may get it before the server does.
const portTries = 3

// startOnPort starts a server that cannot choose a port itself, at one that was
// free just now.
func startOnPort(ctx context.Context, start func(ctx context.Context, port string) (*process.Process, error)) (string, *process.Process, error) {
	var failures error
	for range portTries {
		port, err := process.FreePort()
		if err != nil {
			return "", nil, err
		}
		proc, err := start(ctx, port)
		if err == nil {
			return port, proc, nil
		}
		failures = errors.Join(failures, err)
		if !taken(port) {
			break
		}
	}
	return "", nil, failures
}

// taken reports whether somebody listens at a port.
func taken(port string) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return true
	}
	_ = l.Close() // nobody has connected
	return false
}

// stopAfter stops a server when the test ends, and shows the end of its log if the
// test has failed.
func stopAfter(t testing.TB, name string, proc *process.Process) {
	t.Helper()
	t.Cleanup(func() {
		proc.Stop()
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", name, proc.Log(process.LogShown))
		}
	})
}
