package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// newOpaque is a provider whose access tokens only it can read, and an API that
// may ask about them.
func newOpaque(t *testing.T, change ...func(*gatehouse.ResourceServerConfig)) (*world.World, *gatehouse.ResourceServer) {
	t.Helper()
	w := newWorld(t)
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{Audience: []string{audience}}))
	w.Must(w.AddClient(opserver.Client{ID: "api", Secret: "api-secret-1234567"}))
	change = append([]func(*gatehouse.ResourceServerConfig){func(c *gatehouse.ResourceServerConfig) {
		c.Client = gatehouse.Client{ID: "api", Secret: gatehouse.NewSecret("api-secret-1234567")}
	}}, change...)
	return w, newAPI(t, w, change...)
}

func introspections(w *world.World) int { return len(w.CallsTo("introspection_endpoint")) }

// onIntrospection answers every introspection.
func onIntrospection(w *world.World, status int, body string) {
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(w.Endpoint("introspection_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})
}

func TestOpaqueToken(t *testing.T) {
	w, api := newOpaque(t)
	h := api.With(gatehouse.Scopes("notes:read")).RequireToken(world.WhoAmI)
	raw := accessToken(t, w, "ana", "notes:read", "notes:write")
	for range 3 {
		if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 || a.Body.String() != "served ana-1 by token" {
			t.Fatalf("%d %q", a.Code, a.Body)
		}
	}
	if n := introspections(w); n != 1 {
		t.Errorf("%d introspections, want one", n)
	}
	if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 403 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test", error="insufficient_scope", scope="notes:read"`+metadata {
		t.Errorf("without a scope: %d %v", a.Code, a.Header())
	}
	w.Advance(11 * time.Second)
	if send(h, "GET", "/", "Bearer "+raw); introspections(w) != 3 {
		t.Errorf("%d introspections after CacheTTL", introspections(w))
	}
}

// A public client cannot ask, so a token that is no JWT is no token.
func TestOpaqueTokenAndAPublicClient(t *testing.T) {
	w, _ := newOpaque(t)
	api := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Client = gatehouse.Client{ID: "api"} })
	before := len(w.Calls())
	if a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque"); a.Code != 401 || len(w.Calls()) != before || !strings.Contains(lastCause(w), "Client with a Secret") {
		t.Errorf("%d %s, %d calls %v", a.Code, lastCause(w), len(w.Calls())-before, w.Calls()[before:])
	}
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "With: NotRevoked needs ResourceServerConfig.Client") {
			t.Errorf("panic %q", got)
		}
	}()
	api.With(gatehouse.NotRevoked())
}

// Most servers have no UMA: what is asked about an access token needs only the
// OpenID document, or that of RFC 8414.
func TestOpaqueTokenWithoutUMA(t *testing.T) {
	for _, here := range []string{"openid-configuration", "oauth-authorization-server"} {
		t.Run(here, func(t *testing.T) {
			w, api := newOpaque(t)
			document := map[string]any{}
			w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				_, name, found := strings.Cut(r.URL.Path, "/.well-known/")
				if !found {
					return next(r), nil
				}
				name, _, _ = strings.Cut(name, "/")
				document[name] = true
				if name == here && here == "oauth-authorization-server" {
					r.URL.Path = "/realm/.well-known/openid-configuration" // the kit has no such document
				} else if name != here {
					return &http.Response{StatusCode: 404, Body: http.NoBody, Request: r}, nil
				}
				return next(r), nil
			})
			raw := accessToken(t, w, "ana")
			for _, h := range []http.Handler{api.RequireToken(world.WhoAmI), api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)} {
				if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 || a.Body.String() != "served ana-1 by token" {
					t.Errorf("%d %s", a.Code, a.Body)
				}
			}
			if document["uma2-configuration"] != nil {
				t.Error("uma2-configuration was asked for")
			}
		})
	}
}

