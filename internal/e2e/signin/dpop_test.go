package signin_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/proofkit"
)

// holding gives the site's client a key for its tokens.
func holding(key crypto.Signer) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		before := o.Party
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			if before != nil {
				before(c)
			}
			c.Client.DPoPKey = key
		}
	}
}

// thumbprint is RFC 7638 as go-jose computes it.
func thumbprint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// part decodes one part of a compact JWS.
func part(t testing.TB, raw string, at int) (m map[string]any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[at])
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bindsAt is a provider that gives no token without a proof, and wants nonces.
func bindsAt(s *world.Site, nonce bool) {
	s.SetDPoP(opserver.DPoPOptions{Required: true, Nonce: nonce})
}

// RP-F3: at sign-in, user info and refresh each request has a proof of its own by
// the one key, with the members of RFC 9449 §4.2 and no others. The provider and
// go-jose check them.
func TestRPF3_ProofsAtTheProvider(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"ES256": ecKey(t), "ES384": p384, "EdDSA": edKey, "RS256": rsaKey} {
		t.Run(alg, func(t *testing.T) {
			s := informed(t, holding(key))
			bindsAt(s, false)
			ana := s.Visitor("ana")
			start := ana.Get("/notes/")
			if u, err := url.Parse(start.Location()); err != nil || u.Query().Get("dpop_jkt") != thumbprint(t, key) { // RFC 9449 §10
				t.Fatalf("the request asks for %s", start.Location())
			}
			ana.SignIn()
			if got := ana.Get("/me").Body.String(); !strings.HasPrefix(got, "ana-1 at ") {
				t.Fatalf("user info: %s", got)
			}
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/notes/"))
			if got := ana.Get("/me").Body.String(); !strings.HasPrefix(got, "ana-1 at ") || s.Refreshes() != 1 {
				t.Fatalf("after %d refreshes: %s", s.Refreshes(), got)
			}
			s.WantQuiet()
			seen := map[any]bool{}
			tokens, infos := s.CallsTo("token_endpoint"), s.CallsTo("userinfo_endpoint")
			if len(tokens) != 2 || len(infos) != 4 {
				t.Fatalf("%d token requests and %d for user info", len(tokens), len(infos))
			}
			for _, call := range slices.Concat(tokens, infos) {
				if len(call.Proofs) != 1 {
					t.Fatalf("%s: %d proofs", call.Address, len(call.Proofs))
				}
				header, claims := part(t, call.Proofs[0], 0), part(t, call.Proofs[0], 1)
				if header["alg"] != alg || header["typ"] != "dpop+jwt" || len(header) != 3 {
					t.Errorf("header %v", header)
				}
				want := []string{"htm", "htu", "iat", "jti"}
				if call.Form.Get("grant_type") == "" {
					scheme, token, _ := strings.Cut(call.Auth, " ")
					if want = append(want, "ath"); scheme != "DPoP" || claims["ath"] != proofkit.Hash(token) {
						t.Errorf("%s with ath %v", scheme, claims["ath"])
					}
				}
				slices.Sort(want)
				if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, want) {
					t.Errorf("claims %q, want %q", got, want)
				}
				if age := s.Now().Unix() - int64(claims["iat"].(float64)); age != 0 && age != int64(world.Past/time.Second) { // by the clock of the program
					t.Errorf("iat is %d seconds old", age)
				}
				if seen[claims["jti"]] {
					t.Error("a jti came twice")
				}
				seen[claims["jti"]] = true
				checked, err := proofkit.Check(call.Proofs[0], call.Method, call.Address, time.Unix(int64(claims["iat"].(float64)), 0))
				if err != nil || checked.Thumbprint != thumbprint(t, key) {
					t.Errorf("%+v, %v", checked, err)
				}
			}
		})
	}
}

