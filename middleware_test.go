package gatehouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// Mistakes of the application show when the program starts, and the panic says
// what is missing.
func TestWiring(t *testing.T) {
	provider, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("secret")}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: "https://notes.example.org/callback"})
	if err != nil {
		t.Fatal(err)
	}
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	view := gatehouse.Resource{Name: "albums", Scopes: []string{"view"}}.AllOf("view")
	name := func(id *gatehouse.Identity) string { return id.Subject }
	var noLogin *gatehouse.RelyingParty
	var noBadge asks
	var noBadges *asks
	zeroLogin := new(gatehouse.RelyingParty)
	var noAPI *gatehouse.ResourceServer
	for what, c := range map[string]struct {
		wire func()
		want string // after "gatehouse: "
	}{
		"no guard":               {func() { gatehouse.Require(nil) }, "Require: the guard is nil"},
		"typed nil guard":        {func() { gatehouse.Require(noLogin) }, "Require: the RelyingParty was not made by NewRelyingParty"},
		"nil guard function":     {func() { gatehouse.Require(noBadge) }, "Require: the guard is nil"},
		"nil guard pointer":      {func() { gatehouse.Require(noBadges) }, "Require: the guard is nil"},
		"nil page function":      {func() { gatehouse.Either(noBadge, login) }, "Either, page: the guard is nil"},
		"zero guard":             {func() { gatehouse.Require(&gatehouse.RelyingParty{}) }, "Require: the RelyingParty was not made by NewRelyingParty"},
		"no handler":             {func() { gatehouse.Require(login)(nil) }, "Require: the handler is nil"},
		"nil function":           {func() { gatehouse.Require(login)(http.HandlerFunc(nil)) }, "Require: the handler is nil"},
		"nil mux":                {func() { gatehouse.Require(login)((*http.ServeMux)(nil)) }, "Require: the handler is nil"},
		"login with nil mux":     {func() { login.RequireLogin((*http.ServeMux)(nil)) }, "RequireLogin: the handler is nil"},
		"login, nil function":    {func() { login.RequireLogin(http.HandlerFunc(nil)) }, "RequireLogin: the handler is nil"},
		"option with nil mux":    {func() { login.OptionalLogin((*http.ServeMux)(nil)) }, "OptionalLogin: the handler is nil"},
		"nil login page":         {func() { noLogin.LoginHandler() }, "LoginHandler: the RelyingParty was not made by NewRelyingParty"},
		"zero login page":        {func() { zeroLogin.LoginHandler() }, "LoginHandler: the RelyingParty was not made by NewRelyingParty"},
		"nil callback":           {func() { noLogin.CallbackHandler() }, "CallbackHandler: the RelyingParty was not made by NewRelyingParty"},
		"zero callback":          {func() { zeroLogin.CallbackHandler() }, "CallbackHandler: the RelyingParty was not made by NewRelyingParty"},
		"nil logout":             {func() { noLogin.LogoutHandler() }, "LogoutHandler: the RelyingParty was not made by NewRelyingParty"},
		"zero logout":            {func() { zeroLogin.LogoutHandler() }, "LogoutHandler: the RelyingParty was not made by NewRelyingParty"},
		"nil session":            {func() { noLogin.SessionHandler() }, "SessionHandler: the RelyingParty was not made by NewRelyingParty"},
		"zero session":           {func() { zeroLogin.SessionHandler() }, "SessionHandler: the RelyingParty was not made by NewRelyingParty"},
		"no page":                {func() { gatehouse.Either(nil, login) }, "Either, page: the guard is nil"},
		"no API":                 {func() { gatehouse.Either(login, nil) }, "Either, api: the guard is nil"},
		"zero page":              {func() { gatehouse.Either(noLogin, login) }, "Either, page: the RelyingParty was not made by NewRelyingParty"},
		"login without handler":  {func() { login.RequireLogin(nil) }, "RequireLogin: the handler is nil"},
		"nil login":              {func() { noLogin.RequireLogin(http.NotFoundHandler()) }, "RequireLogin: the RelyingParty was not made by NewRelyingParty"},
		"option without handler": {func() { login.OptionalLogin(nil) }, "OptionalLogin: the handler is nil"},
		"zero option":            {func() { new(gatehouse.RelyingParty).OptionalLogin(http.NotFoundHandler()) }, "OptionalLogin: the RelyingParty was not made by NewRelyingParty"},
		"stricter than nobody":   {func() { noLogin.With() }, "With: the RelyingParty was not made by NewRelyingParty"},
		"zero requirement":       {func() { login.With(gatehouse.Requirement{}) }, "With: the Requirement is the zero value, which requires nothing"},
		"no owners":              {func() { login.With(gatehouse.OwnerGrant()) }, "With: OwnerGrant needs RelyingPartyConfig.OwnerGrants"},
		"no age":                 {func() { gatehouse.MaxAge(time.Second - 1) }, "MaxAge: no sign-in can meet less than one second"},
		"no acr":                 {func() { gatehouse.ACR() }, "ACR: there are none, so every authentication would do"},
		"empty acr":              {func() { gatehouse.ACR("2", "") }, "ACR: \"\" is not one value of acr"},
		"two acr in one":         {func() { gatehouse.ACR("2 3") }, "ACR: \"2 3\" is not one value of acr"},
		"acr with a control":     {func() { gatehouse.ACR("2\n") }, "ACR: \"2\\n\" is not one value of acr"},
		"acr of no header":       {func() { gatehouse.ACR("ö") }, "ACR: \"ö\" is not one value of acr"},
		"no common acr":          {func() { login.With(gatehouse.ACR("1")).With(gatehouse.ACR("2", "3")) }, "With: no acr is among the values of every ACR"},
		"no common acr, API":     {func() { api.With(gatehouse.ACR("1"), gatehouse.ACR("2", "3")) }, "With: no acr is among the values of every ACR"},
		"no scopes":              {func() { gatehouse.Scopes() }, "Scopes: there are none, so every session would do"},
		"empty scope":            {func() { gatehouse.Scopes("a", "") }, "Scopes: \"\" is not one scope"},
		"scope with a control":   {func() { gatehouse.Scopes("a", "b\x01") }, "Scopes: \"b\\x01\" is not one scope"},
		"scope with a tab":       {func() { gatehouse.AnyScope("a\tb") }, "AnyScope: \"a\\tb\" is not one scope"},
		"scope of no header":     {func() { gatehouse.Scopes("é") }, "Scopes: \"é\" is not one scope"},
		"scope with a quote":     {func() { gatehouse.Scopes("a\"b") }, "Scopes: \"a\\\"b\" is not one scope"},
		"two scopes in one":      {func() { gatehouse.Scopes("a b") }, "Scopes: \"a b\" is not one scope"},
		"claim of no name":       {func() { gatehouse.Claim("", "admin") }, "Claim: the name is empty"},
		"no store":               {func() { gatehouse.SingleProcessStore(nil) }, "SingleProcessStore: the store is nil"},
		"nil store":              {func() { gatehouse.SingleProcessStore((*memstore.MemStore)(nil)) }, "SingleProcessStore: the store is nil"},
		"claim of no type":       {func() { gatehouse.Claim("role", []string{"a"}) }, "Claim: a value of type []string can never equal a claim"},
		"claim at no type":       {func() { gatehouse.ClaimAt([]string{"a", "b"}, nil) }, "ClaimAt: a value of type <nil> can never equal a claim"},
		"claim at no path":       {func() { gatehouse.ClaimAt(nil, "a") }, "ClaimAt: the path is empty"},
		"no requirement":         {func() { gatehouse.RequirementFunc("owner", nil) }, "RequirementFunc: the function is nil"},
		"headers, no handler":    {func() { gatehouse.IdentityHeaders(nil)(nil) }, "IdentityHeaders: the handler is nil"},
		"headers, all at once": {func() {
			gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{"X-User": name, "x_user": name, "X-Name": name, "x-name": name, "X-None": nil, "": name})
		}, "IdentityHeaders: \"\" is not a valid header name\n\"X-None\" has no function\n\"X-Name\" and \"x-name\" are spellings of one header\n\"x_user\" is not a valid header name"},
		"UMA without need":    {func() { api.UMAProtect(nil) }, "UMAProtect: the Need is nil: give Rules, a Permission or a NeedFunc"},
		"UMA without handler": {func() { api.UMAProtect(view)(nil) }, "UMAProtect: the handler is nil"},
		"guard without need":  {func() { api.UMAGuard(nil) }, "UMAGuard: the Need is nil: give Rules, a Permission or a NeedFunc"},
		"no rules":            {func() { api.UMAGuard(gatehouse.Rules{}) }, "UMAGuard: the Rules are empty: nothing could ever be reached"},
		"nil NeedFunc":        {func() { api.UMAGuard(gatehouse.NeedFunc(nil)) }, "UMAGuard: the NeedFunc is nil"},
		"empty permission":    {func() { api.UMAGuard(gatehouse.Permission{}) }, "UMAGuard: the permission is empty; Public() lets everybody pass"},
		"rules, all at once": {func() {
			api.UMAGuard(gatehouse.Rules{"GET /a": nil, "GET /b": view, "GET /c": gatehouse.Rules{"GET /d": gatehouse.Permission{}}})
		}, "UMAGuard: Rules[\"GET /a\"]: the rule is nil\nRules[\"GET /c\"]: Rules[\"GET /d\"]: the permission is empty; Public() lets everybody pass"},
		"nil API":  {func() { noAPI.UMAProtect(view) }, "UMAProtect: the ResourceServer was not made by NewResourceServer"},
		"zero API": {func() { new(gatehouse.ResourceServer).UMAGuard(view) }, "UMAGuard: the ResourceServer was not made by NewResourceServer"},
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); got != "gatehouse: "+c.want {
					t.Errorf("panic %q,\nwant %q", got, "gatehouse: "+c.want)
				}
			}()
			c.wire()
		})
	}
}

