package signin_test

import (
	"context"
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
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// longSecret is long enough for every HMAC.
const longSecret = "a client secret of sixty-four bytes, as OpenID Connect wants it %+/"

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// proving makes a site whose client is c at the provider's side as registered.
func proving(registered func(*opserver.Client), c gatehouse.Client) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Client = func(oc *opserver.Client) {
			oc.Secret = c.Secret.Reveal()
			oc.Auth = string(c.Auth)
			if c.Key != nil {
				oc.Auth, oc.Secret = opserver.AuthPrivateKeyJWT, ""
				oc.Keys = []jose.JSONWebKey{{Key: c.Key.Public(), KeyID: c.KeyID}}
			}
			if registered != nil {
				registered(oc)
			}
		}
		o.Party = func(pc *gatehouse.RelyingPartyConfig) {
			c.ID = "notes"
			pc.Client = c
		}
	}
}

// asserted reads the assertions that a call sent: header and claims.
func asserted(t testing.TB, call world.Call) (header, claims map[string]any) {
	t.Helper()
	if call.Auth != "" || call.Form.Has("client_secret") || call.Form.Get("client_id") != "notes" ||
		call.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Fatalf("%s: not by an assertion alone: %v", call.Address, call.Form)
	}
	parts := strings.Split(call.Form.Get("client_assertion"), ".")
	for i, v := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// RP-T3: with every kind of key and with a secret, sign-in, refresh and
// revocation each carry an assertion of their own, for the issuer alone. The
// provider checks them, and no secret is sent.
func TestRPT3_AssertionsAtTheProvider(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := gatehouse.NewSecret(longSecret)
	for alg, c := range map[string]gatehouse.Client{
		"RS256": {Key: rsaKey, KeyID: "k1"},
		"PS256": {Key: rsaKey, KeyID: "k1", Algorithm: "PS256"},
		"ES256": {Key: ecKey(t), KeyID: "k1", Auth: gatehouse.AuthPrivateKeyJWT},
		"EdDSA": {Key: edKey, KeyID: "k1"},
		"HS256": {Secret: secret, Auth: gatehouse.AuthSecretJWT},
		"HS512": {Secret: secret, Auth: gatehouse.AuthSecretJWT, Algorithm: "HS512"},
	} {
		t.Run(alg, func(t *testing.T) {
			s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.AssertionAlg = alg }, c))
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(4*time.Minute + time.Second)
			ana.WantServed(ana.Get("/notes/"))
			s.ShutdownAll()
			ana.Post("/auth/logout", nil)
			s.ShutdownAll()
			calls := append(s.CallsTo("token_endpoint"), s.CallsTo("revocation_endpoint")...)
			if len(calls) != 3 || s.Refreshes() != 1 {
				t.Fatalf("%d calls, %d refreshes", len(calls), s.Refreshes())
			}
			ids := map[any]bool{}
			for _, call := range calls {
				header, claims := asserted(t, call)
				ids[claims["jti"]] = true
				if kid, _ := header["kid"].(string); header["alg"] != alg || kid != c.KeyID || claims["aud"] != world.SiteIssuer ||
					claims["iss"] != "notes" || claims["sub"] != "notes" || claims["exp"].(float64)-claims["iat"].(float64) != 60 {
					t.Errorf("%v %v", header, claims)
				}
			}
			if len(ids) != 3 {
				t.Error("an assertion was sent twice")
			}
			if v := s.Violations(); len(v) != 0 {
				t.Error(v)
			}
		})
	}
}

// An older server wants the address of its token endpoint as aud, at every
// endpoint.
func TestAssertionAudience(t *testing.T) {
	const endpoint = world.SiteIssuer + "/token"
	s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.AssertionAudience = endpoint },
		gatehouse.Client{Key: ecKey(t), KeyID: "k1", AssertionAudience: endpoint}))
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Post("/auth/logout", nil)
	s.ShutdownAll()
	for _, call := range append(s.CallsTo("token_endpoint"), s.CallsTo("revocation_endpoint")...) {
		if _, claims := asserted(t, call); claims["aud"] != endpoint {
			t.Errorf("aud %v", claims["aud"])
		}
	}
	if v := s.Violations(); len(v) != 0 {
		t.Error(v)
	}
}

