package signin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RP-D2, RP-D3: the metadata is unusable at first, and then usable.
func TestMetadataTrouble(t *testing.T) {
	original := func(s *world.Site) map[string]any {
		md := map[string]any{}
		for name, v := range s.Metadata() {
			md[name] = v
		}
		return md
	}
	for _, c := range []struct {
		name string
		body func(s *world.Site) string
		code int
	}{
		{"another issuer", func(s *world.Site) string {
			m := original(s)
			m["issuer"] = world.SiteIssuer + "/"
			return world.JSON(t, m)
		}, 200},
		{"no issuer", func(s *world.Site) string { m := original(s); delete(m, "issuer"); return world.JSON(t, m) }, 200},
		{"issuer no text", func(s *world.Site) string {
			m := original(s)
			m["issuer"] = []string{world.SiteIssuer}
			return world.JSON(t, m)
		}, 200},
		{"HTML", func(*world.Site) string { return "<!doctype html><p>marker-of-upstream" }, 200},
		{"500", func(*world.Site) string { return "marker-of-upstream" }, 500},
		{"truncated", func(s *world.Site) string { b := world.JSON(t, original(s)); return b[:len(b)/2] }, 200},
		{"an array", func(*world.Site) string { return "[]" }, 200},
		{"null", func(*world.Site) string { return "null" }, 200},
		{"2 MiB", func(s *world.Site) string { return strings.Repeat(" ", 2<<20) + world.JSON(t, original(s)) }, 200},
		{"http endpoint", func(s *world.Site) string {
			m := original(s)
			m["token_endpoint"] = "http://op.test/tok"
			return world.JSON(t, m)
		}, 200},
		{"relative endpoint", func(s *world.Site) string {
			m := original(s)
			m["authorization_endpoint"] = "/az"
			return world.JSON(t, m)
		}, 200},
		{"no authorization endpoint", func(s *world.Site) string {
			m := original(s)
			delete(m, "authorization_endpoint")
			return world.JSON(t, m)
		}, 200},
		{"javascript endpoint", func(s *world.Site) string {
			m := original(s)
			m["authorization_endpoint"] = "javascript:alert(1)"
			return world.JSON(t, m)
		}, 200},
		{"redirect", func(*world.Site) string { return "" }, 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t)
			s.Mint("upstream body", "marker-of-upstream")
			body := c.body(s)
			s.SetWire(func(r *http.Request, _ func(*http.Request) *http.Response) (*http.Response, error) {
				resp := world.Answer(r, c.code, body)
				if c.code == http.StatusFound {
					resp.Header.Set("Location", "https://evil.example/")
				}
				return resp, nil
			})
			ana := s.Visitor("ana")
			a := ana.Get("/notes/")
			s.WantRefusal(a, http.StatusServiceUnavailable)
			if len(ana.Cookies()) != 0 || a.Location() != "" {
				t.Errorf("cookies %v, Location %q with a 503", ana.Cookies(), a.Location())
			}
			s.SetWire(nil)
			s.Advance(2 * time.Hour) // past every back-off, and past the life of what was kept
			ana.Get("/notes/")
			s.Shutdown(0)
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// The last good metadata and keys serve while the provider is away (decision
// 8).
func TestMetadataIsKept(t *testing.T) {
	s := world.NewSite(t)
	s.Visitor("ben").SignIn()
	s.Break(opserver.EndpointDown, opserver.EndpointMetadata, opserver.EndpointJWKS)
	for range 5 {
		s.Visitor("ana").SignIn()
		s.Shutdown(0)
		s.Advance(40 * time.Minute)
	}
	if s.Count(opserver.EndpointMetadata) < 2 {
		t.Error("nobody tried to renew the metadata in three hours")
	}
}

// The RFC 8414 document is used if there is no OpenID document.
func TestMetadataOfRFC8414(t *testing.T) {
	s := world.NewSite(t)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			return world.Answer(r, http.StatusNotFound, ""), nil
		}
		return next(r), nil
	})
	s.Visitor("ana").SignIn()
	if got := s.Count(opserver.EndpointOAuthMetadata); got != 1 {
		t.Errorf("%d requests for the RFC 8414 document, want 1", got)
	}
}

