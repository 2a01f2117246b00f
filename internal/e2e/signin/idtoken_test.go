package signin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestCB10_WrongNonce(t *testing.T) { testIDTokenFault(t, opserver.WrongNonce, "nonce_mismatch") }

func TestCB10_AbsentNonce(t *testing.T) { testIDTokenFault(t, opserver.MissingNonce, "nonce_mismatch") }

// What a real provider does wrong in the token answer, with the reason code.
func TestIDTokenFaults(t *testing.T) {
	for f, code := range map[opserver.Fault]string{
		opserver.WrongIssuer:          "id_token_issuer_mismatch",
		opserver.WrongAudience:        "audience_mismatch",
		opserver.WrongAuthorizedParty: "audience_mismatch",
		opserver.WrongSignature:       "signature_invalid",
		opserver.UnsignedIDToken:      "id_token_malformed",
		opserver.ExpiredIDToken:       "id_token_expired",
		opserver.MissingIssuedAt:      "id_token_malformed",
		opserver.MissingSubject:       "subject_missing",
		opserver.WrongAccessTokenHash: "at_hash_mismatch",
		opserver.MissingIDToken:       "id_token_missing",
		opserver.UserInfoWrongSubject: "userinfo_subject_mismatch",
	} {
		t.Run(string(f), func(t *testing.T) { testIDTokenFault(t, f, code) })
	}
}

// testIDTokenFault signs in with the fault, and then without it: the next
// sign-in works (RP-S2).
func testIDTokenFault(t *testing.T, f opserver.Fault, code string) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.Break(f)
	s.WantNo(ana, ana.Get(callback), 1)
	if s.LastCode() != code {
		t.Errorf("code %q, want %q", s.LastCode(), code)
	}
	s.Mend(f)
	ana.WantServed(ana.Visit("/notes/"))
}

