package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// FA3: a server that is silent, for keys or for a look-up. Tokens with known keys
// pass at once; the others get 503 with Retry-After within their budget.
func TestFA3_RequireTokenWhileTheServerIsSilent(t *testing.T) { synctest.Test(t, testSilence) }

func testSilence(t *testing.T) {
	f := newForger(t)
	f.Must(f.AddClient(opserver.Client{ID: "api", Secret: "api-secret-1234567"}))
	asks := func(c *gatehouse.ResourceServerConfig) {
		c.Client = gatehouse.Client{ID: "api", Secret: gatehouse.NewSecret("api-secret-1234567")}
	}
	warm := newAPI(t, f.World, asks)
	opaque := warm.RequireToken(world.WhoAmI)
	f.Must(f.SetAccessTokens(opserver.AccessTokenOptions{Audience: []string{audience}}))
	known := accessToken(t, f.World, "ana")
	for _, raw := range []string{known, f.good()} {
		if a := send(opaque, "GET", "/", "Bearer "+raw); a.Code != 200 {
			t.Fatalf("%d, %s", a.Code, lastCause(f.World))
		}
	}
	f.Break(opserver.AuthorizationServerHangs)
	within := func(h http.Handler, raw string, status int, limit time.Duration) {
		t.Helper()
		begin := time.Now()
		a := send(h, "GET", "/", "Bearer "+raw)
		if took := time.Since(begin); a.Code != status || took > limit || (status == 503) != (a.Header().Get("Retry-After") != "") {
			t.Errorf("%d after %v, %v; want %d within %v", a.Code, took, a.Header(), status, limit)
		}
		if status == 503 && a.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("a challenge: %v", a.Header())
		}
	}
	within(f.h, f.good(), 200, 0)
	within(opaque, f.good(`"jti":"new"`), 200, 0)
	within(opaque, known, 200, 0)
	within(opaque, "never-seen-before", 503, 2*time.Second)
	within(warm.With(gatehouse.NotRevoked()).RequireToken(world.WhoAmI), f.good(), 503, 2*time.Second)
	within(f.h, token(`{"alg":"ES256","typ":"at+jwt","kid":"k9"}`, f.claims(), byEC(f.ec)), 503, 2*time.Second)
	within(newAPI(t, f.World).RequireToken(world.WhoAmI), f.good(), 503, 2*time.Second) // cold
	f.Mend(opserver.AuthorizationServerHangs)
	f.Break(opserver.AuthorizationServerHangs, opserver.EndpointJWKS)
	within(newAPI(t, f.World).RequireToken(world.WhoAmI), f.good(), 503, 2*time.Second) // cold, but for the metadata
	if cause := lastCause(f.World); !strings.Contains(cause, "no keys in time from https://op.test") {
		t.Error(cause)
	}
	f.Mend(opserver.AuthorizationServerHangs)
	synctest.Wait()
}

// RL4: strangers who make up opaque tokens, all at once, take so many look-ups at
// a time and no more. Who gets none is told to come again, and a token that was
// active before passes.
func TestRL4_MadeUpOpaqueTokens(t *testing.T) {
	w, api := newOpaque(t, func(c *gatehouse.ResourceServerConfig) { c.MaxTokenCalls = 4 })
	h := api.RequireToken(world.WhoAmI)
	known := accessToken(t, w, "ana")
	if a := send(h, "GET", "/", "Bearer "+known); a.Code != 200 {
		t.Fatalf("%d, %s", a.Code, lastCause(w))
	}
	free := make(chan struct{})
	arrived := make(chan struct{}, 200)
	w.OnRequest(opserver.EndpointIntrospect, func(*http.Request) {
		arrived <- struct{}{}
		<-free
	})
	first := make(chan int, 4)
	for i := range 4 {
		go func() { first <- send(h, "GET", "/", fmt.Sprint("Bearer made-up-", i)).Code }()
	}
	for range 4 {
		<-arrived
	}
	for i := range 100 {
		a := send(h, "GET", "/", fmt.Sprint("Bearer made-up-too-", i))
		if a.Code != 503 || a.Header().Get("Retry-After") == "" || a.Header().Get("WWW-Authenticate") != "" {
			t.Fatalf("%d %v", a.Code, a.Header())
		}
	}
	if a := send(h, "GET", "/", "Bearer "+known); a.Code != 200 {
		t.Errorf("a token that is known: %d", a.Code)
	}
	if n := len(arrived); n != 0 {
		t.Errorf("%d look-ups too many", n)
	}
	close(free)
	for range 4 {
		if code := <-first; code != 401 {
			t.Errorf("a made-up token: %d", code)
		}
	}
	before := introspections(w)
	for range 50 {
		send(h, "GET", "/", "Bearer made-up-0")
	}
	if n := introspections(w) - before; n > 0 {
		t.Errorf("%d look-ups of a token that was just found to be none", n)
	}
}

