package stories

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// cachingSite has every handler, guarded pages that set their own Cache-Control
// and, if requested, its own error page.
func cachingSite(t testing.TB, on On, own bool) *world.Site {
	t.Helper()
	return world.NewSite(t, on, world.Watched, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			if own {
				c.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) { w.WriteHeader(e.Status) }
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			says := func(value string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if value != "" {
						w.Header().Set("Cache-Control", value)
					}
					world.WhoAmI(w, r)
				})
			}
			admin := login.With(gatehouse.Claim("role", "admin"))
			mux.Handle("/auth/session", login.SessionHandler())
			mux.Handle("/admin", admin.RequireLogin(world.WhoAmI))
			mux.Handle("/admin/maybe", admin.OptionalLogin(world.WhoAmI))
			mux.Handle("/recent", login.With(gatehouse.Scopes("other")).RequireLogin(world.WhoAmI))
			mux.Handle("/twice", login.RequireLogin(login.OptionalLogin(world.WhoAmI)))
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login, login))(world.WhoAmI))
			mux.Handle("/panics", login.With(gatehouse.RequirementFunc("x", func(*http.Request, *gatehouse.Identity) (bool, error) { panic("x") })).RequireLogin(world.WhoAmI))
			mux.Handle("/says/public", login.RequireLogin(says("public, max-age=60")))
			mux.Handle("/says/private", login.RequireLogin(says("private, max-age=60")))
			mux.Handle("/says/maybe", login.OptionalLogin(says("public, max-age=60")))
			mux.Handle("/outer", outerSays("no-store", login.OptionalLogin(world.WhoAmI)))
		}
	})
}

// outerSays sets Cache-Control outside a guard.
func outerSays(value string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", value)
		next.ServeHTTP(w, r)
	})
}

func CK1CookiesOnHTTPS(t *testing.T, on On) {
	s := world.NewSite(t, on)
	seen := 0
	EveryCookie(s, func(c *http.Cookie, raw string) {
		seen++
		if !strings.HasPrefix(c.Name, "__Host-gh-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" ||
			c.SameSite != http.SameSiteLaxMode || len(c.Name)+len(c.Value) > 4096 {
			t.Errorf("Set-Cookie %q", raw)
		}
		if c.MaxAge == 0 || c.MaxAge < 0 && c.Value != "" {
			t.Errorf("Set-Cookie %q lives as long as the browser, or is cleared with a value", raw)
		}
	})
	wholeLife(s, s.Visitor("ana"))
	if seen < 20 {
		t.Errorf("only %d cookies seen", seen)
	}
}

func CK1CookiesOnLoopbackHTTP(t *testing.T, on On) {
	for _, origin := range []string{"http://127.0.0.1:8080", "http://localhost:3000", "http://[::1]:8080"} {
		s := world.NewSite(t, on, func(o *world.SiteOptions) { o.Origin = origin })
		seen := 0
		EveryCookie(s, func(c *http.Cookie, raw string) {
			seen++
			if strings.HasPrefix(c.Name, "__") || c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s: Set-Cookie %q", origin, raw)
			}
		})
		wholeLife(s, s.Visitor("ana"))
		if seen < 20 {
			t.Errorf("%s: only %d cookies seen", origin, seen)
		}
	}
}

// CK3: a cleared cookie has the name and the flags with which it was set.
func CK3ClearedCookies(t *testing.T, on On) {
	s := world.NewSite(t, on)
	set, cleared := map[string]*http.Cookie{}, map[string]*http.Cookie{}
	EveryCookie(s, func(c *http.Cookie, _ string) {
		if c.MaxAge < 0 {
			cleared[c.Name] = c
			return
		}
		set[c.Name] = c
	})
	wholeLife(s, s.Visitor("ana"))
	for name, c := range set {
		gone := cleared[name]
		if gone == nil {
			t.Errorf("%s was never cleared", name)
			continue
		}
		if gone.Path != c.Path || gone.Secure != c.Secure || gone.HttpOnly != c.HttpOnly || gone.SameSite != c.SameSite || !gone.Expires.Before(s.Now()) || gone.Value != "" {
			t.Errorf("%s was set as %v and cleared as %v", name, c, gone)
		}
	}
	if len(set) < 10 {
		t.Errorf("only %d cookies were set", len(set))
	}
}

// CK3 on loopback without TLS: no prefix and no Secure, when the cookie is set
// and when it is cleared.
func CK3ClearedCookiesOnLoopback(t *testing.T, on On) {
	s := world.NewSite(t, on, func(o *world.SiteOptions) { o.Origin = "http://127.0.0.1:8080" })
	set, cleared := map[string]bool{}, map[string]bool{}
	EveryCookie(s, func(c *http.Cookie, raw string) {
		if c.Secure || strings.HasPrefix(c.Name, "__") || c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("Set-Cookie %q", raw)
		}
		if c.MaxAge < 0 {
			cleared[c.Name] = c.Expires.Before(s.Now()) && c.Value == ""
			return
		}
		set[c.Name] = true
	})
	wholeLife(s, s.Visitor("ana"))
	for name := range set {
		if !cleared[name] {
			t.Errorf("%s was never cleared", name)
		}
	}
}

