package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/bench/paired"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

// The subjects of verifying an ID Token, and the limits that are stated for
// them.
const (
	allChecks   = "gatehouse, all checks"
	bareVerify  = "go-oidc Verify and Claims"
	idTokenCost = 1.05
)

// idTokenLimits: with all our checks, verifying an ID Token that was never seen
// before costs about as much as go-oidc's bare Verify. Verify leaves out nonce,
// azp, iat, at_hash, typ, sub and duplicate names (M3 to M6 of the threat
// model).
func idTokenLimits() []paired.Limit {
	return []paired.Limit{{Subject: allChecks, Peer: bareVerify, AtMost: idTokenCost}}
}

const (
	idClient = "notes"
	idNonce  = "n-0S6_WzA2MjAbCdEfGhIjKlMnOpQrSt"
)

// idTokenSubjects verify the same token with the same keys, both fetched.
func idTokenSubjects(t *testing.T) []paired.Subject {
	t.Helper()
	issuer, sign := idIssuer(t)
	raw := sign(map[string]any{
		"iss": issuer, "aud": []string{idClient}, "azp": idClient, "sub": "f:6d1c8b1e-4c0c-4f0b-9d3e-1f1f5a1c7a5b:ana",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "auth_time": time.Now().Unix(),
		"jti": rand.Text(), "typ": "ID", "nonce": idNonce, "sid": "08d2c8a1-8f0e-4c27-b3f6-5a2a3b9d1f3c", "acr": "1",
		"name": "Ana Example", "given_name": "Ana", "family_name": "Example", "preferred_username": "ana",
		"email": "ana@staff.example.org", "email_verified": true, "locale": "en-GB",
		"groups":       []string{"staff", "engineering", "oncall-europe", "notes-editors", "billing-readers"},
		"realm_access": map[string]any{"roles": []string{"offline_access", "uma_authorization", "notes", "default-roles-demo"}},
	})
	verifier := token.NewVerifier(token.Config{
		Issuer:     issuer,
		Keys:       keyset.New(keyset.Config{URL: func(context.Context) (string, error) { return issuer + "/keys", nil }}),
		Algorithms: func(context.Context) ([]string, error) { return []string{"RS256"}, nil },
		Now:        time.Now,
	})
	want := token.SignIn{Client: idClient, Nonce: idNonce, Began: time.Now().Add(-time.Minute)}
	peer, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	bare := peer.Verifier(&oidc.Config{ClientID: idClient})
	return []paired.Subject{
		checked(t, allChecks, func() error {
			_, err := verifier.SignIn(t.Context(), raw, want)
			return err
		}),
		checked(t, bareVerify, func() error {
			got, err := bare.Verify(t.Context(), raw)
			if err != nil {
				return err
			}
			var claims struct {
				AuthTime int64  `json:"auth_time"`
				Party    string `json:"azp"`
				SID      string `json:"sid"`
				Email    string `json:"email"`
				Verified bool   `json:"email_verified"`
			}
			return got.Claims(&claims)
		}),
	}
}

// checked is a subject whose operation must not fail.
func checked(t *testing.T, name string, op func() error) paired.Subject {
	t.Helper()
	if err := op(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return paired.Loop(name, func() {
		if err := op(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// idIssuer publishes five keys, as servers with key rotation do, and signs with
// the last.
func idIssuer(t *testing.T) (issuer string, sign func(map[string]any) string) {
	t.Helper()
	const keys = 5
	var set jose.JSONWebKeySet
	var signer jose.Signer
	for i := range keys {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("key-", i)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"})
		signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: id}},
			(&jose.SignerOptions{}).WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	serve := func(path string, v any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		})
	}
	serve("/.well-known/openid-configuration", map[string]any{
		"issuer": server.URL, "authorization_endpoint": server.URL + "/a", "token_endpoint": server.URL + "/t",
		"jwks_uri": server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	})
	serve("/keys", set)
	return server.URL, func(claims map[string]any) string {
		return signed(t, signer, claims)
	}
}
