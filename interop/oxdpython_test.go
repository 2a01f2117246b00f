package interop_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// A demosite is example/oxdpython at a real server: the site of oxd-python's
// documentation.
type demosite struct {
	*copied
	issuer  string
	dir     string
	browser *servers.Chromium
	// signIn and signOut fill in the pages of the server.
	signIn, signOut func(browser *servers.Chromium)
}

func startDemosite(t *testing.T, path, issuer string, env ...string) *demosite {
	t.Helper()
	listen := freePort(t)
	d := &demosite{issuer: issuer, dir: t.TempDir(), copied: &copied{base: "http://" + listen, name: "oxdpython", path: path}}
	d.env = append([]string{"ISSUER=" + issuer, "LISTEN=" + listen, "STATE_DIR=" + d.dir}, env...)
	d.start(t)
	d.browser = servers.StartChromium(t)
	return d
}

// enter signs alice in by the link of the first page. A callback gives up on a
// token endpoint that is too slow; then she begins anew.
func (d *demosite) enter(t *testing.T) string {
	t.Helper()
	for end := time.Now().Add(insistTime); ; {
		d.browser.Open(t, d.base+"/")
		d.browser.Follow(t, "sign in", chromedp.Click(chromedp.CSS(`#sign-in`)))
		d.browser.Insist(t)
		if strings.HasPrefix(d.browser.URL(), d.issuer) {
			d.signIn(d.browser)
		}
		d.browser.Insist(t)
		if d.browser.URL() == d.base+"/profile" {
			return d.browser.Text(t)
		}
		if time.Now().After(end) {
			t.Fatalf("the sign-in ended at %s: %s", d.browser.URL(), d.browser.Text(t))
		}
	}
}

// leave presses the button, and comes back to an address of the site.
func (d *demosite) leave(t *testing.T, to string) {
	t.Helper()
	client := cookiesOf(t, d.browser, d.base)
	d.browser.Run(t, "sign out", chromedp.Click(chromedp.CSS(`#leave`)))
	d.signOut(d.browser)
	d.browser.WaitText(t, "You have signed out")
	if at, _, _ := strings.Cut(d.browser.URL(), "?"); at != to {
		t.Errorf("signed out to %s, want %s", at, to)
	}
	if a := fetch(t, client, http.MethodGet, d.base+"/profile"); a.status != http.StatusUnauthorized {
		t.Errorf("the profile after the sign-out: %d, want 401", a.status)
	}
}

// registered reads the client at the provider, with what the site remembers.
func (d *demosite) registered(t *testing.T) gatehouse.ClientMetadata {
	t.Helper()
	provider := must(gatehouse.NewProvider(d.issuer, nil))(t)
	r := must(gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
		Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{d.base + "/CodeState"}},
		Store:    gatehouse.FileRegistrationStore(filepath.Join(d.dir, "client.json")),
	}))(t)
	return must(r.Read(t.Context()))(t)
}

// sixMethods is what the documentation does, method by method.
func (d *demosite) sixMethods(t *testing.T, keepsContacts bool) {
	t.Helper()
	// register_site
	id := d.said("oxd_id = ")
	if id == "" {
		t.Fatal("the site is not registered")
	}
	if m := d.registered(t); !slices.Equal(m.RedirectURIs, []string{d.base + "/CodeState"}) || !slices.Equal(m.PostLogoutRedirectURIs, []string{d.base + "/"}) {
		t.Errorf("registered %+v", m)
	}

	// get_authorization_url
	a := insist(t, nil, func() answer { return fetch(t, nil, http.MethodGet, d.base+"/authorize", "Accept", "text/html") })
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther {
		t.Fatalf("authorize: %d, %v", a.status, err)
	}
	asked := to.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": id, "redirect_uri": d.base + "/CodeState", "scope": "openid profile email"} {
		if got := asked[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("the authorization URL has %s %q, want %q", name, got, want)
		}
	}
	if asked.Get("state") == "" || asked.Get("nonce") == "" {
		t.Errorf("the authorization URL lacks state or nonce: %v", asked)
	}

	// get_tokens_by_code, get_user_info, get_logout_uri
	profile := d.enter(t)
	for _, want := range []string{id, "alice@example.test", "Access token until"} {
		if !strings.Contains(profile, want) {
			t.Errorf("the profile lacks %q: %s", want, profile)
		}
	}
	d.leave(t, d.base+"/")

	// update_site_registration
	d.enter(t)
	if a := fetch(t, nil, http.MethodPost, d.base+"/update"); a.status != http.StatusUnauthorized {
		t.Errorf("a stranger updates: %d", a.status)
	}
	d.update(t, "https://elsewhere.example.org/bye", "an address of this site")
	d.browser.Open(t, d.base+"/profile")
	d.browser.Insist(t)
	d.update(t, d.base+"/signed-out", "status = ok")
	wantUpdated := func() {
		t.Helper()
		m := d.registered(t)
		kept := slices.Equal(m.Contacts, []string{"foo@example.com"})
		if !slices.Equal(m.PostLogoutRedirectURIs, []string{d.base + "/signed-out"}) || kept != keepsContacts {
			t.Errorf("after the update: %+v", m)
		}
	}
	wantUpdated()
	d.browser.Open(t, d.base+"/profile") // nobody was signed out
	d.browser.Insist(t)
	d.browser.WaitText(t, id)
	d.leave(t, d.base+"/signed-out")

	// The next start knows all of it.
	d.restart(t)
	if again := d.said("oxd_id = "); again != id {
		t.Errorf("after a restart the client is %q, not %q", again, id)
	}
	wantUpdated()
	if profile := d.enter(t); !strings.Contains(profile, id) {
		t.Errorf("after a restart: %s", profile)
	}
}

