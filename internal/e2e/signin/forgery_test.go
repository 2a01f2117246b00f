package signin_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// selfSigned is a certificate made by the stranger.
func selfSigned(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "op.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// JW2: a key, or addresses of keys, in the token's own header.
func TestJW2_KeysInTheHeader(t *testing.T) {
	f := newForger(t)
	listener := f.listen()
	own, ok := f.stranger.Key.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("the stranger's key is not a P-256 key")
	}
	own256, err := rsa.GenerateKey(rand.Reader, 2048)
	f.Must(err)
	for name, header := range map[string]map[string]any{
		"jwk": {"jwk": f.stranger.Key.Public()},
		"jku": {"jku": listener + "/keys"},
		"x5u": {"x5u": listener + "/chain"},
		"x5c": {"x5c": []string{selfSigned(t, own)}},
		"all": {"jwk": f.stranger.Key.Public(), "jku": listener, "x5u": listener, "x5c": []string{selfSigned(t, own)}},
	} {
		for _, kid := range []any{"k1", "tests", nil} {
			t.Run(fmt.Sprint(name, " kid ", kid), func(t *testing.T) {
				h := maps.Clone(header)
				h["kid"] = kid
				f.refuse(func(nonce string) string { return f.sign(jose.ES256, own, h, f.claims(nonce)) }, "signature_invalid", 1)
			})
		}
	}
	// This also holds for a key of the right kind under the right kid.
	f.refuse(func(nonce string) string {
		return f.sign(jose.RS256, own256, map[string]any{"jku": listener, "x5u": listener}, f.claims(nonce))
	}, "signature_invalid", 0)
	// An honest token may have such members; they are ignored.
	f.accept(func(nonce string) string {
		return f.sign(jose.RS256, f.k1.Key, map[string]any{"jku": listener, "x5u": listener}, f.claims(nonce))
	})
	f.wantNoVisits()
}

// JW6: each time is tried on both sides of the one allowed skew, 60 s.
func TestJW6_Skew(t *testing.T) {
	f := newForger(t)
	const skew = 60 * time.Second
	for _, c := range []struct {
		claim string
		at    time.Duration
		code  string
	}{
		{"exp", -skew - time.Second, "id_token_expired"}, {"exp", -skew, "id_token_expired"}, {"exp", -skew + time.Second, ""},
		{"nbf", skew + time.Second, "clock_skew"}, {"nbf", skew - time.Second, ""},
		{"iat", skew + time.Second, "clock_skew"}, {"iat", skew - time.Second, ""},
	} {
		t.Run(c.claim+" "+c.at.String(), func(t *testing.T) {
			forge := func(nonce string) string { return f.good(c.claim, f.Now().Add(c.at).Unix())(nonce) }
			if c.code == "" {
				f.accept(forge)
				return
			}
			f.refuse(forge, c.code, 0)
		})
	}
}

// JW8: whom the token is for. Other audiences besides us are accepted only if
// azp says that the token was issued to us (OpenID Connect Core §3.1.3.7, 3 to
// 5). No other audience can be configured as trusted.
func TestJW8_Audience(t *testing.T) {
	f := newForger(t)
	both := []string{"notes", "other"}
	for name, c := range map[string]struct {
		change []any
		good   bool
	}{
		"missing":                 {[]any{"aud", nil}, false},
		"other":                   {[]any{"aud", "other"}, false},
		"array of others":         {[]any{"aud", []string{"other", "third"}}, false},
		"array of us":             {[]any{"aud", []string{"notes"}}, true},
		"two without azp":         {[]any{"aud", both}, false},
		"two, azp other":          {[]any{"aud", both, "azp", "other"}, false},
		"two, azp us":             {[]any{"aud", both, "azp", "notes"}, true},
		"two turned, without azp": {[]any{"aud", []string{"other", "notes"}}, false},
		"us alone, azp other":     {[]any{"azp", "other"}, false},
		"other, azp us":           {[]any{"aud", "other", "azp", "notes"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.good {
				f.accept(f.good(c.change...))
				return
			}
			f.refuse(f.good(c.change...), "audience_mismatch", 0)
		})
	}
}

