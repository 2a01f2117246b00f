package interop_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// Keycloak's access tokens are JWTs of typ JWT, whose typ claim is Bearer. Its
// introspection endpoint knows the same tokens.
func TestKeycloakAccessTokens(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	issuer := kc.Issuer("gatehouse")
	client := &bareClient{id: "api", secret: "api-secret", provider: discover(t, issuer)}
	alice := client.token(t, http.StatusOK, passwordGrant("alice"))
	says(t, alice.AccessToken, map[string]any{"header typ": "JWT", "claim typ": "Bearer", "claim azp": "api", "claim at_hash": nil, "claim nonce": nil})
	_, claims := readJWT(t, alice.AccessToken)
	subject := "sub=" + claims["sub"].(string) + " client=api "

	config := gatehouse.ResourceServerConfig{
		Client: clientOf("api"), Audience: []string{apiName}, TokenTypes: []string{"JWT"}, RoleClaim: []string{"realm_access", "roles"},
	}
	api := newAccessAPI(t, issuer, config)
	api.accepts(t, "Alice's token", alice.AccessToken, subject)
	api.accepts(t, "scope and role", alice.AccessToken, subject, gatehouse.Scopes("email", "profile"), gatehouse.Role("default-roles-gatehouse"))
	api.wire.want(t, "GET openid-configuration", "GET certs") // once for all requests
	own := client.token(t, http.StatusOK, ownToken(""))
	api.accepts(t, "the service's own token", own.AccessToken, " client=api ")

	// Keycloak ignores resource (RFC 8707), unless an experimental feature is on.
	asked := passwordGrant("alice")
	asked.Set("resource", "https://other.example.test")
	if _, theirs := readJWT(t, client.token(t, http.StatusOK, asked).AccessToken); fmt.Sprint(theirs["aud"]) != fmt.Sprint(claims["aud"]) {
		t.Errorf("aud is %v with a resource, and %v without", theirs["aud"], claims["aud"])
	}

	if got := api.get(t, alice.AccessToken, gatehouse.Scopes("email", "phone")); got.status != http.StatusForbidden ||
		!strings.Contains(got.header.Get("WWW-Authenticate"), `error="insufficient_scope", scope="email phone"`) {
		t.Errorf("a scope is missing: %d %q", got.status, got.header)
	}
	if got := api.get(t, alice.AccessToken, gatehouse.Role("admin")); got.status != http.StatusForbidden ||
		strings.Contains(got.header.Get("WWW-Authenticate"), "scope=") {
		t.Errorf("a role is missing: %d %q", got.status, got.header)
	}

	strict := config
	strict.TokenTypes = nil
	newAccessAPI(t, issuer, strict).refuses(t, "without TokenTypes", alice.AccessToken, "TokenTypes")
	other := config
	other.Audience = []string{"https://other.example.test"}
	newAccessAPI(t, issuer, other).refuses(t, "for another API", alice.AccessToken, "audience")
	refusesIDToken(t, issuer, "api", alice.IDToken)
	keycloakRevokes(t, api, client, alice.AccessToken, subject)
}

// keycloakRevokes: a route with NotRevoked asks Keycloak each time, and so knows
// at once that a token was revoked.
func keycloakRevokes(t *testing.T, api *accessAPI, client *bareClient, token, subject string) {
	api.wire.take()
	api.accepts(t, "NotRevoked", token, subject, gatehouse.NotRevoked())
	api.accepts(t, "NotRevoked again", token, subject, gatehouse.NotRevoked())
	api.wire.want(t, "POST token/introspect", "POST token/introspect")
	// Keycloak calls a token active only to a client that is in its aud.
	other := &bareClient{id: "printshop", secret: "printshop-secret"}
	if said := other.ask(t, client.provider.Issuer+"/protocol/openid-connect/token/introspect", url.Values{"token": {token}}); !strings.Contains(said, `"active":false`) {
		t.Errorf("to a client that is not in aud: %s", said)
	}
	client.ask(t, client.provider.Revocation, url.Values{"token": {token}})
	api.refuses(t, "revoked", token, "active", gatehouse.NotRevoked())
	api.accepts(t, "revoked, on a route that does not ask", token, subject)
}

