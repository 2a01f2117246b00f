package interop_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// counted counts the requests of the site to a provider.
type counted struct{ n atomic.Int64 }

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

// CB6 with two real providers: a site signs people in at oidc-provider and at
// Keycloak. They choose on a page; the answer of one provider counts at no
// address of the other, and no provider is asked about it.
func TestCB6_OIDCProviderAndKeycloak(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	s := newSite(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{s.base + "/auth/op/callback"}}},
	})
	sessions := must(gatehouse.NewSessions(gatehouse.SessionsConfig{}))(t)
	party := func(name, issuer string, line *counted) *gatehouse.RelyingParty {
		provider := must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{Transport: line}))(t)
		return must(gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
			Client: clientOf("notes"), RedirectURL: s.base + "/auth/" + name + "/callback", Sessions: sessions, ProviderName: name,
		}))(t)
	}
	toOP, toKC := &counted{}, &counted{}
	logins := must(gatehouse.NewLogins(gatehouse.LoginsConfig{}, party("op", op.Issuer, toOP), party("kc", kc.Issuer("gatehouse"), toKC)))(t)
	s.stops = append(s.stops, logins.Shutdown)
	mux := http.NewServeMux()
	mux.Handle("/auth/", logins.Handler())
	mux.Handle("/notes", logins.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "signed in at "+gatehouse.IdentityFrom(r.Context()).Issuer)
	})))
	var held atomic.Pointer[url.URL] // an answer that the site has not got yet
	var hold atomic.Bool
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/callback") && hold.Load() {
			held.Store(r.URL)
			fmt.Fprint(w, "held")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	enter := func(browser *servers.Chromium, name string) {
		browser.Open(t, s.base+"/notes")
		browser.WaitText(t, "Where do you want to sign in?")
		browser.Screenshot(t, "logins")
		browser.Follow(t, "choose "+name, chromedp.Click(chromedp.Search(fmt.Sprintf("//a[text()=%q]", name))))
		if name == "op" {
			op.SignIn(t, browser, "alice")
		} else {
			kc.SignIn(t, browser, "alice")
		}
	}
	browser := servers.StartChromium(t)
	enter(browser, "op")
	browser.WaitText(t, "signed in at "+op.Issuer)
	other := browser.Another(t)
	enter(other, "kc")
	other.WaitText(t, "signed in at "+kc.Issuer("gatehouse"))

	for _, from := range []string{"op", "kc"} {
		victim, to := browser.Another(t), map[string]string{"op": "kc", "kc": "op"}[from]
		hold.Store(true)
		enter(victim, from)
		victim.WaitText(t, "held")
		hold.Store(false)
		answer := held.Load()
		client := cookiesOf(t, victim, s.base)
		swapped := strings.Replace(answer.Path, "/"+from+"/", "/"+to+"/", 1)
		issuers := map[string]string{"op": op.Issuer, "kc": kc.Issuer("gatehouse")}
		with := func(iss string) string {
			q := answer.Query()
			q.Set("iss", iss)
			return q.Encode()
		}
		before := toOP.n.Load() + toKC.n.Load()
		for _, bad := range []string{swapped + "?" + answer.RawQuery, swapped + "?" + with(issuers[to]), answer.Path + "?" + with(issuers[to])} {
			if got := fetch(t, client, http.MethodGet, s.base+bad, "Sec-Fetch-Mode", "navigate", "Accept", "text/html"); got.status != http.StatusBadRequest {
				t.Errorf("%s's answer at %s: %d", from, strings.SplitN(bad, "?", 2)[0], got.status)
			}
		}
		if n := toOP.n.Load() + toKC.n.Load(); n != before {
			t.Errorf("%d requests to the providers", n-before)
		}
		if got := fetch(t, client, http.MethodGet, s.base+answer.String(), "Sec-Fetch-Mode", "navigate", "Accept", "text/html"); got.status != http.StatusSeeOther {
			t.Errorf("the same answer at its own address: %d %s", got.status, got.body)
		}
	}
}
