package main

import (
	"encoding/json"
	"go/format"
	"html"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	// processes is set for the program, which the test binary is then. It names a
	// file, to which each process adds its number.
	processes = "CGI_TEST_PROCESSES"
	script    = "/cgi-bin/notes"
)

func TestMain(m *testing.M) {
	name := os.Getenv(processes)
	if name == "" {
		os.Exit(m.Run())
	}
	file := must(os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600))
	must(file.WriteString(strconv.Itoa(os.Getpid()) + "\n"))
	must(0, file.Close())
	main()
}

// maxLines keeps the program as short as the script that it takes the place of.
const maxLines = 30

// TestLines counts every line of the program that is code, the imports too.
func TestLines(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if pretty, err := format.Source(source); err != nil || string(pretty) != string(source) {
		t.Errorf("the program is not as gofmt writes it: %v", err)
	}
	lines := 0
	for line := range strings.Lines(string(source)) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "//") {
			lines++
		}
	}
	if strings.Contains(string(source), "/*") || lines > maxLines {
		t.Errorf("the program has %d lines, promised are at most %d", lines, maxLines)
	}
}

// web is a web server with the page and the script, and a provider beside it.
type web struct {
	t         *testing.T
	op        *opserver.Server
	site      string // the address of the script
	processes string
	stderr    strings.Builder
	started   atomic.Int64 // how often the server has started the script
}

func newWeb(t *testing.T) *web {
	t.Helper()
	w := &web{t: t, processes: filepath.Join(t.TempDir(), "processes")}
	keys, err := opserver.KnownKeys()
	w.must(err)
	beside := httptest.NewUnstartedServer(nil)
	w.op, err = opserver.New(opserver.Config{Issuer: "http://" + beside.Listener.Addr().String(), Keys: keys})
	w.must(err)
	w.op.SetRegistration(&opserver.RegistrationOptions{})
	w.must(w.op.AddUser("mustafa", "secret of mustafa", map[string]any{"name": "Mustafa", "email": "mustafa@example.org"}))
	beside.Config.Handler = w.op
	beside.Start()
	t.Cleanup(beside.Close)
	t.Cleanup(w.op.Close)

	server := httptest.NewUnstartedServer(nil)
	w.site = "http://" + server.Listener.Addr().String() + script
	binary, err := os.Executable()
	w.must(err)
	data, err := os.ReadFile("data.json")
	w.must(err)
	// A server of net/http/cgi takes no line of a header beyond 1,024 bytes. With RSA, the
	// ID Token in the address of the sign-out would be longer.
	here := strings.NewReplacer(`"contacts"`, `"id_token_signed_response_alg": "ES256", "contacts"`,
		"https://c3.example.org/cgi-bin/notes", w.site, "https://c2.example.org", w.op.Issuer()).Replace(string(data))
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "data.json"), []byte(here), 0o600))
	program := &cgi.Handler{Path: binary, Root: script, Dir: dir, Stderr: &w.stderr, Env: []string{
		"SITE_FILE=data.json", "STORE_FILE=notes.db", processes + "=" + w.processes,
	}}
	run := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.started.Add(1)
		program.ServeHTTP(rw, r)
	})
	mux := http.NewServeMux()
	mux.Handle(script, run)
	mux.Handle(script+"/", run)
	mux.Handle("/", http.FileServer(http.Dir(".")))
	server.Config.Handler = mux
	server.Start()
	t.Cleanup(server.Close)
	return w
}

func (w *web) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// browser is a person's browser. It follows no redirect by itself.
func (w *web) browser() *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &browser{w: w, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type browser struct {
	w      *web
	client *http.Client
}

type page struct {
	status   int
	location string
	body     string
	at       string
}

// open navigates to an address, or posts a form there. A navigation is repeated, as
// people do, while the page says that the provider does not answer: on a busy machine
// a process may wait longer for it than a page does.
func (b *browser) open(address string, form url.Values) page {
	b.w.t.Helper()
	p := b.send(address, form)
	for range 20 {
		if p.status != http.StatusServiceUnavailable || form != nil {
			break
		}
		p = b.send(address, form)
	}
	return p
}

// send sends one request, with what browsers send along.
func (b *browser) send(address string, form url.Values) page {
	b.w.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.w.t.Context(), method, address, body)
	b.w.must(err)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	resp, err := b.client.Do(r)
	b.w.must(err)
	text, err := io.ReadAll(resp.Body)
	b.w.must(err)
	b.w.must(resp.Body.Close())
	return page{resp.StatusCode, resp.Header.Get("Location"), string(text), address}
}

