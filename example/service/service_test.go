package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// newTestService makes the service as main does, but at a provider for tests.
func newTestService(t *testing.T, op *middlewaretest.Server, base string) http.Handler {
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: op.Clock().Now})
	if err != nil {
		t.Fatal(err)
	}
	_, app, err := newService(op.Provider(), op.AddClient(base+"/auth/callback"), sessions, base)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func TestNotes(t *testing.T) {
	op := middlewaretest.NewServer(t) // a real provider, in this process
	op.AddUser("ana", middlewaretest.Claims{"name": "Ana"})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return newTestService(t, op, base)
	})
	resp, err := op.Browser(t, "ana").Get(url + "/notes") // signs in when asked
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	}
	op.Break(middlewaretest.WrongNonce) // each fault is named after the rule it breaks
	resp, err = op.Browser(t, "ana").Get(url + "/notes")
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Error(resp, err)
	}
}

// A site is the service with people who use it.
type site struct {
	*testing.T
	url string
}

func newSite(t *testing.T) (site, *middlewaretest.Server) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"name": "Ana", "groups": []string{"staff", "admin"}})
	op.AddUser("ben", middlewaretest.Claims{"name": "Ben"})
	return site{t, middlewaretest.NewApp(t, func(base string) http.Handler { return newTestService(t, op, base) })}, op
}

// want checks the status of an answer, and that its body has the texts.
func (s site) want(status int, texts ...string) func(*http.Response, error) string {
	s.Helper()
	return func(resp *http.Response, err error) string {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			s.Fatalf("%s: status %d, want %d; %v\n%s", resp.Request.URL, resp.StatusCode, status, err, body)
		}
		for _, text := range texts {
			if !strings.Contains(string(body), text) {
				s.Errorf("%s: no %q in:\n%s", resp.Request.URL, text, body)
			}
		}
		return string(body)
	}
}

// The page, the form and the logout button.
func TestPages(t *testing.T) {
	s, op := newSite(t)
	ana, ben := op.Browser(t, "ana"), op.Browser(t, "ben")
	s.want(200, "Sign in")(ana.Get(s.url + "/"))
	s.want(200, "Your notes")(ana.Get(s.url + "/auth/login?return_to=/notes"))
	s.want(200, "<li>buy &lt;milk&gt;</li>")(ana.PostForm(s.url+"/notes", url.Values{"note": {"buy <milk>"}}))
	s.want(200, "Hello Ana", "Sign out")(ana.Get(s.url + "/"))
	if page := s.want(200, "Your notes")(ben.Get(s.url + "/notes")); strings.Contains(page, "milk") {
		t.Errorf("Ben reads Ana's notes:\n%s", page)
	}
	s.want(200, "signed out")(ana.PostForm(s.url+"/auth/logout", nil))
	s.want(401, "not saved", `href="/auth/login`)(ana.PostForm(s.url+"/notes", url.Values{"note": {"lost"}}))
	s.want(200, "Sign in")(ana.Get(s.url + "/"))
	s.want(200, "buy")(ana.Get(s.url + "/notes")) // the same person, who signs in again
}

// What the script asks.
func TestScript(t *testing.T) {
	s, op := newSite(t)
	ana := op.Browser(t, "ana")
	s.want(200, "/app.js")(ana.Get(s.url + "/app"))
	s.want(200, `"signed_in":false`, `"login_url":"/auth/login"`)(ana.Fetch(s.url + "/auth/session"))
	s.want(401, "login_required", `"login_url":"/auth/login"`)(ana.Fetch(s.url + "/api/notes"))
	s.want(200, `id="notes"`)(ana.Get(s.url + "/auth/login?return_to=" + url.QueryEscape("/app")))
	s.want(200, `"name":"Ana"`)(ana.Fetch(s.url + "/auth/session"))
	s.want(200, "[]")(ana.Fetch(s.url + "/api/notes"))
}

// Requests of the script change notes. Another site cannot send them.
func TestScriptPosts(t *testing.T) {
	s, op := newSite(t)
	ana := op.Browser(t, "ana")
	s.want(200)(ana.Get(s.url + "/notes"))
	for _, c := range []struct {
		site, body string
		status     int
	}{
		{"same-origin", `{"text":"by script"}`, 204},
		{"cross-site", `{"text":"forged"}`, 403},
		{"same-origin", `{`, 400},
		{"same-origin", `{"text":"` + strings.Repeat("x", maxNote) + `"}`, 400},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/notes", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Sec-Fetch-Site", c.site)
		if c.site == "cross-site" {
			r.Header.Set("Origin", "https://evil.example")
		}
		s.want(c.status)(ana.Do(r))
	}
	s.want(200, `["by script"]`)(ana.Fetch(s.url + "/api/notes"))

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/auth/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	var out struct {
		LogoutURL string `json:"logout_url"`
	}
	if err := json.Unmarshal([]byte(s.want(200)(ana.Do(r))), &out); err != nil || !strings.HasPrefix(out.LogoutURL, "/auth/logout?") {
		t.Fatal(out, err)
	}
	s.want(200, `"signed_in":false`)(ana.Fetch(s.url + "/auth/session"))
	s.want(200, "signed out")(ana.Get(s.url + out.LogoutURL))
	if n := op.Count("end_session"); n != 1 {
		t.Errorf("the provider was told %d times, want 1", n)
	}
}

// Who opens the program as localhost is sent to the name of RedirectURL.
func TestLocalhost(t *testing.T) {
	op := middlewaretest.NewServer(t)
	app := newTestService(t, op, "http://127.0.0.1:8080")
	w := httptest.NewRecorder()
	app.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:8080/notes?a=b", nil))
	if got := w.Result().Header.Get("Location"); w.Code != http.StatusTemporaryRedirect || got != "http://127.0.0.1:8080/notes?a=b" {
		t.Errorf("status %d, Location %q", w.Code, got)
	}
}

// Groups, and a sign-in of the last minutes.
func TestRequirements(t *testing.T) {
	s, op := newSite(t)
	ana, ben := op.Browser(t, "ana"), op.Browser(t, "ben")
	s.want(200, "signed in: 1.")(ana.Get(s.url + "/people"))
	s.want(403)(ben.Get(s.url + "/people"))
	op.Clock().Advance(30 * 60e9)
	op.ResetCounts()
	s.want(200, "Delete all")(ana.Get(s.url + "/forget"))
	if n := op.Count("authorize"); n != 1 {
		t.Errorf("%d sign-ins for a page that wants a recent one, want 1", n)
	}
}
