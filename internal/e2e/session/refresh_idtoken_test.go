package session_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// OpenID Connect Core §12.2: the ID Token of a refresh has the nonce, the
// auth_time, the aud and the azp of the first one, and is newer. Otherwise the
// new tokens are not used and the old refresh token is not sent again.
func TestRefreshIDTokenComparedWithTheFirst(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(claims map[string]any, nonce string, authTime int64)
		good   bool
	}{
		{"the same", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"] = nonce, at }, true},
		{"without either", func(c map[string]any, _ string, _ int64) { delete(c, "nonce"); delete(c, "auth_time") }, true},
		{"nonce differs", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"] = nonce+"A", at }, false},
		{"nonce empty", func(c map[string]any, _ string, at int64) { c["nonce"], c["auth_time"] = "", at }, false},
		{"auth_time earlier", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"] = nonce, at-1 }, false},
		{"auth_time later", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"] = nonce, at+1 }, false},
		{"iat that of the sign-in", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"], c["iat"] = nonce, at, at }, false},
		{"iat before the sign-in", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"], c["iat"] = nonce, at, at-1 }, false},
		{"aud in another form", func(c map[string]any, nonce string, at int64) {
			c["nonce"], c["auth_time"], c["aud"] = nonce, at, []any{c["aud"]}
		}, true},
		{"aud grown", func(c map[string]any, nonce string, at int64) {
			c["nonce"], c["auth_time"], c["aud"], c["azp"] = nonce, at, []any{c["aud"], "other"}, c["aud"]
		}, false},
		{"azp new", func(c map[string]any, nonce string, at int64) {
			c["nonce"], c["auth_time"], c["azp"] = nonce, at, c["aud"]
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, seen := world.WithTokens(t)
			authTime := s.Now().Unix()
			var nonce string
			s.Retoken(t, func(_, claims map[string]any) {
				if s.Refreshes() > 0 {
					c.change(claims, nonce, authTime)
					return
				}
				nonce, _ = claims["nonce"].(string)
				claims["auth_time"] = authTime
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/token")
			old := seen.One(t)
			s.Advance(world.Past)
			a := ana.Get("/token")
			if nonce == "" || s.Refreshes() != 1 {
				t.Fatalf("nonce %q, %d refreshes; want one of each", nonce, s.Refreshes())
			}
			if c.good {
				ana.WantServed(a)
				if seen.One(t) == old {
					t.Error("the token is still the old one")
				}
				return
			}
			if tokens, _ := seen.Take(); len(tokens) != 0 && tokens[0] != old {
				t.Error("the token of the refused answer is used")
			}
			ana.WantOut(ana.On(world.ReplicaB).Get("/notes/"))
			s.ShutdownAll()
			s.WantQuiet()
			if n := len(s.SentRefreshTokens()); n != 1 {
				t.Errorf("%d refresh tokens sent, want 1", n)
			}
		})
	}
}

// The nonce is that of the sign-in, also if an ID Token in between had none.
func TestRefreshNonceAfterATokenWithoutOne(t *testing.T) {
	for other, good := range map[string]bool{"": true, "A": false} {
		s, seen := world.WithTokens(t)
		var nonce string
		s.Retoken(t, func(_, claims map[string]any) {
			switch s.Refreshes() {
			case 0:
				nonce, _ = claims["nonce"].(string)
			case 1, 2:
				delete(claims, "nonce")
			default:
				claims["nonce"] = nonce + other
			}
		})
		ana := s.Visitor("ana")
		ana.SignIn()
		for range 2 {
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/token"))
		}
		seen.Take()
		s.Advance(world.Past)
		if a := ana.Get("/token"); good {
			ana.WantServed(a)
		}
		if s.Refreshes() != 3 || nonce == "" {
			t.Fatalf("%d refreshes, nonce %q", s.Refreshes(), nonce)
		}
		if good {
			continue
		}
		ana.WantOut(ana.Get("/notes/"))
		s.ShutdownAll()
		s.WantQuiet()
	}
}
