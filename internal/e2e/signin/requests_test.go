package signin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RFC 6749 §5.1: unknown members of a token answer are ignored, whatever their
// type.
func TestTokenAnswerUnknownMembers(t *testing.T) {
	s := world.NewSite(t)
	s.OnToken(t, func(m map[string]any) {
		m["not-before-policy"] = 0
		m["session_state"] = map[string]any{"deep": []any{1, nil, "x", map[string]any{}}}
		m["refresh_expires_in"] = "soon"
		m["urn:example:odd"] = nil
		m[""] = []any{true, -1.5e300}
	})
	s.Visitor("ana").SignIn()
}

// RFC 6749 §3.1: the endpoints keep their own query, and configured parameters
// come after those that gatehouse sets.
func TestEndpointsWithQuery(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.AuthParams = url.Values{"ui_locales": {"de fr"}, "login_hint": {"ana"}}
		}
	})
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			for _, name := range []string{"authorization_endpoint", "end_session_endpoint"} {
				if address, ok := m[name].(string); ok {
					m[name] = address + "?tenant=a%26b"
				}
			}
		}), nil
	})
	ana := s.Visitor("ana")
	location := ana.Get("/notes/").Location()
	if strings.Count(location, "?") != 1 {
		t.Errorf("Location %q has not one query", location)
	}
	q := world.QueryOf(t, location)
	if q.Get("tenant") != "a&b" || q.Get("client_id") != "notes" || q.Get("ui_locales") != "de fr" || q.Get("login_hint") != "ana" {
		t.Errorf("query %v; want that of the endpoint, ours and the configured one", q)
	}
	for name, values := range q {
		if len(values) != 1 {
			t.Errorf("%s is there %d times", name, len(values))
		}
	}
	if !regexp.MustCompile(`\?tenant=.*&state=.*&login_hint=.*&ui_locales=`).MatchString(location) {
		t.Errorf("Location %q: want the endpoint's own query, then ours, then the configured one", location)
	}
	ana.SignIn()
	out := ana.Post("/auth/logout", nil)
	if q := world.QueryOf(t, out.Location()); q.Get("tenant") != "a&b" || q.Get("client_id") != "notes" || q.Get("state") == "" {
		t.Errorf("end of session: %v", out)
	}
}

// RFC 7636 §4.1: a verifier has 43 to 128 unreserved characters. Ours encodes
// 32 random bytes, which gives 43.
func TestVerifierForm(t *testing.T) {
	s := world.NewSite(t)
	s.Visitor("ana").SignIn()
	calls := s.CallsTo("token_endpoint")
	if len(calls) != 1 || !regexp.MustCompile(`^[A-Za-z0-9._~-]{43}$`).MatchString(calls[0].Form.Get("code_verifier")) {
		t.Errorf("%d token requests, the first without a verifier of 43 unreserved characters", len(calls))
	}
}

// RP-A1, RP-T4: what the provider receives.
func TestSignInRequests(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.AuthParams = url.Values{"ui_locales": {"de en"}, "acr_values": {"2"}}
		}
	})
	ana := s.Visitor("ana")
	start := ana.Get("/notes/")
	callback := ana.AnswerOf(start)
	ana.WantServed(ana.Visit(callback))
	q := world.QueryOf(t, start.Location())
	for name, want := range map[string]string{
		"client_id": "notes", "redirect_uri": s.Origin + "/auth/callback", "response_type": "code",
		"scope": "openid profile email", "code_challenge_method": "S256", "ui_locales": "de en", "acr_values": "2",
	} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("authorization request has %s=%q, want %q once", name, got, want)
		}
	}
	calls := s.CallsTo("token_endpoint")
	if len(calls) != 1 {
		t.Fatalf("%d token requests", len(calls))
	}
	form := calls[0].Form
	if form.Get("grant_type") != "authorization_code" || form.Get("redirect_uri") != s.Origin+"/auth/callback" ||
		form.Get("code") != world.QueryOf(t, callback).Get("code") {
		t.Error("the token request does not repeat redirect URI and code")
	}
	if form.Has("client_secret") || !strings.HasPrefix(calls[0].Auth, "Basic ") {
		t.Error("the client does not authenticate by client_secret_basic alone")
	}
	info := s.CallsTo("userinfo_endpoint")
	if len(info) != 1 || !strings.HasPrefix(info[0].Auth, "Bearer ") {
		t.Error("user info was not asked once with a Bearer header (RP-U1)")
	}
}

