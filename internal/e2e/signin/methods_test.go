package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RT6: nobody is sent back to our own handlers, however they are spelled: no
// loop, no sign-out.
func TestRT6_OwnHandlers(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.LogoutURL, c.LoggedOutURL = o.Origin+"/auth/logout", "/bye" }
	})
	for _, own := range []string{"/auth/logout", "/auth/callback", "/auth/login", "/bye"} {
		last := own[len(own)-1:]
		for _, wish := range []string{
			own, own + "?x", own + "?return_to=" + own, own + "/", "/" + url.PathEscape(own[1:2]) + own[2:],
			own[:len(own)-1] + "%" + strings.ToUpper(hexOf(last)), strings.Replace(own, "/", "/x/../", 1), own + "#x",
		} {
			ana := s.Visitor("ana")
			ana.SignIn()
			s.ResetCounts()
			a := ana.Get(ana.AnswerOf(ana.Get("/auth/login?return_to=" + url.QueryEscape(wish))))
			if a.Code != http.StatusSeeOther || a.Location() != "/" {
				t.Errorf("return_to %q comes back to %q, want the default", wish, a.Location())
			}
			if got := s.Count(opserver.EndpointAuthorize); got != 1 {
				t.Errorf("return_to %q: %d authorization requests", wish, got)
			}
			ana.WantServed(ana.Get("/notes/"))
		}
	}
}

func hexOf(letter string) string {
	const digits = "0123456789abcdef"
	return string(digits[letter[0]>>4]) + string(digits[letter[0]&15])
}

// If LogoutURL is not configured we do not know where LogoutHandler is.
// Returning there shows a page with a button, which signs nobody out.
func TestRT6_UnknownLogoutHandler(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	a := ana.Visit("/auth/login?return_to=/auth/logout")
	if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `<form method="post"`) {
		t.Errorf("got %v, want the page that asks", a)
	}
	ana.WantServed(ana.Get("/notes/"))
}

// RT10: POST without a session. The form of our own page gets 401 and a page
// that says that it was not saved; its link signs in and comes back by GET to
// the page of the form, without its body. The form of another site gets 403. A script gets 401, without a redirect or a cookie.
func TestRT10_PostWithoutSession(t *testing.T) {
	posted := 0
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("POST /app", login.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posted++ })))
			mux.Handle("GET /form", login.RequireLogin(world.WhoAmI))
		}
	})
	form := url.Values{"amount": {"marker-of-the-body"}}
	s.Mint("body", "marker-of-the-body")

	ana := s.Visitor("ana")
	a := ana.Post("/app", form, "Referer", s.Origin+"/form?id=3")
	s.WantRefusal(a, http.StatusUnauthorized)
	if !strings.Contains(a.Body.String(), "was not saved") || a.Header().Get("Vary") != "Cookie" || len(ana.Cookies()) != 0 {
		t.Errorf("%v, Vary %q, cookies %v", a, a.Header().Get("Vary"), ana.Cookies())
	}
	back := ana.Get(ana.AnswerOf(ana.Get(linkOf(t, a))))
	if back.Code != http.StatusSeeOther || back.Location() != "/form?id=3" {
		t.Errorf("comes back to %q, want the page of the form", back.Location())
	}
	ana.WantServed(ana.Follow(back, nil))
	if posted != 0 {
		t.Errorf("the handler ran %d times", posted)
	}
	// If no page is known to be safe to GET, it comes back to the default.
	ben := s.Visitor("ben")
	if back := ben.Get(ben.AnswerOf(ben.Get(linkOf(t, ben.Post("/app", form))))); back.Location() != "/" {
		t.Errorf("without Referer it comes back to %q", back.Location())
	}

	for name, ask := range map[string]func(b *world.Visitor) (*world.Page, int){
		"form in a frame": func(b *world.Visitor) (*world.Page, int) {
			return b.Post("/app", form, "Sec-Fetch-Dest", "iframe"), http.StatusUnauthorized
		},
		"form of another site": func(b *world.Visitor) (*world.Page, int) {
			return b.Post("/app", form, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), http.StatusForbidden
		},
		"form of another site, old browser": func(b *world.Visitor) (*world.Page, int) {
			return b.Do(b.Request(http.MethodPost, "/app", strings.NewReader(form.Encode()), "Origin", "https://evil.example", "Accept", "text/html")), http.StatusForbidden
		},
		"fetch": func(b *world.Visitor) (*world.Page, int) {
			return b.Fetch(http.MethodPost, "/app", "Origin", s.Origin, "Accept", "application/json"), http.StatusUnauthorized
		},
		"fetch of another site": func(b *world.Visitor) (*world.Page, int) {
			return b.Fetch(http.MethodPost, "/app", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), http.StatusForbidden
		},
		"fetch, old browser": func(b *world.Visitor) (*world.Page, int) {
			return b.Do(b.Request(http.MethodPost, "/app", strings.NewReader("{}"), "Origin", s.Origin, "Accept", "application/json")), http.StatusUnauthorized
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.Visitor("ana")
			a, status := ask(b)
			s.WantRefusal(a, status)
			if a.Location() != "" || len(b.Cookies()) != 0 {
				t.Errorf("Location %q, cookies %v", a.Location(), b.Cookies())
			}
		})
	}
	if posted != 0 {
		t.Errorf("the handler ran %d times", posted)
	}
}
