package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/live"
)

const (
	every = 2 * time.Second
	trust = 10 * time.Second
	batch = 4
)

var (
	errOver    = errors.New("over")
	errTrouble = errors.New("trouble")
	errLate    = errors.New("late")
	errClosed  = errors.New("closed")
)

// judges says what a Hub is told, and remembers what it asked.
type judges struct {
	mu       sync.Mutex
	over     map[string]bool
	trouble  error
	hang     chan struct{} // if not nil, a judgement waits for it
	panics   bool
	calls    [][]string
	deadline bool
}

func (j *judges) judge(ctx context.Context, things []string) []live.Verdict {
	j.mu.Lock()
	j.calls = append(j.calls, slices.Sorted(slices.Values(things)))
	_, j.deadline = ctx.Deadline()
	hang, panics := j.hang, j.panics
	j.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if panics {
		panic("the store panicked")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	verdicts := make([]live.Verdict, len(things))
	for i, what := range things {
		switch {
		case j.trouble != nil:
			verdicts[i].Doubt = j.trouble
		case j.over[what]:
			verdicts[i].Over = fmt.Errorf("%s: %w", what, errOver)
		}
	}
	return verdicts
}

func (j *judges) set(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

func (j *judges) end(what string) { j.set(func() { j.over[what] = true }) }

func (j *judges) asked() [][]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	calls := j.calls
	j.calls = nil
	return calls
}

func newHub() (*live.Hub[string], *judges) {
	j := &judges{over: map[string]bool{}}
	return live.NewHub(live.Config[string]{Every: every, Limit: time.Second, Trust: trust, Batch: batch, Judge: j.judge, Late: errLate}), j
}

// want fails unless the context has ended with the cause, or lives if that is
// nil.
func want(t *testing.T, ctx context.Context, cause error) {
	t.Helper()
	synctest.Wait()
	if got := context.Cause(ctx); !errors.Is(got, cause) || (got == nil) != (cause == nil) {
		t.Errorf("cause %v, want %v", got, cause)
	}
}

// A thing is judged once in an interval for all its contexts, and all of them end
// with what the judgement said.
func TestHubJudgesOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		var a []context.Context
		for range 100 {
			a = append(a, h.Watch(t.Context(), "a", "a"))
		}
		b := h.Watch(t.Context(), "b", "b")
		time.Sleep(5*every + every/2)
		want(t, b, nil)
		if got := j.asked(); len(got) != 5 || !slices.Equal(got[0], []string{"a", "b"}) || !j.deadline {
			t.Errorf("asked %v with a deadline %v, want 5 times for both at once", got, j.deadline)
		}
		j.end("a")
		time.Sleep(every)
		for _, ctx := range a {
			want(t, ctx, errOver)
		}
		want(t, b, nil)
		if h.Watched() != 1 {
			t.Errorf("%d are watched, want b", h.Watched())
		}
		h.Close(errClosed)
	})
}

// Judgements are of at most Batch things, and the groups fill up again.
func TestHubBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		cancels := map[string]context.CancelFunc{}
		watch := func(key string) {
			ctx, cancel := context.WithCancel(t.Context())
			cancels[key] = cancel
			h.Watch(ctx, key, key)
		}
		for i := range 3*batch - 1 {
			watch(fmt.Sprint(i))
		}
		time.Sleep(every / 2)
		for range 3 {
			time.Sleep(every)
			calls := j.asked()
			seen := slices.Concat(calls...)
			slices.Sort(seen)
			if len(calls) != 3 || len(slices.Compact(seen)) != 3*batch-1 {
				t.Errorf("asked %v, want each of %d once in 3 calls", calls, 3*batch-1)
			}
			for _, call := range calls {
				if len(call) > batch {
					t.Errorf("%d at once, want at most %d", len(call), batch)
				}
			}
			cancels["0"]()
			cancels["1"]()
			synctest.Wait()
			watch("0")
			watch("1")
		}
		h.Close(errClosed)
	})
}

// Nothing runs when nobody watches: not when the last context has ended, nor
// when the last thing is over.
func TestHubRestsWithoutContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		for _, over := range []bool{false, true} {
			j.set(func() { j.over = map[string]bool{} })
			ctx, cancel := context.WithCancel(t.Context())
			first, second := h.Watch(ctx, "a", "a"), h.Watch(ctx, "a", "a")
			time.Sleep(every + every/2)
			if over {
				j.end("a")
				time.Sleep(every)
				want(t, first, errOver)
			}
			cancel()
			want(t, second, map[bool]error{true: errOver, false: context.Canceled}[over])
			j.asked()
			time.Sleep(time.Minute)
			if got := j.asked(); len(got) != 0 || h.Watched() != 0 {
				t.Errorf("over %v: asked %v, %d watched, want nothing", over, got, h.Watched())
			}
		}
		again := h.Watch(t.Context(), "b", "b")
		j.end("b")
		time.Sleep(every)
		want(t, again, errOver)
	})
}