// A part that no constructor made says so when it is used, and has nothing to
// shut down.
func TestPartsThatNobodyMade(t *testing.T) {
	ctx := t.Context()
	for _, none := range []bool{false, true} {
		provider, sessions, login := &gatehouse.Provider{}, &gatehouse.Sessions{}, &gatehouse.RelyingParty{}
		api, grants, transport := &gatehouse.ResourceServer{}, &gatehouse.OwnerGrants{}, &gatehouse.UMATransport{}
		if none {
			provider, sessions, login, api, grants, transport = nil, nil, nil, nil, nil, nil
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for what, use := range map[string]func() error{
			"Provider was not made by NewProvider, Metadata":               func() error { _, err := provider.Metadata(ctx); return err },
			"Sessions was not made by NewSessions, List":                   func() error { _, err := sessions.List(ctx, "i", "s"); return err },
			"Sessions was not made by NewSessions, Revoke":                 func() error { return sessions.Revoke(ctx, "i", "s", "x") },
			"Sessions was not made by NewSessions, RevokeAll":              func() error { return sessions.RevokeAll(ctx, "i", "s") },
			"RelyingParty was not made by NewRelyingParty, Check":          func() error { _, err := login.Check(r); return err },
			"RelyingParty was not made by NewRelyingParty, AuthURL":        func() error { _, err := login.AuthURL(httptest.NewRecorder(), r, "/"); return err },
			"ResourceServer was not made by NewResourceServer, Register":   func() error { _, err := api.Register(ctx, gatehouse.Resource{Name: "x"}); return err },
			"ResourceServer was not made by NewResourceServer, Deregister": func() error { return api.Deregister(ctx, gatehouse.Resource{Name: "x"}) },
			"OwnerGrants was not made by NewOwnerGrants, PAT":              func() error { _, err := grants.PAT(ctx, "", gatehouse.Secret{}); return err },
			"OwnerGrants was not made by NewOwnerGrants, Put":              func() error { return grants.Put(ctx, "o", gatehouse.NewSecret("x")) },
			"OwnerGrants was not made by NewOwnerGrants, Has":              func() error { _, err := grants.Has(ctx, "o"); return err },
			"OwnerGrants was not made by NewOwnerGrants, Forget":           func() error { return grants.Forget(ctx, "o") },
			"UMATransport was not made by NewUMATransport, RoundTrip":      func() error { _, err := transport.RoundTrip(r); return err },
		} {
			said, _, _ := strings.Cut(what, ", ")
			if err := use(); gatehouse.ErrorCode(err) != "internal" || !strings.Contains(err.Error(), said) {
				t.Errorf("%s: %v", what, err)
			}
		}
		transport.Forget(ctx, "x")
		transport.ForgetIdentity(ctx, &gatehouse.Identity{})
		if provider.Issuer() != "" || grants.Issuer() != "" {
			t.Error("an issuer of nobody")
		}
		for _, part := range []interface{ Shutdown(context.Context) error }{provider, sessions, login, api, grants, transport} {
			if err := part.Shutdown(ctx); err != nil {
				t.Errorf("%T: %v", part, err)
			}
		}
	}
}

// asks is a guard that is a function.
type asks func(*http.Request) error

func (f asks) Check(r *http.Request) (*gatehouse.Identity, error) { return nil, f(r) }
func (f asks) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusForbidden)
}