// What the server does not call active for this API is no good, and the log says
// why.
func TestOpaqueTokenRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string // in the cause; "" if the token is good
	}{
		"good":                    {`{"active":true,"aud":"https://api.test","sub":"u1"}`, ""},
		"one audience of several": {`{"active":true,"aud":["other","https://api.test"]}`, ""},
		"IN1: inactive":           {`{"active":false}`, "not active"},
		"IN1: active is missing":  {`{}`, "not active"},
		"IN1: active is a text":   {`{"active":"true","aud":"https://api.test"}`, "not active"},
		"IN1: active is a number": {`{"active":1,"aud":"https://api.test"}`, "not active"},
		"IN1: expired":            {`{"active":true,"aud":"https://api.test","exp":1777636799}`, "expired"},
		"another issuer":          {`{"active":true,"aud":"https://api.test","iss":"https://evil.test"}`, "another issuer"},
		"no audience":             {`{"active":true}`, "audience"},
		"another audience":        {`{"active":true,"aud":"https://other.test"}`, "audience"},
		"our client as audience":  {`{"active":true,"aud":"api"}`, "audience"},
		"token_type":              {`{"active":true,"aud":"https://api.test","token_type":"bearer"}`, ""},
		"access token of Hydra":   {`{"active":true,"aud":"https://api.test","token_type":"Bearer","token_use":"access_token"}`, ""},
		"refresh token of Hydra":  {`{"active":true,"aud":"https://api.test","token_use":"refresh_token"}`, "refresh_token"},
		"refresh token":           {`{"active":true,"aud":"https://api.test","token_type":"refresh_token"}`, "refresh_token"},
		"refresh of Keycloak":     {`{"active":true,"aud":"https://api.test","typ":"Refresh"}`, "Refresh"},
		"ID Token of Keycloak":    {`{"active":true,"aud":"https://api.test","typ":"ID"}`, "ID"},
		"token_type is no text":   {`{"active":true,"aud":"https://api.test","token_type":1}`, "no access token"},
		"permission token":        {`{"active":true,"aud":"https://api.test","permissions":[]}`, "requesting party token"},
		"bound to a key":          {`{"active":true,"aud":"https://api.test","cnf":{"jkt":"x"}}`, "bound"},
	} {
		t.Run(name, func(t *testing.T) {
			w, api := newOpaque(t)
			onIntrospection(w, http.StatusOK, c.answer)
			a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque-token")
			if c.want == "" {
				if a.Code != 200 {
					t.Errorf("%d %q", a.Code, a.Body)
				}
				return
			}
			events := w.Events()
			last := events[len(events)-1]
			if a.Code != 401 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test", error="invalid_token"`+metadata || !strings.Contains(fmt.Sprint(last.Err), c.want) {
				t.Errorf("%d %v, %v; want %q", a.Code, a.Header(), last.Err, c.want)
			}
		})
	}
}

// The settings for JWTs hold for opaque tokens too.
func TestOpaqueTokenByItsSettings(t *testing.T) {
	claims := func(c *gatehouse.ResourceServerConfig) {
		c.ScopeClaim, c.SubjectClaims = "perm", []string{"username", "globalid"}
	}
	for name, c := range map[string]struct {
		change func(*gatehouse.ResourceServerConfig)
		answer string
		want   string // of the subject and scopes
	}{
		"scope":                 {nil, `"sub":"u1","scope":" a  b ","scp":"c"`, "u1 [a b]"},
		"scope as a list":       {nil, `"sub":"u1","scope":["a","b"]`, "u1 [a b]"},
		"scp":                   {nil, `"sub":"u1","scp":["a","b"]`, "u1 [a b]"},
		"scope of another kind": {nil, `"sub":"u1","scope":7,"scp":"a"`, "u1 []"},
		"named":                 {claims, `"sub":"u1","username":"ana","perm":"a b","scope":"c"`, "ana [a b]"},
		"second name":           {claims, `"sub":"u1","username":null,"globalid":"g7","perm":["a"]`, "g7 [a]"},
		"none of the names":     {claims, `"sub":"u1","scope":"c"`, " []"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newOpaque(t)
			onIntrospection(w, http.StatusOK, `{"active":true,"aud":"https://api.test",`+c.answer+`}`)
			api := newAPI(t, w, func(s *gatehouse.ResourceServerConfig) {
				if s.Client = shop; c.change != nil {
					c.change(s)
				}
			})
			a := send(api.RequireToken(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				id := gatehouse.IdentityFrom(r.Context())
				fmt.Fprint(rw, id.Subject, " ", id.Scopes)
			})), "GET", "/", "Bearer opaque-token")
			if a.Body.String() != c.want {
				t.Errorf("%d %q, want %q", a.Code, a.Body, c.want)
			}
		})
	}
}

