package gatehouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// gate blocks a logger or hook until it is opened.
type gate chan struct{}

// hangingLog is a slog.Handler that blocks at every line.
type hangingLog struct{ gate gate }

func (h hangingLog) Enabled(context.Context, slog.Level) bool  { return true }
func (h hangingLog) Handle(context.Context, slog.Record) error { <-h.gate; return nil }
func (h hangingLog) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h hangingLog) WithGroup(string) slog.Handler             { return h }
func (h hangingLog) hang(context.Context, gatehouse.Event)     { <-h.gate }
func (h hangingLog) config(c gatehouse.ProviderConfig, hook bool) *gatehouse.ProviderConfig {
	c.Logger = slog.New(h)
	if hook {
		c.Logger, c.Events = slog.New(slog.DiscardHandler), h.hang
	}
	return &c
}

// A logger or hook that blocks while a failed fetch is reported delays nobody:
// not the requests that wait for that fetch, not later requests, and not the
// next fetch, which succeeds. So we hold no lock meanwhile.
func TestHangingLogStopsNobody(t *testing.T) {
	for name, hook := range map[string]bool{"logger": false, "hook": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := hangingLog{make(gate)}
				server := &heldTransport{release: make(chan struct{}), status: 503}
				close(server.release)
				p, err := gatehouse.NewProvider("https://id.example.org", log.config(gatehouse.ProviderConfig{Transport: server}, hook))
				if err != nil {
					t.Fatal(err)
				}
				all := func(want string) {
					t.Helper()
					var callers sync.WaitGroup
					for range 10 {
						callers.Go(func() {
							if _, err := p.Metadata(t.Context()); gatehouse.ErrorCode(err) != want {
								t.Errorf("got %v, want code %q", err, want)
							}
						})
					}
					callers.Wait()
				}
				for range 3 {
					all(gatehouse.CodeProviderUnavailable)
					time.Sleep(time.Minute) // the pause is over
				}
				server.status, server.body = 200, heldMetadata
				all("")
				close(log.gate)
				if err := p.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The same for a service token that cannot be obtained.
func TestHangingLogAndServiceToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := hangingLog{make(gate)}
		server := &heldTransport{release: make(chan struct{}), status: 503}
		close(server.release)
		p, err := gatehouse.NewProvider("https://id.example.org", log.config(gatehouse.ProviderConfig{
			Transport: server,
			Metadata:  &gatehouse.Metadata{TokenEndpoint: "https://id.example.org/t", PermissionEndpoint: "https://id.example.org/p"},
		}, true))
		if err != nil {
			t.Fatal(err)
		}
		grants, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")}})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := grants.PAT(t.Context(), "", gatehouse.Secret{}); gatehouse.ErrorCode(err) != gatehouse.CodeProviderUnavailable {
				t.Errorf("got %v", err)
			}
			time.Sleep(time.Minute)
		}
		server.status, server.body = 200, `{"access_token":"pat","token_type":"Bearer"}`
		if pat, err := grants.PAT(t.Context(), "", gatehouse.Secret{}); err != nil || pat.Reveal() != "pat" {
			t.Errorf("got %v", err)
		}
		close(log.gate)
		if err := gatehouse.Shutdown(t.Context(), grants, p); err != nil {
			t.Error(err)
		}
	})
}

// sharedServer is a provider, an authorization server and a resource server
// that takes a moment for each answer.
type sharedServer struct{ fail bool }

func (s *sharedServer) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(100 * time.Millisecond)
	const issuer = "https://id.example.org"
	status, body, header := 200, "{}", http.Header{"Content-Type": {"application/json"}}
	switch r.Method + " " + r.URL.Path {
	case "GET /.well-known/openid-configuration", "GET /.well-known/uma2-configuration":
		body = `{"issuer":"` + issuer + `","token_endpoint":"` + issuer + `/t","introspection_endpoint":"` + issuer + `/i",
			"permission_endpoint":"` + issuer + `/p","resource_registration_endpoint":"` + issuer + `/r"}`
	case "POST /t":
		body = `{"access_token":"token","token_type":"Bearer"}`
		if r.PostFormValue("grant_type") == "refresh_token" {
			status, body = 400, `{"error":"invalid_grant"}`
		}
	case "POST /r":
		status, body = 201, `{"_id":"r1"}`
	case "GET /r":
		body = `[]`
	case "POST /i":
		body = `{"active":true,"permissions":[{"resource_id":"r1","resource_scopes":["view"]}]}`
	case "GET /photo":
		if r.Header.Get("Authorization") == "" {
			status = 401
			header.Set("WWW-Authenticate", `UMA realm="photos", as_uri="`+issuer+`", ticket="ticket"`)
		}
	}
	if s.fail {
		status, body = 503, ""
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// endedGrants is a GrantStore of one owner, whose access token has expired.
type endedGrants struct {
	mu    sync.Mutex
	grant []byte
}

func newEndedGrants() *endedGrants {
	return &endedGrants{grant: []byte(`{"w":"x","access":"old","refresh":"r","expires":"1999-01-01T00:00:00Z"}`)}
}

func (g *endedGrants) Grant(context.Context, string, string) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.grant, nil
}