// The metadata chooses the method and the algorithm, and nothing is tried (RFC
// 8414 §2). RP-T8: aliases for mTLS change nothing.
func TestRPT8_AssertionFromMetadata(t *testing.T) {
	const methods, algs = "token_endpoint_auth_methods_supported", "token_endpoint_auth_signing_alg_values_supported"
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	secret := gatehouse.NewSecret(longSecret)
	hmac := func(oc *opserver.Client) { oc.Auth = opserver.AuthSecretJWT }
	for name, c := range map[string]struct {
		metadata map[string]any
		client   gatehouse.Client
		register func(*opserver.Client)
		want     string // alg; "" for nothing sent
	}{
		"no algorithms listed":   {map[string]any{algs: nil}, gatehouse.Client{Key: rsaKey, KeyID: "k"}, nil, "RS256"},
		"one listed":             {map[string]any{algs: []any{"ES256", "PS384"}}, gatehouse.Client{Key: rsaKey, KeyID: "k"}, nil, "PS384"},
		"none of the key listed": {map[string]any{algs: []any{"ES256", "none"}}, gatehouse.Client{Key: rsaKey, KeyID: "k"}, nil, ""},
		"not ours":               {map[string]any{algs: []any{"RS256"}}, gatehouse.Client{Key: rsaKey, KeyID: "k", Algorithm: "PS256"}, nil, ""},
		"ours":                   {map[string]any{algs: []any{"RS256", "PS256"}}, gatehouse.Client{Key: rsaKey, KeyID: "k", Algorithm: "PS256"}, nil, "PS256"},
		"the method is a secret": {map[string]any{methods: []any{"client_secret_jwt"}}, gatehouse.Client{Secret: secret}, hmac, "HS256"},
		"the longest hash only":  {map[string]any{methods: []any{"client_secret_jwt"}, algs: []any{"HS512"}}, gatehouse.Client{Secret: secret}, hmac, "HS512"},
		"a key alone is listed":  {map[string]any{methods: []any{"private_key_jwt"}}, gatehouse.Client{Secret: secret}, nil, ""},
		"aliases for mTLS": {map[string]any{"mtls_endpoint_aliases": map[string]any{
			"token_endpoint": "https://mtls.invalid/token", "revocation_endpoint": "https://mtls.invalid/revoke"}}, gatehouse.Client{Key: rsaKey, KeyID: "k"}, nil, "RS256"},
	} {
		t.Run(name, func(t *testing.T) {
			s := discovered(t, c.metadata, proving(c.register, c.client))
			ana := s.Visitor("ana")
			if c.want == "" {
				s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
				if got := s.LastCode(); got != "client_auth_unsupported" || len(s.CallsTo("token_endpoint")) > 0 {
					t.Errorf("%s, after %d token requests", got, len(s.CallsTo("token_endpoint")))
				}
				return
			}
			ana.SignIn()
			calls := s.CallsTo("token_endpoint")
			if header, _ := asserted(t, calls[0]); len(calls) != 1 || header["alg"] != c.want {
				t.Errorf("%d calls, the first with %v", len(calls), header)
			}
		})
	}
}

// broken is a key service that does not sign as it should.
type broken struct {
	crypto.Signer
	sign func() ([]byte, error)
}

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.sign() }

