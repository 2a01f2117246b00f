package flight

import (
	"context"
	"sync"
	"time"
)

// maxTails bounds the runs of a Group whose functions of [After] have not
// returned. Those of further runs are dropped, so that one that hangs for ever
// cannot fill the memory.
const maxTails = 1000

// After calls fn when the run that ctx belongs to has given its result to all
// who wait for it and another run for its key can start. So fn may hang without
// blocking them. [Group.Wait] waits for fn. Functions of one run are called in
// order. A panic of fn ends only fn.
//
// The context of fn has the values of ctx and the timeout of the run, which
// begins anew. If ctx belongs to no run, After calls fn at once.
func After(ctx context.Context, fn func(context.Context)) {
	if t := tailOf(ctx); t != nil && t.add(ctx, fn) {
		return
	}
	fn(ctx)
}

// Of returns a context with the values and the deadline of ctx that belongs to
// the run of the context flight.
func Of(flight, ctx context.Context) context.Context {
	return context.WithValue(ctx, tailKey{}, tailOf(flight))
}

type tailKey struct{}

// tailOf returns the tail of the run that ctx belongs to, or nil.
func tailOf(ctx context.Context) *tail {
	t, _ := ctx.Value(tailKey{}).(*tail)
	return t
}

// tail is what a run left to [After].
type tail struct {
	mu    sync.Mutex
	over  bool // nothing more is added
	calls []func(timeout time.Duration)
}

// add reports whether fn will be called, because the tail is not over.
func (t *tail) add(ctx context.Context, fn func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.calls = append(t.calls, func(timeout time.Duration) {
		defer func() { _ = recover() }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		fn(ctx)
	})
	return true
}

// end returns the calls to make. There are no more afterwards.
func (t *tail) end() []func(time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.calls
}
