package signin_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// OpenID Connect Discovery §3, Core §3.1.3.7 (7): if the provider announces no
// algorithm, only RS256 is accepted.
func TestIDTokenAlgorithmUnannounced(t *testing.T) {
	for alg, good := range map[string]bool{"RS256": true, "ES256": false} {
		t.Run(alg, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) { o.Client = func(c *opserver.Client) { c.IDTokenAlg = alg } })
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return world.RewriteJSON(t, next(r), func(m map[string]any) { delete(m, "id_token_signing_alg_values_supported") }), nil
			})
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			if good {
				ana.WantServed(ana.Visit(callback))
				return
			}
			s.WantNo(ana, ana.Get(callback), 1)
			if s.LastCode() != "algorithm_refused" {
				t.Errorf("code %q, want algorithm_refused", s.LastCode())
			}
		})
	}
}

// RP-I11: an algorithm that is not configured is not accepted, however good it
// is.
func TestIDTokenAlgorithmConfigured(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) { c.SigningAlgorithms = []string{"RS256"} }
	})
	ana := s.Visitor("ana")
	s.WantNo(ana, ana.Get(ana.ToCallback("/notes/")), 1)
	if s.LastCode() != "algorithm_refused" {
		t.Errorf("code %q", s.LastCode())
	}
}

// JW1: tokens without a signature, and HMAC with the public key as its secret,
// in all the forms in which they may come. They cause no fetch, warm or cold,
// whatever the provider announces.
func TestJW1_NoneAndPublicKeyAsSecret(t *testing.T) {
	f := newForger(t)
	public, ok := f.k1.Public().Key.(*rsa.PublicKey)
	if !ok {
		t.Fatal("k1 is not an RSA key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	f.Must(err)
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	pems := func(kind string, b []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
	}
	for name, secret := range map[string][]byte{
		"PEM": pems("PUBLIC KEY", der), "PEM without its last line break": []byte(strings.TrimSuffix(string(pems("PUBLIC KEY", der)), "\n")),
		"PEM of PKCS 1": pems("RSA PUBLIC KEY", pkcs1), "DER": der, "DER of PKCS 1": pkcs1, "JWK": []byte(f.jwk(f.k1)),
		"client secret": []byte(world.SiteSecret + world.SiteSecret + world.SiteSecret),
	} {
		t.Run("HS256 with "+name, func(t *testing.T) {
			f.refuse(func(nonce string) string { return f.sign(jose.HS256, secret, nil, f.claims(nonce)) }, "algorithm_refused", 0)
		})
	}
	for _, alg := range []string{"none", "None", "nOnE", "NONE", "", "HS256", "rs256"} {
		for signature, code := range map[string]string{"": "id_token_malformed", "AAAA": "algorithm_refused"} {
			t.Run(alg+"."+signature, func(t *testing.T) {
				if alg == "" && signature != "" {
					code = "id_token_malformed"
				}
				f.refuse(func(nonce string) string {
					return rawToken(`{"alg":"`+alg+`","kid":"k1","typ":"JWT"}`, f.claims(nonce), signature)
				}, code, 0)
			})
		}
	}
	t.Run("cold, and announced", func(t *testing.T) {
		f := newForger(t)
		f.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			resp, err := f.answer(r, next)
			if err != nil || !strings.HasSuffix(r.URL.Path, "openid-configuration") {
				return resp, err
			}
			return world.RewriteJSON(t, resp, func(m map[string]any) {
				m["id_token_signing_alg_values_supported"] = []string{"none", "HS256", "RS256"}
			}), nil
		})
		for _, forge := range []func(nonce string) string{
			func(nonce string) string { return rawToken(`{"alg":"none"}`, f.claims(nonce), "") },
			func(nonce string) string { return f.sign(jose.HS256, der, nil, f.claims(nonce)) },
		} {
			f.gives(forge)
			b := f.Visitor("ana")
			f.WantRefusal(b.Get(f.callback(b)), http.StatusBadRequest)
		}
		if f.fetches() != 0 {
			t.Errorf("%d fetches of the key set", f.fetches())
		}
	})
}