// RP-T1, RP-T2: the provider accepts each authentication method only in its own
// form.
func TestSignInClientAuthentication(t *testing.T) {
	for _, c := range []struct {
		auth   gatehouse.AuthMethod
		secret string
	}{
		{gatehouse.AuthBasic, world.SiteSecret}, {gatehouse.AuthPost, world.SiteSecret}, {gatehouse.AuthNone, ""},
	} {
		t.Run(string(c.auth), func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Client = func(oc *opserver.Client) { oc.Auth, oc.Secret = string(c.auth), c.secret }
				o.Party = func(pc *gatehouse.RelyingPartyConfig) {
					pc.Client = gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(c.secret), Auth: c.auth}
				}
			})
			s.Visitor("ana").SignIn()
			form, header := s.CallsTo("token_endpoint")[0].Form, s.CallsTo("token_endpoint")[0].Auth
			if in := form.Has("client_secret"); in != (c.auth == gatehouse.AuthPost) {
				t.Errorf("client_secret in the body: %v", in)
			}
			if basic := strings.HasPrefix(header, "Basic "); basic != (c.auth == gatehouse.AuthBasic) {
				t.Errorf("Basic header: %v", basic)
			}
		})
	}
}

// RFC 8414 §2: with Client.Auth unset, the metadata says for each endpoint how
// the client authenticates. One method is sent, and the other is not tried.
func TestClientAuthenticationFromMetadata(t *testing.T) {
	const basic, post = "client_secret_basic", "client_secret_post"
	for _, c := range []struct {
		name              string
		token, revocation any
		auth              gatehouse.AuthMethod
		wants             [2]string // at the two endpoints
	}{
		{"nothing listed", nil, nil, "", [2]string{basic, basic}},
		{"null", json.RawMessage("null"), json.RawMessage("null"), "", [2]string{basic, basic}},
		{"empty lists", []any{}, []any{}, "", [2]string{basic, basic}},
		{"wrong types", post, 5, "", [2]string{basic, basic}},
		{"both", []any{post, basic}, []any{post, basic}, "", [2]string{basic, basic}},
		{"each its own", []any{post}, []any{basic}, "", [2]string{post, basic}},
		{"each its own, the other way", []any{basic}, []any{"private_key_jwt", post}, "", [2]string{basic, post}},
		{"only the token endpoint's", []any{post}, nil, "", [2]string{post, basic}},
		{"Auth is set", []any{post}, []any{post}, gatehouse.AuthBasic, [2]string{basic, basic}},
		{"Auth is set, nothing fits", []any{"private_key_jwt"}, []any{"none"}, gatehouse.AuthPost, [2]string{post, post}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := discovered(t, map[string]any{"token_endpoint_auth_methods_supported": c.token, "revocation_endpoint_auth_methods_supported": c.revocation}, func(o *world.SiteOptions) {
				o.Client = func(oc *opserver.Client) { oc.Auth = "" }
				o.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.Client.Auth = c.auth }
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Post("/auth/logout", nil)
			s.Shutdown(0)
			for i, endpoint := range []string{"token_endpoint", "revocation_endpoint"} {
				calls := s.CallsTo(endpoint)
				if len(calls) != 1 {
					t.Fatalf("%d calls to the %s", len(calls), endpoint)
				}
				call := calls[0]
				inHeader, inBody := strings.HasPrefix(call.Auth, "Basic "), call.Form.Has("client_secret")
				if inHeader != (c.wants[i] == basic) || inBody != (c.wants[i] == post) {
					t.Errorf("%s: in the header %t, in the body %t, want %s", endpoint, inHeader, inBody, c.wants[i])
				}
			}
		})
	}
}

