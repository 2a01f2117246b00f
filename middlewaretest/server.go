package middlewaretest

import (
	"crypto"
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

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/offline"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/internal/testkit/ports"
)

// Claims are what a provider says about a person, under the names of OpenID
// Connect Core §5.1 or your own.
type Claims map[string]any

// Server is an OpenID provider and UMA authorization server. Its counters may
// be read and its clock moved from any goroutine.
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

// NewServer starts a server on its own loopback port. The server ends with the
// test. Violations alone do not fail the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	return NewServerAt(t, "")
}

// NewServerAt is [NewServer] with a path in the issuer, such as /realms/demo.
func NewServerAt(t testing.TB, path string) *Server {
	t.Helper()
	return newServer(t, opserver.Config{Issuer: path})
}

// NewKeycloak is [NewServer] with a server that speaks UMA as Keycloak 26.7.3
// does. A PAT needs the role uma_protection instead of the scope. Resources
// have an owner and unique names. A bad PAT gets 403. Tickets are readable and
// work until they expire. There are access_denied and partial grants. RPTs are
// JWTs and outlive the owner's change of mind. Introspection uses client
// authentication with a hint. One table defines these answers, and the real
// server is tested against the same table. A ticket that is used twice counts
// as a violation here too, although it works. What Keycloak offers beyond UMA
// is missing: tickets that anyone may request, and its API for owners and
// policies. Owners decide through [Server.As] as usual.
func NewKeycloak(t testing.TB) *Server {
	t.Helper()
	return newServer(t, opserver.Config{Issuer: "/realms/test", Dialect: opserver.Keycloak})
}

// newServer starts a server that listens. The issuer of c is only its path.
func newServer(t testing.TB, c opserver.Config) *Server {
	t.Helper()
	l, err := ports.Listen()
	if err != nil {
		t.Fatal("middlewaretest: ", err)
	}
	addr := l.Addr().String()
	c.Issuer = "http://" + addr + c.Issuer
	s := makeServer(t, c, true)
	s.addr = addr
	s.serve(l)
	return s
}

// makeServer makes a server. listens says that its caller will let it listen.
func makeServer(t testing.TB, c opserver.Config, listens bool) *Server {
	t.Helper()
	s := &Server{t: t, clock: &Clock{now: time.Now().Round(0)}, net: &offline.Net{}}
	keys, err := opserver.KnownKeys() // making an RSA key takes longer than most tests
	if err != nil {
		t.Fatal("middlewaretest: ", err)
	}
	c.Now, c.Title, c.Keys, c.Transport = s.clock.Now, "Test provider", keys, s.net
	if listens {
		tcp := &http.Transport{}
		t.Cleanup(tcp.CloseIdleConnections)
		c.Transport = tcp
	}
	op, err := opserver.New(c)
	if err != nil {
		t.Fatal("middlewaretest: ", withoutPackage(err))
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
		s.op.Close() // otherwise Stop would wait for requests that a fault holds
		s.Stop()
		s.net.Wait()
	})
	return s
}

// testLog shows log lines with the test while the test runs.
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

// Stop takes the server off the network: connections are cut and new ones are
// refused. The server keeps its state. Stopping a stopped server does nothing.
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

// check fails the test if there is an error.
func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal("middlewaretest: ", withoutPackage(err))
	}
}

// withoutPackage is an error as users of the kit read it.
func withoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "opserver: ") }

// Issuer returns the issuer identifier.
func (s *Server) Issuer() string { return s.op.Issuer() }

// Clock returns the server's clock.
func (s *Server) Clock() *Clock { return s.clock }

// Provider returns the provider for [gatehouse.NewRelyingParty] and similar
// functions. It is the same one each time, uses the server's clock and logs to
// the test. Replicas that must share nothing make their own with
// [gatehouse.NewProvider].
func (s *Server) Provider() *gatehouse.Provider {
	s.t.Helper()
	p, err := s.provider()
	s.check(err)
	return p
}

