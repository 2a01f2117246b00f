package session_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The code of a refresh that failed says what to do: nothing when the person was
// locked out, to mend the registration, or to wait. Token says the same.
func TestRefreshFailuresInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		code   string
		level  string
	}{
		"locked out":     {400, `{"error":"invalid_grant"}`, "login_required", "INFO"},
		"agreed no more": {400, `{"error":"access_denied"}`, "login_required", "INFO"},
		"wrong secret":   {401, `{"error":"invalid_client"}`, "client_refused", "ERROR"},
		"not for us":     {400, `{"error":"unauthorized_client"}`, "client_refused", "ERROR"},
		"nothing there":  {404, `<html>`, "endpoint_missing", "ERROR"},
		"moved":          {301, ``, "endpoint_missing", "ERROR"},
		"down":           {503, ``, "provider_unavailable", "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPISite(t)
			var err error
			s.use = func(login *gatehouse.RelyingParty, ctx context.Context, _ *http.Client) {
				token, e := login.Token(ctx)
				s.Must(e)
				s.OnRefresh(stories.Always(c.status, c.body))
				err = login.Refused(ctx, token.AccessToken)
			}
			s.Visitor("ana").Visit("/call")
			want := c.code
			if c.level == "WARN" {
				want = gatehouse.CodeTokenUnavailable
			}
			var e *gatehouse.Error
			if !errors.As(err, &e) || e.Code != want || (e.RetryAfter > 0) != (c.level == "WARN") {
				t.Errorf("%+v, want %s", err, want)
			}
			if !strings.Contains(s.Log(), "level="+c.level+` msg="gatehouse: refresh" issuer=`+s.Issuer()+" code="+c.code+" ") {
				t.Errorf("no line with %s at %s: %s", c.code, c.level, s.Log())
			}
		})
	}
}

// RP-R2: the ID Token of a refresh must match the session. Otherwise the new
// tokens are not used, and the spent refresh token is not sent again, because
// the server would take that for theft (RFC 6819 §5.2.2.3).
func TestRefreshIDTokenRefused(t *testing.T) {
	for name, change := range map[string]func(c map[string]any){
		"another person": func(c map[string]any) { c["sub"] = "ben-1" },
		"another issuer": func(c map[string]any) { c["iss"] = "https://op2.test" },
		"another client": func(c map[string]any) { c["aud"] = "other" },
		"expired":        func(c map[string]any) { c["exp"] = 1000000000 },
	} {
		t.Run(name, func(t *testing.T) {
			s, seen := world.WithTokens(t)
			refreshed := false
			s.Retoken(t, func(_, claims map[string]any) {
				if s.Refreshes() > 0 {
					refreshed = true
					change(claims)
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/token")
			old := seen.One(t)
			s.Advance(world.Past)
			a := ana.Get("/token")
			if !refreshed {
				t.Fatal("no refresh happened")
			}
			if a.Code == http.StatusOK {
				ana.WantServed(a)
			}
			tokens, _ := seen.Take()
			if len(tokens) != 0 && tokens[0] != old {
				t.Error("the token of the refused answer is used")
			}
			if strings.Contains(a.Body.String(), "ben") {
				t.Errorf("got %v", a)
			}
			for range 3 {
				s.Advance(time.Minute)
				ana.On(world.ReplicaB).Get("/notes/")
				s.ShutdownAll()
			}
			s.WantQuiet()
		})
	}
}

// The opserver's own fault, in a whole sign-in.
func TestRefreshOtherSubject(t *testing.T) {
	s, seen := world.WithTokens(t)
	s.Break(opserver.RefreshOtherSubject)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Get("/token")
	old := seen.One(t)
	s.Advance(world.Past)
	ana.Get("/token")
	if tokens, _ := seen.Take(); len(tokens) > 0 && tokens[0] != old {
		t.Error("the token of another person is used")
	}
}

// A sign-out during a refresh: the session stays dead, and the tokens that the
// provider issued for it are revoked.
func TestRefreshRacesLogout(t *testing.T) {
	s, _ := world.WithTokens(t)
	ana := s.Visitor("ana")
	cookie := ana.SignIn()
	name := ana.SessionName()
	s.Advance(world.Past)
	var given string
	s.OnRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		s.SetWire(nil)
		resp := world.RewriteJSON(t, next(r), func(m map[string]any) { given, _ = m["refresh_token"].(string) })
		other := s.Visitor("ana")
		other.SetCookie(name, cookie)
		if a := other.Post("/auth/logout", nil); a.Code != http.StatusSeeOther {
			t.Errorf("sign-out: %v", a)
		}
		return resp, nil
	})
	ana.WantOut(ana.On(world.ReplicaB).Get("/token"))
	s.ShutdownAll()
	for at := range 2 {
		thief := s.Visitor("ana")
		thief.SetCookie(name, cookie)
		thief.WantOut(thief.On(at).Get("/notes/"))
	}
	if given == "" || !slices.Contains(s.RevokedTokens(), given) {
		t.Errorf("the refresh token that came too late (given: %v) was not revoked", given != "")
	}
}

// RevokeAll during a refresh: the marks survive the merge.
func TestRefreshRacesRevokeAll(t *testing.T) {
	s, _ := world.WithTokens(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) { stories.RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1") })
	ana.On(world.ReplicaB).Get("/notes/") // began before, so it may still be answered
	s.ShutdownAll()
	for at := range 2 {
		ana.WantOut(ana.On(at).Get("/notes/"))
	}
}

// answersLost are ways to lose what the provider answered: the connection, or what
// a gateway or a network of caches says in its place.
func answersLost() map[string]func(*http.Request) (*http.Response, error) {
	gateway := func(status int) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) { return world.Answer(r, status, "<html>"), nil }
	}
	return map[string]func(*http.Request) (*http.Response, error){
		"no answer": func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded },
		"502":       gateway(http.StatusBadGateway),
		"504":       gateway(http.StatusGatewayTimeout),
		"524":       gateway(524),
		"a page":    gateway(http.StatusOK),
		"not a page": func(r *http.Request) (*http.Response, error) {
			return world.Answer(r, http.StatusOK, `{"access_token":"a`), nil
		},
	}
}

