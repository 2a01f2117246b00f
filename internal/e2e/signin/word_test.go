package signin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// wordSite has guards inside guards. Each handler says whom it serves.
func wordSite(t testing.TB) *world.Site {
	t.Helper()
	return world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.AllowUpgrades = []string{"Telnet"} }
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			admin := login.With(gatehouse.Claim("role", "admin"))
			rs := world.NewPhotoz(t).ResourceServer(gatehouse.ResourceServerConfig{})
			public := rs.UMAGuard(gatehouse.Rules{"/": gatehouse.Public()})
			nobody := gatehouse.Require(guardFunc(func(*http.Request) (*gatehouse.Identity, error) { return nil, nil }))
			mux.Handle("/inside/optional", login.OptionalLogin(admin.OptionalLogin(world.WhoAmI)))
			mux.Handle("/inside/public", login.RequireLogin(gatehouse.Require(public)(world.WhoAmI)))
			mux.Handle("/inside/either", login.RequireLogin(gatehouse.Require(gatehouse.Either(admin, public))(world.WhoAmI)))
			mux.Handle("/inside/custom", login.RequireLogin(nobody(world.WhoAmI)))
			mux.Handle("/inside/known", nobody(login.RequireLogin(world.WhoAmI)))

			files := http.FileServerFS(fstest.MapFS{"site.css": {Data: []byte("x")}})
			bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Del("Cache-Control")
				w.Header().Set("Vary", "Accept-Encoding")
			})
			for name, h := range map[string]http.Handler{"files": files, "bare": bare} {
				mux.Handle("/"+name+"/require/", login.RequireLogin(h))
				mux.Handle("/"+name+"/optional/", login.OptionalLogin(h))
				mux.Handle("/"+name+"/either/", gatehouse.Require(gatehouse.Either(login, public))(h))
				mux.Handle("/"+name+"/both/", login.RequireLogin(login.OptionalLogin(h)))
			}
		}
	})
}

// guardFunc is a guard of an application that refuses nobody.
type guardFunc func(*http.Request) (*gatehouse.Identity, error)

func (f guardFunc) Check(r *http.Request) (*gatehouse.Identity, error) { return f(r) }
func (f guardFunc) Refuse(w http.ResponseWriter, _ *http.Request, _ error) {
	w.WriteHeader(http.StatusForbidden)
}

// The identity on the context is what the innermost guard decided: a guard that
// lets pass as nobody hides the person that a guard around it let in.
func TestInnerGuardsWord(t *testing.T) {
	s := wordSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for path, want := range map[string]string{
		"/inside/optional": "served nobody", "/inside/public": "served nobody", "/inside/either": "served nobody",
		"/inside/custom": "served nobody", "/inside/known": "served ana-1 by session",
	} {
		if a := ana.Fetch(http.MethodGet, path); a.Code != http.StatusOK || a.Body.String() != want {
			t.Errorf("%s: %v, want %q", path, a, want)
		}
	}
}

// CK8: the answer says what it depends on, even if the handler removes that, as
// http.FileServer does from its errors.
func TestCK8_HandlerRemovesHeaders(t *testing.T) {
	s := wordSite(t)
	ana, out := s.Visitor("ana"), s.Visitor("ana")
	ana.SignIn()
	for _, c := range []struct {
		who     *world.Visitor
		path    string
		status  int
		control string
		vary    []string
	}{
		{ana, "/files/require/none", 404, "no-store", []string{"Cookie"}},
		{ana, "/files/optional/none", 404, "no-store", []string{"Cookie"}},
		{ana, "/files/either/none", 404, "no-store", []string{"Cookie"}},
		{ana, "/files/both/none", 404, "no-store", []string{"Cookie"}},
		{out, "/files/optional/none", 404, "private", []string{"Cookie"}},
		{out, "/files/either/none", 404, "no-store", []string{"Cookie"}},
		{ana, "/bare/require/", 200, "no-store", []string{"Accept-Encoding", "Cookie"}},
		{ana, "/bare/optional/", 200, "no-store", []string{"Accept-Encoding", "Cookie"}},
		{ana, "/bare/both/", 200, "no-store", []string{"Accept-Encoding", "Cookie"}},
		{out, "/bare/optional/", 200, "private", []string{"Accept-Encoding", "Cookie"}},
		{out, "/bare/either/", 200, "no-store", []string{"Accept-Encoding", "Cookie"}},
	} {
		a := c.who.Fetch(http.MethodGet, c.path)
		if a.Code != c.status || !slices.Equal(a.Header().Values("Cache-Control"), []string{c.control}) || !slices.Equal(a.Header().Values("Vary"), c.vary) {
			t.Errorf("%s: %v with %v, want %d, %q and Vary %q", c.path, a, a.Header(), c.status, c.control, c.vary)
		}
	}
}

