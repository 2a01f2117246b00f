package interop_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"sync/atomic"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// notesPage shows who is signed in and where they are.
var notesPage = template.Must(template.New("notes").Parse(`<!DOCTYPE html>
<html lang=en><title>Notes</title>
<h1>Notes of {{.Name}}</h1>
<p>You are at {{.At}}, as {{.Subject}} with {{.Scopes}}.</p>
<form method=post action=/auth/logout><button id=sign-out>Sign out</button></form>
</html>`))

// notesSite is a site with sign-in. It has two replicas on one store, which
// take requests in turn.
type notesSite struct {
	*site
	watch    *watch
	wire     *wire // to the provider
	clock    *clock
	provider *gatehouse.Provider
	replicas [2]*gatehouse.Sessions
	client   func(*gatehouse.Provider) gatehouse.Client // of each replica, in place of the configured one
}

// newNotes makes the parts of the site. open makes its handler once the
// provider is known.
func newNotes(t *testing.T) *notesSite { return notesAt(t, newSite(t)) }

// notesAt is newNotes at a site that exists.
func notesAt(t *testing.T, s *site) *notesSite {
	w := newWatch(t)
	return &notesSite{site: s, watch: w, wire: w.wire(), clock: &clock{}}
}

// nobody says that nobody signs in at the site, so that there is no secret to find.
func (n *notesSite) nobody() {
	n.watch.logger().Info("nobody signs in")
	n.watch.note("nothing", "no secret was seen")
}

// open makes the handler. Its replicas share a store in memory.
func (n *notesSite) open(t *testing.T, issuer string, now *clock, config gatehouse.RelyingPartyConfig) {
	t.Helper()
	store := gatehouse.NewMemoryStore(n.clock.now)
	n.openOn(t, [2]gatehouse.Store{store, store}, issuer, now, config)
}

// openOn is open for replicas that have these stores.
func (n *notesSite) openOn(t *testing.T, stores [2]gatehouse.Store, issuer string, now *clock, config gatehouse.RelyingPartyConfig) {
	t.Helper()
	n.provider = must(gatehouse.NewProvider(issuer, &gatehouse.ProviderConfig{
		Transport: n.wire, Logger: n.watch.logger(), Now: now.now}))(t)
	var handlers [2]http.Handler
	for i := range handlers {
		n.replicas[i] = must(gatehouse.NewSessions(gatehouse.SessionsConfig{Store: stores[i], Now: n.clock.now}))(t)
		c := config
		c.Sessions = n.replicas[i]
		c.RedirectURL = n.base + "/auth/callback"
		if n.client != nil {
			c.Client = n.client(n.provider)
		}
		login := must(gatehouse.NewRelyingParty(n.provider, c))(t)
		handlers[i] = notesHandler(login, issuer)
		n.stops = append(n.stops, n.replicas[i].Shutdown)
	}
	var turn atomic.Uint64
	n.serve(n.watch.front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers[turn.Add(1)%2].ServeHTTP(w, r)
	})))
}

func notesHandler(login *gatehouse.RelyingParty, issuer string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/auth/logout", login.LogoutHandler())
	mux.Handle("/auth/backchannel-logout", login.BackchannelLogoutHandler())
	mux.Handle("/auth/frontchannel-logout", login.FrontchannelLogoutHandler())
	mux.Handle("/auth/login", login.LoginHandler())
	mux.Handle("/sign-in", login.LoginHandler()) // also for people who are signed in
	mux.Handle("/sid", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, gatehouse.IdentityFrom(r.Context()).ClaimString("sid"))
	})))
	mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		err := notesPage.Execute(w, map[string]any{"Name": id.ClaimString("name") + " <" + id.ClaimString("email") + ">",
			"At": r.URL.RequestURI(), "Subject": id.Subject, "Scopes": fmt.Sprint(id.Scopes)})
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	})))
	// The access token that the application would use, by its hash.
	mux.Handle("/token", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := login.Token(r.Context())
		if err != nil {
			http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
			return
		}
		sum := sha256.Sum256([]byte(token.AccessToken))
		fmt.Fprint(w, hex.EncodeToString(sum[:]))
	})))
	// Asks the provider's API as the person who is signed in.
	mux.Handle("/api", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, err := login.HTTPClient(r.Context(), r.URL.Query().Get("origin"))
		if err == nil {
			var resp *http.Response
			if resp, err = client.Get(r.URL.Query().Get("url")); err == nil {
				resp.Body.Close()
				fmt.Fprint(w, resp.StatusCode)
				return
			}
		}
		http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
	})))
	return mux
}

// settle waits until the work that requests started is done: refreshes and
// revocations.
func (n *notesSite) settle(t testing.TB) {
	t.Helper()
	for _, s := range n.replicas {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// signOut presses the button on the page.
func signOut(t testing.TB, browser *servers.Chromium) {
	t.Helper()
	browser.Run(t, "sign out", chromedp.Click(chromedp.CSS(`#sign-out`)))
}
