package signin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestSignIn(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	start := ana.Get("/notes/7?page=2")
	ana.WantOut(start)
	back := ana.Get(ana.AnswerOf(start))
	if back.Code != http.StatusSeeOther || back.Location() != "/notes/7?page=2" {
		t.Fatalf("after the callback: %v; want 303 to the page asked for", back)
	}
	ana.WantServed(ana.Follow(back, nil))
	if left := ana.Attempts(); len(left) != 0 {
		t.Errorf("attempt cookies %q are left over", left)
	}
	if got := s.EventsOf(gatehouse.EventLogin); len(got) != 1 || got[0] != "" {
		t.Errorf("login events %q, want one without a code", got)
	}
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// A sign-in costs the provider one token request and one user info request,
// plus a metadata and a key request when cold.
func TestSignInCosts(t *testing.T) {
	s := world.NewSite(t)
	want := map[string]int{opserver.EndpointToken: 1, opserver.EndpointUserInfo: 1, opserver.EndpointMetadata: 1, opserver.EndpointJWKS: 1}
	for _, state := range []string{"cold", "warm"} {
		s.Visitor("ana").SignIn()
		for _, e := range opserver.Endpoints() {
			if e == opserver.EndpointAuthorize || e == opserver.EndpointPages {
				continue // the browser's
			}
			if got := s.Count(e); got != want[e] {
				t.Errorf("%s: %d requests to %s, want %d", state, got, e, want[e])
			}
		}
		s.ResetCounts()
		want[opserver.EndpointMetadata], want[opserver.EndpointJWKS] = 0, 0
	}
	ana := s.Visitor("ana")
	ana.SignIn()
	s.ResetCounts()
	for range 20 {
		ana.WantServed(ana.Get("/notes/"))
	}
	for _, e := range opserver.Endpoints() {
		if got := s.Count(e); got != 0 {
			t.Errorf("20 pages made %d requests to %s", got, e)
		}
	}
}

func TestSignInClaims(t *testing.T) {
	for _, c := range []struct {
		name string
		skip bool
		want string // name, which only user info gives here
	}{
		{"joined with user info", false, "ANA"}, {"user info skipped", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got *gatehouse.Identity
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.SkipUserInfo = c.skip }
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/who", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						got = gatehouse.IdentityFrom(r.Context())
					})))
				}
			})
			s.Retoken(t, func(_ map[string]any, claims map[string]any) {
				delete(claims, "name")
				claims["email"] = "signed@example.org"
			})
			begin := s.Now()
			s.Visitor("ana").Visit("/who")
			if got == nil {
				t.Fatal("the handler had no identity")
			}
			if got.Issuer != world.SiteIssuer || got.Subject != "ana-1" || got.ClientID != "notes" || got.Via != gatehouse.ViaSession ||
				!got.AuthTime.Equal(begin) || strings.Join(got.Scopes, " ") != "openid profile email" || !got.Expires.After(begin) {
				t.Errorf("identity %+v", got)
			}
			if got.ClaimString("name") != c.want {
				t.Errorf("name %q, want %q", got.ClaimString("name"), c.want)
			}
			if e := got.ClaimString("email"); e != "signed@example.org" {
				t.Errorf("email %q: the signed claim must win", e)
			}
			asked := s.Count(opserver.EndpointUserInfo)
			if (asked == 0) != c.skip {
				t.Errorf("user info asked %d times", asked)
			}
		})
	}
}

// attemptBytes is what the attempts of a browser take in its Cookie header.
func attemptBytes(b *world.Visitor) (n int) {
	for _, name := range b.Attempts() {
		n += len(name) + len("=") + len(b.Cookies()[name]) + len("; ")
	}
	return n
}

