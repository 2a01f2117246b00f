package gatehouse_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

// cookieCheck sees every Set-Cookie of a site.
func everyCookie(s *site, check func(c *http.Cookie, raw string)) {
	for _, r := range s.replicas {
		inner := r.mux
		r.mux = http.NewServeMux()
		r.mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
			inner.ServeHTTP(w, req)
			for _, raw := range w.Header().Values("Set-Cookie") {
				c, err := http.ParseSetCookie(raw)
				if err != nil {
					s.t.Errorf("Set-Cookie %q: %v", raw, err)
					continue
				}
				check(c, raw)
			}
		})
	}
}

// wholeLife makes the package set and clear every kind of cookie that it has.
func wholeLife(s *site, ana *visitor) {
	for range 9 { // the ninth attempt takes the oldest away
		ana.get("/notes/")
	}
	ana.signIn()
	ana.get("/notes/")
	ana.get("/auth/login")
	a := ana.follow(ana.post("/auth/logout", nil), nil)
	if a.Code != http.StatusOK {
		s.t.Errorf("after sign-out: %v", a)
	}
}

func TestCK1_CookiesOnHTTPS(t *testing.T) {
	s := newSite(t)
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
	wholeLife(s, s.visitor("ana"))
	if seen < 20 {
		t.Errorf("only %d cookies seen", seen)
	}
}

func TestCK1_CookiesOnLoopbackHTTP(t *testing.T) {
	for _, origin := range []string{"http://127.0.0.1:8080", "http://localhost:3000", "http://[::1]:8080"} {
		s := newSite(t, func(o *siteOptions) { o.origin = origin })
		seen := 0
		everyCookie(s, func(c *http.Cookie, raw string) {
			seen++
			if strings.HasPrefix(c.Name, "__") || c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s: Set-Cookie %q", origin, raw)
			}
		})
		wholeLife(s, s.visitor("ana"))
		if seen < 20 {
			t.Errorf("%s: only %d cookies seen", origin, seen)
		}
	}
}

// A TLS server of the standard library and its own client.
func TestCK1_CookiesOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	origin := "https://" + srv.Listener.Addr().String()
	s := newSite(t, func(o *siteOptions) { o.origin = origin })
	srv.Config.Handler = s.replicas[0].mux
	srv.StartTLS()
	defer srv.Close()
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequest(http.MethodGet, origin+"/notes/", nil)
	s.must(err)
	r.Header.Set("Accept", "text/html")
	resp, err := client.Do(r)
	s.must(err)
	resp.Body.Close()
	if len(resp.Cookies()) != 1 {
		t.Fatalf("status %d with %d cookies", resp.StatusCode, len(resp.Cookies()))
	}
	if c := resp.Cookies()[0]; !strings.HasPrefix(c.Name, "__Host-gh-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("Set-Cookie %q", c.Raw)
	}
}

// The hash in the name tells sites on one host apart: cookies ignore ports.
func TestCookieNamesDiffer(t *testing.T) {
	names := map[string]string{}
	for _, origin := range []string{"http://127.0.0.1:8080", "http://127.0.0.1:8081"} {
		s := newSite(t, func(o *siteOptions) { o.origin = origin })
		ana := s.visitor("ana")
		ana.signIn()
		if before := names[ana.sessionName()]; before != "" {
			t.Errorf("%s and %s share the cookie %s", before, origin, ana.sessionName())
		}
		names[ana.sessionName()] = origin
	}
	named := newSite(t, func(o *siteOptions) {
		o.origin, o.sessions = "http://127.0.0.1:8080", func(c *gatehouse.SessionsConfig) { c.Name = "second" }
	})
	ana := named.visitor("ana")
	ana.signIn()
	if names[ana.sessionName()] != "" {
		t.Error("SessionsConfig.Name does not change the cookie's name")
	}
}

