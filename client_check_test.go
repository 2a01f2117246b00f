package gatehouse_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func secretOf(context.Context) (gatehouse.Secret, time.Time, error) {
	return gatehouse.NewSecret("a secret that ends"), time.Time{}, nil
}

// What does not fit together in a Client is told by every constructor, all at
// once, as "Client.Field: reason" (CF1).
func TestCF1_ClientsThatCannotProveWhoTheyAre(t *testing.T) {
	p := goodProvider(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, short := ecKey(t), gatehouse.NewSecret("31 bytes of a secret, no longer")
	long := gatehouse.NewSecret("a secret of 40 bytes, which is enough now")
	for name, c := range map[string]struct {
		client gatehouse.Client
		want   []string
	}{
		"key and secret":       {gatehouse.Client{Key: strong, KeyID: "k", Secret: short}, []string{"Client.Key: set, but there is a secret"}},
		"key and SecretFunc":   {gatehouse.Client{Key: strong, KeyID: "k", SecretFunc: secretOf}, []string{"Client.Key: set, but there is a secret"}},
		"two secrets":          {gatehouse.Client{Secret: short, SecretFunc: secretOf}, []string{"Client.SecretFunc: set, but there is a Client.Secret"}},
		"no key":               {gatehouse.Client{Auth: gatehouse.AuthPrivateKeyJWT}, []string{"Client.Key: nil"}},
		"a secret for a key":   {gatehouse.Client{Auth: gatehouse.AuthPrivateKeyJWT, Secret: short}, []string{"Client.Key: nil"}},
		"basic with a key":     {gatehouse.Client{Auth: gatehouse.AuthBasic, Key: strong, KeyID: "k"}, []string{"Client.Auth: \"client_secret_basic\", but there is a Client.Key"}},
		"none with a key":      {gatehouse.Client{Auth: gatehouse.AuthNone, Key: strong, KeyID: "k"}, []string{"Client.Auth: \"none\", but there is a Client.Key"}},
		"none with SecretFunc": {gatehouse.Client{Auth: gatehouse.AuthNone, SecretFunc: secretOf}, []string{"Client.Auth: \"none\", but there is a Client.Secret"}},
		"no KeyID":             {gatehouse.Client{Key: strong}, []string{"Client.KeyID: empty"}},
		"blank KeyID":          {gatehouse.Client{Key: strong, KeyID: " "}, []string{"Client.KeyID: empty"}},
		"KeyID of no key":      {gatehouse.Client{KeyID: "k"}, []string{"Client.KeyID: set, but there is no Client.Key"}},
		"weak key":             {gatehouse.Client{Key: weak, KeyID: "k"}, []string{"Client.Key: an RSA key of 1024 bits"}},
		"typed nil":            {gatehouse.Client{Key: (*ecdsa.PrivateKey)(nil), KeyID: "k"}, []string{"Client.Key: nil"}},
		"broken key":           {gatehouse.Client{Key: ed25519.PrivateKey{1, 2}, KeyID: "k"}, []string{"Client.Key: its method Public panicked"}},
		"other algorithm":      {gatehouse.Client{Key: strong, KeyID: "k", Algorithm: "RS256"}, []string{"Client.Algorithm: \"RS256\" does not fit the key, which is for ES256"}},
		"HMAC with a key":      {gatehouse.Client{Key: strong, KeyID: "k", Algorithm: "HS256"}, []string{"Client.Algorithm: \"HS256\" does not fit the key"}},
		"no algorithm at all":  {gatehouse.Client{Key: strong, KeyID: "k", Algorithm: "none"}, []string{"Client.Algorithm: \"none\" is none of"}},
		"short secret":         {gatehouse.Client{Secret: short, Auth: gatehouse.AuthSecretJWT}, []string{"Client.Secret: it has 31 bytes, and HS256 needs 32"}},
		"short for HS512":      {gatehouse.Client{Secret: long, Auth: gatehouse.AuthSecretJWT, Algorithm: "HS512"}, []string{"Client.Secret: it has 41 bytes, and HS512 needs 64"}},
		"secret with RS256":    {gatehouse.Client{Secret: long, Auth: gatehouse.AuthSecretJWT, Algorithm: "RS256"}, []string{"Client.Algorithm: \"RS256\" needs a Client.Key"}},
		"no secret":            {gatehouse.Client{Auth: gatehouse.AuthSecretJWT}, []string{"Client.Secret: empty"}},
		"algorithm, no JWT":    {gatehouse.Client{Secret: long, Algorithm: "HS256"}, []string{"Client.Algorithm: set, but the client makes no assertions"}},
		"audience, no JWT":     {gatehouse.Client{Secret: long, AssertionAudience: "https://id"}, []string{"Client.AssertionAudience: set, but"}},
		"all at once": {gatehouse.Client{Key: weak, Secret: short, Auth: "tls_client_auth", Algorithm: "XY1"}, []string{
			"Client.Auth: \"tls_client_auth\" is not one of", "Client.Key: set", "Client.KeyID: empty", "Client.Key: an RSA key of 1024", "Client.Algorithm: \"XY1\"",
		}},
	} {
		c.client.ID = "notes"
		_, credentials := p.ClientCredentials(c.client)
		_, grants := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: c.client})
		_, api := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: c.client})
		_, uma := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: c.client})
		for _, err := range []error{party(p, func(rc *gatehouse.RelyingPartyConfig) { rc.Client = c.client }), credentials, grants, api, uma} {
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "bytes of a secret") {
				t.Errorf("%s shows the secret: %v", name, err)
			}
		}
	}
	for name, c := range map[string]gatehouse.Client{
		"key":                   {Key: strong, KeyID: "k", AssertionAudience: "https://id/token"},
		"key, said twice":       {Key: strong, KeyID: "k", Auth: gatehouse.AuthPrivateKeyJWT, Algorithm: "ES256"},
		"secret of 41 bytes":    {Secret: long, Auth: gatehouse.AuthSecretJWT},
		"SecretFunc":            {SecretFunc: secretOf},
		"SecretFunc with basic": {SecretFunc: secretOf, Auth: gatehouse.AuthBasic},
		"SecretFunc with HMAC":  {SecretFunc: secretOf, Auth: gatehouse.AuthSecretJWT, Algorithm: "HS512"},
	} {
		c.ID = "notes"
		if err := party(p, func(rc *gatehouse.RelyingPartyConfig) { rc.Client = c }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := party(nil, func(rc *gatehouse.RelyingPartyConfig) { rc.Client = c }); err == nil || strings.Contains(err.Error(), "Client.") {
			t.Errorf("%s without a provider: %v", name, err)
		}
	}
}

