package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// A proof names the method and the address that the client used: BaseURL and the
// path with which the request came, whatever the request says about its host and
// whatever handlers do to its path.
func TestDPoPAddressOfARequest(t *testing.T) {
	w := newWorld(t)
	key, raw := bound(w)
	for name, c := range map[string]struct {
		base           string
		method, target string // of the request, as it arrives
		htm, htu       string // of the proof
		strip          string // by http.StripPrefix
		header         http.Header
		status         int
	}{
		"plain":                  {audience, "GET", "/notes", "GET", audience + "/notes", "", nil, 200},
		"query":                  {audience, "GET", "/notes?a=1", "GET", audience + "/notes", "", nil, 200},
		"query in the proof":     {audience, "GET", "/notes?a=1", "GET", audience + "/notes?a=1", "", nil, 200},
		"POST":                   {audience, "POST", "/notes", "POST", audience + "/notes", "", nil, 200},
		"POST by GET":            {audience, "POST", "/notes", "GET", audience + "/notes", "", nil, 401},
		"HEAD":                   {audience, "HEAD", "/notes", "HEAD", audience + "/notes", "", nil, 200},
		"HEAD by GET":            {audience, "HEAD", "/notes", "GET", audience + "/notes", "", nil, 401},
		"GET by HEAD":            {audience, "GET", "/notes", "HEAD", audience + "/notes", "", nil, 401},
		"OPTIONS":                {audience, "OPTIONS", "/notes", "OPTIONS", audience + "/notes", "", nil, 200},
		"a method of one's own":  {audience, "QuErY", "/notes", "QuErY", audience + "/notes", "", nil, 200},
		"method in capitals":     {audience, "QuErY", "/notes", "QUERY", audience + "/notes", "", nil, 401},
		"another path":           {audience, "GET", "/notes/7", "GET", audience + "/notes", "", nil, 401},
		"encoded slash":          {audience, "GET", "/notes/a%2fb", "GET", audience + "/notes/a%2Fb", "", nil, 200},
		"encoded slash is none":  {audience, "GET", "/notes/a%2fb", "GET", audience + "/notes/a/b", "", nil, 401},
		"encoded letter":         {audience, "GET", "/n%6ftes", "GET", audience + "/notes", "", nil, 200},
		"StripPrefix":            {audience, "GET", "/v1/notes", "GET", audience + "/v1/notes", "/v1", nil, 200},
		"what StripPrefix left":  {audience, "GET", "/v1/notes", "GET", audience + "/notes", "/v1", nil, 401},
		"prefix of a proxy":      {audience + "/app", "GET", "/notes", "GET", audience + "/app/notes", "", nil, 200},
		"proxy and StripPrefix":  {audience + "/app/", "GET", "/v1/notes?x", "GET", audience + "/app/v1/notes", "/v1", nil, 200},
		"absolute target":        {audience, "GET", "https://other.test/notes", "GET", audience + "/notes", "", nil, 200},
		"host of the target":     {audience, "GET", "https://evil.test/notes", "GET", "https://evil.test/notes", "", nil, 401},
		"absolute, without path": {audience, "GET", "https://other.test", "GET", audience, "", nil, 200},
		"host of the proof":      {audience, "GET", "/notes", "GET", "https://evil.test/notes", "", http.Header{"X-Forwarded-Host": {"evil.test"}, "Forwarded": {"host=evil.test"}}, 401},
		"proto of a header":      {audience, "GET", "/notes", "GET", "http://api.test/notes", "", http.Header{"X-Forwarded-Proto": {"http"}}, 401},
		"override of the method": {audience, "GET", "/notes", "DELETE", audience + "/notes", "", http.Header{"X-Http-Method-Override": {"DELETE"}}, 401},
		"prefix of a header":     {audience, "GET", "/notes", "GET", audience + "/x/notes", "", http.Header{"X-Forwarded-Prefix": {"/x"}}, 401},
		"loopback":               {"http://127.0.0.1:8080", "GET", "/notes", "GET", "http://127.0.0.1:8080/notes", "", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var h http.Handler = newAPI(t, w, with(func(d *gatehouse.DPoPConfig) { d.BaseURL = c.base })).RequireToken(world.WhoAmI)
			if c.strip != "" {
				h = http.StripPrefix(c.strip, h)
			}
			r := httptest.NewRequest(c.method, c.target, nil)
			for header, values := range c.header {
				r.Header[header] = values
			}
			r.Header.Set("Authorization", "DPoP "+raw)
			r.Header.Set("DPoP", key.Proof(c.htm, c.htu, raw))
			if a := deliver(h, r); a.Code != c.status {
				t.Errorf("%d, %s", a.Code, lastCause(w))
			}
		})
	}
}

