package reliability

import (
	"context"
	"fmt"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// loginsHeld are between the redirect and the callback while a replica is
	// replaced.
	loginsHeld = 20
	// drainLimit is how long the end of a replica may take.
	drainLimit = 10 * time.Second
)

// rolling is G14: 50 times one of two replicas ends by SIGTERM and one of the
// other build takes its place, at 200 requests a second.
func rolling(ctx context.Context, r *Run) error {
	now, err := r.Programs.Plain(ctx)
	if err != nil {
		return err
	}
	before, err := r.Programs.Old(ctx)
	if err != nil {
		return err
	}
	w, err := r.build(ctx, setting{store: onRedis, replicas: 1})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Start(ctx, before); err != nil {
		return err
	}
	visitors, err := w.signInAll(ctx, 200, 0, "visitor")
	if err != nil {
		return err
	}
	t := &tally{}
	const perSecond = 200
	stop := load(ctx, perSecond, visitors, t)
	defer stop()
	rounds, failed, unread := r.of(50), 0, 0
	var slowest time.Duration
	next := []string{before, now} // what takes the place of the first, and of the second
	for round := range rounds {
		held, err := w.holdLogins(ctx, fmt.Sprintf("round%d-", round))
		if err != nil {
			return err
		}
		took, err := w.Front.Replicas()[0].Drain()
		if err != nil {
			return err
		}
		slowest = max(slowest, took)
		if _, err := w.Start(ctx, next[round%2]); err != nil {
			return err
		}
		for _, h := range held {
			if err := h.v.Finish(ctx, nil, h.callback); err != nil {
				r.note("G14: %v", err)
				failed++
			}
		}
		for _, one := range w.Front.Replicas() { // both builds read the sessions of both
			for _, h := range held {
				a, err := h.v.Get(ctx, one, site.Page)
				if h.v.judge(a, err) != right {
					unread++
				}
			}
		}
	}
	stop()
	if what := t.strange(); what != "" {
		r.note("G14: %s", what)
	}
	r.show("rounds", float64(rounds), "")
	r.show("answers", float64(t.all.Load()), "")
	r.count("sign-ins under way that failed", failed, Exactly, 0)
	r.count("sessions that a build cannot read", unread, Exactly, 0)
	r.count("5xx", t.of(trouble)+t.of(broken), Exactly, 0)
	r.count("anonymous or for the wrong person", t.of(anonymous)+t.of(wrong)+t.of(odd), Exactly, 0)
	r.took("longest drain", slowest, drainLimit)
	return nil
}

// heldLogin is a sign-in whose callback has not been opened.
type heldLogin struct {
	v        *Visitor
	callback string
}

func (w *World) holdLogins(ctx context.Context, name string) ([]heldLogin, error) {
	all := make([]heldLogin, loginsHeld)
	return all, parallel(ctx, loginsHeld, signInsAtOnce, func(ctx context.Context, i int) error {
		v, err := w.Visitor(fmt.Sprintf("%s%d", name, i), 0)
		if err != nil {
			return err
		}
		authorize, err := v.Begin(ctx, nil)
		if err != nil { // too slow: what is measured comes later
			authorize, err = v.Begin(ctx, nil)
		}
		if err != nil {
			return err
		}
		_, callback, err := v.Approve(ctx, authorize)
		all[i] = heldLogin{v, callback}
		return err
	})
}
