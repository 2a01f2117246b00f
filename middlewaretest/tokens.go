package middlewaretest

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// AccessTokenOptions set the form of access tokens. In the zero value they are
// opaque, and only introspection tells what they say.
type AccessTokenOptions struct {
	// JWT makes them JWTs, as RFC 9068 describes them.
	JWT bool
	// Algorithm signs them: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512 or EdDSA. "" means RS256. The metadata announces it from now
	// on, so choose it before anything has read them.
	Algorithm string
	// Type is typ in their header. "" means "at+jwt", and "none" means a header
	// without typ. Keycloak sends "JWT".
	Type string
	// Audience is their aud if the request names no resource (RFC 8707).
	Audience []string
}

// SetAccessTokens sets the form of access tokens from now on, those of every
// grant.
func (s *Server) SetAccessTokens(o AccessTokenOptions) {
	s.t.Helper()
	s.check(s.op.SetAccessTokens(opserver.AccessTokenOptions(o)))
}

// AccessToken returns an access token of a user for a client, as after a sign-in
// just now. With the scope uma_protection it is the user's PAT. An empty user
// stands for the client itself.
func (s *Server) AccessToken(user string, c gatehouse.Client, scopes ...string) string {
	s.t.Helper()
	value, err := s.op.AccessToken(user, c.ID, scopes...)
	s.check(err)
	return value
}

// NewRequest returns a request with an access token of a user for a client and
// an API, for a test of that API. It goes to the API's handler, or through an
// http.Client to the server that runs it; give it a Body of your own if it needs
// one. An empty user stands for the client itself. Each scope is an argument of
// its own.
//
// The token is for [AccessTokenOptions.Audience]. If that is empty, it is for the
// resource (RFC 8707) that is the origin of address, such as
// "https://api.example.org". The address may be a path alone if there is an
// Audience.
func (s *Server) NewRequest(t testing.TB, user string, c gatehouse.Client, method, address string, scopes ...string) *http.Request {
	t.Helper()
	return s.newRequest(t, "", user, c, method, address, scopes)
}

// newRequest is NewRequest with a token that is bound to the key with this
// thumbprint, or to none.
func (s *Server) newRequest(t testing.TB, thumbprint, user string, c gatehouse.Client, method, address string, scopes []string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
	if err != nil {
		t.Fatal("middlewaretest: NewRequest: ", err)
	}
	var resources []string
	switch {
	case r.URL.Host == "" && !strings.HasPrefix(r.URL.Path, "/"):
		t.Fatalf("middlewaretest: NewRequest: %q is neither a whole address nor a path that begins with a slash", address)
	case s.op.HasAudience():
	case r.URL.Host == "":
		t.Fatalf("middlewaretest: NewRequest: %q does not say which API the token is for: give the whole address, or name AccessTokenOptions.Audience", address)
	default:
		resources = []string{(&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}).String()}
	}
	token, err := s.op.BoundAccessToken(user, c.ID, thumbprint, resources, scopes...)
	if err != nil {
		t.Fatal("middlewaretest: NewRequest: ", withoutPackage(err))
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.RemoteAddr = "192.0.2.1:1234" // RFC 5737: a handler may want one
	if r.Host == "" {
		r.Host = "example.com"
	}
	if r.URL.Scheme == "https" {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, ServerName: r.URL.Hostname()}
	}
	return r
}

// Token returns one access token made by hand: a JWT of the Algorithm and Type of
// [Server.SetAccessTokens], whatever the others are. It has iss, sub, client_id,
// aud, exp, iat and jti. The audience is that of SetAccessTokens; without one
// there is no aud, so name it there or in claims. sub and client_id are those of
// the one user and the one client, if there is one. The claims lie over these. A
// nil takes a claim away, and a time.Time is written as the number that it stands
// for.
//
// Each fault breaks this token alone, in the way that [Server.Break] breaks ID
// Tokens: with [WrongAudience], for example, it is meant for another API. A fault
// that no access token can have, or that changes nothing in this one, fails the
// test. The server calls a token without faults active.
//
// With the Type "JWT" and a nil for aud it is also what the server says as a claims
// provider (gatehouse.ClaimsProvider).
func (s *Server) Token(t testing.TB, claims Claims, faults ...Fault) string {
	t.Helper()
	list := make([]opserver.Fault, 0, len(faults))
	for _, f := range faults {
		list = append(list, opserver.Fault(f))
	}
	value, err := s.op.Token(claims, list...)
	if err != nil {
		t.Fatal("middlewaretest: Token: ", withoutPackage(err))
	}
	return value
}