// All who wait share one fetch (decision 8).
func TestMetadataOneFetch(t *testing.T) {
	s := world.NewSite(t)
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	s.OnRequest(opserver.EndpointMetadata, func(*http.Request) {
		held <- struct{}{}
		<-hold
	})
	done := make(chan *world.Page)
	for range 20 {
		go func() { done <- s.Visitor("ana").Get("/notes/") }()
	}
	<-held
	close(hold)
	for range 20 {
		if a := <-done; a.Code != http.StatusSeeOther {
			t.Errorf("got %v", a)
		}
	}
	if got := s.Count(opserver.EndpointMetadata); got != 1 {
		t.Errorf("%d metadata requests, want 1", got)
	}
}

// With static metadata and keys nothing is ever fetched.
func TestStaticMetadataAndKeys(t *testing.T) {
	var k *world.Signer
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) {
			if k == nil {
				k = world.NewSigner(t)
			}
			c.Metadata = &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/realm/ep/az-3f",
				TokenEndpoint: "https://op.test/realm/ep/tok-7", IDTokenAlgorithms: []string{"ES256"}, ResponseIssuer: true}
			c.Keys = append(c.Keys, k.Key.Public())
		}
	})
	s.Rewrap(t, k, func(claims map[string]any) string { return k.Sign(nil, []byte(world.JSON(t, claims))) })
	s.Visitor("ana").SignIn()
	if m, j := s.Count(opserver.EndpointMetadata), s.Count(opserver.EndpointJWKS); m+j != 0 {
		t.Errorf("%d metadata and %d key requests", m, j)
	}
}

// discovered returns a site whose discovery document is changed before it is
// served. A nil value removes the member; a json.RawMessage is taken as it is.
func discovered(t *testing.T, changes map[string]any, options ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	s := world.NewSite(t, options...)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			for name, value := range changes {
				if m[name] = value; value == nil {
					delete(m, name)
				}
			}
		}), nil
	})
	return s
}

// A defect of the metadata costs only what needs that member (RFC 8414 §3.2).
// It is reported once, by its name.
func TestMetadataDefects(t *testing.T) {
	for _, c := range []struct {
		member string
		values []any
	}{
		{"scopes_supported", []any{"openid", 5, false, []any{"openid", 1}, map[string]any{}}},
		{"introspection_endpoint", []any{"/introspect", "http://127.0.0.1/introspect", "http://op.test/i", 7, "", []any{}}},
		{"end_session_endpoint", []any{false, "relative", "javascript:alert(1)", "https://u:p@op.test/x"}},
		{"revocation_endpoint", []any{false, "//op.test/revoke", map[string]any{"x": 1}}},
		{"token_endpoint_auth_methods_supported", []any{"client_secret_basic", 1, []any{nil}}},
		{"userinfo_signing_alg_values_supported", []any{"RS256", true}},
	} {
		for _, value := range c.values {
			t.Run(fmt.Sprint(c.member, " ", value), func(t *testing.T) {
				s := discovered(t, map[string]any{c.member: value})
				s.Visitor("ana").SignIn()
				s.Advance(2 * time.Hour)
				s.Visitor("ben").SignIn()
				s.Shutdown(0)
				var told []string
				for _, e := range s.Events() {
					if e.Code == "metadata_defect" {
						told = append(told, e.Err.Error())
					}
				}
				if len(told) != 1 || !strings.HasPrefix(told[0], c.member+": ") {
					t.Errorf("told %q, want %s once", told, c.member)
				}
			})
		}
	}
}

// What is null or absent is no defect.
func TestMetadataNull(t *testing.T) {
	null := json.RawMessage("null")
	s := discovered(t, map[string]any{"scopes_supported": null, "end_session_endpoint": null, "introspection_endpoint": null, "revocation_endpoint": nil, "unknown": false})
	s.Visitor("ana").SignIn()
	s.Shutdown(0)
	for _, e := range s.Events() {
		if e.Code == "metadata_defect" {
			t.Error(e.Err)
		}
	}
}

