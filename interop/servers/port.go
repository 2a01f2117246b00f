package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/ports"
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
		port, err := ports.Free()
		if err != nil {
			return "", nil, err
		}
		proc, err := start(ctx, port)
		if err == nil {
			if err = untilOpen(ctx, port, proc); err == nil {
				return port, proc, nil
			}
		}
		failures = errors.Join(failures, err)
		if !taken(port) {
			break
		}
	}
	return "", nil, failures
}

// untilOpen waits until a server takes connections at its port, and ends it if it
// does not. Glewlwyd, for one, says that it has started before it listens.
func untilOpen(ctx context.Context, port string, proc *process.Process) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-proc.Done():
			return fmt.Errorf("it ended before it took connections: %w\n%s", err, proc.Log(process.LogShown))
		case <-ctx.Done():
			proc.Stop()
			return fmt.Errorf("it takes no connections: %w", errors.Join(context.Cause(ctx), err))
		}
	}
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
