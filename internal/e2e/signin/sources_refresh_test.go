package signin_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// After a refresh a claim that lies elsewhere is what its source says now. If that
// cannot be had, it stays as it was; if the provider refers to it no longer, it is
// gone.
func TestRPU4_SourcesAtRefresh(t *testing.T) {
	for _, where := range documents {
		t.Run(where, func(t *testing.T) {
			s := newSourcing(t, where)
			score, names := 650, []string{"score"}
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				if score == 0 {
					http.Error(w, "down", http.StatusServiceUnavailable)
					return
				}
				_, _ = w.Write([]byte(s.says(bank, map[string]any{"score": score})))
			}
			s.point = func(m map[string]any) {
				if len(names) > 0 {
					elsewhere(m, map[string]any{"endpoint": bank + "/"}, names...)
				}
			}
			ana := s.Visitor("ana")
			ana.SignIn()
			for i, c := range []struct {
				now      int
				gone     bool
				want     any
				troubles int
			}{
				{650, false, 650.0, 0}, {700, false, 700.0, 0}, {0, false, 700.0, 1}, {0, false, 700.0, 2}, {500, false, 500.0, 2}, {0, true, nil, 2}, {500, false, 500.0, 2},
			} {
				score, names = c.now, []string{"score"}
				if c.gone {
					names = nil
				}
				s.Advance(world.Past)
				got := s.read(ana, "/claims")
				if got["score"] != c.want || got["_claim_names"] != nil || got["_claim_sources"] != nil || got["email"] != "ana@example.org" {
					t.Errorf("refresh %d: claims %v, want %v", i, got, c.want)
				}
				if n := len(s.troubles()); n != c.troubles {
					t.Errorf("refresh %d: %d troubles %q", i, n, s.troubles())
				}
			}
		})
	}
}

// Without a new ID Token the claims of the old one stay, those that were elsewhere
// too, and its sources are not asked again.
func TestRPU4_SourcesOfAnOldIDToken(t *testing.T) {
	s := newSourcing(t, "ID Token")
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(s.says(bank, map[string]any{"score": 650})))
	}
	s.point = func(m map[string]any) { elsewhere(m, map[string]any{"endpoint": bank + "/"}, "score") }
	ana := s.Visitor("ana")
	ana.SignIn()
	s.OnToken(t, func(m map[string]any) { delete(m, "id_token") })
	for range 2 {
		s.Advance(world.Past)
		if got := s.read(ana, "/claims"); got["score"] != 650.0 || got["_claim_names"] != nil || len(s.asked) != 1 || len(s.troubles()) != 0 {
			t.Errorf("claims %v, asked %q", got, s.asked)
		}
	}
}

// While the user info is away, a claim that the new ID Token no longer refers to is
// gone all the same, and one that the user info referred to stays.
func TestRPU4_SourcesWithoutUserInfo(t *testing.T) {
	for _, where := range documents {
		t.Run(where, func(t *testing.T) {
			s := newSourcing(t, where)
			signed := true
			s.point = func(m map[string]any) {
				if signed {
					elsewhere(m, map[string]any{"JWT": s.says(bank, map[string]any{"score": 650})}, "score")
				}
			}
			ana := s.Visitor("ana")
			ana.SignIn()
			if got := s.read(ana, "/claims"); got["score"] != 650.0 {
				t.Fatalf("claims %v", got)
			}
			signed = false
			s.Break(opserver.UserInfoRefused)
			s.Advance(world.Past)
			got := s.read(ana, "/claims")
			if got["email"] != "ana@example.org" || (got["score"] != nil) != (where == "user info") {
				t.Errorf("claims %v", got)
			}
		})
	}
}

// What the application set itself lies on top, and is not taken for what a source
// said once.
func TestRPU4_SourcesBelowTheApplication(t *testing.T) {
	s := newSourcing(t, "user info", func(c *gatehouse.RelyingPartyConfig) {
		c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
			if fmt.Sprint(id.ClaimString("rating")) != "good" {
				t.Errorf("OnSignIn sees rating %q", id.ClaimString("rating"))
			}
			return id.SetClaim("score", 1)
		}
	})
	down := false
	s.point = func(m map[string]any) {
		source := map[string]any{"JWT": s.says(bank, map[string]any{"score": 650, "rating": "good"})}
		if down {
			source = map[string]any{"endpoint": unknown}
		}
		elsewhere(m, source, "score", "rating")
	}
	ana := s.Visitor("ana")
	ana.SignIn()
	down = true
	s.Advance(world.Past)
	if got := s.read(ana, "/claims"); got["score"] != 1.0 || got["rating"] != "good" || fmt.Sprint(got["_claim_names"]) != "map[score:src1]" {
		t.Errorf("claims %v", got)
	}
}

// A script is told no tokens of sources, whatever it is told besides.
func TestRPU4_ScriptsSeeNoSources(t *testing.T) {
	for _, protocol := range []bool{false, true} {
		s := world.NewSite(t, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SessionProtocolClaims = protocol }
			o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) { mux.Handle("/who", login.SessionHandler()) }
		})
		s.Mint("token of a source", "token-of-the-source")
		s.Retoken(t, func(_, claims map[string]any) {
			elsewhere(claims, map[string]any{"endpoint": unknown, "access_token": "token-of-the-source"}, "score")
		})
		ana := s.Visitor("ana")
		ana.SignIn()
		told := ana.Fetch("GET", "/who").Body.String()
		if strings.Contains(told, "_claim_sources") || !strings.Contains(told, `"_claim_names"`) || strings.Contains(told, `"nonce"`) != protocol {
			t.Errorf("a script is told %s", told)
		}
	}
}