// IN2, IN8: a server that is away or answers nonsense says nothing about a token.
func TestIN2_OpaqueTokenWithoutAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"down":       {500, ``},
		"page":       {200, `<html>`},
		"our secret": {401, `{"error":"invalid_client"}`},
		"2 MiB":      {200, `{"active":true,"x":"` + strings.Repeat("a", 2<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w, api := newOpaque(t)
			onIntrospection(w, c.status, c.body)
			a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque-token")
			if a.Code != 503 || a.Header().Get("WWW-Authenticate") != "" || (a.Header().Get("Retry-After") == "") != (c.status == 401) {
				t.Errorf("%d %v", a.Code, a.Header())
			}
		})
	}
}

// NotRevoked asks at each request. It counts no answer to a question that was
// asked before.
func TestNotRevoked(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		t.Run(fmt.Sprintf("JWT %v", jwt), func(t *testing.T) {
			w, api := newOpaque(t)
			w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
			h := api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
			raw := accessToken(t, w, "ana")
			for i := range 3 {
				if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 || introspections(w) != i+1 {
					t.Fatalf("%d %q, %d introspections", a.Code, a.Body, introspections(w))
				}
			}
			w.RevokeGrants("ana")
			if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 401 {
				t.Errorf("after it was revoked: %d %q", a.Code, a.Body)
			}
		})
	}
	w, api := newOpaque(t)
	for what, wire := range map[string]func(){
		"With: NotRevoked needs ResourceServerConfig.Client, which asks the authorization server": func() { newAPI(t, w).With(gatehouse.NotRevoked()) },
		"With: NotRevoked is for access tokens; a session ends with Sessions.Revoke":              func() { world.NewSite(t).Replicas[0].Login.With(gatehouse.NotRevoked()) },
		"With: the Requirement is the zero value, which requires nothing":                         func() { api.With(gatehouse.Requirement{}) },
		"With: OwnerGrant is for pages: it sends a person to the authorization server":            func() { api.With(gatehouse.OwnerGrant()) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != "gatehouse: "+what {
					t.Errorf("panic %q, want %q", got, what)
				}
			}()
			wire()
		}()
	}
}

// Sixty-four requests with one token make one call.
func TestOpaqueTokenAskedOnce(t *testing.T) {
	w, api := newOpaque(t)
	h := api.RequireToken(world.WhoAmI)
	raw := accessToken(t, w, "ana")
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
				t.Errorf("%d %q", a.Code, a.Body)
			}
		})
	}
	all.Wait()
	if n := introspections(w); n != 1 {
		t.Errorf("%d introspections, want one", n)
	}
}