// The checks of OpenID Connect Core §3.1.3.7, both sides of each limit, and
// what the libraries let through (M3 to M6). Claims and header are changed
// under a good signature.
func TestIDTokenClaims(t *testing.T) {
	s := world.NewSite(t)
	now := s.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	set := func(name string, v any) func(h, c map[string]any) {
		return func(_, c map[string]any) { c[name] = v }
	}
	drop := func(name string) func(h, c map[string]any) { return func(_, c map[string]any) { delete(c, name) } }
	header := func(name string, v any) func(h, c map[string]any) {
		return func(h, _ map[string]any) { h[name] = v }
	}
	for _, c := range []struct {
		name   string
		change func(h, c map[string]any)
		code   string // "" when it is good
	}{
		{"unchanged", func(_, _ map[string]any) {}, ""},
		{"iss one character more", set("iss", world.SiteIssuer+"1"), "id_token_issuer_mismatch"},
		{"iss with a slash", set("iss", world.SiteIssuer+"/"), "id_token_issuer_mismatch"},
		{"iss absent", drop("iss"), "id_token_issuer_mismatch"},
		{"iss in an array", set("iss", []string{world.SiteIssuer}), "id_token_malformed"},
		{"aud other", set("aud", "other"), "audience_mismatch"},
		{"aud absent", drop("aud"), "audience_mismatch"},
		{"aud empty array", set("aud", []string{}), "audience_mismatch"},
		{"aud array of us", set("aud", []string{"notes"}), ""},
		{"aud null", set("aud", nil), "audience_mismatch"},
		{"aud two without azp", set("aud", []string{"notes", "other"}), "audience_mismatch"},
		{"aud part of our id", set("aud", "note"), "audience_mismatch"},
		{"aud two, azp other", func(_, c map[string]any) { c["aud"], c["azp"] = []string{"notes", "other"}, "other" }, "audience_mismatch"},
		{"azp other", set("azp", "other"), "audience_mismatch"},
		{"azp empty", set("azp", ""), "audience_mismatch"},
		{"azp ours", set("azp", "notes"), ""},
		{"azp no text", set("azp", 1), "id_token_malformed"},
		{"sub absent", drop("sub"), "subject_missing"},
		{"sub empty", set("sub", ""), "subject_missing"},
		{"sub a number", set("sub", 17), "id_token_malformed"},
		{"sub null", set("sub", nil), "subject_missing"},
		{"sub of 256", set("sub", strings.Repeat("s", 256)), "subject_missing"},
		{"iat absent", drop("iat"), "id_token_malformed"},
		{"iat null", set("iat", nil), "id_token_malformed"},
		{"iat a text", set("iat", fmt.Sprint(at(0))), "id_token_malformed"},
		{"iat 59 s ahead", set("iat", at(59*time.Second)), ""},
		{"iat 61 s ahead", set("iat", at(61*time.Second)), "clock_skew"},
		{"iat a week old", set("iat", at(-7*24*time.Hour)), "clock_skew"},
		{"exp absent", drop("exp"), "id_token_expired"},
		{"exp null", set("exp", nil), "id_token_expired"},
		{"exp 59 s past", set("exp", at(-59*time.Second)), ""},
		{"exp 61 s past", set("exp", at(-61*time.Second)), "id_token_expired"},
		{"exp 6 min past", set("exp", at(-6*time.Minute)), "id_token_expired"},
		{"exp out of range", set("exp", 1e300), "id_token_malformed"},
		{"exp with a fraction", set("exp", float64(at(time.Minute))+0.5), ""},
		{"nbf 59 s ahead", set("nbf", at(59*time.Second)), ""},
		{"nbf 61 s ahead", set("nbf", at(61*time.Second)), "clock_skew"},
		{"nonce in other case", func(_, c map[string]any) { n, _ := c["nonce"].(string); c["nonce"] = strings.ToUpper(n) + "A" }, "nonce_mismatch"},
		{"nonce null", set("nonce", nil), "nonce_mismatch"},
		{"nonce in an array", func(_, c map[string]any) { c["nonce"] = []any{c["nonce"]} }, "id_token_malformed"},
		{"at_hash absent", drop("at_hash"), ""},
		{"at_hash wrong", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash_mismatch"},
		{"at_hash no text", set("at_hash", 1), "id_token_malformed"},
		{"a logout token's events", set("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}), "token_type_confused"},
		{"an own claim events", set("events", "logout"), ""},
		{"unknown claims", set("_claim_sources", map[string]any{"x": map[string]any{"endpoint": "http://127.0.0.1:1/"}}), ""},
		{"typ at+jwt", header("typ", "at+jwt"), "token_type_confused"},
		{"typ logout+jwt", header("typ", "logout+jwt"), "token_type_confused"},
		{"typ dpop+jwt", header("typ", "dpop+jwt"), "token_type_confused"},
		{"typ of another case", header("typ", "jwt"), ""},
		{"crit unknown", header("crit", []string{"x-y"}), "signature_invalid"},
		{"jku", header("jku", "https://evil.example/keys"), ""}, // never fetched: the wire knows no such host
		{"cty nested", header("cty", "JWT"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Retoken(t, c.change)
			s.ResetCounts()
			ana := s.Visitor("ana")
			a := ana.Get(ana.ToCallback("/notes/"))
			if c.code == "" {
				if a.Code != http.StatusSeeOther {
					t.Fatalf("refused: %v, code %q", a, s.LastCode())
				}
				ana.WantServed(ana.Get("/notes/"))
				return
			}
			s.WantNo(ana, a, 1)
			if got := s.LastCode(); got != c.code {
				t.Errorf("code %q, want %q", got, c.code)
			}
		})
	}
	s.SetWire(nil)
}

// RP-I10 to RP-I14, M4, M5: other serialisations, algorithms and grammars.
func TestIDTokenForms(t *testing.T) {
	s := world.NewSite(t)
	k, stranger := world.NewSigner(t), world.NewSigner(t)
	payload := func(c map[string]any) []byte {
		b, err := json.Marshal(c)
		s.Must(err)
		return b
	}
	hmacKey := func(key []byte, c map[string]any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", k.Key.KeyID))
		s.Must(err)
		signed, err := signer.Sign(payload(c))
		s.Must(err)
		raw, err := signed.CompactSerialize()
		s.Must(err)
		return raw
	}
	public, err := json.Marshal(k.Key.Public())
	s.Must(err)
	for _, c := range []struct {
		name, code string
		remake     func(c map[string]any) string
	}{
		{"HS256 with the client secret", "algorithm_refused", func(c map[string]any) string {
			return hmacKey([]byte(world.SiteSecret+world.SiteSecret+world.SiteSecret), c)
		}},
		{"HS256 with the public key", "algorithm_refused", func(c map[string]any) string { return hmacKey(public, c) }},
		{"key of a stranger", "signature_invalid", func(c map[string]any) string { return stranger.Sign(nil, payload(c)) }},
		{"key of a stranger in jwk", "signature_invalid", func(c map[string]any) string {
			return stranger.Sign(map[string]any{"jwk": stranger.Key.Public(), "kid": "other"}, payload(c))
		}},
		{"kid unknown", "signature_invalid", func(c map[string]any) string { return k.Sign(map[string]any{"kid": "gone"}, payload(c)) }},
		{"five parts", "id_token_malformed", func(c map[string]any) string { return k.Sign(nil, payload(c)) + ".a.b" }},
		{"white space", "id_token_malformed", func(c map[string]any) string { return strings.Replace(k.Sign(nil, payload(c)), ".", ".\n ", 1) }},
		{"padding", "id_token_malformed", func(c map[string]any) string { return k.Sign(nil, payload(c)) + "==" }},
		{"no signature", "id_token_malformed", func(c map[string]any) string { r := k.Sign(nil, payload(c)); return r[:strings.LastIndex(r, ".")+1] }},
		{"empty", "id_token_missing", func(map[string]any) string { return "" }},
		{"dots", "id_token_malformed", func(map[string]any) string { return strings.Repeat(".", 1<<14) }},
		{"64 KiB", "id_token_malformed", func(c map[string]any) string { c["x"] = strings.Repeat("x", 64<<10); return k.Sign(nil, payload(c)) }},
		{"payload is an array", "id_token_malformed", func(map[string]any) string { return k.Sign(nil, []byte(`[]`)) }},
		{"payload is not JSON", "id_token_malformed", func(map[string]any) string { return k.Sign(nil, []byte(`{`)) }},
		{"claim in other case", "audience_mismatch", func(c map[string]any) string {
			c["aud"] = "other"
			return k.Sign(nil, []byte(strings.Replace(string(payload(c)), "{", `{"AUD":"notes",`, 1)))
		}},
		{"claim twice", "id_token_malformed", func(c map[string]any) string {
			return k.Sign(nil, []byte(strings.Replace(string(payload(c)), "{", `{"sub":"ben-1",`, 1)))
		}},
		{"flattened JSON", "id_token_malformed", func(c map[string]any) string {
			p := strings.Split(k.Sign(nil, payload(c)), ".")
			return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, p[0], p[1], p[2])
		}},
		{"alg None", "id_token_malformed", func(c map[string]any) string {
			p := strings.Split(k.Sign(nil, payload(c)), ".")
			return "eyJhbGciOiJOb25lIn0." + p[1] + "." // {"alg":"None"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Rewrap(t, k, c.remake)
			s.ResetCounts()
			ana := s.Visitor("ana")
			s.WantNo(ana, ana.Get(ana.ToCallback("/notes/")), 1)
			if got := s.LastCode(); got != c.code {
				t.Errorf("code %q, want %q", got, c.code)
			}
		})
	}
	s.SetWire(nil)
}

// RP-U2: user info that is unavailable or cannot be trusted.
func TestIDTokenUserInfo(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *world.Site, r *http.Request, next func(*http.Request) *http.Response) *http.Response
		status int
	}{
		{"sub absent", func(s *world.Site, r *http.Request, next func(*http.Request) *http.Response) *http.Response {
			return world.RewriteJSON(s.T, next(r), func(m map[string]any) { delete(m, "sub") })
		}, 400},
		{"sub differs", func(s *world.Site, r *http.Request, next func(*http.Request) *http.Response) *http.Response {
			return world.RewriteJSON(s.T, next(r), func(m map[string]any) { m["sub"] = "ben-1" })
		}, 400},
		{"401", status(401, "{}"), 503},
		{"500", status(500, "marker-of-upstream"), 503},
		{"HTML", status(200, "<html>"), 503},
		{"an array", status(200, "[]"), 503},
		{"2 MiB", status(200, `{"sub":"ana-1","x":"`+strings.Repeat("x", 2<<20)+`"}`), 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t)
			s.Mint("upstream body", "marker-of-upstream")
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
					return c.change(s, r, next), nil
				}
				return next(r), nil
			})
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			s.WantRefusal(ana.Get(callback), c.status)
			if ana.SessionName() != "" {
				t.Error("a session despite the fault")
			}
			s.SetWire(nil)
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// status gives the same answer to everything.
func status(code int, body string) func(*world.Site, *http.Request, func(*http.Request) *http.Response) *http.Response {
	return func(_ *world.Site, r *http.Request, _ func(*http.Request) *http.Response) *http.Response {
		return world.Answer(r, code, body)
	}
}
