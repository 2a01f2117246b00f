package stories

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// CC6EverythingAtOnce: every handler runs at once on two replicas while keys
// rotate, metadata is fetched again, tokens are renewed, people sign out here and
// everywhere, and the site closes. Run it under the race detector.
func CC6EverythingAtOnce(t *testing.T, on On) {
	s := world.NewSite(t, on, func(o *world.SiteOptions) {
		o.Replicas = 2
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/session", login.SessionHandler())
			mux.Handle("/recent", login.With(gatehouse.MaxAge(time.Hour)).RequireLogin(world.WhoAmI))
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login, login))(world.WhoAmI))
			mux.Handle("/token", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = login.Token(r.Context()) // the site closes during this
				world.WhoAmI(w, r)
			})))
		}
	})
	const people, rounds = 6, 12
	var served, signedIn atomic.Int64
	var stop atomic.Bool
	var beside, visits sync.WaitGroup
	ctx := context.Background()
	for _, disturb := range []func(i int){
		func(int) { s.RotateKeys() },
		func(i int) { s.Advance(time.Duration(i%7) * time.Minute) }, // tokens, keys and metadata age
		func(int) { _ = s.Replicas[world.ReplicaA].Sessions.RevokeAll(ctx, world.SiteIssuer, "ben-1") },
		func(i int) { _, _ = s.Replicas[i%2].Sessions.List(ctx, world.SiteIssuer, "ana-1") },
		func(i int) { _ = s.Replicas[i%2].Sessions.Shutdown(ctx) }, // waits for running work while more arrives
	} {
		beside.Go(func() {
			for i := 0; !stop.Load() && i < 2000; i++ {
				disturb(i)
				runtime.Gosched()
			}
		})
	}
	for n := range people {
		visits.Go(func() {
			b := s.Visitor([]string{"ana", "ben"}[n%2])
			for round := range rounds {
				at := b.On((n + round) % 2)
				if a := tryVisit(at, "/notes/"); a != nil && a.Code == http.StatusOK {
					signedIn.Add(1)
				}
				for _, path := range []string{"/notes/", "/open", "/recent", "/either", "/token", "/auth/session", "/auth/login", "/auth/logout", "/auth/callback?state=x"} {
					if a := at.Get(path); a.Code == http.StatusOK {
						served.Add(1)
					} else if a.Code >= 500 && a.Code != http.StatusServiceUnavailable {
						t.Errorf("%s: %v", path, a)
					}
				}
				at.Fetch(http.MethodPost, "/notes/", "Origin", s.Origin)
				if round%3 == 2 {
					at.Post("/auth/logout", nil)
				}
			}
		})
	}
	visits.Wait()
	stop.Store(true)
	beside.Wait()
	if signedIn.Load() == 0 || served.Load() < people*rounds {
		t.Errorf("%d sign-ins and %d pages: the test no longer tests anything", signedIn.Load(), served.Load())
	}
	s.ShutdownAll()
}

// tryVisit is visit for a sign-in that may be disturbed on its way. It returns
// nil if it leads nowhere.
func tryVisit(b *world.Visitor, target string) *world.Page {
	a := b.Get(target)
	for range world.MaxHops {
		switch {
		case a.Location() != "":
			to, err := a.URL.Parse(a.Location())
			if err != nil {
				return nil
			}
			a = b.Get(to.String())
		case a.URL.Host == "op.test" && strings.Contains(a.Body.String(), `id="sign-in"`):
			a = b.FillIn(a)
		default:
			return a
		}
	}
	return nil
}