// Among several issuers an opaque token goes to the one that may ask about it,
// wherever it stands.
func TestByIssuerOpaqueToken(t *testing.T) {
	w, asking := newOpaque(t)
	other, err := gatehouse.NewResourceServer(w.ProviderOf("https://other.test"), gatehouse.ResourceServerConfig{Audience: []string{audience}})
	w.Must(err)
	for name, apis := range map[string][]*gatehouse.ResourceServer{"first": {asking, other}, "second": {other, asking}} {
		h := gatehouse.Require(gatehouse.ByIssuer(apis...))(world.WhoAmI)
		if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Body.String() != "served ana-1 by token" {
			t.Errorf("%s: %d %q", name, a.Code, a.Body)
		}
	}
	second, err := gatehouse.NewResourceServer(w.ProviderOf("https://other.test"), gatehouse.ResourceServerConfig{Audience: []string{audience}, Client: shop})
	w.Must(err)
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "ByIssuer: two resource servers have a Client") {
			t.Errorf("panic %q", got)
		}
	}()
	gatehouse.ByIssuer(asking, second)
}

// What a handler does to the scopes of its request reaches no other request.
func TestScopesOfARequestAreItsOwn(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		w, api := newOpaque(t)
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
		raw := accessToken(t, w, "ana", "read")
		h := api.RequireToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			scopes := gatehouse.IdentityFrom(r.Context()).Scopes
			if scopes[0] != "read" {
				t.Errorf("JWT %v: scopes %q", jwt, scopes)
			}
			scopes[0] = "admin"
		}))
		for range 2 {
			send(h, "GET", "/", "Bearer "+raw)
		}
		if a := send(api.With(gatehouse.Scopes("admin")).RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw); a.Code != 403 {
			t.Errorf("JWT %v: %d", jwt, a.Code)
		}
	}
}

// InsecureAnyAudience is for servers whose answers have no aud, or that of
// something else.
func TestOpaqueTokenForAnyAudience(t *testing.T) {
	for _, answer := range []string{`{"active":true,"aud":"https://other.test","sub":"u1"}`, `{"active":true,"sub":"u1"}`, `{"active":true,"aud":["a","b"],"sub":"u1"}`} {
		w, _ := newOpaque(t)
		onIntrospection(w, http.StatusOK, answer)
		api := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.Client, c.Audience, c.InsecureAnyAudience = shop, nil, true })
		for name, one := range map[string]*gatehouse.ResourceServer{"remembered": api, "asked now": api.With(gatehouse.NotRevoked())} {
			if a := send(one.RequireToken(world.WhoAmI), "GET", "/", "Bearer opaque-token"); a.Body.String() != "served u1 by token" {
				t.Errorf("%s, %s: %d %s", answer, name, a.Code, lastCause(w))
			}
		}
	}
}

// A token is a JWT if its first part is a JSON object. Others have dots too, and
// a JWT that is no good is not shown to the server as something else.
func TestOpaqueTokenWithDots(t *testing.T) {
	w, api := newOpaque(t)
	onIntrospection(w, http.StatusOK, `{"active":true,"aud":"https://api.test","sub":"u1"}`)
	h := api.RequireToken(world.WhoAmI)
	for raw, status := range map[string]int{
		"v4.public.aGVsbG8": 200, "abc.def.ghi": 200, "a.b": 200, "a.b.c.d": 200, "MTIz.e30.c2ln": 200, "W10.e30.c2ln": 200,
		"e30.e30.c2ln": 401, "eyJhbGciOiJub25lIn0.e30.c2ln": 401, "IHt9.e30.c2ln": 401, "eyJh.e30.c2ln": 401,
		"eyJhbGciOiJub25lIn0.e30.": 401, "e30..c2ln": 401, "e30..": 401, "e30.e30.c2ln=": 401, "e30.e30.c2+n": 401, "eyJhbGciOiJub25lIn0.e30": 200, "e30": 200,
		"eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..A.A.A": 401, "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkExMjhHQ00ifQ.A.A.A.A": 401, // encrypted
	} {
		before := introspections(w)
		if a := send(h, "GET", "/", "Bearer "+raw); a.Code != status || (introspections(w) > before) != (status == 200) {
			t.Errorf("%s: %d, %d look-ups", raw, a.Code, introspections(w)-before)
		}
	}
}

