package reliability

import (
	"context"
	"time"
)

// on runs a goal on each store, one after the other, or at the same time if it
// judges counts rather than times.
func (r *Run) on(ctx context.Context, together bool, work func(ctx context.Context, store string) error) error {
	atOnce := 1
	if together {
		atOnce = len(r.Stores)
	}
	return parallel(ctx, len(r.Stores), atOnce, func(ctx context.Context, i int) error { return work(ctx, r.Stores[i]) })
}

// restarts is G1: 10,000 sessions, two replicas, 500 requests a second, and the
// store is ended with SIGTERM, or pg_ctl restart -m fast.
func restarts(ctx context.Context, r *Run) error {
	return r.on(ctx, true, func(ctx context.Context, store string) error {
		w, err := r.build(ctx, setting{store: store, replicas: 2})
		if err != nil {
			return err
		}
		defer w.Close()
		visitors, err := w.signInAll(ctx, r.of(10_000), 0, "visitor")
		if err != nil {
			return err
		}
		const perSecond = 500
		during := &tally{}
		stop := load(ctx, perSecond, visitors, during)
		defer stop()
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		open, err := r.restartStore(ctx, w)
		if err != nil {
			return err
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
		stop()
		after := &tally{}
		if err := w.readAll(ctx, visitors, after); err != nil {
			return err
		}
		for _, t := range []*tally{during, after} {
			if what := t.strange(); what != "" {
				r.note("G1 on %s: %s", store, what)
			}
		}
		r.show(store+": sessions", float64(len(visitors)), "")
		r.show(store+": answers", float64(during.all.Load()), "")
		r.show(store+": 503", float64(during.of(trouble)), "")
		r.count(store+": sessions lost", len(visitors)-after.of(right), Exactly, 0)
		r.count(store+": for the wrong person", during.of(wrong)+after.of(wrong), Exactly, 0)
		r.count(store+": anonymous", during.of(anonymous)+after.of(anonymous), Exactly, 0)
		r.count(store+": cookies taken away", int(during.cleared.Load()+after.cleared.Load()), Exactly, 0)
		r.count(store+": other than 200 and 503", during.of(broken)+during.of(odd), Exactly, 0)
		r.took(store+": last 503 after the port opened", during.since(open), time.Second)
		r.show(store+": slowest", milliseconds(during.took.percentile(100)), "ms")
		return nil
	})
}

// restartStore restarts the store, and returns when its port took connections
// again.
func (r *Run) restartStore(ctx context.Context, w *World) (open time.Time, err error) {
	down := 3 * time.Second
	if w.Store.Postgres != nil {
		down = 0 // pg_ctl restart starts it at once
	}
	addr := w.Store.addr()
	found := make(chan time.Time, 1)
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	err = w.Store.restart(ctx, func() error {
		err := pause(ctx, down)
		go func() {
			for watch.Err() == nil {
				if answers(addr) {
					found <- time.Now()
					return
				}
				_ = pause(watch, time.Millisecond)
			}
		}()
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	select {
	case open = <-found:
		return open, nil
	case <-ctx.Done():
		return open, ctx.Err()
	}
}

// readAll asks for the page of each visitor once.
func (w *World) readAll(ctx context.Context, visitors []*Visitor, t *tally) error {
	return parallel(ctx, len(visitors), signInsAtOnce, func(ctx context.Context, i int) error {
		a, err := visitors[i].Get(ctx, nil, "/page")
		t.add(visitors[i], a, err)
		return nil
	})
}

// addr is where the server itself listens.
func (d *Database) addr() string {
	if d.Redis != nil {
		return d.Redis.Addr
	}
	return d.Postgres.Addr()
}
