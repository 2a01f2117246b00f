package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// register finds the ResourceServer of an issuer, as an application with tenants
// does.
type register struct {
	mu    sync.Mutex
	asked []string
	of    map[string]*gatehouse.ResourceServer
	err   error
}

func (g *register) find(_ context.Context, issuer string) (*gatehouse.ResourceServer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, issuer)
	if issuer == "https://panics.test" {
		panic("no such table")
	}
	return g.of[issuer], g.err
}

// fromIssuer is a token that names an issuer, with a bad signature.
func fromIssuer(t *testing.T, like, issuer string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]string{"iss": issuer, "aud": audience})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(like, ".")
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(claims) + "." + parts[2]
}

// Tenants come and go. The issuer of a token asks the application, and no server
// that the application does not know.
func TestByIssuerFunc(t *testing.T) {
	w := newWorld(t)
	foreign := func(issuer string) *gatehouse.ResourceServer {
		api, err := gatehouse.NewResourceServer(w.ProviderOf(issuer), gatehouse.ResourceServerConfig{Audience: []string{audience}})
		w.Must(err)
		return api
	}
	first := foreign("https://first.test")
	tenant := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Realm = "tenant" })
	g := &register{of: map[string]*gatehouse.ResourceServer{w.Issuer(): tenant, "https://mixed.test": tenant, "https://unmade.test": {}}}
	h := gatehouse.Require(gatehouse.ByIssuerFunc(first.With(gatehouse.Scopes("read")), g.find))(world.WhoAmI)
	good, short := accessToken(t, w, "ana", "read"), accessToken(t, w, "ana")
	failing := errors.New("the database is down")
	for _, c := range []struct {
		name, token string
		err         error
		status      int
		code        string
		asked       int
	}{
		{"a tenant", good, nil, 200, "", 1},
		{"the requirements of the first", short, nil, 403, "insufficient_scope", 0},
		{"nobody's", fromIssuer(t, good, "https://evil.test"), nil, 401, "token_invalid", 1},
		{"nobody's, once more", fromIssuer(t, good, "https://evil.test"), nil, 401, "token_invalid", 0},
		{"a very long name", fromIssuer(t, good, "https://evil.test/"+strings.Repeat("x", 4000)), nil, 401, "token_invalid", 0},
		{"no issuer", fromIssuer(t, good, ""), nil, 401, "token_invalid", 0},
		{"the first's own", fromIssuer(t, good, "https://first.test"), nil, 503, "", 0}, // nothing answers there
		{"opaque", "0123456789abcdefghij", nil, 401, "token_invalid", 0},
		{"no token", "", nil, 401, "token_required", 0},
		{"an error", fromIssuer(t, good, "https://new.test"), failing, 503, "issuer_lookup_failed", 1},
		{"an error of its own", fromIssuer(t, good, "https://new.test"), &gatehouse.Error{Code: "tenant_suspended", Status: 403, Message: "Suspended."}, 403, "tenant_suspended", 1},
		{"another issuer's", fromIssuer(t, good, "https://mixed.test"), nil, 500, "internal", 1},
		{"a panic", fromIssuer(t, good, "https://panics.test"), nil, 500, "internal", 1},
		{"one that was not made", fromIssuer(t, good, "https://unmade.test"), nil, 500, "internal", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.err, g.asked = c.err, nil
			var authorization []string
			if c.token != "" {
				authorization = []string{"Bearer " + c.token}
			}
			a := send(h, "GET", "/", authorization...)
			if a.Code != c.status || len(g.asked) != c.asked || !strings.Contains(a.Body.String(), c.code) {
				t.Errorf("%d %s, asked %q", a.Code, a.Body, g.asked)
			}
		})
	}
	if panics := w.EventsOf(gatehouse.EventPanic); len(panics) != 1 || !strings.Contains(w.Log(), "find") {
		t.Errorf("%d panics are reported", len(panics))
	}
	for name, q := range map[string]gatehouse.Requirement{"NotRevoked": gatehouse.NotRevoked(), "ACR": gatehouse.ACR("1")} {
		asking, err := gatehouse.NewResourceServer(w.ProviderOf("https://first.test"), gatehouse.ResourceServerConfig{Audience: []string{audience}, Client: shop})
		w.Must(err)
		g := &register{of: map[string]*gatehouse.ResourceServer{w.Issuer(): tenant.With(gatehouse.ACR("2"))}}
		h := gatehouse.Require(gatehouse.ByIssuerFunc(asking.With(q), g.find))(world.WhoAmI)
		if a := send(h, "GET", "/", "Bearer "+good); a.Code != 500 {
			t.Errorf("a tenant that cannot meet %s: %d %s", name, a.Code, a.Body)
		}
	}
	g.err = nil
	delete(g.of, w.Issuer()) // the tenant goes
	w.Advance(time.Minute)
	if a := send(h, "GET", "/", "Bearer "+good); a.Code != 401 {
		t.Errorf("a tenant that is gone: %d", a.Code)
	}
	w.Must(first.Shutdown(t.Context()))
}

