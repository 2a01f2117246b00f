package gatehouse_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
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

// A handler that is a page for its owner and an API for everybody the owner
// shares with. Ana opens it with her session. A program without a session gets
// a ticket.
func ExampleEither() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	op.AddUser("bob", middlewaretest.Claims{"email": "bob@example.org"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newAlbumApp(op.Provider(), op.AddClient(base+"/auth/callback"), base)
	})
	ana, bob := op.Browser(t, "ana"), op.Browser(t, "bob")
	show(ana.Get(url + "/mine/ana/photos/7"))
	page, err := bob.Get(url + "/mine/ana/photos/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.StatusCode) // signed in, but not the owner
	program, err := http.Get(url + "/mine/ana/photos/7")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer program.Body.Close()
	fmt.Println(program.StatusCode, program.Header.Get("WWW-Authenticate")[:10])
	// Output:
	// 200 /mine/ana/photos/7: notes of ana@example.org
	// 403
	// 401 UMA realm=
}

func newAlbumApp(provider *gatehouse.Provider, client gatehouse.Client, base string) http.Handler {
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback", Scopes: []string{"email"}})
	if err != nil {
		panic(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client})
	if err != nil {
		panic(err)
	}
	isOwner := func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		return id.Subject == r.PathValue("user"), nil
	}
	viewPhoto := func(r *http.Request) (gatehouse.Permission, error) {
		photo := gatehouse.Resource{Name: "photo " + r.PathValue("photo"), Scopes: []string{"view"}}
		return photo.AllOf("view"), nil
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mine := gatehouse.Either(login.With(gatehouse.RequirementFunc("owner", isOwner)), api.UMAGuard(gatehouse.NeedFunc(viewPhoto)))
	mux.Handle("/mine/{user}/photos/{photo}", gatehouse.Require(mine)(notes))
	return mux
}

// grantTable is a GrantStore in memory. Those of redisstore, pgstore and
// sqlitestore outlive the process.
type grantTable struct {
	mu   sync.Mutex
	rows map[string]string
}

func (t *grantTable) Grant(_ context.Context, issuer, owner string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if value, ok := t.rows[issuer+" "+owner]; ok {
		return []byte(value), nil
	}
	return nil, nil
}

func (t *grantTable) SwapGrant(_ context.Context, issuer, owner string, old, new []byte) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := issuer + " " + owner
	switch kept := t.rows[row]; {
	case kept != string(old) && kept != string(new):
		return false, nil
	case new == nil:
		delete(t.rows, row)
	default:
		t.rows[row] = string(new)
	}
	return true, nil
}

// Owners' grants under Keys: the store sees sealed values only. A new key is added
// last at first, then moved before the old one. Has reads a grant and seals it with
// the first key; when it was called for every owner, the old key can go.
func ExampleNewOwnerGrants() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	var client gatehouse.Client
	store := &grantTable{rows: map[string]string{}}
	open := func(keys ...gatehouse.Secret) *gatehouse.OwnerGrants {
		owners, err := gatehouse.NewOwnerGrants(op.Provider(), gatehouse.OwnerGrantsConfig{Client: client, Store: store, Keys: keys})
		if err != nil {
			panic(err)
		}
		return owners
	}
	oldKey := gatehouse.NewSecret(rand.Text() + rand.Text())
	newKey := gatehouse.NewSecret(rand.Text() + rand.Text())

	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		client = op.AddClient(base + "/auth/callback")
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: client, RedirectURL: base + "/auth/callback", OwnerGrants: open(oldKey),
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/share", login.With(gatehouse.OwnerGrant()).RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, gatehouse.IdentityFrom(r.Context()).Subject, " may share")
		})))
		return mux
	})
	show(op.Browser(t, "ana").Get(url + "/share")) // asks her at the provider

	has := func(about string, keys ...gatehouse.Secret) {
		found, err := open(keys...).Has(context.Background(), "ana")
		fmt.Printf("%s %v %q\n", about, found, gatehouse.ErrorCode(err))
	}
	has("without keys:")
	has("with both:", newKey, oldKey)
	has("with the new one:", newKey)
	// Output:
	// 200 ana may share
	// without keys: false "grant_unreadable"
	// with both: true ""
	// with the new one: true ""
}
