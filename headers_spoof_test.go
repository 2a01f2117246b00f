package gatehouse_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// CF6 as a client sends it, byte for byte over a connection: no spelling reaches
// the handler, on public paths, with any method, signed in or not.
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
