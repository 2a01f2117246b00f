package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/testkit/opserver"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const token = "the-access-token"

// keys has a key for each kind of algorithm.
var keys = sync.OnceValue(func() map[jose.SignatureAlgorithm]any {
	known, err := opserver.KnownKeys()
	if err != nil {
		panic(err)
	}
	made := map[jose.SignatureAlgorithm]any{}
	for _, k := range known {
		if r, ok := k.Key.(*rsa.PrivateKey); ok {
			for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
				made[alg] = r
			}
		}
	}
	for alg, curve := range map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()} {
		if made[alg], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			panic(err)
		}
	}
	if _, made[jose.EdDSA], err = ed25519.GenerateKey(rand.Reader); err != nil {
		panic(err)
	}
	return made
})

// public is the JWK of a key, as go-jose writes it.
func public(t testing.TB, key any) map[string]any {
	t.Helper()
	k := jose.JSONWebKey{Key: key}
	text, err := k.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// thumbprint is that of go-jose.
func thumbprint(t testing.TB, key any) string {
	t.Helper()
	k := jose.JSONWebKey{Key: key}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// sign makes a proof with go-jose. header and claims are added to good ones; nil
// removes a claim.
func sign(t testing.TB, alg jose.SignatureAlgorithm, header, change map[string]any) string {
	t.Helper()
	key := keys()[alg]
	claims := map[string]any{"jti": "the-first-jti", "htm": "GET", "htu": "https://api.test/notes", "iat": now.Unix(), "ath": dpop.Hash(token)}
	for name, v := range change {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signBytes(t, alg, key, header, payload)
}

func signBytes(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[string]any, payload []byte) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("typ", "dpop+jwt").WithHeader("jwk", public(t, key))
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// base is the address of the API.
func base(t testing.TB, address string) dpop.Base {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return dpop.NewBase(u)
}

// want is a request that the proofs of sign fit.
func want(t testing.TB, alg jose.SignatureAlgorithm) dpop.Request {
	t.Helper()
	return dpop.Request{
		Method: "GET", Address: dpop.NewAddress(base(t, "https://api.test"), "/notes"), Token: token, Thumbprint: thumbprint(t, keys()[alg]), Now: now,
	}
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}
