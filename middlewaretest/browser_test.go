package middlewaretest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse/middlewaretest"
)

// recorder is a service that writes down the headers of each request.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (rec *recorder) last(t *testing.T) *http.Request {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.seen) == 0 {
		t.Fatal("nothing was asked")
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
			if accept := h.Get("Accept"); strings.HasPrefix(accept, "text/html") != (tc.want.mode == "navigate") {
				t.Errorf("Accept %q", accept)
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
		t.Error("nothing was asked")
	}
}

func TestBrowserCookies(t *testing.T) {
	op := middlewaretest.NewServer(t)
	_, first := newRecorder(t)
	rec, second := newRecorder(t)
	b := op.Browser(t, "")
	v := url.Values{"cookie": {"plain=1; Path=/", "sec=1; Path=/; Secure", "__Host-good=1; Path=/; Secure", "__Host-path=1; Path=/x; Secure",
		"__Host-plain=1; Path=/", "__Secure-plain=1; Path=/", "none=1; Path=/; SameSite=None"}}
	resp, err := b.Get(first + "?" + v.Encode())
	body(t, resp, err)
	resp, err = b.Get(second) // cookies do not know ports
	body(t, resp, err)
	var names []string
	for _, c := range rec.last(t).Cookies() {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "plain sec __Host-good" || len(b.Cookies(second)) != 3 {
		t.Errorf("cookies %q", got)
	}
}
