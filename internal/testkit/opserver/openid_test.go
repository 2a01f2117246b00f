package opserver_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/opserver"
	"github.com/go-jose/go-jose/v4"
)

func TestMetadata(t *testing.T) {
	for _, path := range []string{"", "/", "/realms/demo"} {
		t.Run("path "+path, func(t *testing.T) {
			clk := &clock{now: time.Now()}
			const host = "http://id.test"
			op, err := opserver.New(opserver.Config{Issuer: host + path, Now: clk.Now})
			if err != nil {
				t.Fatal(err)
			}
			trimmed := strings.TrimSuffix(path, "/")
			for _, at := range []string{trimmed + "/.well-known/openid-configuration",
				"/.well-known/oauth-authorization-server" + trimmed, trimmed + "/.well-known/uma2-configuration"} {
				body := serve(t, op, host+at)
				if !strings.Contains(body, `"issuer":"`+host+path+`"`) || !strings.Contains(body, host+trimmed+"/ep/tok-7") {
					t.Errorf("%s: %s", at, body)
				}
			}
		})
	}
	for _, bad := range []string{"", "id.test", "ftp://id.test", "http://id.test?x=1", "http://id.test#x",
		"http://u@id.test", "http://id.test/a//b", "http://id.test/../b", "http://\x7f"} {
		if _, err := opserver.New(opserver.Config{Issuer: bad}); err == nil {
			t.Errorf("issuer %q is taken", bad)
		}
	}
}

func TestSignInRoundTrip(t *testing.T) {
	w := newWorld(t, "/realms/demo")
	u := w.authorizeURL()
	back := w.signIn(w.http, u, "bob")
	if back.Get("iss") != w.Issuer() || back.Get("state") == "" || back.Get("code") == "" {
		t.Fatalf("answer %v", back)
	}
	a := w.redeem(u, back)
	if a.StatusCode != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" || str(a.json["refresh_token"]) == "" {
		t.Fatalf("token answer %d %s", a.StatusCode, a.body)
	}
	got := claims(t, a.json["id_token"])
	asked, _ := url.Parse(u)
	for name, want := range map[string]any{"iss": w.Issuer(), "sub": "b-0815", "aud": "rp", "acr": "1",
		"nonce": asked.Query().Get("nonce"), "email": "bob@example.org", "email_verified": true,
		"iat": float64(w.clock.Now().Unix()), "auth_time": float64(w.clock.Now().Unix())} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	if str(got["sid"]) == "" || str(got["at_hash"]) == "" {
		t.Errorf("sid or at_hash is missing: %v", got)
	}
	w.verifies(str(a.json["id_token"]), jose.RS256)
	info := w.send(w.http, http.MethodGet, w.endpoint("userinfo_endpoint"), "", "", "Bearer "+str(a.json["access_token"]))
	if info.json["sub"] != "b-0815" || info.json["email"] != "bob@example.org" {
		t.Errorf("user info %s", info.body)
	}
	// A second request is answered from the session.
	if again := w.get(w.http, w.authorizeURL()); again.StatusCode != http.StatusSeeOther {
		t.Errorf("signed in, but asked again: %d", again.StatusCode)
	}
	w.violations("")
}

// verifies checks a JWT with the keys that the server publishes.
func (w *world) verifies(raw string, alg jose.SignatureAlgorithm) {
	w.t.Helper()
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{alg})
	w.must(err)
	var set jose.JSONWebKeySet
	w.must(jsonInto(w.get(w.http, w.endpoint("jwks_uri")).body, &set))
	found := set.Key(jws.Signatures[0].Header.KeyID)
	if len(found) != 1 {
		w.t.Fatalf("%d keys for the token", len(found))
	}
	if _, err := jws.Verify(found[0]); err != nil {
		w.t.Error(err)
	}
}

func TestScopesChooseClaims(t *testing.T) {
	w := newWorld(t, "")
	got := claims(t, w.tokens("alice", "scope", "openid")["id_token"])
	if got["email"] != nil || got["name"] != nil || got["role"] != "owner" {
		t.Errorf("claims for openid alone: %v", got)
	}
}

