package opserver_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	verifier = "a-verifier-of-at-least-forty-three-characters-000"
	callback = "http://rp.test/callback"
	// rpSecret needs encoding and is long enough for HS256.
	rpSecret = "s: %+/ and more, for 256 bits of it"
	// statePrefix makes a state long enough for 128 bits.
	statePrefix = "state-of-128-bits-"
	umaGrant    = "urn:ietf:params:oauth:grant-type:uma-ticket"
	idFormat    = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a server with two people, a confidential client that may do
// everything (rp), a second one (shop) and a public one (spa).
type world struct {
	*opserver.Server
	t     *testing.T
	clock *clock
	base  string
	http  *http.Client
	meta  map[string]any
}

func newWorld(t *testing.T, path string) *world {
	t.Helper()
	return newWorldWith(t, opserver.Config{}, path)
}

// sharedKeys sign in all of these tests, because making an RSA key takes longer
// than most of the tests.
var sharedKeys = sync.OnceValues(opserver.KnownKeys)

// newWorldWith adds issuer, clock, title and keys to the config.
func newWorldWith(t *testing.T, c opserver.Config, path string) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}}
	srv := httptest.NewUnstartedServer(nil)
	w.base = "http://" + srv.Listener.Addr().String()
	c.Issuer, c.Now, c.Title = w.base+path, w.clock.Now, "Test provider"
	keys, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = keys
	op, err := opserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = op
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(op.Close)
	w.Server = op
	w.http = w.browser()
	w.must(op.AddUser("alice", "pw-alice", map[string]any{"email": "alice@example.org", "name": "Alice", "role": "owner"}))
	w.must(op.AddUser("bob", "pw-bob", map[string]any{"sub": "b-0815", "email": "bob@example.org"}))
	w.must(op.AddClient(opserver.Client{ID: "rp", Secret: rpSecret, Name: "The app", RedirectURIs: []string{callback},
		PostLogoutRedirectURIs: []string{"http://rp.test/bye"}, PostLogoutOrigins: []string{"http://other.test"}}))
	w.must(op.AddClient(opserver.Client{ID: "shop", Secret: "shop-secret", RedirectURIs: []string{callback}}))
	w.must(op.AddClient(opserver.Client{ID: "spa", RedirectURIs: []string{callback}}))
	w.meta = w.getJSON(w.Issuer() + "/.well-known/uma2-configuration")
	oidc := w.getJSON(w.Issuer() + "/.well-known/openid-configuration")
	for k, v := range oidc {
		w.meta[k] = v
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// browser is an HTTP client with a cookie jar that follows no redirect.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) endpoint(name string) string {
	w.t.Helper()
	v, _ := w.meta[name].(string)
	if v == "" {
		w.t.Fatalf("metadata lacks %s", name)
	}
	return v
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
	json map[string]any
}

func (w *world) do(c *http.Client, r *http.Request) answer {
	w.t.Helper()
	resp, err := c.Do(r)
	w.must(err)
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	w.must(resp.Body.Close())
	a := answer{Response: resp, body: string(b)}
	_ = json.Unmarshal(b, &a.json)
	return a
}

func (w *world) get(c *http.Client, address string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	w.must(err)
	return w.do(c, r)
}

func (w *world) getJSON(address string) map[string]any {
	w.t.Helper()
	a := w.get(w.http, address)
	if a.StatusCode != http.StatusOK || a.json == nil {
		w.t.Fatalf("GET %s: %d %q", address, a.StatusCode, a.body)
	}
	return a.json
}

func (w *world) send(c *http.Client, method, address, contentType, body, auth string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, address, strings.NewReader(body))
	w.must(err)
	r.Header.Set("Content-Type", contentType)
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	return w.do(c, r)
}