// A request over HTTP/1.1 and HTTP/2 carries its proof through.
func TestDPoPOverTheWire(t *testing.T) {
	w := newWorld(t)
	key, raw := bound(w)
	var h http.Handler
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(rw, r) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	h = newAPI(t, w, with(func(d *gatehouse.DPoPConfig) { d.BaseURL = s.URL })).RequireToken(world.WhoAmI)
	for _, path := range []string{"/notes?x=1", "/a%2Fb", "/", ""} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		w.Must(err)
		key.Sign(r, raw)
		resp, err := s.Client().Do(r)
		w.Must(err)
		body, err := io.ReadAll(resp.Body)
		w.Must(err)
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || string(body) != "served ana-1 by token" {
			t.Errorf("%q: %s %d %q, %s", path, resp.Proto, resp.StatusCode, body, lastCause(w))
		}
	}
}

// Every guard judges the proof: that of a route with requirements, of several
// issuers, of a page, and one that also lets nobody pass.
func TestDPoPAtEveryGuard(t *testing.T) {
	s := world.NewSite(t)
	s.Must(s.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	s.Must(s.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	key := s.Kit.NewDPoPKey()
	raw := s.Kit.BoundAccessToken(key, "ana", shop, "read")
	free := accessToken(t, s.World, "ana", "read")
	other, err := gatehouse.NewResourceServer(s.ProviderOf("https://other.test"), gatehouse.ResourceServerConfig{Audience: []string{audience}})
	s.Must(err)
	for _, use := range []gatehouse.DPoPUse{gatehouse.DPoPOff, gatehouse.DPoPAllowed, gatehouse.DPoPRequired} {
		api := newAPI(t, s.World, proving(use))
		status := func(on bool) int {
			if on {
				return 200
			}
			return 401
		}
		for name, h := range map[string]http.Handler{
			"RequireToken":       api.RequireToken(world.WhoAmI),
			"With":               api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI),
			"Require":            gatehouse.Require(api)(world.WhoAmI),
			"OptionalToken":      api.OptionalToken(world.WhoAmI),
			"Either":             gatehouse.Require(gatehouse.Either(s.Replicas[0].Login, api))(world.WhoAmI),
			"ByIssuer":           gatehouse.Require(gatehouse.ByIssuer(other, api))(world.WhoAmI),
			"ByIssuer in Either": gatehouse.Require(gatehouse.Either(s.Replicas[0].Login, gatehouse.ByIssuer(other, api)))(world.WhoAmI),
		} {
			for what, c := range map[string]struct {
				sign   func(*http.Request)
				status int
			}{
				"a proof":            {func(r *http.Request) { key.Sign(r, raw) }, status(use != gatehouse.DPoPOff)},
				"no proof":           {authorize("DPoP " + raw), 401},
				"a bad proof":        {func(r *http.Request) { key.Sign(r, raw, middlewaretest.ProofWrongHash) }, 401},
				"bound, as Bearer":   {authorize("Bearer " + raw), 401},
				"unbound, as DPoP":   {func(r *http.Request) { key.Sign(r, free) }, 401},
				"unbound, as Bearer": {authorize("Bearer " + free), status(use != gatehouse.DPoPRequired)},
				"nonsense, as DPoP":  {authorize("DPoP nonsense"), 401},
				"DPoP alone":         {authorize("DPoP"), 400},
				"DPoP, two tokens":   {authorize("DPoP a, DPoP b"), 400},
			} {
				a := ask(h, "GET", audience+"/notes", c.sign)
				if a.Code != c.status || a.Code == 200 && a.Body.String() != "served ana-1 by token" || a.Code == 401 && a.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("use %d, %s, %s: %d %q, %s", use, name, what, a.Code, a.Body, lastCause(s.World))
				}
			}
		}
	}
}

