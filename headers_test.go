package gatehouse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// told returns the headers that the reverse proxy of these tests sends to its
// upstream.
func told() map[string]func(*gatehouse.Identity) string {
	return map[string]func(*gatehouse.Identity) string{
		"X-Auth-User":  func(id *gatehouse.Identity) string { return id.Subject },
		"X-Auth-Email": func(id *gatehouse.Identity) string { return id.ClaimString("email") },
		"x-auth-admin": func(id *gatehouse.Identity) string { return id.ClaimString("admin") },
	}
}

// upstream returns a reverse proxy behind IdentityHeaders, to a server that
// responds with the header lines it received.
func upstream(t testing.TB) http.Handler {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		r.Header.Del("Cookie") // the test kit fails if a cookie value shows
		if err := json.NewEncoder(w).Encode(r.Header); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	return gatehouse.IdentityHeaders(told())(proxy)
}

// spoofs are the spellings in which a client may send our header names.
var spoofs = []string{
	"X-Auth-User", "x-auth-user", "X_Auth_User", "x_auth_user", "X-Auth_User", "XAuthUser", "X.Auth.User", "X~Auth~User", "-X--Auth-User-",
	"X-Auth-Email", "X_AUTH_EMAIL", "X-Auth-Admin", "x_auth-admin",
}

// spoofed sends a request that has every spelling twice.
func spoofed(b *world.Visitor, method, target string, header ...string) map[string][]string {
	b.Site.T.Helper()
	r := b.Request(method, target, nil, header...)
	for _, name := range spoofs {
		r.Header[name] = []string{"spoofed", "spoofed too"}
	}
	r.Header.Add("Connection", "close, X-Auth-User,x-auth-email")
	r.Header.Add("Connection", " X_AUTH_ADMIN , X-Trace")
	r.Header.Set("X-Trace", "hop")
	r.Header.Set("X-Authentic", "mine")
	a := b.Do(r)
	got := map[string][]string{}
	if a.Code != http.StatusOK || json.Unmarshal(a.Body.Bytes(), &got) != nil {
		b.Site.T.Fatalf("got %v", a)
	}
	return got
}

// An upstream gets the identity only from us, on public paths and with any
// method, signed in or not, whatever a client sends (CF6, RFC 9700 §4.13).
func TestIdentityHeaders(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			up := upstream(t)
			mux.Handle("/public/", up)
			mux.Handle("/maybe/", login.OptionalLogin(up))
			mux.Handle("/inside/", login.RequireLogin(up))
			mux.Handle("/twice/", login.OptionalLogin(gatehouse.IdentityHeaders(told())(up)))
		}
	})
	ana := s.Visitor("ana")
	check := func(when, method, path string, known bool) {
		t.Helper()
		got := spoofed(ana, method, path, "Sec-Fetch-Site", "same-origin")
		var user, email []string
		if known {
			user, email = []string{"ana-1"}, []string{"ana@example.org"}
		}
		if !slices.Equal(got["X-Auth-User"], user) || !slices.Equal(got["X-Auth-Email"], email) {
			t.Errorf("%s: %s %s: the upstream got %q, %q; want %q, %q", when, method, path, got["X-Auth-User"], got["X-Auth-Email"], user, email)
		}
		for name, values := range got {
			if strings.Contains(fmt.Sprint(values), "spoofed") {
				t.Errorf("%s: %s %s: the client's %s came through", when, method, path, name)
			}
		}
		// Other headers are left alone: a name that only starts like ours
		// stays, and a hop-by-hop header still ends at the proxy.
		if !slices.Equal(got["X-Authentic"], []string{"mine"}) || got["X-Trace"] != nil {
			t.Errorf("%s: %s %s: X-Authentic %q, X-Trace %q", when, method, path, got["X-Authentic"], got["X-Trace"])
		}
	}
	all := func(when string, signedIn bool) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodDelete, "PROPFIND"} {
			check(when, method, "/public/x", false)
			check(when, method, "/maybe/x", signedIn)
			check(when, method, "/twice/x", signedIn)
			if signedIn {
				check(when, method, "/inside/x", true)
			}
		}
	}
	all("signed out", false)
	ana.SignIn()
	all("signed in", true)
	ana.Follow(ana.Post("/auth/logout", nil), nil)
	all("after sign-out", false)
}

