package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	tenantTemplate = "https://login.test/{tenantid}/v2.0"
	tenantA        = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	tenantB        = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

func tenantIssuer(tenant string) string {
	return strings.Replace(tenantTemplate, "{tenantid}", tenant, 1)
}

// tenantSite is a site at a provider that serves many organizations as Entra ID
// does: its metadata names a template as the issuer, and its ID Tokens the
// tenant. claims changes those tokens.
func tenantSite(t *testing.T, claims func(map[string]any), change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	return tenantSiteOf(t, world.NewSigner(t), claims, change...)
}

// tenantSiteOf is tenantSite with the key that signs the tokens.
func tenantSiteOf(t *testing.T, k *world.Signer, claims func(map[string]any), change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	change = append([]func(*world.SiteOptions){func(o *world.SiteOptions) {
		o.Issuer = tenantTemplate
		o.Provider = func(c *gatehouse.ProviderConfig) {
			c.MetadataURL = world.SiteIssuer + "/.well-known/openid-configuration"
			c.Tenants = []string{tenantA, tenantB}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/whose", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(gatehouse.IdentityFrom(r.Context()).Issuer))
			})))
		}
	}}, change...)
	s := world.NewSite(t, change...)
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		resp := next(r)
		if strings.Contains(r.URL.Path, "/ep/who") {
			return resp, nil
		}
		return world.RewriteJSON(t, resp, func(m map[string]any) {
			if _, ok := m["issuer"]; ok {
				m["issuer"] = tenantTemplate
			}
			if keys, ok := m["keys"].([]any); ok {
				m["keys"] = append(keys, k.Key.Public())
			}
			if raw, ok := m["id_token"].(string); ok {
				said := world.TokenClaims(t, raw)
				said["iss"], said["tid"] = tenantIssuer(tenantA), tenantA
				claims(said)
				made := k.Sign(nil, []byte(world.JSON(t, said)))
				s.Mint("id_token", made)
				m["id_token"] = made
			}
		}), nil
	})
	return s
}

// answerOf goes to the provider and returns the address of the callback, with iss
// as the provider's answer has it (RFC 9207); "" leaves it out.
func answerOf(t *testing.T, v *world.Visitor, iss string) string {
	t.Helper()
	return world.WithQuery(t, v.ToCallback("/whose"), func(q url.Values) {
		if q.Set("iss", iss); iss == "" {
			q.Del("iss")
		}
	})
}

// One provider serves the people of several organizations, each under the issuer
// of its tenant, with as many requests as another provider.
func TestTenants(t *testing.T) {
	for tenant, issuer := range map[string]string{tenantA: tenantIssuer(tenantA), tenantB: tenantIssuer(tenantB)} {
		s := tenantSite(t, func(claims map[string]any) { claims["iss"], claims["tid"] = issuer, tenant })
		ana := s.Visitor("ana")
		if page := ana.Visit(answerOf(t, ana, issuer)); page.Body.String() != issuer {
			t.Errorf("served %v, want the issuer %s", page, issuer)
		}
		if n := len(s.Calls()); n != 4 { // metadata, token, keys, user info
			t.Errorf("%d requests to the provider, want 4", n)
		}
		if listed, err := s.Replicas[0].Sessions.List(t.Context(), issuer, "ana-1"); err != nil || len(listed) != 1 {
			t.Errorf("sessions of ana-1 at %s: %v, %v", issuer, listed, err)
		}
		if listed, err := s.Replicas[0].Sessions.List(t.Context(), tenantTemplate, "ana-1"); err != nil || len(listed) != 0 {
			t.Errorf("sessions of ana-1 at the template: %v, %v", listed, err)
		}
		s.Advance(world.Past) // the tokens are renewed, and the tenant stays
		if page := ana.Get("/whose"); page.Body.String() != issuer || s.Refreshes() != 1 {
			t.Errorf("served %v after %d refreshes", page, s.Refreshes())
		}
	}
}

// A token of a tenant that is not allowed, or that contradicts itself, signs nobody
// in.
func TestTenantsRefused(t *testing.T) {
	const other = "00000000-0000-4000-8000-000000000000"
	for name, c := range map[string]struct{ iss, tid any }{
		"another tenant":          {tenantIssuer(other), other},
		"the issuer of another":   {tenantIssuer(tenantB), tenantA},
		"the tenant of another":   {tenantIssuer(tenantA), tenantB},
		"the template":            {tenantTemplate, tenantA},
		"the template, twice":     {tenantTemplate, "{tenantid}"},
		"no tid":                  {tenantIssuer(tenantA), nil},
		"the address of metadata": {world.SiteIssuer, tenantA},
	} {
		t.Run(name, func(t *testing.T) {
			s := tenantSite(t, func(claims map[string]any) { claims["iss"], claims["tid"] = c.iss, c.tid })
			ana := s.Visitor("ana")
			page := ana.Get(answerOf(t, ana, tenantIssuer(tenantA)))
			s.WantRefusal(page, http.StatusBadRequest)
			if code := s.LastCode(); code != "id_token_issuer_mismatch" || ana.SessionName() != "" {
				t.Errorf("code %s, session %q", code, ana.SessionName())
			}
		})
	}
}

