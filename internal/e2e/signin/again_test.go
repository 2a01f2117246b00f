package signin_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// answerWith changes the answer of the provider to an error.
func answerWith(t testing.TB, callback, code string) string {
	return world.WithQuery(t, callback, func(q url.Values) {
		q.Del("code")
		q.Set("error", code)
		q.Set("error_description", "authentication_expired")
	})
}

// temporarily_unavailable, which Keycloak answers when its page was open for too
// long, gets one new start. The second time it is a refusal.
func TestTemporarilyUnavailable(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	start := ana.Get("/notes/7?page=2")
	again := ana.Get(answerWith(t, ana.AnswerOf(start), "temporarily_unavailable"))
	ana.WantOut(again)
	if before, after := world.QueryOf(t, start.Location()), world.QueryOf(t, again.Location()); before.Get("state") == after.Get("state") || before.Get("nonce") == after.Get("nonce") {
		t.Error("the new start repeats state or nonce")
	}
	if got := len(ana.Attempts()); got != 1 {
		t.Errorf("%d attempts after the new start", got)
	}
	back := ana.Follow(again, nil)
	ana.WantServed(back)
	if got := back.URL.RequestURI(); got != "/notes/7?page=2" {
		t.Errorf("came back to %q", got)
	}

	ben := s.Visitor("ben")
	s.ResetCounts()
	again = ben.Get(answerWith(t, ben.ToCallback("/notes/"), "temporarily_unavailable"))
	s.WantRefusal(ben.Get(answerWith(t, ben.AnswerOf(again), "temporarily_unavailable")), http.StatusForbidden)
	if s.LastCode() != "provider_refused" || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("code %q, %d token requests", s.LastCode(), s.Count(opserver.EndpointToken))
	}
	// Another error gets none.
	s.WantRefusal(ben.Get(answerWith(t, ben.ToCallback("/notes/"), "server_error")), http.StatusForbidden)
}

// A page at the provider may be open for longer than the attempt lives. It gets
// the new start all the same, and nothing else of it counts.
func TestTemporarilyUnavailableTooLate(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	start := ana.Get("/notes/7?page=2")
	late := answerWith(t, ana.AnswerOf(start), "temporarily_unavailable")
	s.Advance(31 * time.Minute)
	s.WantRefusal(ana.Get(world.WithQuery(t, late, func(q url.Values) { q.Set("iss", "https://evil.example") })), http.StatusBadRequest)
	s.WantRefusal(ana.Get(strings.Replace(late, "temporarily_unavailable", "server_error", 1)), http.StatusBadRequest)
	if s.LastCode() != "attempt_expired" {
		t.Errorf("code %q", s.LastCode())
	}
	again := ana.Get(late)
	ana.WantOut(again)
	if got := len(ana.Attempts()); got != 1 {
		t.Errorf("%d attempts after the new start", got)
	}
	s.WantRefusal(ana.Get(late), http.StatusBadRequest) // it gets one
	s.Advance(31 * time.Minute)
	s.WantRefusal(ana.Get(answerWith(t, ana.AnswerOf(again), "temporarily_unavailable")), http.StatusBadRequest)
	if s.LastCode() != "attempt_expired" || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("code %q, %d token requests", s.LastCode(), s.Count(opserver.EndpointToken))
	}

	// Who is signed in and comes back to the page is on the same way.
	ben := s.Visitor("ben")
	late = answerWith(t, ben.ToCallback("/notes/8"), "temporarily_unavailable")
	s.Advance(31 * time.Minute)
	back := ben.Visit(late)
	ben.WantServed(back)
	if got := back.URL.RequestURI(); got != "/notes/8" {
		t.Errorf("came back to %q", got)
	}
}

// "Try again" comes back to the page, also when the attempt has expired, for up
// to an hour. The expired attempt itself is good for nothing else.
func TestTryAgain(t *testing.T) {
	s := world.NewSite(t)
	for name, fail := range map[string]func(b *world.Visitor, callback string) *world.Page{
		"refused": func(b *world.Visitor, callback string) *world.Page {
			return b.Get(answerWith(t, callback, "access_denied"))
		},
		"wrong code": func(b *world.Visitor, callback string) *world.Page {
			return b.Get(world.WithQuery(t, callback, func(q url.Values) { q.Set("code", "x") }))
		},
		"expired": func(b *world.Visitor, callback string) *world.Page {
			s.Advance(10 * time.Minute)
			return b.Get(callback)
		},
		"expired long ago": func(b *world.Visitor, callback string) *world.Page {
			s.Advance(55 * time.Minute)
			return b.Get(callback)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ana := s.Visitor("ana")
			a := fail(ana, ana.ToCallback("/notes/7?page=2"))
			if a.Code < 400 || ana.SessionName() != "" || !strings.Contains(a.Body.String(), ">Try again</a>") {
				t.Fatalf("got %v", a)
			}
			back := ana.Follow(ana.Get(linkOf(t, a)), nil)
			ana.WantServed(back)
			if got := back.URL.RequestURI(); got != "/notes/7?page=2" {
				t.Errorf("came back to %q", got)
			}
		})
	}
}

