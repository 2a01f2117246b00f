package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/token"
)

// OpenID Connect Core §5.3.2: signed user info.
func TestUserInfo(t *testing.T) {
	say := func(change ...any) string {
		c := map[string]any{"sub": "u1", "email": "a@b.test"}
		for i := 0; i < len(change); i += 2 {
			name, _ := change[i].(string)
			if c[name] = change[i+1]; change[i+1] == nil {
				delete(c, name)
			}
		}
		return sign(t, jose.ES256, keys()[jose.ES256], nil, c)
	}
	typed := func(typ string) string {
		return sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": typ}, map[string]any{"sub": "u1"})
	}
	stranger := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	good := say()
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"sub alone":              {good, nil},
		"iss and aud":            {say("iss", issuer, "aud", client), nil},
		"aud with others":        {say("aud", []string{"x", client}), nil},
		"iss null":               {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`{"sub":"u1","iss":null,"aud":null,"exp":null}`)), nil},
		"own claims of any type": {say("sid", 7, "nonce", []int{1}, "auth_time", "never", "iat", "x", "events", []string{"concert"}), nil},
		"own events":             {say("events", map[string]any{"concert": 1}), nil},
		"another iss":            {say("iss", "https://other.test"), token.ErrIssuer},
		"empty iss":              {say("iss", ""), token.ErrIssuer},
		"another aud":            {say("aud", "other"), token.ErrAudience},
		"empty aud":              {say("aud", []string{}), token.ErrAudience},
		"no sub":                 {say("sub", nil), token.ErrSubject},
		"empty sub":              {say("sub", ""), token.ErrSubject},
		"another sub":            {say("sub", "u2"), token.ErrSubject},
		"sub a number":           {say("sub", 1), token.ErrMalformed},
		"exp passed":             {say("exp", at(-61*time.Second)), token.ErrExpired},
		"exp within the leeway":  {say("exp", at(-59*time.Second)), nil},
		"exp no number":          {say("exp", "soon"), token.ErrMalformed},
		"nbf ahead":              {say("nbf", at(61*time.Second)), token.ErrClockSkew},
		"nbf within the leeway":  {say("nbf", at(59*time.Second)), nil},
		"a logout token":         {say("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}), token.ErrKind},
		"typ JWT":                {typed("JWT"), nil},
		"typ jwt":                {typed("jwt"), nil},
		"typ at+jwt":             {typed("at+jwt"), token.ErrKind},
		"typ logout+jwt":         {typed("logout+jwt"), token.ErrKind},
		"two sub":                {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`{"sub":"u1","sub":"u2"}`)), token.ErrMalformed},
		"no JSON":                {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`sub`)), token.ErrMalformed},
		"a list":                 {sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`["sub"]`)), token.ErrMalformed},
		"another key":            {sign(t, jose.ES256, stranger, nil, map[string]any{"sub": "u1"}), token.ErrSignature},
		"another algorithm":      {sign(t, jose.ES512, keys()[jose.ES512], nil, map[string]any{"sub": "u1"}), token.ErrAlgorithm},
		"HS256":                  {sign(t, jose.HS256, []byte(strings.Repeat("s", 32)), nil, map[string]any{"sub": "u1"}), token.ErrAlgorithm},
		"no signature":           {good[:strings.LastIndexByte(good, '.')+1], token.ErrMalformed},
		"five parts":             {good + ".a.b", token.ErrMalformed},
		"huge":                   {say("x", strings.Repeat("x", 64<<10)), token.ErrMalformed},
		"large":                  {say("x", strings.Repeat("x", 20<<10)), nil},
		"nothing":                {"", token.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := verifier("ES256").UserInfo(t.Context(), c.raw, client, "u1", "")
			if !errors.Is(err, c.want) || (u == nil) != (c.want != nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if u != nil && !strings.Contains(string(u.Payload()), `"u1"`) {
				t.Errorf("payload %s", u.Payload())
			}
		})
	}
}

// The algorithm is one that the issuer announces for ID Tokens or for user
// info, and RS256 if it announces none.
func TestUserInfoAlgorithms(t *testing.T) {
	list := func(algs ...string) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { return algs, nil }
	}
	for _, c := range []struct {
		idToken, userInfo []string
		alg               jose.SignatureAlgorithm
		good              bool
	}{
		{nil, nil, jose.RS256, true},
		{nil, nil, jose.ES256, false},
		{nil, []string{"none"}, jose.RS256, true},
		{[]string{"RS256"}, []string{"ES256"}, jose.ES256, true},
		{[]string{"RS256"}, []string{"ES256"}, jose.RS256, true},
		{[]string{"RS256"}, []string{"none"}, jose.ES256, false},
		{[]string{"ES256"}, nil, jose.RS256, false},
	} {
		v := token.NewVerifier(token.Config{
			Issuer: issuer, Keys: published(), Now: func() time.Time { return now },
			Algorithms: list(c.idToken...), UserInfoAlgorithms: list(c.userInfo...),
		})
		raw := sign(t, c.alg, keys()[c.alg], nil, map[string]any{"sub": "u1"})
		if _, err := v.UserInfo(t.Context(), raw, client, "u1", ""); (err == nil) != c.good || err != nil && !errors.Is(err, token.ErrAlgorithm) {
			t.Errorf("%v and %v announced, signed with %s: %v", c.idToken, c.userInfo, c.alg, err)
		}
	}
}

// A user info answer is not accepted as the ID Token of a sign-in.
func TestUserInfoIsNoIDToken(t *testing.T) {
	raw := sign(t, jose.ES256, keys()[jose.ES256], nil, map[string]any{"sub": "u1", "iss": issuer, "aud": client, "exp": at(time.Minute), "iat": at(0)})
	if _, err := verifier("ES256").UserInfo(t.Context(), raw, client, "u1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier("ES256").SignIn(t.Context(), raw, signIn()); err == nil {
		t.Error("accepted as an ID Token")
	}
}
