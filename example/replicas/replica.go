//go:build unix

package replicas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// state is what a replica is doing.
type state string

const (
	starting state = "starting"
	running  state = "running"
	ending   state = "ending"
	ended    state = "ended"
)

const (
	// startTime bounds the start of a replica, which takes a fraction of a
	// second on an idle machine.
	startTime = 30 * time.Second
	// endTime is how long a replica may take to end. It gives itself drainTime.
	endTime = drainTime + time.Second
	// idleTime is how long the front lets requests end by themselves before the
	// replica is asked to end. A stream or a WebSocket may last longer.
	idleTime = time.Second
	// logShown is how much of what a replica said is shown when it ends by itself.
	logShown = 4000
)

// replica is one process of the photo site, as the front sees it. It is safe
// for concurrent use.
type replica struct {
	number   int
	settings settings
	errs     io.Writer

	turn sync.Mutex // held while it is started or ended

	mu      sync.Mutex
	over    bool               // it is not started again
	giveUp  context.CancelFunc // of the start under way, or nil
	state   state
	at      string           // host and port
	process *process.Process // nil unless it is running or ending
	watched chan struct{}    // closed when what belongs to the process has ended
	busy    int              // requests that the front has passed on and that are not answered
	idle    chan struct{}    // closed when busy gets zero; nil if nobody waits for that
}

func (r *replica) now() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == "" {
		return ended
	}
	return r.state
}

// acquire takes a place in the replica for a request, if it is running.
func (r *replica) acquire() (at string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != running {
		return "", false
	}
	r.busy++
	return r.at, true
}

// release gives the place back.
func (r *replica) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	if r.busy == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

var errOver = errors.New("the example is ending")

// start starts the process. A replica that is running stays as it is.
func (r *replica) start(ctx context.Context) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	r.mu.Lock()
	switch {
	case r.over:
		r.mu.Unlock()
		return errOver
	case r.state == running:
		r.mu.Unlock()
		return nil
	}
	r.state, r.giveUp = starting, cancel
	r.mu.Unlock()
	err := r.launch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveUp = nil
	if err != nil {
		r.state = ended
	}
	return err
}

// retire ends the replica for good.
func (r *replica) retire() {
	r.mu.Lock()
	r.over = true
	if r.giveUp != nil {
		r.giveUp()
	}
	r.mu.Unlock()
	r.end()
}

// launch starts this program again as a replica. The settings have secrets, so
// they go to its standard input. That ends with this process, and the replica
// with it.
func (r *replica) launch(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, replicaFlag, strconv.Itoa(r.number))
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	told, err := json.Marshal(r.settings)
	if err != nil {
		return err
	}
	said, log, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	cmd.ExtraFiles = []*os.File{log} // its number is logFile
	var logging sync.WaitGroup
	logging.Go(func() {
		defer said.Close()
		_, _ = io.Copy(r.errs, said) // until the replica has ended
	})
	sent := make(chan error, 1)
	go func() { // the pipe may be smaller than the settings
		_, err := in.Write(append(told, '\n'))
		sent <- err
	}()
	at := ""
	p, err := process.Start(ctx, fmt.Sprintf("replica %d", r.number), cmd, func(line []byte) bool {
		address, ok := bytes.CutPrefix(line, []byte(readyLine))
		at = string(address)
		return ok
	})
	err = errors.Join(err, log.Close())
	if p == nil {
		err = errors.Join(err, in.Close())
		<-sent
		logging.Wait()
		return err
	}
	<-sent // the replica has read them, or it would not be ready
	watched := make(chan struct{})
	r.mu.Lock()
	r.state, r.at, r.process, r.watched = running, at, p, watched
	r.mu.Unlock()
	go func() {
		defer close(watched)
		<-p.Done()
		logging.Wait()
		r.gone(p)
	}()
	return nil
}

// gone notes that a process has ended. If nobody wanted that, it says so.
func (r *replica) gone(p *process.Process) {
	r.mu.Lock()
	surprise := r.state == running
	r.state, r.process = ended, nil
	r.mu.Unlock()
	if surprise {
		fmt.Fprintf(r.errs, "replica %d has ended by itself\n%s", r.number, p.Log(logShown))
	}
}

// end takes the replica out of the rotation, waits a little for the requests
// that it has, and asks it to end. It returns when it has ended.
func (r *replica) end() {
	r.turn.Lock()
	defer r.turn.Unlock()
	r.mu.Lock()
	if r.state != running {
		r.mu.Unlock()
		return
	}
	p, watched := r.process, r.watched
	r.state = ending
	idle := make(chan struct{})
	if r.busy == 0 {
		close(idle)
	} else {
		r.idle = idle
	}
	r.mu.Unlock()
	await(idle, idleTime)
	p.Signal(syscall.SIGTERM)
	if !await(p.Done(), endTime) {
		p.Signal(syscall.SIGKILL)
	}
	<-watched
}

// await waits until done is closed, for some time at most.
func await(done <-chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
