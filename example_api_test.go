package gatehouse_test

import (
	"context"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// The programs of docs/api.md. What needs a provider that is not there is only
// compiled; TestAPIDocument runs the rest.

func ExampleResourceServer_RequireToken() {
	mux := http.NewServeMux()
	list := http.NotFoundHandler()

	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		log.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("GET /v1/notes", api.With(gatehouse.Scopes("notes:read")).RequireToken(list))
	mux.Handle(api.MetadataPath(), api.MetadataHandler())
}

func ExampleNewProvider_name() {
	provider, err := gatehouse.NewProvider("itsyouonline", &gatehouse.ProviderConfig{KeysFile: "itsyouonline.pem"})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(provider.Issuer())
}

// tenantsByIssuer are tenants that come and go.
type tenantsByIssuer map[string]*gatehouse.ResourceServer

func (t tenantsByIssuer) ResourceServer(_ context.Context, issuer string) (*gatehouse.ResourceServer, error) {
	return t[issuer], nil
}

func TestAPIDocument(t *testing.T) {
	mux := http.NewServeMux()
	list := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Subject", gatehouse.IdentityFrom(r.Context()).Subject)
	})
	pay := list

	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	client := op.AddClient()
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES384", Audience: []string{"https://api.example.org"}})

	provider := op.Provider()
	store := gatehouse.NewMemoryStore(op.Clock().Now)
	keys := []gatehouse.Secret{gatehouse.NewSecret("a key of thirty-two random bytes")}
	withoutNonces, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Client: client, Audience: []string{"https://api.example.org"},
		DPoP: gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "https://api.example.org"},
	})
	if err != nil {
		t.Fatal(err)
	}
	{
		api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
			Audience: []string{"https://api.example.org"},
			DPoP: gatehouse.DPoPConfig{
				Use:     gatehouse.DPoPAllowed,
				BaseURL: "https://api.example.org",
				Store:   store, // shared by all replicas
				Keys:    keys,  // optional: clients then need nonces
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle("GET /v2/notes", api.RequireToken(list))
	}
	api := withoutNonces
	mux.Handle("GET /v1/notes", api.With(gatehouse.Scopes("notes:read")).RequireToken(list))
	mux.Handle("POST /v1/payments", api.With(gatehouse.NotRevoked()).RequireToken(pay))

	answers := func(r *http.Request, status int) {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != status || (w.Header().Get("X-Subject") == "ana") != (status == http.StatusOK) {
			t.Errorf("%s %s: %d %v, want %d", r.Method, r.URL, w.Code, w.Header(), status)
		}
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, op.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes", "notes:read"))
	if w.Code != http.StatusOK {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	answers(op.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes"), http.StatusForbidden)
	answers(op.NewRequest(t, "ana", client, "POST", "https://api.example.org/v1/payments"), http.StatusOK)

	key := op.NewDPoPKey()
	r := key.NewRequest(t, "ana", client, "GET", "https://api.example.org/v1/notes", "notes:read")
	first := r.Clone(t.Context())
	key.Sign(r, "", middlewaretest.ProofWrongMethod) // another proof for the same request, with a fault
	answers(first, http.StatusOK)
	answers(r, http.StatusUnauthorized)
	answers(key.NewRequest(t, "ana", client, "GET", "https://api.example.org/v2/notes"), http.StatusUnauthorized) // without a nonce

	r = httptest.NewRequest("GET", "https://api.example.org/v1/notes", nil)
	r.Header.Set("Authorization", "Bearer "+op.Token(t, middlewaretest.Claims{"scope": "notes:read"}))
	answers(r, http.StatusOK)
	bad := op.Token(t, middlewaretest.Claims{"scope": "notes:read", "sub": nil}, middlewaretest.WrongAudience)
	r = httptest.NewRequest("GET", "https://api.example.org/v1/notes", nil)
	r.Header.Set("Authorization", "Bearer "+bad)
	answers(r, http.StatusUnauthorized)

	apiDocumentIssuers(t, mux, list, api, op, client)
}

// apiDocumentIssuers: several issuers, and calls onward.
func apiDocumentIssuers(t *testing.T, mux *http.ServeMux, list http.Handler, api *gatehouse.ResourceServer, op *middlewaretest.Server, client gatehouse.Client) {
	other, err := gatehouse.NewProvider("https://other.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	api2, err := gatehouse.NewResourceServer(other, gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	api1, read, provider := api, gatehouse.Scopes("notes:read"), op.Provider()
	tenants := tenantsByIssuer{"https://other.example.org": api2}
	var shared http.Handler
	{
		mux := http.NewServeMux()
		both := gatehouse.ByIssuer(api1.With(read), api2.With(read))
		mux.Handle("GET /v1/notes", gatehouse.Require(both)(list))
		shared = mux
	}
	guard := gatehouse.ByIssuerFunc(api.With(read), func(ctx context.Context, issuer string) (*gatehouse.ResourceServer, error) {
		return tenants.ResourceServer(ctx, issuer) // nil if there is no such tenant
	})
	mux.Handle("GET /v4/notes", gatehouse.Require(guard)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own, err := provider.ClientCredentials(client, "mail:send") // once, when the program starts
		if err != nil {
			t.Error(err)
		}
		mailer, err := own.HTTPClient(nil, "https://mail.example.org") // sends the service's own token, there and nowhere else
		if err != nil || mailer == nil {
			t.Error(err)
		}
		onward, err := api.HTTPClient(r.Context(), "https://files.example.org") // sends the caller's token on
		if err != nil || onward == nil {
			t.Error(err)
		}
	})))
	for path, h := range map[string]http.Handler{"/v1/notes": shared, "/v4/notes": mux} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, op.NewRequest(t, "ana", client, "GET", "https://api.example.org"+path, "notes:read"))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}
