//go:build unix

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a server may take to end by itself after it was asked,
	// should it hang. Keycloak needs 2 to 3 s on an idle machine.
	stopGrace = time.Minute
	// LogKept is how much of a server's log is kept in memory. Keycloak writes
	// some 200 bytes for each refusal.
	LogKept = 1 << 20
	// LogShown is how much of it a failure shows.
	LogShown = 4000
)

// A Process is a program that this one started. It leads its own process group.
type Process struct {
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{} // closed when it has ended
	err  error         // how it ended; valid after done

	// End is the signal that asks it to end. Start sets SIGTERM.
	End syscall.Signal
}

// Start starts cmd and waits until ready accepts a line of its output. If
// the process or ctx ends first, the error has the end of the log, and nothing
// is left running.
func Start(ctx context.Context, name string, cmd *exec.Cmd, ready func(line []byte) bool) (*Process, error) {
	p, err := launch(name, cmd, ready)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.log.ready:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it was ready: %w\n%s", name, p.exit(), p.log.tail(LogShown))
	case <-ctx.Done():
		p.Stop()
		return nil, fmt.Errorf("%s was not ready in time: %w\n%s", name, context.Cause(ctx), p.log.tail(LogShown))
	}
}

// Run runs cmd to its end, or ends it with ctx. The error has the end of
// its output.
func Run(ctx context.Context, name string, cmd *exec.Cmd) error {
	p, err := launch(name, cmd, nil)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Stop()
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", name, p.err, p.log.tail(LogShown))
	}
	return nil
}

func launch(name string, cmd *exec.Cmd, ready func(line []byte) bool) (*Process, error) {
	p := &Process{cmd: cmd, log: newLogBuffer(LogKept, ready), done: make(chan struct{}), End: syscall.SIGTERM}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = processAttributes(cmd.SysProcAttr)
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// exit returns how a process ended.
func (p *Process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// run starts the process and waits for its end. The thread stays locked until
// then, because Linux sends the parent death signal when the thread that forked
// ends.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// Stop ends the process and the group that it leads, and returns when it has
// ended. Calling it again does nothing.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	p.Signal(p.End)
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Log returns the last n bytes of the output, from the beginning of a line.
func (p *Process) Log(n int) string { return string(p.log.tail(n)) }

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig to the process group.
func (p *Process) Signal(sig syscall.Signal) {
	// An error means that the group has ended meanwhile, which is what we want.
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
}

// A logBuffer keeps the end of a process's output. If there is an accept
// function, it closes ready at the first line that accept accepts. It is safe
// for concurrent use.
type logBuffer struct {
	ready chan struct{}

	mu     sync.Mutex
	max    int
	kept   []byte
	line   []byte                 // the line that is not complete yet
	accept func(line []byte) bool // nil if nobody asks, or no longer
}

func newLogBuffer(max int, accept func(line []byte) bool) *logBuffer {
	return &logBuffer{ready: make(chan struct{}), max: max, accept: accept}
}

// Write implements io.Writer. It never fails.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, p...)
	if len(b.kept) > 2*b.max { // cut from time to time, not at every write
		b.kept = append([]byte(nil), tail(b.kept, b.max)...)
	}
	for _, c := range p {
		if b.accept == nil {
			break
		}
		if c != '\n' {
			b.line = append(b.line, c)
			continue
		}
		if b.accept(b.line) {
			b.accept, b.line = nil, nil
			close(b.ready)
			break
		}
		b.line = b.line[:0]
	}
	return len(p), nil
}

func (b *logBuffer) tail(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]byte(nil), tail(b.kept, n)...)
}

// tail returns the last n bytes of a log, cut at a line.
func tail(log []byte, n int) []byte {
	if len(log) <= n {
		return log
	}
	log = log[len(log)-n:]
	if i := bytes.IndexByte(log, '\n'); i >= 0 {
		log = log[i+1:]
	}
	return log
}
