package middlewaretest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/middlewaretest"
)

// recorder is a service that records the headers of each request.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (rec *recorder) last(t *testing.T) *http.Request {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.seen) == 0 {
		t.Fatal("no request was made")
	}
	return rec.seen[len(rec.seen)-1]
}

// newRecorder answers ?to=… with a redirect of the given status.
func newRecorder(t *testing.T) (*recorder, string) {
	rec := &recorder{}
	return rec, middlewaretest.NewApp(t, func(string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			kept := r.Clone(r.Context())
			kept.Body = io.NopCloser(strings.NewReader(string(b)))
			rec.mu.Lock()
			rec.seen = append(rec.seen, kept)
			rec.mu.Unlock()
			for _, c := range r.URL.Query()["cookie"] {
				w.Header().Add("Set-Cookie", c)
			}
			if to := r.URL.Query().Get("to"); to != "" {
				status := map[string]int{"": 303, "302": 302, "307": 307}[r.URL.Query().Get("as")]
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}
		})
	})
}

func TestBrowserHeaders(t *testing.T) {
	op := middlewaretest.NewServer(t)
	one, first := newRecorder(t)
	two, second := newRecorder(t)
	b := op.Browser(t, "")
	far := strings.Replace(second, "127.0.0.1", "localhost", 1)
	type want struct{ method, site, mode, dest, origin string }
	form := url.Values{"a": {"b"}}
	for _, tc := range []struct {
		name string
		do   func() (*http.Response, error)
		rec  *recorder
		want want
	}{
		{"typed", func() (*http.Response, error) { return b.Get(first) }, one, want{"GET", "none", "navigate", "document", ""}},
		{"typed, redirected", func() (*http.Response, error) { return b.Get(first + "?to=" + second) }, two, want{"GET", "none", "navigate", "document", ""}},
		{"form", func() (*http.Response, error) { return b.PostForm(first, form) }, one, want{"POST", "same-origin", "navigate", "document", first}},
		{"form, 303 to another port", func() (*http.Response, error) { return b.PostForm(first+"?to="+second, form) }, two, want{"GET", "same-site", "navigate", "document", ""}},
		{"form, 302", func() (*http.Response, error) { return b.PostForm(first+"?as=302&to="+second, form) }, two, want{"GET", "same-site", "navigate", "document", ""}},
		{"form, 307", func() (*http.Response, error) { return b.PostForm(first+"?as=307&to="+second, form) }, two, want{"POST", "same-site", "navigate", "document", first}},
		{"form, 307 there and back", func() (*http.Response, error) {
			return b.PostForm(first+"?as=307&to="+url.QueryEscape(second+"?as=307&to="+first), form)
		}, one, want{"POST", "same-site", "navigate", "document", "null"}},
		{"form, 303 to another site", func() (*http.Response, error) { return b.PostForm(first+"?to="+far, form) }, two, want{"GET", "cross-site", "navigate", "document", ""}},
		{"link", func() (*http.Response, error) { return b.On(first).Open(first) }, one, want{"GET", "same-origin", "navigate", "document", ""}},
		{"link on a sister's page", func() (*http.Response, error) { return b.On(second).Open(first) }, one, want{"GET", "same-site", "navigate", "document", ""}},
		{"link on another site", func() (*http.Response, error) { return b.On(far).Open(first) }, one, want{"GET", "cross-site", "navigate", "document", ""}},
		{"link over another site", func() (*http.Response, error) { return b.On(first).Open(far + "?to=" + first) }, one, want{"GET", "cross-site", "navigate", "document", ""}},
		{"form of another site", func() (*http.Response, error) { return b.On(far).Submit(first, form) }, one, want{"POST", "cross-site", "navigate", "document", far}},
		{"script of a sister", func() (*http.Response, error) { return b.On(second).Fetch(first) }, one, want{"GET", "same-site", "cors", "empty", second}},
		{"script of another site", func() (*http.Response, error) { return b.On(far).Fetch(first) }, one, want{"GET", "cross-site", "cors", "empty", far}},
		{"picture", func() (*http.Response, error) { return b.On(far).Load(first) }, one, want{"GET", "cross-site", "no-cors", "image", ""}},
		{"picture, redirected", func() (*http.Response, error) { return b.On(first).Load(first + "?to=" + far) }, two, want{"GET", "cross-site", "no-cors", "image", ""}},
		{"frame", func() (*http.Response, error) { return b.On(far).Frame(first) }, one, want{"GET", "cross-site", "navigate", "iframe", ""}},
		{"prefetch", func() (*http.Response, error) { return b.On(first).Prefetch(first) }, one, want{"GET", "same-origin", "no-cors", "empty", ""}},
		{"script", func() (*http.Response, error) { return b.Fetch(first) }, one, want{"GET", "same-origin", "cors", "empty", ""}},
		{"script, redirected", func() (*http.Response, error) { return b.Fetch(first + "?to=/x") }, one, want{"GET", "same-origin", "cors", "empty", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := tc.do()
			body(t, resp, err)
			r := tc.rec.last(t)
			h := r.Header
			if got := (want{r.Method, h.Get("Sec-Fetch-Site"), h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest"), h.Get("Origin")}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			isPage := tc.want.mode == "navigate" || tc.name == "prefetch"
			if accept := h.Get("Accept"); strings.HasPrefix(accept, "text/html") != isPage {
				t.Errorf("Accept %q", accept)
			}
			if purpose, user := h.Get("Sec-Purpose"), h.Get("Sec-Fetch-User"); (purpose == "prefetch") != (tc.name == "prefetch") ||
				(user == "?1") != (tc.want.dest == "document") {
				t.Errorf("Sec-Purpose %q, Sec-Fetch-User %q", purpose, user)
			}
			if b, _ := io.ReadAll(r.Body); (string(b) == "a=b") != (tc.want.method == "POST") {
				t.Errorf("%s with body %q", r.Method, b)
			}
		})
	}
	if _, err := b.Fetch(first + "?to=" + second); err == nil {
		t.Error("a script follows a redirect to another origin")
	}
	if _, err := b.Get(first + "?to=" + url.QueryEscape("?to=?")); err != nil {
		t.Errorf("relative redirects: %v", err)
	}
}

func TestBrowserDo(t *testing.T) {
	op := middlewaretest.NewServer(t)
	rec, site := newRecorder(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, site, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Origin", "http://evil.test")
	r.Header.Set("Accept", "application/json")
	resp, err := op.Browser(t, "").Do(r)
	body(t, resp, err)
	got := rec.last(t)
	if got.Method != "DELETE" || got.Header.Get("Sec-Fetch-Site") != "cross-site" || got.Header.Get("Origin") != "http://evil.test" ||
		got.Header.Get("Accept") != "application/json" || got.Header.Get("Sec-Fetch-Mode") != "navigate" {
		t.Errorf("%s %v", got.Method, got.Header)
	}
}

func TestBrowserStopsWhereToldTo(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := notes(t, op)
	resp, err := op.Browser(t, "ana").GetUntil(site+"/notes/", site+"/auth/callback")
	body(t, resp, err)
	if !strings.HasPrefix(resp.Header.Get("Location"), site+"/auth/callback?") || op.Count("token") != 0 {
		t.Errorf("stopped before %q after %d token requests", resp.Header.Get("Location"), op.Count("token"))
	}
}

func TestBrowserGivesUp(t *testing.T) {
	op := middlewaretest.NewServer(t)
	rec, site := newRecorder(t)
	if _, err := op.Browser(t, "").Get(site + "?to=?to=/"); err != nil {
		t.Errorf("two redirects: %v", err)
	}
	loop := middlewaretest.NewApp(t, func(string) http.Handler {
		return http.RedirectHandler("/again", http.StatusFound)
	})
	if _, err := op.Browser(t, "").Get(loop); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a loop: %v", err)
	}
	if rec.last(t) == nil {
		t.Error("no request was made")
	}
}

// names returns the names of the cookies that came with a request.
func names(r *http.Request) string {
	var out []string
	for _, c := range r.Cookies() {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// TestBrowserCookies sets cookies over the network. TestCookiesAsInChromium
// tests what each line means.
func TestBrowserCookies(t *testing.T) {
	op := middlewaretest.NewServer(t)
	_, first := newRecorder(t)
	rec, second := newRecorder(t)
	far := strings.Replace(first, "127.0.0.1", "localhost", 1)
	b := op.Browser(t, "")
	v := url.Values{"cookie": {"lax=1; Path=/; SameSite=Lax", "strict=1; Path=/; SameSite=Strict; HttpOnly", "none=1; Path=/; Secure; SameSite=None",
		"unsaid=1; Path=/; Max-Age=3600", "__Host-bad=1; Path=/", "other=1; Domain=localhost"}}
	resp, err := b.Get(first + "?" + v.Encode())
	body(t, resp, err)
	for _, tc := range []struct {
		name string
		do   func() (*http.Response, error)
		want string
	}{
		{"typed, another port", func() (*http.Response, error) { return b.Get(second) }, "lax strict none unsaid"},
		{"link", func() (*http.Response, error) { return b.On(far).Open(second) }, "lax none unsaid"},
		{"form", func() (*http.Response, error) { return b.On(far).Submit(second, nil) }, "none unsaid"},
		{"picture", func() (*http.Response, error) { return b.On(far).Load(second) }, "none"},
		{"own picture", func() (*http.Response, error) { return b.On(first).Load(second) }, "lax strict none unsaid"},
		{"form, two minutes later", func() (*http.Response, error) {
			op.Clock().Advance(2 * time.Minute)
			return b.On(far).Submit(second, nil)
		}, "none"},
		{"an hour later", func() (*http.Response, error) {
			op.Clock().Advance(time.Hour)
			return b.Get(second)
		}, "lax strict none"},
	} {
		resp, err := tc.do()
		body(t, resp, err)
		if got := names(rec.last(t)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	have := map[string]*http.Cookie{}
	for _, c := range b.Cookies(second) {
		have[c.Name] = c
	}
	if len(have) != 3 || !have["strict"].HttpOnly || have["strict"].SameSite != http.SameSiteStrictMode || !have["none"].Secure || have["lax"].Path != "/" {
		t.Errorf("cookies %v", have)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, second, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", "mine=1")
	resp, err = b.Do(r)
	body(t, resp, err)
	if got := names(rec.last(t)); got != "mine lax strict none" {
		t.Errorf("with a cookie of my own: %q", got)
	}
}

// TestNobodySignsInInAFrame shows the sign-in page in a frame.
func TestNobodySignsInInAFrame(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := notes(t, op)
	ana := op.Browser(t, "ana")
	for name, ask := range map[string]func(string) (*http.Response, error){
		"frame": ana.On(site).Frame, "picture": ana.On(site).Load, "prefetch": ana.On(site).Prefetch,
	} {
		resp, err := ask(site + "/notes/")
		body(t, resp, err)
		if resp.StatusCode != http.StatusUnauthorized || op.Count("authorize") != 0 {
			t.Errorf("%s: %d, %d authorization requests", name, resp.StatusCode, op.Count("authorize"))
		}
	}
}