// Eight sign-ins with ordinary paths fit whole. Beyond 6 KiB the oldest lose
// their return path, and then they go.
func TestSignInManyTabs(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	path := func(i int) string { return fmt.Sprintf("/notes/%0249d", i) } // 256 bytes
	var callbacks []string
	for i := range 8 {
		callbacks = append(callbacks, ana.ToCallback(path(i)))
		s.Advance(time.Second)
	}
	for i, name := range ana.Attempts() {
		if n := len(ana.Cookies()[name]); n > 512 {
			t.Errorf("cookie %d has %d bytes", i, n)
		}
	}
	if a := ana.Get(callbacks[0]); a.Location() != path(0) || s.Logged("lose their return path") != 0 {
		t.Errorf("the oldest of eight came back to %v", a)
	}
	ana, callbacks = s.Visitor("ana"), nil
	for i := range 60 {
		callbacks = append(callbacks, ana.ToCallback(path(i)))
		s.Advance(time.Second)
		if n := attemptBytes(ana); n > 6<<10 {
			t.Fatalf("%d attempts take %d bytes", i, n)
		}
	}
	s.ResetCounts()
	s.WantNo(ana, ana.Get(callbacks[0]), 0) // the oldest is gone
	if a := ana.Get(callbacks[59-20]); a.Code != http.StatusSeeOther || a.Location() != "/" {
		t.Errorf("one in the middle: %v, want it without its path", a)
	}
	if a := ana.Get(callbacks[59]); a.Location() != path(59) {
		t.Errorf("the newest came back to %v", a)
	}
	ana.WantServed(ana.Get("/notes/"))
	if s.Logged("lose their return path") == 0 || s.Logged("code=dropped_return_path") != s.Logged("lose their return path") {
		t.Errorf("%d lines about lost paths, %d with their code", s.Logged("lose their return path"), s.Logged("code=dropped_return_path"))
	}
}

// 24 tabs are opened at once, none with a cookie of another. All end signed in,
// one after the other or together, and the first answer brings the cookies of
// all under 6 KiB.
func TestSignInTabsAtOnce(t *testing.T) {
	for _, size := range []int{240, 1900} {
		for _, together := range []bool{false, true} {
			s := world.NewSite(t)
			ana := s.Visitor("ana")
			var callbacks []string
			cookies := map[string]string{}
			for i := range 24 {
				tab := s.Visitor("ana")
				callbacks = append(callbacks, tab.ToCallback(fmt.Sprintf("/notes/%0*d", size, i)))
				for _, name := range tab.Attempts() {
					cookies[name] = tab.Cookies()[name]
				}
				s.Advance(time.Second)
			}
			for name, value := range cookies {
				ana.SetCookie(name, value)
			}
			if n := attemptBytes(ana); n < 10_000 {
				t.Fatalf("24 attempts take %d bytes, so nothing is tested", n)
			}
			if together {
				answers := make(chan *world.Page)
				for _, callback := range callbacks {
					tab := s.Visitor("ana")
					for name, value := range cookies {
						tab.SetCookie(name, value)
					}
					go func() {
						a := tab.Get(callback)
						if n := attemptBytes(tab); n > 6<<10 {
							t.Errorf("the attempts take %d bytes", n)
						}
						answers <- a
					}()
				}
				for range callbacks {
					if a := <-answers; a.Code != http.StatusSeeOther {
						t.Errorf("together: %v", a)
					}
				}
				continue
			}
			for i, callback := range callbacks {
				if a := ana.Get(callback); a.Code != http.StatusSeeOther {
					t.Fatalf("tab %d: %v", i, a)
				}
				ana.WantServed(ana.Get("/notes/"))
				if n := attemptBytes(ana); n > 6<<10 {
					t.Errorf("after tab %d the attempts take %d bytes", i, n)
				}
			}
			if left := ana.Attempts(); len(left) != 0 {
				t.Errorf("attempts left: %v", left)
			}
		}
	}
}

