package live

import (
	"context"
	"math"
	"sync"
	"time"
)

// Deadline is a time on a clock.
type Deadline struct {
	At    time.Time        // the zero time never comes
	Now   func() time.Time // the clock
	Every time.Duration    // how often the clock is asked, because it may be set
	Cause error            // of the end
}

// A Set has contexts that end at a time. Nothing runs while it has none. The zero
// value is ready to use, and a nil Set cannot be closed. It is safe for
// concurrent use.
type Set struct {
	mu     sync.Mutex
	closed error
	all    map[*member]struct{}
}

type member struct{ cancel context.CancelCauseFunc }

// Until returns a context, derived from ctx, that ends at the deadline.
func (s *Set) Until(ctx context.Context, d Deadline) context.Context {
	live, cancel := context.WithCancelCause(ctx)
	m := &member{cancel}
	if err := s.enter(m); err != nil {
		cancel(err)
		return live
	}
	if d.At.IsZero() {
		context.AfterFunc(live, func() { s.leave(m) })
		return live
	}
	var timer *time.Timer
	look := func() {
		defer func() {
			if recover() != nil { // the clock is the application's, and this may be a goroutine of its own
				cancel(d.Cause)
			}
		}()
		left := d.At.Sub(d.Now())
		if left <= 0 {
			cancel(d.Cause)
			return
		}
		if live.Err() != nil { // meanwhile, and the timer was stopped before it is set
			return
		}
		timer.Reset(min(left, d.Every))
	}
	timer = time.AfterFunc(math.MaxInt64, look) // it starts with the first look
	context.AfterFunc(live, func() {
		timer.Stop()
		s.leave(m)
	})
	look()
	return live
}

func (s *Set) enter(m *member) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	if s.all == nil {
		s.all = map[*member]struct{}{}
	}
	s.all[m] = struct{}{}
	return nil
}

func (s *Set) leave(m *member) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, m)
}

// Close ends all contexts with the cause, and those that Until returns from now
// on. Only the first cause counts.
func (s *Set) Close(cause error) {
	s.mu.Lock()
	if s.closed == nil {
		s.closed = cause
	}
	all := s.all
	s.all = nil
	s.mu.Unlock()
	for m := range all {
		m.cancel(cause)
	}
}

// Watched returns how many contexts there are.
func (s *Set) Watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
