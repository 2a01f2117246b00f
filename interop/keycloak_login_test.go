package interop_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// kcTokenLife is how long tokens of the realms live.
const kcTokenLife = 300 * time.Second

// kcNotes opens a site that signs in people of a realm, as the client notes.
func kcNotes(t *testing.T, kc *servers.Keycloak, realm string) *notesSite {
	t.Helper()
	notes := newNotes(t)
	// The provider's clock is the real one: Keycloak's ID Tokens end with its
	// access tokens, so those of a refresh would be too old on a clock ahead.
	notes.open(t, kc.Issuer(realm), &clock{}, gatehouse.RelyingPartyConfig{
		Client: clientOf("notes"), Scopes: []string{"profile", "email"}})
	return notes
}

// In the realm rotate a refresh token works once.
func TestKeycloakLogin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		realm, email string
		rotates      bool
	}{
		{"gatehouse", "<alice@example.test>", false},
		{"rotate", "<alice@example.test>", true},
	} {
		t.Run(test.realm, func(t *testing.T) {
			kc := shared.Keycloak(t)
			notes := kcNotes(t, kc, test.realm)
			browser := servers.StartChromium(t)
			asked := notes.base + "/notes/7?tab=2&q=a%20b"
			browser.Open(t, asked)
			kc.SignIn(t, browser, "alice")
			if browser.URL() != asked {
				t.Fatalf("the sign-in ended at %s, want %s", browser.URL(), asked)
			}
			notes.shows(t, browser, "Notes of Alice Owner "+test.email, "at /notes/7?tab=2&q=a%20b,")
			notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET certs", "GET userinfo")

			kcRefreshes(t, notes, cookiesOf(t, browser, notes.base), test.rotates)
			kcSignsInAgain(t, notes, browser)
			kcSignsOut(t, kc, notes, browser)
		})
	}
}

// kcRefreshes moves the sessions' clock to where the token is about to expire,
// or has, for the time of one request.
func kcRefreshes(t *testing.T, notes *notesSite, client *http.Client, rotates bool) {
	tokens, sent := map[string]bool{}, map[string]bool{}
	ahead := []time.Duration{kcTokenLife - 30*time.Second, kcTokenLife + 30*time.Second, kcTokenLife - 30*time.Second}
	for _, d := range ahead {
		notes.clock.advance(d)
		if a := fetch(t, client, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
			t.Fatalf("%v ahead: %d %s", d, a.status, a.body)
		}
		notes.settle(t) // before the token expires, a request does not wait for the refresh
		notes.clock.advance(-d)
		tokens[fetch(t, client, http.MethodGet, notes.base+"/token").body] = true
		sent[notes.wire.want(t, "token refresh_token", "GET userinfo")[0].form.Get("refresh_token")] = true
	}
	if len(tokens) != len(ahead) {
		t.Errorf("%d access tokens of %d refreshes", len(tokens), len(ahead))
	}
	if rotates && len(sent) != len(ahead) {
		t.Errorf("%d refresh tokens were sent in %d refreshes", len(sent), len(ahead))
	}
}

// kcSignsInAgain: a second sign-in replaces the session and stays valid. At
// Keycloak both belong to one session, so ending the first must not end the
// second.
func kcSignsInAgain(t *testing.T, notes *notesSite, browser *servers.Chromium) {
	browser.Open(t, notes.base+"/sign-in?return_to=/notes/9")
	if browser.URL() != notes.base+"/notes/9" {
		t.Fatalf("the second sign-in ended at %s", browser.URL())
	}
	notes.settle(t)
	client := cookiesOf(t, browser, notes.base)
	first := fetch(t, client, http.MethodGet, notes.base+"/token").body
	notes.wire.take()
	notes.clock.advance(kcTokenLife + 30*time.Second)
	a := fetch(t, client, http.MethodGet, notes.base+"/notes/1")
	notes.clock.advance(-kcTokenLife - 30*time.Second)
	calls := notes.wire.want(t, "token refresh_token", "GET userinfo")
	if a.status != http.StatusOK || calls[0].status != http.StatusOK {
		t.Fatalf("a refresh of the second session: %d %s; the page: %d", calls[0].status, calls[0].answer, a.status)
	}
	if second := fetch(t, client, http.MethodGet, notes.base+"/token"); second.status != http.StatusOK || second.body == first {
		t.Errorf("the second session's token: %d, the same as before: %t", second.status, second.body == first)
	}
}

