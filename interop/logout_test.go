package interop_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/redisstore"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/redis/go-redis/v9"
)

// The tests of this file sign people out at real providers. The site is two
// replicas that take requests in turn, each with its own connections to one
// Redis.

// redisStores are the stores of two replicas over one Redis.
func redisStores(t *testing.T) (stores [2]gatehouse.Store) {
	t.Helper()
	server := must(backing.StartRedis(t.Context(), backing.RedisConfig{}))(t)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range stores {
		client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		stores[i] = must(redisstore.New(client, redisstore.Config{}))(t)
	}
	return stores
}

// logoutTime bounds the wait for what a provider does after a sign-out.
const logoutTime = time.Minute

// awaitOut waits until the client is signed out, at both replicas.
func awaitOut(t *testing.T, notes *notesSite, client *http.Client) {
	t.Helper()
	for end := time.Now().Add(logoutTime); ; time.Sleep(insistPause) {
		one, two := fetch(t, client, http.MethodGet, notes.base+"/sid"), fetch(t, client, http.MethodGet, notes.base+"/sid")
		if one.status == http.StatusUnauthorized && two.status == http.StatusUnauthorized {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still signed in: %d and %d", one.status, two.status)
		}
	}
}

// staysIn checks that the client is signed in, at both replicas.
func staysIn(t *testing.T, notes *notesSite, client *http.Client) (sid string) {
	t.Helper()
	for range 2 {
		a := fetch(t, client, http.MethodGet, notes.base+"/sid")
		if a.status != http.StatusOK {
			t.Fatalf("signed out: %d %s", a.status, a.body)
		}
		sid = a.body
	}
	return sid
}

// A told is what a provider told the site about a logout.
type told struct {
	header, claims map[string]any // of the logout token
	query          url.Values     // of the frame
	cookies        int            // of the site that came along
}

// logoutsAt passes on what arrives at a path of the site.
func logoutsAt(t *testing.T, notes *notesSite, path string) <-chan told {
	t.Helper()
	arrived := make(chan told, 16)
	inner := *notes.handler.Load()
	notes.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			inner.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		said := told{query: r.URL.Query(), cookies: len(r.Cookies())}
		if token := form.Get("logout_token"); token != "" {
			notes.watch.note("logout token", token)
			parts := strings.Split(token, ".")
			for i, into := range []*map[string]any{&said.header, &said.claims} {
				part, err := base64.RawURLEncoding.DecodeString(parts[i])
				if err == nil {
					err = json.Unmarshal(part, into)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
		inner.ServeHTTP(w, r)
		arrived <- said
	}))
	return arrived
}

// next waits for the next logout.
func next(t *testing.T, arrived <-chan told) told {
	t.Helper()
	select {
	case said := <-arrived:
		return said
	case <-time.After(logoutTime):
		t.Fatal("the provider says nothing")
		return told{}
	}
}

// wantLogoutToken checks that a provider's token is what docs/providers.md says.
func (said told) wantLogoutToken(t *testing.T, sid string) {
	t.Helper()
	exp, _ := said.claims["exp"].(float64)
	iat, _ := said.claims["iat"].(float64)
	if said.header["typ"] != "logout+jwt" || said.claims["sid"] != sid || said.claims["sub"] == nil || said.claims["jti"] == nil || exp-iat != 120 {
		t.Errorf("logout token with %v and %v; the ID Token has the sid %s", said.header, said.claims, sid)
	}
}

// oidc-provider ends the sessions of one person at both replicas when she signs
// out there. Another person, and she in another browser, stay.
func TestOIDCProviderBackChannel(t *testing.T) {
	notes := newNotes(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{
		Clients: []servers.OIDCProviderClient{{ID: "notes", Secret: "notes-secret", RedirectURIs: []string{notes.base + "/auth/callback"},
			BackchannelLogoutURI: notes.base + "/auth/backchannel-logout", SessionRequired: true}},
	})
	notes.openOn(t, redisStores(t), op.Issuer, &clock{}, gatehouse.RelyingPartyConfig{Client: clientOf("notes"), Scopes: []string{"profile"}})
	arrived := logoutsAt(t, notes, "/auth/backchannel-logout")
	enter := func(browser *servers.Chromium, name string) (client *http.Client, sid string) {
		browser.Open(t, notes.base+"/sid")
		op.SignIn(t, browser, name)
		client = cookiesOf(t, browser, notes.base)
		return client, staysIn(t, notes, client)
	}
	browser := servers.StartChromium(t)
	alice, sid := enter(browser, "alice")
	phone, _ := enter(browser.Another(t), "alice")
	bob, _ := enter(browser.Another(t), "bob")

	op.EndSession(t, browser)
	next(t, arrived).wantLogoutToken(t, sid)
	awaitOut(t, notes, alice)
	staysIn(t, notes, phone)
	staysIn(t, notes, bob)

	alice, again := enter(browser, "alice")
	if again == sid {
		t.Error("the sid is the same after a new sign-in")
	}
	staysIn(t, notes, alice)
}

