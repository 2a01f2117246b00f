package interop_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// glewlwydTokenLife is how long Glewlwyd's access tokens live here.
const glewlwydTokenLife = 300 * time.Second

// Glewlwyd, one server for all of it: a day of a person, the ways of answering,
// and registration.
func TestGlewlwyd(t *testing.T) {
	t.Parallel()
	g := servers.StartGlewlwyd(t)
	browser := servers.StartChromium(t)
	signIn := func(t *testing.T, b *servers.Chromium) { g.SignIn(t, b, "alice") }
	t.Run("sign-in", func(t *testing.T) { glewlwydDay(t, g, browser.Another(t)) })
	t.Run("answers", func(t *testing.T) {
		sites, redirects := sitesFor(t, speakings)
		g.AddClient(t, "speaking", map[string]any{"redirect_uri": redirects,
			"authorization_type": []string{"code", "id_token", "token", "refresh_token"}})
		at := answering{
			issuer: g.Issuer(), client: "speaking", origin: g.URL, shown: "Alice <alice@example.test>", sites: sites, signIn: signIn,
			again: func(t *testing.T, b *servers.Chromium) { g.Continue(t, b) },
		}
		at.in(t, browser, of("implicit", "id-token", "code-post")...)
		// By form_post it escapes iss twice, so that names another issuer.
		at.refused(t, browser, of("code-form")[0], "issuer_mismatch")
		// A hybrid answer comes in the query, whatever the specification says.
		at.refused(t, browser, of("hybrid-fragment")[0], "response_malformed")
		// Without iss, form_post works.
		at.issuer = g.AddIssuer(t, "silent", map[string]any{"oauth-as-iss-id": false})
		at.in(t, browser, of("code-form", "hybrid-form", "implicit-form")...)
	})
	t.Run("registration", func(t *testing.T) {
		notes, all := registering(t, "", func(*gatehouse.ClientMetadata) {})
		notes.open(t, g.Issuer(), &clock{}, gatehouse.RelyingPartyConfig{Scopes: []string{"profile", "email"}})
		b := browser.Another(t)
		b.Open(t, notes.base+"/notes/1")
		signIn(t, b)
		notes.shows(t, b, "Notes of Alice <alice@example.test>", "at /notes/1,")
		notes.wire.want(t, "GET openid-configuration", "POST api/oidc/register", "token authorization_code", "GET api/oidc/jwks", "GET api/oidc/userinfo")
		r := (*all)[0]
		if err := errors.Join(r.Delete(t.Context()), r.Register(t.Context())); err != nil {
			t.Fatalf("delete, and register again: %v", err)
		}
		// What it answers to a read has a list of one in the place of the method.
		if m, err := r.Read(t.Context()); err != nil || m.TokenEndpointAuthMethod == "" || len(m.RedirectURIs) != 1 {
			t.Errorf("read: %+v, %v", m, err)
		}
	})
}

// glewlwydDay: another site starts the sign-in, the tokens are renewed, the person
// signs out there and here.
func glewlwydDay(t *testing.T, g *servers.Glewlwyd, browser *servers.Chromium) {
	notes := newNotes(t)
	g.AddClient(t, "notes", map[string]any{"redirect_uri": []string{notes.base + "/auth/callback"},
		"post_logout_redirect_uris": []string{notes.base + "/auth/logout"}})
	notes.open(t, g.Issuer(), &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf("notes"), Scopes: []string{"profile", "email"}})
	notes.started(t, browser, g.Issuer(), g.URL, notes.base+"/notes/7", func(b *servers.Chromium) {
		g.SignIn(t, b, "alice")
	})
	notes.shows(t, browser, "Notes of Alice <alice@example.test>", "at /notes/7,")
	notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET api/oidc/jwks", "GET api/oidc/userinfo")

	client := cookiesOf(t, browser, notes.base)
	sent := map[string]bool{}
	for range 2 {
		notes.clock.advance(glewlwydTokenLife + time.Second)
		if a := fetch(t, client, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
			t.Fatalf("after the token has expired: %d %s", a.status, a.body)
		}
		sent[notes.wire.want(t, "token refresh_token", "GET api/oidc/userinfo")[0].form.Get("refresh_token")] = true
	}
	if len(sent) != 2 {
		t.Error("the refresh token did not rotate")
	}
	notes.clock.advance(-2 * (glewlwydTokenLife + time.Second))
	signOut(t, browser)
	g.SignOut(t, browser)
	if !strings.HasPrefix(browser.URL(), notes.base+"/auth/logout?") {
		t.Fatalf("the sign-out ended at %s", browser.URL())
	}
	notes.shows(t, browser, "You are signed out")
	notes.settle(t) // the refresh token is revoked after the answer
	notes.wire.want(t, "POST api/oidc/revoke")
	browser.Open(t, notes.base+"/notes/8")
	g.SignIn(t, browser, "alice")
	notes.shows(t, browser, "at /notes/8,")
}