// A provider that takes no method of ours gets no sign-in, and the error says
// so.
func TestClientAuthenticationUnsupported(t *testing.T) {
	for _, listed := range [][]any{{"private_key_jwt"}, {"tls_client_auth", "client_secret_jwt"}, {"none"}} {
		s := discovered(t, map[string]any{"token_endpoint_auth_methods_supported": listed})
		a := s.Visitor("ana").Get("/notes/")
		s.WantRefusal(a, http.StatusServiceUnavailable)
		last := refusalOf(t, s)
		if last.Code != "client_auth_unsupported" || !strings.HasPrefix(last.Err.Error(), "token_endpoint_auth_methods_supported lists only") || !strings.Contains(last.Err.Error(), fmt.Sprint(listed[0])) || a.Header().Get("Retry-After") != "" {
			t.Errorf("%v: %s, %v", listed, last.Code, last.Err)
		}
	}
	public := discovered(t, map[string]any{"token_endpoint_auth_methods_supported": []any{"private_key_jwt"}}, func(o *world.SiteOptions) {
		o.Client = func(oc *opserver.Client) { oc.Auth, oc.Secret = string(gatehouse.AuthNone), "" }
		o.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.Client = gatehouse.Client{ID: "notes"} }
	})
	public.Visitor("ana").SignIn() // a public client has nothing to choose
}

// CB12: state, nonce and verifier are new at each of 1,000 sign-ins, and S256
// is used even though the provider announces only plain.
func TestCB12_FreshParametersAndS256(t *testing.T) {
	s := world.NewSite(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			if _, ok := m["code_challenge_methods_supported"]; ok {
				m["code_challenge_methods_supported"] = []string{"plain"}
			}
		}), nil
	})
	const logins = 1000
	random := regexp.MustCompile(`^[A-Za-z0-9_-]{22,43}$`) // base64url of at least 128 bits; RP-A2: nonce at most 43
	seen := map[string]string{}
	ana := s.Visitor("ana")
	for i := range logins {
		ana.Jar = s.Visitor("ana").Jar
		start := ana.Get("/auth/login")
		q := world.QueryOf(t, start.Location())
		if q.Get("code_challenge_method") != "S256" || q.Has("code_verifier") {
			t.Fatalf("authorization request %q", start.Location())
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			v := q.Get(name)
			if !random.MatchString(v) {
				t.Fatalf("%s %q is not 128 random bits in base64url", name, v)
			}
			if before, used := seen[v]; used {
				t.Fatalf("%s %q was used before as %s", name, v, before)
			}
			seen[v] = name
		}
		if i%50 != 0 {
			continue // the provider checks the verifier of some; CheckSilence looks for it
		}
		if a := ana.Get(ana.AnswerOf(start)); a.Code != http.StatusSeeOther {
			t.Fatalf("sign-in %d: %v", i, a)
		}
	}
	verifiers := map[string]bool{}
	for _, c := range s.CallsTo("token_endpoint") {
		v := c.Form.Get("code_verifier")
		if len(v) < 43 || verifiers[v] || seen[v] != "" { // RFC 7636 §4.1
			t.Errorf("code verifier of %d characters, seen before: %v", len(v), verifiers[v] || seen[v] != "")
		}
		verifiers[v] = true
	}
	if len(verifiers) != logins/50 {
		t.Errorf("%d sign-ins succeeded, want %d", len(verifiers), logins/50)
	}
}

// RP-T6: token types in odd case, no expires_in, no scope.
func TestSignInTokenAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m map[string]any)
		status int
		scope  string
	}{
		{"type in odd case", func(m map[string]any) { m["token_type"] = "bEARER" }, 200, "openid profile email"},
		{"no expires_in", func(m map[string]any) { delete(m, "expires_in") }, 200, "openid profile email"},
		{"no scope means as asked", func(m map[string]any) { delete(m, "scope") }, 200, "openid profile email"},
		{"less scope", func(m map[string]any) { m["scope"] = "openid" }, 200, "openid"},
		{"unknown type", func(m map[string]any) { m["token_type"] = "mac" }, 400, ""},
		{"no id_token", func(m map[string]any) { delete(m, "id_token") }, 400, ""},
		{"id_token is not a string", func(m map[string]any) { m["id_token"] = 7 }, 400, ""},
		{"no access_token", func(m map[string]any) { delete(m, "access_token") }, 503, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var scopes []string
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/scopes", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						scopes = gatehouse.IdentityFrom(r.Context()).Scopes
					})))
				}
			})
			s.OnToken(t, c.change)
			ana := s.Visitor("ana")
			a := ana.Visit("/scopes")
			if a.Code != c.status {
				t.Fatalf("got %v, want %d", a, c.status)
			}
			if c.status == http.StatusOK && strings.Join(scopes, " ") != c.scope {
				t.Errorf("scopes %q, want %q", scopes, c.scope)
			}
			if c.status != http.StatusOK && ana.SessionName() != "" {
				t.Error("a session despite the refusal")
			}
		})
	}
}