func TestAuthorizationRequestIsJudged(t *testing.T) {
	w := newWorld(t, "")
	for _, tc := range []struct {
		name   string
		change []string
		code   string // "" if shown, never redirected
	}{
		{"unknown client", []string{"client_id", "nobody"}, ""},
		{"no client", []string{"client_id", "-"}, ""},
		{"other redirect URI", []string{"redirect_uri", callback + "/"}, ""},
		{"redirect URI with query", []string{"redirect_uri", callback + "?x"}, ""},
		{"no redirect URI", []string{"redirect_uri", "-"}, ""},
		{"unknown response", []string{"response_type", "none"}, "unsupported_response_type"},
		{"code twice", []string{"response_type", "code code"}, "unsupported_response_type"},
		{"no response type", []string{"response_type", "-"}, "unsupported_response_type"},
		{"unknown mode", []string{"response_mode", "web_message"}, "invalid_request"},
		{"no openid", []string{"scope", "profile"}, "invalid_scope"},
		{"no PKCE", []string{"code_challenge", "-"}, "invalid_request"},
		{"plain PKCE", []string{"code_challenge_method", "plain"}, "invalid_request"},
		{"request object", []string{"request", "e30"}, "request_not_supported"},
		{"request URI", []string{"request_uri", "http://x"}, "request_uri_not_supported"},
		{"bad max_age", []string{"max_age", "-1"}, "invalid_request"},
		{"none and more", []string{"prompt", "none login"}, "invalid_request"},
		{"nobody there", []string{"prompt", "none"}, "login_required"},
		{"foreign hint", []string{"id_token_hint", "e30.e30.e30"}, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := w.get(w.browser(), w.authorizeURL(tc.change...))
			if tc.code == "" {
				if a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" {
					t.Fatalf("%d to %q", a.StatusCode, a.Header.Get("Location"))
				}
				return
			}
			u, err := url.Parse(a.Header.Get("Location"))
			if err != nil || u.Query().Get("error") != tc.code || u.Query().Get("iss") != w.Issuer() || u.Query().Get("state") == "" {
				t.Errorf("%d to %q, want %s", a.StatusCode, a.Header.Get("Location"), tc.code)
			}
		})
	}
	twice := w.get(w.browser(), w.authorizeURL()+"&scope=openid")
	if !strings.Contains(twice.Header.Get("Location"), "error=invalid_request") {
		t.Errorf("a parameter sent twice is accepted: %d", twice.StatusCode)
	}
}

func TestWhenThePersonSignsInAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		wait   time.Duration
		change []string
		again  bool
	}{
		{"session", time.Minute, nil, false},
		{"prompt none", 0, []string{"prompt", "none"}, false},
		{"prompt login", 0, []string{"prompt", "login"}, true},
		{"young enough", time.Minute, []string{"max_age", "60"}, false},
		{"too old", time.Minute + time.Second, []string{"max_age", "60"}, true},
		{"stronger", 0, []string{"acr_values", "2 1"}, true},
		{"known class", 0, []string{"acr_values", "9 1"}, false},
		{"session over", 13 * time.Hour, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "")
			u := w.authorizeURL()
			first := claims(t, w.redeem(u, w.signIn(w.http, u, "alice")).json["id_token"])
			w.clock.advance(tc.wait)
			u = w.authorizeURL(tc.change...)
			if asked := w.get(w.http, u).StatusCode == http.StatusOK; asked != tc.again {
				t.Fatalf("asked again: %v", asked)
			}
			second := claims(t, w.redeem(u, w.signIn(w.http, u, "alice")).json["id_token"])
			if tc.again != (second["auth_time"].(float64) > first["auth_time"].(float64)) && tc.wait > 0 {
				t.Errorf("auth_time %v after %v", second["auth_time"], first["auth_time"])
			}
			if tc.name == "stronger" && second["acr"] != "2" {
				t.Errorf("acr %v", second["acr"])
			}
			if tc.name != "session over" && second["sid"] != first["sid"] {
				t.Error("the same session has another sid")
			}
		})
	}
}

