package opserver

import (
	"slices"
	"testing"
)

// The claims parameter is read strictly, and what it asks for is more than claims
// where Core says so.
func TestClaimsParameter(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"id_token":{"a":null,"b":{"essential":true,"value":1,"x":2}},"userinfo":{},"other":7}`: true,
		``: false, `[]`: false, `null`: false, `{"id_token":[]}`: false, `{"userinfo":null}`: false, `{"id_token":{"a":1}}`: false, `{"id_token":{"a":{"value":1,"values":[1]}}}`: false, `{"a":1,"a":2}`: false,
	} {
		if _, got := parseClaims(text); got != ok {
			t.Errorf("%s: %v", text, got)
		}
	}
	s := &Server{}
	req := &authRequest{}
	if bad := s.judgeClaims(req, `{"id_token":{"acr":{"essential":true,"values":["9","2"]},"sub":{"value":"s1"},"email":null}}`); bad != nil || req.acr != acrStronger || req.subject != "s1" {
		t.Errorf("%+v, %+v", req, bad)
	}
	if bad := s.judgeClaims(&authRequest{}, `{"id_token":{"acr":{"essential":true,"value":"9"}}}`); bad == nil || bad.code != "unmet_authentication_requirements" {
		t.Errorf("an acr that nobody has: %+v", bad)
	}
	u := &user{subject: "s1", claims: map[string]any{"email": "e", "sub": "x"}}
	got := withAsked(map[string]any{"sub": "s1"}, u, req.claims.idToken)
	if got["email"] != "e" || got["sub"] != "s1" || len(got) != 2 {
		t.Errorf("%v", got)
	}
	for _, p := range []string{"none", "login", "consent", "select_account"} {
		if !slices.Contains(promptValues, p) {
			t.Errorf("prompt %s", p)
		}
	}
}