// One token must not be chosen by and another be judged.
func TestByIssuerReadsOneHeader(t *testing.T) {
	w := newWorld(t)
	first := newAPI(t, w)
	for name, change := range map[string]func(*gatehouse.ResourceServerConfig){
		"header":  func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "X-Token" },
		"schemes": func(c *gatehouse.ResourceServerConfig) { c.Schemes = []string{"token"} },
	} {
		t.Run(name, func(t *testing.T) {
			config := gatehouse.ResourceServerConfig{Audience: []string{audience}}
			change(&config)
			other, err := gatehouse.NewResourceServer(w.ProviderOf("https://other.test"), config)
			w.Must(err)
			g := &register{of: map[string]*gatehouse.ResourceServer{"https://other.test": other}}
			h := gatehouse.Require(gatehouse.ByIssuerFunc(first, g.find))(world.WhoAmI)
			if a := send(h, "GET", "/", "Bearer "+fromIssuer(t, accessToken(t, w, "ana"), "https://other.test")); a.Code != 500 || !strings.Contains(w.Log(), "another TokenHeader or other Schemes") {
				t.Errorf("%d\n%s", a.Code, w.Log())
			}
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "another TokenHeader or other Schemes") {
					t.Errorf("panic %q", got)
				}
			}()
			gatehouse.ByIssuer(first, other)
		})
	}
}

// The header of a proxy chooses between page and API, and is what caches have to
// know about.
func TestTokenHeaderOfEither(t *testing.T) {
	s := world.NewSite(t)
	s.Must(s.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	s.Must(s.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	raw := accessToken(t, s.World, "ana")
	api := newAPI(t, s.World, func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "X-Token" })
	either := gatehouse.Require(gatehouse.Either(s.Replicas[0].Login, api))(world.WhoAmI)
	optional, required := api.OptionalToken(world.WhoAmI), api.RequireToken(world.WhoAmI)
	for name, c := range map[string]struct {
		h      http.Handler
		header http.Header
		status int
		vary   string
	}{
		"page, a token for others": {either, http.Header{"Authorization": {"Basic YTpi"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, 303, "Cookie"},
		"API":                      {either, http.Header{"X-Token": {raw}}, 200, "Cookie, X-Token"},
		"API, bad":                 {either, http.Header{"X-Token": {"x"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, 401, "Cookie, X-Token"},
		"required":                 {required, http.Header{"X-Token": {raw}}, 200, "X-Token"},
		"required, none":           {required, http.Header{"Authorization": {"Bearer " + raw}}, 401, "X-Token"},
		"optional, none":           {optional, http.Header{"Authorization": {"Bearer " + raw}}, 200, "X-Token"},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(c.h, c.header)
			if vary := strings.Join(a.Header().Values("Vary"), ", "); a.Code != c.status || vary != c.vary {
				t.Errorf("%d, Vary %q", a.Code, vary)
			}
		})
	}
}
