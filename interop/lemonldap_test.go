package interop_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// lemonLDAPTokenLife is how long LemonLDAP's access tokens live here.
const lemonLDAPTokenLife = 300 * time.Second

// LemonLDAP::NG, one server for all of it: a day of a person, the ways of answering,
// what a sign-in asks for, registration, and the front channel.
func TestLemonLDAP(t *testing.T) {
	t.Parallel()
	sites, clients := lemonLDAPClients(t)
	l := servers.StartLemonLDAP(t, clients...)
	browser := servers.StartChromium(t)
	t.Run("offers", func(t *testing.T) { lemonLDAPOffers(t, l) })
	t.Run("sign-in", func(t *testing.T) { lemonLDAPDay(t, l, notesAt(t, sites["notes"]), browser.Another(t)) })
	t.Run("answers", func(t *testing.T) {
		at := answering{issuer: l.Issuer(), client: "speaking", origin: l.URL, shown: "Doctor Who <dwho@badwolf.org>", sites: sites,
			signIn: func(t *testing.T, b *servers.Chromium) { l.SignIn(t, b, "dwho") }}
		at.in(t, browser, of("code-form", "hybrid-fragment", "implicit", "implicit-form", "id-token")...)
		// It forgets the code_challenge of a request for both, and then misses it.
		at.client = "strict"
		at.refused(t, browser, of("hybrid-form")[0], "code_refused")
	})
	t.Run("asks", func(t *testing.T) { lemonLDAPAsks(t, l, notesAt(t, sites["asking"]), browser.Another(t)) })
	t.Run("secrets", func(t *testing.T) { lemonLDAPSecrets(t, l) })
	t.Run("registration", func(t *testing.T) { lemonLDAPRegisters(t, l, browser.Another(t)) })
	t.Run("front channel", func(t *testing.T) {
		lemonLDAPFrames(t, l, notesAt(t, sites["framed"]), notesAt(t, sites["named"]), browser.Another(t))
	})
}

// lemonLDAPClients makes the clients, and sites for them by their names.
func lemonLDAPClients(t *testing.T) (sites map[string]*site, clients []servers.LemonLDAPClient) {
	sites, redirects := sitesFor(t, speakings)
	clients = []servers.LemonLDAPClient{
		{ID: "speaking", RedirectURIs: redirects, Settings: map[string]any{"RequirePKCE": 0}},
		{ID: "strict", RedirectURIs: redirects},
		{ID: "slash", Settings: map[string]any{"ClientSecret": "a/slash-secret", "AllowClientCredentialsGrant": 1}},
	}
	for _, c := range []servers.LemonLDAPClient{
		{ID: "notes"},
		{ID: "asking", Settings: map[string]any{"IDTokenForceClaims": 1, "UserInfoSignAlg": "RS256"}},
		{ID: "framed", Settings: map[string]any{"LogoutType": "front", "LogoutSessionRequired": 1}},
		{ID: "named", Settings: map[string]any{"LogoutType": "front", "LogoutSessionRequired": 1, "IDTokenForceClaims": 1}, Claims: map[string]string{"sid": "uid"}},
	} {
		s := newSite(t)
		sites[c.ID] = s
		c.RedirectURIs, c.PostLogoutRedirectURIs = []string{s.base + "/auth/callback"}, []string{s.base + "/auth/logout", s.base + "/bye"}
		if c.Settings["LogoutType"] != nil {
			c.Settings["LogoutUrl"] = s.base + "/auth/frontchannel-logout"
		}
		clients = append(clients, c)
	}
	return sites, clients
}

// lemonLDAPOffers is what docs/providers.md says that it does not have, and what its
// issuer is.
func lemonLDAPOffers(t *testing.T, l *servers.LemonLDAP) {
	var metadata struct {
		Methods     []string `json:"token_endpoint_auth_methods_supported"`
		BackChannel bool     `json:"backchannel_logout_supported"`
		Revocation  string   `json:"revocation_endpoint"`
	}
	a := fetch(t, nil, http.MethodGet, l.Issuer()+".well-known/openid-configuration")
	if err := json.Unmarshal([]byte(a.body), &metadata); err != nil {
		t.Fatal(err)
	}
	slices.Sort(metadata.Methods)
	if !slices.Equal(metadata.Methods, []string{"client_secret_basic", "client_secret_post"}) || metadata.BackChannel || metadata.Revocation != "" {
		t.Errorf("it offers %+v", metadata)
	}
	// Its issuer has a slash at the end, byte for byte.
	provider := must(gatehouse.NewProvider(l.URL, &gatehouse.ProviderConfig{Logger: slog.New(slog.DiscardHandler)}))(t)
	if _, err := must(provider.ClientCredentials(clientOf("slash"), "profile"))(t).Token(); gatehouse.ErrorCode(err) != "metadata_issuer_mismatch" {
		t.Errorf("the issuer without its slash: %v", err)
	}
}

