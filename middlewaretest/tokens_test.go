package middlewaretest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

const apiName = "https://api.example.org"

// newAPI protects an API with tokens of the kit.
func newAPI(t testing.TB, op *middlewaretest.Server, change ...func(*gatehouse.ResourceServerConfig)) *gatehouse.ResourceServer {
	t.Helper()
	c := gatehouse.ResourceServerConfig{Audience: []string{apiName}}
	for _, f := range change {
		f(&c)
	}
	api, err := gatehouse.NewResourceServer(op.Provider(), c)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

var whoCalls = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id := gatehouse.IdentityFrom(r.Context())
	fmt.Fprintf(w, "%s of %s with %s", id.Subject, id.ClientID, strings.Join(id.Scopes, " "))
})

// callAs sends a token to a handler.
func callAs(h http.Handler, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, apiName+"/v1/notes", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestAccessTokenAlgorithms: an API accepts what the kit signs, with every
// asymmetric algorithm of the package.
func TestAccessTokenAlgorithms(t *testing.T) {
	for _, alg := range []string{"", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		op := middlewaretest.NewOffline(t, "https://op.example.org")
		op.AddUser("ana", nil)
		client := op.AddClient("https://app.example.org/cb")
		op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: alg, Audience: []string{apiName}})
		h := newAPI(t, op).With(gatehouse.Scopes("notes:read")).RequireToken(whoCalls)
		want := "ana of client-1 with notes:read"
		if a := callAs(h, op.AccessToken("ana", client, "notes:read")); a.Body.String() != want {
			t.Errorf("%s, AccessToken: %d %q", alg, a.Code, a.Body)
		}
		if a := callAs(h, op.Token(t, middlewaretest.Claims{"scope": "notes:read"})); a.Body.String() != want {
			t.Errorf("%s, Token: %d %q", alg, a.Code, a.Body)
		}
		if a := callAs(h, op.Token(t, middlewaretest.Claims{"scope": "notes:read"}, middlewaretest.WrongSignature)); a.Code != 401 {
			t.Errorf("%s, WrongSignature: %d %q", alg, a.Code, a.Body)
		}
		if a := callAs(h, op.Token(t, middlewaretest.Claims{"scope": "notes:read"}, middlewaretest.PaddedIDToken)); a.Code < 400 {
			t.Errorf("%s, PaddedIDToken: %d %q", alg, a.Code, a.Body)
		}
	}
}

// TestToken: claims lie over the usual ones, and nil takes one away.
func TestToken(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES384", Audience: []string{apiName}})
	h := newAPI(t, op, func(c *gatehouse.ResourceServerConfig) { c.ScopeClaim = "" }).RequireToken(whoCalls)
	now := op.Clock().Now()
	for name, c := range map[string]struct {
		claims middlewaretest.Claims
		status int
		body   string // "" for any
	}{
		"usual":               {nil, 200, "somebody of client with "},
		"names":               {middlewaretest.Claims{"sub": "ana", "client_id": "shop", "scope": "a b"}, 200, "ana of shop with a b"},
		"a list of scopes":    {middlewaretest.Claims{"scp": []string{"a", "b"}}, 200, "somebody of client with a b"},
		"nobody":              {middlewaretest.Claims{"sub": nil}, 200, " of client with "},
		"no audience":         {middlewaretest.Claims{"aud": nil}, 401, ""},
		"another audience":    {middlewaretest.Claims{"aud": "https://other.example.org"}, 401, ""},
		"two audiences":       {middlewaretest.Claims{"aud": []string{"https://other.example.org", apiName}}, 200, ""},
		"no end":              {middlewaretest.Claims{"exp": nil}, 401, ""},
		"at its end":          {middlewaretest.Claims{"exp": now.Add(-time.Hour)}, 401, ""},
		"a time as a number":  {middlewaretest.Claims{"exp": now.Add(time.Hour).Unix(), "nbf": now}, 200, ""},
		"not yet":             {middlewaretest.Claims{"nbf": now.Add(time.Hour)}, 401, ""},
		"bound to a key":      {middlewaretest.Claims{"cnf": map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, 401, ""},
		"of no known issuer":  {middlewaretest.Claims{"iss": "https://other.example.org"}, 401, ""},
		"a claim of any type": {middlewaretest.Claims{"groups": []any{"a", 1, nil}}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if a := callAs(h, op.Token(t, c.claims)); a.Code != c.status || c.body != "" && a.Body.String() != c.body {
				t.Errorf("%d %q", a.Code, a.Body)
			}
		})
	}
	op.AddUser("ana", middlewaretest.Claims{"sub": "ana-1"})
	op.AddClient("https://app.example.org/cb")
	if a := callAs(h, op.Token(t, nil)); a.Body.String() != "ana-1 of client-1 with " {
		t.Errorf("the one user and client: %q", a.Body)
	}
}

