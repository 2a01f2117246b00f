package signin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

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

// The cookie lives as long as the session, and no idle write renews it.
func TestCookieLife(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime = 2 * time.Hour }
	})
	var life []int
	stories.EveryCookie(s, func(c *http.Cookie, _ string) {
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
