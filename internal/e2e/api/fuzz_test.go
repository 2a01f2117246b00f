package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// shortLog is a log from which one takes what was written since the last time.
type shortLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *shortLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *shortLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// FuzzRequireToken: whatever arrives in Authorization or DPoP while the server
// answers, the request is served or refused as the client's mistake. Neither
// answer nor log shows the token.
func FuzzRequireToken(f *testing.F) {
	w := world.New(f, "https://op.test/realm")
	w.Must(w.AddUser("ana", "pass-word-of-ana", map[string]any{"sub": "ana-1"}))
	w.Must(w.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256", Audience: []string{audience}}))
	good, err := w.AccessToken("ana", shop.ID, "read")
	w.Must(err)
	key := w.Kit.NewDPoPKey()
	bound := w.Kit.BoundAccessToken(key, "ana", shop, "read")
	proof := key.Proof("GET", audience+"/notes", bound)
	var log shortLog
	quiet := func(c *gatehouse.ProviderConfig) { // nothing that grows with each input
		c.Transport, c.Events, c.Logger = w.Kit.Transport(), nil, slog.New(slog.NewTextHandler(&log, nil))
	}
	var apis []http.Handler
	for _, c := range []gatehouse.ResourceServerConfig{
		{}, {Client: shop, TokenTypes: []string{"JWT", ""}}, {DPoP: gatehouse.DPoPConfig{Use: gatehouse.DPoPAllowed, BaseURL: audience}},
		{Client: shop, DPoP: gatehouse.DPoPConfig{Use: gatehouse.DPoPRequired, BaseURL: audience}}, {Schemes: []string{"token"}}, {TokenHeader: "X-Token"},
	} {
		c.Audience = []string{audience}
		api, err := gatehouse.NewResourceServer(w.Provider(quiet), c)
		w.Must(err)
		apis = append(apis, api.RequireToken(world.WhoAmI), gatehouse.Require(gatehouse.ByIssuer(api.With(gatehouse.Scopes("read"), gatehouse.MaxAge(time.Hour))))(world.WhoAmI))
	}
	sum := sha256.Sum256([]byte("seed"))
	parts := strings.Split(good, ".")
	for _, authorization := range []string{
		"", "Bearer", "Bearer ", "bearer " + good, "DPoP " + bound, "DPoP " + good, "Bearer " + bound, "Basic YTpi", "Bearer " + good + ", Bearer " + good, "token " + good, good,
		"Bearer " + parts[0] + "." + parts[1] + ".", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ijw-In0.e30." + b64.EncodeToString(append(sum[:], sum[:]...)),
		"Bearer a.b.c", "Bearer " + strings.Repeat("A", 43), "Bearer \x00", "Bearer\t" + good, "Bearer é", "DPoP ", "Digest username=\"x\"", strings.Repeat("Bearer ", 100), "Bearer " + strings.Repeat(".", 100),
	} {
		f.Add(authorization, proof)
		f.Add(authorization, "")
	}
	f.Add("DPoP "+bound, "a.b.c")
	f.Add("DPoP "+bound, proof+proof)
	f.Add("DPoP "+bound, proof+", "+proof)
	f.Fuzz(func(t *testing.T, authorization, dpop string) {
		for i, h := range apis {
			r := httptest.NewRequest("GET", audience+"/notes", nil)
			r.Header["Authorization"] = []string{authorization}
			r.Header["X-Token"] = []string{authorization}
			if dpop != "" {
				r.Header["Dpop"] = []string{dpop}
			}
			a := httptest.NewRecorder()
			_ = log.take()
			h.ServeHTTP(a, r)
			switch a.Code {
			case 200:
				if !strings.Contains(authorization, good) && !strings.Contains(authorization, bound) {
					t.Errorf("API %d lets in %q with %q", i, authorization, dpop)
				}
			case 400, 401, 403:
				if a.Code != 403 && a.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("API %d: %d without a challenge", i, a.Code)
				}
			default:
				t.Errorf("API %d answers %d %q to %q with %q", i, a.Code, a.Body, authorization, dpop)
			}
			said := a.Body.String() + fmt.Sprint(a.Header()) + log.take()
			for _, secret := range append(strings.Fields(authorization), strings.Fields(dpop)...) {
				if len(secret) >= 24 && strings.Contains(said, secret) {
					t.Errorf("API %d shows %q", i, secret)
				}
			}
		}
	})
}