// redirected checks that a page redirects to an address that begins so.
func (b *browser) redirected(p page, prefix string) string {
	b.w.t.Helper()
	if p.status/100 != 3 || !strings.HasPrefix(p.location, prefix) {
		b.w.t.Fatalf("%s: %d to %q, want a redirect to %s…\n%s\n%s", p.at, p.status, p.location, prefix, p.body, b.w.stderr.String())
	}
	return p.location
}

var (
	action = regexp.MustCompile(`action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
)

// submit posts the form of a page.
func (b *browser) submit(p page, form url.Values) page {
	b.w.t.Helper()
	to := action.FindStringSubmatch(p.body)
	if p.status != http.StatusOK || to == nil {
		b.w.t.Fatalf("%s: %d, and no form\n%s\n%s", p.at, p.status, p.body, b.w.stderr.String())
	}
	for _, m := range hidden.FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	at, err := url.Parse(p.at)
	b.w.must(err)
	there, err := at.Parse(html.UnescapeString(to[1]))
	b.w.must(err)
	return b.open(there.String(), form)
}

// TestSignInAcrossProcesses: the sign-in begins in one process, comes back to
// another, and the page is a third one's. All of them are one client at the
// provider, and so is whoever comes later. Signing out ends it for all.
func TestSignInAcrossProcesses(t *testing.T) {
	w := newWeb(t)
	b := w.browser()
	site := strings.TrimSuffix(w.site, script)
	if home := b.open(site+"/", nil); !strings.Contains(home.body, `<a href="`+script+`">Click here to login</a>`) {
		t.Errorf("%s", home.body)
	}
	away := b.redirected(b.open(w.site, nil), w.op.Issuer()+"/")
	signedIn := b.submit(b.open(away, nil), url.Values{"username": {"mustafa"}, "password": {"secret of mustafa"}})
	back := b.redirected(signedIn, w.site+"/login?")
	there := b.redirected(b.open(back, nil), script)
	if there != script {
		t.Errorf("after sign-in at %s", there)
	}
	for range 2 {
		shown := b.open(site+there, nil)
		var said struct {
			SignedIn bool           `json:"signed_in"`
			Claims   map[string]any `json:"claims"`
		}
		if err := json.Unmarshal([]byte(shown.body), &said); err != nil || !said.SignedIn || said.Claims["name"] != "Mustafa" {
			t.Fatalf("%d: %s\n%s", shown.status, shown.body, w.stderr.String())
		}
	}
	ids := w.op.Registered()
	if n := w.op.Count(opserver.EndpointRegister); len(ids) != 1 || n != 1 {
		t.Errorf("%d clients and %d registrations", len(ids), n)
	}

	// Somebody else, later. A code that comes back twice signs nobody in.
	other := w.browser()
	other.redirected(other.open(w.site, nil), w.op.Issuer()+"/")
	if again := other.open(back, nil); again.status != http.StatusBadRequest {
		t.Errorf("the callback of another browser: %d", again.status)
	}
	if n := w.op.Count(opserver.EndpointRegister); n != 1 {
		t.Errorf("%d registrations", n)
	}

	end := b.redirected(b.submit(b.open(site+"/", nil), url.Values{}), w.op.Issuer()+"/")
	signedOut := b.open(end, nil)
	if signedOut.status == http.StatusOK && action.MatchString(signedOut.body) {
		signedOut = b.submit(signedOut, url.Values{})
	}
	if bye := b.open(b.redirected(signedOut, w.site+"/logout"), nil); bye.status != http.StatusOK {
		t.Errorf("%d: %s", bye.status, bye.body)
	}
	b.redirected(b.open(w.site, nil), w.op.Issuer()+"/")

	list, err := os.ReadFile(w.processes)
	w.must(err)
	numbers := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		numbers[line] = true
	}
	if n := int(w.started.Load()); len(numbers) != n || n < 8 {
		t.Errorf("%d requests were answered by %d processes", n, len(numbers))
	}
	if violations := w.op.Violations(); len(violations) > 0 {
		t.Errorf("the provider complains: %q", violations)
	}
}

// TestSettings: what is wrong is said in the web server's log, and the browser gets
// no page.
func TestSettings(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string]string{
		"no such file":      "none.json",
		"oxd: site: line 1": "index.html",
	} {
		var stderr strings.Builder
		program := &cgi.Handler{Path: binary, Root: script, Dir: ".", Stderr: &stderr, Env: []string{processes + "=" + filepath.Join(t.TempDir(), "processes"), "SITE_FILE=" + file}}
		w := httptest.NewRecorder()
		program.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+script, nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %d, %s", file, w.Code, stderr.String())
		}
	}
}
