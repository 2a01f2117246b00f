package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Signer signs with a key that the provider publishes along with its own.
type Signer struct {
	t   testing.TB
	Key jose.JSONWebKey
}

func NewSigner(t testing.TB) *Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{t, jose.JSONWebKey{Key: k, KeyID: "tests", Algorithm: string(jose.ES256), Use: "sig"}}
}

// Sign makes a compact JWS with the given members added to the header.
func (k *Signer) Sign(header map[string]any, payload []byte) string {
	k.t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", k.Key.KeyID).WithHeader("typ", "JWT")
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.Key.Key}, o)
	if err != nil {
		k.t.Error(err)
		return ""
	}
	signed, err := s.Sign(payload)
	if err != nil {
		k.t.Error(err)
		return ""
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		k.t.Error(err)
	}
	return raw
}

// Retoken changes the header and claims of the provider's ID Tokens and signs
// them again.
func (s *Site) Retoken(t testing.TB, change func(header, claims map[string]any)) {
	t.Helper()
	if s.signer == nil {
		s.signer = NewSigner(t)
	}
	k := s.signer
	s.Rewrap(t, k, func(claims map[string]any) string {
		header := map[string]any{}
		change(header, claims)
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Error(err)
		}
		return k.Sign(header, payload)
	})
}

// Rewrap replaces the provider's ID Tokens and publishes the key along with its
// own.
func (s *Site) Rewrap(t testing.TB, k *Signer, remake func(claims map[string]any) string) {
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return RewriteJSON(t, next(r), func(m map[string]any) {
			if raw, ok := m["id_token"].(string); ok {
				made := remake(TokenClaims(t, raw))
				s.Mint("id_token", made)
				m["id_token"] = made
			}
			if keys, ok := m["keys"].([]any); ok {
				m["keys"] = append(keys, k.Key.Public())
			}
		}), nil
	})
}