// lemonLDAPDay: another site starts the sign-in, the tokens are renewed, the person
// signs out there and here.
func lemonLDAPDay(t *testing.T, l *servers.LemonLDAP, notes *notesSite, browser *servers.Chromium) {
	notes.open(t, l.Issuer(), &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf("notes"), Scopes: []string{"profile", "email", "offline_access"}})
	notes.started(t, browser, l.Issuer(), l.URL, notes.base+"/notes/7", func(b *servers.Chromium) { l.SignIn(t, b, "dwho") })
	notes.shows(t, browser, "Notes of Doctor Who <dwho@badwolf.org>", "at /notes/7,")
	notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET oauth2/jwks", "GET oauth2/userinfo")

	client := cookiesOf(t, browser, notes.base)
	sent := map[string]bool{}
	for range 2 {
		notes.clock.advance(lemonLDAPTokenLife + time.Second)
		if a := fetch(t, client, http.MethodGet, notes.base+"/notes/1"); a.status != http.StatusOK {
			t.Fatalf("after the token has expired: %d %s", a.status, a.body)
		}
		sent[notes.wire.want(t, "token refresh_token", "GET oauth2/userinfo")[0].form.Get("refresh_token")] = true
	}
	if len(sent) != 1 {
		t.Error("the refresh token rotates")
	}
	notes.clock.advance(-2 * (lemonLDAPTokenLife + time.Second))
	signOut(t, browser)
	l.Accept(t, browser)
	if !strings.HasPrefix(browser.URL(), notes.base+"/auth/logout?") {
		t.Fatalf("the sign-out ended at %s", browser.URL())
	}
	notes.shows(t, browser, "You are signed out")
	notes.settle(t)
	notes.wire.want(t) // there is nothing to revoke a token with
	browser.Open(t, notes.base+"/notes/8")
	l.SignIn(t, browser, "rtyler")
	notes.shows(t, browser, "Notes of Rose Tyler", "at /notes/8,")
}

// lemonLDAPAsks: prompt, max_age and acr.
func lemonLDAPAsks(t *testing.T, l *servers.LemonLDAP, notes *notesSite, browser *servers.Chromium) {
	notes.speaks(t, l.Issuer(), clientOf("asking"), "dwho@badwolf.org")
	// It does not look at prompt=none until somebody is signed in.
	browser.Open(t, notes.base+"/silent")
	l.SignIn(t, browser, "dwho")
	for _, page := range [][2]string{
		{"/silent", `/silent of dwho, acr "loa-1"`}, {"/level", "/level of dwho"}, {"/aged", "/aged of dwho"}, {"/me", "fresh: dwho"},
		{"/gold", "not allowed"}, {"/wrong", "did not say of you what this page needs"},
	} {
		browser.Open(t, notes.base+page[0])
		notes.shows(t, browser, page[1])
	}
	// For five seconds after an authentication, prompt=login makes no new one.
	for end := time.Now().Add(insistTime); ; time.Sleep(insistPause) {
		browser.Open(t, notes.base+"/out")
		browser.Follow(t, "sign out here alone", chromedp.Click(chromedp.CSS(`#local`)))
		browser.Open(t, notes.base+"/fresh")
		if strings.HasPrefix(browser.URL(), l.URL) {
			break
		}
		notes.shows(t, browser, "/fresh of dwho")
		if time.Now().After(end) {
			t.Fatal("it never asks for a new authentication")
		}
	}
	browser.Follow(t, "renew the session", chromedp.Click(chromedp.CSS(`button[type=submit]`)))
	l.SignIn(t, browser, "dwho")
	notes.shows(t, browser, `/fresh of dwho, acr "loa-1", address "dwho@badwolf.org"`)
	browser.Open(t, notes.base+"/leave")
	l.Accept(t, browser)
	notes.shows(t, browser, `bye "cart 7" ""`)
}

