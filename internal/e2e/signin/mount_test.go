package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// mounted makes a site that mounts everything of its own with one line.
func mounted(t *testing.T, redirect string, mount func(mux *http.ServeMux, h http.Handler), party func(*gatehouse.RelyingPartyConfig)) (*world.Site, *world.Visitor) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Client = func(c *opserver.Client) {
			c.RedirectURIs = append(c.RedirectURIs, o.Origin+redirect)
			c.PostLogoutRedirectURIs = append(c.PostLogoutRedirectURIs, o.Origin+"/app/auth/logout", o.Origin+"/out", o.Origin+"/logout")
		}
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.RedirectURL, c.LoginURL = o.Origin+redirect, ""
			if party != nil {
				party(c)
			}
		}
	})
	login := s.Replicas[0].Login
	mux := http.NewServeMux()
	mount(mux, login.Handler())
	mux.Handle("/notes/", login.RequireLogin(world.WhoAmI))
	s.Replicas[0].Mux = mux
	return s, s.Visitor("ana")
}

// One line mounts the callback and, beside it, sign-in, sign-out and session.
func TestHandlerServesEveryPath(t *testing.T) {
	for _, c := range []struct {
		name, redirect, mount  string
		login, logout, session string
		none                   []string
		party                  func(*gatehouse.RelyingPartyConfig)
	}{
		{"beside the callback", "/auth/callback", "/auth/", "/auth/login", "/auth/logout", "/auth/session", []string{"/auth/", "/auth/x", "/auth/login/", "/auth/callback/x", "/auth/Login"}, nil},
		{"below the root", "/callback", "/", "/login", "/logout", "/session", []string{"/", "/x"}, nil},
		{"as configured", "/auth/callback", "/", "/sign-in", "/out", "/auth/session", []string{"/auth/login", "/auth/logout"}, func(c *gatehouse.RelyingPartyConfig) {
			c.LoginURL, c.LogoutURL = "/sign-in", "https://notes.test/out"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ana := mounted(t, c.redirect, func(mux *http.ServeMux, h http.Handler) { mux.Handle(c.mount, h) }, c.party)
			if a := ana.Fetch(http.MethodGet, "/notes/"); !strings.Contains(a.Body.String(), `"login_url":"`+c.login+`"`) {
				t.Errorf("a script is told %v", a)
			}
			if a := ana.Fetch(http.MethodGet, c.session); a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `"login_url":"`+c.login+`"`) {
				t.Errorf("session: %v", a)
			}
			ana.WantServed(ana.Visit(c.login + "?return_to=/notes/"))
			if a := ana.Fetch(http.MethodGet, c.session); !strings.Contains(a.Body.String(), `"signed_in":true`) {
				t.Errorf("session: %v", a)
			}
			for _, path := range c.none {
				s.WantRefusal(ana.Get(path), http.StatusNotFound)
			}
			if s.Logged("Handler serves") != len(c.none) {
				t.Errorf("%d of %d lines say which paths are served", s.Logged("Handler serves"), len(c.none))
			}
			out := ana.Post(c.logout, nil)
			if q := world.QueryOf(t, out.Location()); q.Get("post_logout_redirect_uri") != s.Origin+c.logout {
				t.Errorf("sign-out: %v", out)
			}
			if back := ana.Follow(out, nil); !strings.Contains(back.Body.String(), "signed out") {
				t.Errorf("the way back from sign-out: %v", back)
			}
		})
	}
}

// The handler serves below http.StripPrefix, and behind a proxy that strips a
// part of the path that PathPrefix names. People come back to the whole address.
func TestHandlerBelowPrefix(t *testing.T) {
	for _, c := range []struct {
		name string
		wrap func(mux http.Handler) http.Handler
		set  func(*gatehouse.RelyingPartyConfig)
	}{
		{"StripPrefix", func(mux http.Handler) http.Handler { return http.StripPrefix("/app", mux) }, nil},
		{"proxy", func(mux http.Handler) http.Handler {
			strip := http.StripPrefix("/app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RequestURI = r.URL.RequestURI() // as a proxy sends it
				mux.ServeHTTP(w, r)
			}))
			return strip
		}, func(c *gatehouse.RelyingPartyConfig) { c.PathPrefix = "/app/" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ana := mounted(t, "/app/auth/callback", func(mux *http.ServeMux, h http.Handler) { mux.Handle("/auth/", h) }, c.set)
			inner := s.Replicas[0].Mux
			outer := http.NewServeMux()
			outer.Handle("/", c.wrap(inner))
			s.Replicas[0].Mux = outer
			start := ana.Get("/app/notes/?page=2")
			back := ana.Follow(start, nil)
			ana.WantServed(back)
			if got := back.URL.RequestURI(); got != "/app/notes/?page=2" {
				t.Errorf("came back to %q", got)
			}
			out := ana.Post("/app/auth/logout", nil)
			if q := world.QueryOf(t, out.Location()); q.Get("post_logout_redirect_uri") != s.Origin+"/app/auth/logout" {
				t.Errorf("sign-out: %v", out)
			}
		})
	}
}