// oidc-provider makes the token that the resource parameter names (RFC 8707): a
// JWT of RFC 9068, signed as the resource says, or an opaque one.
func TestOIDCProviderAccessTokens(t *testing.T) {
	t.Parallel()
	const es256, opaque = "https://es256.example.test", "https://opaque.example.test"
	base, callbacks := newRedirectTarget(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "api", Secret: "api-secret", RedirectURIs: []string{base + "/callback"},
			GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}}},
		AlwaysRefresh: true,
		Resources: []servers.OIDCProviderResource{
			{URI: apiName, Scope: "notes:read notes:write"},
			{URI: es256, Scope: "notes:read", Algorithm: "ES256"},
			{URI: opaque, Scope: "notes:read", Opaque: true},
		},
	})
	client := &bareClient{id: "api", secret: "api-secret", provider: discover(t, op.Issuer), redirectURL: base + "/callback", callbacks: callbacks}
	client.signInByForm(t, "alice", "any", url.Values{"scope": {"openid notes:read"}, "resource": {apiName, es256, opaque}})
	alice := client.exchange(t)
	refresh := alice.RefreshToken
	tokenFor := func(resource string) string {
		t.Helper()
		got := client.token(t, http.StatusOK, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "resource": {resource}})
		refresh = got.RefreshToken // it rotates
		return got.AccessToken
	}
	config := gatehouse.ResourceServerConfig{Client: clientOf("api"), Audience: []string{apiName}}

	t.Run("JWT", func(t *testing.T) {
		token := tokenFor(apiName)
		says(t, token, map[string]any{"header typ": "at+jwt", "header alg": "RS256", "claim aud": apiName, "claim client_id": "api"})
		api := newAccessAPI(t, op.Issuer, config)
		api.accepts(t, "for the API", token, "sub=alice client=api scopes=[notes:read]", gatehouse.Scopes("notes:read"))
		api.wire.want(t, "GET openid-configuration", "GET jwks")
		if got := api.get(t, token, gatehouse.Scopes("notes:write")); got.status != http.StatusForbidden {
			t.Errorf("a scope that was not granted: %d", got.status)
		}
		// oidc-provider says nothing about a JWT, so nobody knows.
		if got := api.once(token, gatehouse.NotRevoked()); got != http.StatusServiceUnavailable {
			t.Errorf("NotRevoked: %d, want 503", got)
		}
		client.token(t, http.StatusBadRequest, ownToken("https://unknown.example.test"))
		own := client.token(t, http.StatusOK, ownToken(apiName)).AccessToken
		api.accepts(t, "the service's own token", own, "client=api")
		api.refuses(t, "for another resource", tokenFor(es256), "audience")

		theirs := config
		theirs.Audience = []string{es256}
		says(t, tokenFor(es256), map[string]any{"header typ": "at+jwt", "header alg": "ES256", "claim aud": es256})
		other := newAccessAPI(t, op.Issuer, theirs)
		other.accepts(t, "ES256", tokenFor(es256), "sub=alice")
		other.refuses(t, "for the API", token, "audience")
	})
	t.Run("for no resource", func(t *testing.T) { // it opens the user info, and has no aud
		newAccessAPI(t, op.Issuer, config).refuses(t, "no aud", alice.AccessToken, "audience")
		theirs := config
		theirs.Audience, theirs.InsecureAnyAudience = nil, true
		newAccessAPI(t, op.Issuer, theirs).accepts(t, "any audience", alice.AccessToken, "sub=alice")
	})
	t.Run("opaque", func(t *testing.T) {
		token := tokenFor(opaque)
		theirs := config
		theirs.Audience = []string{opaque}
		api := newAccessAPI(t, op.Issuer, theirs)
		api.accepts(t, "for the API", token, "sub=alice client=api scopes=[notes:read]", gatehouse.Scopes("notes:read"))
		api.accepts(t, "again", token, "sub=alice")
		api.wire.want(t, "GET openid-configuration", "POST token/introspection")
		api.accepts(t, "NotRevoked", token, "sub=alice", gatehouse.NotRevoked())
		newAccessAPI(t, op.Issuer, config).refuses(t, "for another resource", token, "audience")
		// oidc-provider ends the whole grant with any of its tokens.
		client.ask(t, client.provider.Revocation, url.Values{"token": {token}})
		api.refuses(t, "revoked", token, "active", gatehouse.NotRevoked())
	})
	refusesIDToken(t, op.Issuer, "api", alice.IDToken)
}

// Dex's access tokens are ID Tokens: without typ, with at_hash, and with nonce if
// the request had one. Nothing tells the two apart, so both are refused. What
// Dex says about a token does not help: it calls an ID Token an access token.
func TestDexAccessTokens(t *testing.T) {
	t.Parallel()
	base, callbacks := newRedirectTarget(t)
	issuer := servers.StartDex(t,
		servers.DexClient{ID: "web", Secret: "web-secret", RedirectURIs: []string{base + "/callback"}},
		servers.DexClient{ID: "api", Secret: "api-secret", TrustedPeers: []string{"web"}})
	client := &bareClient{id: "web", secret: "web-secret", provider: discover(t, issuer), redirectURL: base + "/callback", callbacks: callbacks, nameless: true}
	client.signInByForm(t, "alice@example.test", "alice", url.Values{"scope": {"openid email audience:server:client_id:api"}})
	alice := client.exchange(t)
	own := client.token(t, http.StatusOK, ownToken("")).AccessToken
	for what, token := range map[string]string{"access token": alice.AccessToken, "ID Token": alice.IDToken} {
		says(t, token, map[string]any{"header typ": nil, "claim aud": []any{"api", "web"}, "claim azp": "web", "claim nonce": "the-nonce", "claim at_hash": anything})
		anybody := must(http.PostForm(issuer+"/token/introspect", url.Values{"token": {token}}))(t) // without authentication
		if said := string(must(readAll(anybody.Body))(t)); !strings.Contains(said, `"active":true`) || !strings.Contains(said, `"token_use":"access_token"`) {
			t.Errorf("Dex says about the %s: %s", what, said)
		}
		newAccessAPI(t, issuer, gatehouse.ResourceServerConfig{Audience: []string{"api"}}).refuses(t, what, token, "TokenTypes")
		newAccessAPI(t, issuer, gatehouse.ResourceServerConfig{Audience: []string{"api"}, TokenTypes: []string{""}}).refuses(t, what, token, "_hash of another kind")
	}
	says(t, own, map[string]any{"header typ": nil, "claim aud": "web", "claim at_hash": anything, "claim nonce": nil})
	newAccessAPI(t, issuer, gatehouse.ResourceServerConfig{Audience: []string{"web"}, TokenTypes: []string{""}}).refuses(t, "the service's own token", own, "the claim at_hash of another kind")
	refusesIDToken(t, issuer, "web", alice.IDToken)
}
