package opserver

import (
	"context"
	"net/http"
	"net/url"
)

// Dialect is how a [Server] speaks UMA. OpenID Connect is the same in all.
type Dialect int

// The dialects.
const (
	// Standard keeps to the two UMA 2.0 specifications.
	Standard Dialect = iota
	// Keycloak answers as Keycloak 26.7.3 was seen to do, as far as a resource
	// server and a UMA client meet it: protection API, ticket grant, RPTs,
	// introspection, metadata. Not in it: tickets for which nobody asked
	// (audience and permission in the grant), its API for owners, its policies.
	// Owners decide by the control API as ever. A client is a resource server
	// there if it may ask for the scope uma_protection, and people have the role
	// of that name until [Server.LetProtect] says otherwise.
	Keycloak
)

// dialect is what differs. Nothing outside its implementations asks which
// dialect is spoken.
type dialect interface {
	// serveResources, serveResource and servePermission are the protection API.
	serveResources(http.ResponseWriter, *http.Request)
	serveResource(http.ResponseWriter, *http.Request)
	servePermission(http.ResponseWriter, *http.Request)
	// wrongMethod is the answer to a method that an endpoint does not have.
	wrongMethod() *apiError

	// caller finds who sends a token request, umaGrant turns a ticket into an
	// RPT, refreshRPT renews one; refreshRPT is called with the lock held.
	caller(*http.Request, url.Values) (*client, *apiError)
	umaGrant(context.Context, *client, url.Values) (map[string]any, *apiError)
	refreshRPT(*client, *refreshToken) (map[string]any, *apiError)

	// introspector finds who introspects, introspect answers about one token;
	// introspect is called with the lock held.
	introspector(*http.Request, url.Values) (clientID string, bad *apiError)
	introspect(form url.Values, asking string) map[string]any

	// umaMetadata completes the UMA document and says how it is cached.
	umaMetadata(map[string]any) (cacheControl string)
	// knowsScope reports whether there is such a scope; isPAT whether a token is
	// good for the protection API, called with the lock held.
	knowsScope(string) bool
	isPAT(*token) bool
	// openSession gives an ID Token made by the control API its session, "" for
	// none.
	openSession(*user) (sid string)
}

// standard is the dialect [Standard].
type standard struct{ *Server }

// keycloak is the dialect [Keycloak]. K1 to K24 are the deviations that the
// documentation of internal/testkit/umacases lists; what has no number was seen beside
// them.
type keycloak struct {
	*Server
	ticketKey []byte
}

func newDialect(d Dialect, s *Server) dialect {
	if d == Keycloak {
		return keycloak{s, newTicketKey()}
	}
	return standard{s}
}

func (standard) wrongMethod() *apiError {
	// Federated Authorization §3.2: the code for the resource endpoint.
	return &apiError{status: http.StatusMethodNotAllowed, code: "unsupported_method_type"}
}

func (s standard) caller(r *http.Request, form url.Values) (*client, *apiError) {
	return s.authenticate(r, form)
}

func (s standard) refreshRPT(c *client, v *refreshToken) (map[string]any, *apiError) {
	return s.issueRPT(c, v.grant, v.rights, true)
}

// umaMetadata: UMA Grant §2.
func (standard) umaMetadata(m map[string]any) string {
	m["uma_profiles_supported"] = []string{}
	return "public, max-age=300"
}

func (standard) knowsScope(string) bool { return true }

func (standard) isPAT(t *token) bool { return contains(t.scope, scopePAT) }

func (standard) openSession(*user) string { return "" }

// scopes lists what the metadata names.
func (s *Server) scopes() []string {
	var out []string
	for _, one := range []string{"openid", "profile", "email", "offline_access", scopePAT} {
		if s.speaks.knowsScope(one) {
			out = append(out, one)
		}
	}
	return out
}

// mayAsk reports whether there are such scopes for the client.
func (s *Server) mayAsk(c *client, scopes []string) bool {
	for _, one := range scopes {
		if !s.speaks.knowsScope(one) {
			return false
		}
	}
	return c.mayAsk(scopes)
}
