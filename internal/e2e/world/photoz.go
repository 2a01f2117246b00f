package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// The registrations of a photo site and a print shop at their authorization
// server. The secret of the photo site needs the form-encoding of RFC 6749
// §2.3.1.
const (
	PhotozIssuer = "https://as.test/realm"
	PhotozOrigin = "https://photoz.test"
	PhotozSecret = "photoz secret%"
	ShopSecret   = "shop-secret"
)

// UMAGrant is the grant type of UMA Grant §3.3.1.
const UMAGrant = "urn:ietf:params:oauth:grant-type:uma-ticket"

// Unreachable is the Warning of UMA Grant §3.2.2.
const Unreachable = `199 - "UMA Authorization Server Unreachable"`

// The clients of the photo site and of the print shop.
var (
	PhotozClient = gatehouse.Client{ID: "photoz", Secret: gatehouse.NewSecret(PhotozSecret)}
	ShopClient   = gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret(ShopSecret)}
)

// Photoz is a photo site under UMA with its authorization server. Alice and Bob
// have accounts there. When the test ends, no secret may have shown.
type Photoz struct {
	*World
	process *gatehouse.Provider // the server as the photo site's present process knows it

	mu      sync.Mutex
	methods []string // requests that reached the server's resource endpoint
}

// NewPhotoz makes a photo site off the network.
func NewPhotoz(t testing.TB) *Photoz {
	t.Helper()
	return photoz(New(t, PhotozIssuer))
}

// NewPhotozKeycloak is [NewPhotoz] with a server that speaks UMA as Keycloak
// does.
func NewPhotozKeycloak(t testing.TB) *Photoz {
	t.Helper()
	return photoz(NewKeycloak(t, PhotozIssuer))
}

// NewPhotozListening makes a photo site whose authorization server listens on
// loopback.
func NewPhotozListening(t testing.TB) *Photoz {
	t.Helper()
	return photoz(NewListening(t, "/realm"))
}

func photoz(world *World) *Photoz {
	w := &Photoz{World: world}
	w.Mint("client secret", PhotozSecret)
	w.Mint("client secret", url.QueryEscape(PhotozSecret))
	w.Mint("client secret", ShopSecret)
	for _, name := range []string{"alice", "bob"} {
		w.Kit.AddUser(name, middlewaretest.Claims{"email": name + "@example.org"})
	}
	w.Must(w.AddClient(opserver.Client{ID: "photoz", Secret: PhotozSecret, RedirectURIs: []string{PhotozOrigin + "/auth/callback"}}))
	w.Must(w.AddClient(opserver.Client{ID: "printshop", Secret: ShopSecret, RedirectURIs: []string{"https://shop.test/auth/callback"}}))
	w.OnRequest(opserver.EndpointResource, func(r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.methods = append(w.methods, r.Method)
	})
	w.Restart()
	w.T.Cleanup(w.CheckSilence)
	return w
}

// TwoServers makes two authorization servers with the same people, clients,
// secrets and signing keys, which give the same ids to their resources. Only
// the issuer distinguishes them. Each can also be reached in the world of the
// other.
func TwoServers(t testing.TB, o opserver.RPTOptions) (a, b *Photoz) {
	t.Helper()
	a, b = photoz(New(t, "https://as-a.test/realm")), photoz(New(t, "https://as-b.test/realm"))
	for _, pair := range [][2]*Photoz{{a, b}, {b, a}} {
		w, other, n := pair[0], pair[1], 0
		w.SetResourceIDs(func() string { n++; return fmt.Sprint("r-", n) })
		w.SetRPT(o)
		w.Serve(OriginOf(t, other.Issuer()), other.Server)
	}
	return a, b
}

// Restart begins a new process of the photo site, whose memory is empty.
func (w *Photoz) Restart() { w.process = w.Provider() }

// Process is the server as the present process of the photo site knows it.
func (w *Photoz) Process() *gatehouse.Provider { return w.process }

// ResourceServer makes a resource server of the present process.
func (w *Photoz) ResourceServer(c gatehouse.ResourceServerConfig) *gatehouse.ResourceServer {
	w.T.Helper()
	if c.Client.ID == "" {
		c.Client = PhotozClient
	}
	rs, err := gatehouse.NewResourceServer(w.process, c)
	w.Must(err)
	w.T.Cleanup(func() {
		w.Server.Close() // otherwise Shutdown would wait for requests that a fault holds
		w.Must(rs.Shutdown(context.Background()))
	})
	return rs
}

// Grants makes the owners' grants of the present process over a store; nil
// means memory. keys seal them.
func (w *Photoz) Grants(store gatehouse.GrantStore, keys ...gatehouse.Secret) *gatehouse.OwnerGrants {
	w.T.Helper()
	g, err := gatehouse.NewOwnerGrants(w.process, gatehouse.OwnerGrantsConfig{Client: PhotozClient, Store: store, Keys: keys})
	w.Must(err)
	w.T.Cleanup(func() {
		w.Server.Close()
		w.Must(g.Shutdown(context.Background()))
	})
	return g
}