// Every answer that begins or ends a sign-in brings the attempts under 6 KiB:
// one that refuses, one to a used state, and a sign-out.
func TestEveryAnswerBoundsTheAttempts(t *testing.T) {
	for name, answer := range map[string]func(s *world.Site, ana *world.Visitor, callback string) *world.Page{
		"sign-in":       func(_ *world.Site, ana *world.Visitor, _ string) *world.Page { return ana.Get("/auth/login") },
		"guard":         func(_ *world.Site, ana *world.Visitor, _ string) *world.Page { return ana.Get("/notes/") },
		"callback":      func(_ *world.Site, ana *world.Visitor, callback string) *world.Page { return ana.Get(callback) },
		"state missing": func(_ *world.Site, ana *world.Visitor, _ string) *world.Page { return ana.Get("/auth/callback?code=x") },
		"state unknown": func(_ *world.Site, ana *world.Visitor, _ string) *world.Page {
			return ana.Get("/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA")
		},
		"refused": func(_ *world.Site, ana *world.Visitor, callback string) *world.Page {
			return ana.Get(answerWith(t, callback, "access_denied"))
		},
		"starts over": func(_ *world.Site, ana *world.Visitor, callback string) *world.Page {
			return ana.Get(answerWith(t, callback, "temporarily_unavailable"))
		},
		"sign-out": func(_ *world.Site, ana *world.Visitor, _ string) *world.Page { return ana.Post("/auth/logout", nil) },
		"expired": func(s *world.Site, ana *world.Visitor, callback string) *world.Page {
			s.Advance(time.Hour / 2)
			return ana.Get(callback)
		},
		"a used state": func(s *world.Site, ana *world.Visitor, callback string) *world.Page {
			cookies := ana.Cookies()
			ana.Get(callback)
			for name, value := range cookies { // as if the other tabs had begun just now
				ana.SetCookie(name, value)
			}
			return ana.Get(callback)
		},
		"a used state, its attempt gone": func(s *world.Site, ana *world.Visitor, callback string) *world.Page {
			cookies := ana.Cookies()
			ana.Get(callback)
			for name, value := range cookies {
				if !strings.HasSuffix(name, world.QueryOf(t, callback).Get("state")[:8]) {
					ana.SetCookie(name, value)
				}
			}
			return ana.Get(callback)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
			ana := s.Visitor("ana")
			var callback string
			cookies := map[string]string{}
			for range 24 {
				tab := s.Visitor("ana")
				callback = tab.ToCallback("/notes/" + strings.Repeat("7", 240))
				for _, name := range tab.Attempts() {
					cookies[name] = tab.Cookies()[name]
				}
			}
			for name, value := range cookies {
				ana.SetCookie(name, value)
			}
			ana.SetCookie("other", "o")
			a := answer(s, ana, callback)
			if n := attemptBytes(ana); n > 6<<10 {
				t.Errorf("%v leaves %d bytes of attempts", a, n)
			}
		})
	}
}

// A browser sends the attempts of every relying party of a Sessions, so they are
// bounded together. Those at one still come back to their page after an answer of
// the other, and a header full of both is not too large.
func TestAttemptsOfTwoPartiesTogether(t *testing.T) {
	s := world.NewSite(t)
	second, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)},
		RedirectURL: s.Origin + "/second/callback", Sessions: s.Replicas[0].Sessions,
	})
	s.Must(err)
	s.Replicas[0].Mux.Handle("/second/login", second.LoginHandler())
	path := func(i, size int) string { return fmt.Sprintf("/notes/%0*d", size, i) }
	ana := s.Visitor("ana")
	var callbacks []string
	for i := range 40 {
		if i%2 == 0 {
			ana.Get("/second/login?return_to=" + path(i, 249))
		} else {
			callbacks = append(callbacks, ana.ToCallback(path(i, 249)))
		}
		if n := attemptBytes(ana); n > 6<<10 {
			t.Fatalf("%d attempts take %d bytes", i+1, n)
		}
		s.Advance(time.Second)
	}
	if a := ana.Get(callbacks[len(callbacks)-1]); a.Location() != path(39, 249) {
		t.Errorf("the newest came back to %v", a)
	}
	if a := ana.Get(callbacks[len(callbacks)-10]); a.Code != http.StatusSeeOther {
		t.Errorf("an old one: %v", a)
	}

	tabs := s.Visitor("ana") // opened at once, with the longest paths
	for i := range 24 {
		tab := s.Visitor("ana")
		at := "/second/login?return_to="
		if i%2 == 0 {
			at = "/auth/login?return_to="
		}
		tab.Get(at + path(i, 1900))
		for _, name := range tab.Attempts() {
			tabs.SetCookie(name, tab.Cookies()[name])
		}
	}
	if a := tabs.Get("/second/login"); a.Code != http.StatusSeeOther || attemptBytes(tabs) > 6<<10 {
		t.Errorf("%v leaves %d bytes", a, attemptBytes(tabs))
	}
}

