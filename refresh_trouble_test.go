package gatehouse_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// SE10, FA11: the provider does not know the refresh token any more.
func TestSE10_InvalidGrantEndsTheSession(t *testing.T) {
	s, seen := withTokens(t)
	ana, ben := s.visitor("ana"), s.visitor("ben")
	ana.signIn()
	ben.signIn()
	s.RevokeGrants("ana")
	s.advance(past)
	ana.wantOut(ana.get("/token"))
	if tokens, errs := seen.take(); len(tokens)+len(errs) != 0 {
		t.Error("the handler ran for a person who was locked out")
	}
	for at := range 2 {
		ana.wantOut(ana.on(at).get("/notes/"))
	}
	if got := s.refreshes(); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
	ben.wantServed(ben.get("/token"))
	if got := s.eventsOf(gatehouse.EventRefresh); !slices.ContainsFunc(got, func(code string) bool { return code != "" }) {
		t.Errorf("refresh events %q, want one with a code", got)
	}
	ana.signIn() // one redirect to sign-in, no loop
	s.shutdownAll()
	s.wantQuiet()
}

// FA11: a provider in trouble keeps the session serving; only Token and Client
// report it, and the tries are spaced.
func TestFA11_ProviderInTrouble(t *testing.T) {
	for name, fault := range map[string]func(s *site){
		"500":               func(s *site) { s.breakIt(opserver.TokenEndpointDown) },
		"503":               func(s *site) { s.breakIt(opserver.EndpointDown, opserver.EndpointToken) },
		"refused":           func(s *site) { s.setDown(true) },
		"invalid_client":    func(s *site) { s.onRefresh(always(401, `{"error":"invalid_client"}`)) },
		"too many requests": func(s *site) { s.onRefresh(always(429, `{"error":"slow_down"}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := withTokens(t)
			ana := s.visitor("ana")
			ana.signIn()
			fault(s)
			s.advance(4*time.Minute + time.Second) // due, and still good
			ana.wantServed(ana.get("/token"))
			seen.one(t)
			s.shutdownAll()
			s.advance(time.Minute)
			s.mu.Lock()
			before := len(s.calls)
			s.mu.Unlock()
			for range 30 {
				ana.wantServed(ana.get("/notes/"))
				ana.wantServed(ana.on(replicaB).get("/notes/"))
			}
			ana.wantServed(ana.get("/token"))
			_, errs := seen.take()
			if len(errs) != 1 || errs[0] == nil {
				t.Fatalf("errors %v, want one", errs)
			}
			wantUnavailable(t, errs[0])
			s.shutdownAll()
			s.mu.Lock()
			tries := len(s.calls) - before
			s.mu.Unlock()
			if tries > 3 {
				t.Errorf("%d requests to a provider in trouble", tries)
			}
			s.setDown(false)
			s.setWire(nil)
			s.mend(opserver.TokenEndpointDown)
			s.mend(opserver.EndpointDown)
			s.advance(30 * time.Second)
			ana.wantServed(ana.get("/token"))
			seen.one(t)
			s.shutdownAll()
			s.wantQuiet()
		})
	}
}

func always(code int, body string) func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
	return func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		return response(r, code, body), nil
	}
}

func wantUnavailable(t testing.TB, err error) {
	t.Helper()
	e, ok := err.(*gatehouse.Error)
	if !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 {
		t.Errorf("error %v, want an *Error with 503 and RetryAfter", err)
	}
}

// RP-R2: the ID Token of a refresh is held to the session. The new tokens are
// not used, and the refresh token that was spent is not sent again (defect 3).
func TestRefreshIDTokenRefused(t *testing.T) {
	for name, change := range map[string]func(c map[string]any){
		"another person": func(c map[string]any) { c["sub"] = "ben-1" },
		"another issuer": func(c map[string]any) { c["iss"] = "https://op2.test" },
		"another client": func(c map[string]any) { c["aud"] = "other" },
		"expired":        func(c map[string]any) { c["exp"] = 1000000000 },
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := withTokens(t)
			refreshed := false
			s.retoken(t, func(_, claims map[string]any) {
				if s.refreshes() > 0 {
					refreshed = true
					change(claims)
				}
			})
			ana := s.visitor("ana")
			ana.signIn()
			ana.get("/token")
			old := seen.one(t)
			s.advance(past)
			a := ana.get("/token")
			if !refreshed {
				t.Fatal("no refresh happened")
			}
			if a.Code == http.StatusOK {
				ana.wantServed(a)
			}
			tokens, _ := seen.take()
			if len(tokens) != 0 && tokens[0] != old {
				t.Error("the token of the refused answer is used")
			}
			if strings.Contains(a.Body.String(), "ben") {
				t.Errorf("got %v", a)
			}
			for range 3 {
				s.advance(time.Minute)
				ana.on(replicaB).get("/notes/")
				s.shutdownAll()
			}
			s.wantQuiet()
		})
	}
}

// The opserver's own fault, in a whole sign-in.
func TestRefreshOtherSubject(t *testing.T) {
	s, seen := withTokens(t)
	s.breakIt(opserver.RefreshOtherSubject)
	ana := s.visitor("ana")
	ana.signIn()
	ana.get("/token")
	old := seen.one(t)
	s.advance(past)
	ana.get("/token")
	if tokens, _ := seen.take(); len(tokens) > 0 && tokens[0] != old {
		t.Error("the token of another person is used")
	}
}

// A sign-out while the refresh is under way: the session stays dead, and what the
// provider gave for it is revoked.
func TestRefreshRacesLogout(t *testing.T) {
	s, _ := withTokens(t)
	ana := s.visitor("ana")
	cookie := ana.signIn()
	name := ana.sessionName()
	s.advance(past)
	var given string
	s.onRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		s.setWire(nil)
		resp := rewriteJSON(t, next(r), func(m map[string]any) { given, _ = m["refresh_token"].(string) })
		other := s.visitor("ana")
		other.setCookie(name, cookie)
		if a := other.post("/auth/logout", nil); a.Code != http.StatusSeeOther {
			t.Errorf("sign-out: %v", a)
		}
		return resp, nil
	})
	ana.wantOut(ana.on(replicaB).get("/token"))
	s.shutdownAll()
	for at := range 2 {
		thief := s.visitor("ana")
		thief.setCookie(name, cookie)
		thief.wantOut(thief.on(at).get("/notes/"))
	}
	if given == "" || !slices.Contains(s.revokedTokens(), given) {
		t.Errorf("the refresh token that came too late (given: %v) was not revoked", given != "")
	}
}

// RevokeAll while the refresh is under way: the marks outlive the merge.
func TestRefreshRacesRevokeAll(t *testing.T) {
	s, _ := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	s.advance(past)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { s.revokeAll(replicaA, siteIssuer, "ana-1") })
	ana.on(replicaB).get("/notes/") // began before; may still be answered
	s.shutdownAll()
	for at := range 2 {
		ana.wantOut(ana.on(at).get("/notes/"))
	}
}

// The holder of the lease lost the provider's answer. Its lease stays, somebody
// takes over after 12 s and sends the old token once; there, and only there, an
// invalid_grant lets the access token serve until it expires.
func TestRefreshAnswerLost(t *testing.T) {
	s, seen := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	ana.get("/token")
	old := seen.one(t)
	s.onRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		next(r)
		return nil, context.DeadlineExceeded
	})
	s.advance(4*time.Minute + time.Second)
	ana.wantServed(ana.get("/notes/"))
	s.shutdown(replicaA)
	s.setWire(nil)
	if got := s.refreshes(); got != 1 {
		t.Fatalf("%d refreshes", got)
	}
	s.advance(21 * time.Second)                     // past the lease of 12 s and every pause
	ana.wantServed(ana.on(replicaB).get("/notes/")) // starts the take-over
	s.shutdown(replicaB)
	if got := s.refreshes(); got != 2 {
		t.Fatalf("%d refreshes after the lease ran out, want 2", got)
	}
	ana.wantServed(ana.on(replicaB).get("/token")) // 4 min 22 s: the token serves on
	if got := seen.one(t); got != old {
		t.Error("another token")
	}
	s.advance(30 * time.Second)
	ana.wantServed(ana.get("/notes/"))
	s.advance(time.Minute)
	ana.wantOut(ana.get("/notes/"))
	s.shutdownAll()
	if got := s.refreshes(); got != 2 {
		t.Errorf("%d refreshes in all: the old token was sent more than once by the take-over", got)
	}
}

// While a lease is held elsewhere, nobody sends: not before it has run out.
func TestRefreshLeaseIsRespected(t *testing.T) {
	s, _ := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	s.onRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
		return nil, context.DeadlineExceeded // nobody knows
	})
	s.advance(4*time.Minute + time.Second)
	ana.get("/notes/")
	s.shutdown(replicaA)
	s.advance(10 * time.Second)
	for range 10 {
		ana.wantServed(ana.on(replicaB).get("/notes/"))
	}
	if sent := s.sentRefreshTokens(); len(sent) != 1 {
		t.Errorf("%d refreshes while the lease was held, want the first alone", len(sent))
	}
	s.setWire(nil)
	s.advance(11 * time.Second)
	ana.wantServed(ana.on(replicaB).get("/notes/"))
	s.shutdown(replicaB)
	if sent := s.sentRefreshTokens(); len(sent) != 2 || sent[0] != sent[1] {
		t.Errorf("%d refreshes sent", len(sent))
	}
	ana.wantServed(ana.get("/notes/"))
	s.wantQuiet() // the first one never reached the provider
}

// The token request is not awaited past the lease less 2 s.
func TestRefreshDeadline(t *testing.T) {
	s, _ := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	var left time.Duration
	s.onRefresh(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, context.DeadlineExceeded
	})
	s.advance(past)
	ana.wantServed(ana.get("/notes/"))
	s.shutdownAll()
	if left <= 0 || left > 10*time.Second {
		t.Errorf("a refresh would be awaited for %v, want at most 10 s", left)
	}
}

// FA11 whole: while the access token is good a provider that fails or hangs is
// asked again after 10 to 20 s, spread at random, and everybody is served with
// the old token. Then it says invalid_grant: the session ends, with one redirect
// to sign-in.
func TestFA11_TroubleThenInvalidGrant(t *testing.T) {
	for name, fault := range map[string]func(s *site){
		"500": func(s *site) { s.breakIt(opserver.TokenEndpointDown) },
		"timeout": func(s *site) {
			s.onRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
				return nil, context.DeadlineExceeded
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := withTokens(t)
			ana := s.visitor("ana")
			ana.signIn()
			ana.get("/token")
			old := seen.one(t)
			s.advance(4*time.Minute + time.Second)
			fault(s)
			tried := func() int { return len(s.sentRefreshTokens()) }
			pauses, last := map[time.Duration]bool{}, time.Time{}
			step := time.Second
			if name == "timeout" {
				step = 13 * time.Second // longer than the lease that is left standing, for which requests wait
			}
			for end := s.Now().Add(52 * time.Second); s.Now().Before(end); s.advance(step) {
				had := tried()
				ana.wantServed(ana.get("/token"))
				if seen.one(t) != old {
					t.Fatal("another token than the old one")
				}
				s.shutdownAll()
				if n := tried() - had; n == 1 {
					if pause := s.Now().Sub(last); !last.IsZero() && name == "500" {
						pauses[pause] = true
						if pause < 10*time.Second || pause > 21*time.Second {
							t.Errorf("asked again after %v, want 10 to 20 s", pause)
						}
					}
					last = s.Now()
				} else if n > 1 {
					t.Errorf("%d refreshes at one request", n)
				}
			}
			if last.IsZero() {
				t.Fatal("no refresh was tried")
			}
			s.mend(opserver.TokenEndpointDown)
			s.setWire(nil)
			s.RevokeGrants("ana")
			s.EndSessions("ana")
			s.advance(time.Minute)
			if a := ana.fetch(http.MethodGet, "/token"); a.Code != http.StatusUnauthorized {
				t.Errorf("a script got %v", a)
			}
			seen.take()
			ana.wantOut(ana.get("/token"))
			if tokens, errs := seen.take(); len(tokens)+len(errs) != 0 {
				t.Error("the handler ran with old claims")
			}
			s.ResetCounts()
			ana.signIn()
			if n := s.Count(opserver.EndpointAuthorize); n != 1 {
				t.Errorf("%d authorization requests, want 1", n)
			}
			s.shutdownAll()
		})
	}
}

// The pauses of several sessions after one outage differ, so that they do not
// come back all at once.
func TestFA11_Jitter(t *testing.T) {
	s, _ := withTokens(t)
	const people = 8
	list := make([]*visitor, people)
	for i := range list {
		list[i] = s.visitor("ana")
		list[i].signIn()
	}
	s.advance(4*time.Minute + time.Second)
	s.breakIt(opserver.TokenEndpointDown)
	again := map[*visitor]int{} // the second after the first try at which one asked again
	for second := range 25 {
		for _, b := range list {
			had := len(s.sentRefreshTokens())
			b.wantServed(b.get("/notes/"))
			s.shutdownAll()
			if n := len(s.sentRefreshTokens()) - had; n > 0 && second > 0 && again[b] == 0 {
				again[b] = second
			}
		}
		s.advance(time.Second)
	}
	seconds := map[int]bool{}
	for _, second := range again {
		seconds[second] = true
	}
	if len(again) != people || len(seconds) < 2 {
		t.Errorf("%d sessions asked again at the seconds %v: all at once", len(again), seconds)
	}
}

// SE10 for a script: 401 with the way to sign in, and no handler that runs.
func TestSE10_ScriptGets401(t *testing.T) {
	s, seen := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	s.RevokeGrants("ana")
	s.advance(past)
	a := ana.on(replicaB).fetch(http.MethodGet, "/token")
	s.wantRefusal(a, http.StatusUnauthorized)
	if tokens, errs := seen.take(); len(tokens)+len(errs) != 0 || !strings.Contains(a.Body.String(), "/auth/login") {
		t.Errorf("the handler ran, or the way to sign in is missing: %v", a)
	}
	s.wantNoSession("ana-1")
	s.shutdownAll()
}
