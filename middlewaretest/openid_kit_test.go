package middlewaretest_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/offline"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// impatient gives up a request as soon as the provider has received it at an
// endpoint that hangs. Nobody waits, and nothing depends on speed.
type impatient struct {
	base http.RoundTripper

	mu   sync.Mutex
	held map[string]chan struct{} // by path; closed when the provider has received a request for it
}

// at returns a channel that is closed when the provider holds a request for the
// path.
func (i *impatient) at(path string) chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held[path] == nil {
		if i.held == nil {
			i.held = map[string]chan struct{}{}
		}
		i.held[path] = make(chan struct{})
	}
	return i.held[path]
}

// hold is the request hook of an endpoint that hangs.
func (i *impatient) hold(r *http.Request) {
	held := i.at(r.URL.Path)
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-held:
	default:
		close(held)
	}
}

// calm forgets which requests hung.
func (i *impatient) calm() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held = nil
}

func (i *impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	context.AfterFunc(r.Context(), cancel)
	type answer struct {
		resp *http.Response
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := i.base.RoundTrip(r.WithContext(ctx))
		answered <- answer{resp, err}
	}()
	select {
	case a := <-answered:
		return a.resp, a.err
	case <-i.at(r.URL.Path):
		cancel()
		if a := <-answered; a.err == nil {
			_ = a.resp.Body.Close()
		}
		return nil, errors.New("the provider does not answer")
	}
}

// inside returns the controls that only the tests of this module need.
func inside(t testing.TB, op *middlewaretest.Server) *opserver.Server {
	t.Helper()
	u, err := url.Parse(op.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	if way, ok := op.Transport().(*offline.Net); ok {
		if server, ok := way.Handler(u.Scheme + "://" + u.Host).(*opserver.Server); ok {
			return server
		}
	}
	t.Fatal("the kit's transport leads to no provider")
	return nil
}

// must fails the test if there is an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// service is a relying party with its own caches.
type service struct {
	t     *testing.T
	op    *middlewaretest.Server
	login *gatehouse.RelyingParty
	base  string

	provider *gatehouse.Provider

	mu    sync.Mutex
	codes []string // of refusals
	log   strings.Builder
}

// newService starts a service that shares nothing with other services of the
// provider.
func newService(t *testing.T, op *middlewaretest.Server, change func(*gatehouse.ProviderConfig, *gatehouse.RelyingPartyConfig)) *service {
	t.Helper()
	s := &service{t: t, op: op}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	pc := gatehouse.ProviderConfig{Now: op.Clock().Now, Transport: transport, Logger: slog.New(slog.NewTextHandler(s, nil)),
		Events: func(_ context.Context, e gatehouse.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if e.Name == gatehouse.EventRefusal || e.Name == gatehouse.EventRefresh {
				s.codes = append(s.codes, e.Code)
			}
		}}
	s.base = middlewaretest.NewApp(t, func(base string) http.Handler {
		rc := gatehouse.RelyingPartyConfig{Client: op.AddClient(base + "/auth/callback"),
			RedirectURL: base + "/auth/callback", Scopes: []string{"profile", "email"}}
		if change != nil {
			change(&pc, &rc)
		}
		var err error
		if s.provider, err = gatehouse.NewProvider(op.Issuer(), &pc); err != nil {
			t.Fatal(err)
		}
		if s.login, err = gatehouse.NewRelyingParty(s.provider, rc); err != nil {
			t.Fatal(err)
		}
		return s.routes()
	})
	return s
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := gatehouse.IdentityFrom(r.Context())
		_, _ = io.WriteString(w, "notes of "+id.Subject+" "+id.ClaimString("email"))
	})
	mux.Handle("/auth/callback", s.login.CallbackHandler())
	mux.Handle("/auth/logout", s.login.LogoutHandler())
	mux.Handle("/notes/", s.login.RequireLogin(page))
	mux.Handle("/fresh/", s.login.With(gatehouse.MaxAge(time.Hour)).RequireLogin(page))
	return mux
}

// Write takes the log.
func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// took returns the codes of the refusals since the last call, as one text.
func (s *service) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	codes := strings.Join(s.codes, " ")
	s.codes = nil
	return codes
}

// get visits a path as a person and returns status and page.
func (s *service) get(b *middlewaretest.Browser, path string) (int, string) {
	s.t.Helper()
	resp, err := b.Get(s.base + path)
	page := body(s.t, resp, err)
	if resp.StatusCode >= 400 && resp.Header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s: %d may be cached", path, resp.StatusCode)
	}
	s.mu.Lock()
	mistake := len(s.codes) > 0 && slices.Contains([]string{"metadata_missing", "metadata_invalid", "metadata_issuer_mismatch", "client_refused", "keys_unusable"}, s.codes[len(s.codes)-1])
	s.mu.Unlock()
	if waits := resp.StatusCode == http.StatusServiceUnavailable && !mistake; waits != (resp.Header.Get("Retry-After") != "") {
		s.t.Errorf("%s: %d with Retry-After %q", path, resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	return resp.StatusCode, page
}

// hangs is when a fetch hangs that should have come to an end.
const hangs = time.Minute

// recovers waits until the metadata is there, if a fetch of it has failed before. No
// request waits for the next fetch for more than a moment, which may be too short
// on a busy machine. The fetch goes on, and who comes later has its result.
func (s *service) recovers() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), hangs)
	defer cancel()
	for {
		_, err := s.provider.Metadata(ctx)
		if err == nil {
			return
		}
		if gatehouse.ErrorCode(err) != "provider_unavailable" || ctx.Err() != nil {
			s.t.Fatalf("the metadata after the trouble: %v", err)
		}
	}
}

// signedIn reports whether a script on the person's page is let in.
func (s *service) signedIn(b *middlewaretest.Browser) bool {
	s.t.Helper()
	resp, err := b.Fetch(s.base + "/notes/")
	body(s.t, resp, err)
	return resp.StatusCode == http.StatusOK
}
