package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A watch knows the secrets that went over the wires of a test, and has the log
// that gatehouse wrote in the meantime. At the end of the test it searches the
// log for them.
type watch struct {
	mu      sync.Mutex
	secrets map[string]string // what they are
	public  []string          // what a secret may end with, such as a client's id
	log     bytes.Buffer
}

func newWatch(t testing.TB) *watch {
	t.Helper()
	w := &watch{secrets: make(map[string]string)}
	t.Cleanup(func() { w.check(t) })
	return w
}

// shortest is the least length of a secret. Anything shorter is a name.
const shortest = 12

// note records a secret.
func (w *watch) note(what, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.public {
		value = strings.TrimSuffix(value, end)
	}
	if len(value) >= shortest {
		w.secrets[value] = what
	}
}

func (w *watch) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *watch) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// check fails the test for each secret in the log. The end of a long secret is
// enough to recognise it. The beginning is not, because all JWTs begin alike.
func (w *watch) check(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log.String()
	if log == "" || len(w.secrets) == 0 {
		t.Errorf("%d secrets were seen and %d bytes of log: that proves nothing", len(w.secrets), len(log))
	}
	for value, what := range w.secrets {
		part := value[max(0, len(value)-2*shortest):]
		for line := range strings.Lines(log) {
			if strings.Contains(line, part) || strings.Contains(line, url.QueryEscape(part)) {
				t.Errorf("the log has a secret, %s: %.200s", what, strings.ReplaceAll(line, part, "*****"))
			}
		}
	}
	if t.Failed() {
		t.Logf("the log of gatehouse:\n%s", log)
	}
}

// front records the secrets that browsers bring to a site.
func (w *watch) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for _, c := range r.Cookies() {
			w.note("cookie "+c.Name, c.Value)
		}
		w.note("code of a callback", r.URL.Query().Get("code"))
		next.ServeHTTP(rw, r)
	})
}

// A wire is a RoundTripper that lists what goes through it, for a party that
// must keep the secrets in it.
type wire struct {
	watch *watch

	mu    sync.Mutex
	calls []call
	taken int // how many of them
}

// A call is one request and its answer.
type call struct {
	name   string     // such as "POST permission" or "token refresh_token"
	bearer string     // of the request
	form   url.Values // of the request
	status int
	answer string    // its body
	at     time.Time // when the answer was there
}

func (w *watch) wire() *wire { return &wire{watch: w} }

// secretMembers are the parameters and members that hold secrets.
var secretMembers = []string{"access_token", "refresh_token", "id_token", "id_token_hint", "ticket", "claim_token", "rpt",
	"token", "code", "code_verifier", "client_secret", "client_assertion", "registration_access_token"}

var ticketParam = regexp.MustCompile(`ticket="([^"]*)"`)

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := readAll(r.Body)
	if err != nil {
		return nil, err
	}
	c := call{bearer: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if c.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	c.name = nameOf(r, c.form)
	if _, secret, ok := r.BasicAuth(); ok {
		c.bearer = ""
		w.watch.note("client secret", secret)
	}
	w.watch.note("token sent", c.bearer)
	for _, name := range secretMembers {
		w.watch.note(name+" sent", c.form.Get(name))
	}
	out := r.Clone(r.Context())
	if r.Body != nil {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err == nil {
		err = w.read(resp, &c)
	}
	w.mu.Lock()
	c.at = time.Now()
	w.calls = append(w.calls, c)
	w.mu.Unlock()
	return resp, err
}

// read records an answer and leaves it unchanged.
func (w *wire) read(resp *http.Response, c *call) error {
	body, err := readAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	c.status, c.answer = resp.StatusCode, string(body)
	if found := ticketParam.FindStringSubmatch(resp.Header.Get("WWW-Authenticate")); found != nil {
		w.watch.note("ticket of a challenge", found[1])
	}
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return nil // a page, or a list
	}
	for _, name := range secretMembers {
		value, _ := members[name].(string)
		w.watch.note(name+" given", value)
	}
	return nil
}

func readAll(body io.ReadCloser) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	defer body.Close()
	return io.ReadAll(body)
}

// resourcePath is the path of one resource at Keycloak.
var resourcePath = regexp.MustCompile(`^resource_set/[^/]+$`)