func TestIDTokenHintNamesThePerson(t *testing.T) {
	w := newWorld(t, "")
	hint := str(w.tokens("bob")["id_token"])
	u := w.authorizeURL()
	w.signIn(w.http, u, "alice")
	a := w.get(w.http, w.authorizeURL("prompt", "none", "id_token_hint", hint))
	if !strings.Contains(a.Header.Get("Location"), "error=login_required") {
		t.Errorf("alice answers for bob: %s", a.Header.Get("Location"))
	}
}

func TestCodeIsBoundAndUsedOnce(t *testing.T) {
	w := newWorld(t, "")
	u := w.authorizeURL()
	form := func(change ...string) url.Values {
		v := url.Values{"grant_type": {"authorization_code"}, "code": {w.signIn(w.http, u, "alice").Get("code")},
			"redirect_uri": {callback}, "code_verifier": {verifierOf(u)}}
		for i := 0; i < len(change); i += 2 {
			v.Set(change[i], change[i+1])
		}
		return v
	}
	w.token(rpAuth, form("code_verifier", verifier+"other")).want(t, 400, "invalid_grant")
	w.token(rpAuth, form("redirect_uri", callback+"/")).want(t, 400, "invalid_grant")
	w.token(shopAuth, form()).want(t, 400, "invalid_grant")
	w.token(rpAuth, form("code", "guess")).want(t, 400, "invalid_grant")
	late := form()
	w.clock.advance(time.Minute)
	w.token(rpAuth, late).want(t, 400, "invalid_grant")
	w.violations("")

	good := form()
	a := w.token(rpAuth, good)
	w.token(rpAuth, good).want(t, 400, "invalid_grant")
	w.violations("presented a code twice")
	if w.introspect(str(a.json["access_token"]), rpAuth)["active"] != false {
		t.Error("the token of a code used twice lives on")
	}
	w.token(rpAuth, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(a.json["refresh_token"])}}).want(t, 400, "invalid_grant")
}

func (w *world) introspect(token, auth string) map[string]any {
	w.t.Helper()
	a := w.postForm(w.http, w.endpoint("introspection_endpoint"), url.Values{"token": {token}}, auth)
	if a.StatusCode != http.StatusOK {
		w.t.Fatalf("introspection: %d %s", a.StatusCode, a.body)
	}
	return a.json
}

func TestRefreshRotates(t *testing.T) {
	w := newWorld(t, "")
	first := w.tokens("alice", "scope", "openid email offline_access")
	refresh := func(value any, scope ...string) answer {
		v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(value)}}
		if len(scope) > 0 {
			v.Set("scope", scope[0])
		}
		return w.token(rpAuth, v)
	}
	w.clock.advance(time.Hour)
	second := refresh(first["refresh_token"])
	if second.StatusCode != http.StatusOK || second.json["refresh_token"] == first["refresh_token"] {
		t.Fatalf("refresh: %d %s", second.StatusCode, second.body)
	}
	a, b := claims(t, first["id_token"]), claims(t, second.json["id_token"])
	if a["sub"] != b["sub"] || a["auth_time"] != b["auth_time"] || b["nonce"] != nil {
		t.Errorf("ID Token of the refresh: %v", b)
	}
	narrow := refresh(second.json["refresh_token"], "openid")
	if narrow.json["scope"] != "openid" {
		t.Errorf("narrowed to %v", narrow.json["scope"])
	}
	third := refresh(narrow.json["refresh_token"], "openid profile")
	third.want(t, 400, "invalid_scope")
	w.violations("")
	refresh(first["refresh_token"]).want(t, 400, "invalid_grant")
	w.violations("presented a refresh token twice")
	if w.introspect(str(narrow.json["access_token"]), rpAuth)["active"] != false {
		t.Error("the family lives on")
	}
}

func TestPublicClient(t *testing.T) {
	w := newWorld(t, "")
	for _, tc := range []struct {
		scope   string
		refresh bool
	}{{"openid", false}, {"openid offline_access", true}} {
		u := w.authorizeURL("client_id", "spa", "scope", tc.scope)
		a := w.token("", url.Values{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "redirect_uri": {callback},
			"code": {w.signIn(w.browser(), u, "alice").Get("code")}, "code_verifier": {verifierOf(u)}})
		if a.StatusCode != http.StatusOK || (a.json["refresh_token"] != nil) != tc.refresh {
			t.Errorf("%s: %d %s", tc.scope, a.StatusCode, a.body)
		}
	}
	w.token("", url.Values{"grant_type": {"client_credentials"}, "client_id": {"spa"}}).want(t, 400, "unauthorized_client")
}

