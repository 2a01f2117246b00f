package signin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// RL6: addresses in claims are passed to the application, and we never request
// them: distributed claims, pictures and anything else that names a host.
func TestRL6_AddressesInClaims(t *testing.T) {
	for _, where := range []string{"ID Token", "user info"} {
		t.Run(where, func(t *testing.T) {
			var mu sync.Mutex
			visits := 0
			inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				mu.Lock()
				visits++
				mu.Unlock()
			}))
			defer inner.Close()
			point := func(claims map[string]any) {
				for _, name := range []string{"picture", "profile", "website", "jwks_uri", "jku", "endpoint"} {
					claims[name] = inner.URL + "/" + name
				}
				claims["_claim_names"] = map[string]any{"groups": "src1", "address": "src2"}
				claims["_claim_sources"] = map[string]any{
					"src1": map[string]any{"endpoint": inner.URL + "/claims", "access_token": "token-of-the-source"},
					"src2": map[string]any{"JWT": "eyJhbGciOiJub25lIn0.e30."},
				}
			}
			var picture string
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Party = func(c *gatehouse.RelyingPartyConfig) {
					c.AuthParams = map[string][]string{"claims": {`{"id_token":{"groups":null}}`}}
				}
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/picture", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						id := gatehouse.IdentityFrom(r.Context())
						picture = id.ClaimString("picture")
						var all map[string]any
						if err := id.Claims(&all); err != nil || all["groups"] != nil {
							t.Errorf("claims %v, err %v; want no groups", all["groups"], err)
						}
					})))
				}
			})
			if where == "ID Token" {
				s.Retoken(t, func(_, claims map[string]any) { point(claims) })
			} else {
				s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
					resp := next(r)
					if strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
						resp = world.RewriteJSON(t, resp, point)
					}
					return resp, nil
				})
			}
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.Get("/picture")
			s.ShutdownAll()
			if picture != inner.URL+"/picture" {
				t.Errorf("the application sees picture %q", picture)
			}
			for _, c := range s.Calls() {
				if !strings.HasPrefix(c.Address, "https://op.test/") {
					t.Errorf("a request went to %s", c.Address)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if visits != 0 {
				t.Errorf("%d requests at the inner host", visits)
			}
		})
	}
}

// OpenID Connect Core §5.3.2: user info as a signed JWT. The provider's key
// signs it, and it is about the same person.
func TestSignedUserInfo(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   string
		change func(m map[string]any)
		other  bool // signed with a key of somebody else
		code   string
	}{
		{"good", "application/jwt", func(map[string]any) {}, false, ""},
		{"with parameters", "Application/JWT; charset=utf-8", func(m map[string]any) { m["iss"], m["aud"] = world.SiteIssuer, "notes" }, false, ""},
		{"another issuer", "application/jwt", func(m map[string]any) { m["iss"] = "https://other.test" }, false, "userinfo_unavailable"},
		{"another client", "application/jwt", func(m map[string]any) { m["aud"] = []string{"other"} }, false, "userinfo_unavailable"},
		{"another person", "application/jwt", func(m map[string]any) { m["sub"] = "ben" }, false, "userinfo_subject_mismatch"},
		{"expired", "application/jwt", func(m map[string]any) { m["exp"] = 1 }, false, "userinfo_unavailable"},
		{"another key", "application/jwt", func(map[string]any) {}, true, "userinfo_unavailable"},
		{"sent as JSON", "application/json", func(map[string]any) {}, false, "userinfo_unavailable"},
		{"without a type", "", func(map[string]any) {}, false, "userinfo_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) { mux.Handle("/who", login.SessionHandler()) }
			})
			k, signer := world.NewSigner(t), world.NewSigner(t)
			if !c.other {
				signer = k
			}
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				resp := next(r)
				switch {
				case strings.HasSuffix(s.Endpoint("jwks_uri"), r.URL.Path):
					return world.RewriteJSON(t, resp, func(m map[string]any) {
						list, _ := m["keys"].([]any)
						m["keys"] = append(list, k.Key.Public())
					}), nil
				case !strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path):
					return resp, nil
				}
				var claims map[string]any
				s.Must(json.NewDecoder(resp.Body).Decode(&claims))
				claims["department"] = "printing"
				c.change(claims)
				jwt := world.Answer(r, http.StatusOK, signer.Sign(nil, []byte(world.JSON(t, claims))))
				jwt.Header.Set("Content-Type", c.kind)
				return jwt, nil
			})
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			a := ana.Get(callback)
			if c.code == "" {
				if a.Code != http.StatusSeeOther || !strings.Contains(ana.Fetch("GET", "/who").Body.String(), `"department":"printing"`) {
					t.Errorf("got %v", a)
				}
				return
			}
			if a.Code < 400 || s.LastCode() != c.code || ana.SessionCookie() != "" {
				t.Errorf("got %v, code %s, want %s", a, s.LastCode(), c.code)
			}
		})
	}
}