func (g *endedGrants) SwapGrant(_ context.Context, _, _ string, old, next []byte) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !bytes.Equal(old, g.grant) {
		return false, nil
	}
	g.grant = next
	return true, nil
}

// sharedKit is what the works of [TestHangingLogAndSharedWork] use.
type sharedKit struct {
	provider *gatehouse.Provider
	grants   *gatehouse.OwnerGrants
	api      *gatehouse.ResourceServer
	guard    gatehouse.Guard
	uma      *gatehouse.UMATransport
}

func newSharedKit(t *testing.T, server http.RoundTripper, log hangingLog, hook bool) *sharedKit {
	t.Helper()
	p, err := gatehouse.NewProvider("https://id.example.org", log.config(gatehouse.ProviderConfig{Transport: server}, hook))
	if err != nil {
		t.Fatal(err)
	}
	client := gatehouse.Client{ID: "app", Secret: gatehouse.NewSecret("s")}
	k := &sharedKit{provider: p}
	var err1, err2, err3 error
	k.grants, err1 = gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: client, Store: newEndedGrants()})
	k.api, err2 = gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: client, PAT: k.grants})
	k.uma, err3 = gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: client, Base: server})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	k.guard = k.api.UMAGuard(gatehouse.Resource{ID: "r1"}.AllOf("view"))
	return k
}

func (k *sharedKit) register(owner string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := k.api.Register(ctx, gatehouse.Resource{Owner: owner, Name: "album", Scopes: []string{"view"}})
		return err
	}
}

func (k *sharedKit) pat(owner string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := k.grants.PAT(ctx, owner, gatehouse.Secret{})
		return err
	}
}

func (k *sharedKit) metadata(ctx context.Context) error {
	_, err := k.provider.Metadata(ctx)
	return err
}

func (k *sharedKit) introspect(ctx context.Context) error {
	r := httptest.NewRequestWithContext(ctx, "GET", "/album", nil)
	r.Header.Set("Authorization", "Bearer rpt")
	_, err := k.guard.Check(r)
	return err
}

func (k *sharedKit) photo(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, "GET", "https://photos.example.org/photo", nil)
	if err != nil {
		return err
	}
	resp, err := k.uma.RoundTrip(r)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(resp.Status)
	}
	return err
}