// A signer or a SecretFunc that fails, panics or gives nothing of use is trouble
// of ours: 503, and nothing is sent. What it said is in the log alone, what it
// panicked with nowhere.
func TestProofsThatFail(t *testing.T) {
	key := ecKey(t)
	sign := func(f func() ([]byte, error)) gatehouse.Client {
		return gatehouse.Client{Key: broken{key, f}, KeyID: "k1"}
	}
	fetch := func(text string, life time.Duration, err error) gatehouse.Client {
		return gatehouse.Client{SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
			return gatehouse.NewSecret(text), world.Start.Add(life), err
		}}
	}
	for name, c := range map[string]struct {
		client gatehouse.Client
		log    string
	}{
		"the signer fails":     {sign(func() ([]byte, error) { return nil, errors.New("quota of the key service") }), "quota of the key service"},
		"the signer panics":    {sign(func() ([]byte, error) { panic("pin-of-the-module") }), "it panicked"},
		"another key":          {sign(func() ([]byte, error) { return ecKey(t).Sign(rand.Reader, make([]byte, 32), crypto.SHA256) }), "its public key does not verify"},
		"SecretFunc fails":     {fetch("", 0, errors.New("the vault is sealed")), "the vault is sealed"},
		"the secret is empty":  {fetch("", time.Hour, nil), "the secret is empty"},
		"the secret has ended": {fetch(world.SiteSecret, -time.Second, nil), "the secret has ended"},
		"SecretFunc panics": {gatehouse.Client{SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
			panic("pin-of-the-module")
		}}, "panic of type string"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.Secret, oc.Auth, oc.Keys = world.SiteSecret, "", nil }, c.client))
			ana := s.Visitor("ana")
			callback := ana.AnswerOf(ana.Get("/notes/"))
			a := ana.Get(callback)
			s.WantRefusal(a, http.StatusServiceUnavailable)
			if got := s.LastCode(); got != "client_proof_failed" || len(s.CallsTo("token_endpoint")) > 0 {
				t.Errorf("%s, after %d token requests", got, len(s.CallsTo("token_endpoint")))
			}
			if s.Logged(c.log) == 0 || s.Logged("pin-of-the-module") > 0 || strings.Contains(a.Body.String(), c.log) {
				t.Errorf("log: %s", s.Log())
			}
		})
	}
}

// A secret that ends is fetched once for all who wait, kept until shortly before
// its end, and fetched again before that, while requests go on.
func TestSecretThatEnds(t *testing.T) {
	var calls atomic.Int32
	var site *world.Site
	var held atomic.Pointer[chan struct{}]
	inside := make(chan struct{}, 1)
	life := time.Hour
	c := gatehouse.Client{SecretFunc: func(ctx context.Context) (gatehouse.Secret, time.Time, error) {
		if _, has := ctx.Deadline(); !has {
			t.Error("SecretFunc may take as long as it wants")
		}
		calls.Add(1)
		if open := held.Load(); open != nil {
			inside <- struct{}{}
			<-*open
		}
		return gatehouse.NewSecret(world.SiteSecret), site.Now().Add(life), nil
	}}
	site = world.NewSite(t, proving(func(oc *opserver.Client) { oc.Secret, oc.Auth = world.SiteSecret, "" }, c))
	signIn := func(who string) { site.Visitor(who).SignIn() }
	shutdown := func() { site.Must(site.Replicas[0].Login.Shutdown(context.Background())) }
	signIn("ana")
	signIn("ben")
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls for two sign-ins", n)
	}
	site.Advance(58 * time.Minute)
	signIn("ana")
	shutdown()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls long before the end", n)
	}
	site.Advance(55 * time.Second) // 65 s before the end, so that it is renewed in the background
	signIn("ben")
	shutdown()
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls shortly before the end", n)
	}
	life = time.Minute
	site.Advance(59*time.Minute + 52*time.Second) // 8 s before the end of the second, which is not sent any more
	ana, open := site.Visitor("ana"), make(chan struct{})
	held.Store(&open)
	back := ana.AnswerOf(ana.Get("/notes/"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ana.WantServed(ana.Visit(back))
	}()
	<-inside
	if n := len(site.CallsTo("token_endpoint")); n != 4 {
		t.Errorf("%d token requests: one with a secret that is about to end", n)
	}
	close(open)
	<-done
	if header := site.CallsTo("token_endpoint")[0].Auth; !strings.HasPrefix(header, "Basic ") {
		t.Errorf("Authorization %q", header)
	}
	if v := site.Violations(); len(v) != 0 {
		t.Error(v)
	}
}