// nameOf names a request by its purpose: a grant, a well-known document, or
// method and path without what is common at a server.
func nameOf(r *http.Request, form url.Values) string {
	if grant := form.Get("grant_type"); grant != "" {
		return "token " + grant[strings.LastIndexByte(grant, ':')+1:]
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	for _, common := range []string{"/.well-known/", "/protocol/openid-connect/", "/authz/protection/"} {
		if _, rest, ok := strings.Cut("/"+path, common); ok {
			path = rest
		}
	}
	if resourcePath.MatchString(path) {
		path = "resource_set/{id}"
	}
	if r.URL.RawQuery != "" {
		path += "?"
	}
	return r.Method + " " + path
}

// take returns what went through since the last time.
func (w *wire) take() []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls[w.taken:]
	w.taken = len(w.calls)
	return calls
}

// last is when the last request of a name was answered.
func (w *wire) last(name string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.calls) {
		if c.name == name {
			return c.at
		}
	}
	return time.Time{}
}

// forgetUnanswered drops the requests since the last take that got no answer.
func (w *wire) forgetUnanswered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls[:w.taken:w.taken], slices.DeleteFunc(slices.Clone(w.calls[w.taken:]), func(c call) bool { return c.status == 0 })...)
}

// mark is how many requests went through so far. rewind forgets those since
// then.
func (w *wire) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

func (w *wire) rewind(mark int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = w.calls[:mark]
}

// lastBearer returns the token that was sent last.
func (w *wire) lastBearer(t testing.TB) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Backward(w.calls) {
		if c.bearer != "" {
			return c.bearer
		}
	}
	t.Fatal("no request had a token")
	return ""
}

// want fails the test unless exactly these requests went through, in this
// order, since the last take. It returns them.
func (w *wire) want(t testing.TB, names ...string) []call {
	t.Helper()
	calls := w.take()
	if got := namesOf(calls); !slices.Equal(got, names) {
		t.Fatalf("requests %q, want %q", got, names)
	}
	return calls
}

// await is like want, for requests of which some are sent after the answer, in
// any order.
func (w *wire) await(t testing.TB, names ...string) {
	t.Helper()
	slices.Sort(names)
	for end := time.Now().Add(insistTime); ; time.Sleep(insistPause) {
		w.mu.Lock()
		got := namesOf(w.calls[w.taken:])
		w.mu.Unlock()
		slices.Sort(got)
		switch late := time.Now().After(end); {
		case slices.Equal(got, names):
			w.take()
			return
		case late || len(got) > len(names):
			t.Fatalf("requests %q, want %q", got, names)
		}
	}
}

func namesOf(calls []call) []string {
	names := make([]string, 0, len(calls))
	for _, c := range calls {
		names = append(names, c.name)
	}
	return names
}

// count is how many of the calls have this name.
func count(calls []call, name string) int {
	n := 0
	for _, c := range calls {
		if c.name == name {
			n++
		}
	}
	return n
}

// The watch detects the secrets that it is for.
func TestWatch(t *testing.T) {
	const secret = "eyJhbGciOiJub25lIn0.a-token-of-some-length.with-its-signature"
	for _, test := range []struct {
		name, secret, log string
		want              int // errors
	}{
		{"kept", secret, "signed in", 0},
		{"whole", secret, "got " + secret, 1},
		{"its end", secret, "got …" + secret[len(secret)-30:], 1},
		{"its begin", secret, "got " + secret[:16], 0},
		{"escaped", "0123456789abcdefgh+/==ij", "token=0123456789abcdefgh%2B%2F%3D%3Dij", 1},
		{"no log", secret, "", 1},
		{"no secret", "", "signed in", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &watch{secrets: make(map[string]string)}
			w.note("token", test.secret)
			if test.log != "" {
				w.logger().Info(test.log)
			}
			rec := &recorder{TB: t}
			w.check(rec)
			if len(rec.errors) != test.want {
				t.Errorf("errors %q, want %d", rec.errors, test.want)
			}
			if strings.Contains(fmt.Sprint(rec.errors), secret) {
				t.Error("the error shows the secret")
			}
		})
	}
}