// A requirement that is not met is answered in the scheme of the request.
func TestDPoPRequirementChallenges(t *testing.T) {
	w := newWorld(t)
	key, raw := bound(w)
	for use, want := range map[gatehouse.DPoPUse]string{
		gatehouse.DPoPAllowed:  `DPoP realm="api.test", error="insufficient_scope", scope="admin", ` + algs + metadata + `|Bearer realm="api.test"` + metadata,
		gatehouse.DPoPRequired: `DPoP realm="api.test", error="insufficient_scope", scope="admin", ` + algs + metadata,
	} {
		h := newAPI(t, w, proving(use)).With(gatehouse.Scopes("admin")).RequireToken(world.WhoAmI)
		a := deliver(h, withProof(key, raw, "GET", audience+"/"))
		if got := strings.Join(a.Header()["Www-Authenticate"], "|"); a.Code != 403 || got != want {
			t.Errorf("%d %s", a.Code, got)
		}
	}
	h := newAPI(t, w, proving(gatehouse.DPoPAllowed)).With(gatehouse.MaxAge(time.Second)).RequireToken(world.WhoAmI)
	w.Advance(2 * time.Second)
	if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != 401 || !strings.HasPrefix(a.Header().Get("WWW-Authenticate"), `DPoP realm="api.test", error="insufficient_user_authentication"`) {
		t.Errorf("%d %v", a.Code, a.Header())
	}
}

// A token that is bound to anything but one key is refused with the reason,
// whatever the API takes.
func TestBoundOtherwise(t *testing.T) {
	w := newWorld(t)
	key, _ := bound(w)
	jkt := fmt.Sprintf(`"jkt":%q`, key.Thumbprint())
	for name, c := range map[string]struct{ cnf, want string }{
		"certificate":         {`{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`, "certificate-bound tokens are not supported"},
		"key and certificate": {`{` + jkt + `,"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`, "in several ways"},
		"the key itself":      {`{"jwk":{"kty":"EC"}}`, "neither jkt nor known otherwise"},
		"empty":               {`{}`, "malformed"},
		"text":                {`"x"`, "malformed"},
		"bad thumbprint":      {`{"jkt":"x"}`, "malformed"},
	} {
		for _, use := range []gatehouse.DPoPUse{gatehouse.DPoPOff, gatehouse.DPoPAllowed, gatehouse.DPoPRequired} {
			jwt := minted(t, map[string]any{
				"iss": w.Issuer(), "sub": "ana-1", "aud": audience, "exp": w.Now().Unix() + 300, "iat": w.Now().Unix(), "client_id": "shop", "cnf": json.RawMessage(c.cnf),
			})
			asking, api := newOpaque(t, proving(use))
			onIntrospection(asking, http.StatusOK, `{"active":true,"aud":"https://api.test","sub":"u1","cnf":`+c.cnf+`}`)
			for _, one := range []struct {
				w   *world.World
				h   http.Handler
				raw string
			}{{w, newAPI(t, w, proving(use)).RequireToken(world.WhoAmI), jwt}, {asking, api.RequireToken(world.WhoAmI), "opaque-token"}} {
				for _, sign := range []func(*http.Request){authorize("Bearer " + one.raw), func(r *http.Request) { key.Sign(r, one.raw) }} {
					if a := ask(one.h, "GET", audience+"/", sign); a.Code != 401 || !strings.Contains(a.Header().Get("WWW-Authenticate"), `error="invalid_token"`) || !strings.Contains(lastCause(one.w), c.want) {
						t.Errorf("%s, use %d: %d %v, %s", name, use, a.Code, a.Header(), lastCause(one.w))
					}
				}
			}
		}
	}
}

