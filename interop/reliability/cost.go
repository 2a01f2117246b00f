package reliability

import (
	"context"
	"fmt"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// costWorkers send one request after the other.
	costWorkers = 16
	// costSessions is how many sessions they use in turn.
	costSessions = 160
	// costIdle makes each session write once in 6 s. With the default of half an
	// hour a run would see no write at all.
	costIdle = time.Minute
)

// sessionCost is G9: 16 workers ask for the page of signed-in people as fast as
// they get answers. Redis and the workers share the cores with the site.
func sessionCost(ctx context.Context, r *Run) error {
	w, err := r.build(ctx, setting{store: onRedis, replicas: 2, idle: costIdle})
	if err != nil {
		return err
	}
	defer w.Close()
	visitors, err := w.signInAll(ctx, costSessions, 0, "visitor")
	if err != nil {
		return err
	}
	if _, err := w.hammer(ctx, visitors, time.Second); err != nil { // connections, and code that has not run yet
		return err
	}
	before, err := w.Store.writes(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	t, err := w.hammer(ctx, visitors, r.during(time.Minute, 6*time.Second))
	if err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := w.Store.writes(ctx)
	if err != nil {
		return err
	}
	if n := t.of(right); n != int(t.all.Load()) {
		return fmt.Errorf("%d of %d answers are right: %s", n, t.all.Load(), t.strange())
	}
	perSecond := float64(t.all.Load()) / took.Seconds()
	r.figures.add(Figure{Name: "requests per second", Value: float64(int(perSecond)), Rule: AtLeast, Limit: 5_000})
	r.took("p99", t.took.percentile(99), 8*time.Millisecond)
	r.show("p50", milliseconds(t.took.percentile(50)), "ms")
	r.figures.add(Figure{Name: "writes per request", Value: float64(after-before) / float64(t.all.Load()), Rule: AtMost, Limit: 0.05})
	return nil
}

// hammer asks for pages as fast as they are answered.
func (w *World) hammer(ctx context.Context, visitors []*Visitor, during time.Duration) (*tally, error) {
	t, end := &tally{}, time.Now().Add(during)
	err := parallel(ctx, costWorkers, costWorkers, func(ctx context.Context, worker int) error {
		line := &wire{host: site.Public}
		defer line.close()
		for i := worker; time.Now().Before(end); i += costWorkers {
			v := visitors[i%len(visitors)]
			a, err := line.get(ctx, w.Front.next().Addr, v, site.Page)
			t.add(v, a, err)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return t, err
}
