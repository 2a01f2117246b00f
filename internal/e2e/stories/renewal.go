package stories

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// CC1, RP-R4, F22: 100 parallel requests with an expired access token cause one
// refresh, on one replica and on two.
func CC1OneRefresh(t *testing.T, on On) {
	for name, replicas := range map[string]int{"one replica": 1, "two replicas": 2} {
		t.Run(name, func(t *testing.T) {
			s, seen := world.WithTokens(t, on)
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/token")
			old := seen.One(t)
			for round := range 3 {
				s.Advance(world.Past)
				for _, a := range ana.Together(100, replicas, "/token") {
					ana.WantServed(a)
				}
				s.ShutdownAll()
				if got := s.Refreshes(); got != round+1 {
					t.Fatalf("round %d: %d refreshes in all, want %d", round, got, round+1)
				}
				tokens, errs := seen.Take()
				slices.Sort(tokens)
				if fresh := slices.Compact(tokens); len(fresh) != 1 || fresh[0] == old {
					t.Errorf("round %d: %d different tokens (old among them: %v), errors %v", round, len(fresh), slices.Contains(fresh, old), errs[:1])
				} else {
					old = fresh[0]
				}
			}
			s.WantQuiet()
			if sent := s.SentRefreshTokens(); len(slices.Compact(slices.Sorted(slices.Values(sent)))) != 3 {
				t.Error("a refresh token was sent twice")
			}
			if s.Peak(opserver.EndpointToken) != 1 {
				t.Error("two token requests at once")
			}
			if got := s.EventsOf(gatehouse.EventRefresh); len(got) != 3 || got[0] != "" {
				t.Errorf("refresh events %q, want 3 without a code", got)
			}
		})
	}
}

// SE10, FA11: the provider no longer knows the refresh token.
func SE10InvalidGrantEndsTheSession(t *testing.T, on On) {
	s, seen := world.WithTokens(t, on)
	ana, ben := s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	ben.SignIn()
	s.RevokeGrants("ana")
	s.Advance(world.Past)
	ana.WantOut(ana.Get("/token"))
	if tokens, errs := seen.Take(); len(tokens)+len(errs) != 0 {
		t.Error("the handler ran for a person who was locked out")
	}
	for at := range 2 {
		ana.WantOut(ana.On(at).Get("/notes/"))
	}
	if got := s.Refreshes(); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
	ben.WantServed(ben.Get("/token"))
	// The refusal says that the grant has ended, and nothing about our client.
	if got := slices.DeleteFunc(s.EventsOf(gatehouse.EventRefresh), func(code string) bool { return code == "" }); !slices.Equal(got, []string{gatehouse.CodeLoginRequired}) {
		t.Errorf("refresh events with a code: %q, want only %q", got, gatehouse.CodeLoginRequired)
	}
	ana.SignIn() // one redirect to sign-in, no loop
	s.ShutdownAll()
	s.WantQuiet()
}

// SE10 for a script: the answer is 401 with the way to sign in, and no handler
// runs.
func SE10ScriptGets401(t *testing.T, on On) {
	s, seen := world.WithTokens(t, on)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.RevokeGrants("ana")
	s.Advance(world.Past)
	a := ana.On(world.ReplicaB).Fetch(http.MethodGet, "/token")
	s.WantRefusal(a, http.StatusUnauthorized)
	if tokens, errs := seen.Take(); len(tokens)+len(errs) != 0 || !strings.Contains(a.Body.String(), "/auth/login") {
		t.Errorf("the handler ran, or the way to sign in is missing: %v", a)
	}
	s.WantNoSession("ana-1")
	s.ShutdownAll()
}