// Nobody is sent back to a path of Handler.
func TestRT6_HandlerPaths(t *testing.T) {
	_, ana := mounted(t, "/auth/callback", func(mux *http.ServeMux, h http.Handler) { mux.Handle("/auth/", h) }, nil)
	for _, path := range []string{"/auth/login", "/auth/logout", "/auth/session", "/auth/backchannel-logout", "/auth/frontchannel-logout", "/auth//logout", "/auth/%6cogout", "/auth/callback?x"} {
		a := ana.Get(ana.AnswerOf(ana.Get("/auth/login?return_to=" + path)))
		if a.Location() != "/" {
			t.Errorf("return_to %q comes back to %q", path, a.Location())
		}
	}
}

// Handler panics at wiring where two of its handlers would have one path.
func TestHandlerClash(t *testing.T) {
	for redirect, wish := range map[string]string{"/auth/login": "", "/logout": "", "/auth/callback": "/auth/logout", "/cb": "/cb"} {
		s := world.NewSite(t, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.RedirectURL, c.LoginURL = o.Origin+redirect, wish }
		})
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, "Handler: ") || !strings.Contains(p, "set LoginURL or LogoutURL") {
					t.Errorf("RedirectURL %s, LoginURL %q: panic %q", redirect, wish, p)
				}
			}()
			s.Replicas[0].Login.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
	}
}

// The handlers of a logout from outside are beside the callback, or where the
// settings move them, and must not be where another one is.
func TestHandlerServesLogoutFromOutside(t *testing.T) {
	for _, c := range []struct {
		redirect, back, front string
		party                 func(*gatehouse.RelyingPartyConfig)
	}{
		{"/auth/callback", "/auth/backchannel-logout", "/auth/frontchannel-logout", nil},
		{"/callback", "/backchannel-logout", "/frontchannel-logout", nil},
		{"/auth/callback", "/hooks/logout", "/auth/front", func(c *gatehouse.RelyingPartyConfig) {
			c.BackchannelLogoutURL, c.FrontchannelLogoutURL = "/hooks/logout", "/auth/front"
		}},
	} {
		s, _ := mounted(t, c.redirect, func(mux *http.ServeMux, h http.Handler) { mux.Handle("/", h) }, c.party)
		nobody := s.Visitor("")
		if a := nobody.Do(nobody.Request(http.MethodPost, c.back, nil)); a.Code != http.StatusBadRequest || !strings.Contains(a.Body.String(), "invalid_request") {
			t.Errorf("%s: %v", c.back, a)
		}
		if a := nobody.Get(c.front); a.Code != http.StatusOK || !strings.Contains(a.Header().Get("Content-Security-Policy"), "frame-ancestors https://op.test") {
			t.Errorf("%s: %v", c.front, a)
		}
		if c.party != nil {
			s.WantRefusal(nobody.Get("/auth/backchannel-logout"), http.StatusNotFound)
		}
	}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.BackchannelLogoutURL = "/auth/session" }
	})
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "set BackchannelLogoutURL or FrontchannelLogoutURL") {
			t.Errorf("panic %q", p)
		}
	}()
	s.Replicas[0].Login.Handler()
}

// No sign-in ends where the next one begins: not where a link leads that names
// LoginHandler as the page to return to, and Handler refuses a HomeURL that is
// its own. Before, the browser went to and fro, and the log was empty.
func TestLoginHandlerReturnsElsewhere(t *testing.T) {
	s, ana := mounted(t, "/auth/callback", func(mux *http.ServeMux, h http.Handler) {}, func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = "/start" })
	login := s.Replicas[0].Login
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/sign-in/", login.LoginHandler()) // at a path that nobody named
	mux.Handle("/start", world.WhoAmI)
	mux.Handle("/page", login.RequireLogin(world.WhoAmI))
	s.Replicas[0].Mux = mux
	for _, wish := range []string{"/sign-in/", "/sign-in", "/sign%2Din/?return_to=/x", s.Origin + "/sign-in/"} {
		before := s.Logged("it is the address of LoginHandler")
		a := ana.Get(ana.AnswerOf(ana.Get("/sign-in/?return_to=" + url.QueryEscape(wish))))
		if a.Location() != "/start" || s.Logged("it is the address of LoginHandler") != before+1 {
			t.Errorf("return_to %q comes back to %q", wish, a.Location())
		}
	}
	ana.WantServed(ana.Visit("/sign-in/?return_to=/page"))
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "Handler: HomeURL: ") {
			t.Errorf("panic %q", p)
		}
	}()
	mounted(t, "/start/callback", func(*http.ServeMux, http.Handler) {}, func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = "/start/login" })
}

