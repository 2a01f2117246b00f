package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// With keys in the config nothing is ever fetched, and the issuer need not be
// reachable.
func TestFixedKeys(t *testing.T) {
	w := newWorld(t)
	raw := accessToken(t, w, "ana")
	var keys []jose.JSONWebKey
	for _, k := range world.Keys() {
		keys = append(keys, k.Public())
	}
	for name, algorithms := range map[string][]string{"named algorithm": {"ES256"}, "those that fit the keys": nil} {
		t.Run(name, func(t *testing.T) {
			provider := w.Provider(func(c *gatehouse.ProviderConfig) { c.Keys, c.SigningAlgorithms = keys, algorithms })
			api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{audience}})
			w.Must(err)
			w.SetDown(true)
			defer w.SetDown(false)
			before := len(w.Calls())
			if a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw); a.Code != 200 || len(w.Calls()) != before {
				t.Errorf("%d %q, %d calls", a.Code, a.Body, len(w.Calls())-before)
			}
		})
	}
}

// JWKSURI is asked alone: no metadata is fetched for an access token.
func TestKeysFromAnAddress(t *testing.T) {
	w := newWorld(t)
	raw := accessToken(t, w, "ana")
	provider := w.Provider(func(c *gatehouse.ProviderConfig) { c.JWKSURI = w.Endpoint("jwks_uri") })
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	before := len(w.Calls())
	for range 2 {
		if a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw); a.Code != 200 {
			t.Errorf("%d %q", a.Code, a.Body)
		}
	}
	if calls := w.Calls()[before:]; len(calls) != 1 || len(w.CallsTo("jwks_uri")) != 1 {
		t.Errorf("calls %v", calls)
	}
}

// The issuer of itsyou.online is a name. Its key is a PEM that its users copy.
func TestIssuerThatIsNoAddress(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.Must(err)
	file := filepath.Join(t.TempDir(), "itsyouonline.pem")
	text := publicPEM(t, key.Public())
	w.Must(os.WriteFile(file, text, 0o600))
	parsed, err := gatehouse.ParseKeys(text)
	w.Must(err)

	claims := map[string]any{"iss": "itsyouonline", "aud": []string{"client-7", "notes"}, "username": "ana", "scope": "user:memberof:notes", "exp": w.Now().Add(time.Hour).Unix()}
	good := signed(t, key, claims)
	claims["iss"] = "https://itsyouonline"
	other := signed(t, key, claims)
	claims["iss"] = "itsyouonline"
	foreign, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.Must(err)
	forged := signed(t, foreign, claims)

	for name, set := range map[string]func(*gatehouse.ProviderConfig){
		"keys":      func(c *gatehouse.ProviderConfig) { c.Keys = parsed },
		"keys file": func(c *gatehouse.ProviderConfig) { c.KeysFile = file },
	} {
		t.Run(name, func(t *testing.T) {
			api, err := gatehouse.NewResourceServer(w.ProviderOf("itsyouonline", set), gatehouse.ResourceServerConfig{
				Audience: []string{"notes"}, TokenTypes: []string{"JWT"}, Schemes: []string{"token"}, SubjectClaims: []string{"username", "globalid"},
			})
			w.Must(err)
			h := api.With(gatehouse.AnyScope("user:memberof:notes", "user:admin")).RequireToken(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = rw.Write([]byte(gatehouse.IdentityFrom(r.Context()).Subject))
			}))
			before := len(w.Calls())
			if a := send(h, "GET", "/", "token "+good); a.Code != 200 || a.Body.String() != "ana" {
				t.Errorf("%d %q", a.Code, a.Body)
			}
			for name, bad := range map[string]string{"another issuer": other, "another key": forged} {
				if a := send(h, "GET", "/", "token "+bad); a.Code != 401 {
					t.Errorf("%s: %d", name, a.Code)
				}
			}
			if calls := w.Calls()[before:]; len(calls) > 0 {
				t.Errorf("calls %v", calls)
			}
		})
	}
}

// A file of keys that cannot be read is an outage, not the fault of the token.
func TestKeysFileUnreadable(t *testing.T) {
	w := newWorld(t)
	raw := accessToken(t, w, "ana")
	provider := w.Provider(func(c *gatehouse.ProviderConfig) { c.KeysFile = filepath.Join(t.TempDir(), "absent.json") })
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	if a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw); a.Code != 503 || a.Header().Get("Retry-After") == "" || !strings.Contains(w.Log(), "absent.json") {
		t.Errorf("%d %v\n%s", a.Code, a.Header(), w.Log())
	}
}

// signed is a JWT of itsyou.online.
func signed(t *testing.T, key crypto.Signer, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
