package opserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	strict "github.com/go-jose/go-jose/v4/json"
)

// claimsParam is the claims parameter. OpenID Connect Core §5.5.
type claimsParam struct {
	idToken, userInfo map[string]askedClaim
}

// askedClaim is a request for one claim. Core §5.5.1.
type askedClaim struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// texts are the values that are texts.
func (a askedClaim) texts() (out []string) {
	for _, v := range append(slices.Clip(a.Values), a.Value) {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// parseClaims reads the parameter. Members that are not known are ignored.
func parseClaims(text string) (claimsParam, bool) {
	var members map[string]json.RawMessage
	if err := strict.Unmarshal([]byte(text), &members); err != nil || members == nil {
		return claimsParam{}, false
	}
	read := func(member string) (map[string]askedClaim, bool) {
		raw, there := members[member]
		if !there {
			return nil, true
		}
		var claims map[string]json.RawMessage
		if err := strict.Unmarshal(raw, &claims); err != nil || claims == nil {
			return nil, false
		}
		out := map[string]askedClaim{}
		for name, one := range claims {
			var asked askedClaim
			if !bytes.Equal(one, []byte("null")) && (one[0] != '{' || strict.Unmarshal(one, &asked) != nil) {
				return nil, false
			}
			if asked.Value != nil && asked.Values != nil {
				return nil, false
			}
			out[name] = asked
		}
		return out, true
	}
	idToken, ok1 := read("id_token")
	userInfo, ok2 := read("userinfo")
	return claimsParam{idToken, userInfo}, ok1 && ok2
}

// judgeClaims reads what a request asks for by the claims parameter. An acr and a
// sub with a value ask for more than the claim.
func (s *Server) judgeClaims(req *authRequest, text string) *authError {
	var ok bool
	if req.claims, ok = parseClaims(text); !ok {
		return &authError{code: "invalid_request", desc: "claims is not a request for claims"}
	}
	acr := req.claims.idToken["acr"]
	for _, class := range acr.texts() {
		if class == acrPassword || class == acrStronger {
			req.acr = class
			break
		}
	}
	if acr.Essential && len(acr.texts()) > 0 && !slices.Contains(acr.texts(), req.acr) { // §5.5.1.1
		return &authError{code: "unmet_authentication_requirements", desc: "no such authentication"}
	}
	if sub := req.claims.idToken["sub"].texts(); len(sub) > 0 { // §3.1.2.2
		req.subject = sub[0]
	}
	return nil
}

// withAsked returns claims with those that were asked for by name and that the
// person has.
func withAsked(claims map[string]any, u *user, asked map[string]askedClaim) map[string]any {
	if len(asked) == 0 {
		return claims
	}
	claims = maps.Clone(claims)
	for name := range asked {
		if value, has := u.claims[name]; has && name != "sub" {
			claims[name] = value
		}
	}
	return claims
}
