package session_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

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
