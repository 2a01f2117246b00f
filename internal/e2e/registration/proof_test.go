package registration_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// secondTry is longer than a provider that has just given a client is left alone.
const secondTry = time.Minute

const keysAt = "https://notes.test/keys"

func signingKey(t testing.TB, id string) gatehouse.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return gatehouse.Client{Key: key, KeyID: id}
}

// newProving is a site whose client signs, with its keys in the registration, or
// has a secret.
func newProving(t *testing.T, signs bool, change ...func(*gatehouse.RegistrationConfig)) *site {
	t.Helper()
	if !signs {
		return newSite(t, opserver.RegistrationOptions{}, 1, change...)
	}
	c := signingKey(t, "k1")
	return newSigning(t, opserver.RegistrationOptions{}, c, append(change, func(rc *gatehouse.RegistrationConfig) {
		keys, err := gatehouse.JWKS(c)
		if err != nil {
			t.Fatal(err)
		}
		rc.Metadata.TokenEndpointAuthMethod, rc.Metadata.JWKS = gatehouse.AuthPrivateKeyJWT, keys
	})...)
}

// newSigning is a site whose client has a key.
func newSigning(t *testing.T, o opserver.RegistrationOptions, c gatehouse.Client, change ...func(*gatehouse.RegistrationConfig)) *site {
	t.Helper()
	s := newSite(t, o, 0, change...)
	s.Options.Party = func(pc *gatehouse.RelyingPartyConfig) {
		pc.Client.Key, pc.Client.KeyID, pc.Client.Algorithm = c.Key, c.KeyID, c.Algorithm
	}
	s.AddReplica(s.Options)
	return s
}

// asserted reads the assertion of a call, which carries nothing else that proves
// who we are.
func asserted(t testing.TB, call world.Call) (header, claims map[string]any) {
	t.Helper()
	if call.Auth != "" || call.Form.Has("client_secret") {
		t.Fatalf("%s: not by an assertion alone: %q, %v", call.Address, call.Auth, call.Form)
	}
	parts := strings.Split(call.Form.Get("client_assertion"), ".")
	if len(parts) != 3 {
		t.Fatalf("%s: no assertion: %v", call.Address, call.Form)
	}
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

// TestRegisteredProofs: RP-T3 for a client that registered itself. It says how it
// will prove who it is and where its keys are, and sign-in, refresh and revocation
// carry an assertion of its own each, for the issuer alone. No secret is sent.
func TestRegisteredProofs(t *testing.T) {
	signer := signingKey(t, "k1")
	keys, err := gatehouse.JWKS(signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		client gatehouse.Client
		change func(*gatehouse.ClientMetadata)
		alg    string
	}{
		"private_key_jwt, jwks": {signer, func(m *gatehouse.ClientMetadata) {
			m.TokenEndpointAuthMethod, m.JWKS = gatehouse.AuthPrivateKeyJWT, keys
		}, "ES256"},
		"private_key_jwt, jwks_uri": {signer, func(m *gatehouse.ClientMetadata) {
			m.TokenEndpointAuthMethod, m.JWKSURI = gatehouse.AuthPrivateKeyJWT, keysAt
		}, "ES256"},
		"client_secret_jwt": {gatehouse.Client{}, func(m *gatehouse.ClientMetadata) { m.TokenEndpointAuthMethod = gatehouse.AuthSecretJWT }, "HS256"},
		"client_secret_jwt, HS384": {gatehouse.Client{Algorithm: "HS384"}, func(m *gatehouse.ClientMetadata) {
			m.TokenEndpointAuthMethod, m.TokenEndpointAuthAlg = gatehouse.AuthSecretJWT, "HS384"
		}, "HS384"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigning(t, opserver.RegistrationOptions{}, c.client, func(rc *gatehouse.RegistrationConfig) { c.change(&rc.Metadata) })
			fetched := 0
			s.Serve("https://notes.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fetched++
				gatehouse.JWKSHandler(signer).ServeHTTP(w, r)
			}))
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/notes/"))
			s.ShutdownAll()
			ana.Post("/auth/logout", nil)
			s.ShutdownAll()
			id := s.wantClients(1)[0]
			calls := append(s.CallsTo("token_endpoint"), s.CallsTo("revocation_endpoint")...)
			if len(calls) != 3 || s.Refreshes() != 1 {
				t.Fatalf("%d calls, %d refreshes\n%s", len(calls), s.Refreshes(), s.Log())
			}
			seen := map[any]bool{}
			for _, call := range calls {
				header, claims := asserted(t, call)
				seen[claims["jti"]] = true
				if kid, _ := header["kid"].(string); header["alg"] != c.alg || kid != c.client.KeyID || claims["aud"] != world.SiteIssuer || claims["iss"] != id || claims["sub"] != id {
					t.Errorf("%v %v", header, claims)
				}
			}
			if len(seen) != 3 {
				t.Error("an assertion was sent twice")
			}
			if wants := strings.HasSuffix(name, "jwks_uri"); (fetched == 1) != wants || fetched > 1 {
				t.Errorf("the keys were fetched %d times", fetched)
			}
			s.WantQuiet()
		})
	}
}

