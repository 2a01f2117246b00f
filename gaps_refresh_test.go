package gatehouse_test

import (
	"testing"
)

// OpenID Connect Core §12.2: the ID Token of a refresh has the nonce of the
// first one, if any, and no earlier auth_time. Otherwise the new tokens are not
// used and the old refresh token is not sent again.
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
		{"auth_time later", func(c map[string]any, nonce string, at int64) { c["nonce"], c["auth_time"] = nonce, at+1 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, seen := withTokens(t)
			authTime := s.Now().Unix()
			var nonce string
			s.retoken(t, func(_, claims map[string]any) {
				if s.refreshes() > 0 {
					c.change(claims, nonce, authTime)
					return
				}
				nonce, _ = claims["nonce"].(string)
				claims["auth_time"] = authTime
			})
			ana := s.visitor("ana")
			ana.signIn()
			ana.get("/token")
			old := seen.one(t)
			s.advance(past)
			a := ana.get("/token")
			if nonce == "" || s.refreshes() != 1 {
				t.Fatalf("nonce %q, %d refreshes; want one of each", nonce, s.refreshes())
			}
			if c.good {
				ana.wantServed(a)
				if seen.one(t) == old {
					t.Error("the token is still the old one")
				}
				return
			}
			if tokens, _ := seen.take(); len(tokens) != 0 && tokens[0] != old {
				t.Error("the token of the refused answer is used")
			}
			ana.wantOut(ana.on(replicaB).get("/notes/"))
			s.shutdownAll()
			s.wantQuiet()
			if n := len(s.sentRefreshTokens()); n != 1 {
				t.Errorf("%d refresh tokens sent, want 1", n)
			}
		})
	}
}
