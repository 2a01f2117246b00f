package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/token"
)

const eventName = "http://schemas.openid.net/event/backchannel-logout"

// logoutClaims returns the claims of a good logout token with some changed; nil
// removes one, and null writes it as null.
func logoutClaims(change ...any) map[string]any {
	c := map[string]any{"iss": issuer, "sub": "u1", "sid": "s1", "aud": client, "iat": at(0), "exp": at(2 * time.Minute), "jti": "j-1",
		"events": map[string]any{eventName: map[string]any{}}}
	for i := 0; i < len(change); i += 2 {
		name, _ := change[i].(string)
		if c[name] = change[i+1]; change[i+1] == nil {
			delete(c, name)
		}
	}
	return c
}

// null is a claim that is there and says nothing.
var null = json.RawMessage("null")

// oldVerifier accepts logout tokens of before the final specification too.
func oldVerifier() *token.Verifier {
	return token.NewVerifier(token.Config{
		Issuer: issuer, Keys: published(), Now: func() time.Time { return now }, OldLogout: true,
		Algorithms: func(context.Context) ([]string, error) { return []string{"ES256"}, nil },
	})
}

func logoutToken(t testing.TB, typ string, what any) string {
	t.Helper()
	var header map[string]any
	if typ != "" {
		header = map[string]any{"typ": typ}
	}
	return sign(t, jose.ES256, keys()[jose.ES256], header, what)
}

