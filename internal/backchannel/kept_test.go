package backchannel_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/backchannel"
)

// A source is what a Kept fetches from. It numbers its answers.
type source struct {
	asked  int
	err    error
	takes  time.Duration
	life   time.Duration // until it is renewed; it expires after twice that
	failed int           // reports of failures
}

func (s *source) kept(change ...func(*backchannel.KeptConfig[string])) *backchannel.Kept[string] {
	c := backchannel.KeptConfig[string]{
		Fetch: func(ctx context.Context) (string, backchannel.Life, error) {
			s.asked++
			time.Sleep(s.takes)
			if s.err != nil {
				return "", backchannel.Life{}, s.err
			}
			var life backchannel.Life
			if s.life > 0 {
				life = backchannel.Life{RenewAt: time.Now().Add(s.life), Expires: time.Now().Add(2 * s.life)}
			}
			return string(rune('a' + s.asked - 1)), life, nil
		},
		Failed: func(context.Context, error) { s.failed++ },
		Now:    time.Now, Timeout: time.Minute, Pause: time.Second, MaxPause: 5 * time.Second,
	}
	for _, f := range change {
		f(&c)
	}
	return backchannel.NewKept(c)
}

// get makes a call that must return want, or an error if want is "".
func get(t *testing.T, k *backchannel.Kept[string], refused, want string) error {
	t.Helper()
	got, err := k.Instead(t.Context(), refused)
	if got != want || (err == nil) != (want != "") {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	synctest.Wait() // for the flight that it may have started
	return err
}

func TestKeptOneFlightForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: time.Second}
		k := s.kept()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := k.Get(t.Context()); got != "a" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		all.Wait()
		get(t, k, "", "a")
		if s.asked != 1 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

// After a failed fetch nobody waits long for the next one (G5), but what it
// brings serves those who come later, and who has time waits for it.
func TestKeptAfterAFailureWaitsAMoment(t *testing.T) {
	for _, test := range []struct {
		name         string
		failed       bool
		takes, await time.Duration
		want         string
	}{
		{"the first fetch", false, 500 * time.Millisecond, 500 * time.Millisecond, "a"},
		{"the first fetch hangs", false, 20 * time.Second, 900 * time.Millisecond, ""},
		{"fast again", true, 30 * time.Millisecond, 30 * time.Millisecond, "b"},
		{"still hangs", true, 20 * time.Second, 40 * time.Millisecond, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{err: errors.New("down")}
				k := s.kept(func(c *backchannel.KeptConfig[string]) { c.Wait = 900 * time.Millisecond })
				if test.failed {
					get(t, k, "", "")
					time.Sleep(time.Second) // the pause
				}
				s.err, s.takes = nil, test.takes
				begin := time.Now()
				got, err := k.Get(t.Context())
				if got != test.want || (err == nil) != (test.want != "") || time.Since(begin) != test.await {
					t.Errorf("got %q, %v after %v, want %q after %v", got, err, time.Since(begin), test.want, test.await)
				}
				if got, err := k.Await(t.Context()); err != nil || time.Since(begin) != test.takes {
					t.Errorf("who has time got %q, %v after %v", got, err, time.Since(begin))
				}
			})
		})
	}
}

func TestKeptIsRenewedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{life: time.Minute}
		k := s.kept()
		get(t, k, "", "a")
		time.Sleep(time.Minute - 1)
		get(t, k, "", "a")
		if s.asked != 1 {
			t.Errorf("asked %d times before it was due", s.asked)
		}
		time.Sleep(time.Nanosecond)
		get(t, k, "", "a") // starts the flight
		get(t, k, "", "b")
		s.err = errors.New("down")
		time.Sleep(time.Minute)
		get(t, k, "", "b")
		get(t, k, "", "b") // and pauses
		if s.asked != 3 || s.failed != 1 {
			t.Errorf("asked %d times, %d failures reported", s.asked, s.failed)
		}
		time.Sleep(time.Minute) // now it has expired
		if _, ok := errors.AsType[*backchannel.Paused](get(t, k, "", "")); ok {
			t.Error("still paused")
		}
		s.err = nil
		time.Sleep(2 * time.Second)
		get(t, k, "", "e")
	})
}

func TestKeptPausesAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		s := &source{err: down}
		k := s.kept()
		for n, pause := range []time.Duration{1, 2, 4, 5, 5} {
			pause *= time.Second
			if err := get(t, k, "", ""); !errors.Is(err, down) || errors.As(err, new(*backchannel.Paused)) {
				t.Errorf("failure %d: %v", n, err)
			}
			time.Sleep(pause / 4)
			err := get(t, k, "", "")
			if paused, ok := errors.AsType[*backchannel.Paused](err); !ok || paused.Left != pause-pause/4 || !errors.Is(err, down) || err.Error() != "down" {
				t.Errorf("in pause %d: %#v", n, err)
			}
			if s.asked != n+1 || s.failed != n+1 {
				t.Errorf("asked %d times, %d failures reported, want %d", s.asked, s.failed, n+1)
			}
			time.Sleep(pause - pause/4)
		}
		s.err = nil
		get(t, k, "", "f")
	})
}

func TestKeptInstead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{life: time.Hour}
		k := s.kept()
		get(t, k, "", "a")
		get(t, k, "a", "b")
		get(t, k, "a", "b") // another caller to whom "a" was refused
		get(t, k, "", "b")
		if s.asked != 2 {
			t.Errorf("asked %d times", s.asked)
		}
		s.err = errors.New("down")
		get(t, k, "b", "")
		get(t, k, "", "") // what was refused is not given to anybody
		if s.asked != 3 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

// What is kept and of no use to a caller is fetched again once it has that age,
// by one flight, and stays if that fails.
func TestKeptNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{life: time.Hour}
		k := s.kept()
		newer := func(want string, asked int) {
			t.Helper()
			if got, err := k.Newer(t.Context(), time.Minute); got != want || (err == nil) != (want != "") || s.asked != asked {
				t.Errorf("got %q, %v, asked %d times; want %q, %d", got, err, s.asked, want, asked)
			}
		}
		newer("a", 1) // nothing is kept yet
		newer("a", 1)
		time.Sleep(time.Minute)
		newer("b", 2)
		newer("b", 2)
		s.err = errors.New("down")
		time.Sleep(time.Minute)
		newer("", 3)
		newer("b", 3) // during the pause
		get(t, k, "", "b")
	})
	if got, err := backchannel.Always("x").Newer(t.Context(), 0); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestKeptWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: 10 * time.Second}
		k := s.kept(func(c *backchannel.KeptConfig[string]) { c.Wait = time.Second })
		start := time.Now()
		if _, err := k.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := k.Shutdown(t.Context()); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("waited %v: %v", time.Since(start), err)
		}
		get(t, k, "", "a")
	})
}

// A Failed that never returns blocks nobody: neither those who wait for the
// failed fetch nor those who ask afterwards. Shutdown waits for it as long as
// its context lasts.
func TestKeptFailedHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errors.New("down")}
		hang := make(chan struct{})
		var told atomic.Int32
		k := s.kept(func(c *backchannel.KeptConfig[string]) {
			c.Failed = func(context.Context, error) { told.Add(1); <-hang }
		})
		for range 3 {
			get(t, k, "", "")
			get(t, k, "", "")
			time.Sleep(time.Minute)
		}
		s.err = nil
		get(t, k, "", "d")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		close(hang)
		if err := k.Shutdown(t.Context()); err != nil || told.Load() != 1 {
			t.Errorf("Shutdown: %v, %d reports at once", err, told.Load())
		}
	})
}

func TestKeptFetchPanics(t *testing.T) {
	s := &source{}
	k := s.kept(func(c *backchannel.KeptConfig[string]) {
		fetch := c.Fetch
		c.Fetch = func(ctx context.Context) (string, backchannel.Life, error) {
			if s.asked == 0 {
				s.asked++
				panic("once")
			}
			return fetch(ctx)
		}
	})
	if got, err := k.Get(t.Context()); err == nil {
		t.Errorf("got %q", got)
	}
	if got, err := k.Get(t.Context()); got != "b" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAlways(t *testing.T) {
	k := backchannel.Always("x")
	if got, err := k.Get(t.Context()); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := k.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