// What an answer to NotRevoked says holds at once for all routes, and a token
// that was active is looked up however many strangers wait.
func TestNotRevokedBesideOthers(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		w, api := newOpaque(t, func(c *gatehouse.ResourceServerConfig) { c.MaxTokenCalls, c.CacheTTL = 1, 30*time.Second })
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
		plain, fresh := api.RequireToken(world.WhoAmI), api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
		raw := accessToken(t, w, "ana")
		if a := send(fresh, "GET", "/", "Bearer "+raw); a.Code != 200 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
		arrived, free, done := make(chan struct{}), make(chan struct{}), make(chan int)
		var others atomic.Bool
		w.OnRequest(opserver.EndpointIntrospect, func(*http.Request) {
			if !others.Swap(true) {
				close(arrived)
				<-free
			}
		})
		go func() { done <- send(fresh, "GET", "/", "Bearer made-up").Code }()
		<-arrived
		if a := send(fresh, "GET", "/", "Bearer "+raw); a.Code != 200 {
			t.Errorf("JWT %v: while a stranger's token is looked up: %d", jwt, a.Code)
		}
		close(free)
		if code := <-done; code != 401 {
			t.Errorf("a made-up token: %d", code)
		}
		send(plain, "GET", "/", "Bearer "+raw)
		w.RevokeGrants("ana")
		for _, c := range []struct {
			h      http.Handler
			status int
		}{{plain, 200}, {fresh, 401}, {plain, map[bool]int{true: 200, false: 401}[jwt]}} {
			if a := send(c.h, "GET", "/", "Bearer "+raw); a.Code != c.status {
				t.Errorf("JWT %v, revoked: %d, want %d", jwt, a.Code, c.status)
			}
		}
	}
}

// NotRevoked joins no call that began before: its answer may be older than the
// end of the token.
func TestNotRevokedJoinsNoCall(t *testing.T) {
	for _, jwt := range []bool{false, true} {
		w, api := newOpaque(t)
		w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: jwt, Algorithm: "ES256", Audience: []string{audience}}))
		plain, fresh := api.RequireToken(world.WhoAmI), api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
		raw := accessToken(t, w, "ana")
		arrived, free, done := make(chan struct{}, 2), make(chan struct{}), make(chan int, 2)
		held := 1
		if !jwt {
			held = 2 // the plain route asks too
		}
		var calls atomic.Int32
		w.OnRequest(opserver.EndpointIntrospect, func(*http.Request) {
			if int(calls.Add(1)) <= held {
				arrived <- struct{}{}
				<-free
			}
		})
		if !jwt {
			go func() { done <- send(plain, "GET", "/", "Bearer "+raw).Code }()
		}
		go func() { done <- send(fresh, "GET", "/", "Bearer "+raw).Code }()
		for range held {
			<-arrived
		}
		w.RevokeGrants("ana")
		if a := send(fresh, "GET", "/", "Bearer "+raw); a.Code != 401 || int(calls.Load()) != held+1 {
			t.Errorf("JWT %v: %d, %d look-ups", jwt, a.Code, calls.Load())
		}
		close(free)
		for range held {
			<-done
		}
	}
}

// The answer about a JWT may leave aud out, because the token has it. It must not
// contradict the token.
func TestNotRevokedJWTWithoutAudience(t *testing.T) {
	w, api := newOpaque(t)
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	raw := accessToken(t, w, "ana")
	h := api.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI)
	for answer, status := range map[string]int{
		`{"active":true}`: 200, `{"active":true,"aud":"https://api.test"}`: 200, `{"active":true,"aud":"https://other.test"}`: 401,
		`{"active":true,"aud":"api"}`: 401, `{"active":true,"permissions":[]}`: 401, `{"active":true,"typ":"Refresh"}`: 401, `{}`: 401,
	} {
		onIntrospection(w, http.StatusOK, answer)
		if a := send(h, "GET", "/", "Bearer "+raw); a.Code != status {
			t.Errorf("%s: %d", answer, a.Code)
		}
	}
}