// The holder of the lease lost the provider's answer. Its lease stays, and
// another replica takes over after 12 s and sends the old token once. Only in
// that case does an invalid_grant let the access token serve until it expires.
func TestRefreshAnswerLost(t *testing.T) {
	for name, answer := range answersLost() {
		t.Run(name, func(t *testing.T) { refreshAnswerLost(t, answer) })
	}
}

func refreshAnswerLost(t *testing.T, answer func(*http.Request) (*http.Response, error)) {
	s, seen := world.WithTokens(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Get("/token")
	old := seen.One(t)
	s.OnRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		next(r)
		return answer(r)
	})
	s.Advance(4*time.Minute + time.Second)
	ana.WantServed(ana.Get("/notes/"))
	s.Shutdown(world.ReplicaA)
	s.SetWire(nil)
	if got := s.Refreshes(); got != 1 {
		t.Fatalf("%d refreshes", got)
	}
	s.Advance(21 * time.Second)                           // past the lease of 12 s and every pause
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/")) // starts the take-over
	s.Shutdown(world.ReplicaB)
	if got := s.Refreshes(); got != 2 {
		t.Fatalf("%d refreshes after the lease ran out, want 2", got)
	}
	ana.WantServed(ana.On(world.ReplicaB).Get("/token")) // 4 min 22 s: the token still serves
	if got := seen.One(t); got != old {
		t.Error("another token")
	}
	s.Advance(30 * time.Second)
	ana.WantServed(ana.Get("/notes/"))
	s.Advance(time.Minute)
	ana.WantOut(ana.Get("/notes/"))
	s.ShutdownAll()
	if got := s.Refreshes(); got != 2 {
		t.Errorf("%d refreshes in all: the old token was sent more than once by the take-over", got)
	}
}

