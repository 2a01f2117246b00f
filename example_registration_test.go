package gatehouse_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// newRegisteredApp is a site that registers itself when the first person signs in,
// and remembers that in a file.
func newRegisteredApp(provider *gatehouse.Provider, file string, key gatehouse.Secret) (http.Handler, error) {
	registration, err := gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
		Metadata: gatehouse.ClientMetadata{
			RedirectURIs:           []string{"https://notes.example.org/auth/callback"},
			PostLogoutRedirectURIs: []string{"https://notes.example.org/auth/logout"},
			ClientName:             "Notes",
		},
		Store: gatehouse.FileRegistrationStore(file), // such as "/var/lib/notes/client.json"
		Keys:  []gatehouse.Secret{key},
	})
	if err != nil {
		return nil, err
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{Registration: registration},
		RedirectURL: "https://notes.example.org/auth/callback",
		LogoutURL:   "https://notes.example.org/auth/logout",
		Scopes:      []string{"email"},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.RequireLogin(notes))
	return mux, nil
}

// An application that registers itself. It does so once: the next start finds the
// client in the file.
func ExampleNewRegistration() {
	t := newExampleTB()
	defer t.end()
	dir, err := os.MkdirTemp("", "notes-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.SetRegistration(middlewaretest.RegistrationOptions{})
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	key := gatehouse.NewSecret("made by openssl rand -base64 32, kept with other secrets")
	for range 2 { // starts of the program
		app, err := newRegisteredApp(op.Provider(), filepath.Join(dir, "client.json"), key)
		if err != nil {
			panic(err)
		}
		op.Serve("https://notes.example.org", app)
		show(op.Browser(t, "ana").Get("https://notes.example.org/notes/"))
		fmt.Println("registered:", op.Count("register"))
	}
	// Output:
	// 200 /notes/: notes of ana@example.org
	// registered: 1
	// 200 /notes/: notes of ana@example.org
	// registered: 1
}

// A client that something else has registered, with what the provider gave for
// reading and changing it.
func ExampleExistingClient() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	id, secret := "s6BhdRkqt3", os.Getenv("CLIENT_SECRET")
	manage, token := "https://id.example.org/register/s6BhdRkqt3", os.Getenv("REGISTRATION_ACCESS_TOKEN")
	metadata := gatehouse.ClientMetadata{RedirectURIs: []string{"https://notes.example.org/auth/callback"}}
	store := gatehouse.FileRegistrationStore("/var/lib/notes/client.json")
	registration, err := gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
		Metadata: metadata,
		Store:    store,
		Existing: &gatehouse.ExistingClient{
			ID:              id, // client_id
			Secret:          gatehouse.NewSecret(secret),
			ManagementURL:   manage,                     // registration_client_uri
			ManagementToken: gatehouse.NewSecret(token), // registration_access_token
		},
	})
	if err != nil {
		panic(err)
	}
	_ = registration // Client.Registration
}

// Metadata is written with the names of the specifications, and read with those
// of oxd as well.
func ExampleClientMetadata() {
	data := []byte(`{"authorization_redirect_uri":"https://notes.example.org/auth/callback","client_name":"Notes"}`)
	var m gatehouse.ClientMetadata
	err := json.Unmarshal(data, &m)
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(m)
	fmt.Println(string(text), err)
	// Output:
	// {"client_name":"Notes","redirect_uris":["https://notes.example.org/auth/callback"]} <nil>
}

// A client that registers itself and proves itself with a key, at a provider that
// cannot fetch the key: the key set goes along. The metadata names every address
// that Handler serves.
func ExampleJWKS() {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		panic(err)
	}
	var key crypto.Signer = keyService()
	signer := gatehouse.Client{Key: key, KeyID: "2026"}
	keys, err := gatehouse.JWKS(signer)
	if err != nil {
		panic(err)
	}
	registration, err := gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
		Store: gatehouse.NewMemoryRegistrationStore(), // for tests: see FileRegistrationStore
		Metadata: gatehouse.ClientMetadata{
			RedirectURIs:            []string{"https://notes.example.org/auth/callback"},
			TokenEndpointAuthMethod: gatehouse.AuthPrivateKeyJWT,
			JWKS:                    keys,
		},
		Defaults: gatehouse.ClientMetadata{
			PostLogoutRedirectURIs: []string{"https://notes.example.org/auth/logout"},
			InitiateLoginURI:       "https://notes.example.org/auth/login",
			BackchannelLogoutURI:   "https://notes.example.org/auth/backchannel-logout",
			FrontchannelLogoutURI:  "https://notes.example.org/auth/frontchannel-logout",
			ResponseTypes:          []string{"code id_token"},
		},
	})
	if err != nil {
		panic(err)
	}
	signer.Registration = registration // the Client of RelyingPartyConfig
	fmt.Printf("%+v\n", signer)
}