// A header is omitted if its function returns an empty value. A value that
// could change on its way is refused. The caller's request and map are not
// modified. Trailers are treated like headers.
func TestIdentityHeadersValues(t *testing.T) {
	for value, want := range map[string]string{
		"ana": "ana", "": "", "Ána Ω": "Ána Ω", "ana b": "ana b", "a%20b": "a%20b", "日本": "日本",
		"ana\r\nX-Admin: 1": "refused", "a\x00b": "refused", "a\tb": "refused", "a\x7f": "refused", "a\u0085b": "refused", "a\xffb": "refused",
		" ana": "refused", "ana ": "refused", "ana\t": "refused", "\u00a0ana": "refused", "ana\u3000": "refused", " ": "refused", "\n": "refused",
	} {
		headers := map[string]func(*gatehouse.Identity) string{"X-Auth-User": func(*gatehouse.Identity) string { return value }}
		var got *http.Request
		h := gatehouse.IdentityHeaders(headers)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
		headers["X-Auth-User"] = func(*gatehouse.Identity) string { return "changed later" }
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Auth-User", "spoofed")
		r.Header.Set("Connection", "X-Auth-User")
		r.Trailer = http.Header{"X_auth_user": {"spoofed"}, "X-Sum": {"1"}}
		r = r.WithContext(gatehouse.WithIdentity(r.Context(), &gatehouse.Identity{Subject: "x"}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if want == "refused" {
			if w.Code != http.StatusForbidden || got != nil || !strings.Contains(w.Body.String(), `"identity_header_refused"`) {
				t.Errorf("value %q: %d %s, want 403 and no request upstream", value, w.Code, w.Body)
			}
			continue
		}
		if values := got.Header.Values("X-Auth-User"); strings.Join(values, "|") != want {
			t.Errorf("value %q is sent as %q, want %q", value, values, want)
		}
		if _, has := got.Header["Connection"]; has {
			t.Errorf("Connection is left: %q", got.Header.Values("Connection"))
		}
		if len(got.Trailer) != 1 || got.Trailer.Get("X-Sum") != "1" {
			t.Errorf("trailers %v, want X-Sum alone", got.Trailer)
		}
		if r.Header.Get("X-Auth-User") != "spoofed" || len(r.Trailer) != 2 {
			t.Error("the caller's request was changed")
		}
	}
}

func TestIdentityHeadersWiring(t *testing.T) {
	some := func(*gatehouse.Identity) string { return "x" }
	for name, headers := range map[string]map[string]func(*gatehouse.Identity) string{
		"empty name":          {"": some},
		"only dashes":         {"--": some},
		"space":               {"X Auth": some},
		"colon":               {"X-Auth:": some},
		"line break":          {"X-Auth\r\nX": some},
		"underscore":          {"X_Auth": some},
		"other letters":       {"X-Ämter": some},
		"no function":         {"X-Auth": nil},
		"two cases":           {"X-Auth": some, "x-auth": some},
		"with and without -":  {"X-Auth-User": some, "X-AuthUser": some},
		"two of three dashes": {"X-Auth-User": some, "XAuth-User": some, "Y": some},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "IdentityHeaders") {
					t.Errorf("panic %v, want one that names IdentityHeaders", p)
				}
			}()
			gatehouse.IdentityHeaders(headers)
		})
	}
	gatehouse.IdentityHeaders(nil)    // sets and removes nothing
	gatehouse.IdentityHeaders(told()) // does not panic
}

// The same over a raw connection, byte for byte: no spelling reaches the
// handler, on public paths and with any method, signed in or not (CF6).
func TestCF6_SpoofedHeadersOverTCP(t *testing.T) {
	var mu sync.Mutex
	var seen http.Header
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = r.Header.Clone()
	})
	tells := gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{
		"X-Auth-User": func(id *gatehouse.Identity) string { return id.Subject },
	})
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/public", tells(inner))
			mux.Handle("/maybe", login.OptionalLogin(tells(inner)))
			mux.Handle("/inside", login.RequireLogin(tells(inner)))
		}
	})
	server := httptest.NewServer(s.Replicas[0].Mux)
	defer server.Close()
	ana := s.Visitor("ana")
	send := func(method, path string) {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		s.Must(err)
		defer conn.Close()
		var lines strings.Builder
		for _, name := range []string{"X-Auth-User", "x_auth_user", "X-Auth_User", "X_AUTH-USER", "x-auth-user", "xauthuser"} {
			fmt.Fprintf(&lines, "%s: spoofed\r\n%s: spoofed too\r\n", name, name)
		}
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: notes.test\r\nSec-Fetch-Site: same-origin\r\nConnection: close, X-Auth-User\r\nCookie: %s=%s\r\n%s\r\n",
			method, path, ana.SessionName(), ana.SessionCookie(), lines.String())
		s.Must(err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		s.Must(err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: status %d", method, path, resp.StatusCode)
		}
	}
	all := func(when string, signedIn bool) {
		t.Helper()
		for _, method := range []string{"GET", "OPTIONS", "POST", "DELETE", "PATCH"} {
			for _, path := range []string{"/public", "/maybe", "/inside"} {
				if path == "/inside" && !signedIn {
					continue
				}
				mu.Lock()
				seen = nil
				mu.Unlock()
				send(method, path)
				mu.Lock()
				got := seen
				mu.Unlock()
				want := ""
				if signedIn && path != "/public" {
					want = "[ana-1]"
				}
				if v := strings.Trim(fmt.Sprint(got["X-Auth-User"]), "[]"); v != strings.Trim(want, "[]") || got == nil {
					t.Errorf("%s: %s %s: X-Auth-User %q, want %q", when, method, path, v, want)
				}
				for name, values := range got {
					if strings.Contains(fmt.Sprint(values), "spoofed") {
						t.Errorf("%s: %s %s: %s came through", when, method, path, name)
					}
				}
			}
		}
	}
	all("signed out", false)
	ana.SignIn()
	all("signed in", true)
	ana.Follow(ana.Post("/auth/logout", nil), nil)
	all("after sign-out", false)
}
