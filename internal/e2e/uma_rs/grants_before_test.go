package uma_rs_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestOwnerGrantsOfTheBuildBefore: the grants that the build of November 2026
// left in the store still serve. If one was being renewed during the deploy,
// the new process may send a refresh token that was used already. The refusal
// of that token does not cost the owner a token that still serves.
func TestOwnerGrantsOfTheBuildBefore(t *testing.T) {
	text, err := os.ReadFile("../../session/testdata/2026-11.json")
	if err != nil {
		t.Fatal(err)
	}
	var before struct {
		Grant  string `json:"grant"`
		Leased string `json:"grant_leased"`
	}
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		grant string
		lost  bool // once the server refuses the refresh token
	}{"at rest": {before.Grant, true}, "being renewed": {before.Leased, false}} {
		t.Run(name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			g := w.Grants(&grantStore{values: map[string][]byte{w.Issuer() + " alice": []byte(c.grant)}})
			want := func(when string, lost bool) {
				t.Helper()
				pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{})
				if lost != (gatehouse.ErrorCode(err) == gatehouse.CodeOwnerGrantMissing) || !lost && (err != nil || pat.Reveal() != "grant-access") {
					t.Errorf("%s: %v", when, err)
				}
				if has, err := g.Has(t.Context(), "alice"); has == lost || err != nil {
					t.Errorf("%s: Has %v, %v", when, has, err)
				}
			}
			want("before it is due", false)
			if n := w.CountToken("refresh_token"); n != 0 {
				t.Errorf("%d refreshes, want none before it is due", n)
			}
			w.Advance(4*time.Minute + 30*time.Second) // it is due, and the lease is over
			want("refused", c.lost)
			if n := w.CountToken("refresh_token"); n != 1 {
				t.Errorf("%d refreshes, want 1", n)
			}
			w.Advance(30 * time.Second)
			want("expired", true)
		})
	}
}
