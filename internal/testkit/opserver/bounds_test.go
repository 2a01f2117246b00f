package opserver_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
)

// TestInboxIsBounded sends an owner more requests than a person can read.
func TestInboxIsBounded(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.AddClient(opserver.Client{ID: "shop", Secret: "shop-secret", IDTokenAlg: "ES256"})) // signs faster
	pat := w.pat("alice")
	id := w.register(pat)
	for i := range 202 {
		name := fmt.Sprintf("guest-%d", i)
		w.must(w.AddUser(name, "x", nil))
		w.exchange(w.ticket(pat, id, "view"), w.claim(name)...).want(t, 403, "request_submitted")
	}
	if n := len(w.Pending("alice")); n != 200 {
		t.Errorf("%d requests wait", n)
	}
}

// TestTheDeadAreSweptOut fills the memory until long expired values are gone. A
// code of yesterday is then unknown, and presenting it is not a violation.
func TestTheDeadAreSweptOut(t *testing.T) {
	w := newWorld(t, "")
	u := w.authorizeURL()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {w.signIn(w.http, u, "alice").Get("code")},
		"redirect_uri": {callback}, "code_verifier": {verifierOf(u)}}
	w.token(rpAuth, form).want(t, 200, "")
	w.clock.advance(24 * time.Hour)
	w.token(rpAuth, form).want(t, 400, "invalid_grant")
	w.violations("presented a code twice")
	for range 5000 {
		_, err := w.AccessToken("alice", "rp", "read")
		w.must(err)
	}
	w.token(rpAuth, form).want(t, 400, "invalid_grant")
	w.violations("")
}