// AddUser adds an account or changes its claims. The subject is the claim sub
// if given, or else the name. preferred_username is the name unless given. An
// email counts as verified unless email_verified says otherwise.
func (s *Server) AddUser(name string, c Claims) {
	s.t.Helper()
	s.check(s.op.AddUser(name, password(name), c))
}

// password is what the browser enters for a user.
func password(name string) string { return "password of " + name }

// AddClient registers a client that may use every grant, has a PAT and may
// introspect. Redirect URIs are compared as strings. After logout the browser
// may return to any address of their origins. The secret has characters that
// must be encoded.
func (s *Server) AddClient(redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	secret := rand.Text() + rand.Text() + " :%+/" // long enough to be misused as an HS256 key
	c := gatehouse.Client{ID: s.nextClient(), Secret: gatehouse.NewSecret(secret)}
	s.register(opserver.Client{ID: c.ID, Secret: secret}, redirectURIs)
	return c
}

// AddPublicClient is [Server.AddClient] for a client without a secret, which
// can neither use client credentials nor introspect.
func (s *Server) AddPublicClient(redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	c := gatehouse.Client{ID: s.nextClient()}
	s.register(opserver.Client{ID: c.ID}, redirectURIs)
	return c
}

// AddKeyClient is [Server.AddClient] for a client that signs assertions with the
// key instead of sending a secret (private_key_jwt). The server accepts each
// assertion once, for a minute, and only if it is for its issuer.
func (s *Server) AddKeyClient(key crypto.Signer, redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	c := gatehouse.Client{ID: s.nextClient(), Key: key, KeyID: "key of the application"}
	s.register(opserver.Client{ID: c.ID, Auth: opserver.AuthPrivateKeyJWT, Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: c.KeyID}}}, redirectURIs)
	return c
}

// AddSecretJWTClient is [Server.AddClient] for a client that authenticates
// assertions with its secret instead of sending it (client_secret_jwt).
func (s *Server) AddSecretJWTClient(redirectURIs ...string) gatehouse.Client {
	s.t.Helper()
	c := s.AddClient(redirectURIs...)
	c.Auth = gatehouse.AuthSecretJWT
	s.register(opserver.Client{ID: c.ID, Auth: opserver.AuthSecretJWT, Secret: c.Secret.Reveal()}, redirectURIs)
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

// Count returns how many requests an endpoint has received. The endpoints are
// metadata, oauth_metadata, uma_metadata, jwks, authorize, token, userinfo,
// introspect, revoke, end_session, resource, permission, register, claims and pages.
func (s *Server) Count(endpoint string) int {
	s.t.Helper()
	s.known(endpoint)
	return s.op.Count(endpoint)
}

// CountToken returns how many token requests had the grant type.
func (s *Server) CountToken(grantType string) int { return s.op.CountToken(grantType) }

// ResetCounts sets Count and CountToken to zero.
func (s *Server) ResetCounts() { s.op.ResetCounts() }

// known fails the test for a misspelt endpoint, which would never count
// anything.
func (s *Server) known(endpoint string) {
	s.t.Helper()
	if !slices.Contains(opserver.Endpoints(), endpoint) {
		s.t.Fatalf("middlewaretest: no endpoint is called %q; there are %s", endpoint, strings.Join(opserver.Endpoints(), ", "))
	}
}

// Violations returns what clients did that the protocol forbids, even if their
// requests succeeded:
//
//   - presenting a code, ticket or refresh token twice
//   - an authorization request that repeats the state, nonce or code challenge
//     of another one, or has none, or one too short for 128 bits
//   - redeeming a code although its answer came back with a wrong, missing or
//     doubled parameter
//   - fetching an address that a fault has pointed to
//   - redeeming a ticket although the claims page sent it with a wrong, missing
//     or doubled parameter
//   - polling faster than the interval allows
//   - credentials in a URL or in two places
func (s *Server) Violations() []string { return s.op.Violations() }

// OnRequest makes every request to an endpoint call hook before it is
// processed; nil removes the hook. The hook runs on the server's goroutine and
// may block to hold the request.
func (s *Server) OnRequest(endpoint string, hook func(*http.Request)) {
	s.t.Helper()
	s.known(endpoint)
	s.op.OnRequest(endpoint, hook)
}
