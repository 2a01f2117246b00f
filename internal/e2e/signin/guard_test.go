package signin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// A script gets 401 with a challenge and a small JSON body that names LoginURL,
// and starts no sign-in (RT10).
func TestRequireLoginFetch(t *testing.T) {
	s := world.NewSite(t)
	for name, header := range map[string][]string{
		"fetch":          {"Sec-Fetch-Mode", "cors"},
		"same-origin":    {"Sec-Fetch-Mode", "same-origin"},
		"image":          {"Sec-Fetch-Mode", "no-cors", "Accept", "image/*"},
		"curl":           {"Sec-Fetch-Mode", "", "Accept", "*/*"},
		"json client":    {"Sec-Fetch-Mode", "", "Accept", "application/json"},
		"old HTTP":       {"Sec-Fetch-Mode", "", "Accept", ""},
		"frame":          {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"},
		"embedded":       {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "embed", "Accept", "text/html"},
		"prefetch":       {"Sec-Fetch-Mode", "navigate", "Sec-Purpose", "prefetch", "Accept", "text/html"},
		"prerender":      {"Sec-Fetch-Mode", "navigate", "Sec-Purpose", "prefetch;prerender", "Accept", "text/html"},
		"old prefetch":   {"Sec-Fetch-Mode", "", "Purpose", "prefetch", "Accept", "text/html"},
		"older prefetch": {"Sec-Fetch-Mode", "", "X-Moz", "prefetch", "Accept", "text/html"},
		"websocket":      {"Sec-Fetch-Mode", "websocket", "Upgrade", "websocket", "Connection", "Upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			ana := s.Visitor("ana")
			r := ana.Request(http.MethodGet, "/notes/", nil, header...)
			for k, v := range r.Header {
				if v[0] == "" {
					r.Header.Del(k)
				}
			}
			a := ana.Do(r)
			s.WantRefusal(a, http.StatusUnauthorized)
			if a.Location() != "" || len(ana.Cookies()) != 0 || a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("Location %q, cookies %v, WWW-Authenticate %q", a.Location(), ana.Cookies(), a.Header().Get("WWW-Authenticate"))
			}
			if strings.Contains(a.Body.String(), "<html") {
				return // a frame shows a page
			}
			var body struct {
				Error string `json:"error"`
				URL   string `json:"login_url"`
			}
			if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil || body.Error != "login_required" || body.URL != "/auth/login" {
				t.Errorf("body %q, err %v", a.Body, err)
			}
		})
	}
}

