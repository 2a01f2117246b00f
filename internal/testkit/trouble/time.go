package trouble

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

const (
	// answerTime is when a page has been answered, whatever the store suffers.
	answerTime = 1500 * time.Millisecond
	// recoveryTime is how soon every call works again after the trouble.
	recoveryTime = time.Second
	// leaveTime is how soon a call returns whose caller has left.
	leaveTime = 500 * time.Millisecond
	// attempts is how often trouble is caused when something took too long. A busy
	// machine makes a good store late now and then; a bad one is late each time.
	attempts = 4
	// patience is for what has to happen, however busy the machine is.
	patience = 30 * time.Second
)

// InTime is Outcome. None of the calls may take longer than a page may.
func InTime(t testing.TB, s Store) map[string]error {
	t.Helper()
	for n := 1; ; n++ {
		begin := time.Now()
		out := Outcome(t, s)
		took := time.Since(begin)
		if took <= answerTime {
			return out
		}
		if n == attempts {
			t.Errorf("the calls took %v in attempt %d, with %v", took, n, out)
			return out
		}
	}
}

// Fails expects an error of every call, or of those that write alone, in time.
// Each says a word, which may be empty.
func Fails(t testing.TB, s Store, readsToo bool, word string) {
	t.Helper()
	Failed(t, InTime(t, s), readsToo, word)
}

// Works waits until every call works, and returns how long that took.
func Works(t testing.TB, s Store) time.Duration {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := Errors(Outcome(t, s))
		took := time.Since(begin)
		if err == nil {
			return took
		}
		if took > patience {
			t.Fatalf("after %v: %v", took, err)
		}
	}
}

// Recovers causes trouble, lets calls fail and ends the trouble. Soon after that
// every call has to work.
func Recovers(t testing.TB, s Store, begin func() (end func()), fails func()) {
	t.Helper()
	for n := 1; ; n++ {
		end := begin()
		fails()
		end()
		took := Works(t, s)
		if took <= recoveryTime {
			return
		}
		if n == attempts {
			t.Fatalf("the store works %v after the trouble, in attempt %d", took, n)
		}
	}
}

// Leaves makes calls whose callers leave soon, one after the other. They return at
// once.
func Leaves(t testing.TB, s Store, readsToo bool) {
	t.Helper()
	for _, c := range Calls() {
		if !c.Bound || !readsToo && !c.Writes {
			continue
		}
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			var left time.Time
			timer := time.AfterFunc(20*time.Millisecond, func() { left = time.Now(); cancel() })
			err := c.Do(ctx, s)
			if timer.Stop() {
				cancel()
				t.Errorf("%s returned %v before its caller left", c.Name, err)
				break
			}
			<-ctx.Done() // after which left is set
			took := time.Since(left)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s returned %v", c.Name, err)
			}
			if took <= leaveTime {
				break
			}
			if n == attempts {
				t.Errorf("%s returned %v after its caller left, in attempt %d", c.Name, took, n)
				break
			}
		}
	}
}

// Goroutines returns a check that no more of them are left than now.
func Goroutines(t testing.TB) (check func()) {
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Fatalf("%d goroutines before, %d now:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
			}
		}
	}
}