// TestTokenIsKnown: the server calls a token made by hand active, unless it has
// a fault or was revoked.
func TestTokenIsKnown(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	client := op.AddClient("https://app.example.org/cb")
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{apiName}})
	h := newAPI(t, op, func(c *gatehouse.ResourceServerConfig) { c.Client = client }).With(gatehouse.NotRevoked()).RequireToken(whoCalls)
	if a := callAs(h, op.Token(t, middlewaretest.Claims{"sub": "ana"})); a.Code != 200 {
		t.Errorf("%d %q", a.Code, a.Body)
	}
	if a := callAs(h, op.Token(t, nil, middlewaretest.NoKeyID)); a.Code != 401 {
		t.Errorf("with a fault that the API alone would not see: %d %q", a.Code, a.Body)
	}
}

// TestTokenFaults: each fault that an access token can have breaks one token, and
// the API answers as it has to.
func TestTokenFaults(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	op.AddClient("https://app.example.org/cb")
	op.SetAccessTokens(middlewaretest.AccessTokenOptions{JWT: true, Algorithm: "ES384", Audience: []string{apiName}})
	h := newAPI(t, op).With(gatehouse.MaxAge(time.Hour)).RequireToken(whoCalls)
	for status, faults := range map[int][]middlewaretest.Fault{
		200: {middlewaretest.SecondAudience, middlewaretest.WrongAuthorizedParty, middlewaretest.MissingSubject, middlewaretest.EmptySubject,
			middlewaretest.MissingIssuedAt, middlewaretest.ExpiredWithinSkew, middlewaretest.IssuedLongAgo, middlewaretest.OtherAlgorithm,
			middlewaretest.NoKeyID, middlewaretest.LogoutEvent, middlewaretest.ClaimSources},
		400: {middlewaretest.JSONSerializedIDToken, middlewaretest.HugeIDToken},
		401: {middlewaretest.WrongIssuer, middlewaretest.IssuerSlash, middlewaretest.MissingIssuer, middlewaretest.WrongAudience,
			middlewaretest.MissingAudience, middlewaretest.EmptyAudience, middlewaretest.SubjectNotString, middlewaretest.MissingExpiry,
			middlewaretest.ExpiredIDToken, middlewaretest.IssuedInFuture, middlewaretest.NotYetValid, middlewaretest.RepeatedClaim,
			middlewaretest.OtherCaseClaim, middlewaretest.UnsignedIDToken, middlewaretest.UnsignedOddCase, middlewaretest.EmptySignature,
			middlewaretest.HMACWithPublicKey, middlewaretest.HMACWithSecret, middlewaretest.WrongSignature, middlewaretest.UnknownCriticalHeader,
			middlewaretest.KeyInHeader, middlewaretest.KeyURLInHeader, middlewaretest.WrongTokenType, middlewaretest.FivePartIDToken,
			middlewaretest.PaddedIDToken, middlewaretest.UnknownKeyID,
			middlewaretest.OldAuthentication, middlewaretest.MissingAuthTime},
	} {
		for _, f := range faults {
			t.Run(string(f), func(t *testing.T) {
				claims := middlewaretest.Claims{"auth_time": op.Clock().Now()}
				if a := callAs(h, op.Token(t, claims, f)); a.Code != status {
					t.Errorf("%d %q, want %d", a.Code, a.Body, status)
				}
				if a := callAs(h, op.Token(t, claims)); a.Code != 200 {
					t.Errorf("the next token: %d %q", a.Code, a.Body)
				}
				op.Clock().Advance(time.Minute) // key fetches are rationed
			})
		}
	}
	if got := op.Violations(); len(got) != 0 {
		t.Errorf("violations %v", got)
	}
}

// TestTokenMisuse: a fault that an access token cannot have, or not this one, is
// a mistake in the test.
func TestTokenMisuse(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	for name, c := range map[string]struct {
		claims middlewaretest.Claims
		fault  middlewaretest.Fault
		want   string
	}{
		"of the metadata":      {nil, middlewaretest.MetadataIssuerMismatch, `"metadata-issuer-mismatch" is nothing that an access token can have; see Break`},
		"of an endpoint":       {nil, middlewaretest.EndpointDown, `"endpoint-down" is nothing that an access token can have; see Break`},
		"of a refresh":         {nil, middlewaretest.RefreshOtherSubject, `"refresh-other-subject" is nothing that an access token can have; see Break`},
		"of an ID Token":       {nil, middlewaretest.WrongNonce, `"wrong-nonce" is nothing that an access token can have; see Break`},
		"at_hash":              {nil, middlewaretest.WrongAccessTokenHash, `"wrong-access-token-hash" is nothing that an access token can have; see Break`},
		"unknown":              {nil, "no-such-fault", `"no-such-fault" is nothing that an access token can have; see Break`},
		"nothing to take away": {nil, middlewaretest.MissingAuthTime, `"missing-auth-time" changes nothing in this access token`},
		"no audience":          {nil, middlewaretest.MissingAudience, `"missing-audience" changes nothing in this access token`},
		"nobody, twice":        {middlewaretest.Claims{"sub": nil}, middlewaretest.RepeatedClaim, `"repeated-claim" changes nothing in this access token`},
		"no known secret":      {middlewaretest.Claims{"client_id": "who"}, middlewaretest.HMACWithSecret, `"hmac-with-secret" needs a client_id whose secret is known`},
		"no JSON":              {middlewaretest.Claims{"f": func() {}}, "", "json: unsupported type: func()"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "middlewaretest: Token: "+c.want) {
					t.Errorf("fails with %q, want %q", got, c.want)
				}
			}()
			var faults []middlewaretest.Fault
			if c.fault != "" {
				faults = append(faults, c.fault)
			}
			op.Token(strictTB{t}, c.claims, faults...)
			t.Error("the test goes on")
		})
	}
}

