package opserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

// TestResourceDecidesAudience sends resources with every grant (RFC 8707 §2).
// They are the aud of the token, in a JWT and in introspection.
func TestResourceDecidesAudience(t *testing.T) {
	const a, b = "https://a.example/v1", "urn:example:b"
	for _, jwt := range []bool{true, false} {
		w := newWorld(t, "")
		w.must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{"usual"}}))
		audOf := func(body map[string]any) string {
			t.Helper()
			access := str(body["access_token"])
			told := w.postForm(w.http, w.endpoint("introspection_endpoint"), url.Values{"token": {access}}, rpAuth).json["aud"]
			if jwt {
				if got := claims(t, access)["aud"]; fmt.Sprint(got) != fmt.Sprint(told) {
					t.Errorf("aud %v in the token, %v in introspection", got, told)
				}
			}
			return fmt.Sprint(told)
		}
		want := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("JWT %v, %s: aud %s, want %s", jwt, what, got, want)
			}
		}
		grant := func(kind string, v url.Values, resources ...string) answer {
			v.Set("grant_type", kind)
			v["resource"] = resources
			return w.token(rpAuth, v)
		}
		want("client credentials", audOf(grant("client_credentials", url.Values{}).json), "[usual]")
		want("client credentials, one", audOf(grant("client_credentials", url.Values{}, a).json), "["+a+"]")
		want("client credentials, two", audOf(grant("client_credentials", url.Values{}, a, b).json), "["+a+" "+b+"]")
		grant("client_credentials", url.Values{}, "/v1").want(t, 400, "invalid_target")
		grant("client_credentials", url.Values{}, a+"#part").want(t, 400, "invalid_target")

		code := func(asked []string, at ...string) answer {
			address := w.authorizeURL()
			for _, resource := range asked {
				address += "&resource=" + url.QueryEscape(resource)
			}
			back := w.signIn(w.browser(), address, "alice")
			return grant("authorization_code", url.Values{"code": {back.Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifierOf(address)}}, at...)
		}
		want("code", audOf(code(nil).json), "[usual]")
		want("code, named at its redemption", audOf(code(nil, b).json), "["+b+"]")
		both := code([]string{a, b})
		want("code, two", audOf(both.json), "["+a+" "+b+"]")
		want("code, one of two", audOf(code([]string{a, b}, b).json), "["+b+"]")
		code([]string{a}, b).want(t, 400, "invalid_target")
		refresh := func(before answer, at ...string) answer {
			return grant("refresh_token", url.Values{"refresh_token": {str(before.json["refresh_token"])}}, at...)
		}
		one := refresh(both, a)
		want("refresh, one of two", audOf(one.json), "["+a+"]")
		all := refresh(one)
		want("refresh, the grant's again", audOf(all.json), "["+a+" "+b+"]")
		refresh(all, "https://c.example").want(t, 400, "invalid_target")

		bad := w.get(w.browser(), w.authorizeURL("resource", "relative"))
		if to := bad.Header.Get("Location"); bad.StatusCode != http.StatusSeeOther || !strings.Contains(to, "error=invalid_target") {
			t.Errorf("a resource that is none: %d %s", bad.StatusCode, to)
		}
	}
}

// TestAccessTokenAlgorithms signs with every asymmetric algorithm. The key is in
// the key set before the first token, and its algorithm in the metadata; both
// outlive a rotation.
func TestAccessTokenAlgorithms(t *testing.T) {
	w := newWorld(t, "")
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		w.must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: alg}))
		published := func() (kids []string) {
			for _, key := range w.getJSON(w.endpoint("jwks_uri"))["keys"].([]any) {
				if key := key.(map[string]any); key["alg"] == alg {
					kids = append(kids, str(key["kid"]))
				}
			}
			return kids
		}
		if got := published(); len(got) != 1 {
			t.Errorf("%s: keys %v", alg, got)
		}
		if got := fmt.Sprint(w.getJSON(w.Issuer() + "/.well-known/openid-configuration")["id_token_signing_alg_values_supported"]); !strings.Contains(got, alg) {
			t.Errorf("%s is not among %s", alg, got)
		}
	}
	for _, alg := range []string{"", "none", "HS256", "ES256K", "es384"} {
		if err := w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: alg}); (err == nil) != (alg == "") {
			t.Errorf("%q: %v", alg, err)
		}
	}
	keys, err := sharedKeys()
	w.must(err)
	w.RotateTo(keys)
	n := 0
	for _, key := range w.getJSON(w.endpoint("jwks_uri"))["keys"].([]any) {
		if key.(map[string]any)["alg"] == "ES384" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d keys for ES384 after a rotation, want the old and the new one", n)
	}
}
