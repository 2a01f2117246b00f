package middlewaretest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// notesAPI is the API under test.
func notesAPI(provider *gatehouse.Provider) (http.Handler, error) {
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/notes", api.With(gatehouse.Scopes("notes:read")).RequireToken(http.NotFoundHandler()))
	return mux, nil
}

// A test of an API sends what its clients send: a token that a person allowed
// them.
func ExampleServer_NewRequest() {
	test := func(t *testing.T) {
		op := middlewaretest.NewServer(t)
		op.AddUser("ana", nil)
		client := op.AddClient()
		op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES384"})
		api, err := notesAPI(op.Provider())
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, op.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes", "notes:read"))
		if w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden {
			t.Errorf("ana gets %d", w.Code)
		}
	}
	_ = test
}

// A token made by hand can say anything, and be broken in every way that the kit
// knows.
func ExampleServer_Token() {
	test := func(t *testing.T) {
		op := middlewaretest.NewServer(t)
		op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Audience: []string{"https://api.example.org"}})
		api, err := notesAPI(op.Provider())
		if err != nil {
			t.Fatal(err)
		}
		for status, token := range map[int]string{
			http.StatusNotFound:     op.Token(t, middlewaretest.Claims{"scope": "notes:read"}),
			http.StatusForbidden:    op.Token(t, middlewaretest.Claims{"scope": "notes:write", "role": "admin"}),
			http.StatusUnauthorized: op.Token(t, middlewaretest.Claims{"scope": "notes:read"}, middlewaretest.WrongAudience),
		} {
			r := httptest.NewRequest("GET", "/v1/notes", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			if api.ServeHTTP(w, r); w.Code != status {
				t.Errorf("status %d, want %d", w.Code, status)
			}
		}
	}
	_ = test
}

// A client with a key proves with each request that it has it. A test of an API
// sends good proofs and bad ones.
func ExampleServer_NewDPoPKey() {
	test := func(t *testing.T) {
		op := middlewaretest.NewServer(t)
		op.AddUser("ana", nil)
		client := op.AddClient()
		op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true})
		api, err := gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{
			Audience: []string{"https://api.example.org"},
			DPoP:     gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: "https://api.example.org"},
		})
		if err != nil {
			t.Fatal(err)
		}
		h := api.RequireToken(http.NotFoundHandler())
		key := op.NewDPoPKey()
		good := key.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes")
		bad := key.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes")
		key.Sign(bad, "", middlewaretest.ProofWrongMethod)
		for status, r := range map[int]*http.Request{http.StatusNotFound: good, http.StatusUnauthorized: bad} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != status {
				t.Errorf("%d, want %d", w.Code, status)
			}
		}
	}
	_ = test
}

// An application that registers itself is tested with a server that lets it: with
// an initial access token, and with secrets that end.
func ExampleServer_SetRegistration() {
	test := func(t *testing.T) {
		op := middlewaretest.NewServer(t)
		op.AddUser("ana", nil)
		op.SetRegistration(middlewaretest.RegistrationOptions{InitialAccessToken: "let-me-in", SecretLifetime: time.Hour})
		url := middlewaretest.NewApp(t, func(base string) http.Handler {
			registration, err := gatehouse.NewRegistration(op.Provider(), gatehouse.RegistrationConfig{
				Metadata:           gatehouse.ClientMetadata{RedirectURIs: []string{base + "/auth/callback"}},
				Store:              gatehouse.NewMemoryRegistrationStore(),
				InitialAccessToken: gatehouse.NewSecret("let-me-in"),
			})
			if err != nil {
				t.Fatal(err)
			}
			login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
				Client:      gatehouse.Client{Registration: registration},
				RedirectURL: base + "/auth/callback",
			})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/auth/", login.Handler())
			mux.Handle("/", login.RequireLogin(http.NotFoundHandler()))
			return mux
		})
		op.Break(middlewaretest.OtherRedirectURIs) // the server lies, and nobody signs in
		resp, err := op.Browser(t, "ana").Get(url + "/")
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || len(op.Registered()) != 0 {
			t.Errorf("%v, %v, %q", resp, err, op.Registered())
		}
		op.Mend()
		op.Clock().Advance(time.Minute)
		resp, err = op.Browser(t, "ana").Get(url + "/")
		if err != nil || resp.StatusCode != http.StatusNotFound || len(op.Registered()) != 1 {
			t.Errorf("%v, %v, %q", resp, err, op.Registered())
		}
	}
	_ = test
}
