package opserver

import (
	"context"
	"net/http"
	"net/url"
)

// Dialect is how a [Server] speaks UMA. OpenID Connect is the same in all
// dialects.
type Dialect int

// The dialects.
const (
	// Standard keeps to the two UMA 2.0 specifications.
	Standard Dialect = iota
	// Keycloak answers as Keycloak 26.7.3 was seen to do, as far as a resource
	// server and a UMA client notice: protection API, ticket grant, RPTs,
	// introspection, metadata. It leaves out requests without a ticket
	// (audience and permission in the grant), the API for owners, and policies.
	// Owners decide through the control API as usual. A client is a resource
	// server there if it may request the scope uma_protection. People have the
	// role of that name until [Server.LetProtect] says otherwise.
	Keycloak
)

// dialect is what differs between dialects. Only its implementations know which
// dialect is spoken.
type dialect interface {
	// serveResources, serveResource and servePermission are the protection API.
	serveResources(http.ResponseWriter, *http.Request)
	serveResource(http.ResponseWriter, *http.Request)
	servePermission(http.ResponseWriter, *http.Request)
	// wrongMethod is the answer to a method that an endpoint does not have.
	wrongMethod() *apiError

	// caller finds the client of a token request, umaGrant turns a ticket into
	// an RPT, and refreshRPT renews one. refreshRPT is called with the lock
	// held.
	caller(*http.Request, url.Values) (*client, *apiError)
	umaGrant(context.Context, *client, url.Values) (map[string]any, *apiError)
	refreshRPT(*client, *refreshToken) (map[string]any, *apiError)

	// introspector finds the caller of introspection, and introspect answers
	// about one token. introspect is called with the lock held.
	introspector(*http.Request, url.Values) (clientID string, bad *apiError)
	introspect(form url.Values, asking string) map[string]any

	// umaMetadata completes the UMA document and sets how it is cached.
	umaMetadata(map[string]any) (cacheControl string)
	// knowsScope reports whether there is such a scope. isPAT reports whether a
	// token is valid for the protection API; it is called with the lock held.
	knowsScope(string) bool
	isPAT(*token) bool
	// openSession returns the session of an ID Token made by the control API,
	// or "".
	openSession(*user) (sid string)
}

// standard is the dialect [Standard].
type standard struct{ *Server }

// keycloak is the dialect [Keycloak]. K1 to K24 are the deviations listed in
// the documentation of internal/testkit/umacases. Those without a number were
// observed as well.
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
func (s standard) umaMetadata(m map[string]any) string {
	m["uma_profiles_supported"] = []string{}
	m["claims_interaction_endpoint"] = s.url(pathClaims)
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

// mayAsk reports whether the client may request these scopes.
func (s *Server) mayAsk(c *client, scopes []string) bool {
	for _, one := range scopes {
		if !s.speaks.knowsScope(one) {
			return false
		}
	}
	return c.mayAsk(scopes)
}
