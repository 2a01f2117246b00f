package gatehouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// rsWorld is a real authorization server on loopback, a resource server under
// test (photoz), a client (printshop), and the people alice and bob.
type rsWorld struct {
	*opserver.Server
	t        testing.TB
	addr     string
	http     *http.Server
	provider *gatehouse.Provider
	logged   *strings.Builder

	mu     sync.Mutex
	now    time.Time
	events []gatehouse.Event
	calls  []string // method and path of what reached the server's resource endpoint
}

var (
	rsClient   = gatehouse.Client{ID: "photoz", Secret: gatehouse.NewSecret("photoz secret%")}
	shopClient = url.UserPassword("printshop", "shop-secret")
)

const warning199 = `199 - "UMA Authorization Server Unreachable"`

func newRSWorld(t testing.TB) *rsWorld {
	t.Helper()
	w := &rsWorld{t: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), logged: &strings.Builder{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.addr = l.Addr().String()
	w.Server, err = opserver.New(opserver.Config{Issuer: "http://" + w.addr + "/realm", Now: w.Now, Keys: providerKeys()})
	w.must(err)
	w.serve(l)
	t.Cleanup(func() { w.Server.Close(); w.http.Close() })
	w.must(w.AddUser("alice", "pw", map[string]any{"email": "alice@example.org"}))
	w.must(w.AddUser("bob", "pw", map[string]any{"email": "bob@example.org"}))
	w.must(w.AddClient(opserver.Client{ID: "photoz", Secret: "photoz secret%", RedirectURIs: []string{"http://photoz.test/cb"}}))
	w.must(w.AddClient(opserver.Client{ID: "printshop", Secret: "shop-secret", RedirectURIs: []string{"http://shop.test/cb"}}))
	w.OnRequest(opserver.EndpointResource, func(r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls = append(w.calls, r.Method)
	})
	w.provider = w.newProvider(nil)
	return w
}

// newProvider makes what a process has of the server; each has caches of its own.
func (w *rsWorld) newProvider(transport http.RoundTripper) *gatehouse.Provider {
	p, err := gatehouse.NewProvider(w.Issuer(), &gatehouse.ProviderConfig{
		Transport: transport, Now: w.Now,
		Logger: slog.New(slog.NewTextHandler(lockedLog{w}, nil)),
		Events: func(_ context.Context, e gatehouse.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	})
	w.must(err)
	return p
}

type lockedLog struct{ w *rsWorld }

func (l lockedLog) Write(b []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logged.Write(b)
}

func (w *rsWorld) serve(l net.Listener) {
	server := &http.Server{Handler: w.Server, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	w.http = server
	go func() { _ = server.Serve(l) }() // ended by Close
}

// stop takes the server off the network; start brings it back on the same port.
func (w *rsWorld) stop() { w.http.Close() }

func (w *rsWorld) start() {
	l, err := net.Listen("tcp", w.addr)
	w.must(err)
	w.serve(l)
}

func (w *rsWorld) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *rsWorld) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *rsWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// reset forgets what was counted so far.
func (w *rsWorld) reset() {
	w.ResetCounts()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.events = nil, nil
}

// total counts all requests that reached the server since the last reset.
func (w *rsWorld) total() (n int) {
	for _, e := range opserver.Endpoints() {
		n += w.Count(e)
	}
	return n
}

// made counts calls of that method to the resource endpoint.
func (w *rsWorld) made(method string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == method {
			n++
		}
	}
	return n
}

// eventCodes lists the codes of the events of that name.
func (w *rsWorld) eventCodes(name gatehouse.EventName) (codes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Name == name {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

func (w *rsWorld) resourceServer(c gatehouse.ResourceServerConfig) *gatehouse.ResourceServer {
	w.t.Helper()
	if c.Client.ID == "" {
		c.Client = rsClient
	}
	rs, err := gatehouse.NewResourceServer(w.provider, c)
	w.must(err)
	w.t.Cleanup(func() {
		w.Server.Close() // what a fault holds would be waited for
		w.must(rs.Shutdown(context.Background()))
	})
	return rs
}

var albums = gatehouse.Resource{Name: "albums", Scopes: []string{"view", "add", "delete", "all"}}

func albumRules() gatehouse.Rules {
	return gatehouse.Rules{
		"GET /albums/":    albums.AllOf("view"),
		"POST /albums/":   albums.AnyOf("all", "add").Ask("add"),
		"DELETE /albums/": albums.AllOf("view", "delete"),
		"GET /healthz":    gatehouse.Public(),
	}
}

// photos is a handler that says whom it served, behind the middleware.
func photos(protect func(http.Handler) http.Handler) http.Handler {
	return protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		if id == nil {
			fmt.Fprint(w, "served nobody")
			return
		}
		fmt.Fprintf(w, "served via %s sub %q granted %v", id.Via, id.Subject, id.Granted)
	}))
}