// Unsafe requests from other sites are refused before anything else, with or
// without a session.
func TestRequireLoginCrossOrigin(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.TrustedOrigins = []string{"https://partner.test"} }
	})
	in, out := s.Visitor("ana"), s.Visitor("ana")
	in.SignIn()
	for _, c := range []struct {
		name, method string
		header       []string
		refused      bool
	}{
		{"form of another site", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"form of a subdomain", "POST", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://x.notes.test"}, true},
		{"only Origin", "POST", []string{"Origin", "https://evil.example"}, true},
		{"Origin null", "POST", []string{"Origin", "null"}, true},
		{"other scheme or port", "POST", []string{"Origin", "https://notes.test:444"}, true},
		{"DELETE", "DELETE", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"PUT of fetch", "PUT", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, true},
		{"WebSocket", "GET", []string{"Upgrade", "websocket", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"WebSocket in odd case", "GET", []string{"Upgrade", "WebSocket", "Origin", "https://evil.example"}, true},
		{"trusted", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://partner.test"}, false},
		{"own", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://notes.test"}, false},
		{"own WebSocket", "GET", []string{"Upgrade", "websocket", "Sec-Fetch-Site", "same-origin", "Origin", "https://notes.test"}, false},
		{"no browser", "POST", nil, false},
		{"link of another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Accept", "text/html"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := in.Do(in.Request(c.method, "/notes/", nil, c.header...))
			b := out.Do(out.Request(c.method, "/notes/", nil, c.header...))
			if !c.refused {
				in.WantServed(a)
				return
			}
			s.WantRefusal(a, http.StatusForbidden)
			s.WantRefusal(b, http.StatusForbidden)
			if b.Location() != "" || len(out.Cookies()) != 0 {
				t.Errorf("a sign-in was started: %v", b)
			}
		})
	}
	// A public page serves such a request as if nobody were signed in.
	if a := in.Do(in.Request(http.MethodPost, "/open", nil, "Sec-Fetch-Site", "cross-site")); a.Body.String() != "served nobody" {
		t.Errorf("OptionalLogin with a cross-site POST: %v", a)
	}
}

// RT10: a form of our own page is told that it was not saved. The link signs in
// and opens the page.
func TestRequireLoginForm(t *testing.T) {
	s := world.NewSite(t)
	for referer, want := range map[string]string{
		s.Origin + "/notes/edit?id=3": "/notes/edit?id=3", "": "/", "https://evil.example/notes/": "/", s.Origin + "//evil.example": "/",
		s.Origin + "/auth/callback?code=x": "/", "::": "/", s.Origin: "/", "https://notes.test:444/x": "/",
	} {
		t.Run(referer, func(t *testing.T) {
			ana := s.Visitor("ana")
			a := ana.Post("/notes/save", url.Values{"text": {"hello"}}, "Referer", referer)
			s.WantRefusal(a, http.StatusUnauthorized)
			if !strings.Contains(a.Body.String(), "was not saved") || a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("got %v, header %v", a, a.Header())
			}
			if back := ana.Get(ana.AnswerOf(ana.Get(linkOf(t, a)))); back.Code != http.StatusSeeOther || back.Location() != want {
				t.Errorf("came back to %q, want %q", back.Location(), want)
			}
		})
	}
}

// RT10: a form that meets a requirement which one more sign-in can meet is told
// that it was not saved, too. Its link asks for what is missing, and opens the
// page of the form.
func TestRT10_FormNeedsStepUp(t *testing.T) {
	saved := 0
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			save := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { saved++ })
			mux.Handle("/save", login.With(gatehouse.MaxAge(5*time.Minute)).RequireLogin(save))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(6 * time.Minute)
	for referer, want := range map[string]string{s.Origin + "/notes/edit?id=3": "/notes/edit?id=3", "": "/", "https://evil.example/x": "/"} {
		s.Advance(6 * time.Minute)
		a := ana.Post("/save", url.Values{"text": {"hello"}}, "Referer", referer)
		s.WantRefusal(a, http.StatusForbidden)
		link := linkOf(t, a)
		if a.Location() != "" || saved != 0 || !strings.Contains(a.Body.String(), "was not saved") || world.QueryOf(t, link).Get("max_age") != "300" {
			t.Fatalf("%v, saved %d times, link %q", a, saved, link)
		}
		a.Header().Set("Location", link) // the person follows it
		if back := ana.Get(ana.AnswerOf(a)); back.Location() != want {
			t.Errorf("Referer %q: came back to %q, want %q", referer, back.Location(), want)
		}
		if a := ana.Post("/save", nil); a.Code != http.StatusOK || saved != 1 {
			t.Errorf("afterwards: %v, saved %d times", a, saved)
		}
		saved = 0
	}
	s.Advance(6 * time.Minute)
	// A form in a frame cannot sign in there, and a script is told in JSON.
	if a := ana.Post("/save", nil, "Sec-Fetch-Dest", "iframe", "Referer", s.Origin+"/notes/"); a.Code != http.StatusForbidden || linkOf(t, a) != "/notes/" {
		t.Errorf("in a frame: %v", a)
	}
	if a := ana.Fetch(http.MethodPost, "/save"); a.Code != http.StatusForbidden || !strings.Contains(a.Body.String(), `"step_up_required"`) {
		t.Errorf("a script: %v", a)
	}
	s.SetDown(true)
	s.Advance(time.Hour)
	if a := ana.Post("/save", nil, "Referer", s.Origin+"/notes/"); !strings.Contains(a.Body.String(), "was not saved") {
		t.Errorf("while the provider is down: %v", a)
	}
}

// linkOf is the first link of a page.
func linkOf(t testing.TB, a *world.Page) string {
	t.Helper()
	m := regexp.MustCompile(`<a href="([^"]*)"`).FindStringSubmatch(a.Body.String())
	if m == nil {
		t.Fatalf("no link in %v", a)
	}
	return html.UnescapeString(m[1])
}

