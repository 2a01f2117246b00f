package opserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/testkit/proofkit"
)

// nonceLife is how long one nonce is the newest. No other is taken.
const nonceLife = time.Minute

// DPoPOptions say what the server demands of clients (RFC 9449). In the zero
// value it binds a token to a key if a proof came with the request.
type DPoPOptions struct {
	Required bool // no token without a proof
	Nonce    bool // token endpoint and user info each want their newest nonce in a proof (§8, §9)
}

// SetDPoP sets what the server demands from now on.
func (s *Server) SetDPoP(o DPoPOptions) { s.set(func(st *state) { st.dpop = o }) }

// givenNonce is the newest nonce of an endpoint.
type givenNonce struct {
	text string
	made time.Time
}

// newestNonce returns the nonce that an endpoint takes now, "" if it wants none.
func (s *Server) newestNonce(endpoint string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.st.dpop.Nonce && !s.wrong.has(NonceNeverTaken) {
		return ""
	}
	n := s.st.nonces[endpoint]
	if n.text == "" || !s.now().Before(n.made.Add(nonceLife)) || s.wrong.has(NonceNeverTaken) {
		n = givenNonce{newSecret(), s.now()}
		s.st.nonces[endpoint] = n
	}
	return n.text
}

// judgeProof checks the proof of a request to an endpoint. The answer gets the
// newest nonce, whatever it is. RFC 9449 §4.3, §8.
func (s *Server) judgeProof(w http.ResponseWriter, r *http.Request, endpoint, path string) (proofkit.Checked, *apiError) {
	newest := s.newestNonce(endpoint)
	if newest != "" {
		w.Header().Set("DPoP-Nonce", newest)
	}
	values := r.Header.Values("DPoP")
	if len(values) != 1 {
		return proofkit.Checked{}, badRequest("invalid_dpop_proof", "there is not one proof")
	}
	proof, err := proofkit.Check(values[0], r.Method, s.url(path), s.now())
	switch {
	case err != nil:
		return proof, badRequest("invalid_dpop_proof", "")
	case proof.Nonce != newest && newest != "":
		return proof, badRequest("use_dpop_nonce", "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.st.assertions[proof.ID]; used {
		s.stats.violation("a proof with the same jti came twice") // §11.1
		return proof, badRequest("invalid_dpop_proof", "the jti was used before")
	}
	s.st.assertions[proof.ID] = s.now().Add(memoryOfUsed)
	s.put()
	return proof, nil
}

type proofKey struct{}

// withProof reads the proof of a token request, if there is one. Tokens are then
// bound to its key. RFC 9449 §5.
func (s *Server) withProof(w http.ResponseWriter, r *http.Request) (context.Context, *apiError) {
	s.mu.Lock()
	required := s.st.dpop.Required
	s.mu.Unlock()
	if len(r.Header.Values("DPoP")) == 0 && !required {
		return r.Context(), nil
	}
	proof, bad := s.judgeProof(w, r, EndpointToken, pathToken)
	if bad != nil {
		return nil, bad
	}
	return context.WithValue(r.Context(), proofKey{}, proof.Thumbprint), nil
}

// provenKey returns the thumbprint of the key that a token request has proven,
// "" if it has none.
func provenKey(ctx context.Context) string {
	key, _ := ctx.Value(proofKey{}).(string)
	return key
}

// presented returns the access token of a request to the user info: as Bearer,
// or, if it is bound to a key, as DPoP and with a proof. RFC 9449 §7.1, §7.2.
func (s *Server) presented(w http.ResponseWriter, r *http.Request) (value string, bad *apiError) {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || value == "" || len(r.Header.Values("Authorization")) != 1 {
		return "", nil
	}
	s.mu.Lock()
	t, key := s.st.tokens[value], ""
	if t != nil && t.grant != nil {
		key = t.key
	}
	s.mu.Unlock()
	switch {
	case strings.EqualFold(scheme, "Bearer") && key == "":
		return value, nil
	case strings.EqualFold(scheme, "Bearer"):
		s.stats.violation("a token that is bound to a key came as Bearer")
		return "", bearerError(http.StatusUnauthorized, "invalid_token", "the access token is bound to a key")
	case !strings.EqualFold(scheme, "DPoP"):
		return "", nil
	}
	proof, bad := s.judgeProof(w, r, EndpointUserInfo, pathUserInfo)
	switch {
	case bad == nil && proof.Hash != proofkit.Hash(value), bad == nil && t != nil && proof.Thumbprint != key:
		bad = badRequest("invalid_dpop_proof", "it is for another token or of another key")
	case bad == nil:
		return value, nil
	}
	bad.status = http.StatusUnauthorized
	bad.challenge = `DPoP realm="opserver", error="` + bad.code + `", algs="ES256"`
	return "", bad
}

// BoundAccessToken is [Server.AccessTokenFor] for a token that is bound to the
// key with this thumbprint, or to none if that is "". RFC 9449 §6.
func (s *Server) BoundAccessToken(userName, clientID, thumbprint string, resources []string, scopes ...string) (string, error) {
	return s.accessOf(userName, &grant{client: clientID, scope: scopes, resources: slices.Clone(resources), key: thumbprint})
}

// oddCase spells a type of token in a way that RFC 6749 §5.1 allows.
func oddCase(kind any) string {
	if kind == "DPoP" {
		return "dPOP"
	}
	return "bEARER"
}

// bind says in claims, or in an introspection answer, to which key a token is
// bound. RFC 9449 §6.1, §6.2.
func (t *token) bind(claims map[string]any) {
	if t.key != "" {
		claims["cnf"] = map[string]any{"jkt": t.key}
	}
}

// tokenType is token_type of an access token. RFC 9449 §5.
func (t *token) tokenType() string {
	if t.key != "" {
		return "DPoP"
	}
	return "Bearer"
}