// Agree lets a person sign in at the photo site, which may then act for them at
// the authorization server. It leaves the grant in g.
func (w *Photoz) Agree(g *gatehouse.OwnerGrants, user string) {
	w.T.Helper()
	if resp := w.AskToAgree(g, user); resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		w.T.Fatalf("%s does not get to agree: %s, %s", user, resp.Status, body)
	}
}

// AskToAgree is [Photoz.Agree] for a sign-in that may fail. It returns the
// answer at which the person ends.
func (w *Photoz) AskToAgree(g *gatehouse.OwnerGrants, user string) *http.Response {
	w.T.Helper()
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: w.Now})
	w.Must(err)
	login, err := gatehouse.NewRelyingParty(w.process, gatehouse.RelyingPartyConfig{
		Client: PhotozClient, RedirectURL: PhotozOrigin + "/auth/callback", Sessions: sessions, OwnerGrants: g,
	})
	w.Must(err)
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/agree", login.With(gatehouse.OwnerGrant()).RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	w.Serve(PhotozOrigin, mux)
	resp, err := w.Kit.Browser(w.T, user).Get(PhotozOrigin + "/agree")
	w.Must(err)
	w.Must(sessions.Shutdown(context.Background()))
	return resp
}

// Reset forgets what was counted so far.
func (w *Photoz) Reset() {
	w.World.Reset()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.methods = nil
}

// Made counts the calls of that method to the resource endpoint since the last
// Reset.
func (w *Photoz) Made(method string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.methods {
		if m == method {
			n++
		}
	}
	return n
}

// Spent is the requests to each endpoint of the server since the last Reset.
func (w *World) Spent() string {
	out := []string{}
	for _, e := range opserver.Endpoints() {
		if n := w.Count(e); n > 0 {
			out = append(out, fmt.Sprint(e, " ", n))
		}
	}
	return fmt.Sprint(out)
}

// WantSilence checks that texts which outsiders see contain no secret, neither
// a minted nor a named one.
func (w *World) WantSilence(texts []string, secrets ...string) {
	w.T.Helper()
	for _, s := range secrets {
		w.Mint("secret of the test", s)
	}
	w.Show(texts...)
	w.CheckSilence()
}

// Albums is a resource of the photo site itself.
var Albums = gatehouse.Resource{Name: "albums", Scopes: []string{"view", "add", "delete", "all"}}

// AlbumRules are the rules for Albums.
func AlbumRules() gatehouse.Rules {
	return gatehouse.Rules{
		"GET /albums/":    Albums.AllOf("view"),
		"POST /albums/":   Albums.AnyOf("all", "add").Ask("add"),
		"DELETE /albums/": Albums.AllOf("view", "delete"),
		"GET /healthz":    gatehouse.Public(),
	}
}

// Photos is a handler behind a middleware that says whom it served.
func Photos(protect func(http.Handler) http.Handler) http.Handler {
	return protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		if id == nil {
			_, _ = fmt.Fprint(w, "served nobody")
			return
		}
		_, _ = fmt.Fprintf(w, "served via %s sub %q granted %v", id.Via, id.Subject, id.Granted)
	}))
}

// Send makes one request to a handler, with a token if there is one.
func Send(h http.Handler, method, target, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Served reports whether [Photos] answered.
func Served(r *httptest.ResponseRecorder) bool { return strings.HasPrefix(r.Body.String(), "served") }

// Together runs f n times at once.
func Together[T any](n int, f func(i int) T) []T {
	results := make([]T, n)
	var wait sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-begin
			results[i] = f(i)
		})
	}
	close(begin)
	wait.Wait()
	return results
}

var challengeForm = regexp.MustCompile(`^UMA realm="([^"]*)", as_uri="([^"]*)", ticket="([^"]+)"$`)

// WantTicket checks a whole challenge and returns the ticket.
func (w *Photoz) WantTicket(r *httptest.ResponseRecorder) string {
	w.T.Helper()
	m := challengeForm.FindStringSubmatch(r.Header().Get("WWW-Authenticate"))
	if r.Code != http.StatusUnauthorized || m == nil {
		w.T.Fatalf("answer %d, WWW-Authenticate %q, body %q; want a challenge", r.Code, r.Header().Values("WWW-Authenticate"), r.Body)
	}
	if m[2] != w.Issuer() {
		w.T.Errorf("as_uri %q, want the issuer %q", m[2], w.Issuer())
	}
	if got := r.Header().Get("Cache-Control"); got != "no-store" {
		w.T.Errorf("Cache-Control %q on a challenge", got)
	}
	if Served(r) {
		w.T.Error("the handler ran beside the challenge")
	}
	w.Mint("ticket", m[3])
	return m[3]
}

// WantUnreachable checks the answer when there is no ticket.
func WantUnreachable(t testing.TB, r *httptest.ResponseRecorder) {
	t.Helper()
	if r.Code != http.StatusForbidden || r.Header().Get("Warning") != Unreachable || r.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("answer %d, Warning %q, WWW-Authenticate %q; want 403 and the Warning of UMA Grant §3.2.2", r.Code, r.Header().Get("Warning"), r.Header().Get("WWW-Authenticate"))
	}
	if Served(r) {
		t.Error("the handler ran without a permission")
	}
}

