package interop_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// mostQuery is the longest query that is accepted; a longer one is refused.
const mostQuery = 16 << 10

// A targetSite is a site that ana signs in to. It collects where it sends her.
type targetSite struct {
	op     *middlewaretest.Server
	base   string
	config gatehouse.RelyingPartyConfig
	login  *gatehouse.RelyingParty
	ana    *middlewaretest.Browser
	steps  []redirection

	mu       sync.Mutex
	location string // of the last callback
}

func newTargetSite(t *testing.T) *targetSite {
	t.Helper()
	s := &targetSite{op: middlewaretest.NewServer(t)}
	s.op.AddUser("ana", nil)
	s.base = middlewaretest.NewApp(t, func(base string) http.Handler {
		s.config = gatehouse.RelyingPartyConfig{Client: s.op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback"}
		s.login = must(gatehouse.NewRelyingParty(s.op.Provider(), s.config))(t)
		return s
	})
	s.ana = s.op.Browser(t, "ana")
	return s
}

func (s *targetSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/auth/login":
		s.login.LoginHandler().ServeHTTP(w, r)
	case "/auth/callback":
		// The browser keeps the cookies and stays here, wherever it was sent.
		answer := httptest.NewRecorder()
		s.login.CallbackHandler().ServeHTTP(answer, r)
		w.Header()["Set-Cookie"] = answer.Header()["Set-Cookie"]
		s.mu.Lock()
		defer s.mu.Unlock()
		s.location = answer.Header().Get("Location")
	}
}

// take returns the Location of the last callback, once.
func (s *targetSite) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	location := s.location
	s.location = ""
	return location
}

// signIn signs ana in with target as the page to return to.
func (s *targetSite) signIn(t *testing.T, target string) {
	t.Helper()
	query := "return_to=" + url.QueryEscape(target)
	resp, err := s.ana.Get(s.base + "/auth/login?" + query)
	if err != nil {
		t.Fatalf("%.300q: %v", target, err)
	}
	location := s.take()
	switch {
	case location != "":
		s.steps = append(s.steps, redirection{"sign-in " + target, s.base + "/auth/callback?code=x", location})
	case len(query) <= mostQuery || resp.StatusCode != http.StatusBadRequest:
		t.Errorf("%.300q: the sign-in ends with %d and leads nowhere", target, resp.StatusCode)
	}
}

// address asks for the target itself, to sign somebody out who has no session, as
// a server reads it off the wire, with no router that would clean it.
func (s *targetSite) address(t *testing.T, target string) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST " + target + " HTTP/1.1\r\nHost: notes.test\r\n\r\n")))
	if err != nil {
		return // no server reads that as a request
	}
	s.signOut(t, "address "+target, s.login, r)
}

// setting makes target the page after sign-out, if that is possible.
func (s *targetSite) setting(t *testing.T, target string) {
	t.Helper()
	config := s.config
	config.LoggedOutURL = target
	login, err := gatehouse.NewRelyingParty(s.op.Provider(), config)
	if err != nil {
		return
	}
	s.signOut(t, "setting "+target, login, httptest.NewRequest(http.MethodPost, "/auth/logout", nil))
}

func (s *targetSite) signOut(t *testing.T, why string, login *gatehouse.RelyingParty, r *http.Request) {
	t.Helper()
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	login.LogoutHandler().ServeHTTP(w, r)
	location := w.Header().Get("Location")
	switch {
	case location != "":
		s.steps = append(s.steps, redirection{why, s.base + "/auth/logout", location})
	case len(r.URL.RawQuery) <= mostQuery || w.Code != http.StatusBadRequest:
		t.Errorf("%.300q: the sign-out answers %d and leads nowhere", why, w.Code)
	}
}
