package interop_test

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/chromedp"
)

// photoz is a site where people keep albums. An album is a page for its owner
// and an API for everybody else. The site is a relying party and a resource
// server.
type photoz struct {
	*site
	watch    *watch
	wire     *wire // to Keycloak
	clock    *clock
	provider *gatehouse.Provider
	login    *gatehouse.RelyingParty
	grants   *gatehouse.OwnerGrants
	api      *gatehouse.ResourceServer
}

func newPhotoz(t testing.TB, kc *servers.Keycloak, w *watch) *photoz {
	t.Helper()
	p := &photoz{site: newSite(t), watch: w, wire: w.wire(), clock: &clock{}}
	p.provider = must(gatehouse.NewProvider(kc.Issuer("gatehouse"), &gatehouse.ProviderConfig{
		Transport: p.wire, Logger: w.logger(), Now: p.clock.now}))(t)
	p.grants = must(gatehouse.NewOwnerGrants(p.provider, gatehouse.OwnerGrantsConfig{Client: clientOf("photoz")}))(t)
	sessions := must(gatehouse.NewSessions(gatehouse.SessionsConfig{Now: p.clock.now}))(t)
	p.login = must(gatehouse.NewRelyingParty(p.provider, gatehouse.RelyingPartyConfig{
		Client: clientOf("photoz"), RedirectURL: p.base + "/auth/callback", Scopes: []string{"profile"},
		Sessions: sessions, OwnerGrants: p.grants}))(t)
	p.api = p.newAPI(t)
	p.stops = append(p.stops, sessions.Shutdown, p.grants.Shutdown, p.api.Shutdown)
	p.serve(w.front(p.handler()))
	return p
}

// newAPI makes a resource server whose memory is empty, as after a restart.
func (p *photoz) newAPI(t testing.TB) *gatehouse.ResourceServer {
	t.Helper()
	return must(gatehouse.NewResourceServer(p.provider, gatehouse.ResourceServerConfig{
		Client: clientOf("photoz"), Realm: "photoz", PAT: p.grants}))(t)
}

// album returns the resource of an album.
func album(owner, name string) gatehouse.Resource {
	return gatehouse.Resource{Owner: owner, Name: name, Scopes: []string{"view", "print", "delete"},
		Type: "https://photoz.example/album", IconURI: "https://photoz.example/album.png",
		Description: "Keycloak does not take one"}
}

// brochures belong to the site itself.
var brochures = gatehouse.Resource{Name: "brochures", Scopes: []string{"brochure:read", "brochure:write"}}

// albumScopes are what the methods need.
var albumScopes = map[string]string{http.MethodGet: "view", http.MethodPost: "print", http.MethodDelete: "delete"}

func (p *photoz) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", p.login.CallbackHandler())
	mux.Handle("/auth/logout", p.login.LogoutHandler())

	owners := p.login.With(gatehouse.OwnerGrant())
	mux.Handle("GET /albums", owners.RequireLogin(http.HandlerFunc(p.albums)))
	mux.Handle("POST /albums", owners.RequireLogin(http.HandlerFunc(p.newAlbum)))

	mine := p.login.With(gatehouse.RequirementFunc("owner", func(r *http.Request, id *gatehouse.Identity) (bool, error) {
		return id.Subject == r.PathValue("user"), nil
	}))
	shared := p.api.UMAGuard(gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
		scope := albumScopes[r.Method]
		if scope == "" {
			return gatehouse.Permission{}, &gatehouse.Error{Code: "method", Status: http.StatusMethodNotAllowed}
		}
		return album(r.PathValue("user"), r.PathValue("album")).AllOf(scope), nil
	}))
	mux.Handle("/u/{user}/albums/{album}", gatehouse.Require(gatehouse.Either(mine, shared))(http.HandlerFunc(p.album)))

	mux.Handle("/brochures/", p.api.UMAProtect(gatehouse.Rules{
		"GET /brochures/{id}": brochures.AllOf("brochure:read"),
		"PUT /brochures/{id}": brochures.AllOf("brochure:write"),
		"GET /brochures/":     gatehouse.Public(),
	})(http.HandlerFunc(p.brochure)))
	return mux
}

func (p *photoz) albums(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	fmt.Fprintf(w, `<!DOCTYPE html><html lang=en><title>Albums</title><h1>Albums of %s</h1><p id=subject>%s</p>
<form method=post action=/albums><label>Name <input name=name></label><button>Make</button></form></html>`,
		html.EscapeString(id.ClaimString("name")), html.EscapeString(id.Subject))
}