// Without LoginHandler, the link of a form leads to the page itself, whose
// guard signs in.
func TestRequireLoginFormWithoutLoginHandler(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.LoginURL = "" }
	})
	ana := s.Visitor("ana")
	a := ana.Post("/notes/save", nil, "Referer", s.Origin+"/notes/edit?id=3")
	s.WantRefusal(a, http.StatusUnauthorized)
	if link := linkOf(t, a); link != "/notes/edit?id=3" {
		t.Errorf("link %q", link)
	}
}

// HEAD starts nothing: a program that checks links gets 401 and no cookie.
func TestRequireLoginHead(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	for _, path := range []string{"/notes/", "/auth/login", "/auth/callback"} {
		a := ana.Do(ana.Request(http.MethodHead, path, nil, world.Navigation...))
		if a.Code < 400 || a.Code >= 500 || a.Location() != "" || len(ana.Cookies()) != 0 {
			t.Errorf("%s: %v, cookies %v", path, a, ana.Cookies())
		}
	}
}

func TestLoginHandlerRefusals(t *testing.T) {
	s := world.NewSite(t)
	for _, c := range []struct {
		name, method string
		header       []string
		status       int
	}{
		{"prefetch", "GET", []string{"Sec-Purpose", "prefetch", "Sec-Fetch-Mode", "navigate"}, 403},
		{"frame", "GET", []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate"}, 403},
		{"object", "GET", []string{"Sec-Fetch-Dest", "object", "Sec-Fetch-Mode", "navigate"}, 403},
		{"cross-site POST", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"PUT", "PUT", nil, 405},
		{"own POST", "POST", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, 303},
		{"link of another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 303},
	} {
		t.Run(c.name, func(t *testing.T) {
			ana := s.Visitor("ana")
			a := ana.Do(ana.Request(c.method, "/auth/login", nil, c.header...))
			if a.Code != c.status || a.Header().Get("Cache-Control") != "no-store" || (c.status == 303) != (len(ana.Cookies()) == 1) {
				t.Errorf("got %v with cookies %v, want %d", a, ana.Cookies(), c.status)
			}
		})
	}
}

// guarded makes a site whose /strict has the given requirements.
func guarded(t testing.TB, list ...gatehouse.Requirement) *world.Site {
	return world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/strict", login.With(list...).RequireLogin(world.WhoAmI))
		}
	})
}

func TestWithMaxAge(t *testing.T) {
	s := guarded(t, gatehouse.MaxAge(5*time.Minute))
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/strict"))
	s.Advance(5*time.Minute - time.Second)
	ana.WantServed(ana.Get("/strict"))
	s.Advance(2 * time.Second)
	ana.WantServed(ana.Get("/notes/")) // the guard it was derived from is unchanged
	a := ana.Get("/strict")
	ana.WantOut(a)
	if got := world.QueryOf(t, a.Location()).Get("max_age"); got != "300" {
		t.Errorf("max_age=%q", got)
	}
	ana.WantServed(ana.Follow(a, nil))
	// A script is told without a redirect.
	s.Advance(6 * time.Minute)
	if a := ana.Fetch(http.MethodGet, "/strict"); a.Code != http.StatusForbidden && a.Code != http.StatusUnauthorized || !strings.Contains(a.Body.String(), "step_up_required") {
		t.Errorf("a script got %v", a)
	}
}

// OpenID Connect Core §3.1.3.7 item 13: a provider that ignores max_age, or
// does not report the time, is not believed.
func TestWithMaxAgeIgnored(t *testing.T) {
	for _, drop := range []bool{false, true} {
		s := guarded(t, gatehouse.MaxAge(5*time.Minute))
		s.Retoken(t, func(_, claims map[string]any) {
			claims["auth_time"] = s.Now().Add(-24 * time.Hour).Unix()
			if drop {
				delete(claims, "auth_time")
			}
		})
		ana := s.Visitor("ana")
		s.WantNo(ana, ana.Visit("/strict"), 1)
		if s.LastCode() != "auth_time_too_old" {
			t.Errorf("code %q", s.LastCode())
		}
	}
}