func TestClientAuthentication(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.AddClient(opserver.Client{ID: "poster", Secret: "p", Auth: opserver.AuthPost}))
	cc := func(pairs ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, tc := range []struct {
		name, auth string
		form       url.Values
		status     int
		code       string
	}{
		{"basic, encoded", rpAuth, cc(), 200, ""},
		{"basic, id repeated in the form", rpAuth, cc("client_id", "rp"), 200, ""},
		{"post", "", cc("client_id", "shop", "client_secret", "shop-secret"), 200, ""},
		{"post only", "", cc("client_id", "poster", "client_secret", "p"), 200, ""},
		{"basic where post is registered", basic("poster", "p"), cc(), 401, "invalid_client"},
		{"wrong secret", basic("rp", "guess"), cc(), 401, "invalid_client"},
		{"unknown client", basic("nobody", "x"), cc(), 401, "invalid_client"},
		{"no client", "", cc(), 401, "invalid_client"},
		{"confidential without secret", "", cc("client_id", "rp"), 401, "invalid_client"},
		{"other id in the form", rpAuth, cc("client_id", "shop"), 401, "invalid_client"},
		{"broken encoding", "Basic cnA6JTp6", cc(), 401, "invalid_client"},
		{"no grant type", rpAuth, url.Values{"x": {"y"}}, 400, "invalid_request"},
		{"unknown grant type", rpAuth, url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type"},
		{"parameter twice", rpAuth, cc("scope", "a", "scope", "b"), 400, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := w.token(tc.auth, tc.form)
			a.want(t, tc.status, tc.code)
			if tc.status == 401 && tc.auth != "" && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Error("401 without a challenge")
			}
		})
	}
	w.violations("")
	w.token(rpAuth, cc("client_id", "rp", "client_secret", rpSecret)).want(t, 400, "invalid_request")
	w.violations("two ways at once")
	w.postForm(w.http, w.endpoint("token_endpoint")+"?client_id=rp", cc(), rpAuth).want(t, 400, "invalid_request")
	w.violations("parameters in its URL")
	w.send(w.http, http.MethodPost, w.endpoint("token_endpoint"), "application/json", "{}", rpAuth).want(t, 400, "invalid_request")
}

func TestRegisteredGrantsAndScopes(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.AddClient(opserver.Client{ID: "small", Secret: "x", GrantTypes: []string{"client_credentials"}, Scopes: []string{"read"}}))
	auth := basic("small", "x")
	w.token(auth, url.Values{"grant_type": {"refresh_token"}}).want(t, 400, "unauthorized_client")
	w.token(auth, url.Values{"grant_type": {"client_credentials"}, "scope": {"write"}}).want(t, 400, "invalid_scope")
	w.token(auth, url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}).want(t, 200, "")
	w.token(rpAuth, url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}).want(t, 400, "invalid_scope")
}

func TestES256(t *testing.T) {
	w := newWorld(t, "")
	w.must(w.AddClient(opserver.Client{ID: "rp", Secret: rpSecret, RedirectURIs: []string{callback}, IDTokenAlg: "ES256"}))
	w.verifies(str(w.tokens("alice")["id_token"]), jose.ES256)
}

func TestRotateKeys(t *testing.T) {
	w := newWorld(t, "")
	first := str(w.tokens("alice")["id_token"])
	w.must(w.RotateKeys())
	w.verifies(first, jose.RS256) // the key before is still shown
	second := str(w.tokens("alice")["id_token"])
	if kid(first) == kid(second) {
		t.Error("the same key signs")
	}
	w.must(w.RotateKeys())
	if strings.Contains(w.get(w.http, w.endpoint("jwks_uri")).body, kid(first)) {
		t.Error("the first key is still shown")
	}
}

func kid(raw string) string {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return ""
	}
	return jws.Signatures[0].Header.KeyID
}

