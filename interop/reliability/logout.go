package reliability

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

const (
	// personSessions are the sessions of the person who is signed out at once.
	// A person has at most 100 in one Sessions, so they are spread over ten, as
	// those of ten sites on one store.
	personSessions = 1_000
	personSites    = 10
	// logoutSamples are logouts whose time is measured one by one.
	logoutSamples = 1_000
	// raceCount is how many races there are on each store.
	raceCount = 10_000
	// racesAtOnce run side by side.
	racesAtOnce = 16
	// raceIdle makes sessions write that they are in use once a second.
	raceIdle = 10 * time.Second
	// raceToken is how long access tokens live in a race with a renewal.
	raceToken = time.Second
)

// logoutFinal is G8: how soon a logout at the provider is felt on all replicas,
// and whether anything brings a session back.
func logoutFinal(ctx context.Context, r *Run) error {
	err := r.on(ctx, false, func(ctx context.Context, store string) error {
		s := setting{store: store, replicas: 2}
		if r.Kind == site.Gatehouse {
			s.sessions = personSites
		}
		w, err := r.build(ctx, s)
		if err != nil {
			return err
		}
		defer w.Close()
		if err := r.logoutSpeed(ctx, w, store); err != nil {
			return fmt.Errorf("speed: %w", err)
		}
		return r.logoutEverywhere(ctx, w, store)
	})
	if err != nil {
		return err
	}
	return r.on(ctx, true, r.races)
}

// endAll ends all sessions of a person: the provider sends a logout token with
// its sub to the replica. Bare scs has no such endpoint, so the site looks for
// the sessions itself.
func (v *Visitor) endAll(ctx context.Context, at *Replica) error {
	if v.w.config.Kind != site.Gatehouse {
		_, err := at.admin(ctx, http.MethodPost, site.Revoke, url.Values{"issuer": {v.p.Issuer()}, "sub": {v.User}})
		return err
	}
	return v.sendLogout(ctx, at, map[string]any{"sub": v.User})
}

// sendLogout sends a logout token with these claims to a replica.
func (v *Visitor) sendLogout(ctx context.Context, at *Replica, claims map[string]any) error {
	token, err := v.p.LogoutToken(site.ClientID, claims)
	if err != nil {
		return err
	}
	body := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at.Addr+v.rely.Path+site.Backchannel, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := v.w.Front.fetch(r)
	if err == nil && a.Status != http.StatusOK {
		err = &answerError{"a logout token", a}
	}
	return err
}

// dead reports whether the visitor is signed out at a replica.
func (v *Visitor) dead(ctx context.Context, at *Replica) (bool, error) {
	a, err := v.Clone().Get(ctx, at, site.Page)
	switch v.judge(a, err) {
	case anonymous:
		return true, nil
	case right:
		return false, nil
	}
	if err == nil {
		err = &answerError{"neither signed in nor out", a}
	}
	return false, err
}

// deadPatience only finds a session that does not end at all.
const deadPatience = 10 * time.Second

// deadEverywhere waits until the visitor is signed out on all replicas.
func (v *Visitor) deadEverywhere(ctx context.Context) error {
	end := time.Now().Add(deadPatience)
	for _, one := range v.w.Front.Replicas() {
		for {
			over, err := v.dead(ctx, one)
			if err != nil {
				return err
			}
			if over {
				break
			}
			if time.Now().After(end) {
				return errors.New("a session lives on after its logout was answered")
			}
		}
	}
	return nil
}

func (r *Run) logoutSpeed(ctx context.Context, w *World, store string) error {
	n := r.of(logoutSamples)
	visitors, err := w.signInAll(ctx, n, 0, "leaver")
	if err != nil {
		return err
	}
	var took latencies
	for i, v := range visitors {
		begin := time.Now()
		if err := v.endAll(ctx, w.Front.Replicas()[i%2]); err != nil {
			return err
		}
		if err := v.deadEverywhere(ctx); err != nil {
			return err
		}
		took.add(time.Since(begin))
	}
	r.show(store+": logouts", float64(n), "")
	r.took(store+": dead everywhere, p99", took.percentile(99), 100*time.Millisecond)
	return nil
}