// kcSignsOut: Keycloak asks nothing if the ID Token is sent as a hint.
func kcSignsOut(t *testing.T, kc *servers.Keycloak, notes *notesSite, browser *servers.Chromium) {
	before := cookiesOf(t, browser, notes.base)
	signOut(t, browser)
	browser.WaitFor(t, notes.base+"/auth/logout?")
	if !strings.Contains(browser.URL(), "state=") {
		t.Errorf("the way back has no state: %s", browser.URL())
	}
	notes.shows(t, browser, "You are signed out")
	if a := fetch(t, before, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusUnauthorized {
		t.Errorf("the cookie from before the sign-out: %d, want 401", a.status)
	}
	browser.Open(t, notes.base+"/notes/8")
	browser.WaitFor(t, kc.URL)
	kc.SignIn(t, browser, "alice")
	notes.shows(t, browser, "Notes of Alice Owner", "at /notes/8,")
}

// RevokeAll ends the sessions of all devices at once. The sessions at Keycloak
// remain: they bring people back without a question, to a new session.
func TestKeycloakRevokeAll(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	notes := kcNotes(t, kc, "gatehouse")
	laptop := servers.StartChromium(t)
	phone := laptop.Another(t)
	bystander := laptop.Another(t)
	devices := map[string]*http.Client{}
	subject := ""
	for _, d := range []struct {
		name, user string
		tab        *servers.Chromium
	}{{"laptop", "alice", laptop}, {"phone", "alice", phone}, {"bystander", "bob", bystander}} {
		d.tab.Open(t, notes.base+"/notes/1")
		kc.SignIn(t, d.tab, d.user)
		devices[d.name] = cookiesOf(t, d.tab, notes.base)
		if d.name == "laptop" {
			_, after, _ := strings.Cut(d.tab.Text(t), ", as ")
			subject, _, _ = strings.Cut(after, " ")
		}
	}
	status := func(device string) int {
		return fetch(t, devices[device], http.MethodGet, notes.base+"/notes/1").status
	}
	list := must(notes.replicas[0].List(t.Context(), kc.Issuer("gatehouse"), subject))(t)
	if len(list) != 2 || status("laptop") != http.StatusOK || status("phone") != http.StatusOK {
		t.Fatalf("before: %d sessions, laptop %d, phone %d", len(list), status("laptop"), status("phone"))
	}
	if err := notes.replicas[0].RevokeAll(t.Context(), kc.Issuer("gatehouse"), subject); err != nil {
		t.Fatal(err)
	}
	// The phone returns within a second, so its attempt has to start over.
	phone.Open(t, notes.base+"/notes/2")
	if phone.URL() != notes.base+"/notes/2" {
		t.Errorf("the phone's next visit ended at %s", phone.URL())
	}
	notes.shows(t, phone, "Notes of Alice Owner")
	for device, want := range map[string]int{"laptop": http.StatusUnauthorized, "phone": http.StatusUnauthorized, "bystander": http.StatusOK} {
		for range notes.replicas { // the site has two replicas, which take turns
			if got := status(device); got != want {
				t.Errorf("%s: %d, want %d", device, got, want)
			}
		}
	}
	// The phone's new session is not the revoked one, not even after a refresh.
	again := cookiesOf(t, phone, notes.base)
	notes.clock.advance(kcTokenLife + 30*time.Second)
	if a := fetch(t, again, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
		t.Errorf("the phone's new session: %d", a.status)
	}
	notes.clock.advance(-kcTokenLife - 30*time.Second)
	laptop.Open(t, notes.base+"/notes/3")
	notes.shows(t, laptop, "Notes of Alice Owner", "at /notes/3,")
}