// minted is an access token that the provider could have signed.
func minted(t *testing.T, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range world.Keys() {
		if k.Algorithm != string(jose.ES256) {
			continue
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, (&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	t.Fatal("no key for ES256")
	return ""
}

// On a sensitive route the server is asked about a token with its proof, and must
// not call it bound to another key.
func TestDPoPNotRevoked(t *testing.T) {
	for name, c := range map[string]struct {
		cnf    func(jkt string) string
		status int
	}{
		"the same key": {func(jkt string) string { return `,"cnf":{"jkt":"` + jkt + `"}` }, 200},
		"none":         {func(string) string { return `` }, 200},
		"its type":     {func(string) string { return `,"token_type":"DPoP"` }, 200},
		"another key":  {func(string) string { return `,"cnf":{"jkt":"` + strings.Repeat("A", 43) + `"}` }, 401},
		"certificate":  {func(string) string { return `,"cnf":{"x5t#S256":"x"}` }, 401},
	} {
		w, api := newOpaque(t, proving(gatehouse.DPoPRequired))
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
		key, raw := bound(w)
		onIntrospection(w, http.StatusOK, `{"active":true,"aud":"https://api.test"`+c.cnf(key.Thumbprint())+`}`)
		h := api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
		if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != c.status {
			t.Errorf("%s: %d, %s", name, a.Code, lastCause(w))
		}
		before := introspections(w)
		if a := deliver(h, withProof(key, raw, "GET", audience+"/", middlewaretest.ProofOld)); a.Code != 401 || introspections(w) != before {
			t.Errorf("%s, a bad proof: %d, %d introspections", name, a.Code, introspections(w)-before)
		}
	}
}

// A bound token is of use to its client alone, so it is not sent on.
func TestDPoPTokenIsNotSentOn(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w, proving(gatehouse.DPoPAllowed))
	var err error
	h := api.RequireToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err = api.HTTPClient(r.Context(), "https://files.test")
	}))
	key, raw := bound(w)
	if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != 200 || gatehouse.ErrorCode(err) != "token_bound" {
		t.Errorf("%d, %v", a.Code, err)
	}
	if send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); err != nil {
		t.Errorf("a token without a key: %v", err)
	}
}

// The metadata say what proofs may be signed with and whether they are needed
// (RFC 9728 §2).
func TestDPoPMetadata(t *testing.T) {
	w := newWorld(t)
	for use, want := range map[gatehouse.DPoPUse]string{
		gatehouse.DPoPOff:      ``,
		gatehouse.DPoPAllowed:  `,"dpop_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","RS256","RS384","RS512","PS256","PS384","PS512"]`,
		gatehouse.DPoPRequired: `,"dpop_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","RS256","RS384","RS512","PS256","PS384","PS512"],"dpop_bound_access_tokens_required":true`,
	} {
		api := newAPI(t, w, proving(use))
		a := send(api.MetadataHandler(), "GET", api.MetadataPath())
		if got := strings.TrimSpace(a.Body.String()); !strings.HasSuffix(got, `"bearer_methods_supported":["header"]`+want+`}`) {
			t.Errorf("use %d: %s", use, got)
		}
	}
}

// A config that cannot work is refused, field by field.
func TestDPoPConfig(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		config gatehouse.DPoPConfig
		header string
		want   string
	}{
		"no address":        {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed}, "", "DPoP.BaseURL: empty"},
		"http":              {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "http://api.test"}, "", "DPoP.BaseURL: URL is neither https nor http to a loopback host"},
		"no URL":            {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "api.test"}, "", "DPoP.BaseURL: not an absolute URL"},
		"a query":           {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "https://api.test?x=1"}, "", "DPoP.BaseURL: it has a query"},
		"a fragment":        {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "https://api.test#x"}, "", "DPoP.BaseURL: URL with a fragment"},
		"a user":            {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: "https://u:p@api.test"}, "", "DPoP.BaseURL: URL with user information"},
		"short key":         {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience, Keys: []gatehouse.Secret{gatehouse.NewSecret("short")}}, "", "DPoP.Keys[0]: it has 5 bytes, fewer than 32"},
		"a key twice":       {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience, Keys: nonceKeys("a", "a")}, "", "DPoP.Keys: "},
		"unknown use":       {gatehouse.DPoPConfig{Use: 7, BaseURL: audience}, "", "DPoP.Use: 7"},
		"off, with more":    {gatehouse.DPoPConfig{BaseURL: audience}, "", "DPoP.Use: DPoPOff, but"},
		"header of its own": {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience}, "X-Token", "DPoP.Use: on, but TokenHeader"},
		"nil store":         {gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience, Store: (*world.WatchedStore)(nil)}, "", "DPoP.Store: nil inside"},
	} {
		_, err := gatehouse.NewResourceServer(w.Provider(), gatehouse.ResourceServerConfig{Audience: []string{audience}, DPoP: c.config, TokenHeader: c.header})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := gatehouse.NewResourceServer(nil, gatehouse.ResourceServerConfig{DPoP: gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience}}); err == nil {
		t.Error("no provider, and no error")
	}
}

