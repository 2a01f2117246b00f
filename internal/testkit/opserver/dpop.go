package opserver

import (
	"context"
	"net/http"
	"slices"

	"example.com/gatehouse/internal/testkit/proofkit"
)

type proofKey struct{}

// withProof reads the proof of a token request, if there is one. Tokens are then
// bound to its key. RFC 9449 §5.
func (s *Server) withProof(r *http.Request) (context.Context, *apiError) {
	switch values := r.Header.Values("DPoP"); len(values) {
	case 0:
		return r.Context(), nil
	case 1:
		key, err := proofkit.Check(values[0], r.Method, s.url(pathToken), s.now())
		if err != nil {
			return nil, badRequest("invalid_dpop_proof", "")
		}
		return context.WithValue(r.Context(), proofKey{}, key), nil
	}
	return nil, badRequest("invalid_dpop_proof", "there is more than one")
}

// provenKey returns the thumbprint of the key that a token request has proven,
// "" if it has none.
func provenKey(ctx context.Context) string {
	key, _ := ctx.Value(proofKey{}).(string)
	return key
}

// BoundAccessToken is [Server.AccessTokenFor] for a token that is bound to the
// key with this thumbprint, or to none if that is "". RFC 9449 §6.
func (s *Server) BoundAccessToken(userName, clientID, thumbprint string, resources []string, scopes ...string) (string, error) {
	return s.accessOf(userName, &grant{client: clientID, scope: scopes, resources: slices.Clone(resources), key: thumbprint})
}

// bind says in claims, or in an introspection answer, to which key a token is
// bound. RFC 9449 §6.1, §6.2.
func (g *grant) bind(claims map[string]any) {
	if g.key != "" {
		claims["cnf"] = map[string]any{"jkt": g.key}
	}
}

// tokenType is token_type of the grant's access tokens. RFC 9449 §5.
func (g *grant) tokenType() string {
	if g.key != "" {
		return "DPoP"
	}
	return "Bearer"
}