// TestKeyIsReplaced: the next key is published beside the old one, and then used.
// Nothing is registered again.
func TestKeyIsReplaced(t *testing.T) {
	old, next := signingKey(t, "k1"), signingKey(t, "k2")
	s := newSigning(t, opserver.RegistrationOptions{}, old, func(rc *gatehouse.RegistrationConfig) {
		rc.Metadata.TokenEndpointAuthMethod, rc.Metadata.JWKSURI = gatehouse.AuthPrivateKeyJWT, keysAt
	})
	s.Serve("https://notes.test", gatehouse.JWKSHandler(old))
	s.Visitor("ana").SignIn()
	s.Serve("https://notes.test", gatehouse.JWKSHandler(old, next))
	s.Options.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.Client.Key, pc.Client.KeyID = next.Key, next.KeyID }
	s.AddReplica(s.Options)
	s.Visitor("ben").On(1).SignIn()
	s.Visitor("ben").On(0).SignIn() // a replica that still has the old one
	s.wantClients(1)
	if n := s.Count(opserver.EndpointRegister); n != 1 {
		t.Errorf("%d requests", n)
	}
	s.WantQuiet()
}

// TestProviderForgetsKeyClient: the provider has lost a client that signs. As with a
// secret, the next one is registered without a restart.
func TestProviderForgetsKeyClient(t *testing.T) {
	s := newProving(t, true)
	s.Visitor("ana").SignIn()
	s.Advance(secondTry)
	first := s.wantClients(1)[0]
	ben := s.Visitor("ben")
	back := ben.AnswerOf(ben.Get("/notes/"))
	s.Forget(first)
	if a := ben.Get(back); a.Code != http.StatusServiceUnavailable {
		t.Errorf("%v", a)
	}
	s.Must(s.reg(0).Shutdown(t.Context())) // the next client is stored
	if id := s.wantClients(1)[0]; id == first {
		t.Error("the same client")
	}
	s.Visitor("ben").SignIn()
}

