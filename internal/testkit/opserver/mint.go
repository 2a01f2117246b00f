package opserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Token makes one access token by hand, a JWT in the form that SetAccessTokens
// has set. The claims lie over those that every access token has; nil takes one
// away, and a time.Time becomes a number. Each fault breaks this token alone. One
// that an access token cannot have, or that would change nothing, is an error.
// Introspection knows the token if it has no fault.
func (s *Server) Token(claims map[string]any, faults ...Fault) (string, error) {
	s.mu.Lock()
	o, now := s.st.access, s.now()
	all := s.usualClaims(now)
	s.mu.Unlock()
	for name, value := range claims {
		if at, ok := value.(time.Time); ok {
			value = at.Unix()
		}
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	alg, err := signingAlg(o.Algorithm)
	if err != nil {
		return "", err
	}
	m := maker{
		Server: s, has: func(f Fault) bool { return slices.Contains(faults, f) },
		alg: alg, typ: o.typ(), audience: firstText(all["aud"], "https://api.example"),
	}
	known := maps.Clone(all)
	client, _ := all["client_id"].(string)
	s.mu.Lock()
	if c := s.st.clients[client]; c != nil {
		m.secret = c.Secret
	}
	s.mu.Unlock()
	if err := m.checkFaults(all, faults); err != nil {
		return "", err
	}
	m.spoilClaims(all)
	value, err := m.sign(all)
	if err == nil && len(faults) == 0 {
		s.keepMinted(value, known, now)
	}
	return value, err
}

// usualClaims are those of RFC 9068 §2.2. If there is one person or one client,
// the token is theirs. The lock is held.
func (s *Server) usualClaims(now time.Time) map[string]any {
	claims := map[string]any{"iss": s.issuer, "sub": "somebody", "client_id": "client", "jti": newSecret(),
		"iat": now.Unix(), "exp": now.Add(s.st.tokenLife).Unix()}
	if aud := s.st.access.Audience; len(aud) > 0 {
		claims["aud"] = aud
	}
	if len(s.st.subjects) == 1 {
		for subject := range s.st.subjects {
			claims["sub"] = subject
		}
	}
	if len(s.st.clients) == 1 {
		for id := range s.st.clients {
			claims["client_id"] = id
		}
	}
	return claims
}

// firstText is a text, or the first of a list of texts.
func firstText(v any, otherwise string) string {
	switch v := v.(type) {
	case string:
		return v
	case []string:
		if len(v) > 0 {
			return v[0]
		}
	case []any:
		if len(v) > 0 {
			return firstText(v[0], otherwise)
		}
	}
	return otherwise
}

// checkFaults reports a fault that this token cannot have.
func (m maker) checkFaults(claims map[string]any, faults []Fault) error {
	table := m.spoilers(claims)
	for _, f := range faults {
		i := slices.IndexFunc(table, func(one spoiler) bool { return one.fault == f })
		switch {
		case f == HMACWithSecret && m.secret == "":
			return fmt.Errorf("opserver: %q needs a client_id whose secret is known", f)
		case f == RepeatedClaim && claims["sub"] == nil:
			return fmt.Errorf("opserver: %q changes nothing in this access token", f)
		case slices.Contains(formFaults(), f):
		case i < 0 || f == WrongAccessTokenHash || f == RefreshOtherSubject || f == WrongNonce:
			return fmt.Errorf("opserver: %q is nothing that an access token can have; see Break", f)
		case !m.changes(f, claims):
			return fmt.Errorf("opserver: %q changes nothing in this access token", f)
		}
	}
	return nil
}

// formFaults are the faults in the form and signature of any JWT.
func formFaults() []Fault {
	return []Fault{UnsignedIDToken, UnsignedOddCase, EmptySignature, OtherAlgorithm, HMACWithPublicKey, HMACWithSecret,
		WrongSignature, UnknownCriticalHeader, KeyInHeader, KeyURLInHeader, WrongTokenType, FivePartIDToken, PaddedIDToken,
		JSONSerializedIDToken, NoKeyID, UnknownKeyID, RepeatedClaim, OtherCaseClaim}
}

// changes reports whether a fault makes the claims other ones.
func (m maker) changes(f Fault, claims map[string]any) bool {
	m.has = func(one Fault) bool { return one == f }
	spoiled := maps.Clone(claims)
	m.spoilClaims(spoiled)
	before, err1 := json.Marshal(claims)
	after, err2 := json.Marshal(spoiled)
	return err1 != nil || err2 != nil || string(before) != string(after)
}

// keepMinted lets introspection know a token.
func (s *Server) keepMinted(value string, claims map[string]any, now time.Time) {
	subject, _ := claims["sub"].(string)
	client, _ := claims["client_id"].(string)
	scope, _ := claims["scope"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &token{scope: strings.Fields(scope), iat: now, exp: now.Add(s.st.tokenLife), minted: claims}
	if exp, ok := claims["exp"].(int64); ok {
		t.exp = time.Unix(exp, 0)
	}
	t.grant = &grant{client: client, user: s.st.subjects[subject], scope: t.scope}
	s.st.tokens[value] = t
	s.put()
}
