package interop_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// speaks makes the site's handler: pages that ask for more, and what is done by
// hand. The scopes do not have the address of a person.
func (n *notesSite) speaks(t *testing.T, issuer string, client gatehouse.Client, address string) {
	t.Helper()
	n.provider = must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: n.wire, Logger: n.watch.logger()}))(t)
	login := must(gatehouse.NewRelyingParty(n.provider, gatehouse.RelyingPartyConfig{Client: client, RedirectURL: n.base + "/auth/callback", Scopes: []string{"profile"}}))(t)
	n.stops = append(n.stops, login.Shutdown)
	mux := http.NewServeMux()
	mux.Handle("/auth/", login.Handler())
	page := func(path string, more ...gatehouse.Requirement) {
		mux.Handle(path, login.With(more...).RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := gatehouse.IdentityFrom(r.Context())
			fmt.Fprintf(w, "%s of %s, acr %q, address %q.", r.URL.Path, id.ClaimString("preferred_username"), id.ACR(), id.ClaimString("email"))
		})))
	}
	claim := func(value string) gatehouse.Requirement {
		return gatehouse.Ask(gatehouse.AuthRequest{Claims: gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{"email": {Essential: true, Value: value}}}})
	}
	page("/any")
	page("/fresh", gatehouse.Ask(gatehouse.AuthRequest{Prompt: []string{"login"}, UILocales: []string{"en"}, ClaimsLocales: []string{"en"}, Display: "page"}), claim(address))
	page("/silent", gatehouse.Ask(gatehouse.AuthRequest{Prompt: []string{"none"}}))
	page("/wrong", claim("nobody@example.test"))
	page("/aged", gatehouse.MaxAge(time.Hour))
	page("/gold", gatehouse.ACR("urn:example:gold"))
	page("/level", gatehouse.ACR("loa-1")) // at LemonLDAP
	mux.Handle("/me", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := login.UserInfo(r.Context())
		if err != nil {
			login.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "fresh: %s", id.ClaimString("preferred_username"))
	})))
	mux.HandleFunc("/out", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><title>Out</title><form method=post action=/auth/logout><button id=local name=local value=1>Sign out here</button></form>`)
	})
	mux.HandleFunc("/leave", func(w http.ResponseWriter, r *http.Request) {
		location, err := login.LogoutURL(w, r, gatehouse.LogoutRequest{ReturnTo: n.base + "/bye", State: "cart 7"})
		if err != nil {
			login.Refuse(w, r, err)
			return
		}
		http.Redirect(w, r, location, http.StatusSeeOther)
	})
	mux.HandleFunc("/bye", func(w http.ResponseWriter, r *http.Request) {
		state, err := login.LogoutState(w, r)
		fmt.Fprintf(w, "bye %q %q", state, gatehouse.ErrorCode(err))
	})
	n.serve(n.watch.front(mux))
}

// portal is a page of another site with a form that starts a sign-in (OpenID
// Connect Core §4). It returns its address.
func portal(t *testing.T, to string, params url.Values) string {
	t.Helper()
	other := newSite(t)
	var form strings.Builder
	fmt.Fprintf(&form, `<!DOCTYPE html><title>Portal</title><form method=post action="%s">`, to)
	for name := range params {
		fmt.Fprintf(&form, `<input type=hidden name="%s" value="%s">`, name, params.Get(name))
	}
	form.WriteString(`<button id=go>Go</button></form>`)
	other.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, form.String())
	}))
	return strings.Replace(other.base, "127.0.0.1", "localhost", 1)
}

// started has another site start a sign-in, by a form (OpenID Connect Core §4).
// origin is that of the provider's pages, which signIn fills in.
func (n *notesSite) started(t *testing.T, browser *servers.Chromium, issuer, origin, target string, signIn func(*servers.Chromium)) {
	t.Helper()
	start := url.Values{"iss": {issuer}, "login_hint": {"alice"}, "target_link_uri": {target}}
	browser.Open(t, portal(t, n.base+"/auth/login", start))
	browser.Follow(t, "press the button of the portal", chromedp.Click(chromedp.CSS(`#go`)))
	browser.WaitFor(t, origin)
	signIn(browser)
	browser.WaitFor(t, target)
	for _, query := range []url.Values{start, {"iss": {issuer + "/other"}}} {
		a := fetch(t, &http.Client{CheckRedirect: stayHere}, http.MethodGet, n.base+"/auth/login?"+query.Encode(), "Accept", "text/html")
		to, _ := url.Parse(a.header.Get("Location"))
		known := query.Get("iss") == issuer
		if known && (a.status != http.StatusSeeOther || to.Query().Get("login_hint") != "alice") || !known && a.status != http.StatusBadRequest {
			t.Errorf("a start with %v: %d to %s", query, a.status, to)
		}
	}
}