// TestRL6_RegisteredWithAddresses: RL6 for a client that registered itself, with
// every kind of address in its metadata, in the answer and in the claims of a
// sign-in. Nobody fetches any of them.
func TestRL6_RegisteredWithAddresses(t *testing.T) {
	const inner = "http://10.0.0.1:8080/x"
	s := newSite(t, opserver.RegistrationOptions{Answer: func(a map[string]any) {
		for _, name := range []string{"client_uri", "logo_uri", "policy_uri", "tos_uri", "jwks_uri", "sector_identifier_uri", "initiate_login_uri", "backchannel_logout_uri"} {
			a[name] = inner
		}
		a["request_uris"] = []string{inner}
	}}, 1, func(c *gatehouse.RegistrationConfig) {
		c.Metadata.LogoURI, c.Metadata.ClientURI, c.Metadata.SectorIdentifierURI = inner, inner, inner
	})
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "picture": inner, "profile": inner}))
	s.Break(opserver.ClaimSources)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Post("/auth/logout", nil)
	s.ShutdownAll()
	if _, err := s.reg(0).Read(context.Background()); err != nil {
		t.Error(err)
	}
	for _, call := range s.Calls() {
		if !strings.HasPrefix(call.Address, "https://op.test/") {
			t.Errorf("somebody asked %s", call.Address)
		}
	}
	s.WantQuiet()
}

// TestRT9_StartRegistersNothing: RT9 before anything is registered. A start for
// another issuer is 400 and sends nothing; one for ours registers once and goes to
// the target.
func TestRT9_StartRegistersNothing(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 1, func(c *gatehouse.RegistrationConfig) {
		c.Metadata.InitiateLoginURI = "https://notes.test/auth/login"
	})
	start := func(iss string) *world.Page {
		return s.Visitor("ana").Get("/auth/login?"+url.Values{"iss": {iss}, "target_link_uri": {"https://notes.test/notes/7"}}.Encode(), "Sec-Fetch-Site", "cross-site")
	}
	if a := start("https://evil.test"); a.Code != http.StatusBadRequest || s.Total() != 0 {
		t.Errorf("%v, after %d requests", a, s.Total())
	}
	if a := start(world.SiteIssuer); a.Code != http.StatusSeeOther || s.Spent() != "[metadata 1 register 1]" {
		t.Errorf("%v, %s", a, s.Spent())
	}
	s.Reset()
	ana := s.Visitor("ana")
	a := ana.Follow(ana.Get("/auth/login?iss="+url.QueryEscape(world.SiteIssuer)+"&target_link_uri=https://notes.test/notes/7", "Sec-Fetch-Site", "cross-site"), nil)
	ana.WantServed(a)
	if a.URL.Path != "/notes/7" || s.Count(opserver.EndpointRegister) != 0 {
		t.Errorf("%s, %s", a.URL, s.Spent())
	}
	s.WantQuiet()
}

type wire func(r *http.Request) *http.Response

func (f wire) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// A client that a provider with tenants registers for assertions needs to know whom
// they are for. Nothing is sent for nobody.
func TestRegisteredAssertionsForTenants(t *testing.T) {
	const issuer = "https://op.test/{tenantid}"
	provider, err := gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{
		Tenants: []string{"one"}, MetadataURL: "https://op.test/m", Logger: slog.New(slog.DiscardHandler),
		Transport: wire(func(r *http.Request) *http.Response {
			switch r.URL.Path {
			case "/m":
				return world.Answer(r, http.StatusOK, `{"issuer":"`+issuer+`","authorization_endpoint":"https://op.test/a","token_endpoint":"https://op.test/t","jwks_uri":"https://op.test/k",
					"registration_endpoint":"https://op.test/r","token_endpoint_auth_methods_supported":["client_secret_jwt"]}`)
			case "/r":
				return world.Answer(r, http.StatusCreated, `{"client_id":"c","client_secret":"`+strings.Repeat("s", 64)+`","client_secret_expires_at":0}`)
			}
			t.Errorf("%s is asked", r.URL)
			return world.Answer(r, http.StatusNotFound, "")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{Store: gatehouse.NewMemoryRegistrationStore(), Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{callback}}})
	if err != nil {
		t.Fatal(err)
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{RedirectURL: callback, Client: gatehouse.Client{Registration: r}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = login.AuthURL(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://notes.test/", nil), "/")
	if gatehouse.ErrorCode(err) != "client_auth_unsupported" {
		t.Error(err)
	}
	if err := gatehouse.Shutdown(t.Context(), login, r); err != nil {
		t.Error(err)
	}
}
