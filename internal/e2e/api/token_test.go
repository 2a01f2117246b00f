// Package api_test tells the stories of an API that takes access tokens.
package api_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

const audience = "https://api.test"

// metadata is the parameter that ends every challenge of the API.
const metadata = `, resource_metadata="https://api.test/.well-known/oauth-protected-resource"`

var shop = gatehouse.Client{ID: "shop", Secret: gatehouse.NewSecret("shop-secret-1234")}

// newWorld is a provider whose access tokens are JWTs for the API, and its
// person Ana.
func newWorld(t *testing.T) *world.World {
	t.Helper()
	w := world.New(t, "https://op.test/realm")
	w.Must(w.AddUser("ana", "pass-word-of-ana", map[string]any{"sub": "ana-1"}))
	w.Must(w.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal(), IDTokenAlg: "ES256"}))
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	t.Cleanup(w.CheckSilence)
	return w
}

func newAPI(t *testing.T, w *world.World, change ...func(*gatehouse.ResourceServerConfig)) *gatehouse.ResourceServer {
	t.Helper()
	c := gatehouse.ResourceServerConfig{Audience: []string{audience}}
	for _, f := range change {
		f(&c)
	}
	api, err := gatehouse.NewResourceServer(w.Provider(), c)
	w.Must(err)
	return api
}

func accessToken(t *testing.T, w *world.World, user string, scopes ...string) string {
	t.Helper()
	raw, err := w.AccessToken(user, shop.ID, scopes...)
	w.Must(err)
	w.Mint("access token", raw)
	return raw
}

// send sends a request with these Authorization headers.
func send(h http.Handler, method, target string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for _, v := range authorization {
		r.Header.Add("Authorization", v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// serve sends a GET with this header.
func serve(h http.Handler, header http.Header) *httptest.ResponseRecorder {
	r, a := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.Header = header
	h.ServeHTTP(a, r)
	return a
}

func TestRequireToken(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	h := api.With(gatehouse.Scopes("notes:read")).RequireToken(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		if id.Issuer != w.Issuer() || id.ClientID != "shop" || strings.Join(id.Scopes, " ") != "notes:read notes:write" || !id.Expires.Equal(w.Now().Add(5*time.Minute)) {
			t.Errorf("identity %+v", id)
		}
		var claims struct {
			Client string `json:"client_id"`
		}
		if err := id.Claims(&claims); err != nil || claims.Client != "shop" {
			t.Errorf("claims %+v, %v", claims, err)
		}
		world.WhoAmI(rw, r)
	}))
	a := send(h, "GET", "/v1/notes", "Bearer "+accessToken(t, w, "ana", "notes:read", "notes:write"))
	if a.Code != 200 || a.Body.String() != "served ana-1 by token" || a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Vary") != "Authorization" {
		t.Errorf("%d %q %v", a.Code, a.Body, a.Header())
	}
	if a := send(h, "GET", "/v1/notes", "Bearer "+accessToken(t, w, "", "notes:read", "notes:write")); a.Body.String() != "served shop by token" {
		t.Errorf("a service: %d %q", a.Code, a.Body)
	}
}

