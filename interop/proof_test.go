package interop_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// proofSecret is long enough for HS512.
const proofSecret = "notes-secret of more than sixty-four bytes, which is enough for HS512."

// proofClient is how one client proves who it is.
type proofClient struct {
	alg, method string
	client      gatehouse.Client
	jwks        string // where its keys are
}

// proofClients makes a client for each algorithm. Their public keys are on a
// site, where JWKSHandler serves them.
func proofClients(t *testing.T, algs ...string) []proofClient {
	t.Helper()
	var all []proofClient
	for _, alg := range algs {
		c := proofClient{alg: alg, method: "private_key_jwt"}
		if strings.HasPrefix(alg, "HS") {
			c.method = "client_secret_jwt"
			c.client = gatehouse.Client{Secret: gatehouse.NewSecret(proofSecret), Auth: gatehouse.AuthSecretJWT, Algorithm: alg}
			all = append(all, c)
			continue
		}
		c.client = gatehouse.Client{Key: assertionKey(t, alg), KeyID: "key for " + alg, Algorithm: alg}
		keys := httptest.NewServer(gatehouse.JWKSHandler(c.client))
		t.Cleanup(keys.Close)
		c.jwks = keys.URL + "/jwks.json"
		all = append(all, c)
	}
	return all
}

func assertionKey(t *testing.T, alg string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// proven fails the test unless each of the calls was answered with 200 and had an
// assertion of that algorithm for the issuer, which no call before had. It returns
// how many there were.
func proven(t *testing.T, seen map[string]bool, calls []call, issuer, alg string) (n int) {
	t.Helper()
	for _, c := range calls {
		text := c.form.Get("client_assertion")
		if text == "" {
			continue
		}
		n++
		var header struct{ Alg string }
		var claims struct{ Aud, Jti string }
		parts := strings.Split(text, ".")
		for i, v := range []any{&header, &claims} {
			if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[i]))(t), v); err != nil {
				t.Fatal(err)
			}
		}
		if c.status != http.StatusOK || seen[claims.Jti] || claims.Aud != issuer || header.Alg != alg || c.form.Has("client_secret") {
			t.Errorf("%s: %d, alg %s, aud %q, seen before %t", c.name, c.status, header.Alg, claims.Aud, seen[claims.Jti])
		}
		seen[claims.Jti] = true
	}
	return n
}

// signsInWithProofs signs somebody in with assertions, renews the tokens and signs
// out, which revokes one.
func signsInWithProofs(t *testing.T, notes *notesSite, issuer, alg string, signIn, signedOut func(*servers.Chromium)) {
	seen := map[string]bool{}
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/7")
	browser.Insist(t)
	signIn(browser)
	notes.shows(t, browser, "at /notes/7,")
	if n := proven(t, seen, notes.wire.take(), issuer, alg); n != 1 {
		t.Fatalf("%d assertions at the sign-in", n)
	}
	notes.clock.advance(kcTokenLife + time.Second)
	if a := fetch(t, cookiesOf(t, browser, notes.base), http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
		t.Fatalf("after the token has expired: %d %s", a.status, a.body)
	}
	if n := proven(t, seen, notes.wire.take(), issuer, alg); n != 1 {
		t.Fatalf("%d assertions at the refresh", n)
	}
	signOut(t, browser)
	signedOut(browser)
	notes.settle(t)
	if n := proven(t, seen, notes.wire.take(), issuer, alg); n != 1 {
		t.Fatalf("%d assertions at the revocation", n)
	}
}

