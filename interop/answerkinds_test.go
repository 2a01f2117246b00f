package interop_test

import (
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// speaking is one way to ask for an answer and to get it.
type speaking struct {
	name, asked, mode string
	byPOST            bool
}

// speakings are the ways of docs/sign-in.md.
var speakings = []speaking{
	{"code-form", "code", "form_post", false},
	{"hybrid-form", "code id_token", "form_post", true},
	{"hybrid-fragment", "code id_token", "", false},
	{"implicit", "id_token token", "", true},
	{"implicit-form", "id_token token", "form_post", false},
	{"id-token", "id_token", "", false},
	{"code-post", "code", "", true},
}

// redirecting are the ways of a request that is no form.
func redirecting() (ways []speaking) {
	for _, s := range speakings {
		if s.name != "code-post" {
			s.byPOST = false
			ways = append(ways, s)
		}
	}
	return ways
}

// sitesFor makes a site for each of the ways, and returns their redirect URIs.
func sitesFor(t *testing.T, ways []speaking) (sites map[string]*site, redirects []string) {
	t.Helper()
	sites = map[string]*site{}
	for _, s := range ways {
		sites[s.name] = newSite(t)
		redirects = append(redirects, sites[s.name].base+"/auth/callback")
	}
	return sites, redirects
}

// of returns the ways of these names.
func of(names ...string) (ways []speaking) {
	for _, s := range speakings {
		if slices.Contains(names, s.name) {
			ways = append(ways, s)
		}
	}
	return ways
}

// An answering is a provider that answers in several ways.
type answering struct {
	issuer, client string
	origin         string           // of its pages
	shown          string           // on the page of who has signed in, where the user info was asked for
	sites          map[string]*site // at the redirect URIs of the client, by the name of the way; nil if it takes any port
	signIn         func(*testing.T, *servers.Chromium)
	again          func(*testing.T, *servers.Chromium) // through the pages for who is signed in there already; nil if it shows none
}

// in signs somebody in, in Chromium, across two ports of 127.0.0.1.
func (a answering) in(t *testing.T, browser *servers.Chromium, ways ...speaking) {
	for _, s := range ways {
		t.Run(s.name, func(t *testing.T) {
			at := a.sites[s.name]
			if a.sites == nil {
				at = newSite(t)
			}
			notes, browser := notesAt(t, at), browser.Another(t)
			s.open(t, notes, a.issuer, a.client)
			browser.Open(t, notes.base+"/notes/7")
			browser.WaitFor(t, a.origin)
			a.signIn(t, browser)
			s.check(t, notes, browser, a)
		})
	}
}

// refused signs somebody in by a way in which the provider does not answer as
// asked. Nobody is signed in, and the log has the code.
func (a answering) refused(t *testing.T, browser *servers.Chromium, s speaking, code string) {
	t.Run(s.name+" is refused", func(t *testing.T) {
		notes, browser := notesAt(t, a.sites[s.name]), browser.Another(t)
		notes.nobody()
		s.open(t, notes, a.issuer, a.client)
		browser.Open(t, notes.base+"/notes/7")
		browser.WaitFor(t, a.origin)
		a.signIn(t, browser)
		browser.WaitFor(t, notes.base+"/auth/callback")
		notes.watch.mu.Lock()
		log := notes.watch.log.String()
		notes.watch.mu.Unlock()
		if page := browser.Text(t); !strings.Contains(log, `"code":"`+code+`"`) || strings.Contains(page, "Notes of") {
			t.Errorf("%s at %s:\n%s", page, browser.URL(), log)
		}
	})
}

// open opens the site for one of the ways.
func (s speaking) open(t *testing.T, notes *notesSite, issuer, client string) {
	t.Helper()
	notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf(client), Scopes: []string{"profile", "email"},
		ResponseType: s.asked, ResponseMode: s.mode, AuthorizeByPOST: s.byPOST})
}

// check looks at what the browser shows after the sign-in, and at what was sent to
// the provider. A second sign-in replaces the session.
func (s speaking) check(t *testing.T, notes *notesSite, browser *servers.Chromium, a answering) {
	t.Helper()
	browser.WaitFor(t, notes.base+"/notes/7")
	texts := []string{"at /notes/7,"}
	if s.asked != "id_token" { // whose scopes are in the user info
		texts = append(texts, a.shown)
	}
	notes.shows(t, browser, texts...)
	calls := strings.Join(namesOf(notes.wire.take()), ", ")
	if strings.Contains(calls, "token authorization_code") != strings.Contains(s.asked, "code") {
		t.Errorf("%s: the provider was asked for %s", s.name, calls)
	}
	if strings.Contains(browser.URL(), "#") {
		t.Errorf("the answer stays in the address: %s", browser.URL())
	}
	first := cookiesOf(t, browser, notes.base)
	browser.Open(t, notes.base+"/sign-in?return_to=/notes/9")
	if a.again != nil {
		browser.WaitFor(t, a.origin)
		a.again(t, browser)
	}
	browser.WaitFor(t, notes.base+"/notes/9")
	if a := fetch(t, first, "GET", notes.base+"/notes/1"); a.status != 401 {
		t.Errorf("%s: the session before: %d, want 401", s.name, a.status)
	}
}

// Keycloak answers in all these ways.
func TestAnswersOfKeycloak(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	kc.AddClient(t, "gatehouse", map[string]any{"clientId": "speaking", "secret": "speaking-secret", "redirectUris": []string{"http://127.0.0.1/*"},
		"standardFlowEnabled": true, "implicitFlowEnabled": true, "publicClient": false})
	answering{
		issuer: kc.Issuer("gatehouse"), client: "speaking", origin: kc.URL, shown: "Alice Owner",
		signIn: func(t *testing.T, b *servers.Chromium) { kc.SignIn(t, b, "alice") },
	}.in(t, servers.StartChromium(t), speakings...)
}

// oidc-provider answers in all these ways, and does not take the request by POST:
// its setting for that wants TLS. The redirect URI of a client of the
// application_type native may have any port.
func TestAnswersOfOIDCProvider(t *testing.T) {
	t.Parallel()
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Clients: []servers.OIDCProviderClient{{
		ID: "speaking", Secret: "speaking-secret", ApplicationType: "native", RedirectURIs: []string{"http://127.0.0.1/auth/callback"},
		GrantTypes:    []string{"authorization_code", "implicit", "refresh_token"},
		ResponseTypes: []string{"code", "code id_token", "id_token", "id_token token"},
	}}})
	browser := servers.StartChromium(t)
	answering{
		issuer: op.Issuer, client: "speaking", origin: op.Issuer, shown: "User alice <alice@example.test>",
		signIn: func(t *testing.T, b *servers.Chromium) { op.SignIn(t, b, "alice") },
		again:  func(t *testing.T, b *servers.Chromium) { op.Consent(t, b) },
	}.in(t, browser, redirecting()...)
	t.Run("request by POST", func(t *testing.T) {
		notes := newNotes(t)
		notes.nobody()
		speakings[len(speakings)-1].open(t, notes, op.Issuer, "speaking")
		browser.Open(t, notes.base+"/notes/7")
		browser.WaitFor(t, op.Issuer+"/auth")
		if page := browser.Text(t); !strings.Contains(page, "Not Found") {
			t.Errorf("oidc-provider takes a request by POST: %s", page)
		}
	})
}