func TestLogoutToken(t *testing.T) {
	for name, c := range map[string]struct {
		typ    string
		change []any
		want   error
	}{
		"sub and sid":               {"logout+jwt", nil, nil},
		"sub alone":                 {"logout+jwt", []any{"sid", nil}, nil},
		"sid alone":                 {"logout+jwt", []any{"sub", nil}, nil},
		"sub null beside a sid":     {"logout+jwt", []any{"sub", null}, nil},
		"typ in another case":       {"Logout+JWT", nil, nil},
		"typ with application":      {"application/logout+jwt", nil, nil},
		"unknown claims":            {"logout+jwt", []any{"trace_id", 7, "acr", null}, nil},
		"another event beside it":   {"logout+jwt", []any{"events", map[string]any{eventName: map[string]any{}, "urn:x": 1}}, nil},
		"an event with members":     {"logout+jwt", []any{"events", map[string]any{eventName: map[string]any{"x": 1}}}, nil},
		"aud is an array":           {"logout+jwt", []any{"aud", []string{client}}, nil},
		"two aud and our azp":       {"logout+jwt", []any{"aud", []string{client, "other"}, "azp", client}, nil},
		"exp within the skew":       {"logout+jwt", []any{"exp", at(-59 * time.Second)}, nil},
		"iat ahead within the skew": {"logout+jwt", []any{"iat", at(59 * time.Second)}, nil},

		"no typ":                     {"", nil, token.ErrKind},
		"typ JWT":                    {"JWT", nil, token.ErrKind},
		"typ of an access token":     {"at+jwt", nil, token.ErrKind},
		"typ of a security event":    {"secevent+jwt", nil, token.ErrKind},
		"LO7 nonce":                  {"logout+jwt", []any{"nonce", "x"}, token.ErrNonce},
		"LO7 nonce null":             {"logout+jwt", []any{"nonce", null}, token.ErrNonce},
		"LO7 nonce empty":            {"logout+jwt", []any{"nonce", ""}, token.ErrNonce},
		"nonce of another type":      {"logout+jwt", []any{"nonce", []int{}}, token.ErrNonce},
		"no events":                  {"logout+jwt", []any{"events", nil}, token.ErrKind},
		"events null":                {"logout+jwt", []any{"events", null}, token.ErrKind},
		"events is a text":           {"logout+jwt", []any{"events", eventName}, token.ErrMalformed},
		"events is an array":         {"logout+jwt", []any{"events", []string{eventName}}, token.ErrMalformed},
		"another event":              {"logout+jwt", []any{"events", map[string]any{"https" + eventName[4:]: map[string]any{}}}, token.ErrKind},
		"event with a slash":         {"logout+jwt", []any{"events", map[string]any{eventName + "/": map[string]any{}}}, token.ErrKind},
		"event in another case":      {"logout+jwt", []any{"events", map[string]any{strings.ToUpper(eventName): map[string]any{}}}, token.ErrKind},
		"event is null":              {"logout+jwt", []any{"events", map[string]any{eventName: nil}}, token.ErrMalformed},
		"event is true":              {"logout+jwt", []any{"events", map[string]any{eventName: true}}, token.ErrMalformed},
		"event is an array":          {"logout+jwt", []any{"events", map[string]any{eventName: []int{}}}, token.ErrMalformed},
		"neither sub nor sid":        {"logout+jwt", []any{"sub", nil, "sid", nil}, token.ErrSubject},
		"both null":                  {"logout+jwt", []any{"sub", null, "sid", null}, token.ErrSubject},
		"sub is empty":               {"logout+jwt", []any{"sub", ""}, token.ErrMalformed},
		"sid is empty":               {"logout+jwt", []any{"sid", ""}, token.ErrMalformed},
		"sub is a number":            {"logout+jwt", []any{"sub", 1}, token.ErrMalformed},
		"sid is a number":            {"logout+jwt", []any{"sid", 1}, token.ErrMalformed},
		"sid is an array":            {"logout+jwt", []any{"sid", []string{"s1"}}, token.ErrMalformed},
		"sub is too long":            {"logout+jwt", []any{"sub", strings.Repeat("u", 256)}, token.ErrSubject},
		"LO9 iss other":              {"logout+jwt", []any{"iss", "https://other.test"}, token.ErrIssuer},
		"iss with a slash":           {"logout+jwt", []any{"iss", issuer + "/"}, token.ErrIssuer},
		"no iss":                     {"logout+jwt", []any{"iss", nil}, token.ErrIssuer},
		"LO9 aud other":              {"logout+jwt", []any{"aud", "other"}, token.ErrAudience},
		"LO9 aud other in an array":  {"logout+jwt", []any{"aud", []string{"other"}}, token.ErrAudience},
		"two aud":                    {"logout+jwt", []any{"aud", []string{client, "other"}}, token.ErrAudience},
		"azp other":                  {"logout+jwt", []any{"azp", "other"}, token.ErrAudience},
		"no aud":                     {"logout+jwt", []any{"aud", nil}, token.ErrAudience},
		"aud empty":                  {"logout+jwt", []any{"aud", []string{}}, token.ErrAudience},
		"LO9 exp past":               {"logout+jwt", []any{"exp", at(-60 * time.Second)}, token.ErrExpired},
		"no exp":                     {"logout+jwt", []any{"exp", nil}, token.ErrExpired},
		"exp null":                   {"logout+jwt", []any{"exp", null}, token.ErrExpired},
		"exp is a text":              {"logout+jwt", []any{"exp", "later"}, token.ErrMalformed},
		"no iat":                     {"logout+jwt", []any{"iat", nil}, token.ErrMalformed},
		"iat in the future":          {"logout+jwt", []any{"iat", at(61 * time.Second)}, token.ErrClockSkew},
		"nbf in the future":          {"logout+jwt", []any{"nbf", at(61 * time.Second)}, token.ErrClockSkew},
		"no jti":                     {"logout+jwt", []any{"jti", nil}, token.ErrMalformed},
		"jti is empty":               {"logout+jwt", []any{"jti", ""}, token.ErrMalformed},
		"jti is a number":            {"logout+jwt", []any{"jti", 7}, token.ErrMalformed},
		"an ID Token with the event": {"logout+jwt", []any{"nonce", nonce, "auth_time", at(0)}, token.ErrNonce},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifier("ES256").Logout(t.Context(), logoutToken(t, c.typ, logoutClaims(c.change...)), client, "")
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && (got.ID() != "j-1" || got.Issued().Unix()-at(0) > 60 || got.Subject() == "" && got.SID() == "") {
				t.Errorf("read as %q, %q, %q of %v", got.Subject(), got.SID(), got.ID(), got.Issued())
			}
		})
	}
}