// FA11: while the provider is in trouble the session continues to serve. Only
// Token and Client report it, and there are pauses between attempts.
func FA11ProviderInTrouble(t *testing.T, on On) {
	for name, fault := range map[string]func(s *world.Site){
		"500":               func(s *world.Site) { s.Break(opserver.TokenEndpointDown) },
		"503":               func(s *world.Site) { s.Break(opserver.EndpointDown, opserver.EndpointToken) },
		"504":               func(s *world.Site) { s.OnRefresh(Always(504, "<html>")) },
		"refused":           func(s *world.Site) { s.SetDown(true) },
		"invalid_client":    func(s *world.Site) { s.OnRefresh(Always(401, `{"error":"invalid_client"}`)) },
		"too many requests": func(s *world.Site) { s.OnRefresh(Always(429, `{"error":"slow_down"}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := world.WithTokens(t, on)
			ana := s.Visitor("ana")
			ana.SignIn()
			fault(s)
			s.Advance(4*time.Minute + time.Second) // due, but still valid
			ana.WantServed(ana.Get("/token"))
			seen.One(t)
			s.ShutdownAll()
			s.Advance(time.Minute)
			before := len(s.Calls())
			for range 30 {
				ana.WantServed(ana.Get("/notes/"))
				ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
			}
			ana.WantServed(ana.Get("/token"))
			_, errs := seen.Take()
			if len(errs) != 1 || errs[0] == nil {
				t.Fatalf("errors %v, want one", errs)
			}
			WantUnavailable(t, errs[0])
			s.ShutdownAll()
			tries := len(s.Calls()) - before
			if tries > 3 {
				t.Errorf("%d requests to a provider in trouble", tries)
			}
			s.SetDown(false)
			s.SetWire(nil)
			s.Mend(opserver.TokenEndpointDown)
			s.Mend(opserver.EndpointDown)
			s.Advance(30 * time.Second)
			ana.WantServed(ana.Get("/token"))
			seen.One(t)
			s.ShutdownAll()
			s.WantQuiet()
		})
	}
}

// FA11 in full: while the access token is valid, a provider that fails or hangs
// is asked again after a random 10 to 20 s, and everybody is served with the
// old token. Then it answers invalid_grant: the session ends, with one redirect
// to sign-in.
func FA11TroubleThenInvalidGrant(t *testing.T, on On) {
	for name, fault := range map[string]func(s *world.Site){
		"500": func(s *world.Site) { s.Break(opserver.TokenEndpointDown) },
		"timeout": func(s *world.Site) {
			s.OnRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
				return nil, context.DeadlineExceeded
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := world.WithTokens(t, on)
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/token")
			old := seen.One(t)
			s.Advance(4*time.Minute + time.Second)
			fault(s)
			tried := func() int { return len(s.SentRefreshTokens()) }
			pauses, last := map[time.Duration]bool{}, time.Time{}
			step := time.Second
			if name == "timeout" {
				step = 13 * time.Second // longer than the remaining lease, for which requests wait
			}
			for end := s.Now().Add(52 * time.Second); s.Now().Before(end); s.Advance(step) {
				had := tried()
				ana.WantServed(ana.Get("/token"))
				if seen.One(t) != old {
					t.Fatal("a token other than the old one")
				}
				s.ShutdownAll()
				if n := tried() - had; n == 1 {
					if pause := s.Now().Sub(last); !last.IsZero() && name == "500" {
						pauses[pause] = true
						if pause < 10*time.Second || pause > 21*time.Second {
							t.Errorf("asked again after %v, want 10 to 20 s", pause)
						}
					}
					last = s.Now()
				} else if n > 1 {
					t.Errorf("%d refreshes during one request", n)
				}
			}
			if last.IsZero() {
				t.Fatal("no refresh was tried")
			}
			s.Mend(opserver.TokenEndpointDown)
			s.SetWire(nil)
			s.RevokeGrants("ana")
			s.EndSessions("ana")
			s.Advance(time.Minute)
			if a := ana.Fetch(http.MethodGet, "/token"); a.Code != http.StatusUnauthorized {
				t.Errorf("a script got %v", a)
			}
			seen.Take()
			ana.WantOut(ana.Get("/token"))
			if tokens, errs := seen.Take(); len(tokens)+len(errs) != 0 {
				t.Error("the handler ran with old claims")
			}
			s.ResetCounts()
			ana.SignIn()
			if n := s.Count(opserver.EndpointAuthorize); n != 1 {
				t.Errorf("%d authorization requests, want 1", n)
			}
			s.ShutdownAll()
		})
	}
}