// send makes one request to a handler, with a token if there is one.
func send(h http.Handler, method, target, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func served(r *httptest.ResponseRecorder) bool { return strings.HasPrefix(r.Body.String(), "served") }

var challengeForm = regexp.MustCompile(`^UMA realm="([^"]*)", as_uri="([^"]*)", ticket="([^"]+)"$`)

// wantTicket checks a whole challenge and returns the ticket.
func (w *rsWorld) wantTicket(r *httptest.ResponseRecorder) string {
	w.t.Helper()
	m := challengeForm.FindStringSubmatch(r.Header().Get("WWW-Authenticate"))
	if r.Code != http.StatusUnauthorized || m == nil {
		w.t.Fatalf("answer %d, WWW-Authenticate %q, body %q; want a challenge", r.Code, r.Header().Values("WWW-Authenticate"), r.Body)
	}
	if m[2] != w.Issuer() {
		w.t.Errorf("as_uri %q, want the issuer %q", m[2], w.Issuer())
	}
	if got := r.Header().Get("Cache-Control"); got != "no-store" {
		w.t.Errorf("Cache-Control %q on a challenge", got)
	}
	if served(r) {
		w.t.Error("the handler ran beside the challenge")
	}
	return m[3]
}

// wantUnreachable checks the answer for want of a ticket.
func wantUnreachable(t testing.TB, r *httptest.ResponseRecorder) {
	t.Helper()
	if r.Code != http.StatusForbidden || r.Header().Get("Warning") != warning199 || r.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("answer %d, Warning %q, WWW-Authenticate %q; want 403 and the Warning of UMA Grant §3.2.2", r.Code, r.Header().Get("Warning"), r.Header().Get("WWW-Authenticate"))
	}
	if served(r) {
		t.Error("the handler ran without a permission")
	}
}

// wantTrouble checks the answer for want of introspection.
func wantTrouble(t testing.TB, r *httptest.ResponseRecorder) {
	t.Helper()
	if r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d, Retry-After %q; want 503 and Retry-After", r.Code, r.Header().Get("Retry-After"))
	}
	if served(r) {
		t.Error("the handler ran although nobody could say whether it may")
	}
}

// endpoint reads an address from the server's UMA metadata.
func (w *rsWorld) endpoint(name string) string {
	w.t.Helper()
	resp, err := http.Get(w.Issuer() + "/.well-known/uma2-configuration")
	w.must(err)
	defer resp.Body.Close()
	var md map[string]any
	w.must(json.NewDecoder(resp.Body).Decode(&md))
	address, _ := md[name].(string)
	return address
}

// exchange is what printshop does with a ticket for user.
func (w *rsWorld) exchange(ticket, user string) (rpt string, status int) {
	w.t.Helper()
	idToken, err := w.IDToken(user, "printshop")
	w.must(err)
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {ticket},
		"claim_token": {idToken}, "claim_token_format": {"http://openid.net/specs/openid-connect-core-1_0.html#IDToken"},
	}
	body, status := w.asShop("token_endpoint", form)
	rpt, _ = body["access_token"].(string)
	return rpt, status
}

func (w *rsWorld) asShop(endpoint string, form url.Values) (map[string]any, int) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.endpoint(endpoint), strings.NewReader(form.Encode()))
	w.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	password, _ := shopClient.Password()
	req.SetBasicAuth(shopClient.Username(), password)
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	w.must(err)
	var body map[string]any
	_ = json.Unmarshal(raw, &body)
	return body, resp.StatusCode
}

// rpt gets bob a token for what method and target need, once the owner has
// shared the scopes.
func (w *rsWorld) rpt(h http.Handler, method, target, owner string, scopes ...string) string {
	w.t.Helper()
	ticket := w.wantTicket(send(h, method, target, ""))
	for _, r := range w.Resources(owner) {
		w.must(w.Share(owner, r.ID, "bob", scopes...))
	}
	token, status := w.exchange(ticket, "bob")
	if token == "" {
		w.t.Fatalf("no RPT: status %d", status)
	}
	return token
}

// wantNoSecrets checks that nothing secret was logged or is in the texts.
func (w *rsWorld) wantNoSecrets(texts []string, secrets ...string) {
	w.t.Helper()
	w.mu.Lock()
	texts = append(texts, w.logged.String(), fmt.Sprintf("%+v", w.events))
	w.mu.Unlock()
	for _, text := range texts {
		for _, s := range append(secrets, "photoz secret%") {
			if s != "" && strings.Contains(text, s) {
				w.t.Errorf("the secret %q shows in %q", s, text)
			}
		}
	}
}
