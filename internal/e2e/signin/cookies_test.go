package signin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// cookieCheck examines every Set-Cookie of a site.
func everyCookie(s *world.Site, check func(c *http.Cookie, raw string)) {
	for _, r := range s.Replicas {
		inner := r.Mux
		r.Mux = http.NewServeMux()
		r.Mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
			inner.ServeHTTP(w, req)
			for _, raw := range w.Header().Values("Set-Cookie") {
				c, err := http.ParseSetCookie(raw)
				if err != nil {
					s.T.Errorf("Set-Cookie %q: %v", raw, err)
					continue
				}
				check(c, raw)
			}
		})
	}
}

// wholeLife makes the package set and clear every kind of cookie that it has.
func wholeLife(s *world.Site, ana *world.Visitor) {
	for range 9 { // the ninth attempt pushes out the oldest
		ana.Get("/notes/")
	}
	ana.SignIn()
	ana.Get("/notes/")
	ana.Get("/auth/login")
	a := ana.Follow(ana.Post("/auth/logout", nil), nil)
	if a.Code != http.StatusOK {
		s.T.Errorf("after sign-out: %v", a)
	}
}

func TestCK1_CookiesOnHTTPS(t *testing.T) {
	s := world.NewSite(t)
	seen := 0
	everyCookie(s, func(c *http.Cookie, raw string) {
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

func TestCK1_CookiesOnLoopbackHTTP(t *testing.T) {
	for _, origin := range []string{"http://127.0.0.1:8080", "http://localhost:3000", "http://[::1]:8080"} {
		s := world.NewSite(t, func(o *world.SiteOptions) { o.Origin = origin })
		seen := 0
		everyCookie(s, func(c *http.Cookie, raw string) {
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

// A TLS server of the standard library with its own client.
func TestCK1_CookiesOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	origin := "https://" + srv.Listener.Addr().String()
	s := world.NewSite(t, func(o *world.SiteOptions) { o.Origin = origin })
	srv.Config.Handler = s.Replicas[0].Mux
	srv.StartTLS()
	defer srv.Close()
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequest(http.MethodGet, origin+"/notes/", nil)
	s.Must(err)
	r.Header.Set("Accept", "text/html")
	resp, err := client.Do(r)
	s.Must(err)
	resp.Body.Close()
	if len(resp.Cookies()) != 1 {
		t.Fatalf("status %d with %d cookies", resp.StatusCode, len(resp.Cookies()))
	}
	if c := resp.Cookies()[0]; !strings.HasPrefix(c.Name, "__Host-gh-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("Set-Cookie %q", c.Raw)
	}
}

// The hash in the name distinguishes sites on one host, because cookies ignore
// ports.
func TestCookieNamesDiffer(t *testing.T) {
	names := map[string]string{}
	for _, origin := range []string{"http://127.0.0.1:8080", "http://127.0.0.1:8081"} {
		s := world.NewSite(t, func(o *world.SiteOptions) { o.Origin = origin })
		ana := s.Visitor("ana")
		ana.SignIn()
		if before := names[ana.SessionName()]; before != "" {
			t.Errorf("%s and %s share the cookie %s", before, origin, ana.SessionName())
		}
		names[ana.SessionName()] = origin
	}
	named := world.NewSite(t, func(o *world.SiteOptions) {
		o.Origin, o.Sessions = "http://127.0.0.1:8080", func(c *gatehouse.SessionsConfig) { c.Name = "second" }
	})
	ana := named.Visitor("ana")
	ana.SignIn()
	if names[ana.SessionName()] != "" {
		t.Error("SessionsConfig.Name does not change the cookie's name")
	}
}

// SE1, F9, F21: an id that the visitor brings never becomes the session's.
func TestSE1_Fixation(t *testing.T) {
	s := world.NewSite(t)
	probe := s.Visitor("ana")
	probe.SignIn()
	name := probe.SessionName()
	parts := strings.Split(probe.SessionCookie(), ".")
	chosen := strings.Repeat("A", 43)
	for _, planted := range []string{chosen, chosen + "." + parts[1] + "." + parts[2], "x", ""} {
		ana := s.Visitor("ana")
		ana.SetCookie(name, planted)
		ana.WantOut(ana.Get("/notes/"))
		ana.SignIn()
		if got := ana.SessionCookie(); got == planted || strings.HasPrefix(got, chosen) {
			t.Errorf("the planted value %q became the session", planted)
		}
		thief := s.Visitor("ana")
		thief.SetCookie(name, planted)
		thief.WantOut(thief.Get("/notes/"))
	}
}

// ASVS 7.2.4: signing in again changes the id and ends the old one.
func TestSE1_NewIDAtEachSignIn(t *testing.T) {
	s := world.NewSite(t)
	ana, old := s.Visitor("ana"), s.Visitor("ana")
	first := ana.SignIn()
	ana.Visit("/auth/login")
	second := ana.SessionCookie()
	if first == second {
		t.Fatal("the id stayed the same over a sign-in")
	}
	old.SetCookie(ana.SessionName(), first)
	old.WantOut(old.Get("/notes/"))
	ana.WantServed(ana.Get("/notes/"))
	// The same person's tokens may belong to one grant at the provider.
	// Revoking the old ones would then end the new session too (RFC 7009 §2.1).
	s.Shutdown(0)
	if got := s.RevokedTokens(); len(got) != 0 {
		t.Errorf("%d tokens were revoked at a sign-in of the same person", len(got))
	}
}

// CK6: forged or foreign cookie values belong to nobody and never cause a 5xx.
func TestCK6_HostileCookies(t *testing.T) {
	s := world.NewSite(t)
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

// The cookie lives as long as the session, and no idle write renews it.
func TestCookieLife(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime = 2 * time.Hour }
	})
	var life []int
	everyCookie(s, func(c *http.Cookie, _ string) {
		if strings.Count(c.Value, ".") == 2 {
			life = append(life, c.MaxAge)
		}
	})
	ana := s.Visitor("ana")
	start := ana.Get("/notes/")
	s.Advance(5 * time.Minute)
	ana.WantServed(ana.Visit(ana.AnswerOf(start)))
	s.Advance(20 * time.Minute)
	ana.WantServed(ana.Get("/notes/"))
	if len(life) != 1 || life[0] != 115*60 {
		t.Errorf("session cookies with Max-Age %v, want one of 115 minutes: the life counts from the start of the sign-in", life)
	}
}

// The key in the store lives far longer than any session.
func TestLoginKeyRecord(t *testing.T) {
	s := world.NewSite(t, world.Watched, world.TwoReplicas)
	store := s.Watched()
	s.Visitor("ana").Get("/notes/")
	keys := store.All()
	if len(keys) != 1 || len(keys[0]) != 43 {
		t.Fatalf("keys %q, want one of 43 characters", keys)
	}
	if left := store.Keys()[keys[0]].Sub(s.Now()); left < 9*365*24*time.Hour {
		t.Errorf("the key record expires in %v", left)
	}
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	ana.At = 1 // the other replica opens what the first has sealed
	ana.WantServed(ana.Visit(callback))
}
