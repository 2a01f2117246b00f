package flight_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/flight"
)

var errBoom = errors.New("boom")

func TestDoSharesOneRun(t *testing.T) {
	for name, want := range map[string]error{"result": nil, "error": errBoom} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flight.Group[string, int]
				var runs atomic.Int32
				fn := func(context.Context) (int, error) {
					time.Sleep(time.Second) // the bubble's clock
					return int(runs.Add(1)), want
				}
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						v, err := g.Do(t.Context(), "k", time.Minute, fn)
						if v != 1 || err != want {
							t.Errorf("got %d, %v", v, err)
						}
					})
				}
				wg.Wait()
				if v, err := g.Do(t.Context(), "k", time.Minute, fn); v != 2 || err != want {
					t.Errorf("after the run: got %d, %v; nothing may be stored", v, err)
				}
			})
		})
	}
}

func TestKeysRunApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int, int]
		var wg sync.WaitGroup
		start := time.Now()
		for k := range 3 {
			wg.Go(func() {
				v, err := g.Do(t.Context(), k, time.Minute, func(context.Context) (int, error) {
					time.Sleep(time.Second)
					return k, nil
				})
				if v != k || err != nil {
					t.Errorf("key %d: got %d, %v", k, v, err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestWaiterLeavesRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, string]
		type ctxKey struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "caller"))
		release := make(chan struct{})
		left := make(chan error)
		go func() {
			_, err := g.Do(ctx, "k", time.Minute, func(ctx context.Context) (string, error) {
				if ctx.Value(ctxKey{}) != nil {
					t.Error("the run sees a caller's values")
				}
				<-release
				return "done", ctx.Err()
			})
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter left with %v", err)
		}
		got := make(chan string)
		go func() {
			v, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (string, error) { return "second run", nil })
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		close(release)
		if v := <-got; v != "done" {
			t.Errorf("got %q", v)
		}
	})
}

func TestDoWithEndedContextStartsNothing(t *testing.T) {
	var g flight.Group[string, int]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	_, err := g.Do(ctx, "k", time.Minute, func(context.Context) (int, error) { ran = true; return 0, nil })
	if werr := g.Wait(t.Context()); werr != nil {
		t.Fatal(werr)
	}
	if ran || !errors.Is(err, context.Canceled) {
		t.Errorf("ran %v, error %v", ran, err)
	}
}

func TestRunHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, int]
		start := time.Now()
		_, err := g.Do(t.Context(), "k", 5*time.Second, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestPanicAndExit(t *testing.T) {
	var g flight.Group[string, int]
	_, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) { panic("SECRET") })
	var pe *flight.PanicError
	if !errors.As(err, &pe) || pe.Value != "SECRET" || len(pe.Stack) == 0 || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("panic: error %v (%+v)", err, pe)
	}
	_, err = g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) { runtime.Goexit(); return 1, nil })
	if err == nil {
		t.Error("exit: no error")
	}
	if v, err := g.Do(t.Context(), "k", time.Minute, func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

func TestStartAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, int]
		if err := g.Wait(t.Context()); err != nil {
			t.Fatalf("without runs: %v", err)
		}
		var ended atomic.Int32
		run := func(d time.Duration) func(context.Context) (int, error) {
			return func(context.Context) (int, error) {
				time.Sleep(d)
				ended.Add(1)
				return 0, nil
			}
		}
		g.Start("a", time.Minute, run(time.Second))
		g.Start("a", time.Minute, run(time.Second)) // joins the first
		g.Start("b", time.Minute, run(3*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the wait with a deadline gave %v", err)
		}
		if err := g.Wait(t.Context()); err != nil || ended.Load() != 2 {
			t.Errorf("wait: %v, %d runs ended", err, ended.Load())
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	var g flight.Group[int, int]
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			k := i % 5
			v, err := g.Do(t.Context(), k, time.Minute, func(context.Context) (int, error) { return k, nil })
			if v != k || err != nil {
				t.Errorf("key %d: got %d, %v", k, v, err)
			}
			g.Start(k, time.Minute, func(context.Context) (int, error) { return k, nil })
		})
	}
	wg.Wait()
	if err := g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
