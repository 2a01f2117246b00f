package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// boundClient is a client whose tokens are bound to a key.
func boundClient(t *testing.T, id string) gatehouse.Client {
	t.Helper()
	client := clientOf(id)
	client.DPoPKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	return client
}

// boundSite is an API that takes bound tokens alone, with a nonce of its own.
func boundSite(t *testing.T, issuer string, config gatehouse.ResourceServerConfig) (*accessAPI, *site) {
	t.Helper()
	s := newSite(t)
	config.InsecureAnyAudience = true
	config.DPoP = gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: s.base, Keys: []gatehouse.Secret{gatehouse.NewSecret(rand.Text() + rand.Text())}}
	api := newAccessAPI(t, issuer, config)
	guarded := api.RequireToken(whoCalls)
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		api.watch.note("bound token", token)
		guarded.ServeHTTP(w, r)
	}))
	return api, s
}

// usesBoundTokens signs somebody in, calls the API, renews the token, and calls the
// API again. With nonce, the provider refuses the first request to each endpoint.
func usesBoundTokens(t *testing.T, notes *notesSite, api *accessAPI, address string, life time.Duration, nonce bool, signIn func(*servers.Chromium)) {
	t.Helper()
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/7")
	signIn(browser)
	notes.shows(t, browser, "at /notes/7,")
	calls := notes.wire.take()
	tries := map[string][]int{}
	for _, c := range calls {
		if c.name == "token authorization_code" || c.name == "GET me" || c.name == "GET userinfo" {
			tries[c.name] = append(tries[c.name], c.status)
		}
	}
	for name, statuses := range tries {
		refused := map[string]int{"token authorization_code": http.StatusBadRequest}[name]
		if refused == 0 {
			refused = http.StatusUnauthorized
		}
		want := []int{http.StatusOK}
		if nonce {
			want = []int{refused, http.StatusOK}
		}
		if !slices.Equal(statuses, want) {
			t.Errorf("%s: %v, want %v", name, statuses, want)
		}
	}
	if len(tries) != 2 {
		t.Errorf("the sign-in asked for %q", namesOf(calls))
	}
	client := cookiesOf(t, browser, notes.base)
	asks := notes.base + "/api?" + url.Values{"origin": {address}, "url": {address + "/notes?page=2"}}.Encode()
	call := func(when string) {
		t.Helper()
		for range 2 { // once at each replica
			if a := insist(t, []*wire{notes.wire, api.wire}, func() answer { return fetch(t, client, http.MethodGet, asks) }); a.body != "200" {
				t.Errorf("the API, %s: %d %s; %s", when, a.status, a.body, api.reason(t))
			}
		}
	}
	call("after the sign-in")
	before := fetch(t, client, http.MethodGet, notes.base+"/token").body
	notes.wire.take()
	notes.clock.advance(life + time.Second)
	a := fetch(t, client, http.MethodGet, notes.base+"/notes/1")
	notes.clock.advance(-life - time.Second) // the provider's clock, by which tokens end, is the real one
	if a.status != http.StatusOK {
		t.Fatalf("after the token has expired: %d %s", a.status, a.body)
	}
	renewals := 0
	for _, c := range notes.wire.take() {
		if c.name == "token refresh_token" && c.status == http.StatusOK {
			renewals++
		}
	}
	if after := fetch(t, client, http.MethodGet, notes.base+"/token").body; renewals != 1 || after == before {
		t.Errorf("%d renewals, another token: %t", renewals, after != before)
	}
	call("after the refresh")
}

// RP-F2, RP-F3: a sign-in, a refresh and calls of an API with tokens that
// oidc-provider binds to our key, with and without nonces of its own.
func TestOIDCProviderBindsTokens(t *testing.T) {
	t.Parallel()
	for name, nonce := range map[string]bool{"no nonce": false, "nonces": true} {
		t.Run(name, func(t *testing.T) {
			notes := newNotes(t)
			op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
				Clients: []servers.OIDCProviderClient{
					{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{notes.base + "/auth/callback"}},
					{ID: "api", Secret: "api-secret", RedirectURIs: []string{"http://127.0.0.1/callback"}},
				},
				AlwaysRefresh: true, ProofNonce: nonce, AccessTokenTTL: opBoundLife,
			})
			api, address := boundSite(t, op.Issuer, gatehouse.ResourceServerConfig{Client: clientOf("api")})
			notes.open(t, op.Issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: boundClient(t, "notes"), Scopes: []string{"profile", "email"}})
			usesBoundTokens(t, notes, api, address.base, opBoundLife, nonce, func(b *servers.Chromium) { op.SignIn(t, b, "alice") })
		})
	}
}

// opBoundLife is the life of oidc-provider's tokens in that test, which does not
// wait for their end.
const opBoundLife = 300 * time.Second

// RP-F3: the same at Keycloak, which demands no nonce.
func TestKeycloakBindsTokens(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	issuer := kc.Issuer("gatehouse")
	api, address := boundSite(t, issuer, gatehouse.ResourceServerConfig{Client: clientOf("api"), TokenTypes: []string{"JWT"}})
	notes := newNotes(t)
	notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: boundClient(t, "notes"), Scopes: []string{"profile", "email"}})
	usesBoundTokens(t, notes, api, address.base, kcTokenLife, false, func(b *servers.Chromium) { kc.SignIn(t, b, "alice") })
}