// naked is a signer that fmt would print whole.
type naked struct {
	crypto.Signer
	secret string
}

// Nothing that prints or encodes a Client, or something that was made with one,
// shows its key or secret (R13).
func TestR13_ClientsDoNotShowWhatTheyHold(t *testing.T) {
	p := goodProvider(t)
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]gatehouse.Client{
		"Ed25519": {Key: ed, KeyID: "k"},
		"ECDSA":   {Key: ecKey(t), KeyID: "k"},
		"service": {Key: naked{ed, "pin-of-the-module"}, KeyID: "k"},
		"secret":  {Secret: gatehouse.NewSecret("pin-of-the-module")},
	} {
		c.ID = "notes"
		rp, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: c, RedirectURL: "https://notes.example.org/cb"})
		if err != nil {
			t.Fatal(err)
		}
		credentials, err := p.ClientCredentials(c)
		if err != nil {
			t.Fatal(err)
		}
		config := gatehouse.RelyingPartyConfig{Client: c}
		for _, v := range []any{c, &c, config, []gatehouse.Client{c}, map[string]gatehouse.Client{"c": c}, rp, credentials} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				text := fmt.Sprintf(verb, v)
				for _, secret := range []string{"pin-of-the-module", strings.Trim(fmt.Sprint([]byte(ed[:8])), "[]"), fmt.Sprintf("%x", []byte(ed[:8])), "70696e2d6f66"} {
					if strings.Contains(text, secret) {
						t.Errorf("%s of the %s of %T shows %q", verb, name, v, secret)
					}
				}
			}
		}
		if text := fmt.Sprintf("%+v", c); !strings.Contains(text, `ID:"notes"`) || !strings.Contains(text, "[redacted]") {
			t.Errorf("%s: %s", name, text)
		}
		body, err := json.Marshal(c)
		if err != nil || strings.Contains(string(body), "pin-of") || strings.Contains(string(body), "Key\":\"") && strings.Contains(string(body), string(public)) {
			t.Errorf("%s as JSON: %s, %v", name, body, err)
		}
	}
	if _, err := json.Marshal(gatehouse.Client{ID: "notes", SecretFunc: func(context.Context) (gatehouse.Secret, time.Time, error) {
		return gatehouse.Secret{}, time.Time{}, errors.New("never")
	}}); err != nil {
		t.Error(err)
	}
}

// An issuer that is a template is nobody's name, so assertions need an audience
// of their own.
func TestAssertionsForTenants(t *testing.T) {
	p, err := gatehouse.NewProvider("https://login.example.org/{tenantid}/v2.0", &gatehouse.ProviderConfig{
		Tenants: []string{"one", "two"}, MetadataURL: "https://login.example.org/organizations/v2.0/.well-known/openid-configuration",
	})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: gatehouse.NewMemoryRegistrationStore(), Metadata: gatehouse.ClientMetadata{
		RedirectURIs: []string{"https://notes.example.org/auth/callback"}, TokenEndpointAuthMethod: gatehouse.AuthPrivateKeyJWT, JWKSURI: "https://notes.example.org/jwks",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []gatehouse.Client{{ID: "notes"}, {Registration: reg}} {
		try := func(audience string) error {
			return party(p, func(rc *gatehouse.RelyingPartyConfig) {
				rc.RedirectURL, rc.Client = "https://notes.example.org/auth/callback", client
				rc.Client.Key, rc.Client.KeyID, rc.Client.AssertionAudience = ecKey(t), "k", audience
			})
		}
		if err := try(""); err == nil || !strings.Contains(err.Error(), "Client.AssertionAudience: empty, but the issuer is a template") {
			t.Error(err)
		}
		if err := try("https://login.example.org/organizations/oauth2/v2.0/token"); err != nil {
			t.Error(err)
		}
	}
}
