package interop_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// A person enters an account that a real host knows, over TLS, and signs in at the
// provider that the host names. Without the settings for this machine nobody gets to
// the host.
func TestApacheWebFinger(t *testing.T) {
	t.Parallel()
	notes := newNotes(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Clients: []servers.OIDCProviderClient{
		{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{notes.base + "/auth/callback"}, PostLogoutRedirectURIs: []string{notes.base + "/auth/logout"}}}})
	host := servers.StartWebFinger(t, op.Issuer)

	provider := must(gatehouse.NewProvider(op.Issuer, &gatehouse.ProviderConfig{Transport: notes.wire, Logger: notes.watch.logger(), Now: notes.clock.now}))(t)
	login := must(gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{Client: clientOf("notes"),
		RedirectURL: notes.base + "/auth/callback", Scopes: []string{"profile", "email"}}))(t)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	finder := must(gatehouse.NewFinder(gatehouse.FinderConfig{RootCAs: host.Roots, InnerNetworks: loopback, InsecureInnerAddresses: true}, provider))(t)
	notes.stops = append(notes.stops, login.Shutdown, finder.Shutdown)

	for name, c := range map[string]struct {
		config gatehouse.FinderConfig
		cause  string
	}{
		"the guard":        {gatehouse.FinderConfig{RootCAs: host.Roots}, "is an inner address"},
		"the authority":    {gatehouse.FinderConfig{InnerNetworks: loopback, InsecureInnerAddresses: true}, "certificate"},
		"another intranet": {gatehouse.FinderConfig{RootCAs: host.Roots, InnerNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, InsecureInnerAddresses: true}, "is an inner address"},
	} {
		strict := must(gatehouse.NewFinder(c.config, provider))(t)
		if _, err := strict.FindProvider(t.Context(), host.Host+"/joe"); gatehouse.ErrorCode(err) != "provider_not_found" || !strings.Contains(fmt.Sprint(err), c.cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if other := must(gatehouse.NewProvider("https://id.example.org", nil))(t); true {
		strict := must(gatehouse.NewFinder(gatehouse.FinderConfig{RootCAs: host.Roots, InnerNetworks: loopback, InsecureInnerAddresses: true}, other))(t)
		if _, err := strict.FindProvider(t.Context(), host.Host+"/joe"); gatehouse.ErrorCode(err) != "provider_not_allowed" {
			t.Errorf("an issuer that is not on the list: %v", err)
		}
	}
	for account, want := range map[string]string{"https://" + host.Host + "/joe": "", host.Host + "/moved": "", host.Host: "provider_not_found", host.Host + "/ann": "provider_not_found"} {
		if p, err := finder.FindProvider(t.Context(), account); gatehouse.ErrorCode(err) != want || (p == provider) != (want == "") {
			t.Errorf("%s: %v", account, err)
		}
	}
	notes.wire.want(t) // nobody has asked the provider for anything so far

	mux := http.NewServeMux()
	mux.Handle("/", notesHandler(login, op.Issuer))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!DOCTYPE html><html lang=en><title>Sign in</title><form method=post action=/start><label>Your account <input id=account name=account></label><button id=go>Go on</button></form></html>`)
	})
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		found, err := finder.FindProvider(r.Context(), r.PostFormValue("account"))
		if err != nil || found != provider {
			http.Error(w, gatehouse.ErrorCode(err), http.StatusNotFound)
			return
		}
		address, err := login.AuthURL(w, r, "/notes/7")
		if err != nil {
			http.Error(w, gatehouse.ErrorCode(err), http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, address, http.StatusSeeOther)
	})
	notes.serve(notes.watch.front(mux))
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/")
	browser.Run(t, "enter the account", chromedp.SendKeys(chromedp.CSS(`#account`), host.Host+"/joe"), chromedp.Click(chromedp.CSS(`#go`)))
	op.SignIn(t, browser, "alice")
	if browser.URL() != notes.base+"/notes/7" {
		t.Fatalf("the sign-in ended at %s", browser.URL())
	}
	notes.shows(t, browser, "Notes of User alice <alice@example.test>")

	// The cost of finding: one request to the host, one more for its redirect, and none
	// to the provider beside those of a sign-in.
	notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET jwks", "GET me")
	counts := map[string]int{}
	for _, line := range host.Requests(t) {
		counts[line]++
	}
	if want := (map[string]int{"200 /.well-known/webfinger": 3, "302 /.well-known/webfinger": 1, "200 /elsewhere": 1, "404 /.well-known/webfinger": 2}); fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("the host was asked %v, want %v", counts, want)
	}
}