// spoken is the walk that both servers take. signIn fills in the pages of the
// server for the first sign-in of a browser, and signOut that of a sign-out. gold
// is where somebody ends who wants an authentication that nobody has, and what they
// read there.
func (n *notesSite) spoken(t *testing.T, issuer, address string, gold [2]string, signIn, signOut func(browser *servers.Chromium)) {
	t.Helper()
	browser := servers.StartChromium(t)
	shows := func(browser *servers.Chromium, path, text string) {
		t.Helper()
		browser.Insist(t)
		if page := browser.Text(t); !strings.HasPrefix(browser.URL(), n.base+path) || !strings.Contains(page, text) {
			t.Errorf("%q at %s, want %q at %s", page, browser.URL(), text, path)
		}
	}
	// Nobody is signed in there: a silent sign-in ends here.
	browser.Open(t, n.base+"/silent")
	shows(browser, "/auth/callback", "without asking you")
	n.started(t, browser, issuer, issuer, n.base+"/any", func(b *servers.Chromium) {
		b.Run(t, "forget the hint", chromedp.Clear(chromedp.CSS(`input[name=login], input[name=username]`)))
		signIn(b)
	})
	shows(browser, "/any", "/any of alice")
	// A new authentication with a claim that has a value.
	browser = browser.Another(t)
	browser.Open(t, n.base+"/fresh")
	signIn(browser)
	shows(browser, "/fresh", fmt.Sprintf("address %q", address))
	for path, text := range map[string]string{"/aged": "/aged of alice", "/me": "fresh: alice"} {
		browser.Open(t, n.base+path)
		shows(browser, path, text)
	}
	browser.Open(t, n.base+"/wrong")
	shows(browser, "/auth/callback", "did not say of you what this page needs")
	browser.Open(t, n.base+"/gold")
	browser.Insist(t)
	if page := browser.Text(t); !strings.HasPrefix(browser.URL(), gold[0]) || !strings.Contains(page, gold[1]) {
		t.Errorf("an acr that nobody has ends at %s: %q", browser.URL(), page)
	}
	// Signed out here alone, and in again without a page.
	browser.Open(t, n.base+"/out")
	browser.Follow(t, "sign out here alone", chromedp.Click(chromedp.CSS(`#local`)))
	shows(browser, "/auth/logout", "signed out")
	browser.Open(t, n.base+"/silent")
	shows(browser, "/silent", "/silent of alice")
	browser.Open(t, n.base+"/leave")
	signOut(browser)
	shows(browser, "/bye", `bye "cart 7" ""`)
	browser.Open(t, n.base+"/silent")
	shows(browser, "/auth/callback", "without asking you")
}

// oidc-provider understands all of it.
func TestOIDCProviderSpeaks(t *testing.T) {
	notes := newNotes(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{notes.base + "/auth/callback"},
			PostLogoutRedirectURIs: []string{notes.base + "/bye"}}},
	})
	notes.speaks(t, op.Issuer, clientOf("notes"), "alice@example.test")
	notes.spoken(t, op.Issuer, "alice@example.test", [2]string{notes.base + "/gold", "not allowed"}, func(b *servers.Chromium) { op.SignIn(t, b, "alice") }, func(b *servers.Chromium) { op.SignOut(t, b) })
}

// Keycloak reads the claims parameter for acr alone; its scopes decide on others.
func TestKeycloakSpeaks(t *testing.T) {
	kc := shared.Keycloak(t)
	notes := newNotes(t)
	id, secret := kc.Register(t, "gatehouse", map[string]any{"client_name": "notes", "redirect_uris": []string{notes.base + "/auth/callback"},
		"post_logout_redirect_uris": []string{notes.base + "/bye"}, "grant_types": []string{"authorization_code", "refresh_token"}})
	notes.watch.public = append(notes.watch.public, "."+id) // Keycloak's codes end with it
	notes.speaks(t, kc.Issuer("gatehouse"), gatehouse.Client{ID: id, Secret: gatehouse.NewSecret(secret)}, "alice@example.test")
	again := [2]string{kc.Issuer("gatehouse"), "Sign in to your account"} // until the person gives up
	notes.spoken(t, kc.Issuer("gatehouse"), "alice@example.test", again, func(b *servers.Chromium) { kc.SignIn(t, b, "alice") }, func(*servers.Chromium) {})
}
