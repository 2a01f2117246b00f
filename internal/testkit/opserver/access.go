package opserver

import (
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// AccessTokenOptions set the form of access tokens. In the zero value they are
// opaque.
type AccessTokenOptions struct {
	JWT       bool     // a signed JWT of RFC 9068
	Algorithm string   // RS256, ES256 or EdDSA; "" is RS256
	Type      string   // typ; "" is at+jwt, "none" is no typ
	Audience  []string // aud of a token whose request names no resource (RFC 8707)
}

// SetAccessTokens sets the form of access tokens from now on.
func (s *Server) SetAccessTokens(o AccessTokenOptions) error {
	if _, err := idTokenAlg(o.Algorithm); err != nil {
		return fmt.Errorf("opserver: access tokens cannot be signed with %q", o.Algorithm)
	}
	s.set(func(st *state) { st.access = o })
	return nil
}

// audienceOf returns the aud of access tokens from a grant. The lock is held.
func (s *Server) audienceOf(g *grant) []string {
	if len(g.resources) > 0 {
		return g.resources
	}
	return s.st.access.Audience
}

// newAccess returns a new access token. The lock is held.
func (s *Server) newAccess(g *grant, t *token) string {
	o := s.st.access
	if !o.JWT {
		return newSecret()
	}
	t.id = newSecret()
	claims := map[string]any{
		"iss": s.issuer, "sub": g.client, "client_id": g.client, "jti": t.id,
		"iat": t.iat.Unix(), "exp": t.exp.Unix(), "scope": strings.Join(t.scope, " "),
	}
	if g.user != nil {
		claims["sub"] = g.user.subject
	}
	if aud := s.audienceOf(g); len(aud) > 0 {
		claims["aud"] = aud
	}
	g.bind(claims)
	if !g.authTime.IsZero() { // RFC 9068 §2.2.1
		claims["auth_time"], claims["acr"] = g.authTime.Unix(), g.acr
	}
	typ := o.Type
	switch typ {
	case "":
		typ = "at+jwt"
	case "none":
		typ = ""
	}
	alg, err := idTokenAlg(o.Algorithm)
	if err != nil { // SetAccessTokens has checked it
		alg = jose.RS256
	}
	value, err := s.keys.sign(alg, typ, claims)
	if err != nil { // there is a key for each of these algorithms
		return newSecret()
	}
	return value
}
