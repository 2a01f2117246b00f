package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The header of a signing proxy holds the token alone, and Authorization counts
// no more. A scheme of its own stands beside Bearer.
func TestWhereTheTokenIs(t *testing.T) {
	w := newWorld(t)
	raw := accessToken(t, w, "ana")
	proxied := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "x-access-token" }).RequireToken(world.WhoAmI)
	token := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Schemes = []string{"token"} }).RequireToken(world.WhoAmI)
	plain := newAPI(t, w).RequireToken(world.WhoAmI)
	for name, c := range map[string]struct {
		h      http.Handler
		header http.Header
		status int
	}{
		"proxy's header":             {proxied, http.Header{"X-Access-Token": {raw}}, 200},
		"proxy's header, with Basic": {proxied, http.Header{"X-Access-Token": {raw}, "Authorization": {"Basic YTpi"}}, 200},
		"proxy's header missing":     {proxied, http.Header{"Authorization": {"Bearer " + raw}}, 401},
		"proxy's header twice":       {proxied, http.Header{"X-Access-Token": {raw, raw}}, 400},
		"proxy's header empty":       {proxied, http.Header{"X-Access-Token": {""}}, 400},
		"with a scheme":              {proxied, http.Header{"X-Access-Token": {"Bearer " + raw}}, 400},
		"another header":             {plain, http.Header{"X-Access-Token": {raw}}, 401},
		"token":                      {token, http.Header{"Authorization": {"token " + raw}}, 200},
		"Token":                      {token, http.Header{"Authorization": {"Token " + raw}}, 200},
		"Bearer beside it":           {token, http.Header{"Authorization": {"Bearer " + raw}}, 200},
		"token alone":                {token, http.Header{"Authorization": {"token"}}, 400},
		"token twice":                {token, http.Header{"Authorization": {"token " + raw, "token " + raw}}, 400},
		"token, not set":             {plain, http.Header{"Authorization": {"token " + raw}}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			if a := serve(c.h, c.header); a.Code != c.status {
				t.Errorf("%d %q, want %d", a.Code, a.Body, c.status)
			}
		})
	}
}

// The log says what the route wanted, and what was wrong with the header.
func TestRefusalsSayWhy(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	good := accessToken(t, w, "ana", "read")
	own := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "X-Access-Token" })
	for name, c := range map[string]struct {
		h      http.Handler
		header http.Header
		want   string
	}{
		"scopes":       {api.With(gatehouse.Scopes("read", "admin")).RequireToken(world.WhoAmI), http.Header{"Authorization": {"Bearer " + good}}, "unmet: scopes read admin"},
		"any scope":    {api.With(gatehouse.AnyScope("x", "y")).RequireToken(world.WhoAmI), http.Header{"Authorization": {"Bearer " + good}}, "unmet: any scope x y"},
		"roles":        {api.With(gatehouse.Role("boss", "root")).RequireToken(world.WhoAmI), http.Header{"Authorization": {"Bearer " + good}}, "unmet: role boss root"},
		"two headers":  {api.RequireToken(world.WhoAmI), http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, "there are several"},
		"two tokens":   {api.RequireToken(world.WhoAmI), http.Header{"Authorization": {"Bearer " + good + ", Bearer " + good}}, "character that none may have"},
		"scheme alone": {api.RequireToken(world.WhoAmI), http.Header{"Authorization": {"DPoP"}}, "it has no token"},
		"own header":   {own.RequireToken(world.WhoAmI), http.Header{"X-Access-Token": {""}}, "it has no token"},
	} {
		a := serve(c.h, c.header)
		if a.Code < 400 || a.Code > 403 || !strings.Contains(lastCause(w), c.want) || strings.Contains(a.Body.String(), "Authorization") {
			t.Errorf("%s: %d %q, %s", name, a.Code, a.Body, lastCause(w))
		}
	}
}

func TestRole(t *testing.T) {
	for name, c := range map[string]struct {
		claims map[string]any
		path   []string
		status int
	}{
		"list":            {map[string]any{"roles": []string{"user", "admin"}}, nil, 200},
		"text":            {map[string]any{"roles": "admin"}, nil, 200},
		"other case":      {map[string]any{"roles": "Admin"}, nil, 403},
		"words":           {map[string]any{"roles": "user admin"}, nil, 403},
		"none":            {map[string]any{}, nil, 403},
		"null":            {map[string]any{"roles": nil}, nil, 403},
		"at a path":       {map[string]any{"realm_access": map[string]any{"roles": []string{"admin"}}}, []string{"realm_access", "roles"}, 200},
		"beside the path": {map[string]any{"roles": []string{"admin"}}, []string{"realm_access", "roles"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			onIntrospection(w, http.StatusOK, introspected(t, c.claims))
			api := newAPI(t, w, func(cfg *gatehouse.ResourceServerConfig) { cfg.Client, cfg.RoleClaim = shop, c.path })
			if a := send(api.With(gatehouse.Role("admin", "root")).RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque"); a.Code != c.status {
				t.Errorf("%d %q, want %d", a.Code, a.Body, c.status)
			}
			site := world.NewSite(t, func(o *world.SiteOptions) {
				o.Party = func(p *gatehouse.RelyingPartyConfig) {
					p.RoleClaim = c.path
					p.OnSignIn = setClaims(c.claims)
				}
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/admin", login.With(gatehouse.Role("admin")).RequireLogin(world.WhoAmI))
				}
			})
			ana := site.Visitor("ana")
			ana.SignIn()
			if a := ana.Get("/admin"); a.Code != c.status {
				t.Errorf("page: %d, want %d", a.Code, c.status)
			}
		})
	}
}

