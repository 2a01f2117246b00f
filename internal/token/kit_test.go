package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

const (
	issuer = "https://op.test"
	client = "notes"
	nonce  = "n-1"
)

// now is the time on every verifier's clock.
var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// keys are the issuer's keys by algorithm. They are made once, because making
// RSA keys is slow.
var keys = sync.OnceValue(func() map[jose.SignatureAlgorithm]crypto.Signer {
	m := map[jose.SignatureAlgorithm]crypto.Signer{
		jose.RS256: must(rsa.GenerateKey(rand.Reader, 2048)),
		jose.ES256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		jose.ES384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		jose.ES512: must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	m[jose.EdDSA] = must(ed, err)
	return m
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// published is the issuer's key set.
func published() *keyset.Set {
	var static []jose.JSONWebKey
	for alg, k := range keys() {
		static = append(static, jose.JSONWebKey{Key: k.Public(), KeyID: string(alg)})
	}
	return keyset.New(keyset.Config{Static: static})
}

// verifier accepts tokens of the issuer that are signed with one of algs.
func verifier(algs ...string) *token.Verifier {
	return token.NewVerifier(token.Config{
		Issuer: issuer, Keys: published(), Now: func() time.Time { return now },
		Algorithms: func(context.Context) ([]string, error) { return algs, nil },
	})
}

// at is a NumericDate.
func at(d time.Duration) int64 { return now.Add(d).Unix() }

// claims returns the claims of a good ID Token with some changed; nil removes
// one.
func claims(change ...any) map[string]any {
	c := map[string]any{"iss": issuer, "sub": "u1", "aud": client, "exp": at(5 * time.Minute), "iat": at(0), "nonce": nonce}
	for i := 0; i < len(change); i += 2 {
		name, _ := change[i].(string)
		if c[name] = change[i+1]; change[i+1] == nil {
			delete(c, name)
		}
	}
	return c
}

// sign signs claims, or bytes, as the issuer does. header changes the header.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[string]any, what any) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": string(alg)}}
	for name, v := range maps.All(header) {
		options.ExtraHeaders[jose.HeaderKey(name)] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := what.([]byte)
	if !ok {
		payload = must(json.Marshal(what))
	}
	return must(must(signer.Sign(payload)).CompactSerialize())
}

// signed signs with the issuer's ES256 key, which is fast.
func signed(t testing.TB, change ...any) string {
	t.Helper()
	return sign(t, jose.ES256, keys()[jose.ES256], nil, claims(change...))
}

// signIn is what the sign-in of these tests expects.
func signIn() token.SignIn { return token.SignIn{Client: client, Nonce: nonce, Began: now} }
