package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// An API of a provider with tenants takes the tokens of those that are allowed, and
// says of whose they are, also when it remembers them.
func TestTenants(t *testing.T) {
	const template, a, b = "https://login.test/{tenantid}/v2.0", "72f988bf-0000", "9188040d-0000"
	issuer := func(tenant string) string { return strings.Replace(template, "{tenantid}", tenant, 1) }
	w := newWorld(t)
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		return world.RewriteJSON(t, next(r), func(m map[string]any) {
			if _, ok := m["issuer"]; ok {
				m["issuer"] = template
			}
		}), nil
	})
	provider := w.ProviderOf(template, func(c *gatehouse.ProviderConfig) {
		c.MetadataURL, c.Tenants = w.Issuer()+"/.well-known/openid-configuration", []string{a, b}
	})
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	whose := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write([]byte(gatehouse.IdentityFrom(r.Context()).Issuer))
	})
	token := func(iss, tid string) string {
		return minted(t, map[string]any{"iss": iss, "tid": tid, "aud": audience, "sub": "ana-1", "exp": w.Now().Add(time.Minute).Unix()})
	}
	for name, h := range map[string]http.Handler{
		"alone":        api.RequireToken(whose),
		"ByIssuer":     gatehouse.Require(gatehouse.ByIssuer(newAPI(t, w), api))(whose),
		"ByIssuerFunc": gatehouse.Require(gatehouse.ByIssuerFunc(api, (&register{}).find))(whose),
		"find": gatehouse.Require(gatehouse.ByIssuerFunc(newAPI(t, w),
			(&register{of: map[string]*gatehouse.ResourceServer{issuer(a): api, issuer(b): api}}).find))(whose),
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				iss, tid string
				status   int
			}{
				{issuer(a), a, 200}, {issuer(b), b, 200}, {issuer(a), b, 401}, {issuer("c"), "c", 401}, {template, a, 401}, {issuer(a), "", 401},
			} {
				for range 2 { // new, and remembered
					got := send(h, "GET", "/", "Bearer "+token(c.iss, c.tid))
					if got.Code != c.status || c.status == 200 && got.Body.String() != c.iss {
						t.Errorf("iss %s, tid %q: %d %s", c.iss, c.tid, got.Code, got.Body)
					}
				}
			}
		})
	}
	rec := httptest.NewRecorder()
	api.MetadataHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	var doc struct {
		Servers []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil || !slices.Equal(doc.Servers, []string{issuer(a), issuer(b)}) {
		t.Errorf("clients are told %q, error %v", doc.Servers, err)
	}
}
