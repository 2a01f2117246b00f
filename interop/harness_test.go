package interop_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// The tests of this file show that the servers and the browser do what the
// tests of gatehouse need. Those that use Keycloak run in parallel, because
// they wait for it. So the others come first.

func TestOIDCProviderSignsIn(t *testing.T) {
	base, callbacks := newRedirectTarget(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret",
			RedirectURIs: []string{base + "/callback"}, PostLogoutRedirectURIs: []string{base + "/bye"}}},
		AccessTokenTTL: 7 * time.Second,
	})
	client := &bareClient{id: "notes", secret: "notes-secret", provider: discover(t, op.Issuer),
		redirectURL: base + "/callback", callbacks: callbacks}
	browser := servers.StartChromium(t)

	browser.Open(t, client.authorizationURL(url.Values{"scope": {"openid offline_access"}, "prompt": {"consent"}}))
	browser.Screenshot(t, "oidc-provider-login")
	op.SignIn(t, browser, "alice")
	if !strings.HasPrefix(browser.URL(), base+"/callback?") {
		t.Fatalf("the sign-in ended at %s", browser.URL())
	}
	first := client.exchange(t)
	if first.ExpiresIn != 7 {
		t.Errorf("access token for %d s, want 7", first.ExpiresIn)
	}

	refresh := func(status int, token string) tokens {
		return client.token(t, status, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	}
	second := refresh(http.StatusOK, first.RefreshToken)
	if second.RefreshToken == "" || second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	refresh(http.StatusBadRequest, first.RefreshToken)
	refresh(http.StatusBadRequest, second.RefreshToken) // the first one was used twice, so the whole family is revoked

	browser.Open(t, client.provider.EndSession+"?"+url.Values{"id_token_hint": {first.IDToken},
		"post_logout_redirect_uri": {base + "/bye"}}.Encode())
	op.SignOut(t, browser)
	browser.WaitFor(t, base+"/bye")
}

func TestOIDCProviderAlwaysRefresh(t *testing.T) {
	base, callbacks := newRedirectTarget(t)
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprint(always), func(t *testing.T) {
			op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{AlwaysRefresh: always,
				Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{base + "/callback"}}}})
			client := &bareClient{id: "notes", secret: "notes-secret", provider: discover(t, op.Issuer),
				redirectURL: base + "/callback", callbacks: callbacks}
			browser := servers.StartChromium(t)
			browser.Open(t, client.authorizationURL(nil))
			op.SignIn(t, browser, "bob")
			if got := client.exchange(t).RefreshToken != ""; got != always {
				t.Errorf("refresh token: %t, want %t", got, always)
			}
		})
	}
}

func TestKeycloakSignsIn(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	for _, test := range []struct{ realm, client, user string }{
		{"gatehouse", "notes", "alice"},
		{"gatehouse", "photoz", "bob"},
		{"gatehouse", "printshop", "carol"},
		{"rotate", "notes", "alice"},
	} {
		t.Run(test.realm+" "+test.client, func(t *testing.T) {
			base, callbacks := newRedirectTarget(t)
			client := &bareClient{id: test.client, secret: test.client + "-secret", provider: discover(t, kc.Issuer(test.realm)),
				redirectURL: base + "/callback", callbacks: callbacks}
			browser := servers.StartChromium(t)
			browser.Open(t, client.authorizationURL(nil))
			browser.Screenshot(t, "keycloak-login")
			kc.SignIn(t, browser, test.user)
			if !strings.HasPrefix(browser.URL(), base+"/callback?") {
				t.Fatalf("the sign-in ended at %s", browser.URL())
			}
			got := client.exchange(t)
			if got.RefreshToken == "" || got.IDToken == "" || got.ExpiresIn < 290 || got.ExpiresIn > 300 { // it counts from the start of its request
				t.Errorf("refresh token %t, ID token %t, expires in %d", got.RefreshToken != "", got.IDToken != "", got.ExpiresIn)
			}
			browser.Open(t, client.provider.EndSession+"?"+url.Values{"id_token_hint": {got.IDToken},
				"post_logout_redirect_uri": {base + "/bye"}}.Encode())
			browser.WaitFor(t, base+"/bye")
		})
	}
}

