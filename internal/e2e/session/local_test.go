package session_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// A sign-out for here alone ends the session on both replicas and tells the
// provider nothing: the next sign-in asks for no password.
func TestLogoutLocal(t *testing.T) {
	for name, out := range map[string]func(b *world.Visitor) *world.Page{
		"form":    func(b *world.Visitor) *world.Page { return b.Post("/auth/logout", url.Values{"local": {"1"}}) },
		"address": func(b *world.Visitor) *world.Page { return b.Post("/auth/logout?local=1", nil) },
		"script":  func(b *world.Visitor) *world.Page { return b.Fetch(http.MethodPost, "/auth/logout?local=1") },
	} {
		t.Run(name, func(t *testing.T) {
			s := stories.LogoutSite(t, stories.InMemory)
			ana, sid := stories.SignedIn(s, "ana", world.ReplicaA)
			thief := s.Visitor("ana")
			thief.SetCookie(ana.SessionName(), ana.SessionCookie())
			a := out(ana)
			if name == "script" {
				if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `"logout_url":"/auth/logout"`) {
					t.Errorf("got %v", a)
				}
			} else if page := ana.Follow(a, nil); a.Location() != "/auth/logout" || !strings.Contains(page.Body.String(), "signed out") {
				t.Errorf("got %v, then %v", a, page)
			}
			stories.Everywhere(s, func(at int) { thief.WantOut(thief.On(at).Get("/notes/")) })
			s.ShutdownAll()
			if end, revoked := s.Count(opserver.EndpointEndSession), s.Count(opserver.EndpointRevoke); end != 0 || revoked != 0 {
				t.Errorf("%d requests to end the session, %d revocations", end, revoked)
			}
			if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] != "local" {
				t.Errorf("logout events %q", got)
			}
			ana.SignIn()
			if got := ana.Get("/sid").Body.String(); got != sid {
				t.Error("the session at the provider has ended")
			}
		})
	}
}

// Neither a parameter that is empty nor another site makes a sign-out local.
func TestLogoutNotLocal(t *testing.T) {
	s := stories.LogoutSite(t, stories.InMemory)
	ana, _ := stories.SignedIn(s, "ana", world.ReplicaA)
	s.WantRefusal(ana.Do(ana.Request(http.MethodPost, "/auth/logout?local=1", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example", "Accept", "text/html")), http.StatusForbidden)
	ana.WantServed(ana.Get("/notes/"))
	if a := ana.Post("/auth/logout?local=", url.Values{"local": {""}}); !strings.HasPrefix(a.Location(), s.Endpoint("end_session_endpoint")) {
		t.Errorf("got %v", a)
	}
}

// LO1: the refresh token is revoked at sign-out, and the access tokens of its
// grant with it. Where there is no refresh token, the access token is.
func TestLO1_TokensAreRevoked(t *testing.T) {
	for name, without := range map[string]bool{"refresh token": false, "access token alone": true} {
		t.Run(name, func(t *testing.T) {
			s, seen := world.WithTokens(t)
			if without {
				s.OnToken(t, func(m map[string]any) { delete(m, "refresh_token") })
			}
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/token")
			access := seen.One(t)
			if a := ana.On(world.ReplicaB).Post("/auth/logout", nil); a.Code != http.StatusSeeOther {
				t.Fatalf("got %v", a)
			}
			s.ShutdownAll()
			calls := s.CallsTo("revocation_endpoint")
			if len(calls) != 1 {
				t.Fatalf("%d revocations, want 1", len(calls))
			}
			hint := "refresh_token"
			if without {
				hint = "access_token"
			}
			if calls[0].Form.Get("token_type_hint") != hint || (calls[0].Form.Get("token") == access) != without {
				t.Errorf("revoked as %q", calls[0].Form.Get("token_type_hint"))
			}
			r, err := http.NewRequest(http.MethodGet, s.Endpoint("userinfo_endpoint"), nil)
			s.Must(err)
			r.Header.Set("Authorization", "Bearer "+access)
			answer, err := s.Transport().RoundTrip(r)
			s.Must(err)
			if answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("the access token still works: %s", answer.Status)
			}
		})
	}
}