// A requirement that a sign-in did not meet gives 403 for a minute, and then
// one more sign-in.
func TestWithScopes(t *testing.T) {
	s := guarded(t, gatehouse.Scopes("admin"))
	s.OnToken(t, func(m map[string]any) { m["scope"] = "openid profile" })
	ana := s.Visitor("ana")
	ana.SignIn()
	a := ana.Get("/strict")
	ana.WantOut(a)
	if got := strings.Fields(world.QueryOf(t, a.Location()).Get("scope")); len(got) != 4 || got[3] != "admin" {
		t.Errorf("scope %q", got)
	}
	s.WantRefusal(ana.Follow(a, nil), http.StatusForbidden) // no loop
	s.Advance(59 * time.Second)
	s.WantRefusal(ana.Get("/strict"), http.StatusForbidden)
	ana.WantServed(ana.Get("/notes/"))
	s.Advance(2 * time.Second)
	ana.WantOut(ana.Get("/strict"))
	s.SetWire(nil)
	ana.WantServed(ana.Visit("/strict"))
}

// Whoever lists openid too, as other libraries want it, sends it once.
func TestScopesAreSentOnce(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.Scopes = []string{"openid", "profile", "email", "profile"} }
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/strict", login.With(gatehouse.Scopes("email", "admin")).RequireLogin(world.WhoAmI))
		}
	})
	for path, want := range map[string]string{"/notes/": "openid profile email", "/strict": "openid profile email admin"} {
		if got := world.QueryOf(t, s.Visitor("ana").Get(path).Location()).Get("scope"); got != want {
			t.Errorf("%s: scope %q, want %q", path, got, want)
		}
	}
}

// However long the address is that needs them, the scopes are asked for, and
// a provider that grants what it is asked for need not say so (RFC 6749 §5.1).
func TestWithScopesAtALongAddress(t *testing.T) {
	s := guarded(t, gatehouse.Scopes("admin"))
	for _, n := range []int{1, 256, 300, 1900} {
		s.OnToken(t, func(m map[string]any) { m["scope"] = "openid profile" })
		ana := s.Visitor("ana")
		ana.SignIn()
		s.OnToken(t, func(m map[string]any) { delete(m, "scope") })
		address := "/strict?q=" + strings.Repeat("x", n)
		a := ana.Get(address)
		if got := strings.Fields(world.QueryOf(t, a.Location()).Get("scope")); !slices.Contains(got, "admin") {
			t.Errorf("%d bytes more: scope %q", n, got)
		}
		served := ana.Follow(a, nil)
		ana.WantServed(served)
		if got := served.URL.RequestURI(); got != address {
			t.Errorf("came back to %.40q", got)
		}
		s.SetWire(nil)
	}
}

// One sign-in asks for everything that is missing.
func TestWithSeveral(t *testing.T) {
	s := guarded(t, gatehouse.MaxAge(10*time.Minute), gatehouse.Scopes("admin", "email"), gatehouse.MaxAge(time.Minute))
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(2 * time.Minute)
	a := ana.Get("/strict")
	q := world.QueryOf(t, a.Location())
	if q.Get("max_age") != "60" || q.Get("scope") != "openid profile email admin" {
		t.Errorf("max_age %q, scope %q", q.Get("max_age"), q.Get("scope"))
	}
	ana.WantServed(ana.Follow(a, nil))
	if got := s.Count(opserver.EndpointAuthorize); got != 2 {
		t.Errorf("%d authorization requests, want 2", got)
	}
}

// A guard inside another asks for what the session has as well, so that the two
// do not ask in turn for ever.
func TestWithScopesInScopes(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			inner := login.With(gatehouse.Scopes("print")).RequireLogin(world.WhoAmI)
			mux.Handle("/strict", login.With(gatehouse.Scopes("admin")).RequireLogin(inner))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	outer := ana.Get("/strict")
	inner := ana.Get(ana.Get(ana.AnswerOf(outer)).Location())
	if got := world.QueryOf(t, outer.Location()).Get("scope"); got != "openid profile email admin" {
		t.Errorf("the outer guard asks for %q", got)
	}
	if got := world.QueryOf(t, inner.Location()).Get("scope"); got != "openid profile email admin print" {
		t.Errorf("the inner guard asks for %q", got)
	}
	ana.WantServed(ana.Follow(inner, nil))
	// A provider that grants one of them alone is not asked for ever either.
	s.OnToken(t, func(m map[string]any) { m["scope"] = "openid profile admin" })
	ben := s.Visitor("ben")
	ben.SignIn()
	s.WantRefusal(ben.Visit("/strict"), http.StatusForbidden)
}

