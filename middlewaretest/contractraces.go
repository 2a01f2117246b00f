package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
		if err := fresh().oneOf(ctx, nil); err != nil {
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

// oneReplaces lets racers replace the same value. Each time exactly one must
// win, and its value must be there.
func oneReplaces(ctx context.Context, fresh func() cell) error {
	for range raceRounds {
		c, old := fresh(), []byte("old")
		if err := c.swaps(ctx, nil, old, true, old); err != nil {
			return err
		}
		if err := c.oneOf(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

// oneOf lets racers swap a cell from old to a value of their own, and expects
// exactly one to win.
func (c cell) oneOf(ctx context.Context, old []byte) error {
	won := make([]bool, racers)
	if err := together(racers, func(i int) (err error) {
		won[i], err = c.swap(ctx, old, fmt.Appendf(nil, "racer %d", i))
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
		return fmt.Errorf("%d of %d racers have swapped the same value", len(winners), racers)
	}
	return c.holds(ctx, fmt.Appendf(nil, "racer %d", winners[0]))
}

// neverAway reads a value while it is replaced again and again. A reader must
// see the old or the new one, never none. Readers and writer go on until each
// has done its part beside the others: on a busy machine a few milliseconds of
// writing may meet no reader at all.
func neverAway(ctx context.Context, fresh func() cell) error {
	const readers = 2
	c, last := fresh(), []byte(counterStart)
	if err := c.swaps(ctx, nil, last, true, last); err != nil {
		return err
	}
	var short atomic.Int32 // of those who have not done their part
	short.Store(readers + 1)
	return together(readers+1, func(i int) error {
		step := func() error { return readsValue(ctx, c) }
		if i == readers {
			step = func() error { return count(ctx, c, "writer", 1) }
		}
		ready := sync.OnceFunc(func() { short.Add(-1) })
		defer ready() // also after an error, which stops nobody else
		for n := 1; n <= counts || short.Load() > 0; n++ {
			if err := step(); err != nil {
				return err
			}
			if n == counts {
				ready()
			}
			runtime.Gosched() // readers that never stop would keep the writer waiting
		}
		return nil
	})
}

// readsValue expects a cell not to be empty.
func readsValue(ctx context.Context, c cell) error {
	value, err := c.read(ctx)
	if err == nil && value == nil {
		err = errors.New("a reader sees no value while another replaces it")
	}
	return err
}

// givesUp makes calls whose contexts end at once, soon or in time. Such a call
// may have done its work or not. But the next one must not get its reply, and
// saying the same once more must lead to the goal.
func givesUp(ctx context.Context, fresh func() cell) error {
	other, others := fresh(), []byte("another's value")
	if err := other.swaps(ctx, nil, others, true, others); err != nil {
		return err
	}
	return together(racers/2, func(i int) error {
		for n := range raceRounds {
			c, value := fresh(), fmt.Appendf(nil, "value %d of caller %d", n, i)
			short, cancel := context.WithTimeout(ctx, time.Duration(n)*shortLife)
			swapped, err := c.swap(short, nil, value)
			read, readErr := other.read(short)
			cancel()
			switch {
			case err == nil && !swapped:
				return fmt.Errorf("a swap from %s to %s returns false, although nobody else writes there", brief(nil), brief(value))
			case readErr == nil && string(read) != string(others):
				return fmt.Errorf("a read returns %s, want %s", brief(read), brief(others))
			}
			if err := c.swaps(ctx, nil, value, true, value); err != nil {
				return fmt.Errorf("after calls whose contexts have ended: %w", err)
			}
		}
		return nil
	})
}

// oneEnds lets some racers replace a value while others delete it. Either one of
// them replaces it, and its value stays, or the value is gone.
func oneEnds(ctx context.Context, fresh func() cell) error {
	for range raceRounds {
		c, old := fresh(), []byte("old")
		if err := c.swaps(ctx, nil, old, true, old); err != nil {
			return err
		}
		next, won := make([][]byte, racers), make([]bool, racers)
		if err := together(racers, func(i int) (err error) {
			if i%2 == 0 {
				next[i] = fmt.Appendf(nil, "racer %d", i)
			}
			won[i], err = c.swap(ctx, old, next[i])
			return err
		}); err != nil {
			return err
		}
		var after []byte
		replaced, deleted := 0, 0
		for i, w := range won {
			switch {
			case w && next[i] == nil:
				deleted++
			case w:
				replaced, after = replaced+1, next[i]
			}
		}
		if replaced > 1 || (replaced > 0) == (deleted > 0) {
			return fmt.Errorf("%d racers have replaced the same value, and %d have deleted it", replaced, deleted)
		}
		if err := c.holds(ctx, after); err != nil {
			return err
		}
	}
	return nil
}

// allStay lets racers write at the same time, each to a place of its own.
func allStay(ctx context.Context, fresh func() cell) error {
	for range raceRounds / 5 { // each writes many values
		cells := make([]cell, racers)
		for i := range cells {
			cells[i] = fresh()
		}
		value := func(i int) []byte { return fmt.Appendf(nil, "racer %d", i) }
		if err := together(racers, func(i int) error { return cells[i].swaps(ctx, nil, value(i), true, value(i)) }); err != nil {
			return err
		}
		for i, c := range cells {
			if err := c.holds(ctx, value(i)); err != nil {
				return fmt.Errorf("after others have written elsewhere: %w", err)
			}
		}
	}
	return nil
}

// outlivesCaller writes for callers who leave as soon as they know the outcome.
func outlivesCaller(ctx context.Context, fresh func() cell) error {
	c := fresh()
	for _, step := range [][2][]byte{{nil, []byte("one")}, {[]byte("one"), []byte("two")}} {
		if err := leaving(ctx, func(ctx context.Context) error { return c.swaps(ctx, step[0], step[1], true, step[1]) }); err != nil {
			return err
		}
		if err := stays(func() error { return c.holds(ctx, step[1]) }); err != nil {
			return err
		}
	}
	return nil
}

// leaving calls f with a context that ends when f is done.
func leaving(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return f(ctx)
}

// stays looks a few times, and lets whatever waits for a context run in between.
func stays(look func() error) error {
	for range counts {
		if err := look(); err != nil {
			return fmt.Errorf("after the context of the writer has ended: %w", err)
		}
		runtime.Gosched()
	}
	return nil
}

// shortLife is by how much the contexts of givesUp live longer each time. The
// first ends before the call, the last ones after a call over loopback.
const shortLife = 100 * time.Microsecond