// LO7: what is signed by the provider and is no logout token ends nothing, also
// not with the setting for older providers.
func TestLO7_OtherTokensAreNoLogoutTokens(t *testing.T) {
	for name, raw := range map[string]string{
		"an ID Token":                 signed(t),
		"an ID Token without a nonce": signed(t, "nonce", nil, "jti", "j", "sid", "s1"),
		"an access token":             logoutToken(t, "at+jwt", logoutClaims("events", nil)),
		"an access token as JWT":      logoutToken(t, "JWT", logoutClaims("events", nil, "scope", "read")),
		"the typ alone":               logoutToken(t, "logout+jwt", claims("jti", "j")),
	} {
		for _, v := range []*token.Verifier{verifier("ES256"), oldVerifier()} {
			if _, err := v.Logout(t.Context(), raw, client, ""); !isReason(err) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

// With the setting for older providers, typ may be missing or JWT, and exp may
// be missing. Nothing else is let through.
func TestLogoutTokenOfOlderProviders(t *testing.T) {
	v := oldVerifier()
	for name, c := range map[string]struct {
		typ    string
		change []any
		want   error
	}{
		"final":                {"logout+jwt", nil, nil},
		"no typ":               {"", nil, nil},
		"JWT":                  {"JWT", nil, nil},
		"jwt":                  {"jwt", nil, nil},
		"no exp":               {"", []any{"exp", nil}, nil},
		"no exp and old":       {"", []any{"exp", nil, "iat", at(-3 * time.Minute)}, token.ErrExpired},
		"neither exp nor iat":  {"", []any{"exp", nil, "iat", nil}, token.ErrExpired},
		"exp past":             {"JWT", []any{"exp", at(-time.Hour)}, token.ErrExpired},
		"another kind":         {"at+jwt", nil, token.ErrKind},
		"no event":             {"JWT", []any{"events", nil}, token.ErrKind},
		"nonce":                {"JWT", []any{"nonce", null}, token.ErrNonce},
		"neither sub nor sid ": {"JWT", []any{"sub", nil, "sid", nil}, token.ErrSubject},
	} {
		if _, err := v.Logout(t.Context(), logoutToken(t, c.typ, logoutClaims(c.change...)), client, ""); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

// LO9: the form and the signature are judged as those of an ID Token.
func TestLO9_LogoutTokenForms(t *testing.T) {
	v := verifier("ES256", "HS256", "none")
	good := logoutToken(t, "logout+jwt", logoutClaims())
	parts := strings.Split(good, ".")
	typ := map[string]any{"typ": "logout+jwt"}
	crit := map[string]any{"typ": "logout+jwt", "crit": []string{"urn:x"}, "urn:x": true}
	twice := strings.Replace(string(must(json.Marshal(logoutClaims()))), `"sid":"s1"`, `"sid":"s2","sid":"s1"`, 1)
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"alg none":           {"eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9." + parts[1] + ".", token.ErrMalformed},
		"alg none and a sig": {"eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9." + parts[1] + "." + parts[2], token.ErrAlgorithm},
		"HS256":              {sign(t, jose.HS256, []byte(strings.Repeat("client secret ", 4)), typ, logoutClaims()), token.ErrAlgorithm},
		"another alg":        {sign(t, jose.EdDSA, keys()[jose.EdDSA], typ, logoutClaims()), token.ErrAlgorithm},
		"wrong signature":    {sign(t, jose.ES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), typ, logoutClaims()), token.ErrSignature},
		"other payload":      {parts[0] + "." + strings.Split(logoutToken(t, "logout+jwt", logoutClaims("sid", "s2")), ".")[1] + "." + parts[2], token.ErrSignature},
		"crit":               {sign(t, jose.ES256, keys()[jose.ES256], crit, logoutClaims()), token.ErrSignature},
		"a claim twice":      {logoutToken(t, "logout+jwt", []byte(twice)), token.ErrMalformed},
		"five parts":         {good + ".e30.e30", token.ErrMalformed},
		"two parts":          {parts[0] + "." + parts[1], token.ErrMalformed},
		"padding":            {good + "=", token.ErrMalformed},
		"white space":        {" " + good, token.ErrMalformed},
		"too long":           {logoutToken(t, "logout+jwt", logoutClaims("x", strings.Repeat("x", 17<<10))), token.ErrMalformed},
		"nothing":            {"", token.ErrMalformed},
	} {
		if _, err := v.Logout(t.Context(), c.raw, client, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

// LO9: what the client is registered for is the only algorithm that counts (§2.6,
// step 3), once it is known that the token is for this client.
func TestLO9_LogoutTokenOfRegisteredAlgorithm(t *testing.T) {
	v, raw := verifier("ES256", "RS256"), logoutToken(t, "logout+jwt", logoutClaims())
	for _, c := range []struct {
		client, alg string
		want        error
	}{{client, "ES256", nil}, {client, "", nil}, {client, "RS256", token.ErrAlgorithm}, {"other", "RS256", token.ErrAudience}} {
		if _, err := v.Logout(t.Context(), raw, c.client, c.alg); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("client %s, alg %q: error %v, want %v", c.client, c.alg, err, c.want)
		}
	}
}

// A logout token says nothing while the keys cannot be had.
func TestLogoutTokenWithoutKeys(t *testing.T) {
	v, _ := fetching(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
	_, err := v.Logout(t.Context(), logoutToken(t, "logout+jwt", logoutClaims()), client, "")
	if _, ok := errors.AsType[*keyset.UnavailableError](err); !ok || isReason(err) {
		t.Errorf("error %v", err)
	}
}
