package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	racers     = 16  // goroutines at one key
	raceRounds = 25  // keys that they race for
	counts     = 50  // updates of each goroutine
	triesEach  = 500 // swaps for one update; a few dozen are enough if racers have equal chances
)

// together runs f in many goroutines that begin at the same time.
func together(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	begin, errs := make(chan struct{}), make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = f(i)
		})
	}
	close(begin)
	wg.Wait()
	return errors.Join(errs...)
}

// oneCreates lets racers create the values of one cell after another. Each time
// exactly one must win, and its value must be there.
func oneCreates(ctx context.Context, fresh func() cell) error {
	for range raceRounds {
		c := fresh()
		won := make([]bool, racers)
		if err := together(racers, func(i int) (err error) {
			won[i], err = c.swap(ctx, nil, fmt.Appendf(nil, "racer %d", i))
			return err
		}); err != nil {
			return err
		}
		var winners []int
		for i, w := range won {
			if w {
				winners = append(winners, i)
			}
		}
		if len(winners) != 1 {
			return fmt.Errorf("%d of %d racers have created the same value", len(winners), racers)
		}
		if err := c.holds(ctx, fmt.Appendf(nil, "racer %d", winners[0])); err != nil {
			return err
		}
	}
	return nil
}

// counterStart is the first value of a counter.
const counterStart = "0 start"

// count adds to a counter n times. Each value has an id of its own, like the
// values of gatehouse, so that nobody mistakes another's value for their own.
func count(ctx context.Context, c cell, id string, n int) error {
	i, tries := 0, 0
	for ; i < n && tries < n*triesEach; tries++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d of %d updates: %w", i, n, err)
		}
		old, err := c.read(ctx)
		if err != nil {
			return err
		}
		at, err := position(old)
		if err != nil {
			return err
		}
		runtime.Gosched() // lets others come between
		swapped, err := c.swap(ctx, old, fmt.Appendf(nil, "%d %s.%d", at+1, id, i))
		if err != nil {
			return err
		}
		if swapped {
			i++
		}
	}
	if i < n {
		return fmt.Errorf("%d swaps have made %d updates", tries, i)
	}
	return nil
}

// position reads a counter.
func position(value []byte) (int, error) {
	text, _, _ := strings.Cut(string(value), " ")
	at, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("the counter is %s", brief(value))
	}
	return at, nil
}

// standsAt returns the current count in a cell.
func (c cell) standsAt(ctx context.Context) (int, error) {
	value, err := c.read(ctx)
	if err != nil {
		return 0, err
	}
	return position(value)
}

// counted lets goroutines count in a new cell, each through a cell that way
// makes from it, and returns the final count.
func counted(ctx context.Context, fresh func() cell, goroutines int, way func(cell) cell) (int, error) {
	c := fresh()
	if err := c.swaps(ctx, nil, []byte(counterStart), true, []byte(counterStart)); err != nil {
		return 0, err
	}
	if err := together(goroutines, func(i int) error { return count(ctx, way(c), fmt.Sprint("g", i), counts) }); err != nil {
		return 0, err
	}
	return c.standsAt(ctx)
}

// raceTime is how long updates are counted. A swap that is not atomic loses one
// in a fraction of that time.
const raceTime = 400 * time.Millisecond

// noUpdateLost counts in cells: once, and then as often as time allows.
func (s *suite) noUpdateLost(ctx context.Context, fresh func() cell) error {
	for begin, again := time.Now(), true; again; again = time.Since(begin) < s.raceTime {
		if at, err := counted(ctx, fresh, racers, func(c cell) cell { return c }); err != nil || at != racers*counts {
			return fmt.Errorf("%d updates were confirmed, but the counter is at %d (error: %v)", racers*counts, at, err)
		}
	}
	return nil
}

// lossy loses the first reply to every swap, after the write, and sends the
// command again, as network clients do.
func lossy(c cell) cell {
	return cell{c.read, func(ctx context.Context, old, new []byte) (bool, error) {
		if _, err := c.swap(ctx, old, new); err != nil {
			return false, err
		}
		return c.swap(ctx, old, new)
	}}
}

// noUpdateLostWithReplies counts with lost replies. A single writer must count
// exactly. With several writers a swap may return false although it wrote, if
// another writer came before the repetition; but no confirmed update may be
// lost.
func noUpdateLostWithReplies(ctx context.Context, fresh func() cell) error {
	if at, err := counted(ctx, fresh, 1, lossy); err != nil || at != counts {
		return fmt.Errorf("%d updates of one writer, but the counter is at %d (error: %v)", counts, at, err)
	}
	if at, err := counted(ctx, fresh, racers, lossy); err != nil || at < racers*counts {
		return fmt.Errorf("%d updates were confirmed, but the counter is at %d (error: %v)", racers*counts, at, err)
	}
	return nil
}

// call is one method of a store, with its arguments.
type call struct {
	name string
	do   func(context.Context) error
}

// timely runs a call and expects it to return soon after its context ends. A
// call that never returns cannot be stopped: its goroutine stays with the
// failed test.
func timely(ctx context.Context, wait time.Duration, do func(context.Context) error) (back bool, err error) {
	callCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(callCtx) }()
	timer := time.NewTimer(wait + hangBound)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// endsWithContext makes each call with a context that has already ended.
func endsWithContext(ctx context.Context, calls []call) error {
	for _, c := range calls {
		if back, _ := timely(ctx, 0, c.do); !back {
			return fmt.Errorf("%s goes on %v after its context has ended", c.name, hangBound)
		}
	}
	return nil
}

// endsWhenHung makes each call while the store hangs. It must fail when its
// context ends. Afterwards the store must work.
func (s *suite) endsWhenHung(ctx context.Context, calls []call) error {
	release := s.hang()
	defer release()
	for _, c := range calls {
		back, err := timely(ctx, 100*time.Millisecond, c.do)
		switch {
		case !back:
			return fmt.Errorf("%s goes on %v after its context has ended", c.name, hangBound)
		case err == nil:
			return fmt.Errorf("%s succeeds although the store hangs", c.name)
		}
	}
	return nil
}