// WantTrouble checks the answer when nobody can say whether a token is valid.
func WantTrouble(t testing.TB, r *httptest.ResponseRecorder) {
	t.Helper()
	if r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d, Retry-After %q; want 503 and Retry-After", r.Code, r.Header().Get("Retry-After"))
	}
	if Served(r) {
		t.Error("the handler ran although nobody could say whether it may")
	}
}

// WantMistake is WantTrouble for what somebody has to mend first, so that nobody
// is told to come back later.
func WantMistake(t testing.TB, r *httptest.ResponseRecorder, code string) {
	t.Helper()
	if r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") != "" || !strings.Contains(r.Body.String(), `"`+code+`"`) {
		t.Errorf("answer %d, Retry-After %q, body %s; want 503, no Retry-After and %s", r.Code, r.Header().Get("Retry-After"), r.Body, code)
	}
	if r.Header().Get("Warning") != Unreachable {
		t.Errorf("Warning %q", r.Header().Get("Warning"))
	}
	if Served(r) {
		t.Error("the handler ran although nobody could say whether it may")
	}
}

// Exchange presents a ticket as the print shop, for a person.
func (w *Photoz) Exchange(ticket, user string) (rpt string, status int) {
	w.T.Helper()
	idToken, err := w.IDToken(user, "printshop")
	w.Must(err)
	body, status := w.AsShop("token_endpoint", url.Values{
		"grant_type": {UMAGrant}, "ticket": {ticket},
		"claim_token": {idToken}, "claim_token_format": {"http://openid.net/specs/openid-connect-core-1_0.html#IDToken"},
	})
	rpt, _ = body["access_token"].(string)
	return rpt, status
}

// AsShop posts a form as the print shop's client.
func (w *Photoz) AsShop(endpoint string, form url.Values) (map[string]any, int) {
	w.T.Helper()
	req, err := http.NewRequest(http.MethodPost, w.Endpoint(endpoint), strings.NewReader(form.Encode()))
	w.Must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("printshop", ShopSecret)
	resp, err := w.Transport().RoundTrip(req)
	w.Must(err)
	raw, err := io.ReadAll(resp.Body)
	w.Must(err)
	w.Must(resp.Body.Close())
	var body map[string]any
	_ = json.Unmarshal(raw, &body) // an answer that is not JSON has no members
	return body, resp.StatusCode
}

// RPT gets Bob a token for what method and target need, once the owner has
// shared the scopes.
func (w *Photoz) RPT(h http.Handler, method, target, owner string, scopes ...string) string {
	w.T.Helper()
	ticket := w.WantTicket(Send(h, method, target, ""))
	for _, r := range w.Resources(owner) {
		w.Must(w.Share(owner, r.ID, "bob", scopes...))
	}
	token, status := w.Exchange(ticket, "bob")
	if token == "" {
		w.T.Fatalf("no RPT: status %d", status)
	}
	return token
}

// ShopConfig configures the print shop on behalf of somebody who can prove who
// they are.
func (w *Photoz) ShopConfig(who string) gatehouse.UMATransportConfig {
	return gatehouse.UMATransportConfig{
		Client: ShopClient, Base: w.Transport(),
		Party: func(context.Context) string { return who },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			token, err := w.IDToken(who, "printshop")
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
		},
	}
}

// Shop makes the transport of a print shop, as a separate process.
func (w *Photoz) Shop(c gatehouse.UMATransportConfig) *gatehouse.UMATransport {
	w.T.Helper()
	tr, err := gatehouse.NewUMATransport(w.Provider(), c)
	w.Must(err)
	w.T.Cleanup(func() {
		w.Server.Close() // otherwise Shutdown would wait for requests that a fault holds
		w.Must(tr.Shutdown(context.Background()))
	})
	return tr
}

// TokensAt lists the bearer tokens of the requests to an origin, "" for none.
func (w *World) TokensAt(origin string) (tokens []string) {
	for _, c := range w.Calls() {
		if strings.HasPrefix(c.Address, origin+"/") {
			tokens = append(tokens, strings.TrimPrefix(c.Auth, "Bearer "))
		}
	}
	return tokens
}

// Get sends a GET and returns the status and body, or the error.
func Get(c *http.Client, address string) (int, string, error) {
	resp, err := c.Get(address)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = resp.Body.Close()
	}
	return resp.StatusCode, string(body), err
}

// WireLog is a wire that records the requests as they are sent.
type WireLog struct {
	mu   sync.Mutex
	sent []SentRequest
}

// SentRequest is a request on the wire.
type SentRequest struct {
	Method, Path, Query string
	Header              http.Header
	Body                string
}

// Pass is the wire.
func (l *WireLog) Pass(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.sent = append(l.sent, SentRequest{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body)})
	l.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return next(r), nil
}

// To lists the requests with that method to a path with that prefix.
func (l *WireLog) To(method, path string) (list []SentRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sent {
		if s.Method == method && strings.HasPrefix(s.Path, path) {
			list = append(list, s)
		}
	}
	return list
}
