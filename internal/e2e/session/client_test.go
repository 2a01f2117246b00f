package session_test

import (
	"context"
	"io"
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

// apiServer is an API that records the requests it gets.
type apiServer struct {
	*httptest.Server
	mu    sync.Mutex
	shown []string
	to    string // redirect there, once
}

func newAPIServer(t testing.TB) *apiServer {
	a := &apiServer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.shown = append(a.shown, r.Header.Get("Authorization"))
		if a.to != "" {
			http.Redirect(w, r, a.to, http.StatusTemporaryRedirect)
			a.to = ""
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *apiServer) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	shown := a.shown
	a.shown = nil
	return shown
}

// login.Client shows the token only to the named origins, even after redirects,
// and renews it first.
func TestClientOrigins(t *testing.T) {
	named, other := newAPIServer(t), newAPIServer(t)
	var client *http.Client
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/call", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var err error
				if client, err = login.HTTPClient(r.Context(), named.URL+"/"); err != nil {
					t.Error(err)
					return
				}
				for _, target := range []string{named.URL + "/a", other.URL + "/b"} {
					resp, err := client.Get(target)
					if err != nil {
						t.Error(err)
						continue
					}
					resp.Body.Close()
				}
			})))
		}
	})
	ana := s.Visitor("ana")
	ana.Visit("/call")
	first := named.take()
	if len(first) != 1 || !strings.HasPrefix(first[0], "Bearer ") {
		t.Fatalf("the named origin was shown %d tokens", len(first))
	}
	if got := other.take(); len(got) != 1 || got[0] != "" {
		t.Error("another origin was shown the token")
	}
	named.to = other.URL + "/c"
	s.Advance(world.Past)
	ana.Visit("/call")
	second := named.take()
	if len(second) != 1 || second[0] == first[0] || s.Refreshes() != 1 {
		t.Errorf("%d requests, %d refreshes: want a new token", len(second), s.Refreshes())
	}
	for _, got := range other.take() {
		if got != "" {
			t.Error("a redirect carried the token to another origin")
		}
	}
	// The client refuses and sends nothing if it cannot get the token.
	s.Break(opserver.TokenEndpointDown)
	s.Advance(world.Past)
	resp, err := client.Get(named.URL)
	if err == nil {
		resp.Body.Close()
	}
	if gatehouse.ErrorCode(err) != "token_unavailable" || len(named.take()) != 0 {
		t.Errorf("error %v, want token_unavailable and no request", err)
	}
}

func TestClientConfig(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/call", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for _, origins := range [][]string{
					nil, {}, {""}, {"api.example.org"}, {"http://api.example.org"}, {"https://api.example.org/v1"},
					{"https://api.example.org?x=1"}, {"https://u:p@api.example.org"}, {"https://*.example.org/x"}, {"https://a.example", "ftp://b.example"}, {"*"},
				} {
					if c, err := login.HTTPClient(r.Context(), origins...); err == nil || c != nil {
						t.Errorf("origins %q are taken", origins)
					}
				}
				if _, err := login.HTTPClient(r.Context(), "https://api.example.org", "http://127.0.0.1:8080", "https://API.example.org:443/"); err != nil {
					t.Error(err)
				}
			})))
		}
	})
	if a := s.Visitor("ana").Visit("/call"); a.Code != http.StatusOK {
		t.Error(a)
	}
}

// scriptedAPI is an API in memory. It says for each request what it answers.
type scriptedAPI struct {
	mu     sync.Mutex
	shown  []string // Authorization
	bodies []string
	answer func(r *http.Request, n int) *http.Response // n counts from 0
}

func (a *scriptedAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		data, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = string(data)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown, a.bodies = append(a.shown, r.Header.Get("Authorization")), append(a.bodies, body)
	return a.answer(r, len(a.shown)-1), nil
}

func (a *scriptedAPI) take() (shown []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	shown, a.shown, a.bodies = a.shown, nil, nil
	return shown
}

const refusal = `Bearer realm="api", error="invalid_token", error_description="revoked"`

// refuses answers 401 with that challenge to each token in the set, and 200 to
// others.
func refuses(tokens map[string]bool, challenge string) func(*http.Request, int) *http.Response {
	return func(r *http.Request, _ int) *http.Response {
		if !tokens[r.Header.Get("Authorization")] {
			return world.Answer(r, http.StatusOK, "fine")
		}
		resp := world.Answer(r, http.StatusUnauthorized, "no")
		resp.Header["Www-Authenticate"] = strings.Split(challenge, "\n")
		return resp
	}
}

