package gatehouse_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
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
// next fetch, which succeeds. So no lock of ours is held meanwhile.
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
