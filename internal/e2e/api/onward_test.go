package api_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// serviceTokens counts the tokens that the service obtained for itself.
func serviceTokens(w *world.World) int { return w.CountToken("client_credentials") }

// A service calls another API with its own token, which is obtained once and
// renewed before it expires.
func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w)
	w.Serve(audience, api.With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI))
	provider := w.Provider()
	own, err := provider.ClientCredentials(shop, "read")
	w.Must(err)
	client, err := own.HTTPClient(w.Transport(), audience)
	w.Must(err)
	get := func() {
		t.Helper()
		resp, err := client.Get(audience + "/notes")
		w.Must(err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		w.Must(err)
		if string(body) != "served shop by token" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(get)
	}
	all.Wait()
	if n := serviceTokens(w); n != 1 {
		t.Errorf("%d tokens, want one", n)
	}
	var source oauth2.TokenSource = own
	token, err := source.Token()
	w.Must(err)
	if !token.Expiry.Equal(w.Now().Add(5*time.Minute)) || token.TokenType != "Bearer" {
		t.Errorf("token until %v", token.Expiry)
	}
	w.Advance(4*time.Minute + 50*time.Second)
	get()
	w.Must(own.Shutdown(t.Context()))
	if n := serviceTokens(w); n != 2 {
		t.Errorf("%d tokens shortly before the end, want another one", n)
	}
}

// A token for one resource is another token than that without (RFC 8707).
func TestClientCredentialsForAResource(t *testing.T) {
	w := newWorld(t)
	w.Must(w.SetAccessTokens(opserver.AccessTokenOptions{JWT: true, Algorithm: "ES256"}))
	h := newAPI(t, w).With(gatehouse.Scopes("read")).RequireToken(world.WhoAmI)
	plain, err := w.Provider().ClientCredentials(shop, "read")
	w.Must(err)
	params := url.Values{"resource": {audience}}
	for name, c := range map[string]struct {
		own    *gatehouse.ClientCredentials
		status int
	}{"none": {plain, 401}, "ours": {plain.WithParams(params), 200}, "another": {plain.WithParams(url.Values{"resource": {"https://other.test"}}), 401}} {
		params.Set("resource", "https://changed.test")
		token, err := c.own.Token()
		w.Must(err)
		if a := send(h, "GET", "/", "Bearer "+token.AccessToken); a.Code != c.status {
			t.Errorf("%s: %d", name, a.Code)
		}
	}
	for _, name := range []string{"grant_type", "scope", "client_id", "client_secret"} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, name) {
					t.Errorf("%s: panic %q", name, got)
				}
			}()
			plain.WithParams(url.Values{name: {"x"}})
		}()
	}
}

// refusing is an API that refuses some requests, with this challenge.
type refusing struct {
	mu        sync.Mutex
	refuse    int
	challenge string
}

func (a *refusing) set(refuse int, challenge string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse, a.challenge = refuse, challenge
}

func (a *refusing) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := io.Copy(io.Discard, r.Body); err != nil || a.refuse <= 0 {
		return
	}
	a.refuse--
	if a.challenge != "" {
		rw.Header().Set("WWW-Authenticate", a.challenge)
	}
	rw.WriteHeader(401)
}

// An API that refuses the token gets another one, once.
func TestClientCredentialsRefused(t *testing.T) {
	const invalid = `Bearer error="invalid_token"`
	w, api := newWorld(t), &refusing{}
	w.Serve("https://other.test", api)
	own, err := w.Provider().ClientCredentials(shop)
	w.Must(err)
	client, err := own.HTTPClient(w.Transport(), "https://other.test")
	w.Must(err)
	tokens := func() int { // asked for by one request
		n := serviceTokens(w)
		w.Must(own.Shutdown(t.Context()))
		return n
	}
	for name, c := range map[string]struct {
		refuse    int
		challenge string
		body      io.Reader
		status    int
		tokens    int
	}{
		"invalid_token":              {1, invalid, nil, 200, 1},
		"always":                     {5, invalid, nil, 401, 1},
		"no challenge":               {1, "", nil, 200, 1},
		"a challenge without error":  {1, `Bearer realm="x"`, nil, 200, 1},
		"another scheme":             {1, `Basic realm="x", Bearer error="invalid_token"`, nil, 200, 1},
		"an unreadable challenge":    {1, `Bearer error="`, nil, 200, 1},
		"another sign-in":            {1, `Bearer error="insufficient_user_authentication"`, nil, 401, 0},
		"a proof":                    {1, `DPoP error="use_dpop_nonce"`, nil, 401, 0},
		"a body":                     {1, invalid, strings.NewReader("x"), 200, 1},
		"a body that is sent once":   {1, invalid, io.MultiReader(strings.NewReader("x")), 401, 1},
		"a body, and always refused": {5, invalid, strings.NewReader("x"), 401, 1},
	} {
		t.Run(name, func(t *testing.T) {
			api.set(0, "")
			if resp, err := client.Get("https://other.test/"); err != nil || resp.StatusCode != 200 { // the token of the case before is accepted
				t.Fatal(resp, err)
			}
			api.set(c.refuse, c.challenge)
			before := tokens()
			resp, err := client.Post("https://other.test/", "text/plain", c.body)
			w.Must(err)
			resp.Body.Close()
			if n := tokens() - before; resp.StatusCode != c.status || n != c.tokens {
				t.Errorf("%d, %d tokens; want %+v", resp.StatusCode, n, c)
			}
		})
	}
}