// Contexts of a thing leave in any order. Those that stay end with it, and when none is
// left, nothing is watched.
func TestHubContextsLeaveInAnyOrder(t *testing.T) {
	const n = 4
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		for order := range n * n * n * n {
			for leaving := range n + 1 {
				j.set(func() { j.over = map[string]bool{} })
				var all [n]context.Context
				var leave [n]context.CancelFunc
				for i := range all {
					ctx, cancel := context.WithCancel(t.Context())
					all[i], leave[i] = h.Watch(ctx, "a", "a"), cancel
				}
				gone := map[int]bool{}
				for i, rest := 0, order; i < leaving; i, rest = i+1, rest/n { // some of these orders name one twice
					leave[rest%n]()
					gone[rest%n] = true
					synctest.Wait()
				}
				if watched := h.Watched(); (watched == 0) != (len(gone) == n) {
					t.Fatalf("order %d, %d have left: %d are watched", order, len(gone), watched)
				}
				j.end("a")
				time.Sleep(every)
				for i, ctx := range all {
					want(t, ctx, map[bool]error{true: context.Canceled, false: errOver}[gone[i]])
					leave[i]()
				}
				if t.Failed() || h.Watched() != 0 {
					t.Fatalf("order %d, %d have left: %d are watched", order, len(gone), h.Watched())
				}
			}
		}
	})
}

// What cannot be judged lives on for Trust, and ends with the trouble. One answer
// in between begins that anew.
func TestHubTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		ctx := h.Watch(t.Context(), "a", "a")
		j.set(func() { j.trouble = errTrouble })
		time.Sleep(trust - every/2)
		want(t, ctx, nil)
		j.set(func() { j.trouble = nil })
		time.Sleep(every)
		j.set(func() { j.trouble = errTrouble })
		time.Sleep(trust)
		want(t, ctx, nil)
		time.Sleep(2 * every)
		want(t, ctx, errTrouble)
	})
}

// A judgement that hangs, or panics, ends nothing at once either, and no second
// one joins it.
func TestHubHangs(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h, j := newHub()
			ctx := h.Watch(t.Context(), "a", "a")
			hang := make(chan struct{})
			j.set(func() {
				if j.panics = panics; !panics {
					j.hang = hang
				}
			})
			time.Sleep(trust)
			want(t, ctx, nil)
			if got := len(j.asked()); !panics && got != 1 {
				t.Errorf("%d judgements at a time, want 1", got)
			}
			time.Sleep(2 * every)
			want(t, ctx, errLate)
			waiting, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := h.Wait(waiting); panics != (err == nil) {
				t.Errorf("Wait: %v; a judgement hangs: %v", err, !panics)
			}
			close(hang)
			if err := h.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A judgement that ends just when the next is due is followed by one: that its own run
// is not quite over does not count as one that hangs.
func TestHubEndsAsTheNextBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := live.NewHub(live.Config[string]{
			Every: every, Limit: every, Trust: trust, Batch: 1, Late: errLate,
			Judge: func(context.Context, []string) []live.Verdict {
				time.Sleep(every)
				return make([]live.Verdict, 1)
			},
		})
		ctx, leave := context.WithCancel(t.Context())
		var all []context.Context
		for i := range 500 {
			all = append(all, h.Watch(ctx, fmt.Sprint(i), ""))
		}
		time.Sleep(30 * every)
		for i, c := range all {
			if c.Err() != nil {
				t.Fatalf("%d: %v", i, context.Cause(c))
			}
		}
		leave()
		if err := h.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A judgement that comes back late counts from when it began, and says nothing of
// what is watched by then.
func TestHubLateVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		hang := make(chan struct{})
		j.set(func() { j.hang = hang })
		old, cancel := context.WithCancel(t.Context())
		h.Watch(old, "a", "a")
		beside := h.Watch(t.Context(), "b", "b")
		time.Sleep(every)
		cancel()
		synctest.Wait()
		j.end("a")
		j.end("b")
		next := h.Watch(t.Context(), "a", "a")
		j.set(func() { j.hang = nil })
		close(hang)
		want(t, next, nil)
		want(t, beside, errOver)
		time.Sleep(every)
		want(t, next, errOver)
	})
}

