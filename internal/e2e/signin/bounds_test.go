package signin_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// endless is a body that records how much of it was read.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) { e.read += len(b); return len(b), nil }

func (e *endless) Close() error { return nil }

// RL2: each of our handlers refuses a request that is too large before it reads
// or parses any of it, with or without a session. interop/cmd/bounds measures
// the cost.
func TestRL2_LargeRequests(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/session", login.SessionHandler())
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	post := []string{"Sec-Fetch-Site", "same-origin", "Origin", s.Origin, "Content-Type", "application/x-www-form-urlencoded"}
	const tenMiB = 10 << 20
	many := func(n int, one, between string) string {
		return strings.TrimSuffix(strings.Repeat(one+between, n), between)
	}
	for _, path := range []string{"/auth/callback", "/auth/logout", "/auth/login", "/auth/session"} {
		for _, c := range []struct {
			name   string
			status int
			make   func() (*http.Request, *endless)
		}{
			{"10 MiB announced", http.StatusRequestEntityTooLarge, func() (*http.Request, *endless) {
				body := &endless{}
				r := ana.Request(http.MethodPost, path, nil, post...)
				r.Body, r.ContentLength = body, tenMiB
				return r, body
			}},
			{"40 KiB header", http.StatusRequestHeaderFieldsTooLarge, func() (*http.Request, *endless) {
				return ana.Request(http.MethodGet, path, nil, "X-Long", strings.Repeat("x", 40<<10)), nil
			}},
			{"2,000 cookies", http.StatusRequestHeaderFieldsTooLarge, func() (*http.Request, *endless) {
				return ana.Request(http.MethodGet, path, nil, "Cookie", many(2000, "some-cookie=some-value", "; ")), nil
			}},
			{"2,000 header lines", http.StatusRequestHeaderFieldsTooLarge, func() (*http.Request, *endless) {
				r := ana.Request(http.MethodGet, path, nil)
				for i := range 2000 {
					r.Header.Set(fmt.Sprint("X-Line-", i), "some value")
				}
				return r, nil
			}},
			{"20,000 parameters", http.StatusBadRequest, func() (*http.Request, *endless) {
				return ana.Request(http.MethodGet, path+"?"+many(20_000, "a=b", "&"), nil), nil
			}},
			{"20,000 states", http.StatusBadRequest, func() (*http.Request, *endless) {
				return ana.Request(http.MethodGet, path+"?"+many(20_000, "state=x", "&"), nil), nil
			}},
		} {
			t.Run(path+" "+c.name, func(t *testing.T) {
				r, body := c.make()
				for _, cookie := range ana.Jar.Cookies(r.URL) {
					r.AddCookie(cookie)
				}
				w := httptest.NewRecorder()
				s.Replicas[0].Mux.ServeHTTP(w, r)
				s.WantRefusal(&world.Page{ResponseRecorder: w, URL: r.URL}, c.status)
				if w.Header().Get("Location") != "" || len(w.Result().Cookies()) != 0 {
					t.Errorf("Location %q, cookies %v", w.Header().Get("Location"), w.Result().Cookies())
				}
				if body != nil && body.read != 0 {
					t.Errorf("%d bytes of the body were read", body.read)
				}
				ana.WantServed(ana.Get("/notes/"))
			})
		}
	}
}

// A body of unannounced length is not read either, and the request is judged
// without it.
func TestRL2_BodyOfUnknownLength(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, path := range []string{"/auth/callback", "/auth/login", "/auth/logout"} {
		body := &endless{}
		r := ana.Request(http.MethodPost, path, nil, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded")
		r.Body, r.ContentLength, r.TransferEncoding = body, -1, []string{"chunked"}
		a := ana.Do(r)
		if a.Code >= 500 || body.read != 0 {
			t.Errorf("%s: %v, %d bytes read", path, a, body.read)
		}
	}
}

// The back channel judges the type, the coding and the announced length of a body
// before it reads any of it.
func TestRL2_BackchannelReadsNothingInVain(t *testing.T) {
	s := world.NewSite(t)
	for name, c := range map[string]struct {
		header []string
		length int64
		code   string
	}{
		"JSON":      {[]string{"Content-Type", "application/json"}, -1, "logout_request_malformed"},
		"gzip":      {[]string{"Content-Type", "application/x-www-form-urlencoded", "Content-Encoding", "gzip"}, 100, "logout_request_malformed"},
		"too large": {[]string{"Content-Type", "application/x-www-form-urlencoded"}, 64<<10 + 1, "request_too_large"},
	} {
		body := &endless{}
		b := s.Visitor("")
		r := b.Request(http.MethodPost, "/auth/backchannel-logout", nil, c.header...)
		r.Body, r.ContentLength = body, c.length
		if a := b.Do(r); a.Code != http.StatusBadRequest || s.LastCode() != c.code || body.read != 0 {
			t.Errorf("%s: %v, code %s, %d bytes read", name, a, s.LastCode(), body.read)
		}
	}
}

// An ErrorHandler or the application's middleware cannot read such a body to
// the end either.
func TestRL2_BodyIsCapped(t *testing.T) {
	var got int
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(w http.ResponseWriter, r *http.Request, e *gatehouse.Error) {
				b, err := io.ReadAll(r.Body)
				got = len(b)
				if err == nil {
					t.Error("the whole body could be read")
				}
				w.WriteHeader(e.Status)
			}
		}
	})
	ana := s.Visitor("ana")
	r := ana.Request(http.MethodPost, "/auth/callback", nil)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, 10<<20))), -1
	s.WantRefusal(ana.Do(r), http.StatusMethodNotAllowed)
	if got != 64<<10 {
		t.Errorf("%d bytes could be read, want 64 KiB", got)
	}
}

// RL2 as a server sees it: the answer arrives although the client has sent no
// byte of its 10 MiB.
func TestRL2_OverTCP(t *testing.T) {
	s := world.NewSite(t)
	server := httptest.NewServer(s.Replicas[0].Mux)
	defer server.Close()
	for _, path := range []string{"/auth/callback", "/auth/logout"} {
		hold, release := io.Pipe()
		r, err := http.NewRequest(http.MethodPost, server.URL+path, hold)
		s.Must(err)
		r.ContentLength = 10 << 20
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		resp, err := server.Client().Do(r)
		s.Must(err)
		resp.Body.Close()
		s.Must(release.Close())
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
}

// Honest requests are far below the bounds: a browser with many cookies of the
// site, a long code, a form.
func TestRL2_HonestRequests(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	for i := range 20 {
		ana.SetCookie(fmt.Sprint("other", i), strings.Repeat("v", 400))
	}
	ana.SignIn()
	if a := ana.Post("/auth/logout", url.Values{"csrf": {strings.Repeat("x", 4000)}}); a.Code != http.StatusSeeOther {
		t.Errorf("sign-out: %v", a)
	}
}
