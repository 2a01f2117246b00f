package gatehouse_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// CC1, RP-R4, F22: 100 parallel requests with an expired access token cost one
// refresh, on one replica and over two.
func TestCC1_OneRefresh(t *testing.T) {
	for name, replicas := range map[string]int{"one replica": 1, "two replicas": 2} {
		t.Run(name, func(t *testing.T) {
			s, seen := withTokens(t)
			ana := s.visitor("ana")
			ana.signIn()
			ana.get("/token")
			old := seen.one(t)
			for round := range 3 {
				s.advance(past)
				for _, a := range ana.together(100, replicas, "/token") {
					ana.wantServed(a)
				}
				s.shutdownAll()
				if got := s.refreshes(); got != round+1 {
					t.Fatalf("round %d: %d refreshes in all, want %d", round, got, round+1)
				}
				tokens, errs := seen.take()
				slices.Sort(tokens)
				if fresh := slices.Compact(tokens); len(fresh) != 1 || fresh[0] == old {
					t.Errorf("round %d: %d different tokens (old among them: %v), errors %v", round, len(fresh), slices.Contains(fresh, old), errs[:1])
				} else {
					old = fresh[0]
				}
			}
			s.wantQuiet()
			if sent := s.sentRefreshTokens(); len(slices.Compact(slices.Sorted(slices.Values(sent)))) != 3 {
				t.Error("a refresh token was sent twice")
			}
			if s.Peak(opserver.EndpointToken) != 1 {
				t.Error("two token requests at once")
			}
			if got := s.eventsOf(gatehouse.EventRefresh); len(got) != 3 || got[0] != "" {
				t.Errorf("refresh events %q, want 3 without a code", got)
			}
		})
	}
}

// A refresh starts 60 s or a quarter of the life before expiry, and nobody waits
// while the token is good (decision 4).
func TestRefreshAhead(t *testing.T) {
	for _, c := range []struct{ life, at time.Duration }{
		{5 * time.Minute, 4 * time.Minute}, {time.Minute, 45 * time.Second}, {time.Hour, 59 * time.Minute}, {4 * time.Second, 3 * time.Second},
	} {
		t.Run(c.life.String(), func(t *testing.T) {
			s, _ := withTokens(t, limits(12*time.Hour, -1))
			s.SetTokenLifetime(c.life)
			ana := s.visitor("ana")
			ana.signIn()
			s.advance(c.at - time.Second)
			ana.wantServed(ana.get("/notes/"))
			s.shutdownAll()
			if got := s.refreshes(); got != 0 {
				t.Fatalf("%d refreshes a second too early", got)
			}
			hold := make(chan struct{})
			s.OnRequest(opserver.EndpointToken, func(*http.Request) { <-hold })
			s.advance(time.Second)
			ana.wantServed(ana.get("/notes/")) // comes although the provider does not answer
			close(hold)
			s.shutdownAll()
			if got := s.refreshes(); got != 1 {
				t.Errorf("%d refreshes when due, want 1", got)
			}
			ana.wantServed(ana.on(replicaB).get("/notes/"))
			s.shutdownAll()
			if got := s.refreshes(); got != 1 {
				t.Errorf("the other replica refreshed again: %d", got)
			}
		})
	}
}

// A token that is fresh costs no request; the page that wants one gets the same.
func TestRefreshNotBeforeDue(t *testing.T) {
	s, seen := withTokens(t)
	ana := s.visitor("ana")
	ana.signIn()
	for _, a := range ana.together(20, 2, "/token") {
		ana.wantServed(a)
	}
	tokens, _ := seen.take()
	if len(tokens) != 20 || len(slices.Compact(tokens)) != 1 || s.refreshes() != 0 {
		t.Errorf("%d tokens, %d refreshes", len(tokens), s.refreshes())
	}
}

// RP-R1, RP-R3: what an answer leaves out stays as it was; what it narrows is
// narrow; the cookie does not change.
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
			s, seen := withTokens(t, func(o *siteOptions) {
				mount := o.mount
				o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mount(mux, login)
					mux.Handle("/scopes", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						scopes = gatehouse.IdentityFrom(r.Context()).Scopes
					})))
				}
			})
			ana := s.visitor("ana")
			cookie := ana.signIn()
			ana.get("/token")
			old := seen.one(t)
			s.onRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return rewriteJSON(t, next(r), c.change), nil
			})
			s.advance(past)
			ana.wantServed(ana.get("/token"))
			if now := seen.one(t); now == old {
				t.Error("the token did not change")
			}
			ana.on(replicaB).get("/scopes")
			if len(scopes) != c.scope {
				t.Errorf("scopes %q", scopes)
			}
			if ana.sessionCookie() != cookie {
				t.Error("the cookie changed")
			}
			s.advance(past)
			ana.wantServed(ana.get("/token"))
			s.shutdownAll()
			s.wantQuiet()
		})
	}
}

// A provider that does not rotate: the same refresh token goes on.
func TestRefreshWithoutRotation(t *testing.T) {
	s, seen := withTokens(t)
	n := 0
	s.onRefresh(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
		n++
		return response(r, 200, toJSON(t, map[string]any{"access_token": "access-token-number-" + string(rune('0'+n)), "token_type": "Bearer", "expires_in": 300})), nil
	})
	ana := s.visitor("ana")
	ana.signIn()
	for i := range 3 {
		s.advance(past)
		ana.wantServed(ana.on(i % 2).get("/token"))
		if got := seen.one(t); got != "access-token-number-"+string(rune('1'+i)) {
			t.Errorf("token %q", got)
		}
	}
	sent := s.sentRefreshTokens()
	if len(sent) != 3 || sent[0] != sent[2] {
		t.Errorf("%d refreshes, the same token in all: %v", len(sent), len(sent) == 3 && sent[0] == sent[2])
	}
}

// A client without refresh tokens: pages go on, Token says so.
func TestRefreshWithoutRefreshToken(t *testing.T) {
	s, seen := withTokens(t, func(o *siteOptions) {
		o.client = func(c *opserver.Client) { c.GrantTypes = []string{"authorization_code"} }
	})
	ana := s.visitor("ana")
	ana.signIn()
	ana.wantServed(ana.get("/token"))
	seen.one(t)
	s.advance(past)
	ana.wantServed(ana.get("/token"))
	if _, errs := seen.take(); len(errs) != 1 || gatehouse.ErrorCode(errs[0]) != "no_token" {
		t.Errorf("errors %v, want no_token", errs)
	}
	if s.refreshes() != 0 {
		t.Error("a refresh without a refresh token")
	}
}

// M25: expiry is reckoned on the injected clock, and a token without expires_in
// is never renewed by guess.
func TestRefreshWithoutExpiry(t *testing.T) {
	s, seen := withTokens(t)
	s.breakIt(opserver.NoExpiresIn)
	ana := s.visitor("ana")
	ana.signIn()
	s.advance(25 * time.Minute)
	ana.wantServed(ana.get("/token"))
	seen.one(t)
	if s.refreshes() != 0 {
		t.Error("a token of unknown life was renewed")
	}
}

func TestTokenWithoutSession(t *testing.T) {
	s, _ := withTokens(t)
	login := s.replicas[0].login
	for name, ctx := range map[string]context.Context{
		"nobody":         context.Background(),
		"set by a test":  gatehouse.WithIdentity(context.Background(), &gatehouse.Identity{Issuer: siteIssuer, Subject: "ana-1"}),
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