// TestNewRequest: one line makes a request that a handler serves, and that a
// client sends.
func TestNewRequest(t *testing.T) {
	for name, options := range map[string]middlewaretest.AccessTokenOptions{
		"JWT": {JWT: true, Algorithm: "ES384"}, "opaque": {}, "JWT for a named API": {JWT: true, Audience: []string{apiName}}, "opaque for a named API": {Audience: []string{apiName}},
	} {
		t.Run(name, func(t *testing.T) {
			op := middlewaretest.NewServer(t)
			op.AddUser("ana", nil)
			client := op.AddClient("http://app.test/cb")
			op.SetAccessTokens(options)
			guard := func(audience string) http.Handler {
				api := newAPI(t, op, func(c *gatehouse.ResourceServerConfig) { c.Client, c.Audience = client, []string{audience} })
				return api.With(gatehouse.Scopes("notes:read"), gatehouse.MaxAge(time.Minute)).RequireToken(whoCalls)
			}
			srv := httptest.NewUnstartedServer(nil)
			address := "http://" + srv.Listener.Addr().String()
			audience := address
			if options.Audience != nil {
				audience = apiName
			}
			srv.Config.Handler = guard(audience)
			srv.Start()
			defer srv.Close()
			resp, err := srv.Client().Do(op.NewRequest(t, "ana", client, http.MethodGet, srv.URL+"/v1/notes?all", "notes:read"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if got := string(body); err != nil || got != "ana of client-1 with notes:read" {
				t.Errorf("through a client: %d %q, %v", resp.StatusCode, got, err)
			}

			mux := http.NewServeMux()
			mux.Handle("PUT /v1/notes/{id}", guard(apiName))
			for _, c := range []struct {
				user, body string
				scopes     []string
				status     int
			}{
				{"ana", "ana of client-1 with notes:read more", []string{"notes:read", "more"}, 200},
				{"ana", "", nil, 403},
				{"", "", []string{"notes:read"}, 401}, // a client that acts for itself has not signed in
			} {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, op.NewRequest(t, c.user, client, http.MethodPut, apiName+"/v1/notes/7", c.scopes...))
				if w.Code != c.status || c.body != "" && w.Body.String() != c.body {
					t.Errorf("%q with %v: %d %q", c.user, c.scopes, w.Code, w.Body)
				}
			}
			if options.Audience != nil {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, op.NewRequest(t, "ana", client, http.MethodPut, "/v1/notes/7", "notes:read"))
				if w.Code != 200 {
					t.Errorf("a path alone: %d %q", w.Code, w.Body)
				}
			}
			if got := op.Violations(); len(got) != 0 {
				t.Errorf("violations %v", got)
			}
		})
	}
}

// TestNewRequestMisuse: a request that could have no token for its API is a
// mistake in the test.
func TestNewRequestMisuse(t *testing.T) {
	op := middlewaretest.NewOffline(t, "https://op.example.org")
	op.AddUser("ana", nil)
	client := op.AddClient("http://app.test/cb")
	for want, misuse := range map[string]func(){
		`user "eve" or client "client-1" is not known`:                  func() { op.NewRequest(strictTB{t}, "eve", client, "GET", apiName) },
		`user "ana" or client "other" is not known`:                     func() { op.NewRequest(strictTB{t}, "ana", gatehouse.Client{ID: "other"}, "GET", apiName) },
		`"/v1" does not say which API the token is for: give the whole`: func() { op.NewRequest(strictTB{t}, "ana", client, "GET", "/v1") },
		`"api.example.org/v1" is neither a whole address nor a path`:    func() { op.NewRequest(strictTB{t}, "ana", client, "GET", "api.example.org/v1") },
		`"a b" is not one scope`:                                        func() { op.NewRequest(strictTB{t}, "ana", client, "GET", apiName, "a b") },
		`"" is not one scope`:                                           func() { op.NewRequest(strictTB{t}, "ana", client, "GET", apiName, "a", "") },
		`net/http: invalid method "GET IT"`:                             func() { op.NewRequest(strictTB{t}, "ana", client, "GET IT", apiName) },
		`parse "http://[::1": missing ']' in host`:                      func() { op.NewRequest(strictTB{t}, "ana", client, "GET", "http://[::1") },
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "middlewaretest: NewRequest: "+want) {
					t.Errorf("fails with %q", got)
				}
			}()
			misuse()
			t.Error("the test goes on")
		})
	}
}