func TestUserInfoRefuses(t *testing.T) {
	w := newWorld(t, "")
	at := w.endpoint("userinfo_endpoint")
	plain := w.send(w.http, http.MethodGet, at, "", "", "")
	if plain.StatusCode != 401 || strings.Contains(plain.Header.Get("WWW-Authenticate"), "error") {
		t.Errorf("without token: %d %q", plain.StatusCode, plain.Header.Get("WWW-Authenticate"))
	}
	w.send(w.http, http.MethodGet, at, "", "", "Bearer guess").want(t, 401, "invalid_token")
	narrow, err := w.AccessToken("alice", "rp", "profile")
	w.must(err)
	w.send(w.http, http.MethodPost, at, "", "", "bearer "+narrow).want(t, 403, "insufficient_scope")
	good, err := w.AccessToken("alice", "rp", "openid")
	w.must(err)
	w.violations("")
	if a := w.get(w.http, at+"?access_token="+good); a.StatusCode != 401 {
		t.Errorf("token in the URL: %d", a.StatusCode)
	}
	w.violations("in the URL")
	id := w.register(w.pat("alice"))
	rpt := str(w.exchange(w.ticket(w.pat("alice"), id, "view"), w.claim("alice")...).json["access_token"])
	w.send(w.http, http.MethodGet, at, "", "", "Bearer "+rpt).want(t, 401, "invalid_token") // an RPT is not an access token
	w.clock.advance(5 * time.Minute)
	w.send(w.http, http.MethodGet, at, "", "", "Bearer "+good).want(t, 401, "invalid_token")
}

func TestRevocation(t *testing.T) {
	w := newWorld(t, "")
	at := w.endpoint("revocation_endpoint")
	tok := w.tokens("alice")
	revoke := func(value any, auth string) answer {
		return w.postForm(w.http, at, url.Values{"token": {str(value)}}, auth)
	}
	revoke(tok["access_token"], shopAuth).want(t, 200, "") // another client's: no effect
	revoke(tok["refresh_token"], shopAuth).want(t, 200, "")
	if w.introspect(str(tok["access_token"]), rpAuth)["active"] != true {
		t.Error("another client revoked the token")
	}
	revoke("guess", rpAuth).want(t, 200, "")
	revoke(tok["access_token"], rpAuth).want(t, 200, "")
	if w.introspect(str(tok["access_token"]), rpAuth)["active"] != false {
		t.Error("a revoked token is active")
	}
	revoke(tok["refresh_token"], rpAuth).want(t, 200, "")
	w.token(rpAuth, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(tok["refresh_token"])}}).want(t, 400, "invalid_grant")
	w.violations("")
	revoke("x", basic("rp", "guess")).want(t, 401, "invalid_client")
	w.postForm(w.http, at, url.Values{}, rpAuth).want(t, 400, "invalid_request")
}

func TestMethods(t *testing.T) {
	w := newWorld(t, "")
	for _, name := range []string{"token_endpoint", "introspection_endpoint", "revocation_endpoint", "permission_endpoint"} {
		a := w.get(w.http, w.endpoint(name))
		if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", name, a.StatusCode, a.Header.Get("Allow"))
		}
	}
	if a := w.send(w.http, http.MethodDelete, w.endpoint("authorization_endpoint"), "", "", ""); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("DELETE at the authorization endpoint: %d", a.StatusCode)
	}
}

func TestRepeatedRequests(t *testing.T) {
	w := newWorld(t, "")
	u := w.authorizeURL()
	w.get(w.http, u)
	w.get(w.http, u) // a reload
	w.violations("")
	w.get(w.browser(), u)
	if got := w.Violations(); len(got) != 3 || slices.ContainsFunc(got, func(v string) bool { return !strings.Contains(v, "repeats") }) {
		t.Errorf("the same request from another browser: %q", got)
	}
	w.ResetViolations()
	w.get(w.http, w.authorizeURL("nonce", "the-same-nonce-of-128-bits"))
	w.get(w.http, w.authorizeURL("nonce", "the-same-nonce-of-128-bits"))
	w.violations("repeats the nonce")
	w.get(w.http, w.authorizeURL("state", "-"))
	w.violations("without state")
}
