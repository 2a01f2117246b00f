package interop_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A clock runs with the real one, some time ahead.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// advance moves the clock, back if d is negative.
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

const (
	// stopTime bounds the end of the work that a site left running, should it
	// hang.
	stopTime = 3 * time.Minute
	// insistTime bounds how long a request is repeated for which a server was
	// too slow.
	insistTime = 3 * time.Minute
	// insistPause lies between two tries.
	insistPause = 200 * time.Millisecond
)

// A site is a web application on a loopback port. It listens before its handler
// is made, so the handler knows its address.
type site struct {
	base    string
	handler atomic.Pointer[http.Handler]
	stops   []func(context.Context) error // run after the last request
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*s.handler.Load()).ServeHTTP(w, r)
	}))
	s.base = server.URL
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		for _, stop := range s.stops {
			if err := stop(ctx); err != nil {
				t.Errorf("shutdown of %s: %v", s.base, err)
			}
		}
	})
	return s
}

// serve sets the handler.
func (s *site) serve(h http.Handler) { s.handler.Store(&h) }

// must returns the value of a constructor that must not fail.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// clientOf makes the client named id, whose secret is that of the servers here.
func clientOf(id string) gatehouse.Client {
	return gatehouse.Client{ID: id, Secret: gatehouse.NewSecret(id + "-secret")}
}

// An answer is what a client received, with its whole body.
type answer struct {
	status int
	header http.Header
	body   string
}

// fetch sends a request and returns what comes back, redirects included. With
// a nil client it is a stranger's.
func fetch(t testing.TB, client *http.Client, method, address string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if client == nil {
		client = &http.Client{CheckRedirect: stayHere}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, address, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// insist repeats a request while the answer says that the authorization server
// is too slow. gatehouse waits less than two seconds for the server, which is
// not long on a busy machine. Calls on the wires without an answer do not
// count. It is for a server that is running.
func insist(t testing.TB, wires []*wire, try func() answer) answer {
	t.Helper()
	for end := time.Now().Add(insistTime); ; {
		a := try()
		if !tooSlow(a) {
			return a
		}
		if time.Now().After(end) {
			t.Fatalf("still after %v: %d %q %s", insistTime, a.status, a.header, a.body)
		}
		for _, w := range wires {
			w.forgetUnanswered()
		}
		time.Sleep(insistPause)
	}
}

// tooSlow reports whether an answer says that a server did not answer in time.
func tooSlow(a answer) bool {
	return a.status == http.StatusServiceUnavailable || a.header.Get("Warning") == `199 - "UMA Authorization Server Unreachable"`
}

func stayHere(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// cookiesOf returns a client that has the cookies that the browser would send
// to an address now. It follows no redirect.
func cookiesOf(t testing.TB, browser *servers.Chromium, address string) *http.Client {
	t.Helper()
	found := servers.Get(t, browser, "read the cookies", func(ctx context.Context, target *chromedp.Target) (network.GetCookiesResult, error) {
		return chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	cookies := make([]*http.Cookie, 0, len(found.Cookies))
	for _, c := range found.Cookies {
		cookies = append(cookies, &http.Cookie{Name: c.Name, Value: c.Value, Path: "/"})
	}
	if len(cookies) == 0 {
		t.Fatalf("the browser has no cookie for %s", address)
	}
	jar.SetCookies(u, cookies)
	return &http.Client{Jar: jar, CheckRedirect: stayHere}
}