// The metadata of an API name it and all its authorization servers (RFC 9728).
func TestResourceMetadata(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Audience = []string{"notes", "https://api.test/v1"} })
	other, err := gatehouse.NewResourceServer(w.ProviderOf("https://other.test"), gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	if got := api.MetadataPath(); got != "/.well-known/oauth-protected-resource/v1" {
		t.Errorf("path %q", got)
	}
	named := w.ProviderOf("itsyouonline", func(c *gatehouse.ProviderConfig) { c.KeysFile = "unread" })
	hidden, err := gatehouse.NewResourceServer(named, gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	h := api.MetadataHandler(other, api, hidden)
	a := send(h, "GET", api.MetadataPath())
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Methods  []string `json:"bearer_methods_supported"`
	}
	w.Must(json.Unmarshal(a.Body.Bytes(), &doc))
	if a.Code != 200 || doc.Resource != "https://api.test/v1" || !slices.Equal(doc.Servers, []string{w.Issuer(), "https://other.test"}) ||
		!slices.Equal(doc.Methods, []string{"header"}) || a.Header().Get("Access-Control-Allow-Origin") != "*" || a.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %+v %v", a.Code, doc, a.Header())
	}
	if a := send(h, "POST", api.MetadataPath()); a.Code != 405 || a.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d %v", a.Code, a.Header())
	}
	if a := send(h, "OPTIONS", api.MetadataPath()); a.Code != 204 || a.Header().Get("Access-Control-Allow-Origin") != "*" || a.Header().Get("Access-Control-Allow-Headers") != "*" {
		t.Errorf("OPTIONS: %d %v", a.Code, a.Header())
	}
	if a := send(api.RequireToken(world.WhoAmI), "GET", "/"); a.Header().Get("WWW-Authenticate") != `Bearer realm="notes", resource_metadata="https://api.test/.well-known/oauth-protected-resource/v1"` {
		t.Errorf("challenge %q", a.Header().Get("WWW-Authenticate"))
	}
	nameless := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Audience = []string{"notes"} })
	if a := send(nameless.RequireToken(world.WhoAmI), "GET", "/"); a.Header().Get("WWW-Authenticate") != `Bearer realm="notes"` {
		t.Errorf("without an address: %q", a.Header().Get("WWW-Authenticate"))
	}
	defer func() {
		if recover() == nil {
			t.Error("an API without an address has metadata")
		}
	}()
	nameless.MetadataPath()
}

// RFC 9728 §3.1: where the metadata of an address are. A challenge names the same.
func TestWhereTheMetadataAre(t *testing.T) {
	w := newWorld(t)
	const well = "/.well-known/oauth-protected-resource"
	for name, want := range map[string][2]string{
		"https://api.test":              {well, "https://api.test" + well},
		"https://api.test/":             {well, "https://api.test" + well},
		"https://api.test:8443/a/b":     {well + "/a/b", "https://api.test:8443" + well + "/a/b"},
		"https://api.test/a/":           {well + "/a/", "https://api.test" + well + "/a/"},
		"https://api.test/a%2Fb":        {well + "/a%2Fb", "https://api.test" + well + "/a%2Fb"},
		"https://api.test/a?tenant=one": {well + "/a", "https://api.test" + well + "/a?tenant=one"},
		"HTTPS://API.test/a b|c":        {well + "/a%20b%7Cc", "https://API.test" + well + "/a%20b%7Cc"},
	} {
		api := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) {
			c.Audience = []string{"notes", "http://api.test", "https://api.test/#a", name}
		})
		challenge := send(api.RequireToken(world.WhoAmI), "GET", "/").Header().Get("WWW-Authenticate")
		if got := api.MetadataPath(); got != want[0] || !strings.HasSuffix(challenge, ` resource_metadata="`+want[1]+`"`) {
			t.Errorf("%s: %s, %s", name, got, challenge)
		}
		var doc struct{ Resource string }
		w.Must(json.Unmarshal(send(api.MetadataHandler(), "GET", want[0]).Body.Bytes(), &doc))
		if doc.Resource != name { // RFC 9728 §3.3: identical
			t.Errorf("resource %q, want %q", doc.Resource, name)
		}
	}
}

// RFC 8707: the resource that a client names decides about aud.
func TestResourceIndicator(t *testing.T) {
	w := newWorld(t)
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256"}))
	for resource, status := range map[string]int{audience: 200, "https://other.test": 401, "": 401} {
		raw := clientToken(t, w, resource)
		if a := send(newAPI(t, w).RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw); a.Code != status {
			t.Errorf("%q: %d, want %d", resource, a.Code, status)
		}
	}
}

