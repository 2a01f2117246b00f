package token_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/token"
)

var logoutEvent = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}

// The getters of an ID Token return what was signed.
func TestIDToken(t *testing.T) {
	raw := signed(t, "sid", "s1", "auth_time", at(-time.Hour), "email", "ana@example.org")
	got, err := verifier("ES256").SignIn(t.Context(), raw, signIn())
	if err != nil {
		t.Fatal(err)
	}
	payload := must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1]))
	if got.Subject() != "u1" || got.SID() != "s1" || !got.AuthTime().Equal(now.Add(-time.Hour)) || string(got.Payload()) != string(payload) {
		t.Errorf("subject %q, sid %q, authenticated %v, payload %q", got.Subject(), got.SID(), got.AuthTime(), got.Payload())
	}
	got, err = verifier("ES256").SignIn(t.Context(), signed(t), signIn())
	if err != nil || got.SID() != "" || !got.AuthTime().IsZero() {
		t.Errorf("without sid and auth_time: %v, %v", got, err)
	}
}

// The checks of OpenID Connect Core §3.1.3.7. Each is tried a second inside and
// a second outside its limit, and each fails with its own error.
func TestSignIn(t *testing.T) {
	aged := signIn()
	aged.Aged, aged.MaxAge = true, time.Hour
	for _, c := range []struct {
		name string
		want token.SignIn
		raw  string
		err  error // nil if the token is good
	}{
		{"good", signIn(), signed(t), nil},
		{"iss one character more", signIn(), signed(t, "iss", issuer+"/"), token.ErrIssuer},
		{"iss absent", signIn(), signed(t, "iss", nil), token.ErrIssuer},
		{"aud another", signIn(), signed(t, "aud", "other"), token.ErrAudience},
		{"aud absent", signIn(), signed(t, "aud", nil), token.ErrAudience},
		{"aud two, without azp", signIn(), signed(t, "aud", []string{client, "other"}), token.ErrAudience},
		{"aud two, azp us", signIn(), signed(t, "aud", []string{client, "other"}, "azp", client), nil},
		{"azp another", signIn(), signed(t, "azp", "other"), token.ErrAudience},
		{"azp null", signIn(), sign(t, jose.ES256, keys()[jose.ES256], nil, withNull("azp")), nil},
		{"no client wanted, none in aud", token.SignIn{Nonce: nonce}, signed(t, "aud", ""), token.ErrAudience},
		{"sub absent", signIn(), signed(t, "sub", nil), token.ErrSubject},
		{"sub of 255", signIn(), signed(t, "sub", strings.Repeat("s", 255)), nil},
		{"sub of 256", signIn(), signed(t, "sub", strings.Repeat("s", 256)), token.ErrSubject},
		{"nonce another", signIn(), signed(t, "nonce", "n-2"), token.ErrNonce},
		{"nonce absent", signIn(), signed(t, "nonce", nil), token.ErrNonce},
		{"no nonce wanted, empty", token.SignIn{Client: client}, signed(t, "nonce", ""), token.ErrNonce},
		{"events", signIn(), signed(t, "events", logoutEvent), token.ErrKind},
		{"events no object", signIn(), signed(t, "events", "logout"), nil},
		{"other events", signIn(), signed(t, "events", map[string]any{"x": map[string]any{}}), nil},
		{"sid a number", signIn(), signed(t, "sid", 7), nil},
		{"names in other case", signIn(), signed(t, "AUD", 7, "Exp", "never", "NONCE", nil), nil},
		{"_claim_names no object", signIn(), signed(t, "_claim_names", 7), nil},
		{"auth_time no number", signIn(), signed(t, "auth_time", "yesterday"), nil},
		{"auth_time ahead", signIn(), signed(t, "auth_time", at(61*time.Second)), nil},
		{"auth_time no number, but asked for", aged, signed(t, "auth_time", "yesterday"), token.ErrAuthTime},
		{"auth_time ahead, but asked for", aged, signed(t, "auth_time", at(61*time.Second)), token.ErrAuthTime},
		{"auth_time within the leeway", aged, signed(t, "auth_time", at(60*time.Second)), nil},
		{"exp absent", signIn(), signed(t, "exp", nil), token.ErrExpired},
		{"exp 59 s past", signIn(), signed(t, "exp", at(-59*time.Second)), nil},
		{"exp 60 s past", signIn(), signed(t, "exp", at(-60*time.Second)), token.ErrExpired},
		{"exp out of range", signIn(), signed(t, "exp", 1e300), token.ErrMalformed},
		{"iat absent", signIn(), signed(t, "iat", nil), token.ErrMalformed},
		{"iat 60 s ahead", signIn(), signed(t, "iat", at(60*time.Second)), nil},
		{"iat 61 s ahead", signIn(), signed(t, "iat", at(61*time.Second)), token.ErrClockSkew},
		{"iat 361 s before the sign-in", signIn(), signed(t, "iat", at(-361*time.Second)), nil},
		{"iat 362 s before the sign-in", signIn(), signed(t, "iat", at(-362*time.Second)), token.ErrClockSkew},
		{"nbf 60 s ahead", signIn(), signed(t, "nbf", at(60*time.Second)), nil},
		{"nbf 61 s ahead", signIn(), signed(t, "nbf", at(61*time.Second)), token.ErrClockSkew},
		{"auth_time as asked", aged, signed(t, "auth_time", at(-time.Hour-61*time.Second)), nil},
		{"auth_time too old", aged, signed(t, "auth_time", at(-time.Hour-62*time.Second)), token.ErrAuthTime},
		{"auth_time absent", aged, signed(t), token.ErrAuthTime},
		{"sub a number", signIn(), signed(t, "sub", 17), token.ErrMalformed},
		{"claim twice", signIn(), sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`{"sub":"u1","sub":"u2"}`)), token.ErrMalformed},
		{"no claims", signIn(), sign(t, jose.ES256, keys()[jose.ES256], nil, []byte(`[]`)), token.ErrMalformed},
		{"typ JWT", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "JWT"}, claims()), nil},
		{"typ jwt", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "jwt"}, claims()), nil},
		{"typ of an access token", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "at+jwt"}, claims()), token.ErrKind},
		{"typ of a logout token", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"typ": "logout+jwt"}, claims()), token.ErrKind},
		{"crit", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"crit": []string{"x"}, "x": 1}, claims()), token.ErrSignature},
		{"another key", signIn(), sign(t, jose.RS256, keys()[jose.RS256], map[string]any{"kid": "ES256"}, claims()), token.ErrAlgorithm},
		{"signature of another", signIn(), strings.Join(append(strings.Split(signed(t), ".")[:2], strings.Split(signed(t, "sub", "u2"), ".")[2]), "."), token.ErrSignature},
		{"kid unknown", signIn(), sign(t, jose.ES256, keys()[jose.ES256], map[string]any{"kid": "gone"}, claims()), token.ErrSignature},
		{"no signature", signIn(), strings.Join(strings.Split(signed(t), ".")[:2], ".") + ".", token.ErrMalformed},
		{"16 KiB and more", signIn(), signed(t, "x", strings.Repeat("x", 12<<10)), token.ErrMalformed},
		{"empty", signIn(), "", token.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := verifier("ES256").SignIn(t.Context(), c.raw, c.want)
			if !errors.Is(err, c.err) || (got != nil) != (c.err == nil) {
				t.Errorf("token %v, error %v, want %v", got != nil, err, c.err)
			}
		})
	}
}