// CK6: forged or foreign cookie values belong to nobody and never cause a 5xx.
func CK6HostileCookies(t *testing.T, on On) {
	s := world.NewSite(t, on)
	ana := s.Visitor("ana")
	good := ana.SignIn()
	name := ana.SessionName()
	parts := strings.Split(good, ".")
	values := []string{
		"", ";", `"`, "=", "%00", strings.Repeat("A", 8<<10), "\x80\xff\xfe", "bm90IGEgc2Vzc2lvbg", ".", "..", "...",
		parts[0], parts[0] + ".", parts[0] + "..", parts[0] + "." + parts[1], good + ".", good + "." + parts[1], "." + good,
		parts[0][:42] + "." + parts[1] + "." + parts[2], parts[0] + "A." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[2] + "." + parts[1], parts[0] + "." + parts[1] + "." + parts[1],
		strings.ToLower(good), `"` + good + `"x`, strings.Repeat("../", 40),
	}
	for _, v := range values {
		r := ana.Request(http.MethodGet, "/notes/", nil, world.Navigation...)
		r.Header.Set("Cookie", name+"="+v)
		w := httptest.NewRecorder()
		s.Replicas[0].Mux.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther {
			t.Errorf("cookie %q: status %d", v, w.Code)
		}
	}
	for _, header := range []string{";", "=", ";;;", name, strings.Repeat("a=b; ", 2000), "\x00"} {
		r := ana.Request(http.MethodGet, "/notes/", nil, world.Navigation...)
		r.Header.Set("Cookie", header)
		w := httptest.NewRecorder()
		s.Replicas[0].Mux.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther {
			t.Errorf("Cookie header %.20q: status %d", header, w.Code)
		}
	}
	ana.WantServed(ana.Get("/notes/"))
}

// CK8: no cache keeps an answer that sets or removes a session or that depends
// on the cookie. The same holds for the redirects to the provider.
func CK8NothingIsCached(t *testing.T, on On) {
	for _, own := range []bool{false, true} {
		s := cachingSite(t, on, own)
		ana, out := s.Visitor("ana"), s.Visitor("ben")
		check := func(a *world.Page, status int) {
			t.Helper()
			if a.Code != status {
				t.Errorf("got %v, want %d", a, status)
			}
			WantUncached(t, a, "no-store")
		}
		start := ana.Get("/notes/")
		check(start, 303)
		callback := ana.AnswerOf(start)
		check(ana.Get(callback), 303)
		check(ana.Get(callback), 303)
		check(out.Get(callback), 400)
		check(ana.Get("/auth/login"), 303)
		check(ana.Fetch(http.MethodPut, "/auth/login"), 405)
		check(ana.Get("/auth/login", "Sec-Fetch-Dest", "iframe"), 403)
		for _, page := range []string{"/notes/", "/open", "/twice", "/either", "/auth/session", "/auth/logout"} {
			check(ana.Get(page), 200)
		}
		check(ana.Get("/admin"), 403)
		check(ana.Get("/recent"), 303)
		check(ana.Get("/panics"), 500)
		check(ana.Fetch(http.MethodGet, "/recent"), 403)
		check(ana.Fetch(http.MethodPost, "/notes/", "Sec-Fetch-Site", "cross-site"), 403)
		check(ana.Fetch(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "cross-site"), 403)
		check(ana.Fetch(http.MethodPut, "/auth/logout"), 405)
		check(ana.Fetch(http.MethodPut, "/auth/session"), 405)
		check(ana.Fetch(http.MethodPost, "/auth/callback"), 405)
		check(ana.Get("/auth/callback?"+strings.Repeat("a=b&", 8000)), 400)
		check(out.Get("/either"), 303)
		check(out.Fetch(http.MethodGet, "/notes/"), 401)
		check(out.Fetch(http.MethodGet, "/either"), 401)
		check(out.Fetch(http.MethodHead, "/auth/session"), 200)
		check(out.Get("/auth/callback"), 400)
		check(out.Get("/auth/logout"), 200)
		denied := out.ToCallback("/notes/")
		check(out.Get(strings.Replace(denied, "code=", "error=", 1)), 403)
		s.Watched().Fail(errors.New("refused"), false)
		for _, page := range []string{"/notes/", "/open", "/either", "/auth/session", "/auth/logout"} {
			check(ana.Get(page), 503)
		}
		s.Watched().Fail(nil, false)
		check(ana.Post("/auth/logout", nil), 303)
		check(ana.Post("/auth/logout", nil), 303)
		// A public page's answer to a stranger is private to this browser too.
		WantUncached(t, ana.Get("/open"), "private")
		WantUncached(t, ana.Get("/admin/maybe"), "private")
		WantUncached(t, ana.Fetch(http.MethodPost, "/open", "Sec-Fetch-Site", "cross-site"), "private")
		WantUncached(t, ana.Get("/outer"), "no-store")
	}
}

// The handler's own header counts, because the handler knows what it serves.
// Vary still names the cookie, because the answer depends on it.
func CK8HandlerSetsCacheControl(t *testing.T, on On) {
	s := cachingSite(t, on, false)
	ana := s.Visitor("ana")
	WantUncached(t, ana.Get("/says/maybe"), "public, max-age=60")
	WantUncached(t, ana.Get("/says/public"), "no-store") // the redirect to sign-in is ours
	ana.SignIn()
	WantUncached(t, ana.Get("/says/public"), "public, max-age=60")
	WantUncached(t, ana.Get("/says/private"), "private, max-age=60")
	WantUncached(t, ana.Get("/says/maybe"), "public, max-age=60")
	WantUncached(t, ana.Fetch(http.MethodPost, "/says/public", "Sec-Fetch-Site", "cross-site"), "no-store")
}