// kcLogoutSite is a site whose client is registered at Keycloak with the given
// metadata besides.
func kcLogoutSite(t *testing.T, kc *servers.Keycloak, host string, metadata map[string]any) *notesSite {
	t.Helper()
	notes := newNotes(t)
	inner := notes.base
	notes.base = strings.Replace(inner, "127.0.0.1", host, 1)
	for name, value := range metadata {
		if path, ok := value.(string); ok && strings.HasPrefix(path, "/") {
			metadata[name] = notes.base + path
		}
	}
	if _, ok := metadata["backchannel_logout_uri"]; ok {
		metadata["backchannel_logout_uri"] = inner + "/auth/backchannel-logout"
	}
	metadata["client_name"], metadata["redirect_uris"], metadata["grant_types"] = "notes", []string{notes.base + "/auth/callback"}, []string{"authorization_code", "refresh_token"}
	id, secret := kc.Register(t, "gatehouse", metadata)
	notes.watch.public = append(notes.watch.public, "."+id) // Keycloak's codes end with it
	notes.openOn(t, redisStores(t), kc.Issuer("gatehouse"), &clock{}, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: id, Secret: gatehouse.NewSecret(secret)}, Scopes: []string{"profile"}})
	return notes
}

// kcEnter signs somebody in. A callback gives up on a token endpoint that is
// too slow, as one is on a busy machine; then the person begins anew.
func kcEnter(t *testing.T, kc *servers.Keycloak, notes *notesSite, browser *servers.Chromium, user string) (client *http.Client, sid string) {
	t.Helper()
	for end := time.Now().Add(insistTime); ; {
		browser.Open(t, notes.base+"/sid")
		browser.Insist(t)
		if strings.HasPrefix(browser.URL(), kc.URL) {
			kc.SignIn(t, browser, user)
		}
		if browser.URL() == notes.base+"/sid" {
			client = cookiesOf(t, browser, notes.base)
			return client, staysIn(t, notes, client)
		}
		if time.Now().After(end) {
			t.Fatalf("the sign-in ended at %s", browser.URL())
		}
	}
}

// Keycloak ends the sessions of one person at both replicas when she signs out
// there.
func TestKeycloakBackChannel(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	notes := kcLogoutSite(t, kc, "127.0.0.1", map[string]any{
		"backchannel_logout_uri": "/auth/backchannel-logout", "backchannel_logout_session_required": true,
	})
	arrived := logoutsAt(t, notes, "/auth/backchannel-logout")
	browser := servers.StartChromium(t)
	alice, sid := kcEnter(t, kc, notes, browser, "alice")
	phone, _ := kcEnter(t, kc, notes, browser.Another(t), "alice")
	bob, _ := kcEnter(t, kc, notes, browser.Another(t), "bob")

	kc.EndSession(t, browser, "gatehouse")
	next(t, arrived).wantLogoutToken(t, sid)
	awaitOut(t, notes, alice)
	staysIn(t, notes, phone)
	staysIn(t, notes, bob)

	alice, _ = kcEnter(t, kc, notes, browser, "alice")
	staysIn(t, notes, alice)
}

// Keycloak's page after sign-out shows the site in a frame, with the sid that
// stands in its ID Token. The site is of another site than Keycloak, localhost
// and not 127.0.0.1, so Chromium sends no cookie along.
func TestKeycloakFrontChannel(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	notes := kcLogoutSite(t, kc, "localhost", map[string]any{
		"frontchannel_logout_uri": "/auth/frontchannel-logout", "frontchannel_logout_session_required": true,
	})
	arrived := logoutsAt(t, notes, "/auth/frontchannel-logout")
	browser := servers.StartChromium(t)
	alice, sid := kcEnter(t, kc, notes, browser, "alice")
	bob, _ := kcEnter(t, kc, notes, browser.Another(t), "bob")

	kc.EndSession(t, browser, "gatehouse")
	said := next(t, arrived)
	if said.query.Get("sid") != sid || said.query.Get("iss") != kc.Issuer("gatehouse") || said.cookies != 0 {
		t.Errorf("the frame has %v and %d cookies; the ID Token has the sid %s", said.query, said.cookies, sid)
	}
	awaitOut(t, notes, alice)
	staysIn(t, notes, bob)
	// What a policy forbids to frame is an error page of the browser there.
	targets := servers.Get(t, browser, "look at the frames", func(ctx context.Context, _ *chromedp.Target) (target.GetTargetsResult, error) {
		return chromedp.CallBrowser(ctx, target.GetTargets, target.GetTargetsParams{})
	})
	if !slices.ContainsFunc(targets.TargetInfos, func(i *target.Info) bool {
		return i.Type == "iframe" && strings.HasPrefix(i.URL, notes.base+"/auth/frontchannel-logout?")
	}) {
		t.Error("the browser does not show the frame")
	}

	alice, _ = kcEnter(t, kc, notes, browser, "alice")
	staysIn(t, notes, alice)
}