// RP-F3: a token that is not bound, although that was asked for, is refused: at
// sign-in and at a refresh. So is one that is bound, where nobody asked.
func TestRPF3_OtherTokenTypesAreRefused(t *testing.T) {
	s := world.NewSite(t, holding(ecKey(t)))
	ana := s.Visitor("ana")
	ana.SignIn()
	ben := s.Visitor("ben")
	s.Break(opserver.UnboundToken)
	s.Reset()
	s.WantNo(ben, ben.Do(ben.ToAnswer("/notes/")), 1)
	if s.LastCode() != "token_type_unsupported" || s.Count(opserver.EndpointUserInfo) != 0 {
		t.Errorf("%s, and %d requests with the token", s.LastCode(), s.Count(opserver.EndpointUserInfo))
	}
	s.Advance(world.Past)
	ana.WantOut(ana.Get("/notes/"))
	if s.Count(opserver.EndpointUserInfo) != 0 || s.Refreshes() != 1 {
		t.Errorf("%d refreshes, and %d requests with the token", s.Refreshes(), s.Count(opserver.EndpointUserInfo))
	}
	s.Mend(opserver.UnboundToken)
	ben.SignIn()
	ana.SignIn()
	s.WantQuiet()

	s = world.NewSite(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) { m["token_type"] = "DPoP" }), nil
	})
	ben = s.Visitor("ben")
	s.WantNo(ben, ben.Do(ben.ToAnswer("/notes/")), 1)
	if s.LastCode() != "token_type_unsupported" {
		t.Errorf("unasked: %s", s.LastCode())
	}
}

// RP-F2: a nonce is demanded nowhere, or at token endpoint and user info, each
// with its own. Each demand costs one request more, and only when the nonce is
// new. token_type comes in any case.
func TestRPF2_NoncesAtTheProvider(t *testing.T) {
	for _, odd := range []bool{false, true} {
		s := world.NewSite(t, holding(ecKey(t)))
		if odd {
			s.Break(opserver.OddTokenType)
		}
		for _, step := range []struct {
			name          string
			nonce         bool
			later         time.Duration
			tokens, infos int
		}{
			{"nowhere", false, 0, 1, 1}, {"the first", true, 0, 2, 2}, {"the same", true, 0, 1, 1}, {"the next", true, time.Minute, 2, 2},
			{"the newest", true, 0, 1, 1}, {"nowhere any more", false, 0, 1, 1},
		} {
			bindsAt(s, step.nonce)
			s.Advance(step.later)
			s.Reset()
			for range 2 {
				s.Visitor("ana").SignIn()
				if tokens, infos := s.Count(opserver.EndpointToken), s.Count(opserver.EndpointUserInfo); tokens != step.tokens || infos != step.infos {
					t.Errorf("%s, odd case %v: %d token requests and %d for user info, want %d and %d", step.name, odd, tokens, infos, step.tokens, step.infos)
				}
				s.Reset()
				step.tokens, step.infos = 1, 1 // the next person finds the nonces
			}
		}
		s.WantQuiet()
		ana := s.Visitor("ana")
		ana.SignIn()
		s.Advance(world.Past) // a refresh learns the new nonces too
		s.Reset()
		bindsAt(s, true)
		ana.WantServed(ana.Get("/notes/"))
		if s.Refreshes() != 2 || s.Count(opserver.EndpointUserInfo) != 2 {
			t.Errorf("%d refresh requests and %d for user info", s.Refreshes(), s.Count(opserver.EndpointUserInfo))
		}
		sent := s.SentRefreshTokens()
		if len(sent) != 2 || sent[0] != sent[1] {
			t.Error("the second try has another refresh token")
		}
		s.WantQuiet()
	}
}

