// Package sweep says when a process removes the expired rows of a database that
// it shares with others. It knows time and nothing else: what a round of
// sweeping does is handed in. It must not know what is swept.
package sweep

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// Every is the usual interval. Expired rows count as absent before they are
	// removed, so sweeping saves space and nothing else.
	Every = 5 * time.Minute
	// Least is the shortest interval. A shorter one is a number that somebody took
	// for one of seconds or minutes, and would keep the database busy for nothing.
	Least = time.Millisecond
	// Batch is how many rows are removed at a time, so that no statement holds
	// locks for long.
	Batch = 500
	// pause is the wait between two batches, which leaves the database to others.
	pause = 20 * time.Millisecond
	// longest is the longest interval. A longer one is as good as none, and would
	// overflow.
	longest = 100 * 365 * 24 * time.Hour
)

// Check returns an error if every is no interval to sweep in: too short, and not 0
// for the usual one nor negative for none.
func Check(every time.Duration) error {
	if 0 < every && every < Least {
		return fmt.Errorf("%v is less than %v: a number alone counts nanoseconds, so write 5 * time.Minute", every, Least)
	}
	return nil
}

// A Sweeper runs rounds until Close.
type Sweeper struct {
	stop func()
	done chan struct{}
}

// Start runs round again and again, on average once in every interval. The time
// between two rounds is random, from half of the interval to one and a half, so
// that processes that start together do not sweep together. failed is called
// with the error of a round, but not when Close ended it. Start returns nil if
// every is negative.
func Start(every time.Duration, round func(context.Context) error, failed func(error)) *Sweeper {
	if every < 0 {
		return nil
	}
	every = min(every, longest)
	ctx, stop := context.WithCancel(context.Background())
	s := &Sweeper{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for wait(ctx, every/2+rand.N(every+1)) {
			if err := round(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	}()
	return s
}

// Close ends the round that is under way and returns when it has ended. It may
// be called several times, and on nil.
func (s *Sweeper) Close() {
	if s != nil {
		s.stop()
		<-s.done
	}
}

// Fair is how long ago the last round of any process must have begun, for
// processes that each sweep once in every interval. All of them together then
// sweep at most twice as often as one alone, however many they are.
func Fair(every time.Duration) time.Duration { return every / 2 }

// All removes batch after batch until one is not full. It returns how many rows
// that were.
func All(ctx context.Context, batch func(context.Context) (removed int64, err error)) (removed int64, err error) {
	for {
		n, err := batch(ctx)
		removed += n
		if err != nil || n < Batch {
			return removed, err
		}
		if !wait(ctx, pause) {
			return removed, ctx.Err()
		}
	}
}

// wait reports whether the time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
