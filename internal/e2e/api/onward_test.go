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

// An API that refuses the token gets another one, once.
func TestClientCredentialsRefused(t *testing.T) {
	w := newWorld(t)
	refuse := 1
	w.Serve("https://other.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if refuse > 0 {
			refuse--
			rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			rw.WriteHeader(401)
		}
	}))
	own, err := w.Provider().ClientCredentials(shop)
	w.Must(err)
	client, err := own.HTTPClient(w.Transport(), "https://other.test")
	w.Must(err)
	for _, c := range []struct{ refuse, status, tokens int }{{1, 200, 2}, {5, 401, 3}} {
		refuse = c.refuse
		resp, err := client.Get("https://other.test/")
		w.Must(err)
		resp.Body.Close()
		if resp.StatusCode != c.status || serviceTokens(w) != c.tokens {
			t.Errorf("%d, %d tokens; want %+v", resp.StatusCode, serviceTokens(w), c)
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
