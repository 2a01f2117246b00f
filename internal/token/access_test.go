package token_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/bounded"
	"example.com/gatehouse/internal/token"
)

// api accepts access tokens as RFC 9068 describes them.
func api() *token.AccessRules { return &token.AccessRules{Audience: []string{"https://api.test"}} }

// lax also accepts those of servers that do not declare them.
func lax() *token.AccessRules {
	r := api()
	r.Types = []string{"JWT", ""}
	return r
}

// accessClaims returns the claims of a good access token with some changed; nil
// removes one.
func accessClaims(change ...any) map[string]any {
	base := []any{"aud", "https://api.test", "nonce", nil, "client_id", "shop", "scope", "read write"}
	return claims(append(base, change...)...)
}

func accessToken(t testing.TB, typ any, change ...any) string {
	t.Helper()
	header := map[string]any{}
	if typ != nil {
		header["typ"] = typ
	}
	return sign(t, jose.ES256, keys()[jose.ES256], header, accessClaims(change...))
}

func TestAccessToken(t *testing.T) {
	got, err := verifier("ES256").Access(t.Context(), accessToken(t, "at+jwt", "auth_time", at(-time.Minute)), api())
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject() != "u1" || got.Client() != "shop" || !slices.Equal(got.Scopes(), []string{"read", "write"}) ||
		!got.Expires().Equal(now.Add(5*time.Minute)) || !got.AuthTime().Equal(now.Add(-time.Minute)) || !strings.Contains(string(got.Payload()), `"client_id":"shop"`) {
		t.Errorf("got %+v", got)
	}
}

// A token that is bound to a key is good, and says to which.
func TestAccessTokenOfAKey(t *testing.T) {
	key := strings.Repeat("A", 43)
	for cnf, want := range map[string]string{`null`: "", `{"jkt":"` + key + `"}`: key} {
		raw := accessToken(t, "at+jwt", "cnf", json.RawMessage(cnf))
		memory := token.NewAccessMemory()
		for range 2 { // new, and remembered
			got, err := verifier("ES256").AccessOnce(t.Context(), raw, bounded.KeyOf(raw), api(), memory)
			if err != nil || got.Thumbprint() != want {
				t.Errorf("%s: %+v, %v", cnf, got, err)
			}
			if seen := verifier("ES256").Recall(bounded.KeyOf(raw), memory, now); seen != nil && seen.Thumbprint() != want {
				t.Errorf("%s, remembered: %q", cnf, seen.Thumbprint())
			}
		}
	}
}

