package middlewaretest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/offline"
	"example.com/gatehouse/internal/testkit/opserver"
)

// Claims are what a provider says of a person, by the names of OpenID Connect
// Core §5.1 or your own.
type Claims map[string]any

// Server is an OpenID provider and UMA authorization server. Its counters may be
// read and its clock moved from any goroutine.
type Server struct {
	t        testing.TB
	op       *opserver.Server
	clock    *Clock
	addr     string       // where it listens; "" if it is off the network
	net      *offline.Net // reaches it in memory
	provider func() (*gatehouse.Provider, error)

	mu      sync.Mutex
	http    *http.Server
	served  chan struct{} // closed when http has ended
	clients int
}

// NewServer starts a server on a loopback port of its own. It ends with the
// test; violations alone do not fail the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	return NewServerAt(t, "")
}

// NewServerAt is [NewServer] with a path in the issuer, say /realms/demo.
func NewServerAt(t testing.TB, path string) *Server {
	t.Helper()
	return newServer(t, opserver.Config{Issuer: path})
}

// NewKeycloak is [NewServer] with a server that speaks UMA as Keycloak 26.7.3
// does: a PAT by the role uma_protection instead of the scope, resources with an
// owner and unique names, 403 for a bad PAT, readable tickets that work until they
// expire, access_denied and partial grants, RPTs that are JWTs and that outlive
// the owner's change of mind, introspection by client authentication with a hint.
// What it answers to whom is one table, to which the real one is held, too. A
// ticket that comes twice counts as a violation here as well, although it works.
// Not in it is what Keycloak has beyond UMA: tickets for the asking, its API for
// owners and policies; owners decide by [Server.As] as ever.
func NewKeycloak(t testing.TB) *Server {
	t.Helper()
	return newServer(t, opserver.Config{Issuer: "/realms/test", Dialect: opserver.Keycloak})
}

// newServer starts a server that listens; the issuer of c is its path alone.
func newServer(t testing.TB, c opserver.Config) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal("middlewaretest: ", err)
	}
	addr := l.Addr().String()
	c.Issuer = "http://" + addr + c.Issuer
	s := makeServer(t, c)
	s.addr = addr
	s.serve(l)
	return s
}

// makeServer makes a server that nobody listens for.
func makeServer(t testing.TB, c opserver.Config) *Server {
	t.Helper()
	s := &Server{t: t, clock: &Clock{now: time.Now().Round(0)}, net: &offline.Net{}}
	c.Now, c.Title = s.clock.Now, "Test provider"
	op, err := opserver.New(c)
	if err != nil {
		t.Fatal("middlewaretest: ", strings.TrimPrefix(err.Error(), "opserver: "))
	}
	s.op = op
	s.net.Serve(originOf(c.Issuer), op)
	logs := &testLog{t: t}
	t.Cleanup(logs.stop)
	s.provider = sync.OnceValues(func() (*gatehouse.Provider, error) {
		pc := &gatehouse.ProviderConfig{Now: s.clock.Now, Logger: slog.New(slog.NewTextHandler(logs, nil))}
		if s.addr == "" {
			pc.Transport = s.net
		}
		return gatehouse.NewProvider(s.Issuer(), pc)
	})
	t.Cleanup(func() {
		s.op.Close() // what a fault holds would be waited for
		s.Stop()
		s.net.Wait()
	})
	return s
}

// testLog shows log lines with the test as long as the test runs.
type testLog struct {
	mu   sync.Mutex
	t    testing.TB
	over bool
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return len(b), nil
	}
	return l.t.Output().Write(b)
}

func (l *testLog) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

// serve answers on a listener until Stop.
func (s *Server) serve(l net.Listener) {
	srv := &http.Server{Handler: s.op, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)}
	served := make(chan struct{})
	s.mu.Lock()
	s.http, s.served = srv, served
	s.mu.Unlock()
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
}

// Stop takes the server off the network: connections are cut, new ones refused.
// What it knows stays. A stopped server is left as it is.
func (s *Server) Stop() {
	s.t.Helper()
	s.mu.Lock()
	srv, served := s.http, s.served
	s.http = nil
	s.mu.Unlock()
	s.net.Down(originOf(s.Issuer()))
	if srv == nil {
		return
	}
	if err := srv.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.t.Error("middlewaretest: ", err)
	}
	<-served
}