// Each answer says what kind of token would help (RFC 6750 §3, RFC 9470 §3).
func TestRequireTokenAnswers(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	read, old := gatehouse.Scopes("read"), gatehouse.MaxAge(time.Minute)
	no := gatehouse.RequirementFunc("owner", func(*http.Request, *gatehouse.Identity) (bool, error) { return false, nil })
	broken := gatehouse.RequirementFunc("owner", func(*http.Request, *gatehouse.Identity) (bool, error) { return false, errors.New("db: away") })
	unknown := gatehouse.RequirementFunc("member", func(*http.Request, *gatehouse.Identity) (bool, error) {
		return false, &gatehouse.Error{Code: "not_a_member", Status: 401}
	})
	good := accessToken(t, w, "ana", "read", "write")
	none := accessToken(t, w, "ana")
	w.Advance(2 * time.Minute)
	for name, c := range map[string]struct {
		need          []gatehouse.Requirement
		authorization []string
		target        string
		status        int
		challenge     string // after the realm
	}{
		"no token":                   {nil, nil, "/", 401, ``},
		"another scheme":             {nil, []string{"Basic YTpi"}, "/", 401, ``},
		"JW12: in the query":         {nil, nil, "/?access_token=" + good, 401, ``},
		"JW12: lower case":           {nil, []string{"bearer " + good}, "/", 200, ``},
		"JW12: two headers":          {nil, []string{"Bearer " + good, "Bearer " + good}, "/", 400, `, error="invalid_request"`},
		"JW12: two tokens":           {nil, []string{"Bearer " + good + ", Bearer " + good}, "/", 400, `, error="invalid_request"`},
		"scheme without a token":     {nil, []string{"Bearer"}, "/", 400, `, error="invalid_request"`},
		"no JWT":                     {nil, []string{"Bearer b9f2c4"}, "/", 401, `, error="invalid_token"`},
		"another signature":          {nil, []string{"Bearer " + good[:len(good)-6] + "AAAAAA"}, "/", 401, `, error="invalid_token"`},
		"JW14: without the scope":    {[]gatehouse.Requirement{read}, []string{"Bearer " + none}, "/", 403, `, error="insufficient_scope", scope="read"`},
		"all scopes of the route":    {[]gatehouse.Requirement{read, gatehouse.Scopes("admin", "read")}, []string{"Bearer " + good}, "/", 403, `, error="insufficient_scope", scope="read admin"`},
		"one of several":             {[]gatehouse.Requirement{gatehouse.AnyScope("admin", "write")}, []string{"Bearer " + good}, "/", 200, ``},
		"none of several":            {[]gatehouse.Requirement{gatehouse.AnyScope("admin", "delete")}, []string{"Bearer " + good}, "/", 403, `, error="insufficient_scope", scope="admin delete"`},
		"old authentication":         {[]gatehouse.Requirement{read, old}, []string{"Bearer " + good}, "/", 401, `, error="insufficient_user_authentication", max_age="60"`},
		"old, and a scope":           {[]gatehouse.Requirement{gatehouse.Scopes("admin"), old, gatehouse.MaxAge(time.Second)}, []string{"Bearer " + good}, "/", 401, `, error="insufficient_user_authentication", max_age="1", scope="admin"`},
		"a function says no":         {[]gatehouse.Requirement{no}, []string{"Bearer " + good}, "/", 403, `, error="insufficient_scope"`},
		"a function and a scope":     {[]gatehouse.Requirement{no, gatehouse.Scopes("admin"), old}, []string{"Bearer " + good}, "/", 403, `, error="insufficient_scope"`},
		"a claim":                    {[]gatehouse.Requirement{gatehouse.Claim("role", "admin")}, []string{"Bearer " + good}, "/", 403, `, error="insufficient_scope"`},
		"a function says 401":        {[]gatehouse.Requirement{unknown}, []string{"Bearer " + good}, "/", 401, ``},
		"requirement that fails":     {[]gatehouse.Requirement{broken}, []string{"Bearer " + good}, "/", 503, `-`},
		"requirements are in order ": {[]gatehouse.Requirement{read}, []string{"Bearer " + good}, "/", 200, ``},
	} {
		t.Run(name, func(t *testing.T) {
			served := false
			h := api.With(c.need...).RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
			a := send(h, "GET", c.target, c.authorization...)
			if a.Code != c.status || served != (c.status == 200) {
				t.Errorf("%d %q, served %v; want %d", a.Code, a.Body, served, c.status)
			}
			if strings.Contains(a.Body.String(), "signed in") { // nobody is, at an API
				t.Errorf("the answer is %s", a.Body)
			}
			want := []string{`Bearer realm="api.test"` + c.challenge + metadata}
			if c.status == 200 || c.challenge == "-" {
				want = nil
			}
			if got := a.Header()["Www-Authenticate"]; strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("challenge %q, want %q", got, want)
			}
			if a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Vary") != "Authorization" {
				t.Errorf("headers %v", a.Header())
			}
		})
	}
}