// introspected is an answer about an active token with these claims.
func introspected(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"active": true, "aud": audience}
	maps.Copy(all, claims)
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// setClaims is an OnSignIn that sets them.
func setClaims(claims map[string]any) func(context.Context, *gatehouse.Identity) error {
	return func(_ context.Context, id *gatehouse.Identity) error {
		for name, v := range claims {
			if err := id.SetClaim(name, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// clientToken obtains an access token as a service, for a resource if there is
// one.
func clientToken(t *testing.T, w *world.World, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if resource != "" {
		form.Set("resource", resource)
	}
	r := httptest.NewRequest("POST", w.Endpoint("token_endpoint"), strings.NewReader(form.Encode()))
	r.RequestURI = ""
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(shop.ID, shop.Secret.Reveal())
	resp, err := w.Transport().RoundTrip(r)
	w.Must(err)
	defer resp.Body.Close()
	var body struct {
		Access string `json:"access_token"`
	}
	w.Must(json.NewDecoder(resp.Body).Decode(&body))
	return body.Access
}

// An API without an audience serves UMA alone. As a guard of access tokens it
// panics at wiring.
func TestResourceServerWithoutAudience(t *testing.T) {
	w := newWorld(t)
	rs, err := gatehouse.NewResourceServer(w.Provider(), gatehouse.ResourceServerConfig{Client: shop})
	w.Must(err)
	rs.UMAProtect(gatehouse.Public())
	for caller, wire := range map[string]func(){
		"RequireToken":  func() { rs.RequireToken(world.WhoAmI) },
		"OptionalToken": func() { rs.OptionalToken(world.WhoAmI) },
		"Require":       func() { gatehouse.Require(rs) },
		"Either, page":  func() { gatehouse.Either(rs, rs) },
		"ByIssuer":      func() { gatehouse.ByIssuer(rs) },
	} {
		func() {
			defer func() {
				want := "gatehouse: " + caller + ": access tokens need ResourceServerConfig.Audience"
				if got := fmt.Sprint(recover()); got != want {
					t.Errorf("panic %q, want %q", got, want)
				}
			}()
			wire()
		}()
	}
}

// Where a setting would decide, the log of the refusal names it.
// The client is told no more than before.
func TestRefusalsNameTheSetting(t *testing.T) {
	w := newWorld(t)
	good := accessToken(t, w, "ana")
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{}))
	opaque := accessToken(t, w, "ana")
	plain, basic := newAPI(t, w), "Basic YTpi"
	proxied := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.TokenHeader = "X-Access-Token" })
	asking := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Client = shop })
	for name, c := range map[string]struct {
		guard         gatehouse.Guard
		authorization string
		status        int
		cause         string
	}{
		"no token":                      {plain, "", 401, "<nil>"},
		"a scheme that is not set":      {plain, "token " + good, 401, "neither Bearer nor one of Schemes"},
		"a token without a scheme":      {plain, good, 401, "neither Bearer nor one of Schemes"},
		"another scheme":                {plain, basic, 401, "neither Bearer nor one of Schemes"},
		"in the usual header":           {proxied, "Bearer " + good, 401, "the one that TokenHeader names"},
		"opaque, without a Client":      {plain, "Bearer " + opaque, 401, "there is no ResourceServerConfig.Client: malformed token: not three parts, but 1"},
		"opaque, no issuer with Client": {gatehouse.ByIssuer(plain), "Bearer " + opaque, 401, "there is no ResourceServerConfig.Client"},
		"unsigned":                      {plain, "Bearer " + good[:strings.LastIndexByte(good, '.')+1], 401, "malformed token: alg ES256"},
		"unsigned, several issuers":     {gatehouse.ByIssuer(plain), "Bearer " + good[:strings.LastIndexByte(good, '.')+1], 401, "no readable iss"},
		"encrypted":                     {plain, "Bearer " + good + ".A.A", 401, "malformed token: it is encrypted"},
		"opaque, without an audience":   {asking, "Bearer " + opaque, 401, "which only InsecureAnyAudience accepts"},
	} {
		header := http.Header{}
		if c.authorization != "" {
			header.Set("Authorization", c.authorization)
		}
		a := serve(gatehouse.Require(c.guard)(world.WhoAmI), header)
		if a.Code != c.status || !strings.Contains(lastCause(w), c.cause) || strings.Contains(a.Body.String()+a.Header().Get("WWW-Authenticate"), "Scheme") {
			t.Errorf("%s: %d %q, %s", name, a.Code, a.Body, lastCause(w))
		}
		if strings.Contains(lastCause(w), "no JWT") != strings.Contains(c.cause, "ResourceServerConfig.Client") {
			t.Errorf("%s: %s", name, lastCause(w))
		}
		if strings.Contains(lastCause(w), good) || strings.Contains(lastCause(w), opaque) {
			t.Errorf("%s: the log shows the token", name)
		}
	}
}