// An error names what differs: both sides of a comparison, the times, the claim
// or the form. It does not hold the nonce or the token.
func TestCauses(t *testing.T) {
	aged := signIn()
	aged.Aged, aged.MaxAge = true, time.Hour
	es256 := keys()[jose.ES256]
	parts := strings.Split(signed(t), ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for _, c := range []struct {
		raw  string
		want token.SignIn
		says []string
	}{
		{signed(t, "iss", "https://other.test"), signIn(), []string{`"https://other.test"`, `"` + issuer + `"`}},
		{signed(t, "aud", []string{"a", "b"}), signIn(), []string{`"a b"`, `"` + client + `"`}},
		{signed(t, "aud", []string{client, "b"}), signIn(), []string{`"` + client + ` b"`, "no azp"}},
		{signed(t, "azp", "other"), signIn(), []string{`azp is "other"`, `"` + client + `"`}},
		{signed(t, "sub", nil), signIn(), []string{"sub is missing"}},
		{signed(t, "sub", strings.Repeat("s", 256)), signIn(), []string{"256 bytes, more than 255"}},
		{signed(t, "nonce", nil), signIn(), []string{"has no nonce"}},
		{signed(t, "nonce", "n-2"), signIn(), []string{"not the one of this sign-in"}},
		{signed(t, "exp", at(-time.Hour)), signIn(), []string{"exp is 2026-05-01T11:00:00Z", "now it is 2026-05-01T12:00:00Z"}},
		{signed(t, "exp", nil), signIn(), []string{"no exp"}},
		{signed(t, "iat", at(time.Hour)), signIn(), []string{"iat is 2026-05-01T13:00:00Z", "now it is 2026-05-01T12:00:00Z"}},
		{signed(t, "iat", at(-time.Hour)), signIn(), []string{"iat is 2026-05-01T11:00:00Z", "began at 2026-05-01T12:00:00Z"}},
		{signed(t, "nbf", at(time.Hour)), signIn(), []string{"nbf is 2026-05-01T13:00:00Z", "now it is 2026-05-01T12:00:00Z"}},
		{signed(t, "auth_time", at(-2*time.Hour)), aged, []string{"auth_time is 2026-05-01T10:00:00Z", "max_age of 1h0m0s", "2026-05-01T12:00:00Z"}},
		{signed(t), aged, []string{"auth_time is missing"}},
		{signed(t, "sub", 17), signIn(), []string{"sub: "}},
		{signed(t, "exp", "soon"), signIn(), []string{"exp: "}},
		{sign(t, jose.ES256, es256, nil, []byte(`{"sub":"u1","sub":"u2"}`)), signIn(), []string{"repeats a member name"}},
		{unsigned, signIn(), []string{"malformed token: alg none, and a part that is empty"}},
		{unsigned + "AAAA", signIn(), []string{"alg none", `accepted are "ES256"`}},
		{sign(t, jose.RS256, keys()[jose.RS256], nil, claims()), signIn(), []string{"alg RS256", `"ES256"`}},
		{sign(t, jose.ES256, es256, map[string]any{"typ": "at+jwt"}, claims()), signIn(), []string{"typ at+jwt"}},
		{sign(t, jose.ES256, es256, map[string]any{"typ": strings.Repeat("x", 21)}, claims()), signIn(), []string{"typ other (21 bytes)"}},
		{"a.b.c.d.e", signIn(), []string{"encrypted"}},
		{"opaque", signIn(), []string{"malformed token: not three parts, but 1"}},
		{"e30.e30.e30", signIn(), []string{"its header cannot be read"}},
		{strings.Repeat("x", 16<<10+1), signIn(), []string{"16385 bytes, more than 16384"}},
	} {
		_, err := verifier("ES256").SignIn(t.Context(), c.raw, c.want)
		for _, text := range c.says {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v does not say %q", err, text)
			}
		}
		if err != nil && (strings.Contains(err.Error(), nonce) || strings.Contains(err.Error(), "n-2") || strings.Contains(err.Error(), c.raw)) {
			t.Errorf("%v shows the nonce or the token", err)
		}
	}
}

