package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// called are the members of the metadata that this process calls. Browsers are
// sent to the others.
var called = []string{"token_endpoint", "jwks_uri", "userinfo_endpoint", "revocation_endpoint", "introspection_endpoint"}

// inside is a site whose provider is reached at an inner address too. Its
// document there names the inner address for what the site calls. From the site
// the outer address cannot be reached.
func inside(t *testing.T, inner, metadataURL string, change func(map[string]any)) *world.Site {
	t.Helper()
	outer := world.OriginOf(t, world.SiteIssuer)
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) { c.MetadataURL = metadataURL }
	})
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if r.URL.Scheme+"://"+r.URL.Host != inner {
			return nil, fmt.Errorf("%s is not reached from inside", r.URL)
		}
		in, err := url.Parse(outer)
		if err != nil {
			return nil, err
		}
		in.Path, in.RawQuery = r.URL.Path, r.URL.RawQuery
		out := r.Clone(r.Context())
		out.URL, out.Host = in, in.Host
		if !strings.Contains(r.URL.Path, "/.well-known/") {
			return next(out), nil
		}
		return world.RewriteJSON(t, next(out), func(m map[string]any) {
			for _, member := range called {
				m[member] = strings.Replace(m[member].(string), outer, inner, 1)
			}
			if change != nil {
				change(m)
			}
		}), nil
	})
	return s
}

// With MetadataURL everything that the site calls is inside, keys included, and
// browsers are sent to the outer address. It costs no request more.
func TestMetadataURL(t *testing.T) {
	for _, c := range []struct{ inner, path string }{
		{"https://keycloak.internal:8443", "/realm/.well-known/openid-configuration"},
		{"http://127.0.0.1:8080", "/realm/.well-known/openid-configuration"},
		{"http://localhost:8080", "/realm/.well-known/openid-configuration?from=inside"},
	} {
		t.Run(c.inner, func(t *testing.T) {
			s := inside(t, c.inner, c.inner+c.path, nil)
			ana := s.Visitor("ana")
			start := ana.Get("/notes/")
			if !strings.HasPrefix(start.Location(), s.Endpoint("authorization_endpoint")) {
				t.Fatalf("browsers are sent to %s", start.Location())
			}
			ana.WantServed(ana.Visit("/notes/"))
			var asked []string
			for _, call := range s.Calls() {
				if !strings.HasPrefix(call.Address, c.inner+"/") {
					t.Errorf("%s was called", call.Address)
				}
				asked = append(asked, call.Address)
			}
			if len(asked) != 4 { // metadata, token, keys, user info, as without MetadataURL
				t.Errorf("called %q", asked)
			}
			if out := ana.Post("/auth/logout", nil); !strings.HasPrefix(out.Location(), s.Endpoint("end_session_endpoint")) {
				t.Errorf("signing out leads to %s", out.Location())
			}
		})
	}
}

// RP-D2: what is fetched elsewhere must name the configured issuer byte for byte.
// No sign-in begins, and no other address is tried.
func TestMetadataURLOfAnotherIssuer(t *testing.T) {
	const inner = "https://keycloak.internal:8443"
	for _, issuer := range []any{inner + "/realm", world.SiteIssuer + "/", "https://OP.test/realm", "", nil, 5, []string{world.SiteIssuer}} {
		t.Run(fmt.Sprint(issuer), func(t *testing.T) {
			s := inside(t, inner, inner+"/realm/.well-known/openid-configuration", func(m map[string]any) { m["issuer"] = issuer })
			ana := s.Visitor("ana")
			a := ana.Get("/notes/")
			s.WantRefusal(a, http.StatusServiceUnavailable)
			if a.Location() != "" || len(ana.Cookies()) != 0 {
				t.Errorf("Location %q, cookies %v", a.Location(), ana.Cookies())
			}
			if code := s.LastCode(); code != "metadata_issuer_mismatch" && code != "metadata_invalid" {
				t.Errorf("code %s", code)
			}
		})
	}
}

// RP-D3: the configured address is the only one that is asked, and the log names
// it. When it answers again, sign-in works.
func TestMetadataURLDown(t *testing.T) {
	const inner = "https://keycloak.internal:8443"
	s := inside(t, inner, inner+"/realm/.well-known/openid-configuration", nil)
	s.Break(opserver.EndpointGone, opserver.EndpointMetadata)
	s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
	s.Shutdown(0)
	if calls := s.Calls(); len(calls) != 1 || calls[0].Address != inner+"/realm/.well-known/openid-configuration" || !strings.Contains(s.Log(), calls[0].Address) {
		t.Errorf("called %v, log %s", calls, s.Log())
	}
	s.Mend(opserver.EndpointGone)
	s.Advance(3 * time.Second) // the first pause after a failed fetch
	s.Visitor("ana").SignIn()
}

// At the inner address http is for what this process calls. A page that browsers
// open is never http under an https issuer, and http elsewhere is no inner address.
func TestMetadataURLKeepsBrowsersOnHTTPS(t *testing.T) {
	const inner = "http://127.0.0.1:8080"
	for member, address := range map[string]string{
		"authorization_endpoint": inner + "/realm/ep/az-3f",
		"token_endpoint":         "http://127.0.0.1:9090/realm/ep/tok-7",
		"jwks_uri":               "http://keycloak.internal:8080/keys",
	} {
		t.Run(member, func(t *testing.T) {
			s := inside(t, inner, inner+"/realm/.well-known/openid-configuration", func(m map[string]any) { m[member] = address })
			s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
			if last := refusalOf(t, s); last.Code != "metadata_invalid" || !strings.Contains(fmt.Sprint(last.Err), member) {
				t.Errorf("%s: %v", last.Code, last.Err)
			}
		})
	}
}