// Whoever shares work with others does not wait for its log line: only the
// caller that started it does, if anybody. Later callers do not wait either,
// and Shutdown does. Keys are fetched without an event.
func TestHangingLogAndSharedWork(t *testing.T) {
	for name, tt := range map[string]struct {
		fail bool
		work func(k *sharedKit) func(context.Context) error
		code string
		own  bool // each later call has an event of its own
	}{
		"metadata":               {work: func(k *sharedKit) func(context.Context) error { return k.metadata }},
		"metadata, 503":          {fail: true, work: func(k *sharedKit) func(context.Context) error { return k.metadata }, code: gatehouse.CodeProviderUnavailable},
		"service token":          {work: func(k *sharedKit) func(context.Context) error { return k.pat("") }},
		"service token, 503":     {fail: true, work: func(k *sharedKit) func(context.Context) error { return k.pat("") }, code: gatehouse.CodeProviderUnavailable},
		"grant that ended":       {work: func(k *sharedKit) func(context.Context) error { return k.pat("ana") }, code: gatehouse.CodeOwnerGrantMissing},
		"registration":           {work: func(k *sharedKit) func(context.Context) error { return k.register("") }, own: true},
		"registration, 503":      {fail: true, work: func(k *sharedKit) func(context.Context) error { return k.register("") }, code: gatehouse.CodeProviderUnavailable, own: true},
		"registration, no grant": {work: func(k *sharedKit) func(context.Context) error { return k.register("ana") }, code: gatehouse.CodeOwnerGrantMissing, own: true},
		"introspection":          {work: func(k *sharedKit) func(context.Context) error { return k.introspect }},
		"exchange":               {work: func(k *sharedKit) func(context.Context) error { return k.photo }},
	} {
		for _, hook := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, hook %v", name, hook), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := hangingLog{make(gate)}
					k := newSharedKit(t, &sharedServer{fail: tt.fail}, log, hook)
					work := tt.work(k)
					var back atomic.Int32
					var callers sync.WaitGroup
					start := func(n int) {
						for range n {
							callers.Go(func() {
								ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
								defer cancel()
								if err := work(ctx); gatehouse.ErrorCode(err) != tt.code || tt.code == "" && err != nil {
									t.Errorf("got %v, want code %q", err, tt.code)
								}
								back.Add(1)
							})
						}
						time.Sleep(5 * time.Second)
					}
					start(3)
					if n := back.Load(); n < 2 {
						t.Errorf("%d of 3 callers are back", n)
					}
					before := back.Load()
					if start(3); !tt.own && back.Load() < before+3 {
						t.Errorf("%d of 3 later callers are back", back.Load()-before)
					}
					close(log.gate)
					callers.Wait()
					if err := gatehouse.Shutdown(t.Context(), k.uma, k.api, k.grants, k.provider); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// pausedLog hangs while its gate is set.
type pausedLog struct{ gate atomic.Pointer[gate] }

func (p *pausedLog) wait() {
	if g := p.gate.Load(); g != nil {
		<-*g
	}
}

func (p *pausedLog) Enabled(context.Context, slog.Level) bool  { return true }
func (p *pausedLog) Handle(context.Context, slog.Record) error { p.wait(); return nil }
func (p *pausedLog) WithAttrs([]slog.Attr) slog.Handler        { return p }
func (p *pausedLog) WithGroup(string) slog.Handler             { return p }
func (p *pausedLog) site(hook bool, o *world.SiteOptions) {
	world.TwoReplicas(o)
	o.Provider = func(c *gatehouse.ProviderConfig) {
		if c.Logger = slog.New(p); hook {
			c.Logger, c.Events = slog.New(slog.DiscardHandler), func(context.Context, gatehouse.Event) { p.wait() }
		}
	}
}

// The same for the tokens of a session. Pages that wait for their renewal have
// it, and one that failed gives its lease back: when the refresh token turns out
// to be refused, the other replica knows that nobody else has used it, and ends
// the session.
func TestHangingLogAndRefresh(t *testing.T) {
	for _, hook := range []bool{false, true} {
		for name, status := range map[string]int{"renewed": 200, "503": 503, "panic": 0} {
			t.Run(fmt.Sprintf("%s, hook %v", name, hook), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := &pausedLog{}
					var refreshes atomic.Int32
					s := world.NewSite(t, func(o *world.SiteOptions) { log.site(hook, o) })
					ana := s.Visitor("ana")
					ana.SignIn()
					s.OnRefresh(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
						time.Sleep(100 * time.Millisecond)
						refreshes.Add(1)
						switch status {
						case 0:
							panic("a bug of the application's transport")
						case 200:
							return next(r), nil
						}
						return world.Answer(r, status, `{"error":"invalid_grant"}`), nil
					})
					hang := make(gate)
					release := sync.OnceFunc(func() { close(hang) })
					defer release()
					log.gate.Store(&hang)
					var back atomic.Int32
					var pages sync.WaitGroup
					open := func(n int) {
						for range n {
							pages.Go(func() { ana.WantServed(ana.Get("/notes/")); back.Add(1) })
						}
						time.Sleep(time.Second)
					}
					if status == 200 {
						s.Advance(world.Past)
						if open(3); back.Load() < 2 || refreshes.Load() != 1 {
							t.Errorf("%d of 3 pages are back after %d refreshes", back.Load(), refreshes.Load())
						}
					} else {
						s.Advance(4*time.Minute + time.Second) // due, but the token still serves
						if open(3); back.Load() != 3 || refreshes.Load() != 1 {
							t.Errorf("%d of 3 pages are back after %d refreshes", back.Load(), refreshes.Load())
						}
						s.Advance(25 * time.Second) // the pause is over, and any lease
					}
					before := back.Load()
					if open(1); back.Load() != before+1 {
						t.Error("a later page is not back")
					}
					if status != 200 && refreshes.Load() != 2 {
						t.Errorf("%d refreshes, want one more", refreshes.Load())
					}
					if status == 503 {
						s.Advance(25 * time.Second)
						status = 400
						ana.On(world.ReplicaB).Get("/notes/")
						time.Sleep(time.Second)
						ana.WantOut(ana.Get("/notes/"))
					}
					release()
					pages.Wait()
					s.ShutdownAll()
				})
			})
		}
	}
}

