package gatehouse_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// cachingSite has every handler, guarded pages that set their own Cache-Control,
// and an error page of its own if asked for.
func cachingSite(t testing.TB, own bool) *site {
	t.Helper()
	return newSite(t, watched, func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) {
			if own {
				c.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) { w.WriteHeader(e.Status) }
			}
		}
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			says := func(value string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if value != "" {
						w.Header().Set("Cache-Control", value)
					}
					whoAmI(w, r)
				})
			}
			admin := login.With(gatehouse.Claim("role", "admin"))
			mux.Handle("/auth/session", login.SessionHandler())
			mux.Handle("/admin", admin.RequireLogin(whoAmI))
			mux.Handle("/admin/maybe", admin.OptionalLogin(whoAmI))
			mux.Handle("/recent", login.With(gatehouse.Scopes("other")).RequireLogin(whoAmI))
			mux.Handle("/twice", login.RequireLogin(login.OptionalLogin(whoAmI)))
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login, login))(whoAmI))
			mux.Handle("/panics", login.With(gatehouse.RequirementFunc("x", func(*http.Request, *gatehouse.Identity) (bool, error) { panic("x") })).RequireLogin(whoAmI))
			mux.Handle("/says/public", login.RequireLogin(says("public, max-age=60")))
			mux.Handle("/says/private", login.RequireLogin(says("private, max-age=60")))
			mux.Handle("/says/maybe", login.OptionalLogin(says("public, max-age=60")))
			mux.Handle("/outer", outerSays("no-store", login.OptionalLogin(whoAmI)))
		}
	})
}

// outerSays sets Cache-Control outside of a guard.
func outerSays(value string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", value)
		next.ServeHTTP(w, r)
	})
}

// wantUncached checks the two headers of CK8.
func wantUncached(t *testing.T, a *answer, control string) {
	t.Helper()
	h := a.Header()
	if got := h.Values("Cache-Control"); !slices.Equal(got, []string{control}) {
		t.Errorf("%v: Cache-Control %q, want %q", a, got, control)
	}
	if got := h.Values("Vary"); !slices.Equal(got, []string{"Cookie"}) {
		t.Errorf("%v: Vary %q, want Cookie, once", a, got)
	}
}

// CK8: whatever sets a session, takes one away, or would be another answer with
// another cookie is kept by no cache; the redirects to the provider as well.
func TestCK8_NothingIsCached(t *testing.T) {
	for _, own := range []bool{false, true} {
		s := cachingSite(t, own)
		ana, out := s.visitor("ana"), s.visitor("ben")
		check := func(a *answer, status int) {
			t.Helper()
			if a.Code != status {
				t.Errorf("got %v, want %d", a, status)
			}
			wantUncached(t, a, "no-store")
		}
		start := ana.get("/notes/")
		check(start, 303)
		callback := ana.answerOf(start)
		check(ana.get(callback), 303)
		check(ana.get(callback), 400)
		check(ana.get("/auth/login"), 303)
		check(ana.fetch(http.MethodPut, "/auth/login"), 405)
		check(ana.get("/auth/login", "Sec-Fetch-Dest", "iframe"), 403)
		for _, page := range []string{"/notes/", "/open", "/twice", "/either", "/auth/session", "/auth/logout"} {
			check(ana.get(page), 200)
		}
		check(ana.get("/admin"), 403)
		check(ana.get("/recent"), 303)
		check(ana.get("/panics"), 500)
		check(ana.fetch(http.MethodGet, "/recent"), 403)
		check(ana.fetch(http.MethodPost, "/notes/", "Sec-Fetch-Site", "cross-site"), 403)
		check(ana.fetch(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "cross-site"), 403)
		check(ana.fetch(http.MethodPut, "/auth/logout"), 405)
		check(ana.fetch(http.MethodPut, "/auth/session"), 405)
		check(ana.fetch(http.MethodPost, "/auth/callback"), 405)
		check(ana.get("/auth/callback?"+strings.Repeat("a=b&", 8000)), 400)
		check(out.get("/either"), 303)
		check(out.fetch(http.MethodGet, "/notes/"), 401)
		check(out.fetch(http.MethodGet, "/either"), 401)
		check(out.fetch(http.MethodHead, "/auth/session"), 200)
		check(out.get("/auth/callback"), 400)
		check(out.get("/auth/logout"), 200)
		denied := out.toCallback("/notes/")
		check(out.get(strings.Replace(denied, "code=", "error=", 1)), 403)
		s.watched().fail(errors.New("refused"), false)
		for _, page := range []string{"/notes/", "/open", "/either", "/auth/session", "/auth/logout"} {
			check(ana.get(page), 503)
		}
		s.watched().fail(nil, false)
		check(ana.post("/auth/logout", nil), 303)
		check(ana.post("/auth/logout", nil), 303)
		// Nobody's answer of a public page is for this browser alone.
		wantUncached(t, ana.get("/open"), "private")
		wantUncached(t, ana.get("/admin/maybe"), "private")
		wantUncached(t, ana.fetch(http.MethodPost, "/open", "Sec-Fetch-Site", "cross-site"), "private")
		wantUncached(t, ana.get("/outer"), "no-store")
	}
}

// The handler's own word counts, because it knows what it serves; the cookie
// stays named as what the answer depends on.
func TestCK8_HandlersOwnWord(t *testing.T) {
	s := cachingSite(t, false)
	ana := s.visitor("ana")
	wantUncached(t, ana.get("/says/maybe"), "public, max-age=60")
	wantUncached(t, ana.get("/says/public"), "no-store") // the redirect to sign-in is ours
	ana.signIn()
	wantUncached(t, ana.get("/says/public"), "public, max-age=60")
	wantUncached(t, ana.get("/says/private"), "private, max-age=60")
	wantUncached(t, ana.get("/says/maybe"), "public, max-age=60")
	wantUncached(t, ana.fetch(http.MethodPost, "/says/public", "Sec-Fetch-Site", "cross-site"), "no-store")
}

// challenger is an API's guard that knows nobody.
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
	s := newSite(t, func(o *siteOptions) {
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/api", gatehouse.Require(gatehouse.Either(login, challenger{}))(whoAmI))
		}
	})
	ana := s.visitor("ana")
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}} {
		a := ana.fetch(http.MethodGet, "/api", header...)
		if a.Code != http.StatusUnauthorized {
			t.Errorf("got %v", a)
		}
		wantUncached(t, a, "no-store")
	}
	ana.signIn()
	wantUncached(t, ana.fetch(http.MethodGet, "/api"), "no-store")
}