// update sends the form of the documentation.
func (d *demosite) update(t *testing.T, logoutRedirectURL, want string) {
	t.Helper()
	d.browser.Run(t, "fill in the form",
		chromedp.SendKeys(chromedp.CSS(`input[name=updateEmail]`), "foo@example.com"),
		chromedp.Clear(chromedp.CSS(`input[name=postLogoutRedirectUrl]`)),
		chromedp.SendKeys(chromedp.CSS(`input[name=postLogoutRedirectUrl]`), logoutRedirectURL))
	d.browser.Follow(t, "update", chromedp.Click(chromedp.CSS(`#update`)))
	if text := d.browser.Text(t); !strings.Contains(text, want) {
		t.Errorf("the update says %q, want %q", text, want)
	}
}

// The six methods of oxd-python's documentation at real servers: the site
// registers, changes that, signs somebody in, asks about them and signs them out.
func TestOxdPython(t *testing.T) {
	t.Parallel()
	path := buildCopied(t, "oxdpython")
	t.Run("oidc-provider", func(t *testing.T) {
		op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{})
		d := startDemosite(t, path, op.Issuer)
		d.signIn, d.signOut = func(b *servers.Chromium) { op.SignIn(t, b, "alice") }, func(b *servers.Chromium) { op.SignOut(t, b) }
		d.sixMethods(t, true)
	})
	t.Run("keycloak", func(t *testing.T) {
		kc := shared.Keycloak(t)
		d := startDemosite(t, path, kc.Issuer("gatehouse"), "INITIAL_ACCESS_TOKEN="+kc.InitialToken(t, "gatehouse"))
		d.signIn, d.signOut = func(b *servers.Chromium) { kc.SignIn(t, b, "alice") }, func(*servers.Chromium) {}
		d.sixMethods(t, false)
		// client_logout_uris: who signs out at the provider is signed out here.
		client := cookiesOf(t, d.browser, d.base)
		kc.EndSession(t, d.browser, "gatehouse")
		for end := time.Now().Add(insistTime); ; time.Sleep(insistPause) {
			if a := fetch(t, client, http.MethodGet, d.base+"/profile"); a.status == http.StatusUnauthorized {
				return
			}
			if time.Now().After(end) {
				t.Fatal("still signed in after the sign-out at Keycloak")
			}
		}
	})
	// A provider that registers nobody: the client id and secret are given.
	t.Run("by hand", func(t *testing.T) {
		listen := freePort(t)
		op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Clients: []servers.OIDCProviderClient{{ID: "demo", Secret: "demo-secret",
			RedirectURIs: []string{"http://" + listen + "/CodeState"}, PostLogoutRedirectURIs: []string{"http://" + listen + "/"}}}})
		d := &demosite{issuer: op.Issuer, dir: t.TempDir(), copied: &copied{base: "http://" + listen, name: "oxdpython", path: path}}
		d.env = []string{"ISSUER=" + op.Issuer, "LISTEN=" + listen, "STATE_DIR=" + d.dir, "CLIENT_ID=demo", "CLIENT_SECRET=demo-secret"}
		d.start(t)
		d.browser = servers.StartChromium(t)
		d.signIn, d.signOut = func(b *servers.Chromium) { op.SignIn(t, b, "alice") }, func(b *servers.Chromium) { op.SignOut(t, b) }
		if profile := d.enter(t); !strings.Contains(profile, "demo") || strings.Contains(profile, "Update the registration") {
			t.Errorf("the profile: %s", profile)
		}
		d.leave(t, d.base+"/")
		if id := d.said("oxd_id = "); id != "" {
			t.Errorf("the site has registered itself as %q", id)
		}
	})
}