// oidc-provider, strict about an assertion that is used twice, takes ours for a
// token of the client itself and at introspection with every algorithm, and with
// two at a sign-in, a refresh and a revocation. It reads the keys from
// JWKSHandler.
func TestOIDCProviderProofs(t *testing.T) {
	t.Parallel()
	notes := newNotes(t)
	all := proofClients(t, "RS256", "PS256", "ES256", "EdDSA", "HS256")
	config := servers.OIDCProviderConfig{AlwaysRefresh: true}
	for i := range all {
		all[i].client.ID = "notes with " + all[i].alg
		config.Clients = append(config.Clients, servers.OIDCProviderClient{ID: all[i].client.ID, Secret: all[i].client.Secret.Reveal(),
			AuthMethod: all[i].method, AuthAlgorithm: all[i].alg, JWKSURI: all[i].jwks,
			GrantTypes:             []string{"authorization_code", "refresh_token", "client_credentials"},
			RedirectURIs:           []string{notes.base + "/auth/callback"},
			PostLogoutRedirectURIs: []string{notes.base + "/auth/logout"}})
	}
	op := servers.StartOIDCProvider(t, config)
	for _, c := range all {
		seen := map[string]bool{}
		token := tokenByProof(t, seen, op.Issuer, c)
		api := newAccessAPI(t, op.Issuer, gatehouse.ResourceServerConfig{Client: c.client, InsecureAnyAudience: true})
		if a := api.get(t, token); a.status != http.StatusOK {
			t.Errorf("%s: a token of the client itself: %d %s", c.alg, a.status, a.body)
		}
		if n := proven(t, seen, api.wire.take(), op.Issuer, c.alg); n != 1 {
			t.Errorf("%s: %d assertions at introspection", c.alg, n)
		}
	}
	c := all[2]
	notes.open(t, op.Issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: c.client, Scopes: []string{"profile", "email"}})
	signsInWithProofs(t, notes, op.Issuer, c.alg,
		func(b *servers.Chromium) { op.SignIn(t, b, "alice") },
		func(b *servers.Chromium) { b.WaitFor(t, op.Issuer); op.SignOut(t, b) })
}

// tokenByProof gets a token for the client itself.
func tokenByProof(t *testing.T, seen map[string]bool, issuer string, c proofClient, scopes ...string) string {
	t.Helper()
	w := newWatch(t)
	wire := w.wire()
	provider := must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: wire, Logger: w.logger()}))(t)
	w.logger().Info("a token for the client itself")
	source := must(provider.ClientCredentials(c.client, scopes...))(t)
	token, err := source.Token()
	if err != nil {
		t.Fatalf("%s: %v", c.alg, err)
	}
	if n := proven(t, seen, wire.take(), cmp.Or(c.client.AssertionAudience, issuer), c.alg); n != 1 {
		t.Errorf("%s: %d assertions for one token", c.alg, n)
	}
	return token.AccessToken
}

// Keycloak takes our assertions for a token of the client itself and at
// introspection with every algorithm, and with a key and a secret at a sign-in, a refresh and a revocation.
// It reads the keys from JWKSHandler.
func TestKeycloakProofs(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	issuer := kc.Issuer("gatehouse")
	for _, c := range proofClients(t, "RS256", "PS256", "ES256", "EdDSA", "HS256") {
		notes := newNotes(t)
		registration := map[string]any{
			"redirect_uris": []string{notes.base + "/auth/callback"}, "post_logout_redirect_uris": []string{notes.base + "/auth/logout"},
			"grant_types":                []string{"authorization_code", "refresh_token", "client_credentials"},
			"token_endpoint_auth_method": c.method, "token_endpoint_auth_signing_alg": c.alg,
		}
		if c.jwks != "" {
			registration["jwks_uri"] = c.jwks
		}
		var secret string
		c.client.ID, secret = kc.Register(t, "gatehouse", registration)
		if c.jwks == "" {
			c.client.Secret = gatehouse.NewSecret(secret)
		}
		notes.watch.public = append(notes.watch.public, "."+c.client.ID) // its codes end with it
		notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: c.client, Scopes: []string{"profile", "email"}})
		if c.alg == "ES256" || c.alg == "HS256" {
			signsInWithProofs(t, notes, issuer, c.alg,
				func(b *servers.Chromium) { kc.SignIn(t, b, "alice") },
				func(b *servers.Chromium) { b.WaitFor(t, notes.base+"/auth/logout?") })
		} else {
			notes.nobody()
		}
		seen := map[string]bool{}
		token := tokenByProof(t, seen, issuer, c)
		// Outside UMA too: a route with NotRevoked asks about every token. Keycloak
		// takes the assertion and answers, and calls a token active only to a client
		// that is in its aud, which this one is not: 401. Without the assertion it
		// would be 503.
		api := newAccessAPI(t, issuer, gatehouse.ResourceServerConfig{Client: c.client, InsecureAnyAudience: true, TokenTypes: []string{"JWT"}})
		api.refuses(t, c.alg, token, "active", gatehouse.NotRevoked())
		if n := proven(t, seen, api.wire.take(), issuer, c.alg); n != 1 {
			t.Errorf("%s: %d assertions at introspection", c.alg, n)
		}
	}
}

