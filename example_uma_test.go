package gatehouse_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/gatehouse"
)

// An API with rules by route: the patterns of http.ServeMux say what each
// request needs. A client without permission gets a ticket, with which it asks
// the authorization server for the permission.
func ExampleResourceServer_UMAProtect() {
	provider, stop := exampleAuthorizationServer()
	defer stop()
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{
		Audience: []string{"https://api.example.org"},
		Client:   gatehouse.Client{ID: "photos", Secret: gatehouse.NewSecret("from your vault")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	albums := gatehouse.Resource{Name: "albums", Scopes: []string{"view", "add", "all"}}
	protect := api.UMAProtect(gatehouse.Rules{
		"GET /albums/":  albums.AllOf("view"),
		"POST /albums/": albums.AnyOf("all", "add").Ask("add"),
		"GET /healthz":  gatehouse.Public(),
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /albums/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pictures") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	server := protect(mux)

	show := func(method, path, token string) {
		r := httptest.NewRequest(method, path, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		fmt.Println(strings.TrimSpace(fmt.Sprintln(method, path, w.Code, w.Header().Get("WWW-Authenticate"))))
	}
	show("GET", "/healthz", "")
	show("GET", "/albums/", "")
	show("GET", "/albums/", "rpt-of-bob")
	show("POST", "/albums/", "rpt-of-bob")
	show("GET", "/elsewhere", "rpt-of-bob")
	// Output:
	// GET /healthz 200
	// GET /albums/ 401 UMA realm="api.example.org", as_uri="https://as.example.org", ticket="ticket-1"
	// GET /albums/ 200
	// POST /albums/ 401 UMA realm="api.example.org", as_uri="https://as.example.org", ticket="ticket-2"
	// GET /elsewhere 403
}

// One resource per photo, owned by a person. A NeedFunc finds the resource. It
// can answer 404, and it lets the owner pass, whom a session guard outside has
// identified.
func ExampleNeedFunc() {
	provider, stop := exampleAuthorizationServer()
	defer stop()
	client := gatehouse.Client{ID: "photos", Secret: gatehouse.NewSecret("from your vault")}
	grants, err := gatehouse.NewOwnerGrants(provider, gatehouse.OwnerGrantsConfig{Client: client})
	if err != nil {
		fmt.Println(err)
		return
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client, PAT: grants})
	if err != nil {
		fmt.Println(err)
		return
	}
	viewPhoto := func(r *http.Request) (gatehouse.Permission, error) {
		if r.PathValue("photo") != "7" {
			return gatehouse.Permission{}, &gatehouse.Error{Code: "no_such_photo", Status: 404, Message: "There is no such photo."}
		}
		owner := r.PathValue("user")
		if id := gatehouse.IdentityFrom(r.Context()); id != nil && id.Subject == owner {
			return gatehouse.Public(), nil
		}
		return gatehouse.Resource{Owner: owner, Name: "photo 7", Scopes: []string{"view", "print"}}.AllOf("view"), nil
	}
	server := api.UMAProtect(gatehouse.Rules{
		"GET /u/{user}/photos/{photo}": gatehouse.NeedFunc(viewPhoto),
	})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a photo") }))

	show := func(path string, who *gatehouse.Identity) {
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r.WithContext(gatehouse.WithIdentity(context.Background(), who)))
		fmt.Println(strings.TrimSpace(fmt.Sprintln(path, w.Code, w.Header().Get("Warning"))))
	}
	show("/u/alice/photos/7", &gatehouse.Identity{Subject: "alice"})
	show("/u/alice/photos/8", nil)
	show("/u/alice/photos/7", nil) // without a session; Alice has given no grant to register her photos
	// Output:
	// /u/alice/photos/7 200
	// /u/alice/photos/8 404
	// /u/alice/photos/7 403 199 - "UMA Authorization Server Unreachable"
}

// exampleAuthorizationServer replaces a real one. It knows one resource and
// one token.
func exampleAuthorizationServer() (*gatehouse.Provider, func()) {
	tickets, mux := 0, http.NewServeMux()
	answer := func(pattern string, status int, body func() string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body())
		})
	}
	answer("POST /token", 200, func() string { return `{"access_token":"pat","token_type":"Bearer","expires_in":300}` })
	answer("GET /resources", 200, func() string { return `["r-1"]` })
	answer("GET /resources/r-1", 200, func() string { return `{"name":"albums","resource_scopes":["view","add","all"]}` })
	answer("POST /permissions", 201, func() string { tickets++; return fmt.Sprintf(`{"ticket":"ticket-%d"}`, tickets) })
	answer("POST /introspect", 200, func() string {
		return `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
	})
	server := httptest.NewServer(mux)
	provider, err := gatehouse.NewProvider("https://as.example.org", &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler), Metadata: &gatehouse.Metadata{
		TokenEndpoint:                server.URL + "/token",
		IntrospectionEndpoint:        server.URL + "/introspect",
		PermissionEndpoint:           server.URL + "/permissions",
		ResourceRegistrationEndpoint: server.URL + "/resources",
	}})
	if err != nil {
		panic(err)
	}
	return provider, server.Close
}