func TestWithClaimAndFunc(t *testing.T) {
	teapot := &gatehouse.Error{Code: "teapot", Status: http.StatusTeapot, Message: "Short and stout."}
	is := func(ok bool, err error) gatehouse.Requirement {
		return gatehouse.RequirementFunc("test", func(r *http.Request, id *gatehouse.Identity) (bool, error) {
			return ok && strings.HasPrefix(r.URL.Path, "/strict/") && id.Subject == "ana-1", err
		})
	}
	cases := []struct {
		name   string
		need   gatehouse.Requirement
		status int
	}{
		{"claim equal", gatehouse.Claim("email", "ana@example.org"), 200},
		{"claim one of", gatehouse.Claim("email", "x", "ana@example.org"), 200},
		{"claim there", gatehouse.Claim("email"), 200},
		{"claim in array", gatehouse.Claim("amr", "pwd"), 200},
		{"claim boolean", gatehouse.Claim("email_verified", true), 200},
		{"claim of another type", gatehouse.Claim("email_verified", "true"), 403},
		{"claim other", gatehouse.Claim("email", "ben@example.org"), 403},
		{"claim absent", gatehouse.Claim("groups"), 403},
		{"claim part", gatehouse.Claim("email", "ana@example.org.evil"), 403},
		{"func true", is(true, nil), 200},
		{"func false", is(false, nil), 403},
		{"func error", is(true, errors.New("database away")), 503},
		{"func own error", is(false, teapot), http.StatusTeapot},
	}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			for i, c := range cases {
				mux.Handle(fmt.Sprintf("/strict/%d", i), login.With(c.need).RequireLogin(world.WhoAmI))
			}
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := ana.Get(fmt.Sprintf("/strict/%d", i))
			if c.status == http.StatusOK {
				ana.WantServed(a)
				return
			}
			s.WantRefusal(a, c.status)
			if strings.Contains(a.Body.String(), "database away") {
				t.Error("the cause is on the page")
			}
			ana.WantServed(ana.Get("/notes/"))
		})
	}
}

// An error has two faces: the page shows the id under which the log has the
// cause.
func TestRefusalIsFoundInTheLog(t *testing.T) {
	s := guarded(t, gatehouse.RequirementFunc("quota", func(*http.Request, *gatehouse.Identity) (bool, error) {
		return false, errors.New("quota service answered 500")
	}))
	ana := s.Visitor("ana")
	ana.SignIn()
	id := regexp.MustCompile(`quote ([A-Z2-7]{8,})\.`).FindStringSubmatch(ana.Get("/strict").Body.String())
	if id == nil || s.Logged("id="+id[1]) != 1 || s.Logged("quota service answered 500") != 1 {
		t.Errorf("id %q is not in the log beside its cause", id)
	}
}

func TestErrorHandler(t *testing.T) {
	var got []*gatehouse.Error
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
				got = append(got, e)
				_, _ = w.Write([]byte("own page")) // the status is sent without a call of WriteHeader
			}
		}
	})
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get("/auth/callback"), http.StatusBadRequest)
	s.WantRefusal(ana.Fetch(http.MethodGet, "/notes/"), http.StatusUnauthorized)
	s.SetDown(true)
	a := ana.Get("/notes/")
	s.WantRefusal(a, http.StatusServiceUnavailable)
	if a.Body.String() != "own page" || len(got) != 3 {
		t.Fatalf("%d errors, %v", len(got), a)
	}
	for i, code := range []string{"state_missing", "login_required", "provider_unavailable"} {
		if got[i].Code != code || got[i].ID == "" {
			t.Errorf("error %d: code %q, id %q", i, got[i].Code, got[i].ID)
		}
	}
}

// Wrong wiring is detected when the program starts.
func TestWiringPanics(t *testing.T) {
	s := world.NewSite(t)
	for name, wire := range map[string]func(){
		"MaxAge of nothing":       func() { gatehouse.MaxAge(0) },
		"MaxAge negative":         func() { gatehouse.MaxAge(-time.Hour) },
		"RequirementFunc nil":     func() { gatehouse.RequirementFunc("x", nil) },
		"Require nil":             func() { gatehouse.Require(nil) },
		"Either nil":              func() { gatehouse.Either(nil, s.Replicas[0].Login) },
		"OwnerGrant without room": func() { s.Replicas[0].Login.With(gatehouse.OwnerGrant()) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			wire()
		})
	}
}