// badge is an API guard of an application. It accepts one header.
type badge struct{}

var errNoBadge = errors.New("no badge")

func (badge) Check(r *http.Request) (*gatehouse.Identity, error) {
	if r.Header.Get("Authorization") == "Badge good" {
		return &gatehouse.Identity{Subject: "machine", Via: "badge"}, nil
	}
	return nil, errNoBadge
}

func (badge) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("WWW-Authenticate", "Badge")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, "show a badge (%v)", err)
}

// eitherSite has a page at /mine for ana that is also an API, and a page at
// /fresh whose requirement can be met by signing in again.
func eitherSite(t testing.TB, api func(s *world.Site) gatehouse.Guard) *world.Site {
	s := world.NewSite(t, world.Watched)
	owner := gatehouse.RequirementFunc("owner", func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		if r.URL.Query().Has("broken") {
			return false, errors.New("database away")
		}
		return id.Subject == "ana-1", nil
	})
	r := s.Replicas[0]
	r.Mux.Handle("/mine", gatehouse.Require(gatehouse.Either(r.Login.With(owner), api(s)))(world.WhoAmI))
	r.Mux.Handle("/fresh", gatehouse.Require(gatehouse.Either(r.Login.With(gatehouse.Scopes("admin")), api(s)))(world.WhoAmI))
	return s
}

