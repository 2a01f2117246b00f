package signin_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
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
		stories.WantUncached(t, a, "no-store")
	}
	ana.SignIn()
	stories.WantUncached(t, ana.Fetch(http.MethodGet, "/api"), "no-store")
}
