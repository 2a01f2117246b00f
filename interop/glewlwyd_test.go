package interop_test

import (
	"encoding/json"
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
	t.Run("proofs", func(t *testing.T) { glewlwydProofs(t, g, browser) })
	t.Run("registration", func(t *testing.T) { glewlwydRegisters(t, g, browser.Another(t)) })
}

// glewlwydRegisters: the site registers when somebody wants to sign in. Each update
// gives a new secret. With the old one a refresh is refused, and uses up the refresh
// token all the same, so the other replica looks into the store first.
func glewlwydRegisters(t *testing.T, g *servers.Glewlwyd, browser *servers.Chromium) {
	notes, all := registering(t, "", func(*gatehouse.ClientMetadata) {})
	notes.open(t, g.Issuer(), notes.clock, gatehouse.RelyingPartyConfig{Scopes: []string{"profile", "email"}})
	browser.Open(t, notes.base+"/notes/1")
	g.SignIn(t, browser, "alice")
	notes.shows(t, browser, "Notes of Alice <alice@example.test>", "at /notes/1,")
	notes.wire.want(t, "GET openid-configuration", "POST api/oidc/register", "token authorization_code", "GET api/oidc/jwks", "GET api/oidc/userinfo")
	r, other := (*all)[0], (*all)[1]
	if err := errors.Join(r.Update(t.Context()), other.Register(t.Context())); err != nil {
		t.Fatalf("update: %v", err)
	}
	notes.wire.take()
	client := cookiesOf(t, browser, notes.base)
	for range 2 {
		notes.clock.advance(glewlwydTokenLife + time.Second)
		a := fetch(t, client, http.MethodGet, notes.base+"/notes/1")
		if calls := notes.wire.want(t, "token refresh_token", "GET api/oidc/userinfo"); a.status != http.StatusOK || calls[0].status != http.StatusOK {
			t.Fatalf("after the update: %d %s; the refresh: %d", a.status, a.body, calls[0].status)
		}
	}
	if err := errors.Join(r.Delete(t.Context()), r.Register(t.Context())); err != nil {
		t.Fatalf("delete, and register again: %v", err)
	}
	// What it answers to a read has a list of one in the place of the method.
	if m, err := r.Read(t.Context()); err != nil || m.TokenEndpointAuthMethod == "" || len(m.RedirectURIs) != 1 {
		t.Errorf("read: %+v, %v", m, err)
	}
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

// glewlwydProofs: it takes our assertions with every algorithm, if the keys are in
// the client's jwks, the audience is the address of the token endpoint, and a token
// for the client itself is asked for with a scope.
func glewlwydProofs(t *testing.T, g *servers.Glewlwyd, browser *servers.Chromium) {
	issuer := g.AddIssuer(t, "plain", map[string]any{"allow-non-oidc": true})
	endpoint := issuer + "/token"
	for _, c := range proofClients(t, "RS256", "PS256", "ES256", "EdDSA", "HS256") {
		notes := newNotes(t)
		c.client.ID, c.client.AssertionAudience = "notes-"+c.alg, endpoint
		properties := map[string]any{"redirect_uri": []string{notes.base + "/auth/callback"}, "post_logout_redirect_uris": []string{notes.base + "/auth/logout"},
			"token_endpoint_auth_method": []string{c.method}, "client_secret": proofSecret}
		if c.jwks != "" {
			properties["jwks"] = json.RawMessage(fetch(t, nil, http.MethodGet, c.jwks).body)
		}
		g.AddClient(t, c.client.ID, properties)
		seen := map[string]bool{}
		tokenByProof(t, seen, issuer, c, "openid")
		if c.alg != "ES256" && c.alg != "HS256" {
			notes.nobody()
			continue
		}
		b := browser.Another(t)
		notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: c.client, Scopes: []string{"profile", "email"}})
		b.Open(t, notes.base+"/notes/7")
		g.SignIn(t, b, "alice")
		notes.shows(t, b, "at /notes/7,")
		notes.clock.advance(glewlwydTokenLife + time.Second)
		if a := fetch(t, cookiesOf(t, b, notes.base), http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
			t.Fatalf("after the token has expired: %d %s", a.status, a.body)
		}
		if n := proven(t, seen, notes.wire.take(), endpoint, c.alg); n != 2 {
			t.Errorf("%s: %d assertions for a sign-in and a refresh", c.alg, n)
		}
		// The revocation endpoint wants its own address as audience.
		signOut(t, b)
		g.SignOut(t, b)
		notes.shows(t, b, "You are signed out")
		notes.settle(t)
		if calls := notes.wire.want(t, "POST api/plain/revoke"); calls[0].status != http.StatusUnauthorized {
			t.Errorf("%s: it takes the assertion at the revocation endpoint: %d", c.alg, calls[0].status)
		}
	}
}