func (r *Run) logoutEverywhere(ctx context.Context, w *World, store string) error {
	n, sites := r.of(personSessions), len(w.config.Relying)
	all := make([]*Visitor, n)
	err := parallel(ctx, sites, sites, func(ctx context.Context, relying int) error {
		for i := relying; i < n; i += sites {
			v, err := w.Visitor("everywhere", relying)
			if err != nil {
				return err
			}
			if _, err := v.insist(ctx); err != nil {
				return err
			}
			all[i] = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, v := range all {
		if over, err := v.dead(ctx, w.Front.next()); over || err != nil {
			return fmt.Errorf("a session is over before the logout: %w", err)
		}
	}
	begin := time.Now()
	if err := all[0].endAll(ctx, w.Front.next()); err != nil {
		return err
	}
	err = parallel(ctx, n, signInsAtOnce, func(ctx context.Context, i int) error { return all[i].deadEverywhere(ctx) })
	if err != nil {
		return err
	}
	r.show(store+": sessions of one person", float64(n), "")
	r.took(store+": until all are dead everywhere", time.Since(begin), 2*time.Second)
	return nil
}

// A race is a logout while something else is under way in the same browser.
type race struct {
	name string
	run  func(ctx context.Context, w *World, v *Visitor, logout func(context.Context) error) error
}

// races lets requests and logouts overtake each other.
func (r *Run) races(ctx context.Context, store string) error {
	w, err := r.build(ctx, setting{store: store, replicas: 2, idle: raceIdle})
	if err != nil {
		return err
	}
	defer w.Close()
	kinds := []race{{"slow handler", raceHandler}, {"callback", raceCallback}, {"renewal", raceRenewal}}
	n := r.of(raceCount)
	var resurrected, failed atomic.Int64
	for k, kind := range kinds {
		part := (n + len(kinds) - 1 - k) / len(kinds)
		err := parallel(ctx, part, racesAtOnce, func(ctx context.Context, i int) error {
			v, err := w.Visitor(fmt.Sprintf("racer%d-%d", k, i), 0)
			if err != nil {
				return err
			}
			at := w.Front.Replicas()[1] // the other one than the request's
			var old *Visitor
			logout := func(ctx context.Context) error {
				old = v.Clone()
				switch sid := v.SID; {
				case i%3 == 0:
					return v.endAll(ctx, at)
				case i%3 == 1 && sid != "" && r.Kind == site.Gatehouse:
					return v.sendLogout(ctx, at, map[string]any{"sid": sid})
				}
				a, err := v.Post(ctx, at, site.Logout)
				if err == nil && a.Status >= 500 {
					err = &answerError{"logout", a}
				}
				return err
			}
			if err := kind.run(ctx, w, v, logout); err != nil {
				if failed.Add(1) == 1 {
					r.note("G8 on %s, %s: %v", store, kind.name, err)
				}
				return nil
			}
			for _, one := range w.Front.Replicas() {
				for _, browser := range []*Visitor{v, old} {
					over, err := browser.dead(ctx, one)
					if err != nil {
						return err
					}
					if !over {
						r.note("G8 on %s: a %s brought a session back (logout %d)", store, kind.name, i%3)
						resurrected.Add(1)
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	r.show(store+": races", float64(n), "")
	r.count(store+": sessions that came back", int(resurrected.Load()), Exactly, 0)
	r.count(store+": races that could not be run", int(failed.Load()), Exactly, 0)
	return nil
}

// raceHandler logs out while a handler of a request is at work, and requests
// that say that the session is in use are on their way.
func raceHandler(ctx context.Context, w *World, v *Visitor, logout func(context.Context) error) error {
	if _, err := v.SignIn(ctx); err != nil {
		return err
	}
	at, held := w.Front.Replicas()[0], v.Clone()
	id := url.Values{"id": {v.User}}
	var wait sync.WaitGroup
	var heldErr error
	wait.Go(func() { _, heldErr = held.Get(ctx, at, site.Hold+"?"+id.Encode()) })
	if _, err := at.admin(ctx, http.MethodGet, site.Entered, id); err != nil {
		return err
	}
	beside := v.Clone()
	wait.Go(func() { _, _ = beside.Get(ctx, at, site.Page) })
	err := logout(ctx)
	_, releaseErr := at.admin(ctx, http.MethodGet, site.Release, id)
	wait.Wait()
	v.take(held)
	v.take(beside)
	for _, one := range []error{err, releaseErr, heldErr} {
		if one != nil {
			return one
		}
	}
	return nil
}

// raceCallback logs out while the callback of a sign-in is at the provider.
func raceCallback(ctx context.Context, w *World, v *Visitor, logout func(context.Context) error) error {
	at := w.Front.Replicas()[0]
	authorize, err := v.Begin(ctx, at)
	if err != nil {
		return err
	}
	code, callback, err := v.Approve(ctx, authorize)
	if err != nil {
		return err
	}
	gate := v.p.hold(code)
	back := v.Clone()
	var wait sync.WaitGroup
	var backErr error
	wait.Go(func() { _, backErr = back.Get(ctx, at, callback) })
	select {
	case <-gate.entered:
	case <-ctx.Done():
		return ctx.Err()
	}
	err = logout(ctx)
	close(gate.open)
	wait.Wait()
	v.take(back)
	if err == nil {
		err = backErr
	}
	return err
}

// raceRenewal logs out while the tokens of the session are renewed.
func raceRenewal(ctx context.Context, w *World, v *Visitor, logout func(context.Context) error) error {
	v.p.SetTokenLifetime(raceToken)
	code, err := v.SignIn(ctx)
	if err != nil {
		return err
	}
	gate := v.p.hold(v.p.gaveTo(code).refresh)
	if err := pause(ctx, raceToken+100*time.Millisecond); err != nil {
		return err
	}
	page := v.Clone()
	var wait sync.WaitGroup
	var pageErr error
	wait.Go(func() { _, pageErr = page.Get(ctx, w.Front.Replicas()[0], site.Page) })
	select {
	case <-gate.entered:
	case <-time.After(answerPatience):
		return fmt.Errorf("no renewal")
	}
	err = logout(ctx)
	close(gate.open)
	wait.Wait()
	v.take(page)
	if err == nil {
		err = pageErr
	}
	return err
}

// take puts the cookies of another tab over those of this one.
func (v *Visitor) take(tab *Visitor) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, value := range tab.cookies {
		v.cookies[name] = value
	}
}