func TestEither(t *testing.T) {
	s := eitherSite(t, func(*world.Site) gatehouse.Guard { return badge{} })
	testEither(t, s, func(a *world.Page) bool {
		return a.Code == http.StatusUnauthorized && a.Header().Get("WWW-Authenticate") == "Badge"
	})
	nobody, ana := s.Visitor("ana"), s.Visitor("ana")
	ana.SignIn()
	// With an Authorization header only the API decides, whatever cookies the
	// request has.
	for _, b := range []*world.Visitor{nobody, ana} {
		if a := b.Get("/mine", "Authorization", "Badge good"); a.Body.String() != "served machine by badge" {
			t.Errorf("a good badge: %v", a)
		}
		for _, header := range []string{"Badge bad", "Bearer x", "", "Basic YTpi"} {
			if a := b.Get("/mine", "Authorization", header); a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), "badge") {
				t.Errorf("Authorization %q: %v", header, a)
			}
		}
		// A browser does not send a token by itself, so the API decides about
		// a cross-site request that has one.
		a := b.Do(b.Request(http.MethodPost, "/mine", nil, "Authorization", "Badge good", "Sec-Fetch-Site", "cross-site"))
		if a.Body.String() != "served machine by badge" {
			t.Errorf("cross-site with a badge: %v", a)
		}
	}
}