// AuthURL is for applications that send the link themselves.
func TestSignInAuthURL(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.HandleFunc("/mail", func(w http.ResponseWriter, r *http.Request) {
				link, err := login.AuthURL(w, r, r.URL.Query().Get("to"))
				if err != nil {
					http.Error(w, gatehouse.ErrorCode(err), http.StatusForbidden)
					return
				}
				http.Redirect(w, r, link, http.StatusFound)
			})
		}
	})
	for wish, want := range map[string]string{"/notes/5": "/notes/5", "https://evil.example/": "/", "//evil.example": "/", "": "/"} {
		ana := s.Visitor("ana")
		if a := ana.Get(ana.ToCallback("/mail?to=" + url.QueryEscape(wish))); a.Location() != want {
			t.Errorf("AuthURL with returnTo %q came back to %q, want %q", wish, a.Location(), want)
		}
	}
	ana := s.Visitor("ana")
	stories.WantUncached(t, ana.Get("/mail"), "no-store")
	// HEAD and a prefetch start nothing.
	for _, header := range [][]string{{"HEAD"}, {"GET", "Sec-Purpose", "prefetch"}, {"POST", "Purpose", "prefetch"}} {
		ana := s.Visitor("ana")
		a := ana.Do(ana.Request(header[0], "/mail", nil, header[1:]...))
		if a.Code != http.StatusForbidden || !strings.Contains(a.Body.String(), "not_a_navigation") || len(ana.Cookies()) != 0 {
			t.Errorf("%v: %v, cookies %v", header, a, ana.Cookies())
		}
	}
}

// Public pages know who is signed in, and never send anybody away.
func TestSignInOptional(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	a := ana.Get("/open")
	if a.Code != http.StatusOK || a.Body.String() != "served nobody" || len(ana.Cookies()) != 0 {
		t.Errorf("before sign-in: %v", a)
	}
	if !strings.Contains(a.Header().Get("Vary"), "Cookie") {
		t.Error("no Vary: Cookie on a page that depends on the session (CK8)")
	}
	ana.SignIn()
	ana.WantServed(ana.Get("/open"))
	if a := ana.Get("/open"); a.Header().Get("Cache-Control") != "no-store" || !strings.Contains(a.Header().Get("Vary"), "Cookie") {
		t.Errorf("headers %v of a page for a person (CK8)", a.Header())
	}
}

// A guard on a path that a router rewrote still comes back to the requested
// address, because the rewritten path would be another page.
func TestSignInUnderStripPrefix(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/app/", http.StripPrefix("/app", login.RequireLogin(world.WhoAmI)))
		}
	})
	ana := s.Visitor("ana")
	if a := ana.Get(ana.ToCallback("/app/inner?x=1")); a.Location() != "/app/inner?x=1" {
		t.Errorf("came back to %q, want the address that the browser asked for", a.Location())
	}
}

// With the plain ResponseRecorder of a test there is no TLS state, no jar and
// no browser.
func TestSignInRedirectIsCheap(t *testing.T) {
	s := world.NewSite(t)
	r := httptest.NewRequest(http.MethodGet, s.Origin+"/notes/", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	s.Replicas[0].Mux.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Errorf("status %d for an old browser without Sec-Fetch-Mode, want 303", w.Code)
	}
}
