package uma_rs_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestOwnerGrantsOfTheBuildBefore: the grants that earlier builds left in the
// store still serve, with Keys and without. If one was being renewed during the
// deploy, the new process may send a refresh token that was used already. The
// refusal of that token does not cost the owner a token that still serves.
func TestOwnerGrantsOfTheBuildBefore(t *testing.T) {
	for _, file := range []string{"../../session/testdata/2026-11.json", "testdata/2026-11-29.json"} {
		text, err := os.ReadFile(file)
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
		for name, keys := range map[string][]gatehouse.Secret{"": nil, ", with keys": {keyA}} {
			t.Run("at rest"+name, func(t *testing.T) { takeGrant(t, before.Grant, true, keys) })
			t.Run("being renewed"+name, func(t *testing.T) { takeGrant(t, before.Leased, false, keys) })
		}
	}
}

// takeGrant takes over a grant. lost says whether it is lost once the server
// refuses the refresh token.
func takeGrant(t *testing.T, grant string, lost bool, keys []gatehouse.Secret) {
	var had struct{ Access string }
	if err := json.Unmarshal([]byte(grant), &had); err != nil || had.Access == "" {
		t.Fatalf("the grant has no token, %v", err)
	}
	w := world.NewPhotoz(t)
	store := &grantStore{}
	store.set(w, "alice", []byte(grant))
	g := w.Grants(store, keys...)
	want := func(when string, lost bool) {
		t.Helper()
		pat, err := g.PAT(t.Context(), "alice", gatehouse.Secret{})
		if lost != (gatehouse.ErrorCode(err) == gatehouse.CodeOwnerGrantMissing) || !lost && (err != nil || pat.Reveal() != had.Access) {
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
	if sealed := !json.Valid(store.grantOf(w, "alice")); sealed != (keys != nil) {
		t.Errorf("sealed: %v", sealed)
	}
	w.Advance(4*time.Minute + 30*time.Second) // it is due, and the lease is over
	want("refused", lost)
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	w.Advance(30 * time.Second)
	want("expired", true)
}
