package session_test

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

// A refresh starts 60 s or a quarter of the token's life before expiry, and
// nobody waits while the token is valid (decision 4).
func TestRefreshAhead(t *testing.T) {
	for _, c := range []struct{ life, at time.Duration }{
		{5 * time.Minute, 4 * time.Minute}, {time.Minute, 45 * time.Second}, {time.Hour, 59 * time.Minute}, {4 * time.Second, 3 * time.Second},
	} {
		t.Run(c.life.String(), func(t *testing.T) {
			s, _ := world.WithTokens(t, world.Limits(12*time.Hour, -1))
			s.SetTokenLifetime(c.life)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(c.at - time.Second)
			ana.WantServed(ana.Get("/notes/"))
			s.ShutdownAll()
			if got := s.Refreshes(); got != 0 {
				t.Fatalf("%d refreshes a second too early", got)
			}
			hold := make(chan struct{})
			s.OnRequest(opserver.EndpointToken, func(*http.Request) { <-hold })
			s.Advance(time.Second)
			ana.WantServed(ana.Get("/notes/")) // returns although the provider does not answer
			close(hold)
			s.ShutdownAll()
			if got := s.Refreshes(); got != 1 {
				t.Errorf("%d refreshes when due, want 1", got)
			}
			ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
			s.ShutdownAll()
			if got := s.Refreshes(); got != 1 {
				t.Errorf("the other replica refreshed again: %d", got)
			}
		})
	}
}

// A fresh token causes no request. A page that asks for it gets the same one.
func TestRefreshNotBeforeDue(t *testing.T) {
	s, seen := world.WithTokens(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, a := range ana.Together(20, 2, "/token") {
		ana.WantServed(a)
	}
	tokens, _ := seen.Take()
	if len(tokens) != 20 || len(slices.Compact(tokens)) != 1 || s.Refreshes() != 0 {
		t.Errorf("%d tokens, %d refreshes", len(tokens), s.Refreshes())
	}
}

// RP-R1, RP-R3: what an answer leaves out stays as it was, a narrowed scope
// takes effect, and the cookie does not change.
func TestRefreshAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m map[string]any)
		scope  int
	}{
		{"whole", func(map[string]any) {}, 3},
		{"without id_token", func(m map[string]any) { delete(m, "id_token") }, 3},
		{"without scope", func(m map[string]any) { delete(m, "scope") }, 3},
		{"less scope", func(m map[string]any) { m["scope"] = "openid" }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var scopes []string
			s, seen := world.WithTokens(t, func(o *world.SiteOptions) {
				mount := o.Mount
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mount(mux, login)
					mux.Handle("/scopes", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						scopes = gatehouse.IdentityFrom(r.Context()).Scopes
					})))
				}
			})
			ana := s.Visitor("ana")
			cookie := ana.SignIn()
			ana.Get("/token")
			old := seen.One(t)
			s.OnRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return world.RewriteJSON(t, next(r), c.change), nil
			})
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/token"))
			if now := seen.One(t); now == old {
				t.Error("the token did not change")
			}
			ana.On(world.ReplicaB).Get("/scopes")
			if len(scopes) != c.scope {
				t.Errorf("scopes %q", scopes)
			}
			if ana.SessionCookie() != cookie {
				t.Error("the cookie changed")
			}
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/token"))
			s.ShutdownAll()
			s.WantQuiet()
		})
	}
}

// If a provider does not rotate, the same refresh token stays in use.
func TestRefreshWithoutRotation(t *testing.T) {
	s, seen := world.WithTokens(t)
	n := 0
	s.OnRefresh(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		n++
		return world.Answer(r, 200, world.JSON(t, map[string]any{"access_token": "access-token-number-" + string(rune('0'+n)), "token_type": "Bearer", "expires_in": 300})), nil
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for i := range 3 {
		s.Advance(world.Past)
		ana.WantServed(ana.On(i % 2).Get("/token"))
		if got := seen.One(t); got != "access-token-number-"+string(rune('1'+i)) {
			t.Errorf("token %q", got)
		}
	}
	sent := s.SentRefreshTokens()
	if len(sent) != 3 || sent[0] != sent[2] {
		t.Errorf("%d refreshes, the same token in all: %v", len(sent), len(sent) == 3 && sent[0] == sent[2])
	}
}

// A client without refresh tokens: pages continue to work, and Token reports
// it.
func TestRefreshWithoutRefreshToken(t *testing.T) {
	s, seen := world.WithTokens(t, func(o *world.SiteOptions) {
		o.Client = func(c *opserver.Client) { c.GrantTypes = []string{"authorization_code"} }
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/token"))
	seen.One(t)
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/token"))
	if _, errs := seen.Take(); len(errs) != 1 || gatehouse.ErrorCode(errs[0]) != "no_token" {
		t.Errorf("errors %v, want no_token", errs)
	} else if text := errs[0].Error(); !strings.Contains(text, "expired at 2026-05-01T12:05:00Z") || !strings.Contains(text, "now it is 2026-05-01T12:05:01Z") {
		t.Errorf("%q lacks the times", text)
	}
	if s.Refreshes() != 0 {
		t.Error("a refresh without a refresh token")
	}
}

// M25: expiry is computed from the injected clock, and a token without
// expires_in is never renewed on a guess.
func TestRefreshWithoutExpiry(t *testing.T) {
	s, seen := world.WithTokens(t)
	s.Break(opserver.NoExpiresIn)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(25 * time.Minute)
	ana.WantServed(ana.Get("/token"))
	seen.One(t)
	if s.Refreshes() != 0 {
		t.Error("a token of unknown lifetime was renewed")
	}
}

func TestTokenWithoutSession(t *testing.T) {
	s, _ := world.WithTokens(t)
	login := s.Replicas[0].Login
	for name, ctx := range map[string]context.Context{
		"nobody":         context.Background(),
		"set by a test":  gatehouse.WithIdentity(context.Background(), &gatehouse.Identity{Issuer: world.SiteIssuer, Subject: "ana-1"}),
		"nil on context": gatehouse.WithIdentity(context.Background(), nil),
	} {
		if _, err := login.Token(ctx); gatehouse.ErrorCode(err) != "login_required" {
			t.Errorf("%s: %v, want login_required", name, err)
		}
		if _, err := login.HTTPClient(ctx, "https://api.test"); gatehouse.ErrorCode(err) != "login_required" {
			t.Errorf("%s: Client gave %v, want login_required", name, err)
		}
	}
}
