package reliability

import (
	"context"
	"fmt"
	"time"
)

// hang is a way in which a store stops to answer, until release is called.
type hang struct {
	name  string
	begin func(context.Context, *World) (release func() error, err error)
}

// hangsOf lists the ways of a store.
func hangsOf(store string) []hang {
	silent := hang{"silent line", func(ctx context.Context, w *World) (func() error, error) {
		err := w.Store.Toxic.Add("timeout", map[string]any{"timeout": 0})
		return func() error { return w.Store.Toxic.Remove(ctx, "timeout") }, err
	}}
	if store == onRedis {
		return []hang{{"SIGSTOP", func(_ context.Context, w *World) (func() error, error) {
			w.Store.Redis.Pause()
			return func() error { w.Store.Redis.Resume(); return nil }, nil
		}}, silent}
	}
	return []hang{{"LOCK TABLE", func(ctx context.Context, w *World) (func() error, error) {
		return w.Store.lock(ctx)
	}}, silent}
}

// hangs is G2: 200 requests a second while the store hangs for 30 s.
func hangs(ctx context.Context, r *Run) error {
	return r.on(ctx, true, func(ctx context.Context, store string) error {
		w, err := r.build(ctx, setting{store: store, replicas: 2})
		if err != nil {
			return err
		}
		defer w.Close()
		visitors, err := w.signInAll(ctx, 200, 0, "visitor")
		if err != nil {
			return err
		}
		for _, one := range hangsOf(store) {
			if err := r.hangOnce(ctx, w, visitors, store+" "+one.name, one); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
		}
		return nil
	})
}

const (
	// goroutinesOver is how many goroutines may be left of a hang.
	goroutinesOver = 50
	// goroutinesWithin is when no more may be left.
	goroutinesWithin = 5 * time.Second
	// recoverPatience is how long the recovery is watched.
	recoverPatience = 20 * time.Second
)

func (r *Run) hangOnce(ctx context.Context, w *World, visitors []*Visitor, name string, one hang) error {
	const perSecond = 200
	before := &tally{}
	stop := load(ctx, perSecond, visitors, before)
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	base, err := w.goroutines(ctx)
	stop()
	if err != nil {
		return err
	}
	if n := before.of(right); n != int(before.all.Load()) {
		return fmt.Errorf("%d of %d answers are right before the store hangs: %s", n, before.all.Load(), before.strange())
	}
	during := &tally{}
	stop = load(ctx, perSecond, visitors, during)
	defer stop()
	release, err := one.begin(ctx, w)
	if err != nil {
		return err
	}
	pauseErr := pause(ctx, r.during(30*time.Second, 3*time.Second))
	if err := release(); err != nil || pauseErr != nil {
		return fmt.Errorf("release: %w %w", err, pauseErr)
	}
	released := time.Now()
	var settled time.Duration
	left := 0
	for time.Since(released) < recoverPatience {
		n, err := w.goroutines(ctx)
		if err != nil {
			return err
		}
		settled, left = time.Since(released), n-base
		if left <= goroutinesOver && settled > time.Second {
			break
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	stop()
	if what := during.strange(); what != "" {
		r.note("G2 %s: %s", name, what)
	}
	r.show(name+": answers", float64(during.all.Load()), "")
	r.show(name+": 503", float64(during.of(trouble)), "")
	r.took(name+": slowest", during.took.percentile(100), 1500*time.Millisecond)
	r.count(name+": goroutines left", left, AtMost, goroutinesOver)
	r.took(name+": until they are gone", settled, goroutinesWithin)
	r.count(name+": anonymous or for the wrong person", during.of(anonymous)+during.of(wrong), Exactly, 0)
	r.count(name+": cookies taken away", int(during.cleared.Load()), Exactly, 0)
	r.count(name+": other than 200 and 503", during.of(broken)+during.of(odd), Exactly, 0)
	r.took(name+": last 503 after the release", during.since(released), time.Second)
	return nil
}

// goroutines returns how many the replicas have together. Those of connections
// that we keep for later do not count.
func (w *World) goroutines(ctx context.Context) (n int, err error) {
	w.Front.client.CloseIdleConnections()
	if err := pause(ctx, 20*time.Millisecond); err != nil { // they notice
		return 0, err
	}
	for _, one := range w.Front.Replicas() {
		s, err := one.Stat(ctx)
		if err != nil {
			return 0, err
		}
		n += s.Goroutines
	}
	return n, nil
}
