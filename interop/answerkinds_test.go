package interop_test

import (
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

// speakings are the ways of docs/sign-in.md that Keycloak knows.
var speakings = []speaking{
	{"code-form", "code", "form_post", false},
	{"hybrid-form", "code id_token", "form_post", true},
	{"hybrid-fragment", "code id_token", "", false},
	{"implicit", "id_token token", "", true},
	{"implicit-form", "id_token token", "form_post", false},
	{"id-token", "id_token", "", false},
	{"code-post", "code", "", true},
}

// open opens the site for one of the ways.
func (s speaking) open(t *testing.T, notes *notesSite, issuer, client string) {
	t.Helper()
	notes.open(t, issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf(client), Scopes: []string{"profile", "email"},
		ResponseType: s.asked, ResponseMode: s.mode, AuthorizeByPOST: s.byPOST})
}

// check looks at what the browser shows after the sign-in, and at what was sent to
// the provider. A second sign-in, which the provider answers at once, replaces the
// session.
func (s speaking) check(t *testing.T, notes *notesSite, browser *servers.Chromium, name string) {
	t.Helper()
	browser.WaitFor(t, notes.base+"/notes/7")
	texts := []string{"at /notes/7,"}
	if s.asked != "id_token" { // whose scopes are in the user info
		texts = append(texts, name)
	}
	notes.shows(t, browser, texts...)
	calls := strings.Join(kindsOf(notes.wire.take()), ", ")
	if strings.Contains(calls, "token authorization_code") != strings.Contains(s.asked, "code") {
		t.Errorf("%s: the provider was asked for %s", s.name, calls)
	}
	if strings.Contains(browser.URL(), "#") {
		t.Errorf("the answer stays in the address: %s", browser.URL())
	}
	first := cookiesOf(t, browser, notes.base)
	browser.Open(t, notes.base+"/sign-in?return_to=/notes/9")
	browser.WaitFor(t, notes.base+"/notes/9")
	if a := fetch(t, first, "GET", notes.base+"/notes/1"); a.status != 401 {
		t.Errorf("%s: the session before: %d, want 401", s.name, a.status)
	}
}

// kindsOf names calls to the provider.
func kindsOf(calls []call) (names []string) {
	for _, c := range calls {
		names = append(names, c.name)
	}
	return names
}

// Keycloak answers in all these ways, in Chromium, across two ports of 127.0.0.1.
func TestAnswersOfKeycloak(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	kc.AddClient(t, "gatehouse", map[string]any{"clientId": "speaking", "secret": "speaking-secret", "redirectUris": []string{"http://127.0.0.1/*"},
		"standardFlowEnabled": true, "implicitFlowEnabled": true, "publicClient": false})
	for _, s := range speakings {
		t.Run(s.name, func(t *testing.T) {
			notes := newNotes(t)
			s.open(t, notes, kc.Issuer("gatehouse"), "speaking")
			browser := servers.StartChromium(t)
			browser.Open(t, notes.base+"/notes/7")
			browser.WaitFor(t, kc.URL)
			kc.SignIn(t, browser, "alice")
			s.check(t, notes, browser, "Alice Owner")
		})
	}
}