// The log says why a token was refused, and names the setting that would accept
// it. The client learns only that it is no good.
func TestRequireTokenRefusalInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		options opserver.AccessTokenOptions
		change  func(*gatehouse.ResourceServerConfig)
		wait    time.Duration
		want    string // in the cause; "" if the token is good
	}{
		"good":                     {opserver.AccessTokenOptions{Audience: []string{audience}}, nil, 0, ""},
		"typ JWT":                  {opserver.AccessTokenOptions{Audience: []string{audience}, Type: "JWT"}, nil, 0, "typ JWT, accepted are at+jwt and those of TokenTypes"},
		"typ JWT, accepted":        {opserver.AccessTokenOptions{Audience: []string{audience}, Type: "JWT"}, func(c *gatehouse.ResourceServerConfig) { c.TokenTypes = []string{"JWT"} }, 0, ""},
		"no typ":                   {opserver.AccessTokenOptions{Audience: []string{audience}, Type: "none"}, nil, 0, "typ absent"},
		"no typ, accepted":         {opserver.AccessTokenOptions{Audience: []string{audience}, Type: "none"}, func(c *gatehouse.ResourceServerConfig) { c.TokenTypes = []string{""} }, 0, ""},
		"another audience":         {opserver.AccessTokenOptions{Audience: []string{"https://other.test"}}, nil, 0, `aud is "https://other.test", without one of Audience: "https://api.test"`},
		"no audience":              {opserver.AccessTokenOptions{}, nil, 0, "there is no aud, which only InsecureAnyAudience accepts"},
		"no audience, accepted":    {opserver.AccessTokenOptions{}, func(c *gatehouse.ResourceServerConfig) { c.Audience, c.InsecureAnyAudience = nil, true }, 0, ""},
		"the client's id as aud":   {opserver.AccessTokenOptions{Audience: []string{"shop"}}, func(c *gatehouse.ResourceServerConfig) { c.Client = shop }, 0, `aud is "shop"`},
		"expired":                  {opserver.AccessTokenOptions{Audience: []string{audience}}, nil, 6 * time.Minute, "exp is 2026-05-01T12:05:00Z"},
		"expired, within the skew": {opserver.AccessTokenOptions{Audience: []string{audience}}, nil, 5*time.Minute + 59*time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.options.JWT, c.options.Algorithm = true, "ES256"
			w.Must(w.SetAccessTokens(c.options))
			raw := accessToken(t, w, "ana")
			var change []func(*gatehouse.ResourceServerConfig)
			if c.change != nil {
				change = append(change, c.change)
			}
			h := newAPI(t, w, change...).RequireToken(world.WhoAmI)
			w.Advance(c.wait)
			a := send(h, "GET", "/notes/7?secret=1", "Bearer "+raw)
			if c.want == "" {
				if a.Code != 200 {
					t.Errorf("%d %q: %s", a.Code, a.Body, w.Log())
				}
				return
			}
			events := w.Events()
			last := events[len(events)-1]
			if a.Code != 401 || !strings.Contains(a.Body.String(), gatehouse.CodeTokenInvalid) || last.Name != gatehouse.EventRefusal ||
				last.Code != gatehouse.CodeTokenInvalid || last.Path != "/notes/7" || !strings.Contains(last.Err.Error(), c.want) {
				t.Errorf("%d %q, event %+v; want %q", a.Code, a.Body, last, c.want)
			}
		})
	}
}

