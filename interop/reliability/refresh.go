package reliability

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// expiresIn is how long the first access tokens of G7 live, in whole
	// seconds because expires_in is.
	expiresIn = 2 * time.Second
	// slowestToken is how long the token endpoint takes at most.
	slowestToken = 8 * time.Second
	// requestsPerExpiry come at the same moment, over all replicas.
	requestsPerExpiry = 100
	// expiriesAtOnce is how many sessions are made and expire together. Their
	// requests come one session after the other.
	expiriesAtOnce = 50
	expiryEvery    = 150 * time.Millisecond
)

// refreshOnce is G7: 1,000 access tokens expire, and 100 requests come for each
// at two replicas. The provider takes 0 to 8 s for a refresh, rotates refresh
// tokens, and ends everything of a sign-in whose refresh token comes twice.
func refreshOnce(ctx context.Context, r *Run) error {
	w, err := r.build(ctx, setting{store: onRedis, replicas: 2})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Store.Toxic.Add("latency", map[string]any{"latency": 10, "jitter": 10}); err != nil {
		return err
	}
	p, t := w.Provider(), &tally{}
	expiries, lost := r.of(1_000), 0
	for done := 0; done < expiries; {
		n := min(expiriesAtOnce, expiries-done)
		gone, err := r.expire(ctx, w, n, fmt.Sprintf("batch%d-", done), t)
		if err != nil {
			return err
		}
		lost += gone
		done += n
	}
	if what := t.strange(); what != "" {
		r.note("G7: %s", what)
	}
	if err := pause(ctx, time.Second); err != nil { // would another request still come?
		return err
	}
	r.show("requests", float64(t.all.Load()), "")
	r.show("expiries", float64(expiries), "")
	r.count("token requests", p.CountToken("refresh_token"), Exactly, expiries)
	r.count("refresh tokens sent twice", len(p.Violations()), Exactly, 0)
	r.count("signed out", lost, Exactly, 0)
	r.count("anonymous or for the wrong person", t.of(anonymous)+t.of(wrong)+t.of(odd), Exactly, 0)
	r.count("5xx", t.of(trouble)+t.of(broken), Exactly, 0)
	r.show("slowest", milliseconds(t.took.percentile(100)), "ms")
	return nil
}

// expire lets n tokens expire, sends the requests, and returns how many people
// are signed out in the end.
func (r *Run) expire(ctx context.Context, w *World, n int, name string, t *tally) (lost int, err error) {
	p := w.Provider()
	p.setDelay(nil)
	p.SetTokenLifetime(expiresIn)
	visitors, err := w.signInAll(ctx, n, 0, name)
	if err != nil {
		return 0, err
	}
	p.SetTokenLifetime(tokenLife)
	before := p.CountToken("refresh_token")
	if err := pause(ctx, expiresIn+200*time.Millisecond); err != nil {
		return 0, err
	}
	p.setDelay(func() time.Duration { return rand.N(slowestToken) })
	replicas := w.Front.Replicas()
	var wait sync.WaitGroup
	for _, v := range visitors {
		for i := range requestsPerExpiry {
			wait.Go(func() {
				a, err := v.Get(ctx, replicas[i%len(replicas)], site.Page)
				t.add(v, a, err)
			})
		}
		if err := pause(ctx, expiryEvery); err != nil {
			return 0, err
		}
	}
	wait.Wait()
	// Renewals go on while pages are served.
	for end := time.Now().Add(2 * slowestToken); p.CountToken("refresh_token") < before+n && time.Now().Before(end); {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
	after := &tally{}
	if err := w.readAll(ctx, visitors, after); err != nil {
		return 0, err
	}
	return n - after.of(right), nil
}
