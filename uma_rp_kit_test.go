package gatehouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

const (
	umaIssuer  = "https://as.example.org/realm"
	umaPhotos  = "https://photos.example.org"
	umaSecret  = "client-secret-1"
	umaIDToken = "id.token.of-bob"
)

// umaWire carries requests to handlers in memory, so that tests can have any
// origin and count what leaves. The story over TCP is in uma_rp_story_test.go.
type umaWire map[string]http.Handler

func (w umaWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if r.URL == nil {
		return nil, errors.New("no URL")
	}
	h := w[r.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no host %q", r.URL.Host)
	}
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// umaAnswer is one answer of the token endpoint.
type umaAnswer struct {
	status int
	body   string
}

func umaGranted(token string, more ...string) umaAnswer {
	return umaAnswer{200, `{"access_token":"` + token + `","token_type":"Bearer"` + strings.Join(append([]string{""}, more...), ",") + `}`}
}

func umaRefused(status int, code string, more ...string) umaAnswer {
	return umaAnswer{status, `{"error":"` + code + `"` + strings.Join(append([]string{""}, more...), ",") + `}`}
}

// umaWorld is an authorization server and resource servers that do what a test
// tells them, and the record of what they saw.
type umaWorld struct {
	t    testing.TB
	wire umaWire
	// answer is what the token endpoint says to its nth request, from 1.
	answer func(n int, form url.Values) umaAnswer
	// permit decides about a request to a resource server.
	permit func(r *http.Request, token string) bool

	mu      sync.Mutex
	now     time.Time
	forms   []url.Values
	seen    []umaSeen
	spent   map[string]bool // tickets
	tickets int
	events  []gatehouse.Event
	log     strings.Builder
}

// umaSeen is one request as a resource server saw it.
type umaSeen struct{ origin, method, path, token, body string }

func newUMAWorld(t testing.TB, hosts ...string) *umaWorld {
	w := &umaWorld{t: t, wire: umaWire{}, spent: map[string]bool{}, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	w.answer = func(n int, _ url.Values) umaAnswer { return umaGranted(fmt.Sprintf("rpt%d", n), `"expires_in":300`) }
	w.permit = func(_ *http.Request, token string) bool { return token != "" }
	w.wire["as.example.org"] = http.HandlerFunc(w.serveToken)
	for _, h := range append(hosts, "photos.example.org") {
		w.wire[h] = http.HandlerFunc(w.serveResource)
	}
	return w
}

func (w *umaWorld) serveToken(rw http.ResponseWriter, r *http.Request) {
	if id, secret, _ := r.BasicAuth(); id != "printshop" || secret != umaSecret || r.URL.Path != "/odd/token-9" {
		w.t.Errorf("token request to %s by %q", r.URL, id)
	}
	if err := r.ParseForm(); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	ticket := r.PostForm.Get("ticket")
	if w.spent[ticket] {
		w.t.Errorf("ticket %q was turned in twice", ticket)
	}
	w.spent[ticket] = true
	w.forms = append(w.forms, r.PostForm)
	n := len(w.forms)
	w.mu.Unlock()
	a := w.answer(n, r.PostForm)
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(a.status)
	io.WriteString(rw, a.body)
}

func (w *umaWorld) serveResource(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.mu.Lock()
	w.seen = append(w.seen, umaSeen{r.URL.Scheme + "://" + r.URL.Host, r.Method, r.URL.RequestURI(), token, string(body)})
	w.mu.Unlock()
	if w.permit(r, token) {
		io.WriteString(rw, "picture")
		return
	}
	rw.Header().Set("WWW-Authenticate", w.challenge())
	rw.WriteHeader(http.StatusUnauthorized)
	io.WriteString(rw, "challenge")
}

// challenge is a proper UMA challenge with a fresh ticket.
func (w *umaWorld) challenge() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tickets++
	return fmt.Sprintf(`UMA realm="photos", as_uri="%s", ticket="ticket-%d"`, umaIssuer, w.tickets)
}

func (w *umaWorld) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *umaWorld) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// asked is what the token endpoint was asked so far.
func (w *umaWorld) asked() []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.forms)
}

// tokens are the tokens of the requests that reached resource servers.
func (w *umaWorld) tokens() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, s := range w.seen {
		all = append(all, s.token)
	}
	return all
}

func (w *umaWorld) provider(keycloak bool) *gatehouse.Provider {
	md := &gatehouse.Metadata{
		TokenEndpoint:             "https://as.example.org/odd/token-9",
		PermissionEndpoint:        "https://as.example.org/odd/perm-3",
		ClaimsInteractionEndpoint: "https://as.example.org/odd/claims-1",
	}
	if keycloak {
		md.ClaimsInteractionEndpoint, md.PolicyEndpoint = "", "https://as.example.org/odd/policy-2"
	}
	p, err := gatehouse.NewProvider(umaIssuer, &gatehouse.ProviderConfig{
		Transport: w.wire, Metadata: md, Now: w.Now, Events: w.event,
		Logger: slog.New(slog.NewJSONHandler(umaLog{w}, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *umaWorld) event(_ context.Context, e gatehouse.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// codes are the codes of the grant events.
func (w *umaWorld) codes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, e := range w.events {
		if e.Name == gatehouse.EventRPT {
			all = append(all, e.Code)
		}
	}
	return all
}

type umaLog struct{ w *umaWorld }

func (l umaLog) Write(b []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(b)
}

// transport makes the transport under test.
func (w *umaWorld) transport(p *gatehouse.Provider, c gatehouse.UMATransportConfig) *gatehouse.UMATransport {
	c.Client = gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret(umaSecret)}
	if c.Base == nil {
		c.Base = w.wire
	}
	tr, err := gatehouse.NewUMATransport(p, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return tr
}

// client is an http.Client on a transport with the config.
func (w *umaWorld) client(c gatehouse.UMATransportConfig) *http.Client {
	return &http.Client{Transport: w.transport(w.provider(false), c)}
}

// umaBob is a config that acts for bob and can prove it.
func umaBob() gatehouse.UMATransportConfig {
	return gatehouse.UMATransportConfig{
		Party: func(context.Context) string { return "bob" },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(umaIDToken)}, nil
		},
	}
}

// get sends a GET and returns the status and body, or the error.
func umaGet(c *http.Client, url string) (int, string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// wantPicture fails the test unless url is served.
func (w *umaWorld) wantPicture(c *http.Client, url string) {
	w.t.Helper()
	if status, body, err := umaGet(c, url); err != nil || status != 200 || body != "picture" {
		w.t.Errorf("GET %s: %d %q, %v", url, status, body, err)
	}
}

// wantCode fails the test unless url fails with the code, without a secret.
func (w *umaWorld) wantCode(c *http.Client, url, code string) {
	w.t.Helper()
	status, _, err := umaGet(c, url)
	if gatehouse.ErrorCode(err) != code {
		w.t.Errorf("GET %s: %d, %v; want the code %q", url, status, err, code)
	}
	w.wantNoSecret(err)
}

// wantNoSecret fails the test if the error or the log holds a secret.
func (w *umaWorld) wantNoSecret(err error) {
	w.t.Helper()
	w.mu.Lock()
	text := w.log.String()
	w.mu.Unlock()
	text += fmt.Sprintf(" %v %+v %#v", err, err, err)
	if b, e := json.Marshal(err); e == nil {
		text += string(b)
	}
	for _, secret := range []string{umaSecret, umaIDToken, "ticket-", "rpt1", "rpt2", "remote words"} {
		if strings.Contains(text, secret) {
			w.t.Errorf("%q shows in an error or the log: %s", secret, text)
		}
	}
}
