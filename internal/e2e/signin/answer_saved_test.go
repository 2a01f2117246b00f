package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// A form that comes too late, at a site that asks the provider by a form: the page
// says that nothing was saved, and its button is the authorization request. Nothing
// submits it by itself, nobody stores it, and it counts once, however often the
// person goes back to it.
func TestNotSavedByPOST(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		speaking("code", "", true)(o)
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/forget", login.With(gatehouse.MaxAge(time.Minute)).RequireLogin(world.WhoAmI))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(2 * time.Minute)
	a := ana.Post("/forget", url.Values{"note": {"a secret of the person"}}, "Referer", s.Origin+"/notes/")
	body, policy := a.Body.String(), a.Header().Get("Content-Security-Policy")
	s.WantRefusal(a, http.StatusForbidden) // with no-store, so that no cache of the browser brings it back
	for _, want := range []string{"That was not saved", `<form method="post" action="` + s.Endpoint("authorization_endpoint") + `" id="gatehouse-request">`, "<button>Sign in and go back</button>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "a secret of the person") || strings.Contains(policy, "script-src") || !strings.Contains(policy, "form-action 'self' https:") {
		t.Errorf("policy %q of %s", policy, body)
	}
	request := ana.Scripted(a) // the same that the button sends
	sent := fieldsOf(t, request)
	if sent.Get("max_age") != "60" || sent.Get("response_type") != "code" || sent.Get("state") == "" || request.URL.RawQuery != "" {
		t.Errorf("asked for %v at %s", sent, request.URL)
	}
	if n := len(ana.Attempts()); n != 1 {
		t.Errorf("%d sign-ins are under way", n)
	}
	back := ana.Follow(ana.PostAcross(ana.Scripted(a)), nil)
	ana.WantServed(back)
	if back.URL.Path != "/notes/" {
		t.Errorf("the person ends at %s", back.URL)
	}
	session := ana.SessionCookie()
	again := ana.Follow(ana.PostAcross(ana.Scripted(a)), nil) // back, and the button once more
	if again.URL.Path != "/" || ana.SessionCookie() != session {
		t.Errorf("a request that was spent led to %s, with another session: %t", again.URL, ana.SessionCookie() != session)
	}
}
