package opserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// formatIDToken is the claim token format of ID Tokens.
const formatIDToken = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// clockSkew is how far in the future the iat of a foreign ID Token may lie.
const clockSkew = time.Minute

// TrustedIssuer is another OpenID provider whose ID Tokens count as claims.
type TrustedIssuer struct {
	Issuer string
	// Audience lists the client ids for which a token may have been made; one
	// of them must be in aud. If it is empty, the token must be made for the
	// client that presents it.
	Audience []string
	// Keys returns the issuer's public keys. It is called for every token.
	Keys func(context.Context) ([]jose.JSONWebKey, error)
}

// TrustIssuer accepts the ID Tokens of another issuer as claims. A person whom
// the owner named is found by email (unless it is marked as unverified),
// preferred_username and sub. The issuer thus decides who "bob" is.
func (s *Server) TrustIssuer(t TrustedIssuer) error {
	if t.Issuer == "" || t.Keys == nil || t.Issuer == s.issuer {
		return errors.New("opserver: a trusted issuer needs its own name and keys")
	}
	t.Audience = slices.Clone(t.Audience)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.issuers[t.Issuer] = t
	return nil
}

// AsIssuer returns the server as an issuer that another server may trust, for
// ID Tokens made for one of the audience.
func (s *Server) AsIssuer(audience ...string) TrustedIssuer {
	return TrustedIssuer{Issuer: s.issuer, Audience: audience,
		Keys: func(context.Context) ([]jose.JSONWebKey, error) { return s.keys.public() }}
}

// person is the person that a claim token is about.
type person struct {
	user    *user // nil if known only to another issuer
	subject string
	names   []string // names that an owner may have used for them; the first is shown
}

// claimant verifies a claim token that a client presents. UMA Grant §3.3.1;
// OpenID Connect Core §3.1.3.7 lists the checks.
func (s *Server) claimant(ctx context.Context, c *client, raw string) (*person, error) {
	unverified, err := issuerOf(raw)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	foreign, known := s.st.issuers[unverified]
	s.mu.Unlock()
	var keys []jose.JSONWebKey
	switch {
	case unverified == s.issuer:
		keys, err = s.keys.public()
	case known:
		keys, err = foreign.Keys(ctx)
	default:
		err = errors.New("opserver: the issuer of the claim token is not trusted")
	}
	if err != nil {
		return nil, err
	}
	claims, err := verifyJWT(raw, keys)
	if err != nil {
		return nil, err
	}
	audience := foreign.Audience
	if len(audience) == 0 {
		audience = []string{c.ID}
	}
	if err := s.checkClaims(claims, unverified, audience); err != nil {
		return nil, err
	}
	return s.personOf(claims, unverified == s.issuer)
}

// issuerOf reads iss before the signature is verified, only to choose the keys.
func issuerOf(raw string) (string, error) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512,
		jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	if err != nil {
		return "", errors.New("opserver: not a signed JWT")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := strict.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil || claims.Issuer == "" {
		return "", errors.New("opserver: the claim token names no issuer")
	}
	return claims.Issuer, nil
}

// checkClaims checks iss, aud, exp and iat of a verified ID Token.
func (s *Server) checkClaims(claims map[string]any, issuer string, audience []string) error {
	now := s.now()
	exp, hasExp := claims["exp"].(float64)
	iat, hasIat := claims["iat"].(float64)
	aud, _ := stringList(claims["aud"])
	if one, ok := claims["aud"].(string); ok {
		aud = []string{one}
	}
	_, event := claims["events"]
	switch {
	case claims["iss"] != issuer:
		return errors.New("opserver: the claim token has another issuer")
	case event:
		return errors.New("opserver: the claim token is a logout token")
	case !hasExp || float64(now.Unix()) >= exp:
		return errors.New("opserver: the claim token has expired")
	case !hasIat || iat > float64(now.Add(clockSkew).Unix()):
		return errors.New("opserver: the claim token was issued in the future")
	case !slices.ContainsFunc(aud, func(v string) bool { return contains(audience, v) }):
		return errors.New("opserver: the claim token was made for another client")
	}
	return nil
}

// personOf finds the person of verified claims.
func (s *Server) personOf(claims map[string]any, own bool) (*person, error) {
	subject, _ := claims["sub"].(string)
	if subject == "" {
		return nil, errors.New("opserver: the claim token has no subject")
	}
	p := &person{subject: subject}
	if own {
		s.mu.Lock()
		defer s.mu.Unlock()
		u := s.st.subjects[subject]
		if u == nil {
			return nil, errors.New("opserver: the claim token is about nobody known here")
		}
		p.user, p.names = u, []string{u.name}
		claims = u.claims // the account, not what an older token says about it
	}
	if email, _ := claims["email"].(string); email != "" && claims["email_verified"] != false {
		p.names = append(p.names, email)
	}
	if name, _ := claims["preferred_username"].(string); name != "" && !own {
		p.names = append(p.names, name)
	}
	p.names = append(p.names, subject)
	return p, nil
}
