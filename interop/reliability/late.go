package reliability

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// closedFor is how long the provider's port is closed after the start.
	closedFor = time.Minute
	// roundsAtOnce are rounds of G6 at the same time: they mostly wait.
	roundsAtOnce = 4
	// firstPause is the least time between two tries to read metadata.
	firstPause = 3 * time.Second
	// longestPause is what it rises to.
	longestPause = 30 * time.Second
)

// lateProvider is G6: 20 times a replica starts while the port of its provider
// is closed, and the provider comes a minute later.
func lateProvider(ctx context.Context, r *Run) error {
	rounds := r.of(20)
	var serving, login, gap, longest atomic.Int64
	gap.Store(int64(time.Hour))
	var bad atomic.Int64
	err := parallel(ctx, rounds, roundsAtOnce, func(ctx context.Context, i int) error {
		one, err := r.startLate(ctx)
		if err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		atomicMax(&serving, int64(one.serving))
		atomicMax(&login, int64(one.login))
		atomicMax(&longest, int64(one.longest))
		atomicMin(&gap, int64(one.shortest))
		bad.Add(int64(one.bad))
		return nil
	})
	if err != nil {
		return err
	}
	r.show("rounds", float64(rounds), "")
	r.took("until it serves", time.Duration(serving.Load()), time.Second)
	r.took("first sign-in after the provider came", time.Duration(login.Load()), longestPause)
	r.figures.add(Figure{Name: "shortest time between two tries", Value: time.Duration(gap.Load()).Seconds(), Unit: "s", Rule: AtLeast, Limit: firstPause.Seconds()})
	r.figures.add(Figure{Name: "longest time between two tries", Value: time.Duration(longest.Load()).Seconds(), Unit: "s", Rule: AtMost, Limit: longestPause.Seconds() + 1})
	r.count("answers without the provider other than 503", int(bad.Load()), Exactly, 0)
	return nil
}

func atomicMax(to *atomic.Int64, v int64) {
	for have := to.Load(); v > have && !to.CompareAndSwap(have, v); have = to.Load() {
	}
}

func atomicMin(to *atomic.Int64, v int64) {
	for have := to.Load(); v < have && !to.CompareAndSwap(have, v); have = to.Load() {
	}
}

// lateRound is what one round showed.
type lateRound struct {
	serving, login    time.Duration
	shortest, longest time.Duration // between two tries
	bad               int
}

func (r *Run) startLate(ctx context.Context) (*lateRound, error) {
	w, err := r.build(ctx, setting{store: onRedis, replicas: 0})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	w.Provider().Toxic.Down()
	one := &lateRound{}
	begin := time.Now()
	replica, err := w.Start(ctx, w.program)
	if err != nil {
		return nil, err
	}
	if _, err := replica.Stat(ctx); err != nil {
		return nil, err
	}
	one.serving = time.Since(begin)
	v, err := w.Visitor("early", 0)
	if err != nil {
		return nil, err
	}
	for time.Since(begin) < closedFor {
		a, err := v.Get(ctx, replica, site.Page)
		if v.judge(a, err) != trouble {
			one.bad++
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
	s, err := replica.Stat(ctx)
	if err != nil {
		return nil, err
	}
	one.shortest = time.Hour
	for i := 1; i < len(s.Discovery); i++ {
		d := s.Discovery[i].Sub(s.Discovery[i-1])
		one.shortest, one.longest = min(one.shortest, d), max(one.longest, d)
	}
	if err := w.Provider().Toxic.Up(ctx); err != nil {
		return nil, err
	}
	came := time.Now()
	for {
		if _, err = v.SignIn(ctx); err == nil {
			one.login = time.Since(came)
			return one, nil
		}
		if time.Since(came) > 2*longestPause {
			return nil, fmt.Errorf("nobody can sign in: %w", err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