// UMA at Keycloak: a service with a key registers a resource, asks for a ticket
// and introspects; a shop with a secret for assertions gets the permission.
func TestKeycloakUMAProofs(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	issuer := kc.Issuer("gatehouse")
	service, shop := proofClients(t, "ES256")[0], proofClients(t, "HS256")[0]
	service.client.ID, shop.client.ID = "service-with-a-key", "shop-with-a-secret"
	kc.AddClient(t, "gatehouse", map[string]any{
		"clientId": shop.client.ID, "clientAuthenticatorType": "client-secret-jwt", "secret": proofSecret,
		"serviceAccountsEnabled": true, "redirectUris": []string{"http://127.0.0.1/*"},
	})
	kc.AddClient(t, "gatehouse", map[string]any{
		"clientId": service.client.ID, "clientAuthenticatorType": "client-jwt", "serviceAccountsEnabled": true, "redirectUris": []string{"http://127.0.0.1/*"},
		"attributes":                   map[string]string{"use.jwks.url": "true", "jwks.url": service.jwks, "token.endpoint.auth.signing.alg": "ES256"},
		"authorizationServicesEnabled": true,
		"authorizationSettings": map[string]any{
			"allowRemoteResourceManagement": true, "policyEnforcementMode": "ENFORCING", "decisionStrategy": "UNANIMOUS",
			"scopes": []map[string]string{{"name": "leaflet:read"}},
			"policies": []map[string]any{
				{"name": "the shop", "type": "client", "logic": "POSITIVE", "decisionStrategy": "UNANIMOUS", "config": map[string]string{"clients": `["` + shop.client.ID + `"]`}},
				{"name": "the shop reads leaflets", "type": "scope", "logic": "POSITIVE", "decisionStrategy": "UNANIMOUS",
					"config": map[string]string{"scopes": `["leaflet:read"]`, "applyPolicies": `["the shop"]`}},
			},
		},
	})
	api := newAccessAPI(t, issuer, gatehouse.ResourceServerConfig{Client: service.client})
	leaflets := gatehouse.Resource{Name: "leaflets", Scopes: []string{"leaflet:read"}}
	site := newSite(t)
	site.serve(api.UMAProtect(leaflets.AllOf("leaflet:read"))(whoCalls))
	shopWatch := newWatch(t)
	w := shopWatch.wire()
	provider := must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: w, Logger: shopWatch.logger()}))(t)
	transport := must(gatehouse.NewUMATransport(provider, gatehouse.UMATransportConfig{Client: shop.client}))(t)
	t.Cleanup(func() {
		if err := transport.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a := insist(t, []*wire{api.wire, w}, func() answer {
		return fetch(t, &http.Client{Transport: transport}, http.MethodGet, site.base+"/leaflets/1")
	})
	if a.status != http.StatusOK {
		t.Fatalf("the shop reads: %d %s", a.status, a.body)
	}
	seen := map[string]bool{}
	if n := proven(t, seen, api.wire.take(), issuer, "ES256"); n != 2 {
		t.Errorf("%d assertions of the service, want one for its token and one for introspection", n)
	}
	if n := proven(t, seen, w.take(), issuer, "HS256"); n != 1 {
		t.Errorf("%d assertions of the shop", n)
	}
}
