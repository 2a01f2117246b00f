package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
)

const apiAudience = "https://api.example.org"

// algorithms are those that are measured.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// notary issues access tokens in the form of RFC 9068, with one key for each
// algorithm.
type notary struct {
	server  *httptest.Server
	issuer  string
	keys    map[jose.SignatureAlgorithm]crypto.Signer
	signers map[jose.SignatureAlgorithm]jose.Signer
	set     jose.JSONWebKeySet
	began   time.Time
}

func newNotary(t testing.TB) *notary {
	t.Helper()
	n := &notary{
		keys: map[jose.SignatureAlgorithm]crypto.Signer{}, signers: map[jose.SignatureAlgorithm]jose.Signer{},
		began: time.Now(),
	}
	for _, alg := range algorithms {
		private, err := newKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		id := "key-" + strings.ToLower(string(alg))
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: private, KeyID: id}},
			(&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		n.keys[alg], n.signers[alg] = private, signer
		n.set.Keys = append(n.set.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: string(alg), Use: "sig"})
	}
	mux := http.NewServeMux()
	n.server = httptest.NewServer(mux)
	t.Cleanup(n.server.Close)
	at := n.server.URL
	n.issuer = at
	for path, answer := range map[string]any{
		"/.well-known/openid-configuration": map[string]any{
			"issuer": at, "authorization_endpoint": at + "/a", "token_endpoint": at + "/t", "jwks_uri": at + "/keys",
			"id_token_signing_alg_values_supported": algorithms,
			"response_types_supported":              []string{"code"}, "subject_types_supported": []string{"public"},
			"introspection_endpoint": at + "/introspect",
		},
		"/keys": n.set,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	mux.HandleFunc("POST /introspect", n.introspect)
	return n
}

// introspect knows every token.
func (n *notary) introspect(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("token") == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"active": true, "iss": n.server.URL, "aud": apiAudience, "client_id": "printshop", "token_type": "Bearer",
		"sub": "f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b:1", "scope": "openid notes:read notes:write",
		"iat": n.began.Unix(), "exp": n.began.Add(time.Hour).Unix(),
	})
}

func newKey(alg jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch alg {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// token is the access token of person i.
func (n *notary) token(t testing.TB, alg jose.SignatureAlgorithm, i int) string {
	t.Helper()
	return n.with(t, alg, i, nil)
}

// with is such a token with some claims changed.
func (n *notary) with(t testing.TB, alg jose.SignatureAlgorithm, i int, claimed map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": n.issuer, "aud": []string{apiAudience}, "sub": fmt.Sprintf("f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b:%d", i),
		"client_id": "printshop", "scope": "openid notes:read notes:write", "jti": rand.Text(),
		"iat": n.began.Unix(), "exp": n.began.Add(time.Hour).Unix(), "auth_time": n.began.Unix(), "acr": "1",
		"roles": []string{"offline_access", "notes-editors", "billing-readers"},
	}
	maps.Copy(claims, claimed)
	return signed(t, n.signers[alg], claims)
}

func (n *notary) tokens(t testing.TB, alg jose.SignatureAlgorithm, count int) (list []string) {
	for i := range count {
		list = append(list, n.token(t, alg, i))
	}
	return list
}

// provider is the notary as a service knows it. Its clock is the real one.
func (n *notary) provider(t testing.TB, logger *slog.Logger) *gatehouse.Provider {
	t.Helper()
	p, err := gatehouse.NewProvider(n.issuer, &gatehouse.ProviderConfig{
		Transport: inside{n.server.Config.Handler}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return p
}

// resourceServer is an API that accepts the notary's tokens, and has seen none.
func (n *notary) resourceServer(t testing.TB, p *gatehouse.Provider) *gatehouse.ResourceServer {
	t.Helper()
	rs, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Audience: []string{apiAudience}})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// api is such an API on its own.
func (n *notary) api(t testing.TB) *gatehouse.ResourceServer {
	t.Helper()
	return n.resourceServer(t, n.provider(t, slog.New(slog.DiscardHandler)))
}

// call is a request to the API.
func call(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://api.example.org/v1/notes", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "printshop/1.4")
	return r
}

func calls(tokens []string) (list []*http.Request) {
	for _, token := range tokens {
		list = append(list, call(token))
	}
	return list
}

// holders are people with an access token each.
type holders []string

func (h holders) count() int                    { return len(h) }
func (h holders) request(i int) *http.Request   { return call(h[i]) }
func (h holders) fillIn(r *http.Request, i int) { r.Header["Authorization"][0] = "Bearer " + h[i] }

// signed is a token with these claims.
func signed(t testing.TB, signer jose.Signer, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