// lemonLDAPSecrets: it takes what HTTP Basic has as it is, where RFC 6749 §2.3.1 has
// it form-urlencoded. In the body a secret may have any sign.
func lemonLDAPSecrets(t *testing.T, l *servers.LemonLDAP) {
	for _, method := range []gatehouse.AuthMethod{gatehouse.AuthBasic, gatehouse.AuthPost} {
		w := newWatch(t)
		provider := must(gatehouse.NewProvider(l.Issuer(), &gatehouse.ProviderConfig{Transport: w.wire(), Logger: w.logger()}))(t)
		w.logger().Info("a token for the client itself")
		w.note("secret", "a/slash-secret")
		client := gatehouse.Client{ID: "slash", Secret: gatehouse.NewSecret("a/slash-secret"), Auth: method}
		_, err := must(provider.ClientCredentials(client, "profile"))(t).Token()
		if (err == nil) != (method == gatehouse.AuthPost) || err != nil && gatehouse.ErrorCode(err) != "client_refused" {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// lemonLDAPRegisters: the site registers when somebody wants to sign in. There is no
// way back from its page after the sign-out, and nothing to manage.
func lemonLDAPRegisters(t *testing.T, l *servers.LemonLDAP, browser *servers.Chromium) {
	notes, all := registering(t, "", func(m *gatehouse.ClientMetadata) { m.TokenEndpointAuthMethod = gatehouse.AuthPost })
	notes.open(t, l.Issuer(), &clock{}, gatehouse.RelyingPartyConfig{Scopes: []string{"profile", "email"}})
	browser.Open(t, notes.base+"/notes/1")
	l.SignIn(t, browser, "dwho")
	l.Accept(t, browser)
	notes.shows(t, browser, "Notes of Doctor Who <dwho@badwolf.org>", "at /notes/1,")
	notes.wire.want(t, "GET openid-configuration", "POST oauth2/register", "token authorization_code", "GET oauth2/jwks", "GET oauth2/userinfo")
	if _, err := (*all)[0].Read(t.Context()); gatehouse.ErrorCode(err) != "client_registration_missing" {
		t.Errorf("read: %v", err)
	}
	signOut(t, browser)
	l.Accept(t, browser)
	if page := browser.Text(t); !strings.HasPrefix(browser.URL(), l.URL) || !strings.Contains(page, "Connect") {
		t.Errorf("the sign-out ended at %s:\n%s", browser.URL(), page)
	}
}

// lemonLDAPFrames: its page after a sign-out shows the sites in frames. The sid of a
// frame is the person's name, which the ID Token has only as a claim of the
// administrator. So a site without it learns of the sign-out when its token ends.
func lemonLDAPFrames(t *testing.T, l *servers.LemonLDAP, framed, named *notesSite, browser *servers.Chromium) {
	arrived := map[*notesSite]<-chan told{}
	clients := map[*notesSite]*http.Client{}
	enter := func(notes *notesSite) (sid string) {
		browser.Open(t, notes.base+"/sid")
		if strings.HasPrefix(browser.URL(), l.URL) {
			l.SignIn(t, browser, "dwho")
		}
		clients[notes] = cookiesOf(t, browser, notes.base)
		return staysIn(t, notes, clients[notes])
	}
	for i, notes := range []*notesSite{framed, named} {
		id := []string{"framed", "named"}[i]
		notes.open(t, l.Issuer(), &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf(id), Scopes: []string{"profile"}})
		arrived[notes] = logoutsAt(t, notes, "/auth/frontchannel-logout")
		if sid := enter(notes); sid != []string{"", "dwho"}[i] {
			t.Errorf("%s: the ID Token has the sid %q", id, sid)
		}
	}
	browser.Open(t, l.URL+"/oauth2/logout")
	l.Accept(t, browser)
	for notes, frames := range arrived {
		if said := next(t, frames); said.query.Get("sid") != "dwho" || said.query.Get("iss") != l.Issuer() {
			t.Errorf("the frame of %s has %v", notes.base, said.query)
		}
	}
	awaitOut(t, named, clients[named])
	staysIn(t, framed, clients[framed])
	framed.clock.advance(lemonLDAPTokenLife + time.Second)
	awaitOut(t, framed, clients[framed])

	// The way back from a sign-out here leads through that page.
	enter(named)
	browser.Open(t, named.base+"/notes/1")
	signOut(t, browser)
	l.Accept(t, browser)
	next(t, arrived[named])
	l.Accept(t, browser)
	if !strings.HasPrefix(browser.URL(), named.base+"/auth/logout?") {
		t.Errorf("the sign-out ended at %s", browser.URL())
	}
}