func (p *photoz) newAlbum(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	made, err := p.api.Register(r.Context(), album(id.Subject, r.FormValue("name")))
	if err != nil {
		http.Error(w, gatehouse.ErrorCode(err), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, `<!DOCTYPE html><html lang=en><title>Album</title><h1>%s is made</h1><p id=resource>%s</p></html>`,
		html.EscapeString(made.Name), html.EscapeString(made.ID))
}

func (p *photoz) album(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	fmt.Fprintf(w, "%s %s by %s %q", r.Method, r.PathValue("album"), id.Via, slices.Sorted(slices.Values(id.Granted)))
}

func (p *photoz) brochure(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s, identity %t", r.Method, r.URL.Path, gatehouse.IdentityFrom(r.Context()) != nil)
}

// makeAlbum makes the person in the browser create an album. They are signed in
// at Keycloak or sign in as user now. It returns the album's owner and its id
// at Keycloak.
func (p *photoz) makeAlbum(t testing.TB, browser *servers.Chromium, name string) (owner, resource string) {
	t.Helper()
	text := func(selector string) string {
		return servers.Get(t, browser, "read "+selector, chromedp.Text(chromedp.CSS(selector)))
	}
	owner = text("#subject")
	browser.Follow(t, "make an album",
		chromedp.SendKeys(chromedp.CSS(`input[name=name]`), name),
		chromedp.Click(chromedp.CSS(`button`)))
	return owner, text("#resource")
}

// printshop is a site that fetches people's albums for others. It is a relying
// party and a UMA client.
type printshop struct {
	*site
	toKeycloak *wire
	toPhotoz   *wire
	clock      *clock
	login      *gatehouse.RelyingParty
	transport  *gatehouse.UMATransport
	asking     *gatehouse.UMATransport // lets Keycloak ask the owner
}

func newPrintshop(t testing.TB, kc *servers.Keycloak, w *watch) *printshop {
	t.Helper()
	p := &printshop{site: newSite(t), toKeycloak: w.wire(), toPhotoz: w.wire(), clock: &clock{}}
	provider := must(gatehouse.NewProvider(kc.Issuer("gatehouse"), &gatehouse.ProviderConfig{
		Transport: p.toKeycloak, Logger: w.logger(), Now: p.clock.now}))(t)
	sessions := must(gatehouse.NewSessions(gatehouse.SessionsConfig{Now: p.clock.now}))(t)
	p.login = must(gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client: clientOf("printshop"), RedirectURL: p.base + "/auth/callback", Scopes: []string{"profile"}, Sessions: sessions}))(t)
	config := gatehouse.UMATransportConfig{Client: clientOf("printshop"), Base: p.toPhotoz, Claims: p.login.ClaimToken}
	p.transport = must(gatehouse.NewUMATransport(provider, config))(t)
	config.SubmitRequest = true
	p.asking = must(gatehouse.NewUMATransport(provider, config))(t)
	p.stops = append(p.stops, sessions.Shutdown, p.transport.Shutdown, p.asking.Shutdown)

	mux := http.NewServeMux()
	mux.Handle("/auth/callback", p.login.CallbackHandler())
	mux.Handle("/auth/logout", p.login.LogoutHandler())
	mux.Handle("/print", p.login.RequireLogin(http.HandlerFunc(p.print)))
	p.serve(w.front(mux))
	return p
}

// print requests the address in the query, with the method given there, for the
// person who is signed in, and shows the result.
func (p *printshop) print(w http.ResponseWriter, r *http.Request) {
	client := &http.Client{Transport: p.transport}
	if r.FormValue("ask") != "" {
		client.Transport = p.asking
	}
	fmt.Fprintf(w, `<!DOCTYPE html><html lang=en><title>Print</title><p>%s</p><p id=subject>%s</p>
<form method=post action=/auth/logout><button id=sign-out>Sign out</button></form></html>`,
		html.EscapeString(outcomeOf(r, client, r.FormValue("method"), r.FormValue("url"))),
		html.EscapeString(gatehouse.IdentityFrom(r.Context()).Subject))
}

func outcomeOf(r *http.Request, client *http.Client, method, address string) string {
	req, err := http.NewRequestWithContext(r.Context(), method, address, nil)
	if err != nil {
		return "error"
	}
	resp, err := client.Do(req)
	if submitted, ok := errors.AsType[*gatehouse.SubmittedError](err); ok {
		return fmt.Sprintf("submitted, ticket %t, interval %v", !submitted.Ticket.IsZero(), submitted.Interval)
	}
	if err != nil {
		return "refused " + gatehouse.ErrorCode(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "error"
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}