// testEither checks the branches that do not depend on the kind of API.
func testEither(t *testing.T, s *world.Site, challenged func(*world.Page) bool) {
	t.Helper()
	nobody, ana, ben := s.Visitor("ana"), s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	ben.SignIn()
	ana.WantServed(ana.Get("/mine"))
	ana.WantServed(ana.Fetch(http.MethodGet, "/mine"))
	ana.WantServed(ana.Fetch(http.MethodPost, "/mine"))
	nobody.WantOut(nobody.Get("/mine")) // a navigation without a session goes to sign-in
	for _, target := range []string{"/mine", "/fresh"} {
		s.WantRefusal(ben.Get(target), http.StatusForbidden) // a navigation with a session gets 403 and no sign-in
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for who, b := range map[string]*world.Visitor{"nobody": nobody, "ben": ben} {
				if a := b.Fetch(method, target); !challenged(a) {
					t.Errorf("%s of a script by %s: %v, want the API's challenge", method, who, a)
				}
			}
		}
	}
	// A program that sends no browser headers, with and without a session.
	for who, b := range map[string]*world.Visitor{"nobody": nobody, "ben": ben} {
		if a := b.Do(b.Request(http.MethodGet, "/mine", nil)); !challenged(a) {
			t.Errorf("a program as %s: %v", who, a)
		}
	}
	// A request from another site is refused and never challenged (decision
	// 15).
	for _, b := range []*world.Visitor{nobody, ana, ben} {
		s.WantRefusal(b.Do(b.Request(http.MethodPost, "/mine", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")), http.StatusForbidden)
		s.WantRefusal(b.Do(b.Request(http.MethodGet, "/mine", nil, "Upgrade", "websocket", "Origin", "https://evil.example")), http.StatusForbidden)
	}
	s.WantRefusal(ana.Get("/mine?broken"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Fetch(http.MethodGet, "/mine?broken"), http.StatusServiceUnavailable)
	// If the store fails, the answer is 503 and never a challenge (R10).
	s.Watched().Fail(errors.New("refused"), false)
	s.WantRefusal(ana.Get("/mine"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Fetch(http.MethodGet, "/mine"), http.StatusServiceUnavailable)
	s.Watched().Fail(nil, false)
	// If the provider is down, a person without a session gets the page's 503
	// and no redirect loop.
	ana.WantServed(ana.Get("/mine"))
}

// With UMA as the API: strangers get a real ticket, the owner gets her page.
func TestEitherUMA(t *testing.T) {
	var api *gatehouse.ResourceServer
	photo := gatehouse.Resource{Name: "photo 7", Scopes: []string{"view"}}
	s := eitherSite(t, func(s *world.Site) gatehouse.Guard {
		if api == nil {
			var err error
			s.Must(s.AddClient(opserver.Client{ID: "photos", Secret: "secret of photos"}))
			s.Mint("client secret", "secret of photos")
			api, err = gatehouse.NewResourceServer(s.Replicas[0].Provider, gatehouse.ResourceServerConfig{
				Client: gatehouse.Client{ID: "photos", Secret: gatehouse.NewSecret("secret of photos")},
			})
			s.Must(err)
		}
		return api.UMAGuard(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return photo.AllOf("view"), nil }))
	})
	defer func() { s.Must(api.Shutdown(context.Background())) }()
	testEither(t, s, func(a *world.Page) bool {
		h := a.Header().Get("WWW-Authenticate")
		return a.Code == http.StatusUnauthorized && strings.HasPrefix(h, "UMA ") && strings.Contains(h, "ticket=") && strings.Contains(h, `as_uri="`+world.SiteIssuer+`"`)
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	if a := ana.Get("/mine", "Authorization", "Bearer not-a-token"); a.Code != http.StatusUnauthorized || !strings.Contains(a.Header().Get("WWW-Authenticate"), "ticket=") {
		t.Errorf("a bad token beside a good session: %v", a)
	}
}

// Either returns a complete guard: Check writes nothing, and Refuse answers
// the error of Check, even if another guard wraps it.
func TestEitherHalves(t *testing.T) {
	s := world.NewSite(t)
	guard := gatehouse.Either(s.Replicas[0].Login, badge{})
	r := httptest.NewRequest(http.MethodGet, s.Origin+"/notes/", nil)
	r.Header.Set("Accept", "text/html")
	id, err := guard.Check(r)
	if id != nil || gatehouse.ErrorCode(err) != "login_required" {
		t.Fatalf("Check gave %v, %v", id, err)
	}
	w := httptest.NewRecorder()
	guard.Refuse(w, r, err)
	if w.Code != http.StatusSeeOther {
		t.Errorf("Refuse answered %d", w.Code)
	}
	w = httptest.NewRecorder()
	guard.Refuse(w, r, errNoBadge) // an error that Check did not return
	if w.Code != http.StatusUnauthorized {
		t.Errorf("Refuse answered %d to a stranger's error", w.Code)
	}
	nested := gatehouse.Either(s.Replicas[0].Login, guard)
	r = httptest.NewRequest(http.MethodGet, s.Origin+"/notes/", nil)
	_, err = nested.Check(r)
	w = httptest.NewRecorder()
	nested.Refuse(w, r, err)
	if !errors.Is(err, errNoBadge) || w.Header().Get("WWW-Authenticate") != "Badge" {
		t.Errorf("nested: %v answered with %d", err, w.Code)
	}
}

// pass is a guard that lets every request in as id, or refuses it with err.
type pass struct {
	id  *gatehouse.Identity
	err error
}

func (p pass) Check(*http.Request) (*gatehouse.Identity, error) { return p.id, p.err }
func (p pass) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusTeapot)
}

// Require turns any guard into middleware.
func TestRequire(t *testing.T) {
	for _, c := range []struct {
		guard pass
		code  int
		body  string
		cache string
	}{
		{pass{id: &gatehouse.Identity{Subject: "u1", Via: "badge"}}, 200, "served u1 by badge", ""},
		{pass{id: &gatehouse.Identity{Subject: "u1", Via: gatehouse.ViaSession}}, 200, "served u1 by session", "no-store"},
		{pass{}, 200, "served nobody", ""},
		{pass{err: errors.New("no")}, http.StatusTeapot, "no\n", ""},
		{pass{id: &gatehouse.Identity{Subject: "u1"}, err: errors.New("no")}, http.StatusTeapot, "no\n", ""},
	} {
		w := httptest.NewRecorder()
		gatehouse.Require(c.guard)(world.WhoAmI).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != c.code || w.Body.String() != c.body || w.Header().Get("Cache-Control") != c.cache {
			t.Errorf("%+v: %d %q, Cache-Control %q", c.guard, w.Code, w.Body, w.Header().Get("Cache-Control"))
		}
	}
}
func TestIdentityOnContext(t *testing.T) {
	if gatehouse.IdentityFrom(context.Background()) != nil {
		t.Error("an identity without a guard")
	}
	id := &gatehouse.Identity{Issuer: "https://id.example.org", Subject: "u1"}
	if got := gatehouse.IdentityFrom(gatehouse.WithIdentity(context.Background(), id)); got != id {
		t.Errorf("got %v", got)
	}
}

func TestIdentityClaims(t *testing.T) {
	type person struct {
		Email string      `json:"email"`
		Big   json.Number `json:"big"`
		Admin bool        `json:"admin"`
		Other string      `json:"EMAIL"`
	}
	claims := person{Email: "before"}
	if err := (&gatehouse.Identity{}).Claims(&claims); err != nil || claims.Email != "before" || (&gatehouse.Identity{}).ClaimString("email") != "" {
		t.Errorf("no claims: %v, %q", err, claims.Email)
	}
	var id *gatehouse.Identity
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/who", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				id = gatehouse.IdentityFrom(r.Context())
			})))
		}
	})
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "a@example.org", "big": json.Number("12345678901234567890"), "admin": true}))
	s.Visitor("ana").Visit("/who")
	if err := id.Claims(&claims); err != nil || claims.Email != "a@example.org" || claims.Big != "12345678901234567890" || !claims.Admin || claims.Other != "" {
		t.Errorf("%+v, %v", claims, err)
	}
	if id.ClaimString("email") != "a@example.org" || id.ClaimString("admin") != "" || id.ClaimString("none") != "" {
		t.Error("ClaimString")
	}
	var wrong struct {
		Email int `json:"email"`
	}
	if err := id.Claims(&wrong); err == nil {
		t.Error("a string was decoded into a number")
	}
}

// SetClaim takes only what every reader of the claims can read, and changes
// nothing otherwise.
func TestSetClaim(t *testing.T) {
	id := &gatehouse.Identity{}
	if err := errors.Join(id.SetClaim("role", "editor"), id.SetClaim("Role", 1), id.SetClaim("gone", true), id.SetClaim("gone", nil), id.SetClaim("none", (*int)(nil))); err != nil {
		t.Fatal(err)
	}
	deep := any("end")
	for range 32 {
		deep = []any{deep}
	}
	for name, value := range map[string]any{
		"repeated": json.RawMessage(`{"a":1,"a":2}`), "no JSON": json.RawMessage(`{`), "no UTF-8": json.RawMessage("\"\xff\""), "a function": func() {}, "deep": deep,
	} {
		if err := id.SetClaim(name, value); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := errors.Join(id.SetClaim("\xff", 1), id.SetClaim("\xfe", 2)); err == nil {
		t.Error("two names that become one are taken")
	}
	var all map[string]any
	if err := id.Claims(&all); err != nil || len(all) != 3 || all["role"] != "editor" || all["Role"] != 1.0 || id.ClaimString("role") != "editor" {
		t.Errorf("claims %v, %v", all, err)
	}
}