// A guard or LoginHandler that would start a sign-in at the path of RedirectURL
// answers 500 and says what to mount. Before, the browser went to and fro.
func TestCallbackNotMounted(t *testing.T) {
	for _, c := range []struct {
		name, redirect, ask string
		mount               func(mux *http.ServeMux, login *gatehouse.RelyingParty)
		set                 func(*gatehouse.RelyingPartyConfig)
	}{
		{"guard around everything", "/auth/callback", "/notes/", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			inner := http.NewServeMux()
			inner.Handle("/auth/callback", login.CallbackHandler())
			inner.Handle("/", world.WhoAmI)
			mux.Handle("/", login.RequireLogin(inner))
		}, nil},
		{"typo", "/auth/calback", "/notes/", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/callback", login.CallbackHandler())
			mux.Handle("/", login.RequireLogin(world.WhoAmI))
		}, nil},
		{"stricter guard", "/auth/callback", "/notes/", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/", login.With(gatehouse.MaxAge(time.Hour)).RequireLogin(world.WhoAmI))
		}, nil},
		{"LoginHandler", "/auth/callback", "/auth/callback", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/callback", login.LoginHandler())
		}, nil},
		{"Either", "/auth/callback", "/notes/", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/", gatehouse.Require(gatehouse.Either(login, login))(world.WhoAmI))
		}, nil},
		{"other spelling", "/auth/call%62ack", "/auth/callb%61ck", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/", login.RequireLogin(world.WhoAmI))
		}, nil},
		{"PathPrefix", "/app/auth/callback", "/auth/callback", func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/", login.RequireLogin(world.WhoAmI))
		}, func(c *gatehouse.RelyingPartyConfig) { c.PathPrefix = "/app" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ana := mounted(t, c.redirect, func(*http.ServeMux, http.Handler) {}, c.set)
			mux := http.NewServeMux()
			c.mount(mux, s.Replicas[0].Login)
			s.Replicas[0].Mux = mux
			a := ana.Visit(c.ask)
			s.WantRefusal(a, http.StatusInternalServerError)
			if s.LastCode() != "callback_not_mounted" || !strings.Contains(a.Body.String(), "CallbackHandler") || s.Logged("mount login.Handler()") != 1 {
				t.Errorf("code %q, %v", s.LastCode(), a)
			}
			if c.name == "typo" { // a script, and a page without a sign-in to begin, are answered as everywhere
				s.WantRefusal(ana.Fetch(http.MethodGet, c.redirect), http.StatusUnauthorized)
			}
		})
	}
}

// A proxy strips a part of the path, and PathPrefix is not set: the answer of
// the provider arrives at a guard.
func TestCallbackNotMountedBehindProxy(t *testing.T) {
	s, ana := mounted(t, "/app/auth/callback", func(*http.ServeMux, http.Handler) {}, nil)
	login := s.Replicas[0].Login
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RequestURI = r.URL.RequestURI() // as a proxy sends it
		login.RequireLogin(world.WhoAmI).ServeHTTP(w, r)
	})))
	s.Replicas[0].Mux = mux
	s.WantRefusal(ana.Visit("/app/notes/"), http.StatusInternalServerError)
	if s.LastCode() != "callback_not_mounted" || s.Logged("set PathPrefix") != 1 {
		t.Errorf("code %q", s.LastCode())
	}
	// Also if the provider answered with an error at once, as for a bad scope.
	state := world.QueryOf(t, ana.Get("/app/notes/").Location()).Get("state")
	s.WantRefusal(ana.Get("/app/auth/callback?error=invalid_scope&state="+state), http.StatusInternalServerError)
	ana.WantOut(ana.Get("/app/auth/callback?error=invalid_scope&state=AAAAAAAAAAAAAAAAAAAAAA")) // not an answer to this browser
	// Handler has nothing at the stripped path. Its line in the log says why.
	mux.Handle("/app/auth/", http.StripPrefix("/app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RequestURI = r.URL.RequestURI()
		login.Handler().ServeHTTP(w, r)
	})))
	s.WantRefusal(ana.Visit("/app/notes/"), http.StatusNotFound)
	if s.LastCode() != "not_found" || s.Logged("set PathPrefix") != 3 {
		t.Errorf("code %q, %d lines", s.LastCode(), s.Logged("set PathPrefix"))
	}
}

