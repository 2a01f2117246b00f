package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// sessionSite has SessionHandler at /auth/session.
func sessionSite(t testing.TB, change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	return world.NewSite(t, append([]func(*world.SiteOptions){world.Watched, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/session", login.SessionHandler())
		}
	}}, change...)...)
}

// ask reads an answer of SessionHandler, which must be 200.
func ask(b *world.Visitor) map[string]any {
	b.Site.T.Helper()
	a := b.Fetch(http.MethodGet, "/auth/session")
	h := a.Header()
	if a.Code != http.StatusOK || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Cookie" {
		b.Site.T.Fatalf("got %v with %v", a, h)
	}
	var m map[string]any
	b.Site.Must(json.Unmarshal(a.Body.Bytes(), &m))
	return m
}

func TestSessionHandler(t *testing.T) {
	s := sessionSite(t)
	ana := s.Visitor("ana")
	out := `{"login_url":"/auth/login","signed_in":false}`
	if got := world.JSON(t, ask(ana)); got != out {
		t.Errorf("signed out: %s, want %s", got, out)
	}
	begin := s.Now()
	ana.SignIn()
	s.Advance(time.Minute)
	m := ask(ana)
	claims, _ := m["claims"].(map[string]any)
	if claims["email"] != "ana@example.org" || claims["sub"] != "ana-1" {
		t.Errorf("claims %v", claims)
	}
	delete(m, "claims")
	want := fmt.Sprintf(`{"expires":%q,"idle_ends":%q,"issuer":%q,"signed_in":true,"subject":"ana-1"}`,
		begin.Add(12*time.Hour).Format(time.RFC3339), begin.Add(30*time.Minute).Format(time.RFC3339), world.SiteIssuer)
	if got := world.JSON(t, m); got != want {
		t.Errorf("signed in: %s, want %s", got, want)
	}
	if a := ana.Fetch(http.MethodHead, "/auth/session"); a.Code != http.StatusOK {
		t.Errorf("HEAD: %v", a)
	}
	ana.Follow(ana.Post("/auth/logout", nil), nil)
	if got := world.JSON(t, ask(ana)); got != out {
		t.Errorf("after sign-out: %s, want %s", got, out)
	}
}

// Without an idle limit none is reported.
func TestSessionHandlerWithoutIdleLimit(t *testing.T) {
	s := sessionSite(t, world.Limits(2*time.Hour, -1))
	ana := s.Visitor("ana")
	end := s.Now().Add(2 * time.Hour).Format(time.RFC3339)
	ana.SignIn()
	m := ask(ana)
	if _, has := m["idle_ends"]; has || m["expires"] != end {
		t.Errorf("idle_ends %v, expires %v; want none and %v", m["idle_ends"], m["expires"], end)
	}
}

// Asking is not activity: it writes nothing, and the session ends by its idle
// limit at the reported time.
func TestSessionHandlerIsNoActivity(t *testing.T) {
	s := sessionSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	told, written := ask(ana)["idle_ends"], s.Watched().Writes()
	for range 29 {
		s.Advance(time.Minute)
		if m := ask(ana); m["signed_in"] != true || m["idle_ends"] != told {
			t.Fatalf("signed in %v until %v, want until %v", m["signed_in"], m["idle_ends"], told)
		}
	}
	if n := s.Watched().Writes() - written; n != 0 {
		t.Errorf("asking wrote %d times to the store", n)
	}
	s.Advance(time.Minute)
	if m := ask(ana); m["signed_in"] != false {
		t.Errorf("still signed in at %v", told)
	}
	ana.WantOut(ana.Get("/notes/"))
}

// A store in trouble gives 503, never "signed out". Other methods give 405.
func TestSessionHandlerRefusals(t *testing.T) {
	s := sessionSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		a := ana.Fetch(method, "/auth/session")
		s.WantRefusal(a, http.StatusMethodNotAllowed)
		if got := a.Header().Get("Allow"); got != "GET, HEAD" {
			t.Errorf("%s: Allow %q", method, got)
		}
	}
	store := s.Watched()
	store.Fail(errors.New("database of the marker-of-hook is away"), false)
	a := ana.Fetch(http.MethodGet, "/auth/session")
	s.WantRefusal(a, http.StatusServiceUnavailable)
	if strings.Contains(a.Body.String(), "signed_in") || strings.Contains(a.Body.String(), "marker-of") {
		t.Errorf("got %v", a)
	}
	store.Fail(nil, false)
	if m := ask(ana); m["signed_in"] != true {
		t.Errorf("after the trouble: %v", m)
	}
}
