package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RFC 9207 §2.4: the iss of an error answer is checked before anything else is
// done with it. The sign-in under way stays valid.
func TestCallbackErrorOfAnotherIssuer(t *testing.T) {
	for name, iss := range map[string]string{"another": "https://op2.test/realm", "missing though announced": ""} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			forged := world.WithQuery(t, callback, func(q url.Values) {
				q.Del("code")
				q.Set("error", "access_denied")
				if q.Del("iss"); iss != "" {
					q.Set("iss", iss)
				}
			})
			s.WantNo(ana, ana.Get(forged), 0)
			if s.LastCode() != "issuer_mismatch" {
				t.Errorf("code %q, want issuer_mismatch", s.LastCode())
			}
			if got := ana.Attempts(); len(got) != 1 {
				t.Errorf("%d sign-ins under way after the forged answer, want 1", len(got))
			}
			ana.WantServed(ana.Visit(callback))
		})
	}
}

// RFC 6749 §4.1.2: unknown parameters of a callback are ignored.
func TestCallbackUnknownParameters(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	callback := world.WithQuery(t, ana.ToCallback("/notes/"), func(q url.Values) {
		q.Set("session_state", "3f1c.9a")
		q["x"] = []string{"y", "z", ""}
		q.Set("id_token", "none of ours")
	})
	ana.WantServed(ana.Visit(callback))
}

// RFC 6749 §3.1: parameters must not be repeated.
func TestCallbackRepeatedParameters(t *testing.T) {
	s := world.NewSite(t)
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri"} {
		t.Run(name, func(t *testing.T) {
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			s.ResetCounts()
			twice := world.WithQuery(t, callback, func(q url.Values) {
				v := q.Get(name)
				q[name] = []string{v, v}
			})
			s.WantNo(ana, ana.Get(twice), 0)
			ana.WantServed(ana.Visit(callback))
		})
	}
}

// RP-C3, CB9: the provider refuses.
func TestCB9_ErrorAnswers(t *testing.T) {
	s := world.NewSite(t)
	for _, c := range []struct{ code, description string }{
		{"access_denied", "<script>alert(1)</script>"}, {"login_required", `"'><img src=x>`}, {"<b>", ""},
		{"server_error", strings.Repeat("x", 4000)},
	} {
		t.Run(c.code, func(t *testing.T) {
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			s.ResetCounts()
			bad := world.WithQuery(t, callback, func(q url.Values) {
				q.Del("code")
				q.Set("error", c.code)
				q.Set("error_description", c.description)
				q.Set("error_uri", "javascript:alert(2)")
			})
			wrong := world.WithQuery(t, bad, func(q url.Values) { q.Set("state", q.Get("state")[:8]+"AAAAAAAAAAAAAA") })
			s.WantNo(ana, ana.Get(wrong), 0) // not believed: the attempt stays
			if len(ana.Attempts()) != 1 {
				t.Error("an error with a wrong state took the attempt away")
			}
			a := ana.Get(bad)
			if a.Code != http.StatusForbidden && a.Code != http.StatusBadRequest {
				t.Errorf("got %v; want 403 or 400", a)
			}
			for _, echo := range []string{"<script", "<img", "<b>", "javascript:", "xxxx", "alert(", "&lt;", "&#34;", c.code} {
				if strings.Contains(a.Body.String(), echo) {
					t.Errorf("the page echoes %q", echo)
				}
			}
			if s.LastCode() != "provider_refused" || s.Count(opserver.EndpointToken) != 0 {
				t.Errorf("code %q, %d token requests", s.LastCode(), s.Count(opserver.EndpointToken))
			}
			s.WantNo(ana, ana.Get(callback), 0) // the attempt is used up
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// RFC 9207 §2.4; CB6.
func TestCB6_ResponseIssuer(t *testing.T) {
	for _, c := range []struct {
		name      string
		announced bool
		iss       string // "" for absent
		good      bool
	}{
		{"announced and right", true, world.SiteIssuer, true},
		{"announced and missing", true, "", false},
		{"announced and another", true, "https://op2.test/realm", false},
		{"announced, a slash more", true, world.SiteIssuer + "/", false},
		{"not announced and absent", false, "", true},
		{"not announced and right", false, world.SiteIssuer, true},
		{"not announced and another", false, "https://op2.test/realm", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t)
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return world.RewriteJSON(t, next(r), func(m map[string]any) {
					if !c.announced {
						delete(m, "authorization_response_iss_parameter_supported")
					}
				}), nil
			})
			ana := s.Visitor("ana")
			callback := world.WithQuery(t, ana.ToCallback("/notes/"), func(q url.Values) {
				if q.Del("iss"); c.iss != "" {
					q.Set("iss", c.iss)
				}
			})
			if c.good {
				ana.WantServed(ana.Visit(callback))
				return
			}
			s.WantNo(ana, ana.Get(callback), 0)
			if s.LastCode() != "issuer_mismatch" {
				t.Errorf("code %q, want issuer_mismatch", s.LastCode())
			}
		})
	}
}

// What the provider does wrong in its answer to the browser.
func TestCallbackFaults(t *testing.T) {
	for _, f := range []opserver.Fault{opserver.WrongState, opserver.WrongResponseIssuer, opserver.MissingResponseIssuer} {
		t.Run(string(f), func(t *testing.T) {
			s := world.NewSite(t)
			s.Break(f)
			ana := s.Visitor("ana")
			s.WantNo(ana, ana.Get(ana.ToCallback("/notes/")), 0)
			if v := s.Violations(); len(v) != 0 {
				t.Errorf("the provider saw %q", v)
			}
			s.Mend(f)
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

func TestCallbackCodeShapes(t *testing.T) {
	s := world.NewSite(t)
	for name, code := range map[string][]string{"absent": nil, "empty": {""}, "9 KiB": {strings.Repeat("c", 9<<10)}} {
		t.Run(name, func(t *testing.T) {
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			s.ResetCounts()
			s.WantNo(ana, ana.Get(world.WithQuery(t, callback, func(q url.Values) { q["code"] = code })), 0)
		})
	}
}