const apiOrigin = "https://api.test"

// apiSite is a site whose page /call calls the API with the function in use.
type apiSite struct {
	*world.Site
	api *scriptedAPI
	use func(login *gatehouse.RelyingParty, ctx context.Context, client *http.Client)
}

func newAPISite(t *testing.T, change ...func(*world.SiteOptions)) *apiSite {
	a := &apiSite{api: &scriptedAPI{}}
	change = append(change, func(o *world.SiteOptions) {
		before := o.Party
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.APITransport = a.api
			if before != nil {
				before(c)
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/call", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				client, err := login.HTTPClient(r.Context(), apiOrigin)
				if err != nil {
					t.Error(err)
					return
				}
				a.use(login, r.Context(), client)
			})))
		}
	})
	a.Site = world.NewSite(t, change...)
	return a
}

// call sends one request and returns the status.
func call(t *testing.T, client *http.Client, method string, body io.Reader) int {
	t.Helper()
	req, err := http.NewRequest(method, apiOrigin+"/x", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || len(text) == 0 {
		t.Errorf("body %q, %v", text, err)
	}
	return resp.StatusCode
}

// RFC 6750 §3.1: a 401 with invalid_token is answered with one refresh and one
// repeat, if the request can be sent again.
func TestClientRefusedToken(t *testing.T) {
	for _, c := range []struct {
		name      string
		challenge string
		method    string
		body      func() io.Reader
		status    int
		requests  int
	}{
		{"GET", refusal, "GET", nil, 200, 2},
		{"other scheme first", `DPoP algs="ES256", bearer error=invalid_token`, "GET", nil, 200, 2},
		{"a line that cannot be read", "Basic realm=\"api\n" + refusal, "GET", nil, 200, 2},
		{"a second line", refusal + "\nNTLM TlRMTVNTUAAC==", "GET", nil, 200, 2},
		{"POST that can be sent again", refusal, "POST", func() io.Reader { return strings.NewReader("a body") }, 200, 2},
		{"POST that cannot", refusal, "POST", func() io.Reader { return io.MultiReader(strings.NewReader("a body")) }, 401, 1},
		{"insufficient_scope", `Bearer error="insufficient_scope"`, "GET", nil, 401, 1},
		{"no error", `Bearer realm="api"`, "GET", nil, 401, 1},
		{"another scheme", `Basic realm="invalid_token", error="invalid_token"`, "GET", nil, 401, 1},
		{"garbage", `Bearer error="invalid_token`, "GET", nil, 401, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newAPISite(t)
			old := map[string]bool{}
			s.use = func(login *gatehouse.RelyingParty, ctx context.Context, client *http.Client) {
				token, err := login.Token(ctx)
				s.Must(err)
				old["Bearer "+token.AccessToken] = true
				s.api.answer = refuses(old, c.challenge)
				var body io.Reader
				if c.body != nil {
					body = c.body()
				}
				if got := call(t, client, c.method, body); got != c.status {
					t.Errorf("status %d, want %d", got, c.status)
				}
			}
			s.Visitor("ana").Visit("/call")
			if c.body != nil {
				for _, b := range s.api.bodies {
					if b != "a body" {
						t.Errorf("body %q was sent", b)
					}
				}
			}
			if shown := s.api.take(); len(shown) != c.requests || c.requests == 2 && (old[shown[1]] || shown[1] == "") || s.Refreshes() != c.requests-1 {
				t.Errorf("%d requests, %d refreshes, want %d and %d", len(shown), s.Refreshes(), c.requests, c.requests-1)
			}
		})
	}
}

// An API that refuses everything causes one refresh in 30 seconds on all
// replicas together, and the caller gets its 401.
func TestClientRefusedAlways(t *testing.T) {
	s := newAPISite(t, world.TwoReplicas)
	s.api.answer = func(r *http.Request, _ int) *http.Response {
		resp := world.Answer(r, http.StatusUnauthorized, "no")
		resp.Header.Set("WWW-Authenticate", refusal)
		return resp
	}
	s.use = func(_ *gatehouse.RelyingParty, _ context.Context, client *http.Client) {
		for range 3 {
			if got := call(t, client, "GET", nil); got != http.StatusUnauthorized {
				t.Errorf("status %d", got)
			}
		}
	}
	ana := s.Visitor("ana")
	for _, c := range []struct {
		after     time.Duration
		refreshes int
	}{{0, 1}, {29 * time.Second, 1}, {time.Second, 2}, {29 * time.Second, 2}} {
		s.Advance(c.after)
		ana.Visit("/call")
		ana.On(world.ReplicaB).Visit("/call")
		if got := s.Refreshes(); got != c.refreshes {
			t.Errorf("after %v: %d refreshes, want %d", c.after, got, c.refreshes)
		}
	}
}