// FuzzOpaqueAnswer: whatever a server answers about an opaque token, the request
// is served only if the answer, read by other means, says that the token is
// active for this API now. Anything else is refused, or is trouble of the server.
func FuzzOpaqueAnswer(f *testing.F) {
	const rest = `"aud":"https://api.test","sub":"u1","client_id":"shop","scope":"read"`
	for _, body := range []string{
		`{"active":true,` + rest + `}`, `{"active":false}`, `{}`, ``, `null`, `[]`, `"true"`, `{"active":"true",` + rest + `}`, `{"active":true,"active":false,` + rest + `}`,
		`{"active": true ,` + rest + `,"exp":1777636801,"nbf":1777636800,"iat":1777636800}`, `{"active":true,` + rest + `,"exp":1777636800}`, `{"active":true,` + rest + `,"exp":1e400}`,
		`{"active":true,"aud":["x","https://api.test"]}`, `{"active":true,"aud":["x"]}`, `{"active":true,"aud":{"https://api.test":1}}`, `{"active":true,` + rest + `,"iss":"https://evil.test"}`,
		`{"active":true,` + rest + `,"cnf":{"jkt":"x"}}`, `{"active":true,` + rest + `,"permissions":[{"resource_id":"r","resource_scopes":["read"]}]}`, `{"active":true,` + rest + `,"acr":"2","auth_time":1777636800}`,
		`{"active":true,` + rest + `,"token_type":"DPoP"}`, `{"active":true,` + rest + `,"scope":["read"]}`, "\ufeff{\"active\":true," + rest + "}", `{"active":true,` + rest + `}{}`, "{\"active\":true,\"x\":\"\xff\"," + rest + "}",
	} {
		f.Add(body, uint16(200))
	}
	f.Add(`{"active":true,`+rest+`}`, uint16(500))
	f.Add(`{"active":true,`+rest+`}`, uint16(401))
	w := world.New(f, "https://op.test/realm")
	w.Must(w.AddClient(opserver.Client{ID: shop.ID, Secret: shop.Secret.Reveal()}))
	server := w.Kit.Transport()
	var body string
	var status int
	wire := roundTrip(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(w.Endpoint("introspection_endpoint"), r.URL.Path) {
			return server.RoundTrip(r)
		}
		return world.Answer(r, status, body), nil
	})
	var log shortLog
	provider := w.Provider(func(c *gatehouse.ProviderConfig) {
		c.Transport, c.Events, c.Logger = wire, nil, slog.New(slog.NewTextHandler(&log, nil))
	})
	api, err := gatehouse.NewResourceServer(provider, gatehouse.ResourceServerConfig{Client: shop, Audience: []string{audience}})
	w.Must(err)
	h := api.RequireToken(world.WhoAmI)
	n := 0
	f.Fuzz(func(t *testing.T, text string, code uint16) {
		n++
		body, status = text, 200+int(code)%400
		token := fmt.Sprintf("opaque-token-number-%08d", n)
		a := send(h, "GET", "/", "Bearer "+token)
		switch a.Code {
		case 200:
			if status != 200 || !saysActive(text, w.Now()) {
				t.Errorf("served after %d %q", status, text)
			}
		case 401, 503:
		default:
			t.Errorf("%d %q after %d %q", a.Code, a.Body, status, text)
		}
		if strings.Contains(a.Body.String()+fmt.Sprint(a.Header())+log.take(), token) {
			t.Errorf("the token shows after %d %q", status, text)
		}
	})
}

// saysActive reads an introspection answer with encoding/json.
func saysActive(text string, now time.Time) bool {
	var m map[string]any
	if json.Unmarshal([]byte(text), &m) != nil || m["active"] != true || m["cnf"] != nil || m["permissions"] != nil || m["iss"] != nil && m["iss"] != "https://op.test/realm" {
		return false
	}
	if exp, ok := m["exp"].(float64); m["exp"] != nil && (!ok || exp <= float64(now.Unix())) {
		return false
	}
	if list, ok := m["aud"].([]any); ok {
		return slices.Contains(list, any(audience))
	}
	return m["aud"] == audience
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
