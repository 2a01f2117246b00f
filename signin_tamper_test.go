package gatehouse_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// rewriteBody replaces a JSON answer by what change makes of it; other answers
// pass.
func rewriteBody(t testing.TB, resp *http.Response, change func(map[string]any) any) *http.Response {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	var m map[string]any
	if json.Unmarshal(b, &m) == nil {
		if b, err = json.Marshal(change(m)); err != nil {
			t.Error(err)
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	resp.Header.Del("Content-Length")
	return resp
}

// onToken changes every answer of the token endpoint.
func (s *site) onToken(t testing.TB, change func(m map[string]any)) {
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasPrefix(s.endpoint["token_endpoint"], "https://op.test"+r.URL.Path) {
			return next(r), nil
		}
		return rewriteJSON(t, next(r), change), nil
	})
}

// signer signs with a key that the provider is made to publish beside its own.
type signer struct {
	t   testing.TB
	key jose.JSONWebKey
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t, jose.JSONWebKey{Key: k, KeyID: "tests", Algorithm: string(jose.ES256), Use: "sig"}}
}

// sign makes a compact JWS with the header members given on top.
func (k *signer) sign(header map[string]any, payload []byte) string {
	k.t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", k.key.KeyID).WithHeader("typ", "JWT")
	for name, v := range header {
		o = o.WithHeader(jose.HeaderKey(name), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.key.Key}, o)
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

// retoken signs the provider's ID Tokens anew after a change of header and claims.
func (s *site) retoken(t testing.TB, change func(header, claims map[string]any)) {
	t.Helper()
	if s.signer == nil {
		s.signer = newSigner(t)
	}
	k := s.signer
	s.rewrap(t, k, func(claims map[string]any) string {
		header := map[string]any{}
		change(header, claims)
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Error(err)
		}
		return k.sign(header, payload)
	})
}

// rewrap replaces the provider's ID Tokens and publishes the key beside its own.
func (s *site) rewrap(t testing.TB, k *signer, remake func(claims map[string]any) string) {
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return rewriteJSON(t, next(r), func(m map[string]any) {
			if raw, ok := m["id_token"].(string); ok {
				made := remake(tokenClaims(t, raw))
				s.mint("id_token", made)
				m["id_token"] = made
			}
			if keys, ok := m["keys"].([]any); ok {
				m["keys"] = append(keys, k.key.Public())
			}
		}), nil
	})
}

// status is an answer that says the same to everything.
func status(code int, body string) func(*site, *http.Request, func(*http.Request) *http.Response) *http.Response {
	return func(_ *site, r *http.Request, _ func(*http.Request) *http.Response) *http.Response {
		return response(r, code, body)
	}
}

func response(r *http.Request, code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}
