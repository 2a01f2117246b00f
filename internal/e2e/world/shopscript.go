package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
)

// The origins that a print shop of a [ShopScript] meets.
const (
	ShopScriptIssuer  = "https://as.example.org/realm"
	ShopScriptPhotos  = "https://photos.example.org"
	ShopScriptSecret  = "client-secret-1"
	ShopScriptIDToken = "id.token.of-bob"

	shopScriptServer = "https://as.example.org"
	shopScriptToken  = "/odd/token-9"
)

// ShopScript is a print shop whose authorization server and resource servers
// act as a test says. It records what they saw.
type ShopScript struct {
	*World
	// Answer is what the token endpoint answers to its nth request, counted
	// from 1.
	Answer func(n int, form url.Values) ScriptAnswer
	// Permit decides on a request to a resource server.
	Permit func(r *http.Request, token string) bool

	mu      sync.Mutex
	forms   []url.Values
	seen    []ScriptSeen
	spent   map[string]bool // tickets
	tickets int
}

// ScriptAnswer is one answer of the token endpoint.
type ScriptAnswer struct {
	Status int
	Body   string
}

// ScriptSeen is one request as a resource server saw it.
type ScriptSeen struct{ Origin, Method, Path, Token, Body string }

// Raw is an answer given word for word.
func Raw(status int, body string) ScriptAnswer { return ScriptAnswer{status, body} }

// Granted is an answer with a token and additional members.
func Granted(token string, more ...string) ScriptAnswer {
	return Raw(http.StatusOK, `{"access_token":"`+token+`","token_type":"Bearer"`+strings.Join(append([]string{""}, more...), ",")+`}`)
}

// Refused is an error with additional members.
func Refused(status int, code string, more ...string) ScriptAnswer {
	return Raw(status, `{"error":"`+code+`"`+strings.Join(append([]string{""}, more...), ",")+`}`)
}

// NewShopScript makes a print shop that meets photos.example.org and the other
// origins.
func NewShopScript(t testing.TB, origins ...string) *ShopScript {
	t.Helper()
	w := &ShopScript{World: New(t, ShopScriptIssuer), spent: map[string]bool{}}
	w.Answer = func(n int, _ url.Values) ScriptAnswer { return Granted(fmt.Sprintf("rpt%d", n), `"expires_in":300`) }
	w.Permit = func(_ *http.Request, token string) bool { return token != "" }
	w.Serve(shopScriptServer, http.HandlerFunc(w.serveToken))
	for _, origin := range append(origins, ShopScriptPhotos) {
		w.Serve(origin, http.HandlerFunc(w.ServeResource))
	}
	return w
}

func (w *ShopScript) serveToken(rw http.ResponseWriter, r *http.Request) {
	if id, secret, _ := r.BasicAuth(); id != "printshop" || secret != ShopScriptSecret || r.URL.Path != shopScriptToken {
		w.T.Errorf("token request to %s by %q", r.URL, id)
	}
	if err := r.ParseForm(); err != nil {
		w.T.Error(err)
	}
	w.mu.Lock()
	ticket := r.PostForm.Get("ticket")
	if w.spent[ticket] {
		w.T.Errorf("ticket %q was turned in twice", ticket)
	}
	w.spent[ticket] = true
	w.forms = append(w.forms, r.PostForm)
	n := len(w.forms)
	w.mu.Unlock()
	a := w.Answer(n, r.PostForm)
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(a.Status)
	_, _ = io.WriteString(rw, a.Body)
}

// ServeResource is a resource server that admits the requests that Permit
// admits.
func (w *ShopScript) ServeResource(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.T.Error(err)
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.See(ScriptSeen{r.URL.Scheme + "://" + r.URL.Host, r.Method, r.URL.RequestURI(), token, string(body)})
	if w.Permit(r, token) {
		_, _ = io.WriteString(rw, "picture")
		return
	}
	rw.Header().Set("WWW-Authenticate", w.challenge())
	rw.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(rw, "challenge")
}

// ServePhotos lets another handler answer for photos.example.org.
func (w *ShopScript) ServePhotos(h http.HandlerFunc) { w.Serve(ShopScriptPhotos, h) }

// ServeServer lets another handler answer for the authorization server.
func (w *ShopScript) ServeServer(h http.HandlerFunc) { w.Serve(shopScriptServer, h) }

