package opserver

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// standardClaims maps scopes to claims. OpenID Connect Core §5.4. Claims that
// are not listed go to every client.
func standardClaims() map[string]string {
	out := map[string]string{}
	for scope, names := range map[string]string{
		"profile": "name family_name given_name middle_name nickname preferred_username profile picture website gender birthdate zoneinfo locale updated_at",
		"email":   "email email_verified",
		"address": "address",
		"phone":   "phone_number phone_number_verified",
	} {
		for name := range strings.FieldsSeq(names) {
			out[name] = scope
		}
	}
	return out
}

// claimsOf returns the claims of a person that a scope covers.
func claimsOf(u *user, scope []string) map[string]any {
	needs := standardClaims()
	out := map[string]any{}
	for name, value := range u.claims {
		if asked, known := needs[name]; !known || contains(scope, asked) {
			out[name] = value
		}
	}
	out["sub"] = u.subject
	return out
}

// withIDToken adds the ID Token to a token answer.
func (s *Server) withIDToken(body map[string]any, c *client, g *grant, nonce string, refreshed bool) (map[string]any, *apiError) {
	if s.wrong.has(MissingIDToken) {
		return body, nil
	}
	access, _ := body["access_token"].(string)
	signed, err := s.idToken(c, g, nonce, access, refreshed)
	if err != nil {
		return nil, &apiError{status: http.StatusInternalServerError, code: "server_error"}
	}
	body["id_token"] = signed
	return body, nil
}

// frontToken makes the ID Token that goes through the browser, with hashes of
// what goes beside it. OpenID Connect Core §3.2.2.10, §3.3.2.11.
func (s *Server) frontToken(c *client, g *grant, access, code string) (string, error) {
	return s.makeIDToken(c, g, g.nonce, access, func(m *maker, claims map[string]any) {
		m.hybrid = code != ""
		if code != "" {
			claims["c_hash"] = accessHash(m.signingAlg(), code)
		}
	})
}

// idToken makes an ID Token. OpenID Connect Core §2.
func (s *Server) idToken(c *client, g *grant, nonce, access string, refreshed bool) (string, error) {
	return s.makeIDToken(c, g, nonce, access, func(m *maker, _ map[string]any) { m.refreshed = refreshed })
}

func (s *Server) makeIDToken(c *client, g *grant, nonce, access string, change func(*maker, map[string]any)) (string, error) {
	s.mu.Lock()
	claims := withAsked(claimsOf(g.user, g.scope), g.user, g.asked.idToken)
	life := s.st.idTokenLife
	s.remember(g.sid, c.ID)
	s.mu.Unlock()
	now := s.now()
	maps.Copy(claims, map[string]any{
		"iss": s.issuer, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(life).Unix(),
		"auth_time": g.authTime.Unix(), "acr": g.acr, "amr": []string{"pwd"},
	})
	if g.sid != "" {
		claims["sid"] = g.sid
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	m := maker{Server: s, has: s.wrong.has, alg: s.algOf(c), typ: "JWT", audience: c.ID, secret: c.Secret}
	if access != "" {
		claims["at_hash"] = accessHash(m.signingAlg(), access)
	}
	change(&m, claims)
	m.spoilClaims(claims)
	return m.sign(claims)
}

// accessHash is at_hash or c_hash: the left half of the hash that goes with the
// algorithm. OpenID Connect Core §3.1.3.6.
func accessHash(alg jose.SignatureAlgorithm, access string) string {
	h := sha256.New()
	switch {
	case strings.HasSuffix(string(alg), "384"):
		h = sha512.New384()
	case strings.HasSuffix(string(alg), "512"), alg == jose.EdDSA: // Ed25519 hashes with SHA-512
		h = sha512.New()
	}
	_, _ = h.Write([]byte(access))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:h.Size()/2])
}

// ownToken reads a JWT that we have signed, expired or not.
func (s *Server) ownToken(raw string) (map[string]any, error) {
	keys, err := s.keys.public()
	if err != nil {
		return nil, err
	}
	claims, err := verifyJWT(raw, keys)
	if err != nil {
		return nil, err
	}
	if claims["iss"] != s.issuer {
		return nil, errors.New("opserver: the token has another issuer")
	}
	return claims, nil
}

// verifyJWT checks the signature of a compact JWT with one of the keys. It
// accepts only asymmetric algorithms, so that alg none and a key used as a
// secret are refused.
func verifyJWT(raw string, keys []jose.JSONWebKey) (map[string]any, error) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512,
		jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	if err != nil {
		return nil, errors.New("opserver: not a signed JWT")
	}
	kid := jws.Signatures[0].Header.KeyID
	for _, key := range keys {
		if !key.IsPublic() || (kid != "" && key.KeyID != kid) || key.Use == "enc" {
			continue
		}
		payload, err := jws.Verify(key)
		if err != nil {
			continue
		}
		var claims map[string]any
		if err := strict.Unmarshal(payload, &claims); err != nil || claims == nil {
			return nil, errors.New("opserver: the JWT holds no claims")
		}
		return claims, nil
	}
	return nil, errors.New("opserver: no key verifies the JWT")
}
