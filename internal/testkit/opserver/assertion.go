package opserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// assertionType is the one type of assertion. RFC 7523 §2.2.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is how long an assertion may be valid, as at Keycloak and in
	// the profiles of FAPI, with some seconds for clocks.
	assertionLife = 70 * time.Second
	// assertionEarly is how far the clock of a client may be ahead.
	assertionEarly = 10 * time.Second
	// minJTI is the shortest id: 96 bits as hexadecimal digits.
	minJTI = 24
)

// assertionAlgs are the algorithms of assertions.
func assertionAlgs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		jose.HS256, jose.HS384, jose.HS512,
	}
}

func asserts(auth string) bool { return auth == AuthSecretJWT || auth == AuthPrivateKeyJWT }

// checkAuth reports what does not fit together in a registration.
func (c *Client) checkAuth() error {
	switch {
	case !slices.Contains([]string{"", AuthBasic, AuthPost, AuthNone, AuthSecretJWT, AuthPrivateKeyJWT}, c.Auth):
		return fmt.Errorf("opserver: client authentication %q is unknown", c.Auth)
	case (c.Auth == AuthNone || c.Auth == AuthPrivateKeyJWT) != (c.Secret == ""):
		return fmt.Errorf("opserver: client %q: a secret goes with every authentication but none and a key", c.ID)
	case (c.Auth == AuthPrivateKeyJWT) != (len(c.Keys) > 0):
		return fmt.Errorf("opserver: client %q: keys go with %s", c.ID, AuthPrivateKeyJWT)
	}
	for _, k := range c.Keys {
		if !k.Valid() || !k.IsPublic() || k.KeyID == "" {
			return fmt.Errorf("opserver: client %q: a key is not a public one with an id", c.ID)
		}
	}
	return nil
}

// asserted finds the client of a request that brings an assertion. What is wrong
// with it is for the statistics; the client learns only that it is refused. RFC
// 7523 §3, OpenID Connect Core §9.
func (s *Server) asserted(form url.Values) (*client, error) {
	if form.Get("client_assertion_type") != assertionType {
		return nil, fmt.Errorf("client_assertion_type %q", form.Get("client_assertion_type"))
	}
	parsed, err := jose.ParseSignedCompact(form.Get("client_assertion"), assertionAlgs())
	if err != nil {
		return nil, fmt.Errorf("the assertion cannot be read: %w", err)
	}
	var claims struct {
		Issuer   string          `json:"iss"`
		Subject  string          `json:"sub"`
		Audience json.RawMessage `json:"aud"`
		ID       string          `json:"jti"`
		Issued   *int64          `json:"iat"`
		Expires  *int64          `json:"exp"`
	}
	if err := json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return nil, fmt.Errorf("the claims cannot be read: %w", err)
	}
	s.mu.Lock()
	c := s.st.clients[claims.Subject]
	s.mu.Unlock()
	switch id := form.Get("client_id"); {
	case c == nil:
		return nil, fmt.Errorf("sub %q is no client", claims.Subject)
	case c.secretEnded(s.now()):
		return nil, errors.New("the secret of the client has ended")
	case claims.Issuer != claims.Subject, id != "" && id != claims.Subject:
		return nil, fmt.Errorf("iss %q, sub %q, client_id %q", claims.Issuer, claims.Subject, id)
	}
	key, err := c.assertionKey(parsed.Signatures[0].Header, s.keysOf(c, parsed.Signatures[0].Header.KeyID))
	if err != nil {
		return nil, err
	}
	if _, err := parsed.Verify(key); err != nil {
		return nil, fmt.Errorf("the signature: %w", err)
	}
	want, _ := json.Marshal(s.assertionAudience(c))
	if string(claims.Audience) != string(want) { // one text, so that no other server may use it
		return nil, fmt.Errorf("aud %s, want %s", claims.Audience, want)
	}
	if claims.Issued == nil || claims.Expires == nil || len(claims.ID) < minJTI {
		return nil, fmt.Errorf("iat, exp or jti %q is missing or too short", claims.ID)
	}
	now, issued, expires := s.now(), time.Unix(*claims.Issued, 0), time.Unix(*claims.Expires, 0)
	if !now.Before(expires) || expires.Sub(now) > assertionLife || issued.Sub(now) > assertionEarly || now.Sub(issued) > assertionLife {
		return nil, fmt.Errorf("iat %v, exp %v, now %v", issued, expires, now)
	}
	return c, s.once(c.ID, claims.ID, expires)
}

// assertionKey returns what the client's assertion is verified with.
func (c *client) assertionKey(h jose.Header, keys []jose.JSONWebKey) (any, error) {
	if c.AssertionAlg != "" && h.Algorithm != c.AssertionAlg {
		return nil, fmt.Errorf("alg %q, registered for %q", h.Algorithm, c.AssertionAlg)
	}
	hmac := slices.Contains([]string{"HS256", "HS384", "HS512"}, h.Algorithm)
	switch {
	case c.Auth == AuthSecretJWT && hmac:
		return []byte(c.Secret), nil
	case c.Auth == AuthPrivateKeyJWT && !hmac:
		for _, k := range keys {
			if k.KeyID == h.KeyID && (k.Algorithm == "" || k.Algorithm == h.Algorithm) {
				return k.Key, nil
			}
		}
		return nil, fmt.Errorf("kid %q is no key for %s", h.KeyID, h.Algorithm)
	}
	return nil, fmt.Errorf("alg %q of a client that authenticates by %q", h.Algorithm, c.Auth)
}

// assertionAudience is whom the client's assertions have to be for.
func (s *Server) assertionAudience(c *client) string {
	if c.AssertionAudience != "" {
		return c.AssertionAudience
	}
	return s.issuer
}

// once refuses an assertion that was used before. RFC 7523 §3 item 7.
func (s *Server) once(client, id string, expires time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := client + " " + id
	if _, used := s.st.assertions[key]; used {
		return fmt.Errorf("jti %q was used before", id)
	}
	s.put()
	s.st.assertions[key] = expires
	return nil
}