// RFC 9207 §2.4: iss of the answer is that of a tenant, and the one of the token.
func TestTenantsResponseIssuer(t *testing.T) {
	for iss, tokens := range map[string]int{ // requests to the token endpoint
		tenantIssuer(tenantB):           1, // allowed, but the token is of the other: only now it shows
		tenantTemplate:                  0,
		world.SiteIssuer:                0,
		"https://login.test/other/v2.0": 0,
		"":                              0, // though the provider announces that it sends iss
	} {
		t.Run(iss, func(t *testing.T) {
			s := tenantSite(t, func(map[string]any) {})
			ana := s.Visitor("ana")
			bad := answerOf(t, ana, iss)
			page := ana.Get(bad)
			s.WantRefusal(page, http.StatusBadRequest)
			if n := s.Count(opserver.EndpointToken); n != tokens || ana.SessionName() != "" {
				t.Errorf("%d token requests, want %d; session %q", n, tokens, ana.SessionName())
			}
		})
	}
}

// A front-channel logout names the tenant's issuer, and ends sessions of that
// tenant alone.
func TestTenantsFrontchannel(t *testing.T) {
	s := tenantSite(t, func(claims map[string]any) { claims["sid"] = "sid-of-ana" })
	ana := s.Visitor("ana")
	ana.Visit(answerOf(t, ana, tenantIssuer(tenantA)))
	for _, iss := range []string{tenantIssuer(tenantB), tenantTemplate, world.SiteIssuer} {
		s.Visitor("").Get("/auth/frontchannel-logout?" + url.Values{"iss": {iss}, "sid": {"sid-of-ana"}}.Encode())
		ana.WantServed(ana.Get("/notes/"))
	}
	s.Visitor("").Get("/auth/frontchannel-logout?" + url.Values{"iss": {tenantIssuer(tenantA)}, "sid": {"sid-of-ana"}}.Encode())
	ana.WantOut(ana.Get("/notes/"))
}

// A logout token is signed by a tenant, and ends sessions of that tenant alone.
func TestTenantsBackchannel(t *testing.T) {
	k := world.NewSigner(t)
	s := tenantSiteOf(t, k, func(claims map[string]any) { claims["sid"] = "sid-of-ana" })
	ana := s.Visitor("ana")
	ana.Visit(answerOf(t, ana, tenantIssuer(tenantA)))
	send := func(iss, tid string) int {
		token := k.Sign(map[string]any{"typ": "logout+jwt"}, []byte(world.JSON(t, map[string]any{
			"iss": iss, "tid": tid, "aud": "notes", "sub": "ana-1", "sid": "sid-of-ana", "iat": s.Now().Unix(), "exp": s.Now().Unix() + 60, "jti": iss + tid,
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		})))
		s.Mint("logout token", token)
		b := s.Visitor("")
		return b.Do(b.Request(http.MethodPost, "/auth/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()), "Content-Type", "application/x-www-form-urlencoded")).Code
	}
	for _, c := range []struct {
		iss, tid string
		status   int
	}{
		{tenantTemplate, tenantA, 400}, {world.SiteIssuer, tenantA, 400}, {tenantIssuer(tenantA), tenantB, 400}, {tenantIssuer("other"), "other", 400},
		{tenantIssuer(tenantB), tenantB, 200}, // of nobody here
	} {
		if got := send(c.iss, c.tid); got != c.status {
			t.Errorf("%s, %s: %d, want %d", c.iss, c.tid, got, c.status)
		}
		ana.WantServed(ana.Get("/notes/"))
	}
	if got := send(tenantIssuer(tenantA), tenantA); got != http.StatusOK {
		t.Errorf("the tenant itself: %d", got)
	}
	ana.WantOut(ana.Get("/notes/"))
}

// RP-D2: the metadata names the template, and nothing else.
func TestTenantsMetadata(t *testing.T) {
	for _, issuer := range []string{tenantIssuer(tenantA), strings.Replace(tenantTemplate, "tenantid", "tenant", 1), tenantTemplate + "/"} {
		s := tenantSite(t, func(map[string]any) {})
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			return world.RewriteJSON(t, next(r), func(m map[string]any) { m["issuer"] = issuer }), nil
		})
		s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
		if code := s.LastCode(); code != "metadata_issuer_mismatch" {
			t.Errorf("%s: code %s", issuer, code)
		}
	}
}