// SE1, F9, F21: an id that the visitor brings along is never the session's.
func TestSE1_Fixation(t *testing.T) {
	s := newSite(t)
	probe := s.visitor("ana")
	probe.signIn()
	name := probe.sessionName()
	parts := strings.Split(probe.sessionCookie(), ".")
	chosen := strings.Repeat("A", 43)
	for _, planted := range []string{chosen, chosen + "." + parts[1] + "." + parts[2], "x", ""} {
		ana := s.visitor("ana")
		ana.setCookie(name, planted)
		ana.wantOut(ana.get("/notes/"))
		ana.signIn()
		if got := ana.sessionCookie(); got == planted || strings.HasPrefix(got, chosen) {
			t.Errorf("the planted value %q became the session", planted)
		}
		thief := s.visitor("ana")
		thief.setCookie(name, planted)
		thief.wantOut(thief.get("/notes/"))
	}
}

// ASVS 7.2.4: signing in again changes the id and ends the old one.
func TestSE1_NewIDAtEachSignIn(t *testing.T) {
	s := newSite(t)
	ana, old := s.visitor("ana"), s.visitor("ana")
	first := ana.signIn()
	ana.visit("/auth/login")
	second := ana.sessionCookie()
	if first == second {
		t.Fatal("the id stayed the same over a sign-in")
	}
	old.setCookie(ana.sessionName(), first)
	old.wantOut(old.get("/notes/"))
	ana.wantServed(ana.get("/notes/"))
	// The same person's tokens may be of one grant at the provider: to revoke the
	// old ones would end the new session too (RFC 7009 §2.1).
	s.shutdown(0)
	if got := s.revokedTokens(); len(got) != 0 {
		t.Errorf("%d tokens were revoked at a sign-in of the same person", len(got))
	}
}

// CK6: cookie values from anywhere are nobody's, never a 5xx.
func TestCK6_HostileCookies(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	good := ana.signIn()
	name := ana.sessionName()
	parts := strings.Split(good, ".")
	values := []string{
		"", ";", `"`, "=", "%00", strings.Repeat("A", 8<<10), "\x80\xff\xfe", "bm90IGEgc2Vzc2lvbg", ".", "..", "...",
		parts[0], parts[0] + ".", parts[0] + "..", parts[0] + "." + parts[1], good + ".", good + "." + parts[1], "." + good,
		parts[0][:42] + "." + parts[1] + "." + parts[2], parts[0] + "A." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[2] + "." + parts[1], parts[0] + "." + parts[1] + "." + parts[1],
		strings.ToLower(good), `"` + good + `"x`, strings.Repeat("../", 40),
	}
	for _, v := range values {
		r := ana.request(http.MethodGet, "/notes/", nil, navigation...)
		r.Header.Set("Cookie", name+"="+v)
		w := httptest.NewRecorder()
		s.replicas[0].mux.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther {
			t.Errorf("cookie %q: status %d", v, w.Code)
		}
	}
	for _, header := range []string{";", "=", ";;;", name, strings.Repeat("a=b; ", 2000), "\x00"} {
		r := ana.request(http.MethodGet, "/notes/", nil, navigation...)
		r.Header.Set("Cookie", header)
		w := httptest.NewRecorder()
		s.replicas[0].mux.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther {
			t.Errorf("Cookie header %.20q: status %d", header, w.Code)
		}
	}
	ana.wantServed(ana.get("/notes/"))
}

// The cookie's life is that of the session, and no idle write renews it.
func TestCookieLife(t *testing.T) {
	s := newSite(t, func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime = 2 * time.Hour }
	})
	var life []int
	everyCookie(s, func(c *http.Cookie, _ string) {
		if strings.Count(c.Value, ".") == 2 {
			life = append(life, c.MaxAge)
		}
	})
	ana := s.visitor("ana")
	start := ana.get("/notes/")
	s.advance(5 * time.Minute)
	ana.wantServed(ana.visit(ana.answerOf(start)))
	s.advance(20 * time.Minute)
	ana.wantServed(ana.get("/notes/"))
	if len(life) != 1 || life[0] != 115*60 {
		t.Errorf("session cookies with Max-Age %v, want one of 115 minutes: the life counts from the begin of the sign-in", life)
	}
}
