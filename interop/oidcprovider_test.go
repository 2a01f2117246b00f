package interop_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// opTokenLife is the life of oidc-provider's access tokens here.
const opTokenLife = 8 * time.Second

// Somebody signs in at oidc-provider, stays while the tokens rotate, signs out
// there and here, and is asked again.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	notes := newNotes(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret",
			RedirectURIs:           []string{notes.base + "/auth/callback"},
			PostLogoutRedirectURIs: []string{notes.base + "/auth/logout"}}},
		AccessTokenTTL: opTokenLife,
	})
	notes.open(t, op.Issuer, notes.clock, gatehouse.RelyingPartyConfig{
		Client: clientOf("notes"), Scopes: []string{"profile", "email", "offline_access"},
		AuthParams: url.Values{"prompt": {"consent"}}, // without it oidc-provider gives no refresh token
	})
	browser := servers.StartChromium(t)

	asked := notes.base + "/notes/7?tab=2&q=a%20b%26c"
	browser.Open(t, asked)
	op.SignIn(t, browser, "alice")
	if browser.URL() != asked {
		t.Fatalf("the sign-in ended at %s, want %s", browser.URL(), asked)
	}
	notes.shows(t, browser, "Notes of User alice <alice@example.test>", "at /notes/7?tab=2&q=a%20b%26c,",
		"as alice with", "openid", "offline_access")
	// The cost of a sign-in: token and user info each time; metadata and keys
	// once.
	notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET jwks", "GET me")

	opRefreshes(t, notes, op, cookiesOf(t, browser, notes.base))
	opSignsInAgain(t, notes, op, browser)
	opSignsOut(t, notes, op, browser)
}

// opSignsInAgain: a second sign-in replaces the session and stays valid. At
// oidc-provider the tokens of both belong to one grant.
func opSignsInAgain(t *testing.T, notes *notesSite, op *servers.OIDCProvider, browser *servers.Chromium) {
	browser.Open(t, notes.base+"/sign-in?return_to=/notes/9")
	op.Consent(t, browser)
	if browser.URL() != notes.base+"/notes/9" {
		t.Fatalf("the second sign-in ended at %s", browser.URL())
	}
	notes.settle(t)
	notes.wire.take()
	client := cookiesOf(t, browser, notes.base)
	notes.clock.advance(opTokenLife + time.Second)
	a := fetch(t, client, http.MethodGet, notes.base+"/notes/1")
	calls := notes.wire.want(t, "token refresh_token", "GET me")
	if a.status != http.StatusOK || calls[0].status != http.StatusOK {
		t.Fatalf("a refresh of the second session: %d %s; the page: %d", calls[0].status, calls[0].answer, a.status)
	}
}

// shows fails the test unless the page in the browser has all the texts.
func (n *notesSite) shows(t testing.TB, browser *servers.Chromium, texts ...string) {
	t.Helper()
	page := browser.Text(t)
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%s has no %q:\n%s", browser.URL(), text, page)
		}
	}
}

// atOnce sends the same request n times in parallel and returns the answers.
func atOnce(t *testing.T, n int, client *http.Client, address string) []answer {
	t.Helper()
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			body, err := readAll(resp.Body)
			if err != nil {
				t.Error(err)
			}
			answers[i] = answer{resp.StatusCode, resp.Header, string(body)}
		})
	}
	wg.Wait()
	return answers
}

// opRefreshes lets the access token expire several times, with many requests at
// once, shortly before it expires and after it has. A refresh token that is
// sent twice would end the session, because the provider accepts each once.
func opRefreshes(t *testing.T, notes *notesSite, op *servers.OIDCProvider, client *http.Client) {
	const parallel = 20
	seen := map[string]bool{fetch(t, client, http.MethodGet, notes.base+"/token").body: true}
	sent := map[string]bool{}
	notes.wire.want(t)
	for _, round := range []struct {
		name  string
		after time.Duration
	}{
		{"before it expires", opTokenLife - time.Second},
		{"when it has expired", opTokenLife + time.Second},
		{"again before", opTokenLife - time.Second},
		{"again after", opTokenLife + time.Second},
	} {
		notes.clock.advance(round.after)
		for _, a := range atOnce(t, parallel, client, notes.base+"/notes/1") {
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", round.name, a.status, a.body)
			}
		}
		notes.settle(t) // before the token expires, nobody waits for the new one
		token := ""
		for _, a := range atOnce(t, parallel, client, notes.base+"/token") {
			if a.status != http.StatusOK || token != "" && a.body != token {
				t.Fatalf("%s: %d %s, want the token %s", round.name, a.status, a.body, token)
			}
			token = a.body
		}
		if seen[token] {
			t.Errorf("%s: the access token is an old one", round.name)
		}
		seen[token] = true
		refreshed := notes.wire.want(t, "token refresh_token", "GET me")[0] // the claims are asked for again, once
		if old := refreshed.form.Get("refresh_token"); sent[old] {
			t.Errorf("%s: the refresh token did not rotate", round.name)
		} else {
			sent[old] = true
		}
	}
	query := url.Values{"origin": {op.Issuer}, "url": {op.Issuer + "/me"}}
	if a := fetch(t, client, http.MethodGet, notes.base+"/api?"+query.Encode()); a.body != "200" {
		t.Errorf("the provider's API with the person's token: %d %s", a.status, a.body)
	}
	query.Set("origin", "http://127.0.0.1:1")
	if a := fetch(t, client, http.MethodGet, notes.base+"/api?"+query.Encode()); a.body == "200" {
		t.Error("the person's token went to an origin that is not named")
	}
}

func opSignsOut(t *testing.T, notes *notesSite, op *servers.OIDCProvider, browser *servers.Chromium) {
	before := cookiesOf(t, browser, notes.base)
	signOut(t, browser)
	browser.WaitFor(t, op.Issuer)
	op.SignOut(t, browser)
	back, err := url.Parse(browser.URL())
	if err != nil || !strings.HasPrefix(browser.URL(), notes.base+"/auth/logout?") || back.Query().Get("state") == "" {
		t.Fatalf("the sign-out ended at %s", browser.URL())
	}
	notes.shows(t, browser, "You are signed out")
	if a := fetch(t, before, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusUnauthorized {
		t.Errorf("the cookie from before the sign-out: %d, want 401", a.status)
	}
	notes.settle(t) // the refresh token is revoked after the answer
	notes.wire.want(t, "POST token/revocation")

	browser.Open(t, notes.base+"/notes/8")
	if !strings.HasPrefix(browser.URL(), op.Issuer) {
		t.Fatalf("the next visit is at %s, not asked to sign in", browser.URL())
	}
	op.SignIn(t, browser, "bob")
	notes.shows(t, browser, "Notes of User bob <bob@example.test>", "at /notes/8,")
}
