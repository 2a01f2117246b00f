package middlewaretest

import (
	"net/http"
	"net/url"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

// NewOffline makes a server that does not listen, with an issuer of your
// choice, such as https://op.example.org/realm. Addresses and cookies are those
// of production, and nothing touches the network. [Server.Transport] reaches
// the server in memory, [Server.Serve] adds services next to it, and
// [Server.Browser] visits them. [Server.Provider] already uses that transport.
// No goroutine waits for a socket, so the test may run in a bubble of
// testing/synctest.
//
//	op := middlewaretest.NewOffline(t, "https://op.example.org")
//	op.AddUser("ana", nil)
//	const base = "https://notes.example.org"
//	op.Serve(base, newNotesApp(op.Provider(), op.AddClient(base+"/auth/callback"), base))
//	resp, err := op.Browser(t, "ana").Get(base + "/notes/")
func NewOffline(t testing.TB, issuer string) *Server {
	t.Helper()
	return makeServer(t, opserver.Config{Issuer: issuer}, false)
}

// NewOfflineKeycloak is [NewOffline] with a server that speaks UMA as the one
// of [NewKeycloak] does.
func NewOfflineKeycloak(t testing.TB, issuer string) *Server {
	t.Helper()
	return makeServer(t, opserver.Config{Issuer: issuer, Dialect: opserver.Keycloak}, false)
}

// Transport reaches the server in memory, and the handlers added with
// [Server.Serve]. All other addresses refuse the connection. Answers are
// delivered when they are complete. A server that listens is reached as well.
func (s *Server) Transport() http.RoundTripper { return s.net }

// Serve lets a handler answer for an origin, such as https://notes.example.org,
// in memory. [Server.Transport] and the browsers of a [NewOffline] server reach
// it.
func (s *Server) Serve(origin string, h http.Handler) {
	s.t.Helper()
	u, err := url.Parse(origin)
	s.check(err)
	if u.Host == "" || origin != u.Scheme+"://"+u.Host {
		s.t.Fatalf("middlewaretest: %q is not an origin: a scheme and a host, without a trailing slash", origin)
	}
	s.net.Serve(origin, h)
}

// browserTransport is the transport of a browser.
func (s *Server) browserTransport(t testing.TB) http.RoundTripper {
	if s.addr == "" {
		return s.net
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}