// An ErrorHandler cannot make a refusal cacheable either.
func TestCK8_ErrorHandlerRemovesHeaders(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(w http.ResponseWriter, r *http.Request, e *gatehouse.Error) {
				clear(w.Header())
				_, _ = w.Write([]byte(e.Code))
			}
		}
	})
	a := s.Visitor("ana").Fetch(http.MethodGet, "/notes/")
	if a.Code != http.StatusUnauthorized || a.Body.String() != "login_required" {
		t.Fatalf("got %v", a)
	}
	stories.WantUncached(t, a, "no-store")
}

// seenUpgrade answers with what a reverse proxy would read of an upgrade.
var seenUpgrade = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	who := "nobody"
	if id := gatehouse.IdentityFrom(r.Context()); id != nil {
		who = id.Subject
	}
	h := r.Header
	_, _ = w.Write([]byte(strings.Join([]string{
		who, strings.Join(h.Values("Upgrade"), "|"), strings.Join(h.Values("Http2-Settings"), "|"), strings.Join(h.Values("Connection"), "|"),
	}, ";")))
})

// A tunnel would lead past every guard: only websocket and what AllowUpgrades
// names pass, and another site's request with our cookies is refused.
func TestUpgradeBehindGuards(t *testing.T) {
	headers := gatehouse.IdentityHeaders(nil)
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.AllowUpgrades = []string{"Telnet"} }
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			photoz := world.NewPhotoz(t)
			rules := gatehouse.Rules{"GET /": gatehouse.Public()}
			plain := photoz.ResourceServer(gatehouse.ResourceServerConfig{})
			telnet := photoz.ResourceServer(gatehouse.ResourceServerConfig{AllowUpgrades: []string{"telnet"}})
			mux.Handle("/require", login.RequireLogin(seenUpgrade))
			mux.Handle("/require/headers", login.RequireLogin(headers(seenUpgrade)))
			mux.Handle("/optional", login.OptionalLogin(seenUpgrade))
			mux.Handle("/headers", headers(seenUpgrade))
			mux.Handle("/uma", plain.UMAProtect(rules)(seenUpgrade))
			mux.Handle("/uma/telnet", telnet.UMAProtect(rules)(headers(seenUpgrade)))
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login, plain.UMAGuard(rules)))(seenUpgrade))
			mux.Handle("/either/telnet", gatehouse.Require(gatehouse.Either(login, telnet.UMAGuard(rules)))(seenUpgrade))
			mux.Handle("/inner", login.RequireLogin(plain.UMAProtect(rules)(headers(seenUpgrade))))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	const websocket, telnet, none = "websocket", "telnet", ""
	for _, c := range []struct {
		upgrade []string
		passes  string // what is left of it, where telnet is not named
	}{
		{[]string{"websocket"}, websocket}, {[]string{"WebSocket"}, "WebSocket"},
		{[]string{"h2c"}, none}, {[]string{"H2C"}, none}, {[]string{"websocket, h2c"}, none}, {[]string{"h2c,websocket"}, none},
		{[]string{"websocket", "h2c"}, none}, {[]string{"websocket", "websocket"}, none}, {[]string{"HTTP/2.0"}, none}, {[]string{"websocket/13"}, none},
		{[]string{"TLS/1.0"}, none}, {[]string{""}, none}, {[]string{"telnet, h2c"}, none}, {[]string{"telnet"}, telnet},
	} {
		for path, who := range map[string]string{
			"/require": "ana-1", "/require/headers": "ana-1", "/optional": "ana-1", "/headers": "nobody", "/uma": "nobody",
			"/uma/telnet": "nobody", "/either": "ana-1", "/either/telnet": "ana-1", "/inner": "nobody",
		} {
			r := ana.Request(http.MethodGet, path, nil, "Sec-Fetch-Site", "same-origin")
			r.Header["Upgrade"] = c.upgrade
			r.Header["Connection"] = []string{"keep-alive, Upgrade", "X-Trace"}
			passes := c.passes
			if passes == telnet && !slices.Contains([]string{"/require", "/require/headers", "/optional", "/uma/telnet", "/either/telnet"}, path) {
				passes = none
			}
			want := who + ";;;keep-alive, X-Trace"
			if passes == none {
				r.Header["Http2-Settings"] = []string{"AAMAAABkAARAAAAAAAIAAAAA"}
				r.Header["Connection"] = []string{"keep-alive, Upgrade,http2-settings", "X-Trace"}
			} else {
				want = who + ";" + passes + ";;keep-alive, Upgrade|X-Trace"
				if strings.Contains(path, "headers") || path == "/uma/telnet" || path == "/inner" {
					want = strings.Replace(want, "|", ", ", 1)
				}
			}
			if a := ana.Do(r); a.Code != http.StatusOK || a.Body.String() != want {
				t.Errorf("%s with %q: %v, want %q", path, c.upgrade, a, want)
			}
			r = ana.Request(http.MethodGet, path, nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
			r.Header["Upgrade"] = c.upgrade
			a := ana.Do(r)
			if passes != none && strings.Contains(a.Body.String(), "ana-1") {
				t.Errorf("%s with %q from another site: %v", path, c.upgrade, a)
			}
		}
	}
}