// RP-F2: a provider that takes no nonce is asked twice and no more. The sign-in
// fails cleanly, and the next one works.
func TestRPF2_NoLoop(t *testing.T) {
	s := world.NewSite(t, holding(ecKey(t)))
	ana := s.Visitor("ana")
	s.Break(opserver.NonceNeverTaken)
	s.WantRefusal(ana.Do(ana.ToAnswer("/notes/")), http.StatusServiceUnavailable)
	if n := s.Count(opserver.EndpointToken); n != 2 || s.LastCode() != "client_refused" || ana.SessionName() != "" {
		t.Errorf("%d token requests, %s", n, s.LastCode())
	}
	s.Mend(opserver.NonceNeverTaken)
	ana.SignIn()
	s.WantQuiet()
}

// RP-F2, RP-T3: the second try is a whole new request: it proves anew who we are.
func TestRPF2_SecondTryHasANewAssertion(t *testing.T) {
	s := world.NewSite(t, proving(nil, gatehouse.Client{Key: ecKey(t), KeyID: "k1"}), holding(ecKey(t)))
	bindsAt(s, true)
	s.Visitor("ana").SignIn()
	calls := s.CallsTo("token_endpoint")
	if len(calls) != 2 || calls[0].Form.Get("client_assertion") == calls[1].Form.Get("client_assertion") {
		t.Errorf("%d token requests", len(calls))
	}
	s.WantQuiet()
}

// RP-F3, RFC 9449 §5, §10: the code and the refresh token of a public client are
// for one key. A replica that shares it goes on; one with another key does not
// get in with what the first has.
func TestRPF3_SameKeyThroughout(t *testing.T) {
	keys := []crypto.Signer{ecKey(t), ecKey(t)}
	for name, shared := range map[string]bool{"shared": true, "two keys": false} {
		t.Run(name, func(t *testing.T) {
			n := 0
			s := world.NewSite(t, world.TwoReplicas, func(o *world.SiteOptions) {
				o.Client = func(c *opserver.Client) { c.Secret, c.Auth = "", opserver.AuthNone }
				o.Party = func(c *gatehouse.RelyingPartyConfig) {
					c.Client = gatehouse.Client{ID: "notes", DPoPKey: keys[n]}
					c.Scopes = append(c.Scopes, "offline_access")
					if !shared {
						n++
					}
				}
			})
			bindsAt(s, true)
			ana := s.Visitor("ana")
			callback := ana.ToAnswer("/notes/")
			answer := ana.On(world.ReplicaB).Do(callback)
			if ok := answer.Code == http.StatusSeeOther; ok != shared {
				t.Fatalf("the code of the other replica: %v", answer)
			}
			if !shared {
				s.WantRefusal(answer, http.StatusServiceUnavailable)
				ana.On(world.ReplicaA).SignIn()
			}
			s.Advance(world.Past)
			if shared {
				ana = ana.On(world.ReplicaB)
				ana.WantServed(ana.Get("/notes/"))
				s.WantQuiet()
			} else {
				ana = ana.On(world.ReplicaB)
				ana.WantOut(ana.Get("/notes/"))
			}
		})
	}
}

// A provider that takes no proofs of this key gets none, and the page says so
// before the person goes there.
func TestDPoPAlgorithmsOfTheProvider(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := world.NewSite(t, holding(key))
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) { m["dpop_signing_alg_values_supported"] = []string{"ES256", "EdDSA"} }), nil
	})
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
	if s.LastCode() != "client_auth_unsupported" || s.Logged(`the key fits none of the algorithms that the server takes for proofs`) == 0 || s.Logged("ES512") == 0 {
		t.Errorf("%s, %s", s.LastCode(), s.Log())
	}
}

// brokenSigner has a key and gives no signature.
type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key service is away")
}

// A signer that fails is trouble of ours: nothing is sent.
func TestDPoPSignerFails(t *testing.T) {
	s := world.NewSite(t, holding(brokenSigner{ecKey(t)}))
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Do(ana.ToAnswer("/notes/")), http.StatusServiceUnavailable)
	if s.LastCode() != "client_proof_failed" || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("%s after %d token requests", s.LastCode(), s.Count(opserver.EndpointToken))
	}
}