// Requests that had the same token refused share one refresh, and all succeed.
func TestClientRefusedTogether(t *testing.T) {
	s := newAPISite(t)
	s.use = func(login *gatehouse.RelyingParty, ctx context.Context, client *http.Client) {
		token, err := login.Token(ctx)
		s.Must(err)
		s.api.answer = refuses(map[string]bool{"Bearer " + token.AccessToken: true}, refusal)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got := call(t, client, "GET", nil); got != http.StatusOK {
					t.Errorf("status %d", got)
				}
			})
		}
		wg.Wait()
	}
	s.Visitor("ana").Visit("/call")
	if s.Refreshes() != 1 {
		t.Errorf("%d refreshes", s.Refreshes())
	}
}

// A server that sends the same access token again at each refresh is asked once
// in 30 seconds, however many requests have it refused.
func TestClientRefusedSameToken(t *testing.T) {
	s := newAPISite(t)
	asked := 0
	s.use = func(login *gatehouse.RelyingParty, ctx context.Context, client *http.Client) {
		token, err := login.Token(ctx)
		s.Must(err)
		s.api.answer = refuses(map[string]bool{"Bearer " + token.AccessToken: true}, refusal)
		var mu sync.Mutex
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			resp := next(r)
			if !strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
				return resp, nil
			}
			mu.Lock()
			asked++
			mu.Unlock()
			return world.RewriteJSON(t, resp, func(m map[string]any) { m["access_token"] = token.AccessToken; delete(m, "id_token") }), nil
		})
		for range 3 {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if got := call(t, client, "GET", nil); got != http.StatusUnauthorized {
						t.Errorf("status %d", got)
					}
				})
			}
			wg.Wait()
		}
		if err := login.Refused(ctx, token.AccessToken); gatehouse.ErrorCode(err) != gatehouse.CodeTokenUnavailable {
			t.Errorf("by hand: %v", err)
		}
	}
	s.Visitor("ana").Visit("/call")
	if asked != 1 {
		t.Errorf("%d refreshes, want 1", asked)
	}
}

// Refused does by hand what HTTPClient does: it renews only a token that the
// session still has, and does not try again soon after a failure.
func TestRefused(t *testing.T) {
	s := newAPISite(t)
	s.use = func(login *gatehouse.RelyingParty, ctx context.Context, _ *http.Client) {
		first, err := login.Token(ctx)
		s.Must(err)
		s.Must(login.Refused(ctx, "a token of somebody else"))
		s.Must(login.Refused(ctx, ""))
		if s.Refreshes() != 0 {
			t.Error("a token that the session does not have was renewed")
		}
		s.Must(login.Refused(ctx, first.AccessToken))
		s.Must(login.Refused(ctx, first.AccessToken)) // renewed already
		second, err := login.Token(ctx)
		s.Must(err)
		if second.AccessToken == first.AccessToken || s.Refreshes() != 1 {
			t.Errorf("%d refreshes", s.Refreshes())
		}
		if err := login.Refused(ctx, second.AccessToken); gatehouse.ErrorCode(err) != gatehouse.CodeTokenUnavailable || s.Refreshes() != 1 {
			t.Errorf("at once again: %v", err)
		}
		s.Advance(30 * time.Second)
		s.Break(opserver.TokenEndpointDown)
		for range 3 {
			if err := login.Refused(ctx, second.AccessToken); gatehouse.ErrorCode(err) != gatehouse.CodeTokenUnavailable {
				t.Errorf("with the token endpoint down: %v", err)
			}
			s.Advance(9 * time.Second)
		}
		s.Mend(opserver.TokenEndpointDown)
		if got := len(s.SentRefreshTokens()); got != 2 {
			t.Errorf("%d refresh tokens sent, want 2", got)
		}
		if err := login.Refused(context.Background(), second.AccessToken); gatehouse.ErrorCode(err) != gatehouse.CodeLoginRequired {
			t.Errorf("without a session: %v", err)
		}
	}
	s.Visitor("ana").Visit("/call")
}

