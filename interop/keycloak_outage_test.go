package interop_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// The authorization server stops and comes back. Nobody is let in if it would
// have to be asked, nobody is signed out, and everything works afterwards.
func TestKeycloakOutage(t *testing.T) {
	t.Parallel()
	kc, line := shared.Keycloak(t).Via(t)
	w := newWatch(t)
	s := &umaStory{name: "journey", kc: kc, photoz: newPhotoz(t, kc, w), shop: newPrintshop(t, kc, w)}
	alice := servers.StartChromium(t)
	s.bobs = alice.Another(t)
	s.aliceMakesAlbum(t, alice)
	s.bobIsRefused(t)
	s.aliceIsAsked(t)
	s.aliceGrants(t)
	hers := cookiesOf(t, alice, s.photoz.base)
	bearer := []string{"Authorization", "Bearer " + s.shop.toPhotoz.lastBearer(t)}
	cold := newNotes(t)
	cold.open(t, kc.Issuer("gatehouse"), cold.clock, gatehouse.RelyingPartyConfig{Client: clientOf("notes")})
	cold.watch.note("nothing", "no secret gets here without Keycloak")

	line.Cut()
	unreachable(t, fetch(t, nil, http.MethodGet, s.album))
	for range 2 {
		if a := fetch(t, nil, http.MethodGet, s.album, bearer...); a.status != http.StatusOK {
			t.Errorf("a token of which everything is known: %d", a.status)
		}
	}
	s.photoz.clock.advance(factsMemory)
	a := fetch(t, nil, http.MethodGet, s.album, bearer...)
	comesBack(t, "a token to ask about", a)
	if a.header.Get("Warning") != `199 - "UMA Authorization Server Unreachable"` || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a token to ask about: %q", a.header)
	}
	s.sessionGoesOn(t, hers)
	comesBack(t, "a sign-in", fetch(t, nil, http.MethodGet, cold.base+"/notes/1", "Accept", "text/html"))
	s.shop.transport.Forget(t.Context(), s.kc.Issuer("gatehouse")+" "+s.bobsSubject)
	if got := s.shown(t, fetch(t, s.bob, http.MethodGet, s.printURL(http.MethodGet, false))); !strings.HasPrefix(got, "403 ") {
		t.Errorf("the shop shows %q, want what photoz said: 403", got)
	}

	line.Mend(t)
	challenged(t, s.fetch(t, nil, http.MethodGet), kc.Issuer("gatehouse"))
	if a := s.fetch(t, nil, http.MethodGet, bearer...); a.status != http.StatusOK {
		t.Errorf("the token from before: %d %s", a.status, a.body)
	}
	s.shows(t, http.MethodGet, s.served(http.MethodGet, "view"))
	cold.clock.advance(30 * time.Second) // the longest pause between tries
	a = insist(t, nil, func() answer { return fetch(t, nil, http.MethodGet, cold.base+"/notes/1", "Accept", "text/html") })
	if a.status != http.StatusSeeOther {
		t.Errorf("a sign-in afterwards: %d", a.status)
	}
	s.photoz.wire.take()
	s.photoz.clock.advance(kcTokenLife + 30*time.Second)
	if a := fetch(t, hers, http.MethodGet, s.album); a.status != http.StatusOK {
		t.Errorf("Alice at her album: %d", a.status)
	}
	if c := s.photoz.wire.want(t, "token refresh_token", "GET userinfo")[0]; c.status != http.StatusOK {
		t.Errorf("the refresh afterwards: %d", c.status)
	}
}

// sessionGoesOn: the session also works when the access token has expired and
// cannot be renewed, and Keycloak is not asked at each request.
func (s *umaStory) sessionGoesOn(t *testing.T, hers *http.Client) {
	t.Helper()
	s.photoz.clock.advance(kcTokenLife)
	s.photoz.wire.take()
	for range 3 {
		if a := fetch(t, hers, http.MethodGet, s.album); a.status != http.StatusOK {
			t.Errorf("Alice at her album: %d %s", a.status, a.body)
		}
	}
	s.photoz.wire.want(t, "token refresh_token")
	s.photoz.clock.advance(-kcTokenLife)
}

// comesBack fails the test unless the answer says to try again in a while.
func comesBack(t testing.TB, what string, a answer) {
	t.Helper()
	after, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != http.StatusServiceUnavailable || err != nil || after < 1 || after > 30 {
		t.Errorf("%s: %d, Retry-After %q", what, a.status, a.header.Get("Retry-After"))
	}
}
