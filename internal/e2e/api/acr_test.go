package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The challenge for a better sign-in names all that the route needs, so that the
// next token is enough (RFC 9470 §3). Scopes are named if one is missing too.
func TestRequireTokenACR(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	no := gatehouse.RequirementFunc("owner", func(*http.Request, *gatehouse.Identity) (bool, error) { return false, nil })
	raw := "Bearer " + accessToken(t, w, "ana", "read") // its acr is "1"
	w.Advance(2 * time.Minute)
	for name, c := range map[string]struct {
		need      []gatehouse.Requirement
		status    int
		challenge string
	}{
		"met":                    {[]gatehouse.Requirement{gatehouse.ACR("2", "1")}, 200, ``},
		"met, with others":       {[]gatehouse.Requirement{gatehouse.ACR("2", "1"), gatehouse.ACR("1", "3"), gatehouse.MaxAge(time.Hour), gatehouse.Scopes("read")}, 200, ``},
		"unmet":                  {[]gatehouse.Requirement{gatehouse.ACR("2")}, 401, `error="insufficient_user_authentication", acr_values="2"`},
		"in order of preference": {[]gatehouse.Requirement{gatehouse.ACR("urn:b", "urn:a", "2")}, 401, `error="insufficient_user_authentication", acr_values="urn:b urn:a 2"`},
		"case":                   {[]gatehouse.Requirement{gatehouse.ACR("A")}, 401, `error="insufficient_user_authentication", acr_values="A"`},
		"quoted":                 {[]gatehouse.Requirement{gatehouse.ACR(`a"b\c`)}, 401, `error="insufficient_user_authentication", acr_values="a\"b\\c"`},
		"of several":             {[]gatehouse.Requirement{gatehouse.ACR("1", "2", "3"), gatehouse.ACR("3", "2")}, 401, `error="insufficient_user_authentication", acr_values="2 3"`},
		"and an age that is met": {[]gatehouse.Requirement{gatehouse.MaxAge(time.Hour), gatehouse.ACR("2")}, 401, `error="insufficient_user_authentication", acr_values="2", max_age="3600"`},
		"and an age":             {[]gatehouse.Requirement{gatehouse.MaxAge(time.Hour), gatehouse.MaxAge(time.Minute), gatehouse.ACR("2")}, 401, `error="insufficient_user_authentication", acr_values="2", max_age="60"`},
		"an age alone":           {[]gatehouse.Requirement{gatehouse.MaxAge(time.Minute), gatehouse.ACR("1")}, 401, `error="insufficient_user_authentication", acr_values="1", max_age="60"`},
		"and a scope that it has": {[]gatehouse.Requirement{gatehouse.Scopes("read"), gatehouse.ACR("2")}, 401,
			`error="insufficient_user_authentication", acr_values="2"`},
		"all at once": {[]gatehouse.Requirement{gatehouse.Scopes("read"), gatehouse.AnyScope("admin", "root"), gatehouse.MaxAge(time.Minute), gatehouse.ACR("2")}, 401,
			`error="insufficient_user_authentication", acr_values="2", max_age="60", scope="read admin root"`},
		"no sign-in helps":   {[]gatehouse.Requirement{gatehouse.ACR("2"), gatehouse.MaxAge(time.Minute), gatehouse.Scopes("admin"), no}, 403, `error="insufficient_scope"`},
		"a role that is not": {[]gatehouse.Requirement{gatehouse.ACR("2"), gatehouse.Role("admin")}, 403, `error="insufficient_scope"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := send(api.With(c.need...).RequireToken(world.WhoAmI), "GET", "/", raw)
			want := ""
			if c.status != 200 {
				want = `Bearer realm="api.test", ` + c.challenge + metadata
			}
			if got := a.Header().Get("WWW-Authenticate"); a.Code != c.status || got != want {
				t.Errorf("%d %q, want %d %q", a.Code, got, c.status, want)
			}
		})
	}
}

// acr and auth_time of an opaque token are those of introspection (RFC 9470
// §6.2). What is no text meets nothing.
func TestOpaqueTokenACR(t *testing.T) {
	for name, c := range map[string]struct {
		acr any
		ok  bool
	}{"met": {"gold", true}, "another": {"silver", false}, "missing": {nil, false}, "a list": {[]string{"gold"}, false}, "a number": {1, false}, "longer": {"gold gold", false}} {
		t.Run(name, func(t *testing.T) {
			w, api := newOpaque(t)
			answer, err := json.Marshal(map[string]any{"active": true, "aud": audience, "sub": "u1", "acr": c.acr, "auth_time": w.Now().Unix()})
			w.Must(err)
			onIntrospection(w, http.StatusOK, string(answer))
			h := api.With(gatehouse.ACR("gold"), gatehouse.MaxAge(time.Minute)).RequireToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if id := gatehouse.IdentityFrom(r.Context()); id.ACR() != "gold" || !id.AuthTime.Equal(w.Now()) {
					t.Errorf("acr %q, authenticated %v", id.ACR(), id.AuthTime)
				}
			}))
			a := send(h, "GET", "/", "Bearer opaque-token")
			if want := `Bearer realm="api.test", error="insufficient_user_authentication", acr_values="gold", max_age="60"` + metadata; (a.Code == 200) != c.ok || !c.ok && (a.Code != 401 || a.Header().Get("WWW-Authenticate") != want) {
				t.Errorf("%d %v", a.Code, a.Header())
			}
		})
	}
}

// Each half of Either asks in its own way: a person is sent to sign in for it, and
// a client is told what it needs.
func TestEitherACR(t *testing.T) {
	var h http.Handler
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.HandleFunc("/either", func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(rw, r) })
		}
	})
	s.Must(s.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	s.Must(s.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	gold := gatehouse.ACR("2")
	h = gatehouse.Require(gatehouse.Either(s.Replicas[0].Login.With(gold), newAPI(t, s.World).With(gold)))(world.WhoAmI)
	ana := s.Visitor("ana")
	a := ana.Get("/either")
	if got := world.QueryOf(t, a.Location()).Get("acr_values"); got != "2" {
		t.Errorf("acr_values %q", got)
	}
	ana.WantServed(ana.Follow(a, nil))
	b := send(h, "GET", "/either", "Bearer "+accessToken(t, s.World, "ana"))
	if want := `Bearer realm="api.test", error="insufficient_user_authentication", acr_values="2"` + metadata; b.Code != 401 || b.Header().Get("WWW-Authenticate") != want {
		t.Errorf("%d %v", b.Code, b.Header())
	}
}
