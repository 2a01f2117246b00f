package sweep_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/sweep"
)

// Rounds come once in every interval on average, never in step, and none after
// Close.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		s := sweep.Start(time.Minute, func(context.Context) error {
			at = append(at, time.Now())
			return nil
		}, func(err error) { t.Error(err) })
		time.Sleep(10 * time.Hour)
		s.Close()
		rounds := len(at)
		if rounds < 550 || rounds > 650 { // 600 on average, with a deviation of 7
			t.Errorf("%d rounds in 600 intervals", rounds)
		}
		least, most := time.Hour, time.Duration(0)
		for i := 1; i < rounds; i++ {
			between := at[i].Sub(at[i-1])
			least, most = min(least, between), max(most, between)
		}
		if least < 30*time.Second || most > 90*time.Second || most-least < 50*time.Second {
			t.Errorf("%v to %v between two rounds", least, most)
		}
		time.Sleep(time.Hour)
		s.Close()
		if len(at) != rounds {
			t.Error("a round after Close")
		}
	})
}

// A failed round is told, and the next one comes all the same. What Close has
// ended is no failure.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("no disk")
		rounds, told := 0, 0
		s := sweep.Start(time.Minute, func(ctx context.Context) error {
			if rounds++; rounds < 3 {
				return bad
			}
			<-ctx.Done()
			return ctx.Err()
		}, func(err error) {
			if told++; err != bad {
				t.Error(err)
			}
		})
		time.Sleep(time.Hour)
		s.Close()
		if rounds != 3 || told != 2 {
			t.Errorf("%d rounds, %d told", rounds, told)
		}
	})
}

// An interval that somebody means as never is one that never comes.
func TestLongInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, every := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 / 4 * 3} {
			s := sweep.Start(every, func(context.Context) error { t.Error(every, "swept"); return nil }, nil)
			time.Sleep(365 * 24 * time.Hour)
			s.Close()
		}
	})
}

func TestNoSweeper(t *testing.T) {
	s := sweep.Start(-1, nil, nil)
	s.Close()
	if s != nil {
		t.Error("a negative interval starts a sweeper")
	}
}

// Batches follow one another until one is not full, and leave time to others.
func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, begin := int64(2*sweep.Batch+7), time.Now()
		batch := func(context.Context) (int64, error) {
			n := min(left, sweep.Batch)
			left -= n
			return n, nil
		}
		if n, err := sweep.All(t.Context(), batch); n != 2*sweep.Batch+7 || err != nil || left != 0 {
			t.Errorf("removed %d, %v", n, err)
		}
		if time.Since(begin) == 0 {
			t.Error("no pause between batches")
		}
		full := func(context.Context) (int64, error) { return sweep.Batch, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := sweep.All(ctx, full); n < sweep.Batch || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("removed %d, %v", n, err)
		}
		bad := errors.New("no disk")
		if n, err := sweep.All(t.Context(), func(context.Context) (int64, error) { return 3, bad }); n != 3 || err != bad {
			t.Errorf("removed %d, %v", n, err)
		}
	})
}