func (w *world) postForm(c *http.Client, address string, v url.Values, auth string) answer {
	w.t.Helper()
	return w.send(c, http.MethodPost, address, "application/x-www-form-urlencoded", v.Encode(), auth)
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

var (
	rpAuth   = basic("rp", rpSecret)
	shopAuth = basic("shop", "shop-secret")
)

// token sends a token request as a client.
func (w *world) token(auth string, v url.Values) answer {
	w.t.Helper()
	return w.postForm(w.http, w.endpoint("token_endpoint"), v, auth)
}

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var serial struct {
	sync.Mutex
	n int
}

// authorizeURL makes a valid request of the client rp, changed by pairs of name
// and value. The value "-" removes a parameter.
func (w *world) authorizeURL(change ...string) string {
	serial.Lock()
	serial.n++
	n := fmt.Sprintf("%06d", serial.n)
	serial.Unlock()
	ver := verifier + n
	v := url.Values{"response_type": {"code"}, "client_id": {"rp"}, "redirect_uri": {callback},
		"scope": {"openid profile email"}, "state": {statePrefix + n}, "nonce": {"nonce-of-128-bits-" + n},
		"code_challenge": {challengeOf(ver)}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "-" {
			v.Del(change[i])
		} else {
			v.Set(change[i], change[i+1])
		}
	}
	return w.endpoint("authorization_endpoint") + "?" + v.Encode()
}

// verifierOf returns the verifier that fits the request.
func verifierOf(authorizeURL string) string {
	u, _ := url.Parse(authorizeURL)
	return verifier + strings.TrimPrefix(u.Query().Get("state"), statePrefix)
}

var inputs = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// fill collects the hidden fields of a page's form and adds values.
func fill(page string, add url.Values) url.Values {
	v := url.Values{}
	for _, m := range inputs.FindAllStringSubmatch(page, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	for name, values := range add {
		v[name] = values
	}
	return v
}

var action = regexp.MustCompile(`action="([^"]+)"`)

// submit posts the first form of a page.
func (w *world) submit(c *http.Client, page answer, add url.Values) answer {
	w.t.Helper()
	m := action.FindStringSubmatch(page.body)
	if m == nil {
		w.t.Fatalf("no form on the page:\n%s", page.body)
	}
	return w.postForm(c, html.UnescapeString(m[1]), fill(page.body, add), "")
}

// signIn loads an authorization request and signs in if asked. It returns the
// parameters that come back to the client.
func (w *world) signIn(c *http.Client, authorizeURL, name string) url.Values {
	w.t.Helper()
	a := w.get(c, authorizeURL)
	if a.StatusCode == http.StatusOK {
		a = w.submit(c, a, url.Values{"username": {name}, "password": {"pw-" + name}})
	}
	if a.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("sign-in: %d %s", a.StatusCode, a.body)
	}
	u, err := url.Parse(a.Header.Get("Location"))
	w.must(err)
	if got := u.Scheme + "://" + u.Host + u.Path; got != callback {
		w.t.Fatalf("came back to %s", got)
	}
	return u.Query()
}

// redeem exchanges the code of an answer.
func (w *world) redeem(authorizeURL string, back url.Values) answer {
	w.t.Helper()
	return w.token(rpAuth, url.Values{"grant_type": {"authorization_code"}, "code": {back.Get("code")},
		"redirect_uri": {callback}, "code_verifier": {verifierOf(authorizeURL)}})
}

// tokens signs somebody in with a new browser and returns the token answer.
func (w *world) tokens(name string, change ...string) map[string]any {
	w.t.Helper()
	u := w.authorizeURL(change...)
	a := w.redeem(u, w.signIn(w.browser(), u, name))
	if a.StatusCode != http.StatusOK {
		w.t.Fatalf("token: %d %s", a.StatusCode, a.body)
	}
	return a.json
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// claims reads the payload of a JWT without checking the signature.
func claims(t *testing.T, jwt any) map[string]any {
	t.Helper()
	parts := strings.Split(str(jwt), ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %v", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// want checks the status and error code of an answer.
func (a answer) want(t *testing.T, status int, code string) {
	t.Helper()
	if a.StatusCode != status || str(a.json["error"]) != code {
		t.Errorf("got %d %s, want %d %q", a.StatusCode, a.body, status, code)
	}
}

// violations checks that there is exactly one violation with the text, or none
// for "".
func (w *world) violations(text string) {
	w.t.Helper()
	got := w.Violations()
	if text == "" && len(got) == 0 {
		return
	}
	if len(got) != 1 || text == "" || !strings.Contains(got[0], text) {
		w.t.Errorf("violations %q, want one with %q", got, text)
	}
	w.ResetViolations()
}