// IN5: a token that was revoked is refused within CacheTTL, and none is used past
// its exp.
func TestIN5_OpaqueTokenRevoked(t *testing.T) {
	w, api := newOpaque(t, func(c *gatehouse.ResourceServerConfig) { c.CacheTTL = 30 * time.Second })
	h := api.RequireToken(world.WhoAmI)
	raw := accessToken(t, w, "ana")
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		t.Fatalf("%d, %s", a.Code, lastCause(w))
	}
	w.RevokeGrants("ana")
	w.Advance(30 * time.Second)
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 401 {
		t.Errorf("revoked: %d", a.Code)
	}
	w.SetTokenLifetime(20 * time.Second)
	raw = accessToken(t, w, "ana")
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 200 {
		t.Fatalf("%d, %s", a.Code, lastCause(w))
	}
	before := introspections(w)
	w.Advance(20 * time.Second)
	if a := send(h, "GET", "/", "Bearer "+raw); a.Code != 401 || introspections(w) != before+1 {
		t.Errorf("expired: %d, %d look-ups", a.Code, introspections(w)-before)
	}
}

// IN8: a look-up is a POST with the token in its body and our own authentication.
// An answer that is of no use is 503, and the log has the cause but not the body.
func TestIN8_OpaqueTokenWire(t *testing.T) {
	const marker, raw = "MARKER-of-the-body", "opaque-token-of-somebody"
	for name, c := range map[string]struct {
		status int
		body   string
		cause  string
	}{
		"401":           {401, `{"error":"invalid_client","error_description":"` + marker + `"}`, "invalid_client"},
		"403":           {403, marker, "403"},
		"a page":        {200, "<html>" + marker, "introspection"},
		"2 MiB":         {200, `{"active":true,"x":"` + strings.Repeat("a", 2<<20) + marker + `"}`, "256 KiB"},
		"500":           {500, marker, "500"},
		"nothing":       {200, "", "introspection"},
		"a list":        {200, `[{"active":true}]`, "introspection"},
		"active twice":  {200, `{"active":false,"active":true,"aud":"` + audience + `"}`, "introspection"},
		"a name twice":  {200, `{"active":true,"aud":"` + audience + `","aud":"x"}`, "introspection"},
		"not UTF-8":     {200, "{\"active\":true,\"x\":\"\xff\"}", "introspection"},
		"two documents": {200, `{"active":true,"aud":"` + audience + `"}{}`, "introspection"},
	} {
		t.Run(name, func(t *testing.T) {
			w, api := newOpaque(t)
			w.Mint("the body", marker)
			w.Mint("token", raw)
			onIntrospection(w, c.status, c.body)
			a := send(api.RequireToken(world.WhoAmI), "GET", "/", "Bearer "+raw)
			if a.Code != 503 || a.Header().Get("WWW-Authenticate") != "" || !strings.Contains(lastCause(w), c.cause) {
				t.Errorf("%d %v, %s", a.Code, a.Header(), lastCause(w))
			}
			calls := w.CallsTo("introspection_endpoint")
			if len(calls) == 0 || len(calls) > 3 { // as our client, and with a token of ours twice
				t.Fatalf("%d look-ups", len(calls))
			}
			call := calls[0]
			if call.Method != http.MethodPost || call.Form.Get("token") != raw || call.Form.Get("token_type_hint") != "access_token" ||
				call.Auth != "Basic "+base64.StdEncoding.EncodeToString([]byte("api:api-secret-1234567")) {
				t.Errorf("asked with %s %v", call.Method, call.Form)
			}
		})
	}
}

// IN1: only a server that calls the token active now lets anybody in.
func TestIN1_OpaqueTokenIsActive(t *testing.T) {
	w, api := newOpaque(t)
	h := api.RequireToken(world.WhoAmI)
	for i, answer := range []string{
		`{"active":false}`, `{}`, `{"active":"true"}`, `{"active":1}`, `{"active":null}`, `{"active":[true]}`, `{"active":{"x":true}}`, `{"Active":true}`, `{"active":true}`,
		`{"active":false,"ACTIVE":true,"aud":"https://api.test"}`, `{"active":true,"aud":"https://api.test","exp":1}`, `{"active":true,"aud":"https://api.test","exp":"9999999999"}`,
		`{"active":true,"aud":"https://api.test","nbf":9999999999}`, `{"active":true,"aud":"https://api.test","exp":1e400}`, `{"active":true,"aud":"https://api.test","exp":-5}`,
		`{"active":true,"aud":"https://api.test","iss":"https://evil.test"}`, `{"active":true,"aud":"https://api.test","iss":["https://op.test/realm"]}`, `{"active":true,"aud":null}`,
		`{"active":true,"aud":["x"]}`, `{"active":true,"aud":{"https://api.test":1}}`, `{"active":true,"AUD":"https://api.test"}`, `{"active":true,"aud":"api"}`,
	} {
		onIntrospection(w, http.StatusOK, answer)
		if a := send(h, "GET", "/", fmt.Sprintf("Bearer opaque-%d", i)); a.Code != 401 || a.Header().Get("WWW-Authenticate") != `Bearer realm="api.test", error="invalid_token"`+metadata {
			t.Errorf("%s: %d %v", answer, a.Code, a.Header())
		}
	}
	onIntrospection(w, http.StatusOK, `{"active":true,"aud":["x","https://api.test"],"exp":9999999999}`)
	if a := send(h, "GET", "/", "Bearer opaque"); a.Code != 200 {
		t.Errorf("%d, %s", a.Code, lastCause(w))
	}
}