// page serves one page with a policy as strict as ours.
func page(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src *; style-src 'unsafe-inline'; form-action 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if c, err := r.Cookie("who"); err == nil {
			fmt.Fprintf(w, "<p>cookie %s</p>", c.Value)
		}
		if r.Method == http.MethodPost {
			http.SetCookie(w, &http.Cookie{Name: "who", Value: r.FormValue("who"), Path: "/"})
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		io.WriteString(w, "<!DOCTYPE html><html lang=en><title>Page</title><main>"+body+"</main></html>")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestChromiumPeopleHaveTheirOwnCookies(t *testing.T) {
	address := page(t, `<h1>Who</h1><form method=post><label>Name <input name=who></label><button>Say</button></form>`)
	one := servers.StartChromium(t)
	two := one.Another(t)
	for _, person := range []struct {
		name string
		tab  *servers.Chromium
	}{{"ana", one}, {"ben", two}} {
		person.tab.Open(t, address)
		if text := person.tab.Text(t); strings.Contains(text, "cookie") {
			t.Errorf("%s begins with a cookie: %s", person.name, text)
		}
		person.tab.Follow(t, "say a name",
			chromedp.SendKeys(chromedp.CSS(`input[name=who]`), person.name),
			chromedp.Click(chromedp.CSS(`button`)))
		if text := person.tab.Text(t); !strings.Contains(text, "cookie "+person.name) {
			t.Errorf("%s sees %q", person.name, text)
		}
	}
}

func TestChromiumReachesOnlyLoopback(t *testing.T) {
	browser := servers.StartChromium(t)
	// 192.0.2.1 belongs to nobody (RFC 5737 §3).
	outside := []string{"http://192.0.2.1/", "https://example.org/"}
	browser.Open(t, page(t, fmt.Sprintf(`<h1>Out</h1><img src=%q alt=""><img src=%q alt="">`, outside[0], outside[1])))
	got := browser.Outside()
	slices.Sort(got)
	if !slices.Equal(got, outside) {
		t.Errorf("outside: %q, want %q", got, outside)
	}
	for _, address := range outside {
		err := chromedp.Do(browser.Context(), chromedp.Navigate(address))
		if err == nil || !strings.Contains(err.Error(), "ERR_PROXY_CONNECTION_FAILED") {
			t.Errorf("open %s: %v, want it stopped at the proxy", address, err)
		}
	}
}

// A recorder takes the errors of a helper in place of the test.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// A browser that ends at another page reports where it is and what it shows.
func TestChromiumFails(t *testing.T) {
	const gone = "http://127.0.0.1:1024" // a port that no other test can be given, and that Chromium opens
	browser := servers.StartChromium(t)
	browser.Open(t, page(t, fmt.Sprintf(`<h1>Out</h1><a href=%q>Go</a>`, gone)))
	rec := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		browser.Follow(rec, "go", chromedp.Click(chromedp.CSS(`a`)))
	}()
	<-done
	if len(rec.errors) != 1 || !strings.Contains(rec.errors[0], gone+"/ cannot be reached") ||
		!strings.Contains(rec.errors[0], "ERR_CONNECTION_REFUSED") {
		t.Errorf("errors %q", rec.errors)
	}
}

// A page that is unavailable is loaded again, and so is a form that was sent.
func TestChromiumInsists(t *testing.T) {
	var posts int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.Method == http.MethodPost {
			if posts++; posts < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		fmt.Fprintf(w, "<!DOCTYPE html><html lang=en><title>Page</title><form method=post><input name=who value=ana><button>Send</button></form><p>%d with %q", posts, r.FormValue("who"))
	}))
	t.Cleanup(server.Close)
	browser := servers.StartChromium(t)
	browser.Open(t, server.URL)
	browser.Insist(t)
	browser.Follow(t, "send", chromedp.Click(chromedp.CSS(`button`)))
	browser.Insist(t)
	if text := browser.Text(t); posts != 3 || !strings.Contains(text, `3 with "ana"`) {
		t.Errorf("sent %d times, the page says %q", posts, text)
	}
}

func TestAxe(t *testing.T) {
	browser := servers.StartChromium(t)
	for _, test := range []struct {
		name, body string
		want       string // in the one error
	}{
		{"fine", `<h1>Albums</h1><p>None yet.</p>`, ""},
		{"picture without text", `<h1>Albums</h1><img src="/a.png">`, "image-alt"},
		{"low contrast", `<h1>Albums</h1><p style="color:#bbb;background:#fff">None yet.</p>`, "color-contrast"},
	} {
		t.Run(test.name, func(t *testing.T) {
			browser.Open(t, page(t, test.body))
			rec := &recorder{TB: t}
			violations := servers.Axe(rec, browser)
			switch {
			case test.want == "" && (len(violations) > 0 || len(rec.errors) > 0):
				t.Errorf("violations %+v, errors %q", violations, rec.errors)
			case test.want != "" && (len(rec.errors) != 1 || !strings.Contains(rec.errors[0], test.want)):
				t.Errorf("errors %q, want one of %s", rec.errors, test.want)
			}
		})
	}
}
