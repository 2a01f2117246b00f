package middlewaretest_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// answering is a site that asks for that type of answer in that mode, on a site of
// its own.
func answering(t *testing.T, op *middlewaretest.Server, base, responseType, mode string, byPOST bool) *gatehouse.RelyingParty {
	t.Helper()
	login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
		Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback",
		ResponseType: responseType, ResponseMode: mode, AuthorizeByPOST: byPOST})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "notes of "+gatehouse.IdentityFrom(r.Context()).Subject)
	})))
	op.Serve(base, mux)
	t.Cleanup(func() { must(t, login.Sessions().Shutdown(context.Background())) })
	return login
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

// The browser brings every kind of answer to another site, with the cookies that
// SameSite lets go there (RP-A4, RP-C4).
func TestBrowserBringsAnswers(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org/realm")
	op.AddUser("ana", nil)
	for _, c := range []struct {
		base, asked, mode string
		byPOST            bool
	}{
		{"https://a.test", "code", "form_post", false}, {"https://b.test", "code id_token", "", false}, {"https://c.test", "id_token token", "", true},
		{"https://d.test", "id_token", "form_post", true}, {"http://127.0.0.1:8081", "code", "form_post", false}, {"https://e.test", "code", "", true},
	} {
		answering(t, op, c.base, c.asked, c.mode, c.byPOST)
		ana := op.Browser(t, "ana")
		for range 2 { // the second time, the provider knows her
			resp, err := ana.Get(c.base + "/auth/login?return_to=/notes/")
			must(t, err)
			if got := bodyOf(t, resp); got != "notes of ana" {
				t.Fatalf("%s by %s: %d %s", c.asked, c.mode, resp.StatusCode, got)
			}
		}
		sent := 0
		for _, cookie := range ana.Cookies(c.base) {
			if strings.Contains(cookie.Name, "gh-") {
				sent++
			}
		}
		if sent != 1 {
			t.Errorf("%s by %s: %d cookies", c.asked, c.mode, sent)
		}
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}

// Where the page's policy forbids its script, or where the form goes, the browser
// stays.
func TestBrowserKeepsThePolicy(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	page := `<form method="post" action="https://away.test/x" id="answer"><input type="hidden" name="a" value="b"></form><script nonce="n">…</script>`
	policy := ""
	op.Serve("https://page.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = io.WriteString(w, page)
	}))
	op.Serve("https://away.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/x" {
			must(t, r.ParseForm())
			http.Redirect(w, r, "https://third.test/", http.StatusSeeOther)
			return
		}
	}))
	op.Serve("https://third.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "third") }))
	for _, c := range []struct {
		policy, want string // "" for an error
	}{
		{"script-src 'nonce-n'", "third"}, {"script-src 'none'", page}, {"script-src 'nonce-m'", page},
		{"form-action 'self'", ""}, {"form-action https://away.test", ""}, {"form-action https:", "third"}, {"form-action https://away.test https://third.test", "third"},
	} {
		policy = c.policy
		resp, err := op.Browser(t, "").Get("https://page.test/")
		if (err == nil) != (c.want != "") || err == nil && bodyOf(t, resp) != c.want {
			t.Errorf("%s: %v", c.policy, err)
		}
	}
}

// GetUntil stops before a form as it stops before a redirect.
func TestGetUntilForm(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	answering(t, op, "https://a.test", "code", "form_post", false)
	ana := op.Browser(t, "ana")
	resp, err := ana.GetUntil("https://a.test/notes/", "https://a.test/auth/callback")
	must(t, err)
	if body := bodyOf(t, resp); !strings.Contains(body, `action="https://a.test/auth/callback"`) {
		t.Fatalf("got %s", body)
	}
	forged, err := ana.On("https://evil.test").Submit("https://a.test/auth/callback", url.Values{"code": {"x"}, "state": {"AAAAAAAAAAAAAAAAAAAAAA"}})
	must(t, err)
	if forged.StatusCode != http.StatusBadRequest {
		t.Errorf("a forged answer: %d", forged.StatusCode)
	}
}