// After a take-over as well, only invalid_grant can be the echo of our own request.
// What else ends a grant, or an ID Token about somebody else, ends the session at
// once.
func TestRefreshRefusedAfterTakeOver(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		serves bool
	}{
		"invalid_grant":     {400, `{"error":"invalid_grant"}`, true},
		"access_denied":     {400, `{"error":"access_denied"}`, false},
		"login_required":    {400, `{"error":"login_required"}`, false},
		"another type":      {200, `{"access_token":"other-access","token_type":"N_A"}`, false},
		"a broken ID Token": {200, `{"access_token":"other-access","token_type":"Bearer","id_token":"a.b.c"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := world.WithTokens(t)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.OnRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
				return nil, context.DeadlineExceeded
			})
			s.Advance(4*time.Minute + time.Second)
			ana.WantServed(ana.Get("/notes/"))
			s.Shutdown(world.ReplicaA)
			s.OnRefresh(stories.Always(c.status, c.body))
			s.Advance(21 * time.Second)                           // past the lease of 12 s and every pause
			ana.WantServed(ana.On(world.ReplicaB).Get("/notes/")) // starts the take-over
			s.Shutdown(world.ReplicaB)
			if sent := s.SentRefreshTokens(); len(sent) != 2 {
				t.Fatalf("%d refreshes, want 2", len(sent))
			}
			for at := range 2 {
				if a := ana.On(at).Get("/notes/"); c.serves {
					ana.WantServed(a)
				} else {
					ana.WantOut(a)
				}
			}
		})
	}
}

// A provider may send the same access token once more. All the same it is asked
// once for each expiry, also if two replicas want new tokens at once.
func TestRefreshSameAccessToken(t *testing.T) {
	s, _ := world.WithTokens(t)
	var access string
	s.OnToken(t, func(m map[string]any) {
		if access == "" {
			access, _ = m["access_token"].(string)
			return
		}
		m["access_token"] = access
		delete(m, "id_token") // it vouches for another access token
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for round := range 3 {
		s.Advance(world.Past)
		for _, a := range ana.Together(100, 2, "/token") {
			ana.WantServed(a)
		}
		s.ShutdownAll()
		if got := s.Refreshes(); got != round+1 {
			t.Fatalf("%d refreshes in all, want %d", got, round+1)
		}
	}
	s.WantQuiet()
}

// While a lease is held elsewhere, nobody sends until it has run out.
func TestRefreshLeaseIsRespected(t *testing.T) {
	s, _ := world.WithTokens(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.OnRefresh(func(*http.Request, func(*http.Request) *http.Response) (*http.Response, error) {
		return nil, context.DeadlineExceeded // nobody knows
	})
	s.Advance(4*time.Minute + time.Second)
	ana.Get("/notes/")
	s.Shutdown(world.ReplicaA)
	s.Advance(10 * time.Second)
	for range 10 {
		ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	}
	if sent := s.SentRefreshTokens(); len(sent) != 1 {
		t.Errorf("%d refreshes while the lease was held, want the first alone", len(sent))
	}
	s.SetWire(nil)
	s.Advance(11 * time.Second)
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	s.Shutdown(world.ReplicaB)
	if sent := s.SentRefreshTokens(); len(sent) != 2 || sent[0] != sent[1] {
		t.Errorf("%d refreshes sent", len(sent))
	}
	ana.WantServed(ana.Get("/notes/"))
	s.WantQuiet() // the first one never reached the provider
}

// The token request is given up 2 s before the lease ends.
func TestRefreshDeadline(t *testing.T) {
	s, _ := world.WithTokens(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	var left time.Duration
	s.OnRefresh(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, context.DeadlineExceeded
	})
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/notes/"))
	s.ShutdownAll()
	if left <= 0 || left > 10*time.Second {
		t.Errorf("a refresh would be awaited for %v, want at most 10 s", left)
	}
}

// Several sessions pause for different times after one outage, so that they do
// not all come back at once.
func TestFA11_Jitter(t *testing.T) {
	s, _ := world.WithTokens(t)
	const people = 8
	list := make([]*world.Visitor, people)
	for i := range list {
		list[i] = s.Visitor("ana")
		list[i].SignIn()
	}
	s.Advance(4*time.Minute + time.Second)
	s.Break(opserver.TokenEndpointDown)
	again := map[*world.Visitor]int{} // the second after the first attempt at which each asked again
	for second := range 25 {
		for _, b := range list {
			had := len(s.SentRefreshTokens())
			b.WantServed(b.Get("/notes/"))
			s.ShutdownAll()
			if n := len(s.SentRefreshTokens()) - had; n > 0 && second > 0 && again[b] == 0 {
				again[b] = second
			}
		}
		s.Advance(time.Second)
	}
	seconds := map[int]bool{}
	for _, second := range again {
		seconds[second] = true
	}
	if len(again) != people || len(seconds) < 2 {
		t.Errorf("%d sessions asked again at the seconds %v: all at once", len(again), seconds)
	}
}
