package flight_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/flight"
)

// What a run left to After may hang: those who wait for the run have its result,
// and the next run starts. The caller that started it waits as long as its
// context lasts and then has the result too.
func TestAfterHoldsUpNobody(t *testing.T) {
	for name, want := range map[string]error{"result": nil, "error": errBoom} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flight.Group[string, int]
				hang := make(chan struct{})
				runs := 0
				fn := func(ctx context.Context) (int, error) {
					time.Sleep(time.Second)
					runs++
					flight.After(ctx, func(context.Context) { <-hang })
					return runs, want
				}
				var back atomic.Int32
				var wg sync.WaitGroup
				caller := func(run int) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if v, err := g.Do(ctx, "k", time.Hour, fn); v != run || err != want {
						t.Errorf("got %d, %v; want run %d", v, err, run)
					}
					back.Add(1)
				}
				for run := range 2 {
					for range 3 {
						wg.Go(func() { caller(run + 1) })
					}
					time.Sleep(2 * time.Second)
					if n := int(back.Load()); n != 2*(run+1) {
						t.Errorf("run %d: %d callers are back, want all but those who started one", run+1, n)
					}
				}
				wg.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Wait did not wait for what the run left: %v", err)
				}
				close(hang)
				if err := g.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What is left is done in order when its caller is back, with values and a
// timeout of its own, and also if the run or a part of it panics.
func TestAfterOrder(t *testing.T) {
	type valueKey struct{}
	for name, end := range map[string]func(){"return": func() {}, "panic": func() { panic("x") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var g flight.Group[string, int]
			var done []int
			_, _ = g.Do(t.Context(), "k", time.Minute, func(ctx context.Context) (int, error) {
				asker, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "asker"))
				defer cancel()
				flight.After(ctx, func(context.Context) { done = append(done, 1); panic("y") })
				flight.After(flight.Of(ctx, asker), func(ctx context.Context) {
					if _, limited := ctx.Deadline(); ctx.Err() != nil || !limited || ctx.Value(valueKey{}) != "asker" {
						t.Errorf("context with error %v, a deadline %v, value %v", ctx.Err(), limited, ctx.Value(valueKey{}))
					}
					done = append(done, 2)
				})
				end()
				return 0, nil
			})
			if !slices.Equal(done, []int{1, 2}) {
				t.Errorf("done %v", done)
			}
		})
	}
	called := false
	flight.After(t.Context(), func(context.Context) { called = true })
	if !called {
		t.Error("After did nothing outside a run")
	}
}

// A run that starts another one does not wait for what that one left, because
// others wait for the run. Only the caller that started the outer one does.
func TestAfterOfARunInARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var outer, inner flight.Group[string, int]
		hang := make(chan struct{})
		late := make(chan struct{})
		fn := func(ctx context.Context) (int, error) {
			time.Sleep(time.Second)
			return inner.Do(ctx, "k", time.Hour, func(inside context.Context) (int, error) {
				flight.After(inside, func(context.Context) {
					<-hang
					flight.After(inside, func(context.Context) { close(late) }) // at once: its run is over
				})
				return 7, nil
			})
		}
		var back atomic.Int32
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if v, err := outer.Do(t.Context(), "k", time.Hour, fn); v != 7 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
				back.Add(1)
			})
		}
		time.Sleep(2 * time.Second)
		if n := back.Load(); n != 2 {
			t.Errorf("%d callers are back, want all but the one who started the run", n)
		}
		close(hang)
		wg.Wait()
		select {
		case <-late:
		default:
			t.Error("the caller that started the run came back before what the inner one left was done")
		}
	})
}

// A function that hangs for ever fills no memory.
func TestAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1000 // maxTails
		var g flight.Group[int, int]
		hang := make(chan struct{})
		var called atomic.Int32
		for i := range most + 10 {
			g.Start(i, time.Minute, func(ctx context.Context) (int, error) {
				flight.After(ctx, func(context.Context) { called.Add(1); <-hang })
				return 0, nil
			})
			synctest.Wait()
		}
		if n := called.Load(); n != most {
			t.Errorf("%d hang, want %d", n, most)
		}
		close(hang)
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