// The hook gets the same events as the log, with the issuer and a code.
func TestTroubleIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		var events []gatehouse.Event
		server := &heldTransport{release: make(chan struct{}), status: http.StatusServiceUnavailable}
		close(server.release)
		p, err := gatehouse.NewProvider("https://id.example.org", &gatehouse.ProviderConfig{
			Transport: server,
			Logger:    slog.New(slog.NewTextHandler(&lines, nil)),
			Events:    func(_ context.Context, e gatehouse.Event) { events = append(events, e) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Metadata(t.Context()); err == nil {
			t.Fatal("no error")
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(events) != 1 || events[0].Name != gatehouse.EventTrouble || events[0].Code != "metadata_outage" ||
			events[0].Issuer != "https://id.example.org" || events[0].Err == nil || events[0].Time.IsZero() {
			t.Errorf("events %+v", events)
		}
		for _, want := range []string{`level=WARN msg="gatehouse: trouble"`, "issuer=https://id.example.org", "code=metadata_outage", "error="} {
			if !strings.Contains(lines.String(), want) {
				t.Errorf("the log lacks %s: %s", want, lines.String())
			}
		}
	})
}

// Every 503 says when to try again, and every event has a time and the issuer.
func TestEventsAreWhole(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	ana.Get("/notes/")
	ana.Post("/auth/logout", nil)
	ana.Get("/auth/callback")
	s.ShutdownAll()
	names := map[gatehouse.EventName]bool{}
	for _, e := range s.Events() {
		names[e.Name] = true
		if e.Issuer != world.SiteIssuer || e.Time.IsZero() || e.Time.After(s.Now()) || s.Now().Sub(e.Time) > time.Hour || e.ClientID != "notes" {
			t.Errorf("event %+v", e)
		}
		if e.Name != gatehouse.EventRefusal && e.Subject != "ana-1" {
			t.Errorf("event %+v without its person", e)
		}
		if e.Name == gatehouse.EventRefusal && (e.ID == "" || e.Code == "") {
			t.Errorf("refusal %+v without id or code", e)
		}
	}
	for _, want := range []gatehouse.EventName{gatehouse.EventLogin, gatehouse.EventRefresh, gatehouse.EventLogout, gatehouse.EventRefusal} {
		if !names[want] {
			t.Errorf("no event %s", want)
		}
	}
}

// Every line of a refusal says which request it was and, once that is known,
// whose. Its level follows the code.
func TestLineOfARefusal(t *testing.T) {
	staff := func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			page := login.With(gatehouse.Claim("groups", "staff")).RequireLogin(world.WhoAmI)
			mux.Handle("/staff/", http.StripPrefix("/staff", page))
			mux.Handle("/fresh/", login.With(gatehouse.MaxAge(time.Minute)).RequireLogin(world.WhoAmI))
		}
	}
	for name, c := range map[string]struct {
		do                             func(ana *world.Visitor) *world.Page
		level, code, method, path, sub string
	}{
		"a requirement": {func(ana *world.Visitor) *world.Page { return ana.Get("/staff/a%2Fb?secret=1") }, "WARN", "forbidden", "GET", "/staff/a%2Fb", "ana-1"},
		"nobody":        {func(ana *world.Visitor) *world.Page { return ana.Site.Visitor("ben").Fetch("PATCH", "/notes/1") }, "INFO", "login_required", "PATCH", "/notes/1", ""},
		"another site": {func(ana *world.Visitor) *world.Page {
			return ana.Post("/notes/1", nil, "Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site")
		}, "WARN", "cross_origin", "POST", "/notes/1", ""},
		"a callback of nobody": {func(ana *world.Visitor) *world.Page {
			return ana.Get("/auth/callback?code=x&state=" + strings.Repeat("y", 32))
		}, "WARN", "state_unknown", "GET", "/auth/callback", ""},
		"a method": {func(ana *world.Visitor) *world.Page { return ana.Fetch("PUT", "/auth/callback?code=x") }, "INFO", "method_not_allowed", "PUT", "/auth/callback", ""},
		"a long path": {func(ana *world.Visitor) *world.Page { return ana.Get("/staff/" + strings.Repeat("a", 300)) }, "WARN", "forbidden", "GET",
			"/staff/" + strings.Repeat("a", 193) + "…", "ana-1"},
		"a step-up that cannot begin": {func(ana *world.Visitor) *world.Page {
			ana.Site.Advance(3 * time.Minute)
			return ana.Get("/fresh/", "X-Large", strings.Repeat("x", 33<<10))
		}, "WARN", "header_too_large", "GET", "/fresh/", "ana-1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, staff)
			ana := s.Visitor("ana")
			ana.SignIn()
			before := len(s.Log())
			s.Reset()
			c.do(ana)
			events := s.Events()
			if len(events) != 1 || events[0].Code != c.code || events[0].Method != c.method || events[0].Path != c.path || events[0].Subject != c.sub || events[0].ID == "" {
				t.Fatalf("events %+v, want one of %+v", events, c)
			}
			line := s.Log()[before:]
			for _, want := range []string{"level=" + c.level, "code=" + c.code, "id=" + events[0].ID, "method=" + c.method, "path=" + c.path} {
				if !strings.Contains(line, want) {
					t.Errorf("the line lacks %s: %s", want, line)
				}
			}
			if strings.Contains(line, "subject=") != (c.sub != "") || !strings.Contains(line, c.sub) || strings.Count(line, "\n") != 1 {
				t.Errorf("not one line about %q: %s", c.sub, line)
			}
		})
	}
}