// Trust counts from the moment at which a judgement began, however long it took.
func TestHubTrustsFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		hang := make(chan struct{})
		j.set(func() { j.hang = hang })
		ctx := h.Watch(t.Context(), "a", "a")
		begin := time.Now().Add(every)
		time.Sleep(trust - every/4)
		j.set(func() { j.hang = nil })
		close(hang)
		synctest.Wait() // it lives, as of when it was asked
		j.set(func() { j.trouble = errTrouble })
		<-ctx.Done()
		want(t, ctx, errTrouble)
		if took := time.Since(begin); took > trust+every {
			t.Errorf("it was trusted for %v", took)
		}
	})
}

// Close ends what is watched, and what would be watched afterwards.
func TestHubClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		a, b := h.Watch(t.Context(), "a", "a"), h.Watch(t.Context(), "b", "b")
		h.Close(errClosed)
		h.Close(errOver)
		for _, ctx := range []context.Context{a, b, h.Watch(t.Context(), "c", "c")} {
			want(t, ctx, errClosed)
		}
		time.Sleep(time.Minute)
		if got := j.asked(); len(got) != 0 || h.Wait(t.Context()) != nil {
			t.Errorf("asked %v", got)
		}
	})
}

// Contexts come, end and are over at the same time.
func TestHubTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHub()
		var wg sync.WaitGroup
		for i := range 20 {
			key := fmt.Sprint(i % 7)
			wg.Go(func() {
				for n := range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n*i)*100*time.Millisecond)
					select {
					case <-h.Watch(ctx, key, key).Done():
					case <-time.After(time.Minute):
						t.Error("the context did not end")
					}
					cancel()
					j.set(func() { j.over[key] = n%3 == 0 })
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if h.Watched() != 0 {
			t.Errorf("%d are still watched", h.Watched())
		}
	})
}

// clock is a clock that is set.
type clock struct {
	mu     sync.Mutex
	ahead  time.Duration
	panics bool
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.panics {
		panic("the clock panicked")
	}
	return time.Now().Add(c.ahead)
}

func (c *clock) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// A context ends at its deadline, to the instant while the clock runs as time
// does, and within an interval after somebody set it.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s live.Set
		c := &clock{}
		until := func(s *live.Set, at time.Time) context.Context {
			return s.Until(t.Context(), live.Deadline{At: at, Now: c.now, Every: every, Cause: errOver})
		}
		begin := time.Now()
		want(t, until(&s, begin), errOver)
		want(t, until(&s, begin.Add(-time.Hour)), errOver)
		soon, later, never, alone := until(&s, begin.Add(7*time.Second)), until(&s, begin.Add(time.Hour)), until(&s, time.Time{}), until(nil, begin.Add(time.Second))
		time.Sleep(time.Second)
		want(t, alone, errOver)
		<-soon.Done()
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("it took %v", took)
		}
		want(t, later, nil)
		c.set(func() { c.ahead = time.Hour })
		time.Sleep(every)
		want(t, later, errOver)
		want(t, never, nil)
		s.Close(errClosed)
		s.Close(errOver)
		want(t, never, errClosed)
		want(t, until(&s, begin.Add(24*time.Hour)), errClosed)
	})
}

// Nothing is left of a context whose parent has ended, and a clock that panics
// ends it.
func TestUntilLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s live.Set
		c := &clock{}
		ctx, cancel := context.WithCancel(t.Context())
		child := s.Until(ctx, live.Deadline{At: time.Now().Add(time.Hour), Now: c.now, Every: every, Cause: errOver})
		other := s.Until(t.Context(), live.Deadline{At: time.Now().Add(time.Hour), Now: c.now, Every: every, Cause: errOver})
		endless := s.Until(ctx, live.Deadline{})
		if n := s.Watched(); n != 3 {
			t.Errorf("%d are watched, want 3", n)
		}
		cancel()
		want(t, child, context.Canceled)
		want(t, endless, context.Canceled)
		if n := s.Watched(); n != 1 {
			t.Errorf("%d are watched, want 1", n)
		}
		c.set(func() { c.panics = true })
		time.Sleep(every)
		want(t, other, errOver)
		if n := s.Watched(); n != 0 {
			t.Errorf("%d are watched, want none", n)
		}
	})
}

// A context that ends while the clock is looked at leaves nothing that looks
// again and again.
func TestUntilEndsDuringALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		(*live.Set)(nil).Until(ctx, live.Deadline{At: time.Now().Add(24 * time.Hour), Every: every, Cause: errOver, Now: func() time.Time {
			if looks.Add(1) == 2 {
				cancel()
				time.Sleep(time.Millisecond) // a slow clock: whatever the end stops has been stopped
			}
			return time.Now()
		}})
		time.Sleep(time.Hour)
		if n := looks.Load(); n != 2 {
			t.Errorf("%d looks at the clock, want none after the end", n)
		}
	})
}