// A sign-in that cannot end well does not begin, and the log names the member.
func TestSignInDoesNotBegin(t *testing.T) {
	for _, c := range []struct {
		member string
		values []any
	}{
		{"authorization_endpoint", []any{nil, json.RawMessage("null"), "/az", false, "http://127.0.0.1/az"}},
		{"token_endpoint", []any{nil, json.RawMessage("null"), "/tok", false, 5, "http://op.test/tok", "http://127.0.0.1:1/tok", "http://localhost/tok"}},
		{"jwks_uri", []any{nil, "keys", []any{}, "http://[::1]/keys", "https://op.test/keys#x"}},
		{"userinfo_endpoint", []any{"/me", false, "", "http://127.0.0.1/me"}},
		{"id_token_signing_alg_values_supported", []any{[]any{"none", "HS256"}, []any{"ES256K"}, "RS256", 5, false, []any{"RS256", 1}}},
		{"issuer", []any{nil, 5, json.RawMessage("null"), []any{world.SiteIssuer}}},
	} {
		for _, value := range c.values {
			t.Run(fmt.Sprintf("%s %s", c.member, value), func(t *testing.T) {
				s := discovered(t, map[string]any{c.member: value})
				ana := s.Visitor("ana")
				a := ana.Get("/notes/")
				s.WantRefusal(a, http.StatusServiceUnavailable)
				if len(ana.Cookies()) != 0 || a.Location() != "" || a.Header().Get("Retry-After") != "" {
					t.Errorf("cookies %v, Location %q, Retry-After %q", ana.Cookies(), a.Location(), a.Header().Get("Retry-After"))
				}
				last := refusalOf(t, s)
				if want := map[bool]string{true: "metadata says", false: c.member}[c.member == "issuer" && last.Code == "metadata_issuer_mismatch"]; !strings.Contains(fmt.Sprint(last.Err), want) {
					t.Errorf("%s: %v does not name %s", last.Code, last.Err, want)
				}
			})
		}
	}
}

// A provider that was corrected serves again as soon as one that was away: the
// next person who comes is let in.
func TestSignInBeginsOnceCorrected(t *testing.T) {
	for member, value := range map[string]any{
		"authorization_endpoint":                nil,
		"token_endpoint":                        nil,
		"jwks_uri":                              "keys",
		"userinfo_endpoint":                     "/me",
		"id_token_signing_alg_values_supported": []any{"HS256"},
	} {
		t.Run(member, func(t *testing.T) {
			s := discovered(t, map[string]any{member: value})
			s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
			s.SetWire(nil)
			asked := s.Count(opserver.EndpointMetadata)
			s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
			if s.Count(opserver.EndpointMetadata) != asked {
				t.Error("each visitor has the metadata fetched")
			}
			s.Advance(24 * time.Second)
			s.Visitor("ana").SignIn()
		})
	}
}

// A defect that stops the sign-in of others costs nobody else the metadata that
// is kept, for as long as the provider is away.
func TestDefectDuringAnOutage(t *testing.T) {
	for member, value := range map[string]any{"userinfo_endpoint": "/me", "jwks_uri": false} {
		t.Run(member, func(t *testing.T) {
			var k *world.Signer
			s := discovered(t, map[string]any{member: value}, func(o *world.SiteOptions) {
				o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true }
				o.Provider = func(c *gatehouse.ProviderConfig) {
					if member == "jwks_uri" {
						k = world.NewSigner(t)
						c.Keys = append(c.Keys, k.Key.Public())
					}
				}
			})
			s.Visitor("ana").Get("/notes/")
			s.Break(opserver.EndpointDown, opserver.EndpointMetadata)
			for range 4 {
				s.Advance(25 * time.Second)
				if a := s.Visitor("ben").Get("/notes/"); a.Code != http.StatusSeeOther {
					t.Fatalf("got %v, %s", a, s.LastCode())
				}
				s.Shutdown(0)
			}
		})
	}
}

