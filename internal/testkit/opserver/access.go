package opserver

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// AccessTokenOptions set the form of access tokens. In the zero value they are
// opaque.
type AccessTokenOptions struct {
	JWT       bool     // a signed JWT of RFC 9068
	Algorithm string   // one of RS, PS, ES and EdDSA; "" is RS256
	Type      string   // typ; "" is at+jwt, "none" is no typ
	Audience  []string // aud of a token whose request names no resource (RFC 8707)
}

// SetAccessTokens sets the form of access tokens from now on.
func (s *Server) SetAccessTokens(o AccessTokenOptions) error {
	if _, err := s.signsWith(o.Algorithm); err != nil {
		return fmt.Errorf("opserver: access tokens cannot be signed with %q", o.Algorithm)
	}
	s.set(func(st *state) { st.access = o })
	return nil
}

// HasAudience reports whether [AccessTokenOptions] names an audience.
func (s *Server) HasAudience() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.st.access.Audience) > 0
}

// areResources reports whether each is the address of a resource (RFC 8707 §2).
func areResources(resources []string) bool {
	return !slices.ContainsFunc(resources, func(resource string) bool {
		u, err := url.Parse(resource)
		return err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(resource, "#")
	})
}

// checkResources judges the resources of a token request: they are among those
// of the grant, if it was made for some (RFC 8707 §2.2).
func (g *grant) checkResources(resources []string) *apiError {
	beyond := func(resource string) bool { return len(g.resources) > 0 && !contains(g.resources, resource) }
	if !areResources(resources) || slices.ContainsFunc(resources, beyond) {
		return badRequest("invalid_target", "")
	}
	return nil
}

// audienceOf returns the aud of an access token. The lock is held.
func (s *Server) audienceOf(t *token) []string {
	switch {
	case len(t.resources) > 0:
		return t.resources
	case len(t.grant.resources) > 0:
		return t.grant.resources
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
	if aud := s.audienceOf(t); len(aud) > 0 {
		claims["aud"] = aud
	}
	t.bind(claims)
	if !g.authTime.IsZero() { // RFC 9068 §2.2.1
		claims["auth_time"], claims["acr"] = g.authTime.Unix(), g.acr
	}
	alg, err := signingAlg(o.Algorithm)
	if err != nil { // SetAccessTokens has checked it
		alg = jose.RS256
	}
	value, err := s.keys.sign(alg, o.typ(), claims)
	if err != nil { // there is a key for each of these algorithms
		return newSecret()
	}
	return value
}

// typ is the header of that name.
func (o AccessTokenOptions) typ() string {
	switch o.Type {
	case "":
		return "at+jwt"
	case "none":
		return ""
	}
	return o.Type
}
