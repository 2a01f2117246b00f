package signin_test

import (
	"net/http"
	"strings"
	"testing"
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