// An ID Token of a client is no access token for an API of the same client: by
// hand without anything that gives it away, and of a sign-in.
func TestRequireTokenRefusesIDTokens(t *testing.T) {
	s := world.NewSite(t)
	client := gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}
	bare, err := s.IDToken("ana", client.ID)
	s.Must(err)
	signedIn := ""
	s.OnToken(t, func(m map[string]any) { signedIn, _ = m["id_token"].(string) })
	s.Visitor("ana").SignIn()
	for name, c := range map[string]struct {
		raw, audience, why string // no audience: any
	}{
		"bare":                     {bare, audience, "audience"},
		"sign-in":                  {signedIn, audience, "kind"},
		"sign-in, Client.ID named": {signedIn, client.ID, "kind"},
		"sign-in, any audience":    {signedIn, "", "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newAPI(t, s.World, func(rc *gatehouse.ResourceServerConfig) {
				rc.Client, rc.TokenTypes, rc.Audience, rc.InsecureAnyAudience = client, []string{"JWT", ""}, named(c.audience), c.audience == ""
			}).RequireToken(world.WhoAmI)
			if a := send(h, "GET", "/", "Bearer "+c.raw); a.Code != 401 || !strings.Contains(a.Header().Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%d %v", a.Code, a.Header())
			}
			if e := s.Events(); !strings.Contains(e[len(e)-1].Err.Error(), c.why) {
				t.Errorf("%v, want %q in it", e[len(e)-1].Err, c.why)
			}
		})
	}
}

// named is a list of one name, or nil if that is empty.
func named(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// FA1: tokens with known keys serve while the provider is away. Nothing is said
// about the others.
func TestFA1_RequireTokenWithoutTheProvider(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	h := api.RequireToken(world.WhoAmI)
	raw := accessToken(t, w, "ana")
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		t.Fatalf("%d %q", a.Code, a.Body)
	}
	w.RotateKeys()
	other := accessToken(t, w, "ana")
	w.SetDown(true)
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		t.Errorf("a known key: %d %q", a.Code, a.Body)
	}
	w.Advance(time.Minute)
	if a := send(h, "GET", "/", "Bearer "+other); a.Code != 503 || a.Header().Get("Retry-After") == "" || a.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("an unknown key: %d %v", a.Code, a.Header())
	}
	cold := newAPI(t, w).RequireToken(world.WhoAmI)
	if a := send(cold, "GET", "/", "Bearer "+raw); a.Code != 503 || a.Header().Get("Retry-After") == "" {
		t.Errorf("cold: %d %v", a.Code, a.Header())
	}
	w.SetDown(false)
	w.Advance(time.Minute)
	if a := send(h, "GET", "/", "Bearer "+other); a.Code != 200 {
		t.Errorf("afterwards: %d %q", a.Code, a.Body)
	}
}

// What needs the client says so when it is wired.
func TestResourceServerWithoutClient(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	photo := gatehouse.Resource{Name: "photo", Scopes: []string{"view"}}
	_, err := api.Register(t.Context(), photo)
	for what, err := range map[string]error{"Register": err, "Deregister": api.Deregister(t.Context(), photo)} {
		if gatehouse.ErrorCode(err) != "internal" || !strings.Contains(err.Error(), "UMA needs ResourceServerConfig.Client") || len(w.Calls()) > 0 {
			t.Errorf("%s: %v, %d calls", what, err, len(w.Calls()))
		}
	}
	defer func() {
		if got, _ := recover().(string); got != "gatehouse: UMAProtect: UMA needs ResourceServerConfig.Client, which asks for permission tickets" {
			t.Errorf("panic %q", got)
		}
	}()
	api.UMAProtect(gatehouse.Public())
}

