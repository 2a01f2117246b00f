package middlewaretest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