// A secret of SecretFunc goes into the body, as Apple wants it, or authenticates
// assertions.
func TestSecretFuncWithOtherMethods(t *testing.T) {
	for _, method := range []gatehouse.AuthMethod{gatehouse.AuthPost, gatehouse.AuthSecretJWT} {
		c := gatehouse.Client{Auth: method, SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
			return gatehouse.NewSecret(longSecret), time.Time{}, nil
		}}
		s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.Secret = longSecret }, c))
		s.Mint("client secret", longSecret)
		s.Mint("client secret", url.QueryEscape(longSecret))
		s.Visitor("ana").SignIn()
		form := s.CallsTo("token_endpoint")[0].Form
		if got := form.Get("client_secret") == longSecret; got != (method == gatehouse.AuthPost) {
			t.Errorf("%s: the secret is in the body: %t", method, got)
		}
	}
	short := gatehouse.Client{Auth: gatehouse.AuthSecretJWT, SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
		return gatehouse.NewSecret("too short for any hash"), time.Time{}, nil
	}}
	s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.Secret = longSecret }, short))
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get(ana.AnswerOf(ana.Get("/notes/"))), http.StatusServiceUnavailable)
	if s.LastCode() != "client_proof_failed" || s.Logged("it has 22 bytes, and HS256 needs 32") == 0 {
		t.Errorf("%s, %s", s.LastCode(), s.Log())
	}
}

// The provider refuses the assertion: that is said as for a secret, with how we
// authenticated and without the assertion.
func TestAssertionRefused(t *testing.T) {
	s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.Keys[0].KeyID = "another" }, gatehouse.Client{Key: ecKey(t), KeyID: "k1"}))
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get(ana.AnswerOf(ana.Get("/notes/"))), http.StatusServiceUnavailable)
	if s.LastCode() != "client_refused" || s.Logged("with client authentication private_key_jwt and an assertion") == 0 {
		t.Errorf("%s, %s", s.LastCode(), s.Log())
	}
	if text := s.CallsTo("token_endpoint")[0].Form.Get("client_assertion"); text == "" || s.Logged(text) > 0 || s.Logged(text[strings.LastIndex(text, "."):]) > 0 {
		t.Error("the log has the assertion")
	}
	if len(s.CallsTo("token_endpoint")) != 1 {
		t.Error("it was tried again")
	}
}