// The cookie of an attempt lives for an hour.
func TestAttemptCookieLife(t *testing.T) {
	s := world.NewSite(t)
	cookies := s.Visitor("ana").Get("/notes/").Result().Cookies()
	if len(cookies) != 1 || cookies[0].MaxAge != 3600 {
		t.Errorf("cookies %v", cookies)
	}
}

// A prefetch spends nothing: the same callback, sign-in and way back from
// sign-out work afterwards. No answer to it is stored.
func TestPrefetchSpendsNothing(t *testing.T) {
	s := world.NewSite(t)
	for _, header := range [][]string{{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Purpose", "prefetch"}, {"X-Moz", "prefetch"}, {"X-Purpose", "preview"}} {
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		attempts := ana.Attempts()
		s.ResetCounts()
		for _, path := range []string{callback, "/auth/login", "/notes/", "/auth/logout"} {
			a := ana.Get(path, header...)
			if a.Code < 400 || a.Location() != "" || a.Header().Get("Cache-Control") != "no-store" || len(a.Result().Cookies()) != 0 {
				t.Errorf("%v %s: %v, cookies %v", header, path, a, a.Result().Cookies())
			}
		}
		if s.Count(opserver.EndpointToken) != 0 || len(ana.Attempts()) != len(attempts) {
			t.Errorf("%v: the prefetch spent something", header)
		}
		ana.WantServed(ana.Visit(callback))
	}
}

// A stray ";" or "%" in a parameter that is not ours does no harm to a callback.
// In one of ours it is refused, never ignored.
func TestCallbackStrayParameters(t *testing.T) {
	s := world.NewSite(t)
	for _, c := range []struct {
		extra string
		ok    bool
	}{
		{"&x=a;b", true}, {"&x=%", true}, {"&%zz=1", true}, {"&;", true}, {"&session_state=50%", true}, {"&&=&x", true},
		{"&iss=%zz", false}, {"&state=%", false}, {"&%69ss=%zz", false}, {"&error=%", false}, {"&code=a;b", false},
	} {
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		a := ana.Get(callback + c.extra)
		if !c.ok {
			s.WantRefusal(a, http.StatusBadRequest)
			continue
		}
		ana.WantServed(ana.Follow(a, nil))
	}
}

// A form that is posted to a page of Either gets the page, and neither it nor a
// prefetch spends a ticket.
func TestEitherFormAndPrefetch(t *testing.T) {
	asked := 0
	api := countingGuard(func(*http.Request) (*gatehouse.Identity, error) {
		asked++
		return nil, &gatehouse.Error{Code: "permission_required", Status: http.StatusUnauthorized}
	})
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login, api))(world.WhoAmI))
		}
	})
	ana := s.Visitor("ana")
	a := ana.Post("/either", nil, "Referer", s.Origin+"/either?edit")
	s.WantRefusal(a, http.StatusUnauthorized)
	if !strings.Contains(a.Body.String(), "was not saved") || linkOf(t, a) != "/auth/login?return_to=%2Feither%3Fedit" {
		t.Errorf("got %v", a)
	}
	s.WantRefusal(ana.Get("/either", "Sec-Purpose", "prefetch"), http.StatusUnauthorized)
	if asked != 0 {
		t.Errorf("the API was asked %d times", asked)
	}
	ana.Fetch(http.MethodPost, "/either")
	if asked != 1 {
		t.Errorf("the API was asked %d times about a script", asked)
	}
}

// countingGuard is a guard that answers with the status of its error.
type countingGuard func(*http.Request) (*gatehouse.Identity, error)

func (g countingGuard) Check(r *http.Request) (*gatehouse.Identity, error) { return g(r) }

func (g countingGuard) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	e, _ := errors.AsType[*gatehouse.Error](err)
	w.WriteHeader(e.Status)
}