// Start puts a stopped server back on the same port.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	running := s.http != nil
	s.mu.Unlock()
	s.net.Up(originOf(s.Issuer()))
	if running || s.addr == "" {
		return
	}
	l, err := net.Listen("tcp", s.addr)
	s.check(err)
	s.serve(l)
}

// check fails the test for an error.
func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal("middlewaretest: ", strings.TrimPrefix(err.Error(), "opserver: "))
	}
}

// Issuer returns the issuer identifier.
func (s *Server) Issuer() string { return s.op.Issuer() }

// Clock returns the server's clock.
func (s *Server) Clock() *Clock { return s.clock }

// Provider returns the provider for [gatehouse.NewRelyingParty] and the like: the
// same one each time, on the server's clock, logging to the test. Replicas that
// are to share nothing make their own with [gatehouse.NewProvider].
func (s *Server) Provider() *gatehouse.Provider {
	s.t.Helper()
	p, err := s.provider()
	s.check(err)
	return p
}

// AddUser makes an account or changes the claims of one. The subject is the
// claim sub if given, else the name; preferred_username is the name unless given;
// an email counts as verified unless email_verified says otherwise.
func (s *Server) AddUser(name string, c Claims) {
	s.t.Helper()
	s.check(s.op.AddUser(name, password(name), c))
}

// password is what the browser types for a user.
func password(name string) string { return "password of " + name }

// AddClient registers a client that may use every grant, has a PAT and may
// introspect. Redirect URIs are compared as strings; after logout the browser may
// return to any address of their origins. The secret has characters that must be
// encoded.
func (s *Server) AddClient(redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	secret := rand.Text() + rand.Text() + " :%+/" // long enough to be misused as a key of HS256
	c := gatehouse.Client{ID: s.nextClient(), Secret: gatehouse.NewSecret(secret)}
	s.register(opserver.Client{ID: c.ID, Secret: secret}, redirectURIs)
	return c
}

// AddPublicClient is [Server.AddClient] for a client without a secret, which can
// neither use client credentials nor introspect.
func (s *Server) AddPublicClient(redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	c := gatehouse.Client{ID: s.nextClient()}
	s.register(opserver.Client{ID: c.ID}, redirectURIs)
	return c
}

func (s *Server) nextClient() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients++
	return fmt.Sprintf("client-%d", s.clients)
}

func (s *Server) register(c opserver.Client, redirectURIs []string) {
	s.t.Helper()
	c.RedirectURIs = redirectURIs
	for _, address := range redirectURIs {
		u, err := url.Parse(address)
		s.check(err)
		if u.Host == "" {
			s.t.Fatalf("middlewaretest: redirect URI %q is not absolute", address)
		}
		c.PostLogoutOrigins = append(c.PostLogoutOrigins, u.Scheme+"://"+u.Host)
	}
	s.check(s.op.AddClient(c))
}

// Count returns how many requests an endpoint has received: metadata,
// oauth_metadata, uma_metadata, jwks, authorize, token, userinfo, introspect,
// revoke, end_session, resource, permission or pages.
func (s *Server) Count(endpoint string) int {
	s.t.Helper()
	s.known(endpoint)
	return s.op.Count(endpoint)
}

// CountToken returns how many token requests named the grant type.
func (s *Server) CountToken(grantType string) int { return s.op.CountToken(grantType) }

// ResetCounts sets Count and CountToken to zero.
func (s *Server) ResetCounts() { s.op.ResetCounts() }

// known fails the test for a misspelt endpoint, which would count nothing.
func (s *Server) known(endpoint string) {
	s.t.Helper()
	if !slices.Contains(opserver.Endpoints(), endpoint) {
		s.t.Fatalf("middlewaretest: no endpoint is called %q; there are %s", endpoint, strings.Join(opserver.Endpoints(), ", "))
	}
}

// Violations returns what clients did that the protocol forbids, although they
// may have got through: a code, ticket or refresh token presented twice, an
// authorization request that repeats the state, nonce or code challenge of
// another one, has none or one too short for 128 bits, a code redeemed although
// its answer came back with a wrong, missing or doubled parameter, an address
// fetched to which a fault has lured, polling faster than the interval allows,
// credentials in a URL or in two places.
func (s *Server) Violations() []string { return s.op.Violations() }

// OnRequest calls hook at every request to an endpoint before it is judged; nil
// takes it away. The hook runs on the server's goroutine and may block to hold
// the request.
func (s *Server) OnRequest(endpoint string, hook func(*http.Request)) {
	s.t.Helper()
	s.known(endpoint)
	s.op.OnRequest(endpoint, hook)
}
