package opserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/testkit/opserver"
)

// asserting is a world with a client for each kind of assertion.
type asserting struct {
	*world
	key, stranger *ecdsa.PrivateKey
}

func newAsserting(t *testing.T) *asserting {
	t.Helper()
	a := &asserting{world: newWorld(t, "/op")}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	a.stranger, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	a.must(a.AddClient(opserver.Client{ID: "keyed", Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "k1"}}, AssertionAlg: "ES256"}))
	a.must(a.AddClient(opserver.Client{ID: "sealed", Auth: opserver.AuthSecretJWT, Secret: rpSecret}))
	return a
}

// signed makes an assertion. A nil claim is left out.
func (a *asserting) signed(alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	a.t.Helper()
	all := map[string]any{"iss": "keyed", "sub": "keyed", "aud": a.Issuer(), "jti": rand.Text(), "iat": a.clock.Now().Unix(), "exp": a.clock.Now().Add(time.Minute).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(all)
	a.must(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	a.must(err)
	s, err := signer.Sign(body)
	a.must(err)
	text, err := s.CompactSerialize()
	a.must(err)
	return text
}

// token asks for a token of the client itself.
func (a *asserting) token(assertion string, more url.Values) (status int, code any) {
	a.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
	maps.Copy(form, more)
	r, err := http.NewRequest(http.MethodPost, a.endpoint("token_endpoint"), strings.NewReader(form.Encode()))
	a.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := a.do(a.http, r)
	return answer.StatusCode, answer.json["error"]
}

// A client that has to assert is let in by its own assertion, once, and by
// nothing else (RFC 7523 §3, OpenID Connect Core §9).
func TestAssertions(t *testing.T) {
	a := newAsserting(t)
	der, err := x509.MarshalPKIXPublicKey(a.key.Public())
	a.must(err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := a.clock.Now()
	good := func(claims map[string]any) string { return a.signed(jose.ES256, a.key, "k1", claims) }
	sealed := map[string]any{"iss": "sealed", "sub": "sealed"}
	for name, c := range map[string]struct {
		assertion string
		more      url.Values
		good      bool
	}{
		"of a key":              {good(nil), nil, true},
		"of a secret":           {a.signed(jose.HS256, []byte(rpSecret), "", sealed), nil, true},
		"with client_id":        {good(nil), url.Values{"client_id": {"keyed"}}, true},
		"another client_id":     {good(nil), url.Values{"client_id": {"rp"}}, false},
		"another key":           {a.signed(jose.ES256, a.stranger, "k1", nil), nil, false},
		"another kid":           {a.signed(jose.ES256, a.key, "k2", nil), nil, false},
		"no kid":                {a.signed(jose.ES256, a.key, "", nil), nil, false},
		"another secret":        {a.signed(jose.HS256, []byte(strings.Repeat("x", 40)), "", sealed), nil, false},
		"HMAC, public key":      {a.signed(jose.HS256, public, "k1", nil), nil, false},
		"a key for the secret":  {a.signed(jose.ES256, a.key, "k1", sealed), nil, false},
		"no iss":                {good(map[string]any{"iss": nil}), nil, false},
		"another iss":           {good(map[string]any{"iss": "rp"}), nil, false},
		"nobody":                {good(map[string]any{"iss": "x", "sub": "x"}), nil, false},
		"a client with secret":  {good(map[string]any{"iss": "rp", "sub": "rp"}), nil, false},
		"aud a list":            {good(map[string]any{"aud": []string{a.Issuer()}}), nil, false},
		"aud the endpoint":      {good(map[string]any{"aud": a.endpoint("token_endpoint")}), nil, false},
		"no aud":                {good(map[string]any{"aud": nil}), nil, false},
		"no jti":                {good(map[string]any{"jti": nil}), nil, false},
		"short jti":             {good(map[string]any{"jti": "1"}), nil, false},
		"no exp":                {good(map[string]any{"exp": nil}), nil, false},
		"no iat":                {good(map[string]any{"iat": nil}), nil, false},
		"expired":               {good(map[string]any{"exp": now.Unix()}), nil, false},
		"for an hour":           {good(map[string]any{"exp": now.Add(time.Hour).Unix()}), nil, false},
		"of tomorrow":           {good(map[string]any{"iat": now.Add(24 * time.Hour).Unix()}), nil, false},
		"of yesterday":          {good(map[string]any{"iat": now.Add(-24 * time.Hour).Unix()}), nil, false},
		"not a JWT":             {"assertion", nil, false},
		"another type":          {good(nil), url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}}, false},
		"no assertion":          {"", nil, false},
		"not the only proof":    {good(nil), url.Values{"client_secret": {rpSecret}}, false},
		"the secret by itself":  {"", url.Values{"client_assertion": nil, "client_assertion_type": nil, "client_id": {"sealed"}, "client_secret": {rpSecret}}, false},
		"the client id by that": {"", url.Values{"client_assertion": nil, "client_assertion_type": nil, "client_id": {"keyed"}}, false},
	} {
		status, code := a.token(c.assertion, c.more)
		if c.good != (status == http.StatusOK) || !c.good && code != "invalid_client" && code != "invalid_request" {
			t.Errorf("%s: %d %v", name, status, code)
		}
	}
	once := good(nil)
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if status, _ := a.token(once, nil); status != want {
			t.Errorf("use %d: %d, want %d", i+1, status, want)
		}
	}
	older := good(map[string]any{"aud": "https://op.test/token"})
	a.must(a.AddClient(opserver.Client{ID: "keyed", Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "k1"}}, AssertionAudience: "https://op.test/token"}))
	if status, _ := a.token(older, nil); status != http.StatusOK {
		t.Errorf("the audience of an older server: %d", status)
	}
}

// What does not fit together in a registration is an error.
func TestAssertingClients(t *testing.T) {
	a := newAsserting(t)
	for name, c := range map[string]opserver.Client{
		"no key":        {Auth: opserver.AuthPrivateKeyJWT},
		"key, secret":   {Auth: opserver.AuthPrivateKeyJWT, Secret: "s", Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "k"}}},
		"private key":   {Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: a.key, KeyID: "k"}}},
		"key of no id":  {Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: a.key.Public()}}},
		"no secret":     {Auth: opserver.AuthSecretJWT},
		"keys for post": {Auth: opserver.AuthPost, Secret: "s", Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "k"}}},
	} {
		c.ID = "new"
		if err := a.AddClient(c); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
}