// JW10: tokens of other kinds, all of them signed by the provider.
func TestJW10_OtherKinds(t *testing.T) {
	f := newForger(t)
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	signed := func(typ any, change ...any) func(nonce string) string {
		return func(nonce string) string {
			return f.sign(jose.RS256, f.k1.Key, map[string]any{"typ": typ}, f.claims(nonce, change...))
		}
	}
	for name, c := range map[string]struct {
		forge func(nonce string) string
		code  string
	}{
		"access token":                     {signed("at+jwt", "aud", "https://rs.test", "scope", "read", "nonce", nil, "client_id", "notes"), "token_type_confused"},
		"access token for us":              {signed("at+jwt", "scope", "read"), "token_type_confused"},
		"access token in the long form":    {signed("application/at+jwt", "scope", "read"), "token_type_confused"},
		"access token that is only JWT":    {signed("JWT", "aud", "https://rs.test", "scope", "read", "nonce", nil), "audience_mismatch"},
		"access token, JWT, for us":        {signed("JWT", "scope", "read", "nonce", nil), "nonce_mismatch"},
		"logout token":                     {signed("logout+jwt", "events", event, "nonce", nil, "jti", "j1", "sid", "s1"), "token_type_confused"},
		"logout token that is only JWT":    {signed("JWT", "events", event, "nonce", nil, "jti", "j1", "sid", "s1"), "token_type_confused"},
		"logout token with a nonce":        {signed("JWT", "events", event, "jti", "j1", "sid", "s1"), "token_type_confused"},
		"request object":                   {signed("oauth-authz-req+jwt"), "token_type_confused"},
		"transaction JWT":                  {signed("txn+jwt", "state", "s", "redirect_uri", "/notes/"), "token_type_confused"},
		"introspection answer":             {signed("token-introspection+jwt"), "token_type_confused"},
		"user info as JWT":                 {signed("JWT", "exp", nil, "iat", nil, "nonce", nil), "nonce_mismatch"},
		"ID Token of another transaction":  {signed("JWT", "nonce", "AAAAAAAAAAAAAAAAAAAAAA"), "nonce_mismatch"},
		"ID Token of another client of it": {signed("JWT", "aud", "other", "azp", "other"), "audience_mismatch"},
	} {
		t.Run(name, func(t *testing.T) { f.refuse(c.forge, c.code, 0) })
	}
	t.Run("what our own attempt cookie holds", func(t *testing.T) {
		ana := f.Visitor("ana")
		callback := f.callback(ana)
		sealed := ana.Cookies()[ana.Attempts()[0]]
		f.gives(func(string) string { return sealed })
		f.WantRefusal(ana.Get(callback), http.StatusBadRequest)
		if f.LastCode() != "id_token_malformed" || ana.SessionName() != "" {
			t.Errorf("code %q, session %q", f.LastCode(), ana.SessionName())
		}
	})
}

// JW16: tokens whose size or shape is costly. A token that fits into an answer
// of the provider is refused. An answer that is too large is not read to its
// end and counts as trouble of the provider.
func TestJW16_Shapes(t *testing.T) {
	f := newForger(t)
	valid := func(nonce string) []string { return strings.Split(f.good()(nonce), ".") }
	const most = 1<<20 - 1<<10 // the answer has other members
	for name, forge := range map[string]func(nonce string) string{
		"dots":    func(string) string { return strings.Repeat(".", most) },
		"letters": func(string) string { return strings.Repeat("A", most) },
		"letters, two .": func(string) string {
			return strings.Repeat("A", most/3) + "." + strings.Repeat("A", most/3) + "." + strings.Repeat("A", most/3)
		},
		"header segment of 300 KiB": func(nonce string) string {
			p := valid(nonce)
			return strings.Repeat("A", 300<<10) + "." + p[1] + "." + p[2]
		},
		"payload segment of 300 KiB": func(nonce string) string { return f.good("x", strings.Repeat("x", 300<<10))(nonce) },
		"two parts":                  func(nonce string) string { p := valid(nonce); return p[0] + "." + p[1] },
		"16 KiB and a byte":          func(nonce string) string { return f.good("x", strings.Repeat("x", 12<<10))(nonce) },
		"five parts":                 func(nonce string) string { return f.good()(nonce) + ".A.A" },
	} {
		t.Run(name, func(t *testing.T) { f.refuse(forge, "id_token_malformed", 0) })
	}
	t.Run("just below 16 KiB", func(t *testing.T) { f.accept(f.good("x", strings.Repeat("x", 11<<10))) })
	t.Run("an answer beyond 1 MiB", func(t *testing.T) {
		for _, one := range []string{".", "A"} {
			f.gives(func(string) string { return strings.Repeat(one, 1<<20) })
			b := f.Visitor("ana")
			asked := len(f.CallsTo("token_endpoint"))
			f.WantRefusal(b.Get(f.callback(b)), http.StatusServiceUnavailable)
			if n := len(f.CallsTo("token_endpoint")) - asked; n != 1 || b.SessionName() != "" {
				t.Errorf("%d token requests, session %q", n, b.SessionName())
			}
		}
	})
}