// Either serves a page to its owner and an API to clients.
func TestEitherPageOrToken(t *testing.T) {
	s := world.NewSite(t)
	s.Must(s.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	s.Must(s.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	api := newAPI(t, s.World)
	h := gatehouse.Require(gatehouse.Either(s.Replicas[0].Login, api))(world.WhoAmI)
	if a := send(h, "GET", "/notes", "Bearer "+accessToken(t, s.World, "ana")); a.Body.String() != "served ana-1 by token" {
		t.Errorf("%d %q", a.Code, a.Body)
	}
	if a := send(h, "GET", "/notes"); a.Code != 401 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test"`+metadata {
		t.Errorf("%d %v", a.Code, a.Header())
	}
}

func TestOptionalToken(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w).OptionalToken(world.WhoAmI)
	if a := send(h, "GET", "/"); a.Body.String() != "served nobody" || a.Header().Get("Cache-Control") != "private" || a.Header().Get("Vary") != "Authorization" {
		t.Errorf("nobody: %d %q %v", a.Code, a.Body, a.Header())
	}
	if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Body.String() != "served ana-1 by token" {
		t.Errorf("ana: %d %q", a.Code, a.Body)
	}
	suspended := gatehouse.RequirementFunc("active", func(*http.Request, *gatehouse.Identity) (bool, error) {
		return false, &gatehouse.Error{Code: gatehouse.CodeTokenRequired, Status: 401, Message: "Get another token."}
	})
	if a := send(newAPI(t, w).With(suspended).OptionalToken(world.WhoAmI), "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 401 {
		t.Errorf("a token that a requirement refuses as if it were none: %d %q", a.Code, a.Body)
	}
	for name, status := range map[string]int{"Bearer nonsense": 401, "Bearer": 400} {
		if a := send(h, "GET", "/", name); a.Code != status || a.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %q", name, a.Code, a.Body)
		}
	}
}

// The iss of a token chooses who judges it. One that nobody knows costs no call.
func TestByIssuer(t *testing.T) {
	w := newWorld(t)
	var apis []*gatehouse.ResourceServer
	for _, issuer := range []string{"https://other.test", w.Issuer()} {
		api, err := gatehouse.NewResourceServer(w.ProviderOf(issuer), gatehouse.ResourceServerConfig{Audience: []string{audience}, Realm: issuer})
		w.Must(err)
		apis = append(apis, api.With(gatehouse.Scopes("read")))
	}
	h := gatehouse.Require(gatehouse.ByIssuer(apis...))(world.WhoAmI)
	good := accessToken(t, w, "ana", "read")
	for name, c := range map[string]struct {
		authorization []string
		status        int
		challenge     string
	}{
		"good":            {[]string{"Bearer " + good}, 200, ``},
		"without a scope": {[]string{"Bearer " + accessToken(t, w, "ana")}, 403, `Bearer realm="https://op.test/realm", error="insufficient_scope", scope="read"`},
		"no token":        {nil, 401, `Bearer realm="https://other.test"`},
		"no JWT":          {[]string{"Bearer nonsense"}, 401, `Bearer realm="https://other.test", error="invalid_token"`},
		"two":             {[]string{"Bearer a", "Bearer b"}, 400, `Bearer realm="https://other.test", error="invalid_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := send(h, "GET", "/", c.authorization...)
			want := ""
			if c.challenge != "" {
				want = c.challenge + metadata
			}
			if a.Code != c.status || a.Header().Get("WWW-Authenticate") != want {
				t.Errorf("%d %v", a.Code, a.Header())
			}
		})
	}
	before := len(w.CallsTo("jwks_uri"))
	parts := strings.Split(good, ".")
	foreign := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://evil.test","aud":"https://api.test"}`)) + "." + parts[2]
	if a := send(h, "GET", "/", "Bearer "+foreign); a.Code != 401 || len(w.CallsTo("jwks_uri")) != before {
		t.Errorf("an unknown issuer: %d, %d fetches", a.Code, len(w.CallsTo("jwks_uri"))-before)
	}
	defer func() {
		if got := fmt.Sprint(recover()); got != `gatehouse: ByIssuer: two resource servers have the issuer "https://other.test"` {
			t.Errorf("panic %q", got)
		}
	}()
	gatehouse.ByIssuer(apis[0], apis[0])
}