// challenge is a valid UMA challenge with a new ticket.
func (w *ShopScript) challenge() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tickets++
	return fmt.Sprintf(`UMA realm="photos", as_uri="%s", ticket="ticket-%d"`, ShopScriptIssuer, w.tickets)
}

// See records a request to a resource server.
func (w *ShopScript) See(s ScriptSeen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, s)
}

// Seen are the requests that reached resource servers so far.
func (w *ShopScript) Seen() []ScriptSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// Tickets counts the tickets issued so far.
func (w *ShopScript) Tickets() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tickets
}

// Asked is the requests to the token endpoint so far.
func (w *ShopScript) Asked() []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.forms)
}

// Tokens are the tokens of the requests that reached resource servers.
func (w *ShopScript) Tokens() (all []string) {
	for _, s := range w.Seen() {
		all = append(all, s.Token)
	}
	return all
}

// Told is a provider with given metadata, whose addresses nobody can guess.
// Those of Keycloak have a policy endpoint and none for claims.
func (w *ShopScript) Told(keycloak bool) *gatehouse.Provider {
	md := ShopScriptMetadata(keycloak)
	return w.Provider(func(c *gatehouse.ProviderConfig) { c.Metadata = &md })
}

// ShopScriptMetadata is the metadata of such a provider.
func ShopScriptMetadata(keycloak bool) gatehouse.Metadata {
	md := gatehouse.Metadata{
		TokenEndpoint:             shopScriptServer + shopScriptToken,
		PermissionEndpoint:        shopScriptServer + "/odd/perm-3",
		ClaimsInteractionEndpoint: shopScriptServer + "/odd/claims-1",
	}
	if keycloak {
		md.ClaimsInteractionEndpoint, md.PolicyEndpoint = "", shopScriptServer+"/odd/policy-2"
	}
	return md
}

// Shop makes the transport under test.
func (w *ShopScript) Shop(p *gatehouse.Provider, c gatehouse.UMATransportConfig) *gatehouse.UMATransport {
	w.T.Helper()
	c.Client = gatehouse.Client{ID: "printshop", Secret: gatehouse.NewSecret(ShopScriptSecret)}
	if c.Base == nil {
		c.Base = w.Transport()
	}
	tr, err := gatehouse.NewUMATransport(p, c)
	w.Must(err)
	return tr
}

// Client is an http.Client on a transport with the config.
func (w *ShopScript) Client(c gatehouse.UMATransportConfig) *http.Client {
	w.T.Helper()
	return &http.Client{Transport: w.Shop(w.Told(false), c)}
}

// ForBob is a config that acts for Bob and can prove it.
func ForBob() gatehouse.UMATransportConfig {
	return gatehouse.UMATransportConfig{
		Party: func(context.Context) string { return "bob" },
		Claims: func(context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(ShopScriptIDToken)}, nil
		},
	}
}

// WhenAsked is a config that pushes its claims only when asked.
func WhenAsked(c gatehouse.UMATransportConfig) gatehouse.UMATransportConfig {
	c.ClaimsWhenAsked = c.Claims != nil
	return c
}

// WantPicture fails the test unless the address is served.
func (w *ShopScript) WantPicture(c *http.Client, address string) {
	w.T.Helper()
	if status, body, err := Get(c, address); err != nil || status != http.StatusOK || body != "picture" {
		w.T.Errorf("GET %s: %d %q, %v", address, status, body, err)
	}
}

// WantCode fails the test unless the address fails with the code, without a
// secret.
func (w *ShopScript) WantCode(c *http.Client, address, code string) {
	w.T.Helper()
	status, _, err := Get(c, address)
	if gatehouse.ErrorCode(err) != code {
		w.T.Errorf("GET %s: %d, %v; want the code %q", address, status, err, code)
	}
	w.WantNoSecret(err)
}

// WantNoSecret fails the test if the error or the log contains a secret or any
// wording of the server.
func (w *ShopScript) WantNoSecret(err error) {
	w.T.Helper()
	text := w.Log() + fmt.Sprintf(" %v %+v %#v", err, err, err)
	if b, e := json.Marshal(err); e == nil {
		text += string(b)
	}
	for _, secret := range []string{ShopScriptSecret, ShopScriptIDToken, "ticket-", "rpt1", "rpt2", "remote words"} {
		if strings.Contains(text, secret) {
			w.T.Errorf("%q shows in an error or the log: %s", secret, text)
		}
	}
}