// Whatever else a token is, it is not an access token for this API.
func TestAccessTokenRefused(t *testing.T) {
	for name, c := range map[string]struct {
		rules  *token.AccessRules
		typ    any
		change []any
		want   error
	}{
		"media type":                     {api(), "application/at+jwt", nil, nil},
		"type in capitals":               {api(), "AT+JWT", nil, nil},
		"JWT":                            {api(), "JWT", nil, token.ErrKind},
		"no type":                        {api(), nil, nil, token.ErrKind},
		"logout token's type":            {lax(), "logout+jwt", nil, token.ErrKind},
		"DPoP proof's type":              {lax(), "dpop+jwt", nil, token.ErrKind},
		"JWT, allowed":                   {lax(), "jwt", nil, nil},
		"no type, allowed":               {lax(), nil, nil, nil},
		"ID Token by nonce":              {lax(), "JWT", []any{"nonce", "n"}, token.ErrKind},
		"ID Token by at_hash":            {lax(), "JWT", []any{"at_hash", "x"}, token.ErrKind},
		"ID Token by c_hash":             {lax(), "JWT", []any{"c_hash", "x"}, token.ErrKind},
		"ID Token by s_hash":             {lax(), nil, []any{"s_hash", "x"}, token.ErrKind},
		"logout token":                   {lax(), "JWT", []any{"events", map[string]any{}}, token.ErrKind},
		"permission token":               {lax(), "JWT", []any{"authorization", map[string]any{}}, token.ErrKind},
		"Cognito's ID Token":             {lax(), "JWT", []any{"token_use", "id"}, token.ErrKind},
		"Cognito's access token":         {lax(), "JWT", []any{"token_use", "access"}, nil},
		"Keycloak's ID Token":            {lax(), "JWT", []any{"typ", "ID"}, token.ErrKind},
		"Keycloak's refresh token":       {lax(), "JWT", []any{"typ", "Refresh"}, token.ErrKind},
		"Keycloak's access token":        {lax(), "JWT", []any{"typ", "Bearer"}, nil},
		"Keycloak's bound token":         {lax(), "JWT", []any{"typ", "DPoP", "cnf", map[string]any{"jkt": strings.Repeat("A", 43)}}, nil},
		"bound by typ alone":             {lax(), "JWT", []any{"typ", "DPoP"}, token.ErrBound},
		"declared, bound by typ alone":   {api(), "at+jwt", []any{"typ", "DPoP"}, token.ErrBound},
		"bound by typ to a certificate":  {lax(), "JWT", []any{"typ", "DPoP", "cnf", map[string]any{"x5t#S256": strings.Repeat("A", 43)}}, token.ErrBound},
		"bound by use":                   {lax(), "JWT", []any{"token_use", "DPoP", "cnf", map[string]any{"jkt": strings.Repeat("A", 43)}}, token.ErrKind},
		"use that is no text":            {lax(), "JWT", []any{"token_use", 1}, token.ErrKind},
		"declared, with a nonce":         {api(), "at+jwt", []any{"nonce", "n"}, nil},
		"JW3: another issuer":            {api(), "at+jwt", []any{"iss", issuer + "/"}, token.ErrIssuer},
		"no issuer":                      {api(), "at+jwt", []any{"iss", nil}, token.ErrIssuer},
		"another audience":               {api(), "at+jwt", []any{"aud", "notes"}, token.ErrAudience},
		"no audience":                    {api(), "at+jwt", []any{"aud", nil}, token.ErrAudience},
		"empty audience":                 {api(), "at+jwt", []any{"aud", []string{}}, token.ErrAudience},
		"audience in other case":         {api(), "at+jwt", []any{"aud", "https://API.test"}, token.ErrAudience},
		"audience with a slash":          {api(), "at+jwt", []any{"aud", "https://api.test/"}, token.ErrAudience},
		"one audience of several":        {api(), "at+jwt", []any{"aud", []string{"other", "https://api.test"}}, nil},
		"audience that is no text":       {api(), "at+jwt", []any{"aud", 1}, token.ErrMalformed},
		"any audience":                   {&token.AccessRules{AnyAudience: true}, "at+jwt", []any{"aud", nil}, nil},
		"no rule of audience":            {&token.AccessRules{}, "at+jwt", []any{"aud", ""}, token.ErrAudience},
		"no exp":                         {api(), "at+jwt", []any{"exp", nil}, token.ErrExpired},
		"exp within the skew":            {api(), "at+jwt", []any{"exp", at(-token.ClockSkew + time.Second)}, nil},
		"exp beyond it":                  {api(), "at+jwt", []any{"exp", at(-token.ClockSkew)}, token.ErrExpired},
		"nbf within the skew":            {api(), "at+jwt", []any{"nbf", at(token.ClockSkew)}, nil},
		"nbf beyond it":                  {api(), "at+jwt", []any{"nbf", at(token.ClockSkew + time.Second)}, token.ErrClockSkew},
		"iat beyond it":                  {api(), "at+jwt", []any{"iat", at(token.ClockSkew + time.Second)}, token.ErrClockSkew},
		"no iat":                         {api(), "at+jwt", []any{"iat", nil}, nil},
		"exp that is no number":          {api(), "at+jwt", []any{"exp", "soon"}, token.ErrMalformed},
		"no subject":                     {api(), "at+jwt", []any{"sub", nil}, nil},
		"long subject":                   {api(), "at+jwt", []any{"sub", strings.Repeat("a", 256)}, token.ErrSubject},
		"bound to a key":                 {api(), "at+jwt", []any{"cnf", map[string]any{"jkt": "x"}}, token.ErrBound},
		"bound to a certificate":         {api(), "at+jwt", []any{"cnf", map[string]any{"x5t#S256": "x"}}, token.ErrBound},
		"bound, undeclared":              {lax(), "JWT", []any{"cnf", map[string]any{"jkt": "x"}}, token.ErrBound},
		"null is absence":                {lax(), "JWT", []any{"nonce", rawNull{}, "cnf", rawNull{}, "events", rawNull{}}, nil},
		"auth_time that is no number":    {api(), "at+jwt", []any{"auth_time", "x"}, nil},
		"scope that is neither":          {api(), "at+jwt", []any{"scope", 1}, token.ErrMalformed},
		"scope of an unset claim is not": {&token.AccessRules{AnyAudience: true, Scopes: "rights"}, "at+jwt", []any{"scope", 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifier("ES256").Access(t.Context(), accessToken(t, c.typ, c.change...), c.rules)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// rawNull is a claim whose value is null.
type rawNull struct{}

func (rawNull) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// A token is judged by its algorithm and signature before its claims.
func TestAccessTokenSignature(t *testing.T) {
	good := accessToken(t, "at+jwt")
	for name, c := range map[string]struct {
		raw  string
		algs []string
		want error
	}{
		"JW1: none":         {"eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(good, ".")[1] + ".", []string{"ES256"}, token.ErrMalformed},
		"not listed":        {good, []string{"RS256"}, token.ErrAlgorithm},
		"another signature": {good[:len(good)-8] + "AAAAAAAA", []string{"ES256"}, token.ErrSignature},
		"encrypted":         {good + ".a.b", []string{"ES256"}, token.ErrMalformed},
		"with a line break": {good + "\n", []string{"ES256"}, token.ErrMalformed},
		"opaque":            {"b9f2c4", []string{"ES256"}, token.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := verifier(c.algs...).Access(t.Context(), c.raw, api()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	stranger := sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "at+jwt", "kid": "k-77"}, claims("aud", "notes"))
	if _, err := verifier("ES256").Access(t.Context(), stranger, api()); err == nil || !strings.HasSuffix(err.Error(), `unknown key: kid is "k-77"`) {
		t.Errorf("an unknown key: %v", err)
	}
}

// An ID Token of the same issuer for the same client is no access token, even if
// the client's id is an audience of the API.
func TestAccessTokenIsNoIDToken(t *testing.T) {
	rules := lax()
	rules.Audience = append(rules.Audience, client)
	if _, err := verifier("ES256").Access(t.Context(), signed(t), rules); !errors.Is(err, token.ErrKind) {
		t.Errorf("got %v", err)
	}
}

func TestAccessTokenScopes(t *testing.T) {
	for name, c := range map[string]struct {
		rules  *token.AccessRules
		change []any
		want   []string
	}{
		"text":              {api(), nil, []string{"read", "write"}},
		"list":              {api(), []any{"scope", []string{"read", "write"}}, []string{"read", "write"}},
		"empty":             {api(), []any{"scope", ""}, nil},
		"none":              {api(), []any{"scope", nil}, nil},
		"scp":               {api(), []any{"scope", nil, "scp", "a b"}, []string{"a", "b"}},
		"scp list":          {api(), []any{"scope", nil, "scp", []string{"a", "b"}}, []string{"a", "b"}},
		"scope before scp":  {api(), []any{"scp", "a"}, []string{"read", "write"}},
		"blanks in a list":  {api(), []any{"scope", []string{"read write"}}, []string{"read write"}},
		"tabs are no blank": {api(), []any{"scope", "a\tb"}, []string{"a\tb"}},
		"named":             {&token.AccessRules{AnyAudience: true, Scopes: "rights"}, []any{"rights", "a b"}, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifier("ES256").Access(t.Context(), accessToken(t, "at+jwt", c.change...), c.rules)
			if err != nil || !slices.Equal(got.Scopes(), c.want) {
				t.Errorf("got %q, %v; want %q", got.Scopes(), err, c.want)
			}
		})
	}
}

func TestAccessTokenSubjects(t *testing.T) {
	rules := api()
	rules.Subjects = []string{"alias", "username", "globalid"}
	for name, c := range map[string]struct {
		change []any
		want   string
	}{
		"first":   {[]any{"globalid", "g", "username", "u"}, "u"},
		"second":  {[]any{"globalid", "g"}, "g"},
		"not sub": {nil, ""},
		// Claims are signed in the order of their names, and that does not matter.
		"the first is empty, and stands before": {[]any{"alias", "", "globalid", "g"}, ""},
		"the first is empty, and stands behind": {[]any{"username", "", "globalid", "g"}, ""},
		"null is as if it were not there":       {[]any{"alias", json.RawMessage("null"), "globalid", "g"}, "g"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifier("ES256").Access(t.Context(), accessToken(t, "at+jwt", c.change...), rules)
			if err != nil || got.Subject() != c.want {
				t.Errorf("got %q, %v; want %q", got.Subject(), err, c.want)
			}
		})
	}
}

// FuzzAccess: whatever claims are signed, an accepted token is for this API, of
// this issuer and valid now, as an ordinary JSON reader reads it.
func FuzzAccess(f *testing.F) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: keys()[jose.ES256]}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		f.Fatal(err)
	}
	v, rules := verifier("ES256"), lax()
	const good = `{"iss":"https://op.test","sub":"u1","aud":"https://api.test","exp":1777637100,"iat":1777636800,"scope":"read"}`
	for _, change := range [][2]string{
		{"", ""}, {`"https://api.test"`, `["x","https://api.test"]`}, {`"https://api.test"`, `[["https://api.test"]]`}, {`"aud"`, `"AUD"`},
		{`"sub"`, `"nonce"`}, {`"sub":"u1"`, `"typ":"ID"`}, {`"sub":"u1"`, `"typ":"Bearer"`}, {`"sub":"u1"`, `"cnf":{}`},
		{`"sub":"u1"`, `"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`}, {`"sub":"u1"`, `"cnf":{"x5t#S256":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`}, {`"sub":"u1"`, `"events":null`},
		{`1777637100`, `1e300`}, {`1777637100`, `1777636740`}, {`"read"`, `["read","a b"]`}, {`"read"`, `{"read":1}`}, {`}`, `,"scope":"x"}`}, {`}`, `}x`}, {`{`, `[`},
	} {
		f.Add([]byte(strings.Replace(good, change[0], change[1], 1)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Access(t.Context(), raw, rules)
		if err != nil {
			if !isReason(err) {
				t.Errorf("%q: error %v", payload, err)
			}
			return
		}
		var m map[string]any
		if json.Unmarshal(payload, &m) != nil {
			t.Fatalf("%q is accepted and is no JSON", payload)
		}
		audience := m["aud"] == "https://api.test"
		if list, ok := m["aud"].([]any); ok {
			audience = slices.Contains(list, any("https://api.test"))
		}
		ends, _ := m["exp"].(float64)
		if m["iss"] != "https://op.test" || !audience || ends < float64(now.Unix()-60) || m["nonce"] != nil || m["events"] != nil || m["authorization"] != nil {
			t.Errorf("%q is accepted", payload)
		}
		if cnf, _ := m["cnf"].(map[string]any); m["cnf"] != nil && (cnf["jkt"] == nil || cnf["jkt"] != got.Thumbprint() || cnf["x5t#S256"] != nil) {
			t.Errorf("%q is accepted as bound to %q", payload, got.Thumbprint())
		}
		if sub, _ := m["sub"].(string); sub != got.Subject() {
			t.Errorf("%q: subject %q", payload, got.Subject())
		}
	})
}