// If the address of the user info turns out to be bad after the sign-in has
// begun, claims may be missing, so nobody is signed in without it.
func TestUserInfoDefectAtTheCallback(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) { m["userinfo_endpoint"] = false }), nil
	})
	s.WantRefusal(ana.On(world.ReplicaB).Get(callback), http.StatusServiceUnavailable)
	if last := refusalOf(t, s); last.Code != "metadata_invalid" || !strings.Contains(last.Err.Error(), "userinfo_endpoint: ") {
		t.Errorf("%s: %v", last.Code, last.Err)
	}
	s.WantNoSession("ana-1")
}

// What the sign-in does not need may be missing or bad.
func TestSignInBegins(t *testing.T) {
	noUserInfo := func(o *world.SiteOptions) { o.Party = func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true } }
	for name, s := range map[string]*world.Site{
		"bad userinfo_endpoint with SkipUserInfo": discovered(t, map[string]any{"userinfo_endpoint": "/me"}, noUserInfo),
		"no userinfo_endpoint":                    discovered(t, map[string]any{"userinfo_endpoint": nil}),
		"one algorithm of ours":                   discovered(t, map[string]any{"id_token_signing_alg_values_supported": []any{"none", "ES256"}}),
	} {
		t.Run(name, func(t *testing.T) { s.Visitor("ana").SignIn() })
	}
}

// RFC 9207 §3: a provider that meant to announce iss is held to it.
func TestResponseIssuerAnnounced(t *testing.T) {
	for value, required := range map[string]bool{"": false, "false": false, "true": true, `"true"`: true, `"false"`: true, "1": true, "0": true, "[]": true, "null": true} {
		t.Run(value, func(t *testing.T) {
			change := map[string]any{"authorization_response_iss_parameter_supported": nil}
			if value != "" {
				change["authorization_response_iss_parameter_supported"] = json.RawMessage(value)
			}
			s := discovered(t, change)
			ana := s.Visitor("ana")
			u, err := url.Parse(ana.ToCallback("/notes/"))
			s.Must(err)
			q := u.Query()
			q.Del("iss")
			u.RawQuery = q.Encode()
			if a := ana.Get(u.String()); (a.Code == http.StatusSeeOther) == required {
				t.Errorf("got %v", a)
			}
		})
	}
}

// A callback waits for metadata as long as its own time allows; a page does
// not.
func TestCallbackWaitsForMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		s.OnRequest(opserver.EndpointMetadata, func(*http.Request) { time.Sleep(6 * time.Second) })
		ana = ana.On(world.ReplicaB)
		if a := s.Visitor("ben").On(world.ReplicaB).Get("/notes/"); a.Code != http.StatusServiceUnavailable {
			t.Errorf("a page: %v", a)
		}
		ana.WantServed(ana.Visit(callback))
	})
}

// So does an answer that asks for one new start, because its state is spent then.
func TestTemporarilyUnavailableWaitsForMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		callback := world.WithQuery(t, ana.ToCallback("/notes/"), func(q url.Values) {
			q.Del("code")
			q.Set("error", "temporarily_unavailable")
		})
		s.OnRequest(opserver.EndpointMetadata, func(*http.Request) { time.Sleep(6 * time.Second) })
		ana = ana.On(world.ReplicaB)
		ana.WantServed(ana.Visit(callback))
	})
}

// It also waits for the end of the pause after a fetch that failed.
func TestCallbackWaitsForTheNextFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		s.Break(opserver.EndpointDown, opserver.EndpointMetadata)
		if a := s.Visitor("ben").On(world.ReplicaB).Get("/notes/"); a.Code != http.StatusServiceUnavailable {
			t.Errorf("a page: %v", a)
		}
		mended := make(chan struct{})
		go func() {
			time.Sleep(2 * time.Second)
			s.Mend(opserver.EndpointDown)
			s.Advance(3 * time.Second)
			close(mended)
		}()
		ana = ana.On(world.ReplicaB)
		a := ana.Visit(callback)
		<-mended
		ana.WantServed(a)
	})
}

// refusalOf returns the last refusal of a site.
func refusalOf(t *testing.T, s *world.Site) gatehouse.Event {
	t.Helper()
	for _, e := range slices.Backward(s.Events()) {
		if e.Name == gatehouse.EventRefusal {
			return e
		}
	}
	t.Fatal("nothing was refused")
	return gatehouse.Event{}
}
