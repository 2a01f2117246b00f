package signin_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// RFC 9700 §4.2.4: neither the answer of a callback nor any of our pages
// reveals an address. The page with a form reveals its own origin, because
// otherwise the form would be sent with "Origin: null".
func TestReferrerPolicy(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	want := func(name string, a *world.Page, status int, policy string) {
		t.Helper()
		if got := a.Header().Values("Referrer-Policy"); a.Code != status || len(got) != 1 || got[0] != policy {
			t.Errorf("%s: %d, Referrer-Policy %q; want %d and %q", name, a.Code, got, status, policy)
		}
	}
	want("answer without state", ana.Get("/auth/callback?code=x"), http.StatusBadRequest, "no-referrer")
	want("answer to a script", ana.Fetch(http.MethodGet, "/auth/callback?code=x"), http.StatusBadRequest, "no-referrer")
	want("sign-in", ana.Get(callback), http.StatusSeeOther, "no-referrer")
	want("answer again", ana.Get(callback), http.StatusSeeOther, "no-referrer")
	want("POST", ana.Post("/auth/callback", nil), http.StatusMethodNotAllowed, "no-referrer")
	form := ana.Get("/auth/logout")
	want("page with the form", form, http.StatusOK, "same-origin")
	if !strings.Contains(form.Body.String(), `method="post"`) {
		t.Errorf("no form: %v", form)
	}
	want("page of a guard", ana.Get("/auth/login", "Sec-Fetch-Dest", "iframe"), http.StatusForbidden, "no-referrer")
	ana.Follow(ana.Post("/auth/logout", nil), nil)
	want("page without form", ana.Get("/auth/logout"), http.StatusOK, "no-referrer")
}

// cachingSite has every handler, guarded pages that set their own Cache-Control
// and, if requested, its own error page.
func cachingSite(t testing.TB, own bool) *world.Site {
	t.Helper()
	return world.NewSite(t, world.Watched, func(o *world.SiteOptions) {
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

// wantUncached checks the two headers that CK8 requires.
func wantUncached(t *testing.T, a *world.Page, control string) {
	t.Helper()
	h := a.Header()
	if got := h.Values("Cache-Control"); !slices.Equal(got, []string{control}) {
		t.Errorf("%v: Cache-Control %q, want %q", a, got, control)
	}
	if got := h.Values("Vary"); !slices.Equal(got, []string{"Cookie"}) {
		t.Errorf("%v: Vary %q, want Cookie, once", a, got)
	}
}

// CK8: no cache keeps an answer that sets or removes a session or that depends
// on the cookie. The same holds for the redirects to the provider.
func TestCK8_NothingIsCached(t *testing.T) {
	for _, own := range []bool{false, true} {
		s := cachingSite(t, own)
		ana, out := s.Visitor("ana"), s.Visitor("ben")
		check := func(a *world.Page, status int) {
			t.Helper()
			if a.Code != status {
				t.Errorf("got %v, want %d", a, status)
			}
			wantUncached(t, a, "no-store")
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
		wantUncached(t, ana.Get("/open"), "private")
		wantUncached(t, ana.Get("/admin/maybe"), "private")
		wantUncached(t, ana.Fetch(http.MethodPost, "/open", "Sec-Fetch-Site", "cross-site"), "private")
		wantUncached(t, ana.Get("/outer"), "no-store")
	}
}

// The handler's own header counts, because the handler knows what it serves.
// Vary still names the cookie, because the answer depends on it.
func TestCK8_HandlerSetsCacheControl(t *testing.T) {
	s := cachingSite(t, false)
	ana := s.Visitor("ana")
	wantUncached(t, ana.Get("/says/maybe"), "public, max-age=60")
	wantUncached(t, ana.Get("/says/public"), "no-store") // the redirect to sign-in is ours
	ana.SignIn()
	wantUncached(t, ana.Get("/says/public"), "public, max-age=60")
	wantUncached(t, ana.Get("/says/private"), "private, max-age=60")
	wantUncached(t, ana.Get("/says/maybe"), "public, max-age=60")
	wantUncached(t, ana.Fetch(http.MethodPost, "/says/public", "Sec-Fetch-Site", "cross-site"), "no-store")
}

// challenger is an API's guard that lets nobody in.
type challenger struct{}

func (challenger) Check(*http.Request) (*gatehouse.Identity, error) {
	return nil, errors.New("no token")
}

func (challenger) Refuse(w http.ResponseWriter, _ *http.Request, _ error) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusUnauthorized)
}

// The challenge of Either depends on the cookie as much as its page does.
func TestCK8_ChallengeOfEither(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/api", gatehouse.Require(gatehouse.Either(login, challenger{}))(world.WhoAmI))
		}
	})
	ana := s.Visitor("ana")
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}} {
		a := ana.Fetch(http.MethodGet, "/api", header...)
		if a.Code != http.StatusUnauthorized {
			t.Errorf("got %v", a)
		}
		wantUncached(t, a, "no-store")
	}
	ana.SignIn()
	wantUncached(t, ana.Fetch(http.MethodGet, "/api"), "no-store")
}