// An API that refuses everything does not drive the token endpoint, whatever
// other APIs do with the token.
func TestClientCredentialsRefusedForGood(t *testing.T) {
	w, api := newWorld(t), &refusing{refuse: 1000}
	w.Serve("https://other.test", api)
	w.Serve("https://good.test", &refusing{})
	own, err := w.Provider().ClientCredentials(shop)
	w.Must(err)
	client, err := own.HTTPClient(w.Transport(), "https://other.test", "https://good.test")
	w.Must(err)
	send := func(target string, status int, body io.Reader) {
		resp, err := client.Post(target, "text/plain", body)
		if err != nil || resp.StatusCode != status {
			t.Error(resp, err)
			return
		}
		resp.Body.Close()
	}
	for _, c := range []struct {
		wait   time.Duration
		tokens int
	}{{0, 2}, {29 * time.Second, 2}, {time.Second, 3}} {
		w.Advance(c.wait)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				send("https://other.test/", 401, nil)
				send("https://good.test/", 200, nil)
				send("https://other.test/", 401, io.MultiReader(strings.NewReader("x")))
			})
		}
		all.Wait()
		if n := serviceTokens(w); n != c.tokens {
			t.Errorf("after %v more: %d tokens, want %d", c.wait, n, c.tokens)
		}
	}
}

// The same holds if the server gives the same token again.
func TestClientCredentialsRefusedSameToken(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(w.Endpoint("token_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		asked++
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"access_token":"always-this","token_type":"Bearer","expires_in":300}`)), Request: r}, nil
	})
	w.Serve("https://other.test", &refusing{refuse: 1000})
	own, err := w.Provider().ClientCredentials(shop)
	w.Must(err)
	client, err := own.HTTPClient(w.Transport(), "https://other.test")
	w.Must(err)
	for _, c := range []struct {
		wait  time.Duration
		asked int
	}{{0, 2}, {29 * time.Second, 2}, {time.Second, 3}, {29 * time.Second, 3}} {
		w.Advance(c.wait)
		for range 3 {
			resp, err := client.Get("https://other.test/")
			w.Must(err)
			resp.Body.Close()
		}
		if asked != c.asked {
			t.Errorf("after %v more: asked %d times, want %d", c.wait, asked, c.asked)
		}
	}
}

// A client that the server refuses, or that has no secret, has no token.
func TestClientCredentialsTrouble(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Provider().ClientCredentials(gatehouse.Client{ID: "app"}, "a b"); err == nil ||
		!strings.Contains(err.Error(), "Client.Secret: empty") || !strings.Contains(err.Error(), "Scopes: ") {
		t.Errorf("public client: %v", err)
	}
	wrong, err := w.Provider().ClientCredentials(gatehouse.Client{ID: shop.ID, Secret: gatehouse.NewSecret("not-the-secret")})
	w.Must(err)
	for what, origin := range map[string]string{"wildcard": "https://*.test", "more than scheme": "https://a.test/x", "not an absolute URL": ""} {
		if _, err := wrong.HTTPClient(nil, origin); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	if _, err := wrong.HTTPClient((*http.Transport)(nil), audience); err == nil || !strings.Contains(err.Error(), "transport: nil") {
		t.Errorf("a nil transport in an interface: %v", err)
	}
	if _, err := new(gatehouse.ClientCredentials).Token(); gatehouse.ErrorCode(err) != "internal" {
		t.Errorf("one that was not made: %v", err)
	}
	var e *gatehouse.Error
	if _, err := wrong.Token(); !errors.As(err, &e) || e.Code != "client_refused" {
		t.Errorf("wrong secret: %v", err)
	}
}

// The caller's own token goes on to the named origins alone.
func TestCallersTokenGoesOn(t *testing.T) {
	w := newWorld(t)
	api := newAPI(t, w, func(c *gatehouse.ResourceServerConfig) { c.APITransport = w.Transport() })
	w.Serve(audience, api.RequireToken(world.WhoAmI))
	w.Serve("https://evil.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("another origin got the token")
		}
	}))
	h := api.RequireToken(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		client, err := api.HTTPClient(r.Context(), audience)
		w.Must(err)
		for target, want := range map[string]string{audience + "/notes": "served ana-1 by token", "https://evil.test/": ""} {
			resp, err := client.Get(target)
			w.Must(err)
			body, err := io.ReadAll(resp.Body)
			w.Must(err)
			resp.Body.Close()
			if string(body) != want {
				t.Errorf("%s: %d %q", target, resp.StatusCode, body)
			}
		}
		if _, err := api.HTTPClient(r.Context()); err == nil {
			t.Error("a client without origins")
		}
	}))
	if a := send(h, "GET", "/", "Bearer "+accessToken(t, w, "ana")); a.Code != 200 {
		t.Errorf("%d %q", a.Code, a.Body)
	}
	if _, err := api.HTTPClient(t.Context(), audience); gatehouse.ErrorCode(err) != gatehouse.CodeTokenRequired {
		t.Errorf("without a token: %v", err)
	}
}