// withNull returns good claims with one set to null, which counts as absent.
func withNull(name string) map[string]any {
	c := claims()
	c[name] = nil
	return c
}

// at_hash is half of the hash that belongs to the token's algorithm (OpenID
// Connect Core §3.1.3.8).
func TestAccessHash(t *testing.T) {
	const access = "the access token"
	half := func(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
	sum256, sum384, sum512 := sha256.Sum256([]byte(access)), sha512.Sum384([]byte(access)), sha512.Sum512([]byte(access))
	v := verifier("RS256", "ES256", "ES384", "ES512", "EdDSA")
	for alg, hash := range map[jose.SignatureAlgorithm]string{
		jose.RS256: half(sum256[:]), jose.ES256: half(sum256[:]), jose.ES384: half(sum384[:]), jose.ES512: half(sum512[:]), jose.EdDSA: half(sum512[:]),
	} {
		for _, c := range []struct {
			hash, access string
			err          error
		}{
			{hash, access, nil}, {hash, access + "!", token.ErrAccessHash}, {half(make([]byte, 32)), access, token.ErrAccessHash},
			{hash, "", nil}, {"", access, nil}, {base64.RawURLEncoding.EncodeToString(sum256[:]), access, token.ErrAccessHash},
		} {
			raw := sign(t, alg, keys()[alg], nil, claims("at_hash", c.hash))
			signIn, refresh := signIn(), token.Refresh{Client: client, Subject: "u1", Access: c.access}
			signIn.Access = c.access
			if _, err := v.SignIn(t.Context(), raw, signIn); !errors.Is(err, c.err) {
				t.Errorf("%s, at_hash %q beside %q: error %v, want %v", alg, c.hash, c.access, err, c.err)
			}
			if _, err := v.Refresh(t.Context(), raw, refresh); !errors.Is(err, c.err) {
				t.Errorf("%s, at_hash %q beside %q at a refresh: error %v, want %v", alg, c.hash, c.access, err, c.err)
			}
		}
	}
}

// c_hash is compared as at_hash is (OpenID Connect Core §3.3.2.10). Both are
// required beside what came through the browser, and only there (RP-I15, RP-I16).
func TestRPI16_FrontHashes(t *testing.T) {
	const access, code = "the access token", "the code"
	half := func(of string) string {
		sum := sha256.Sum256([]byte(of))
		return base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	for name, c := range map[string]struct {
		at, c        any
		access, code string
		front        bool
		err          error
	}{
		"both":                        {half(access), half(code), access, code, true, nil},
		"no at_hash":                  {nil, half(code), access, code, true, token.ErrAccessHash},
		"no c_hash":                   {half(access), nil, access, code, true, token.ErrCodeHash},
		"empty c_hash":                {half(access), "", access, code, true, token.ErrCodeHash},
		"c_hash of the token":         {half(access), half(access), access, code, true, token.ErrCodeHash},
		"at_hash of the code":         {half(code), half(code), access, code, true, token.ErrAccessHash},
		"no token, no at_hash":        {nil, half(code), "", code, true, nil},
		"no code, no c_hash":          {half(access), nil, access, "", true, nil},
		"neither":                     {nil, nil, "", "", true, nil},
		"both missing, back channel":  {nil, nil, access, code, false, nil},
		"wrong c_hash, back channel":  {nil, half("x"), access, code, false, token.ErrCodeHash},
		"c_hash that is no text":      {half(access), 7, access, code, true, token.ErrMalformed},
		"c_hash of the whole, padded": {half(access), half(code) + "=", access, code, true, token.ErrCodeHash},
	} {
		want := signIn()
		want.Access, want.Code, want.Front = c.access, c.code, c.front
		if _, err := verifier("ES256").SignIn(t.Context(), signed(t, "at_hash", c.at, "c_hash", c.c), want); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
}

// RP-I17: the two ID Tokens of one sign-in are about the same person.
func TestRPI17_SamePerson(t *testing.T) {
	sign := func(change ...any) *token.IDToken {
		got, err := verifier("ES256").SignIn(t.Context(), signed(t, change...), signIn())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := sign().SamePerson(sign("email", "ana@example.org")); err != nil {
		t.Errorf("the same person: %v", err)
	}
	if err := sign().SamePerson(sign("sub", "u2")); !errors.Is(err, token.ErrOther) {
		t.Errorf("another person: %v", err)
	}
}

// The ID Token of a refresh names the same issuer, person and client. nonce and
// auth_time are compared if both tokens have them (OpenID Connect Core §12.2).
// The claims are judged the same way without a signature, but then no token is
// returned.
func TestRefresh(t *testing.T) {
	first := signed(t, "auth_time", at(-time.Hour), "exp", at(-time.Minute), "iat", at(-24*time.Hour))
	for _, c := range []struct {
		name string
		want token.Refresh
		raw  string
		err  error
	}{
		{"same", token.Refresh{First: first}, signed(t), nil},
		{"without the first", token.Refresh{}, signed(t, "nonce", "n-2"), nil},
		{"first that cannot be read", token.Refresh{First: "a.b.c"}, signed(t, "nonce", "n-2"), nil},
		{"nonce absent", token.Refresh{First: first}, signed(t, "nonce", nil), nil},
		{"nonce another", token.Refresh{First: first}, signed(t, "nonce", "n-2"), token.ErrNonce},
		{"auth_time the same", token.Refresh{First: first}, signed(t, "auth_time", at(-time.Hour)), nil},
		{"auth_time later", token.Refresh{First: first}, signed(t, "auth_time", at(0)), token.ErrAuthTime},
		{"auth_time in the future", token.Refresh{First: first}, signed(t, "auth_time", at(time.Hour)), nil}, // counts as absent
		{"auth_time, but none before", token.Refresh{}, signed(t, "auth_time", at(0)), nil},
		{"auth_time earlier", token.Refresh{First: first}, signed(t, "auth_time", at(-time.Hour-time.Second)), token.ErrAuthTime},
		{"iat newer", token.Refresh{First: first}, signed(t, "iat", at(-24*time.Hour+time.Second)), nil},
		{"iat the same", token.Refresh{First: first}, signed(t, "iat", at(-24*time.Hour)), token.ErrClockSkew},
		{"iat the same, a minute ago", token.Refresh{First: signed(t, "iat", at(-61*time.Second))}, signed(t, "iat", at(-61*time.Second)), nil},
		{"iat the same, longer ago", token.Refresh{First: signed(t, "iat", at(-62*time.Second))}, signed(t, "iat", at(-62*time.Second)), token.ErrClockSkew},
		{"iat older", token.Refresh{First: first}, signed(t, "iat", at(-24*time.Hour-time.Second)), token.ErrClockSkew},
		{"iat older, within the skew", token.Refresh{First: signed(t, "iat", at(0))}, signed(t, "iat", at(-time.Second)), token.ErrClockSkew},
		{"iat long ago, and no first", token.Refresh{}, signed(t, "iat", at(-24*time.Hour)), nil},
		{"first without iat", token.Refresh{First: signed(t, "iat", nil)}, signed(t, "iat", at(-24*time.Hour)), nil},
		{"aud in another form", token.Refresh{First: first}, signed(t, "aud", []string{client}), nil},
		{"aud grown", token.Refresh{First: first}, signed(t, "aud", []string{client, "other"}, "azp", client), token.ErrAudience},
		{"aud shrunk", token.Refresh{First: signed(t, "aud", []string{client, "other"}, "azp", client)}, signed(t, "azp", client), token.ErrAudience},
		{"aud in another order", token.Refresh{First: signed(t, "aud", []string{client, "other"}, "azp", client)}, signed(t, "aud", []string{"other", client}, "azp", client), nil},
		{"azp the same", token.Refresh{First: signed(t, "azp", client)}, signed(t, "azp", client), nil},
		{"azp new", token.Refresh{First: first}, signed(t, "azp", client), token.ErrAudience},
		{"azp gone", token.Refresh{First: signed(t, "azp", client)}, signed(t), token.ErrAudience},
		{"azp another", token.Refresh{First: signed(t, "azp", client)}, signed(t, "azp", "other"), token.ErrAudience},
		{"iat in the future", token.Refresh{First: first}, signed(t, "iat", at(61*time.Second)), token.ErrClockSkew},
		{"iat absent", token.Refresh{First: first}, signed(t, "iat", nil), token.ErrMalformed},
		{"expired", token.Refresh{First: first}, signed(t, "exp", at(-time.Minute)), token.ErrExpired},
		{"another person", token.Refresh{First: first}, signed(t, "sub", "u2"), token.ErrSubject},
		{"nobody", token.Refresh{First: first}, signed(t, "sub", nil), token.ErrSubject},
		{"another issuer", token.Refresh{First: first}, signed(t, "iss", "https://evil.test"), token.ErrIssuer},
		{"another client", token.Refresh{First: first}, signed(t, "aud", "other"), token.ErrAudience},
		{"a logout token", token.Refresh{First: first}, signed(t, "events", logoutEvent), token.ErrKind},
		{"two parts", token.Refresh{First: first}, "a.b", token.ErrMalformed},
		{"no base64url", token.Refresh{First: first}, "a.=.c", token.ErrMalformed},
		{"no claims", token.Refresh{First: first}, "a.W10.c", token.ErrMalformed}, // []
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Client, c.want.Subject = client, "u1"
			if c.want.First == first {
				c.want.AuthTime = time.Unix(at(-time.Hour), 0)
			}
			got, err := verifier("ES256").Refresh(t.Context(), c.raw, c.want)
			if !errors.Is(err, c.err) || (got != nil) != (c.err == nil) {
				t.Errorf("token %v, error %v, want %v", got != nil, err, c.err)
			}
			if err := verifier().Plausible(c.raw, c.want); !errors.Is(err, c.err) {
				t.Errorf("plausible: error %v, want %v", err, c.err)
			}
		})
	}
	if _, err := verifier("ES256").Refresh(t.Context(), signed(t), token.Refresh{Client: client}); !errors.Is(err, token.ErrSubject) {
		t.Errorf("no expected person: error %v", err)
	}
	forged := signed(t)[:len(signed(t))-8] + "AAAAAAAA"
	want := token.Refresh{Client: client, Subject: "u1"}
	if _, err := verifier("ES256").Refresh(t.Context(), forged, want); !errors.Is(err, token.ErrSignature) {
		t.Errorf("forged: error %v", err)
	}
	if err := verifier("ES256").Plausible(forged, want); err != nil { // but it is trusted no further than that
		t.Errorf("a forged token is not plausible: %v", err)
	}
}

// Expiry reads a token that was verified before, so any key may have signed it.
func TestExpiry(t *testing.T) {
	if got, err := token.Expiry(signed(t)); err != nil || !got.Equal(now.Add(5*time.Minute)) {
		t.Errorf("%v, %v", got, err)
	}
	for raw, want := range map[string]error{
		signed(t, "exp", nil): token.ErrExpired, signed(t, "exp", "soon"): token.ErrMalformed, "": token.ErrMalformed, "a.b": token.ErrMalformed, "a.!.c": token.ErrMalformed,
	} {
		if got, err := token.Expiry(raw); !errors.Is(err, want) || !got.IsZero() {
			t.Errorf("%.40q: %v, %v, want %v", raw, got, err, want)
		}
	}
}