// A SecretFunc that hangs holds a request for three seconds, and runs once for
// all of them. Shutdown waits for it.
func TestSecretFuncThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		open := make(chan struct{})
		c := gatehouse.Client{SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
			calls.Add(1)
			<-open
			return gatehouse.NewSecret(world.SiteSecret), time.Time{}, nil
		}}
		s := world.NewSite(t, proving(func(oc *opserver.Client) { oc.Secret, oc.Auth = world.SiteSecret, "" }, c))
		visitors := []*world.Visitor{s.Visitor("ana"), s.Visitor("ben"), s.Visitor("ana")}
		var back []string
		for _, v := range visitors {
			back = append(back, v.AnswerOf(v.Get("/notes/")))
		}
		begin := time.Now()
		answers := world.Together(len(visitors), func(i int) *world.Page { return visitors[i].Get(back[i]) })
		for _, a := range answers {
			if a.Code != http.StatusServiceUnavailable || s.LastCode() != "client_proof_failed" {
				t.Errorf("%v, %s", a, s.LastCode())
			}
		}
		if calls.Load() != 1 || time.Since(begin) != 3*time.Second {
			t.Errorf("%d calls, answered after %v", calls.Load(), time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Replicas[0].Login.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown does not wait: %v", err)
		}
		close(open)
		s.Must(s.Replicas[0].Login.Shutdown(t.Context()))
		s.Visitor("ana").SignIn()
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

// Each endpoint has its own lists (RFC 8414 §2), and what an endpoint does not list
// is as at the token endpoint. Nothing is tried: one request to each.
func TestAssertionListsOfEachEndpoint(t *testing.T) {
	const tokens, revocation, introspection = "token_endpoint", "revocation_endpoint", "introspection_endpoint"
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	algs := func(endpoint string) string { return endpoint + "_auth_signing_alg_values_supported" }
	methods := func(endpoint string) string { return endpoint + "_auth_methods_supported" }
	key := gatehouse.Client{Key: rsaKey, KeyID: "k"}
	secret := gatehouse.Client{Secret: gatehouse.NewSecret(longSecret)}
	hmac := func(oc *opserver.Client) { oc.Auth = opserver.AuthSecretJWT }
	for name, c := range map[string]struct {
		metadata map[string]any
		client   gatehouse.Client
		register func(*opserver.Client)
		want     map[string]string // alg by endpoint, "" for nothing sent
	}{
		"a list each": {map[string]any{algs(tokens): []any{"PS512"}, algs(revocation): []any{"PS256", "none"}, algs(introspection): []any{"HS256", "RS512"}}, key, nil,
			map[string]string{tokens: "PS512", revocation: "PS256", introspection: "RS512"}},
		"as at the token endpoint": {map[string]any{algs(tokens): []any{"PS384"}}, key, nil,
			map[string]string{tokens: "PS384", revocation: "PS384", introspection: "PS384"}},
		"none that fits": {map[string]any{algs(tokens): []any{"RS256"}, algs(revocation): []any{"ES256"}, algs(introspection): []any{"EdDSA"}}, key, nil,
			map[string]string{tokens: "RS256", revocation: "", introspection: ""}},
		"a secret's own lists": {map[string]any{methods(tokens): []any{"client_secret_jwt"}, methods(revocation): []any{"client_secret_jwt"}, methods(introspection): []any{"client_secret_jwt"},
			algs(tokens): []any{"HS256"}, algs(revocation): []any{"HS512"}, algs(introspection): []any{"HS384"}}, secret, hmac,
			map[string]string{tokens: "HS256", revocation: "HS512", introspection: "HS384"}},
		"a method that nobody can do": {map[string]any{methods(tokens): []any{"client_secret_jwt"}, methods(revocation): []any{"tls_client_auth"}, methods(introspection): []any{"private_key_jwt"}}, secret, hmac,
			map[string]string{tokens: "HS256", revocation: "", introspection: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := discovered(t, c.metadata, proving(c.register, c.client))
			client := s.Replicas[0].Client
			api, err := gatehouse.NewResourceServer(s.Replicas[0].Provider, gatehouse.ResourceServerConfig{Client: client, Audience: []string{"https://api.test"}})
			s.Must(err)
			defer func() { s.Must(api.Shutdown(context.Background())) }()
			ana := s.Visitor("ana")
			ana.SignIn()
			opaque, err := s.AccessTokenFor("ana", "notes", []string{"https://api.test"}, "openid")
			s.Must(err)
			s.Mint("access token", opaque)
			status := world.Send(api.RequireToken(world.WhoAmI), http.MethodGet, "/things", opaque).Code
			if status != http.StatusOK {
				t.Errorf("the API answers %d", status)
			}
			ana.Post("/auth/logout", nil)
			s.ShutdownAll()
			for endpoint, alg := range c.want {
				calls := slices.DeleteFunc(s.CallsTo(endpoint), func(call world.Call) bool { return call.Form.Get("grant_type") == "client_credentials" })
				if alg == "" && endpoint == introspection { // the token of the protection API serves instead
					if len(calls) != 1 || !strings.HasPrefix(calls[0].Auth, "Bearer ") || calls[0].Form.Has("client_assertion") || calls[0].Form.Has("client_secret") {
						t.Errorf("%d introspections, %v", len(calls), calls)
					}
					continue
				}
				if alg == "" {
					if len(calls) != 0 {
						t.Errorf("%s: %d requests without a proof that it takes", endpoint, len(calls))
					}
					continue
				}
				if len(calls) != 1 {
					t.Errorf("%s: %d requests", endpoint, len(calls))
					continue
				}
				if header, _ := asserted(t, calls[0]); header["alg"] != alg {
					t.Errorf("%s: %v, want %s", endpoint, header, alg)
				}
			}
			if v := s.Violations(); len(v) != 0 {
				t.Error(v)
			}
		})
	}
}
