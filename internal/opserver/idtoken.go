package opserver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// standardClaims says which scope asks for which claims. OpenID Connect Core
// §5.4. Claims that are not listed go to every client.
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

// claimsOf returns what a scope shows of a person.
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

// idToken makes an ID Token. OpenID Connect Core §2.
func (s *Server) idToken(c *client, g *grant, nonce, access string, refreshed bool) (string, error) {
	s.mu.Lock()
	claims := claimsOf(g.user, g.scope)
	life := s.st.idTokenLife
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
	if access != "" { // OpenID Connect Core §3.1.3.6; both algorithms hash with SHA-256
		sum := sha256.Sum256([]byte(access))
		claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:sha256.Size/2])
	}
	s.spoil(claims, c, refreshed)
	if s.wrong.has(UnsignedIDToken) {
		return unsigned(claims)
	}
	signed, err := s.keys.sign(c.alg, "JWT", claims)
	if err == nil && s.wrong.has(WrongSignature) {
		signed = otherSignature(signed)
	}
	return signed, err
}

// spoil breaks the claims of an ID Token as the faults say.
func (s *Server) spoil(claims map[string]any, c *client, refreshed bool) {
	subject, _ := claims["sub"].(string)
	broken := map[Fault]func(){
		WrongIssuer:          func() { claims["iss"] = s.issuer + "1" },
		WrongAudience:        func() { claims["aud"] = c.ID + "-other" },
		WrongAuthorizedParty: func() { claims["aud"], claims["azp"] = []string{c.ID, "other"}, "other" },
		MissingSubject:       func() { delete(claims, "sub") },
		MissingIssuedAt:      func() { delete(claims, "iat") },
		ExpiredIDToken:       func() { claims["exp"] = s.now().Add(-10 * time.Minute).Unix() },
		OldAuthentication:    func() { claims["auth_time"] = s.now().Add(-24 * time.Hour).Unix() },
		WrongAccessTokenHash: func() { claims["at_hash"] = base64.RawURLEncoding.EncodeToString(make([]byte, 16)) },
		MissingNonce:         func() { delete(claims, "nonce") },
	}
	if refreshed {
		broken[RefreshOtherSubject] = func() { claims["sub"] = subject + "-other" }
	}
	if nonce, sent := claims["nonce"].(string); sent {
		broken[WrongNonce] = func() { claims["nonce"] = nonce + "x" }
	}
	for fault, apply := range broken {
		if s.wrong.has(fault) {
			apply()
		}
	}
}

// unsigned makes the JWT that every client must refuse: alg none.
func unsigned(claims map[string]any) (string, error) {
	b, err := json.Marshal(claims)
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"none"}`)) + "." + enc.EncodeToString(b) + ".", err
}

// otherSignature changes one character in the middle of the signature, where
// each of its bits counts.
func otherSignature(signed string) string {
	at := len(signed) - 20
	changed := byte('A')
	if signed[at] == changed {
		changed = 'B'
	}
	return signed[:at] + string(changed) + signed[at+1:]
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

// verifyJWT checks the signature of a compact JWT with one of the keys. Only
// asymmetric algorithms are taken, so alg none and a key taken for a secret are
// refused.
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