// A sign-in that begins at another host is warned of, once for each of eight.
// The page and the log of state_unknown then say so.
func TestOtherHosts(t *testing.T) {
	s := world.NewSite(t)
	begin := func(host string) {
		r := httptest.NewRequest(http.MethodGet, "https://"+host+"/notes/", nil)
		r.Header.Set("Accept", "text/html")
		s.Replicas[0].Mux.ServeHTTP(httptest.NewRecorder(), r)
	}
	unknown := func() *world.Page {
		return s.Visitor("ana").Get("/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA")
	}
	for _, same := range []string{"notes.test", "NOTES.test", "notes.test:443"} {
		begin(same)
	}
	if a := unknown(); s.Logged("other_host") != 0 || strings.Contains(a.Body.String(), "another address") {
		t.Errorf("%d warnings for the right host, page %v", s.Logged("other_host"), a)
	}
	for range 3 {
		for _, other := range []string{"www.notes.test", "notes.test:8443"} {
			begin(other)
		}
	}
	if got := s.Logged("other_host"); got != 2 {
		t.Errorf("%d warnings, want one for each host", got)
	}
	a := unknown()
	s.WantRefusal(a, http.StatusBadRequest)
	if body := a.Body.String(); !strings.Contains(body, "another address") || !strings.Contains(body, "https://notes.test") || strings.Contains(body, "www.") || s.Logged("sign-ins began at") != 1 {
		t.Errorf("page %v, %d lines", a, s.Logged("sign-ins began at"))
	}
	for i := range 20 {
		begin(strings.Repeat("x", i+1) + ".test")
	}
	if got := s.Logged("other_host"); got != 8 {
		t.Errorf("%d warnings, want 8", got)
	}
}

// The host is that which the browser asked. The scheme counts only where the
// request says https and RedirectURL is http.
func TestOtherScheme(t *testing.T) {
	for _, c := range []struct {
		origin, target string
		header         []string
		warns          bool
	}{
		{"http://localhost:8080", "http://localhost:8080/notes/", nil, false},
		{"http://localhost:8080", "https://localhost:8080/notes/", nil, true},
		{"http://localhost:8080", "http://localhost:8080/notes/", []string{"X-Forwarded-Proto", "https"}, true},
		{"http://localhost:8080", "http://localhost:8080/notes/", []string{"X-Forwarded-Proto", "HTTPS , http"}, true},
		{"http://localhost:8080", "http://localhost:8080/notes/", []string{"X-Forwarded-Proto", "http, https"}, false},
		{"http://localhost:8080", "http://localhost:8080/notes/", []string{"Forwarded", `for=192.0.2.1; Proto="https", for=x;proto=http`}, true},
		{"http://localhost:8080", "http://localhost:8080/notes/", []string{"Forwarded", "for=x;proto=http;by=proto=https"}, false},
		{"https://notes.test", "http://notes.test/notes/", nil, false},
		// A proxy that changes Host says what it was.
		{"https://notes.test", "http://10.0.0.7:8080/notes/", []string{"X-Forwarded-Host", "Notes.test:443, inner"}, false},
		{"https://notes.test", "http://10.0.0.7:8080/notes/", []string{"Forwarded", `for=x;host="notes.test";proto=https, host=inner`}, false},
		{"https://notes.test", "http://notes.test/notes/", []string{"X-Forwarded-Host", "www.notes.test"}, true},
		{"https://notes.test", "http://notes.test/notes/", []string{"Forwarded", "host=www.notes.test"}, true},
		{"https://notes.test", "http://notes.test/notes/", []string{"X-Forwarded-Host", "", "Forwarded", "for=x"}, false},
	} {
		s := world.NewSite(t, func(o *world.SiteOptions) { o.Origin = c.origin })
		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		r.Header.Set("Accept", "text/html")
		for i := 0; i+1 < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		s.Replicas[0].Mux.ServeHTTP(httptest.NewRecorder(), r)
		if got := s.Logged("other_host") == 1; got != c.warns {
			t.Errorf("%s opened for %s: warned %v", c.target, c.origin, got)
		}
	}
}