// A session that ends with the refresh leaves the caller its 401.
func TestClientRefusedAndSignedOut(t *testing.T) {
	s := newAPISite(t)
	s.use = func(login *gatehouse.RelyingParty, ctx context.Context, client *http.Client) {
		token, err := login.Token(ctx)
		s.Must(err)
		s.api.answer = refuses(map[string]bool{"Bearer " + token.AccessToken: true}, refusal)
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			if strings.HasSuffix(s.Endpoint("token_endpoint"), r.URL.Path) {
				return world.Answer(r, http.StatusBadRequest, `{"error":"invalid_grant"}`), nil
			}
			return next(r), nil
		})
		if got := call(t, client, "GET", nil); got != http.StatusUnauthorized {
			t.Errorf("status %d", got)
		}
		if err := login.Refused(ctx, token.AccessToken); gatehouse.ErrorCode(err) != gatehouse.CodeLoginRequired && gatehouse.ErrorCode(err) != gatehouse.CodeTokenUnavailable {
			t.Errorf("Refused: %v", err)
		}
	}
	ana := s.Visitor("ana")
	ana.Visit("/call")
	s.SetWire(nil)
	if a := ana.Get("/notes/"); a.Code != http.StatusSeeOther {
		t.Errorf("still signed in: %v", a)
	}
}

// No token goes along on a redirect that came from a foreign origin, however
// long the way is.
func TestClientRedirectsFromElsewhere(t *testing.T) {
	for _, c := range []struct {
		name string
		way  []string // the first is asked for, each leads to the next
		with []bool   // whether the token goes along
	}{
		{"named, named", []string{apiOrigin + "/a", apiOrigin + "/b"}, []bool{true, true}},
		{"named, foreign, named", []string{apiOrigin + "/a", "https://evil.example/", apiOrigin + "/admin"}, []bool{true, false, false}},
		{"foreign, named", []string{"https://evil.example/", apiOrigin + "/admin"}, []bool{false, false}},
		{"foreign, named, named", []string{"https://evil.example/", apiOrigin + "/a", apiOrigin + "/b"}, []bool{false, false, false}},
		{"other port, named", []string{"https://api.test:8443/", apiOrigin + "/a"}, []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newAPISite(t)
			s.api.answer = func(r *http.Request, n int) *http.Response {
				if n == len(c.way)-1 {
					return world.Answer(r, http.StatusOK, "fine")
				}
				resp := world.Answer(r, http.StatusTemporaryRedirect, "")
				resp.Header.Set("Location", c.way[n+1])
				return resp
			}
			s.use = func(_ *gatehouse.RelyingParty, _ context.Context, client *http.Client) {
				resp, err := client.Get(c.way[0])
				s.Must(err)
				resp.Body.Close()
			}
			s.Visitor("ana").Visit("/call")
			var with []bool
			for _, shown := range s.api.take() {
				with = append(with, shown != "")
			}
			if !slices.Equal(with, c.with) {
				t.Errorf("with the token: %v, want %v", with, c.with)
			}
		})
	}
}

// TokenLifetime says how long a token is believed for which the provider gives
// no expires_in.
func TestTokenLifetime(t *testing.T) {
	for _, c := range []struct {
		lifetime  time.Duration
		refreshes int // in an hour, with a request each minute
	}{{0, 0}, {10 * time.Minute, 6}} {
		s := newAPISite(t, func(o *world.SiteOptions) {
			o.Party = func(p *gatehouse.RelyingPartyConfig) { p.TokenLifetime = c.lifetime }
		})
		s.OnToken(t, func(m map[string]any) { delete(m, "expires_in") })
		s.api.answer = refuses(nil, "")
		s.use = func(_ *gatehouse.RelyingParty, _ context.Context, client *http.Client) {
			if got := call(t, client, "GET", nil); got != http.StatusOK {
				t.Errorf("status %d", got)
			}
		}
		ana := s.Visitor("ana")
		for range 60 {
			ana.Visit("/call")
			s.Shutdown(0)
			s.Advance(time.Minute)
		}
		if got := s.Refreshes(); got < c.refreshes || got > c.refreshes+1 {
			t.Errorf("lifetime %v: %d refreshes, want %d", c.lifetime, got, c.refreshes)
		}
	}
}