// Whatever comes in the two headers is answered with 400 or 401. Nothing of it
// comes back.
func TestDPoPHostileHeaders(t *testing.T) {
	w := newWorld(t)
	h := newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Keys = nonceKeys("a") })).RequireToken(world.WhoAmI)
	key, raw := bound(w)
	good := key.Proof("GET", audience+"/", raw)
	long := strings.Repeat("canary-", 9<<10)
	for _, authorization := range []string{"DPoP " + raw, "DPoP", "DPoP ", "DPoP  " + raw + " ", "DPoP\t" + raw, "DPoP " + raw + "," + raw, "DPoP canary-1", "DPoP " + long, "DPoP canary\x00", "DPoP é", "DPoP=" + raw} {
		for _, proof := range [][]string{nil, {""}, {good, good}, {good + "," + good}, {"canary-2"}, {long}, {"canary.\x00.\xff"}, {strings.Repeat(".", 8<<10)}, {strings.Repeat("A", 4<<10) + ".A.A"}, {"e30.e30.e30"}, {"W10.e30.e30"}} {
			r := httptest.NewRequest("GET", audience+"/", nil)
			r.Header["Authorization"], r.Header["Dpop"] = []string{authorization}, proof
			a := deliver(h, r)
			if (a.Code != 400 && a.Code != 401) || strings.Contains(a.Body.String()+fmt.Sprint(a.Header()), "canary") {
				t.Errorf("%.40q, %.40q: %d %.200q", authorization, proof, a.Code, a.Body)
			}
		}
	}
	if strings.Contains(w.Log(), "canary") {
		t.Error("the log shows what came")
	}
}

// A store of the application that panics is our trouble, and no pass.
func TestDPoPStorePanics(t *testing.T) {
	w := newWorld(t)
	store := world.Watch(gatehouse.NewMemoryStore(w.Now))
	store.Between(func(string, string) { panic(errors.New("store")) })
	h := newAPI(t, w, with(func(c *gatehouse.DPoPConfig) { c.Store = store })).RequireToken(world.WhoAmI)
	key, raw := bound(w)
	if a := deliver(h, withProof(key, raw, "GET", audience+"/")); a.Code != 500 {
		t.Errorf("%d %q", a.Code, a.Body)
	}
}

// The token endpoint of the kit binds tokens to the key of a proof, as clients
// get them (RFC 9449 §5).
func TestDPoPTokenOfTheKit(t *testing.T) {
	w, api := newOpaque(t, proving(gatehouse.DPoPRequired))
	for _, jwt := range []bool{true, false} {
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
		key := w.Kit.NewDPoPKey()
		obtain := func(proofs ...string) (int, map[string]any) {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {shop.ID}, "client_secret": {shop.Secret.Reveal()}}
			r := httptest.NewRequest("POST", w.Endpoint("token_endpoint"), strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, p := range proofs {
				r.Header.Add("DPoP", p)
			}
			a := deliver(w.Server, r)
			var m map[string]any
			w.Must(json.Unmarshal(a.Body.Bytes(), &m))
			return a.Code, m
		}
		endpoint := w.Endpoint("token_endpoint")
		status, answer := obtain(key.Proof("POST", endpoint, ""))
		raw, _ := answer["access_token"].(string)
		if status != 200 || answer["token_type"] != "DPoP" {
			t.Fatalf("%d %v", status, answer)
		}
		if a := deliver(api.RequireToken(world.WhoAmI), withProof(key, raw, "GET", audience+"/")); a.Body.String() != "served shop by token" {
			t.Errorf("JWT %v: %d %q, %s", jwt, a.Code, a.Body, lastCause(w))
		}
		if status, answer := obtain(); status != 200 || answer["token_type"] != "Bearer" {
			t.Errorf("without a proof: %d %v", status, answer)
		}
		for _, bad := range [][]string{{key.Proof("GET", endpoint, "")}, {key.Proof("POST", audience, "")}, {key.Proof("POST", endpoint, "", middlewaretest.ProofPrivateKey)},
			{key.Proof("POST", endpoint, "", middlewaretest.ProofOld)}, {"x"}, {key.Proof("POST", endpoint, ""), key.Proof("POST", endpoint, "")}} {
			if status, answer := obtain(bad...); status != 400 || answer["error"] != "invalid_dpop_proof" {
				t.Errorf("%.60q: %d %v", bad, status, answer)
			}
		}
	}
}
