package keyset_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// FuzzKeySet: whatever a provider publishes as its key set, a token verifies
// only if an ordinary reader finds its public signing key in the set. Secrets,
// private keys, encryption keys and other curves do not count.
func FuzzKeySet(f *testing.F) {
	k1, ok := keys()["p256"].(*ecdsa.PrivateKey)
	if !ok {
		f.Fatal("p256 is not a key for ES256")
	}
	signed := sign(f, jose.ES256, k1, "k1")
	secret := bytes.Repeat([]byte{'k'}, 32)
	symmetric := sign(f, jose.HS256, secret, "k1")
	oct := `{"kty":"oct","kid":"k1","k":"` + base64.RawURLEncoding.EncodeToString(secret) + `"}`
	good := jwk("p256", "k1")
	for _, body := range []string{
		jwks(good), jwks(oct, good), jwks(oct), jwks(jwk("p384", "k1"), good), jwks(good, good), jwks(jwk("p256", "k1", "use", "enc")),
		jwks(jwk("p256", "k1", "alg", "ES384")), jwks(jwk("p256", "k1", "key_ops", []string{"sign"})), jwks(private("p256", "k1")), jwks(`5`, good, `null`),
		jwks(jwk("p256", "k1", "x5c", []string{"garbage"})), jwks(jwk("p256", "K1")), jwks(jwk("p256", "")), `{"keys":5}`, `{"Keys":[` + good + `]}`, `[` + good + `]`,
		`{"keys":[` + good + `],"keys":[]}`, `{"keys":[` + good, jwks(jwk("p256", "k1", "crv", "P-384")), jwks(jwk("p256", "k1", "kty", "RSA")),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		is, s := newIssuer(t, string(body))
		got, err := verify(t.Context(), s, signed)
		if err == nil && (string(got) != payload || !publishes(body, k1)) {
			t.Errorf("%q verifies a token whose key it does not publish", body)
		}
		if _, err := verify(t.Context(), s, symmetric); err == nil {
			t.Errorf("%q verifies an HMAC", body)
		}
		if is.count() == 0 {
			t.Error("the set was not fetched")
		}
	})
}

// publishes reads a set with encoding/json and looks for the public key.
func publishes(body []byte, key *ecdsa.PrivateKey) bool {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return false
	}
	x, y := make([]byte, 32), make([]byte, 32)
	key.X.FillBytes(x)
	key.Y.FillBytes(y)
	return slices.ContainsFunc(set.Keys, func(raw json.RawMessage) bool {
		var e map[string]any
		if json.Unmarshal(raw, &e) != nil {
			return false
		}
		is := func(name string, want []byte) bool {
			text, _ := e[name].(string)
			b, err := base64.RawURLEncoding.DecodeString(text)
			return err == nil && bytes.Equal(b, want)
		}
		one := func(name string, values ...any) bool { return slices.Contains(values, e[name]) }
		ops, limited := e["key_ops"].([]any)
		return one("kty", "EC") && one("crv", "P-256") && one("use", nil, "", "sig") && one("alg", nil, "", "ES256") && is("x", x) && is("y", y) &&
			e["d"] == nil && e["p"] == nil && e["k"] == nil && (!limited || slices.Contains(ops, any("verify")))
	})
}