// A WebSocket or a form of this site passes behind a proxy that changes Host
// and keeps only Origin, or says cross-site because of it.
func TestOriginOfRedirectURL(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.LoggedOutURL = "/bye"
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for name, header := range map[string][]string{
		"form":                      {"POST"},
		"form that is said foreign": {"POST", "Sec-Fetch-Site", "cross-site"},
		"websocket":                 {"GET", "Connection", "Upgrade", "Upgrade", "websocket"},
	} {
		for origin, status := range map[string]int{
			"https://notes.test": 200, "https://notes.test:8443": 403, "http://notes.test": 403, "https://evil.example": 403, "null": 403,
			"https://notes.test.evil.example": 403,
		} {
			r := ana.Request(header[0], "/notes/", nil, append(header[1:], "Origin", origin)...)
			r.Host = "10.0.0.7:8080"
			if a := ana.Do(r); a.Code != status {
				t.Errorf("%s from %s: %v, want %d", name, origin, a, status)
			}
		}
	}
}

// Protocols that carry HTTP are refused when the program starts.
func TestAllowUpgrades(t *testing.T) {
	p, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("secret")}
	for name, ok := range map[string]bool{
		"telnet": true, "websocket": true, "TLS/1.0": true, "x-tunnel": true,
		"h2c": false, "H2C": false, "h2": false, "http/2.0": false, "HTTP/1.1": false, "http": false, "": false, "a b": false, "a,b": false, "a\n": false, "\u212aelvin": false,
	} {
		_, party := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
			Client: client, RedirectURL: "https://notes.example.org/auth/callback", AllowUpgrades: []string{name}})
		_, api := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: client, AllowUpgrades: []string{name}})
		for what, err := range map[string]error{"relying party": party, "resource server": api} {
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "AllowUpgrades: ") {
				t.Errorf("%s with %q: %v", what, name, err)
			}
		}
	}
}

// RL8: what panics below a guard or IdentityHeaders is answered with 500, also
// through Either and where Check is called by hand.
func TestRL8_NeedsAndHeadersPanic(t *testing.T) {
	photoz := world.NewPhotoz(t)
	panics := gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { panic("marker") })
	guard := photoz.ResourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(panics)
	inRules := photoz.ResourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(gatehouse.Rules{"GET /": panics})
	page := guardFunc(func(*http.Request) (*gatehouse.Identity, error) {
		return nil, &gatehouse.Error{Code: gatehouse.CodeLoginRequired, Status: 401}
	})
	own := guardFunc(func(*http.Request) (*gatehouse.Identity, error) { panic("marker") })
	loud := photoz.ResourceServer(gatehouse.ResourceServerConfig{ErrorHandler: func(http.ResponseWriter, *http.Request, *gatehouse.Error) { panic("marker") }})
	lost := loud.UMAGuard(gatehouse.Rules{"POST /": gatehouse.Public()})
	for name, h := range map[string]http.Handler{
		"own guard":      gatehouse.Require(own)(world.WhoAmI),
		"own guards":     gatehouse.Require(gatehouse.Either(own, page))(world.WhoAmI),
		"handler":        gatehouse.Require(loud.UMAGuard(gatehouse.Rules{"POST /": gatehouse.Public()}))(world.WhoAmI),
		"need":           gatehouse.Require(guard)(world.WhoAmI),
		"rules":          gatehouse.Require(inRules)(world.WhoAmI),
		"either":         gatehouse.Require(gatehouse.Either(page, guard))(world.WhoAmI),
		"headers":        outerIdentity(gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{"X-User": func(*gatehouse.Identity) string { panic("marker") }})(world.WhoAmI)),
		"Refuse by hand": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { lost.Refuse(w, r, errors.New("x")) }),
		"by hand ": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := guard.Check(r); err != nil {
				guard.Refuse(w, r, err)
			}
		}),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		said := w.Body.String()
		if w.Code != http.StatusInternalServerError || !strings.Contains(said, `"internal"`) && name != "handler" && name != "Refuse by hand" || strings.Contains(said, "marker") || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, %v", name, w.Code, said, w.Header())
		}
	}
	defer func() {
		if p := recover(); !errors.Is(p.(error), http.ErrAbortHandler) {
			t.Errorf("recovered %v", p)
		}
	}()
	aborts := gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { panic(http.ErrAbortHandler) })
	photoz.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(aborts)(world.WhoAmI).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// An ErrorHandler that panics below IdentityHeaders is answered too.
func TestRL8_IdentityHeadersErrorHandlerPanics(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ *gatehouse.Error) { clear(w.Header()); panic("marker") }
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/up", login.RequireLogin(gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{"X-User": func(*gatehouse.Identity) string { return " x" }})(world.WhoAmI)))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	if a := ana.Get("/up"); a.Code != http.StatusInternalServerError || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v, %v", a, a.Header())
	}
}

func outerIdentity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(gatehouse.WithIdentity(r.Context(), &gatehouse.Identity{Subject: "x"})))
	})
}
