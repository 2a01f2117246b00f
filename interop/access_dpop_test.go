package interop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/go-jose/go-jose/v4"
)

// A proofKey signs the proofs of a client (RFC 9449).
type proofKey struct{ signer jose.Signer }

func newProofKey(t *testing.T, alg jose.SignatureAlgorithm) *proofKey {
	t.Helper()
	var private crypto.Signer
	if alg == jose.ES256 {
		private = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	} else {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		private = must(key, err)(t)
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	return &proofKey{must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: private}, options))(t)}
}

// proof proves the possession of the key for one request. With a token, it has
// the token's hash.
func (k *proofKey) proof(t *testing.T, method, address, token string) string {
	t.Helper()
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": address, "iat": time.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	signed := must(k.signer.Sign(must(json.Marshal(claims))(t)))(t)
	return must(signed.CompactSerialize())(t)
}

// boundToken gets an access token that is bound to the key.
func (c *bareClient) boundToken(t *testing.T, key *proofKey, form url.Values) string {
	t.Helper()
	got := c.tokenWith(t, http.StatusOK, form, "DPoP", key.proof(t, http.MethodPost, c.provider.Token, ""))
	if !strings.EqualFold(got.TokenType, "DPoP") {
		t.Fatalf("the token's type is %q, not DPoP", got.TokenType)
	}
	return got.AccessToken
}

// provesPossession drives an API with a token that is bound to the key.
func provesPossession(t *testing.T, issuer string, config gatehouse.ResourceServerConfig, key *proofKey, token string) {
	t.Helper()
	config.DPoP = gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: apiName}
	api := newAccessAPI(t, issuer, config)
	h := api.RequireToken(whoCalls)
	wants := func(what string, status int, code string, headers ...string) {
		t.Helper()
		got := api.send(t, h, headers...)
		if challenges := strings.Join(got.header.Values("WWW-Authenticate"), ", "); got.status != status || !strings.Contains(challenges, code) {
			t.Errorf("%s: %d %s, want %d %s; %s", what, got.status, challenges, status, code, api.reason(t))
		}
	}
	const here = apiName + "/notes"
	good := key.proof(t, http.MethodGet, here, token)
	wants("good", http.StatusOK, "", "Authorization", "DPoP "+token, "DPoP", good)
	wants("the same proof again", http.StatusUnauthorized, "invalid_dpop_proof", "Authorization", "DPoP "+token, "DPoP", good)
	wants("another proof", http.StatusOK, "", "Authorization", "DPoP "+token, "DPoP", key.proof(t, http.MethodGet, here, token))
	wants("another address", http.StatusUnauthorized, "invalid_dpop_proof", "Authorization", "DPoP "+token, "DPoP", key.proof(t, http.MethodGet, here+"/7", token))
	wants("another key", http.StatusUnauthorized, "invalid_dpop_proof", "Authorization", "DPoP "+token, "DPoP", newProofKey(t, jose.ES256).proof(t, http.MethodGet, here, token))
	wants("no proof", http.StatusUnauthorized, "invalid_dpop_proof", "Authorization", "DPoP "+token)
	wants("as Bearer", http.StatusUnauthorized, "invalid_token", "Authorization", "Bearer "+token, "DPoP", key.proof(t, http.MethodGet, here, token))

	config.DPoP = gatehouse.DPoPConfig{}
	newAccessAPI(t, issuer, config).refuses(t, "where DPoP is off", token, "cnf")
}

func TestOIDCProviderDPoP(t *testing.T) {
	t.Parallel()
	const opaque = "https://opaque.example.test"
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients:   []servers.OIDCProviderClient{{ID: "api", Secret: "api-secret", RedirectURIs: []string{"http://127.0.0.1/callback"}, GrantTypes: []string{"client_credentials"}}},
		Resources: []servers.OIDCProviderResource{{URI: apiName, Scope: "notes:read"}, {URI: opaque, Scope: "notes:read", Opaque: true}},
	})
	client := &bareClient{id: "api", secret: "api-secret", provider: discover(t, op.Issuer)}
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA} {
		for _, resource := range []string{apiName, opaque} {
			t.Run(string(alg)+" "+resource, func(t *testing.T) {
				key := newProofKey(t, alg)
				token := client.boundToken(t, key, ownToken(resource))
				if resource == apiName {
					says(t, token, map[string]any{"header typ": "at+jwt", "claim cnf": anything})
				}
				provesPossession(t, op.Issuer, gatehouse.ResourceServerConfig{Client: clientOf("api"), Audience: []string{resource}}, key, token)
			})
		}
	}
}

func TestKeycloakDPoP(t *testing.T) {
	t.Parallel()
	issuer := shared.Keycloak(t).Issuer("gatehouse")
	client := &bareClient{id: "api", secret: "api-secret", provider: discover(t, issuer)}
	key := newProofKey(t, jose.ES256)
	token := client.boundToken(t, key, passwordGrant("bob"))
	says(t, token, map[string]any{"claim cnf": anything, "claim typ": "DPoP", "header typ": "JWT"})
	config := gatehouse.ResourceServerConfig{Client: clientOf("api"), Audience: []string{apiName}, TokenTypes: []string{"JWT"}}
	provesPossession(t, issuer, config, key, token)

	// What the server says about the token names the same key.
	config.DPoP = gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: apiName}
	api := newAccessAPI(t, issuer, config)
	h := api.With(gatehouse.NotRevoked()).RequireToken(whoCalls)
	if got := api.send(t, h, "Authorization", "DPoP "+token, "DPoP", key.proof(t, http.MethodGet, apiName+"/notes", token)); got.status != http.StatusOK {
		t.Errorf("NotRevoked: %d %s; %s", got.status, got.body, api.reason(t))
	}
	api.refuses(t, "as Bearer", token, "cnf")
}
