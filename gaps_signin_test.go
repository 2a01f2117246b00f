package gatehouse_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// OpenID Connect Discovery §3, Core §3.1.3.7 (7): where the provider announces
// no algorithm, that is RS256 and nothing else.
func TestIDTokenAlgorithmUnannounced(t *testing.T) {
	for alg, good := range map[string]bool{"RS256": true, "ES256": false} {
		t.Run(alg, func(t *testing.T) {
			s := newSite(t, func(o *siteOptions) { o.client = func(c *opserver.Client) { c.IDTokenAlg = alg } })
			s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return rewriteJSON(t, next(r), func(m map[string]any) { delete(m, "id_token_signing_alg_values_supported") }), nil
			})
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			if good {
				ana.wantServed(ana.visit(callback))
				return
			}
			s.wantNo(ana, ana.get(callback), 1)
			if s.lastCode() != "algorithm_refused" {
				t.Errorf("code %q, want algorithm_refused", s.lastCode())
			}
		})
	}
}

// RFC 9207 §2.4: an error answer is judged by its iss too, before anything is
// done with it. The sign-in under way lives on.
func TestCallbackErrorOfAnotherIssuer(t *testing.T) {
	for name, iss := range map[string]string{"another": "https://op2.test/realm", "missing though announced": ""} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			forged := withQuery(t, callback, func(q url.Values) {
				q.Del("code")
				q.Set("error", "access_denied")
				if q.Del("iss"); iss != "" {
					q.Set("iss", iss)
				}
			})
			s.wantNo(ana, ana.get(forged), 0)
			if s.lastCode() != "issuer_mismatch" {
				t.Errorf("code %q, want issuer_mismatch", s.lastCode())
			}
			if got := ana.attempts(); len(got) != 1 {
				t.Errorf("%d sign-ins under way after the forged answer, want 1", len(got))
			}
			ana.wantServed(ana.visit(callback))
		})
	}
}

// RFC 6749 §4.1.2: parameters of a callback that nobody knows are ignored.
func TestCallbackUnknownParameters(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := withQuery(t, ana.toCallback("/notes/"), func(q url.Values) {
		q.Set("session_state", "3f1c.9a")
		q["x"] = []string{"y", "z", ""}
		q.Set("id_token", "none of ours")
	})
	ana.wantServed(ana.visit(callback))
}

// RFC 6749 §5.1: members of a token answer that nobody knows are ignored,
// whatever their type.
func TestTokenAnswerUnknownMembers(t *testing.T) {
	s := newSite(t)
	s.onToken(t, func(m map[string]any) {
		m["not-before-policy"] = 0
		m["session_state"] = map[string]any{"deep": []any{1, nil, "x", map[string]any{}}}
		m["refresh_expires_in"] = "soon"
		m["urn:example:odd"] = nil
		m[""] = []any{true, -1.5e300}
	})
	s.visitor("ana").signIn()
}

// RFC 6749 §3.1: the endpoints keep a query of their own, and what is
// configured comes after what gatehouse sets.
func TestEndpointsWithQuery(t *testing.T) {
	s := newSite(t, func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) {
			c.AuthParams = url.Values{"ui_locales": {"de fr"}, "login_hint": {"ana"}}
		}
	})
	s.setWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return rewriteJSON(t, next(r), func(m map[string]any) {
			for _, name := range []string{"authorization_endpoint", "end_session_endpoint"} {
				if address, ok := m[name].(string); ok {
					m[name] = address + "?tenant=a%26b"
				}
			}
		}), nil
	})
	ana := s.visitor("ana")
	location := ana.get("/notes/").location()
	if strings.Count(location, "?") != 1 {
		t.Errorf("Location %q has not one query", location)
	}
	q := queryOf(t, location)
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
	ana.signIn()
	out := ana.post("/auth/logout", nil)
	if q := queryOf(t, out.location()); q.Get("tenant") != "a&b" || q.Get("client_id") != "notes" || q.Get("state") == "" {
		t.Errorf("end of session: %v", out)
	}
}

// RFC 9700 §4.2.4: what a callback answers, and every page of ours, gives no
// address away. The page with a form says its own origin, or the form would come
// with "Origin: null".
func TestReferrerPolicy(t *testing.T) {
	s := newSite(t)
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	want := func(name string, a *answer, status int, policy string) {
		t.Helper()
		if got := a.Header().Values("Referrer-Policy"); a.Code != status || len(got) != 1 || got[0] != policy {
			t.Errorf("%s: %d, Referrer-Policy %q; want %d and %q", name, a.Code, got, status, policy)
		}
	}
	want("answer without state", ana.get("/auth/callback?code=x"), http.StatusBadRequest, "no-referrer")
	want("answer to a script", ana.fetch(http.MethodGet, "/auth/callback?code=x"), http.StatusBadRequest, "no-referrer")
	want("sign-in", ana.get(callback), http.StatusSeeOther, "no-referrer")
	want("answer again", ana.get(callback), http.StatusBadRequest, "no-referrer")
	want("POST", ana.post("/auth/callback", nil), http.StatusMethodNotAllowed, "no-referrer")
	form := ana.get("/auth/logout")
	want("page with the form", form, http.StatusOK, "same-origin")
	if !strings.Contains(form.Body.String(), `method="post"`) {
		t.Errorf("no form: %v", form)
	}
	want("page of a guard", ana.get("/auth/login", "Sec-Fetch-Dest", "iframe"), http.StatusForbidden, "no-referrer")
	ana.follow(ana.post("/auth/logout", nil), nil)
	want("page without form", ana.get("/auth/logout"), http.StatusOK, "no-referrer")
}

// RFC 7636 §4.1: a verifier is 43 to 128 unreserved characters. Ours are 32
// random bytes, which are 43.
func TestVerifierForm(t *testing.T) {
	s := newSite(t)
	s.visitor("ana").signIn()
	calls := s.callsTo("token_endpoint")
	if len(calls) != 1 || !regexp.MustCompile(`^[A-Za-z0-9._~-]{43}$`).MatchString(calls[0].form.Get("code_verifier")) {
		t.Errorf("%d token requests, the first without a verifier of 43 unreserved characters", len(calls))
	}
}
