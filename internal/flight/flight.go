// Package flight lets many callers wait for one run of a function.
package flight

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"
)

// PanicError means that the function of a run panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error states only the fact, because the value may hold anything.
func (e *PanicError) Error() string { return "flight: the function panicked" }

var errExit = errors.New("flight: the function ended its goroutine")

// Group runs one function per key at a time for many waiters.
//
// A run's context carries no caller's values and ends after the run's own
// timeout, so a caller that leaves does not end it. Its result, error or not,
// goes to those who waited for this run and is then dropped. What others must
// not wait for, such as a log line, a run leaves to [After]. The zero value is
// ready to use; a Group must not be copied after first use. All methods are
// safe for concurrent use.
type Group[K comparable, V any] struct {
	mu   sync.Mutex
	runs map[K]*run[V] // guarded by mu
	busy int           // guarded by mu; goroutines of runs
	idle chan struct{} // guarded by mu; closed when the last goroutine ends; nil without
}

type run[V any] struct {
	done chan struct{} // closed after v and err are set
	over chan struct{} // closed when what the run left to After is done too
	v    V
	err  error
}

// Do returns the result of the run for key. If none is under way, it starts one
// with fn and timeout. It returns the error of ctx as soon as ctx ends; the run
// goes on.
//
// A caller that started the run also waits for what it left to [After], but no
// longer than ctx. So it finds its own log lines written. If ctx is itself that of
// a run, others wait for that one, so it leaves the waiting to After.
func (g *Group[K, V]) Do(ctx context.Context, key K, timeout time.Duration, fn func(context.Context) (V, error)) (V, error) {
	var zero V
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	r, mine := g.join(key, timeout, fn)
	select {
	case <-r.done:
		if mine {
			After(ctx, r.awaitTail)
		}
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case <-r.done: // a result that is ready is better than an error
		return r.v, r.err
	default:
		return zero, ctx.Err()
	}
}

// awaitTail returns when what the run left to [After] is done, or when ctx ends.
func (r *run[V]) awaitTail(ctx context.Context) {
	select {
	case <-r.over:
	case <-ctx.Done():
	}
}

// Start starts a run for key if none is under way, and does not wait for it.
func (g *Group[K, V]) Start(key K, timeout time.Duration, fn func(context.Context) (V, error)) {
	g.join(key, timeout, fn)
}

// Wait returns when no run is left and all that they left to [After] is done,
// or with the error of ctx if that ends first. It also waits for runs that
// start meanwhile, if they overlap the others.
func (g *Group[K, V]) Wait(ctx context.Context) error {
	g.mu.Lock()
	idle := g.idle
	g.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Group[K, V]) join(key K, timeout time.Duration, fn func(context.Context) (V, error)) (r *run[V], started bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.runs[key]; r != nil {
		return r, false
	}
	if g.runs == nil {
		g.runs = make(map[K]*run[V])
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	r = &run[V]{done: make(chan struct{}), over: make(chan struct{}), err: errExit}
	g.runs[key] = r
	g.busy++
	go g.fly(key, r, timeout, fn)
	return r, true
}

// fly is the goroutine of a run; Wait owns it.
func (g *Group[K, V]) fly(key K, r *run[V], timeout time.Duration, fn func(context.Context) (V, error)) {
	defer g.leave(r)
	grow(0)
	t, full := &tail{}, false
	defer func() {
		for _, call := range t.end() {
			if !full {
				call(timeout)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), tailKey{}, t), timeout)
	defer func() {
		if p := recover(); p != nil {
			r.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		cancel()
		g.mu.Lock()
		delete(g.runs, key)
		full = g.busy-len(g.runs) > maxTails
		g.mu.Unlock()
		close(r.done)
	}()
	r.v, r.err = fn(ctx)
}

// grow makes the stack of a new goroutine large at once. Most runs make a call
// over HTTP, for which it would grow twice and be copied when it is deep; that is a
// twentieth of what such a run costs.
//
//go:noinline
func grow(at int) byte {
	var room [8 << 10]byte
	return room[at] // at is not known here, so there has to be room
}

// leave ends the goroutine of a run.
func (g *Group[K, V]) leave(r *run[V]) {
	g.mu.Lock()
	if g.busy--; g.busy == 0 {
		close(g.idle)
		g.idle = nil
	}
	g.mu.Unlock()
	close(r.over)
}
