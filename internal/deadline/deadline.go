// Package deadline bounds calls that come thousands of times a second. A timer
// for each would cost as much as a fifth of such a call.
package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// parts is how many timers begin within one life. So a call has at least
// all but one of these parts of it.
const parts = 16

// Shared makes contexts that live for about the same time. Those that begin at
// about the same moment end together, by one timer. It is safe for concurrent
// use.
type Shared struct {
	life time.Duration
	now  atomic.Pointer[term]
}

// term is what contexts share that begin before a moment.
type term struct {
	context.Context
	until time.Time
}

// New returns a Shared whose contexts live for life at most, and for 15/16 of it
// at least.
func New(life time.Duration) *Shared { return &Shared{life: life} }

// Context returns a context with the values of parent that ends by itself. It
// does not end with parent, except that it never outlives parent's deadline; a
// parent that has ended already is returned as it is. release has to be called
// at the end.
func (s *Shared) Context(parent context.Context) (ctx context.Context, release func()) {
	if parent.Err() != nil {
		return parent, nothing
	}
	now := time.Now()
	t := s.now.Load()
	if t == nil || !now.Before(t.until) {
		t = s.begin(now)
	}
	if end, ok := parent.Deadline(); ok {
		if own, _ := t.Deadline(); end.Before(own) {
			return context.WithTimeout(parent, s.life)
		}
	}
	return &bound{parent, t.Context}, nothing
}

func nothing() {}

// begin makes a term. Two callers may make one at the same time; both are good.
func (s *Shared) begin(now time.Time) *term {
	ctx, cancel := context.WithTimeout(context.Background(), s.life)
	context.AfterFunc(ctx, cancel)
	t := &term{ctx, now.Add(s.life / parts)}
	s.now.Store(t)
	return t
}

// bound has the values of one context and the end of another.
type bound struct {
	context.Context
	end context.Context
}

func (b *bound) Deadline() (time.Time, bool) { return b.end.Deadline() }
func (b *bound) Done() <-chan struct{}       { return b.end.Done() }
func (b *bound) Err() error                  { return b.end.Err() }

// AfterFunc lets package context wait for the end without a goroutine.
func (b *bound) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(b.end, f) }
