package opserver

import (
	"fmt"
	"slices"
	"sync"
)

// Names of the endpoints for [Server.Count], [Server.Peak], [Server.SetFaultAt]
// and [Server.OnRequest].
const (
	EndpointMetadata      = "metadata"       // OpenID Connect Discovery
	EndpointOAuthMetadata = "oauth_metadata" // RFC 8414
	EndpointUMAMetadata   = "uma_metadata"
	EndpointJWKS          = "jwks"
	EndpointAuthorize     = "authorize"
	EndpointToken         = "token"
	EndpointUserInfo      = "userinfo"
	EndpointIntrospect    = "introspect"
	EndpointRevoke        = "revoke"
	EndpointEndSession    = "end_session"
	EndpointResource      = "resource"
	EndpointPermission    = "permission"
	EndpointRegister      = "register" // of clients, and each client
	EndpointClaims        = "claims"   // UMA Grant §3.3.2
	EndpointPages         = "pages"    // sign-in, sign-out, policy, inbox, and the questions of the claims page
)

// Endpoints lists the names of all endpoints.
func Endpoints() []string {
	return []string{EndpointMetadata, EndpointOAuthMetadata, EndpointUMAMetadata, EndpointJWKS, EndpointAuthorize,
		EndpointToken, EndpointUserInfo, EndpointIntrospect, EndpointRevoke, EndpointEndSession, EndpointResource,
		EndpointPermission, EndpointRegister, EndpointClaims, EndpointPages}
}

// stats counts what reaches the server.
type stats struct {
	mu         sync.Mutex
	count      map[string]int // by endpoint
	grants     map[string]int // token requests by grant type
	live, peak map[string]int
	violations []string
	chain      int
	asked      map[string]int // introspections by fingerprint of the token
}

// enter counts a request and returns what to call when it has been answered.
func (t *stats) enter(name string) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count, t.live, t.peak = map[string]int{}, map[string]int{}, map[string]int{}
	}
	t.count[name]++
	t.live[name]++
	t.peak[name] = max(t.peak[name], t.live[name])
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.live[name]--
	}
}

func (t *stats) grant(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grants == nil {
		t.grants = map[string]int{}
	}
	t.grants[kind]++
}

// violation records a breach of the protocol. The text never contains a secret.
func (t *stats) violation(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.violations = append(t.violations, fmt.Sprintf(format, args...))
}

func (t *stats) chained(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chain = max(t.chain, n)
}

// introspected records an introspection of a token.
func (t *stats) introspected(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked == nil {
		t.asked = map[string]int{}
	}
	t.asked[fingerprint(value)]++
}

// CountIntrospected returns how many introspection requests were about a token.
func (s *Server) CountIntrospected(value string) int {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.asked[fingerprint(value)]
}

// Count returns how many requests an endpoint has received, including those
// that were refused or answered by a fault. It panics for a name that
// [Endpoints] does not list, because a misspelt name would never count
// anything.
func (s *Server) Count(endpoint string) int {
	mustBeEndpoint(endpoint)
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.count[endpoint]
}

// CountToken returns how many token requests had the grant type.
func (s *Server) CountToken(grantType string) int {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.grants[grantType]
}

// Peak returns the largest number of concurrent requests at an endpoint. It
// panics as [Server.Count] does.
func (s *Server) Peak(endpoint string) int {
	mustBeEndpoint(endpoint)
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.peak[endpoint]
}

// TicketChain returns the greatest number of tickets issued in one
// authorization process.
func (s *Server) TicketChain() int {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.chain
}

// ResetCounts sets Count, CountToken, CountIntrospected, Peak and TicketChain
// to zero. Violations stay.
func (s *Server) ResetCounts() {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	clear(s.stats.count)
	clear(s.stats.grants)
	clear(s.stats.peak)
	clear(s.stats.asked)
	s.stats.chain = 0
}

// Violations returns, oldest first, what clients did that the protocol forbids,
// even if their requests succeeded:
//
//   - presenting a code, ticket or refresh token twice
//   - an authorization request that repeats the state, nonce or code challenge
//     of another one, or has none, or one too short for 128 bits
//   - redeeming a code although its answer came back with a wrong, missing or
//     doubled parameter
//   - fetching an address that a fault has pointed to
//   - polling faster than the interval allows
//   - credentials in a URL or in two places
func (s *Server) Violations() []string {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return slices.Clone(s.stats.violations)
}

// ResetViolations forgets the violations so far.
func (s *Server) ResetViolations() {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	s.stats.violations = nil
}

func mustBeEndpoint(name string) {
	if !slices.Contains(Endpoints(), name) {
		panic(fmt.Sprintf("opserver: no endpoint is called %q", name))
	}
}
