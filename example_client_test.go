package gatehouse_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// keyService stands for a key that never leaves its service, such as a KMS or an
// HSM: all that is needed of it is a crypto.Signer.
func keyService() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// An application that proves who it is with a key (private_key_jwt). The provider
// is told the address of the public key, jwks_uri.
func ExampleClient() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	client := gatehouse.Client{ID: "notes", Key: keyService(), KeyID: "2026-11"}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: "https://notes.example.org/auth/callback",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/jwks.json", gatehouse.JWKSHandler(client))
	fmt.Printf("%+v\n", client)
	// Output:
	// {ID:"notes" Auth:"" KeyID:"2026-11" Algorithm:"" AssertionAudience:"" Key:[redacted]}
}

// A page that calls an API with a token that is bound to a key, so that nobody
// else can use it. The provider and the API demand that, and each wants a nonce.
func ExampleClient_dPoPKey() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	op.SetDPoP(middlewaretest.DPoPOptions{Required: true, Nonce: true})
	var api http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.ServeHTTP(w, r) }))
	defer server.Close()
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Audience: []string{server.URL}})
	api = boundAPI(op.Provider(), server.URL)
	tokenKey := keyService()
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		client := op.AddClient(base + "/auth/callback")
		client.DPoPKey = tokenKey // a crypto.Signer that all replicas share
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback"})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, err := login.HTTPClient(r.Context(), server.URL)
			if err != nil {
				http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
				return
			}
			resp, err := caller.Get(server.URL + "/notes?page=2")
			if err != nil {
				http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			fmt.Fprint(w, "the API says ", resp.Status)
		})))
		return mux
	})
	show(op.Browser(t, "ana").Get(url + "/"))
	fmt.Println(len(op.Violations()), "violations")
	// Output:
	// 200 the API says 200 OK
	// 0 violations
}

// boundAPI takes only tokens that are bound to a key, with a nonce of its own.
func boundAPI(provider *gatehouse.Provider, address string) http.Handler {
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Audience: []string{address},
		DPoP:     gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: address, Keys: []gatehouse.Secret{gatehouse.NewSecret("thirty-two or more random bytes, kept for all replicas")}},
	})
	if err != nil {
		panic(err)
	}
	return api.RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// To replace a key, publish the next one beside it for an hour, and then use it.
func ExampleJWKSHandler() {
	client := gatehouse.Client{ID: "notes", Key: keyService(), KeyID: "2026-11"}
	next := gatehouse.Client{ID: "notes", Key: keyService(), KeyID: "2027-02"}
	w := httptest.NewRecorder()
	gatehouse.JWKSHandler(client, next).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/jwks.json", nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range set.Keys {
		fmt.Println(key.KeyID, key.Algorithm, key.IsPublic())
	}
	// Output:
	// 2026-11 ES256 true
	// 2027-02 ES256 true
}

// appleSecret makes the client secret that Sign in with Apple wants: a JWT that is
// signed with the key that Apple gave the team, for half a year at most.
func appleSecret(team, client, keyID string, key *ecdsa.PrivateKey) func(context.Context) (gatehouse.Secret, time.Time, error) {
	return func(context.Context) (gatehouse.Secret, time.Time, error) {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, nil)
		if err != nil {
			return gatehouse.Secret{}, time.Time{}, err
		}
		now := time.Now()
		ends := now.Add(24 * time.Hour)
		claims, err := json.Marshal(map[string]any{
			"iss": team, "sub": client, "aud": "https://appleid.apple.com", "iat": now.Unix(), "exp": ends.Unix(),
		})
		if err != nil {
			return gatehouse.Secret{}, time.Time{}, err
		}
		signed, err := signer.Sign(claims)
		if err != nil {
			return gatehouse.Secret{}, time.Time{}, err
		}
		text, err := signed.CompactSerialize()
		return gatehouse.NewSecret(text), ends, err
	}
}

// Sign in with Apple. Its secret ends, so it is a function that makes the next
// one. Apple lists client_secret_post alone, which the metadata says.
func ExampleClient_apple() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // of the file AuthKey_ABC123DEFG.p8
	if err != nil {
		fmt.Println(err)
		return
	}
	provider, err := gatehouse.NewProvider("https://appleid.apple.com", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	client := gatehouse.Client{ID: "org.example.notes", SecretFunc: appleSecret("TEAM123456", "org.example.notes", "ABC123DEFG", key)}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      client,
		RedirectURL: "https://notes.example.org/auth/callback",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	fmt.Printf("%+v\n", client)
	// Output:
	// {ID:"org.example.notes" Auth:"" KeyID:"" Algorithm:"" AssertionAudience:"" SecretFunc:[redacted]}
}

// The secret of the example is what Apple asks for, and it serves at a sign-in.
func TestAppleSecret(t *testing.T) {
	key := ecKey(t)
	secret, ends, err := appleSecret("TEAM123456", "org.example.notes", "ABC123DEFG", key)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(secret.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	body, err := parsed.Verify(key.Public())
	if err != nil || parsed.Signatures[0].Header.KeyID != "ABC123DEFG" {
		t.Fatalf("%v, %+v", err, parsed.Signatures[0].Header)
	}
	var claims struct {
		Iss, Sub, Aud string
		Exp           int64
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Iss != "TEAM123456" || claims.Sub != "org.example.notes" || claims.Aud != "https://appleid.apple.com" || claims.Exp != ends.Unix() {
		t.Errorf("%+v, ends %v", claims, ends)
	}
}

// A test of an application that proves who it is with a key is like every other:
// the kit's provider checks each assertion.
func TestKitChecksAssertions(t *testing.T) {
	for name, add := range map[string]func(*middlewaretest.Server, string) gatehouse.Client{
		"private_key_jwt": func(op *middlewaretest.Server, uri string) gatehouse.Client {
			return op.AddKeyClient(keyService(), uri)
		},
		"client_secret_jwt": func(op *middlewaretest.Server, uri string) gatehouse.Client { return op.AddSecretJWTClient(uri) },
	} {
		t.Run(name, func(t *testing.T) {
			op := middlewaretest.NewOffline(t, "https://id.example.org")
			op.AddUser("ana", nil)
			client := add(op, "https://notes.example.org/auth/callback")
			source, err := op.Provider().ClientCredentials(client)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := source.Token(); err != nil {
					t.Error(err)
				}
				op.Clock().Advance(time.Hour)
			}
			other := client
			other.AssertionAudience = "https://other.example.org"
			if source, err = op.Provider().ClientCredentials(other); err != nil {
				t.Fatal(err)
			}
			if _, err := source.Token(); gatehouse.ErrorCode(err) != "client_refused" {
				t.Errorf("an assertion for another server: %v", err)
			}
			if v := op.Violations(); len(v) != 1 {
				t.Errorf("violations: %v", v)
			}
		})
	}
}