// A key that leaves the set takes its tokens along, also those that were
// accepted before.
func TestWithdrawnKeyTakesItsTokensAlong(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w).RequireToken(world.WhoAmI)
	old := accessToken(t, w, "ana")
	if a := send(h, "GET", "/", "Bearer "+old); a.Code != 200 {
		t.Fatalf("%d %q", a.Code, a.Body)
	}
	w.RotateKeys()
	w.Advance(time.Minute)
	if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 200 { // fetches the set, which still has the old key
		t.Fatalf("%d %q", a.Code, a.Body)
	}
	if a := send(h, "GET", "/", "Bearer "+old); a.Code != 200 {
		t.Errorf("a key that is still published: %d", a.Code)
	}
	w.RotateKeys()
	w.Advance(time.Minute)
	if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 200 {
		t.Fatalf("%d %q", a.Code, a.Body)
	}
	if a := send(h, "GET", "/", "Bearer "+old); a.Code != 401 {
		t.Errorf("a withdrawn key: %d", a.Code)
	}
}

// A token is verified once and judged at each request: it ends when it expires.
func TestSeenTokenExpires(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w).RequireToken(world.WhoAmI)
	raw := accessToken(t, w, "ana")
	for _, c := range []struct {
		wait   time.Duration
		status int
	}{{0, 200}, {5*time.Minute + 59*time.Second, 200}, {time.Second, 401}} {
		w.Advance(c.wait)
		if a := send(h, "GET", "/", "Bearer "+raw); a.Code != c.status {
			t.Errorf("after %v more: %d, want %d", c.wait, a.Code, c.status)
		}
	}
}

// JW12: a token counts in the Authorization header alone, once.
func TestJW12_TokenInTheHeaderAlone(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w).RequireToken(world.WhoAmI)
	good := accessToken(t, w, "ana")
	form := httptest.NewRequest("POST", "/", strings.NewReader("access_token="+good))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	query := httptest.NewRequest("GET", "/?access_token="+good, nil)
	in := func(values ...string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = values
		return r
	}
	for name, c := range map[string]struct {
		r         *http.Request
		status    int
		challenge string
	}{
		"bearer":     {in("bearer " + good), 200, ""},
		"BEARER":     {in("BEARER " + good), 200, ""},
		"two":        {in("Bearer "+good, "Bearer "+good), 400, `Bearer realm="api.test", error="invalid_request"` + metadata},
		"two in one": {in("Bearer " + good + ", Bearer " + good), 400, `Bearer realm="api.test", error="invalid_request"` + metadata},
		"query":      {query, 401, `Bearer realm="api.test"` + metadata},
		"form":       {form, 401, `Bearer realm="api.test"` + metadata},
		"none":       {in(), 401, `Bearer realm="api.test"` + metadata},
	} {
		t.Run(name, func(t *testing.T) {
			a := httptest.NewRecorder()
			if h.ServeHTTP(a, c.r); a.Code != c.status || a.Header().Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%d %v", a.Code, a.Header())
			}
		})
	}
}

// JW14: a scope is a whole word, and the refusal names what would do.
func TestJW14_MissingScope(t *testing.T) {
	for name, c := range map[string]struct {
		claims map[string]any
		status int
	}{
		"longer word": {map[string]any{"scope": "readwrite"}, 403},
		"empty":       {map[string]any{"scope": ""}, 403},
		"none":        {map[string]any{}, 403},
		"other case":  {map[string]any{"scope": "Read"}, 403},
		"in the list": {map[string]any{"scope": "a read b"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			w, api := newOpaque(t)
			onIntrospection(w, http.StatusOK, introspected(t, c.claims))
			a := send(api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque")
			want := ""
			if c.status == 403 {
				want = `Bearer realm="api.test", error="insufficient_scope", scope="read"` + metadata
			}
			if a.Code != c.status || a.Header().Get("WWW-Authenticate") != want {
				t.Errorf("%d %v", a.Code, a.Header())
			}
		})
	}
}
