package signin_test

import (
	"context"
	"encoding/json"
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
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// bomb panics in one of the parts that an application supplies: "store", "store
// after" (after it has done its work), "log", "event …" and others by name.
type bomb struct {
	mu    sync.Mutex
	part  string
	skip  int // this many calls pass without a panic
	stays bool
	fired int
}

const panicText = "marker-of-panic"

// arm makes the part panic once, after skip further calls.
func (b *bomb) arm(part string, skip int, stays bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part, b.skip, b.stays, b.fired = part, skip, stays, 0
}

// disarm returns how often the part panicked.
func (b *bomb) disarm() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part = ""
	return b.fired
}

func (b *bomb) reach(part string) {
	b.mu.Lock()
	if b.part == "" || !strings.HasPrefix(part, b.part) {
		b.mu.Unlock()
		return
	}
	if b.skip > 0 {
		b.skip--
		b.mu.Unlock()
		return
	}
	b.fired++
	if !b.stays {
		b.part = ""
	}
	b.mu.Unlock()
	panic(panicText)
}

type bombStore struct {
	gatehouse.Store
	*bomb
}

func (s bombStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	s.reach("store")
	return s.Store.FindManyCtx(ctx, keys)
}

func (s bombStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	s.reach("store")
	ok, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	s.reach("after store")
	return ok, err
}

type bombLog struct {
	slog.Handler
	*bomb
}

func (l bombLog) Handle(ctx context.Context, r slog.Record) error {
	l.reach("log")
	return l.Handler.Handle(ctx, r)
}

// mined is a site in which every part can panic.
func mined(t testing.TB, change ...func(*world.SiteOptions)) (*world.Site, *bomb) {
	t.Helper()
	b := &bomb{}
	s := world.NewSite(t, append([]func(*world.SiteOptions){func(o *world.SiteOptions) {
		o.Replicas = 2
		o.Wrap = func(s gatehouse.Store) gatehouse.Store {
			return bombStore{world.Watch(s), b}
		}
		o.Provider = func(c *gatehouse.ProviderConfig) {
			c.Logger = slog.New(bombLog{c.Logger.Handler(), b})
			events := c.Events
			c.Events = func(ctx context.Context, e gatehouse.Event) { b.reach("event " + string(e.Name)); events(ctx, e) }
			c.Transport = bombTransport{c.Transport, b}
		}
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(context.Context, *gatehouse.Identity) error { b.reach("hook"); return nil }
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			strict := gatehouse.RequirementFunc("mined", func(*http.Request, *gatehouse.Identity) (bool, error) { b.reach("requirement"); return true, nil })
			mux.Handle("/strict", login.With(strict).RequireLogin(world.WhoAmI))
			mux.Handle("/maybe", login.With(strict).OptionalLogin(world.WhoAmI))
			mux.Handle("/either", gatehouse.Require(gatehouse.Either(login.With(strict), login))(world.WhoAmI))
			mux.Handle("/auth/session", login.SessionHandler())
			mux.Handle("/breaks", login.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(panicText) })))
		}
	}}, change...)...)
	s.Mint("panic", panicText)
	return s, b
}

type bombTransport struct {
	http.RoundTripper
	*bomb
}

func (t bombTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.reach("transport")
	return t.RoundTripper.RoundTrip(r)
}

// wantPanicked checks the answer to a panic: 500, nothing of the panic on the
// page, and no cookie except those that clear one.
func wantPanicked(s *world.Site, a *world.Page) {
	s.T.Helper()
	s.WantRefusal(a, http.StatusInternalServerError)
	if body := a.Body.String(); strings.Contains(body, panicText) || strings.Contains(body, "goroutine") || strings.Contains(body, ".go:") {
		s.T.Errorf("the page reveals the panic: %v", a)
	}
	for _, c := range a.Result().Cookies() {
		if c.MaxAge >= 0 {
			s.T.Errorf("the answer to a panic sets the cookie %s", c.Name)
		}
	}
	if got := a.Header().Values("Vary"); len(got) != 1 || got[0] != "Cookie" {
		s.T.Errorf("Vary %q", got)
	}
}

// minted lists the tokens that the provider has issued so far.
func minted(s *world.Site) map[string]bool {
	list := map[string]bool{}
	for value, kind := range s.Secrets() {
		if strings.HasSuffix(kind, "_token") {
			list[value] = true
		}
	}
	return list
}

// wantNoRecord checks that the store of a mined site holds no token issued
// since then.
func wantNoRecord(s *world.Site, since map[string]bool) {
	s.T.Helper()
	store := s.Store.(bombStore).Store.(*world.WatchedStore)
	for _, key := range store.All() {
		value, _, err := store.FindCtx(context.Background(), key)
		s.Must(err)
		for token := range minted(s) {
			if !since[token] && strings.Contains(string(value), token) {
				s.T.Errorf("a record with tokens of the sign-in that failed is left")
			}
		}
	}
}

// RL8: a panic of any part at any moment of a callback leaves no session and no
// cookie. The tokens that nobody holds are revoked, and the next sign-in works.
func TestRL8_PanicDuringCallback(t *testing.T) {
	for _, part := range []string{"store", "after store", "log", "event login", "hook", "transport"} {
		t.Run(part, func(t *testing.T) {
			for n := 0; ; n++ {
				s, b := mined(t)
				s.Visitor("ben").SignIn()
				ana := s.Visitor("ana")
				callback, before := ana.ToCallback("/notes/"), minted(s)
				b.arm(part, n, false)
				a := ana.Get(callback)
				if b.disarm() == 0 {
					if n == 0 {
						t.Fatal("the part was never reached")
					}
					ana.WantServed(ana.Follow(a, nil))
					return
				}
				wantPanicked(s, a)
				if ana.SessionName() != "" {
					t.Errorf("time %d: a session cookie", n)
				}
				s.WantNoSession("ana-1")
				wantNoRecord(s, before)
				s.ShutdownAll()
				if bought, revoked := s.CountToken("authorization_code")-1, len(s.RevokedTokens()); revoked != bought {
					t.Errorf("time %d: %d refresh tokens were bought and %d revoked", n, bought, revoked)
				}
				if part != "log" && s.Logged("panics_test.go") == 0 {
					t.Errorf("time %d: no stack in the log", n)
				}
				ana.WantServed(ana.Visit("/notes/"))
			}
		})
	}
}

// If a logger or hook always panics, every answer is 500, and the process
// survives.
func TestRL8_PanicOfTheLoggerForEver(t *testing.T) {
	for _, part := range []string{"log", "event"} {
		t.Run(part, func(t *testing.T) {
			s, b := mined(t)
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			b.arm(part, 0, true)
			wantPanicked(s, ana.Get(callback))
			wantPanicked(s, ana.Get("/auth/callback?code=c1&state=x"))
			wantPanicked(s, ana.Fetch(http.MethodGet, "/notes/"))
			wantPanicked(s, ana.Fetch(http.MethodPut, "/auth/login"))
			wantPanicked(s, ana.Fetch(http.MethodPut, "/auth/session"))
			s.WantNoSession("ana-1")
			if b.disarm() < 5 {
				t.Error("it did not panic each time")
			}
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// A panic at the start of a sign-in, on a page, at sign-out, or in
// SessionHandler gives 500, and an existing session stays as it is.
func TestRL8_PanicElsewhere(t *testing.T) {
	for _, c := range []struct {
		name, part string
		ask        func(ana *world.Visitor) *world.Page
		signedIn   bool
	}{
		{"login start", "store", func(b *world.Visitor) *world.Page { return b.Get("/auth/login") }, false},
		{"page without session", "store", func(b *world.Visitor) *world.Page { return b.Get("/notes/") }, false},
		{"metadata", "transport", func(b *world.Visitor) *world.Page { return b.Get("/notes/") }, false},
		{"page", "store", func(b *world.Visitor) *world.Page { return b.Get("/notes/") }, true},
		{"public page", "store", func(b *world.Visitor) *world.Page { return b.Get("/open") }, true},
		{"requirement", "requirement", func(b *world.Visitor) *world.Page { return b.Get("/strict") }, true},
		{"optional requirement", "requirement", func(b *world.Visitor) *world.Page { return b.Get("/maybe") }, true},
		{"requirement of Either", "requirement", func(b *world.Visitor) *world.Page { return b.Get("/either") }, true},
		{"session handler", "store", func(b *world.Visitor) *world.Page { return b.Get("/auth/session") }, true},
		{"sign-out", "store", func(b *world.Visitor) *world.Page { return b.Post("/auth/logout", nil) }, true},
		{"way back from sign-out", "store", func(b *world.Visitor) *world.Page { return b.Get("/auth/logout") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, b := mined(t)
			ana := s.Visitor("ana")
			if c.signedIn {
				ana.SignIn()
			}
			b.arm(c.part, 0, false)
			wantPanicked(s, c.ask(ana))
			if b.disarm() != 1 {
				t.Error("nothing panicked")
			}
			if s.Logged("panics_test.go") == 0 {
				t.Error("no stack in the log")
			}
			if last := refusalOf(t, s); c.part == "requirement" && last.Subject != "ana-1" {
				t.Errorf("the line %+v does not name the person", last)
			}
			if c.signedIn {
				ana.WantServed(ana.Get("/notes/"))
				return
			}
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// Signing out ends the session even if the event hook panics.
func TestRL8_PanicAfterSignOut(t *testing.T) {
	s, b := mined(t)
	ana, thief := s.Visitor("ana"), s.Visitor("ana")
	thief.SetCookie("x", "y")
	cookie := ana.SignIn()
	thief.SetCookie(ana.SessionName(), cookie)
	b.arm("event logout", 0, false)
	wantPanicked(s, ana.Post("/auth/logout", nil))
	thief.WantOut(thief.On(world.ReplicaB).Get("/notes/"))
	s.ShutdownAll()
	if got := len(s.RevokedTokens()); got != 1 {
		t.Errorf("%d tokens revoked, want the refresh token", got)
	}
}

// RL8: a panic at any moment of a back-channel logout is 400 with JSON, which is what
// providers understand, or 200 if the sessions have ended. It is the same if the
// logger or the hook panics for ever.
func TestRL8_PanicAtTheBackChannel(t *testing.T) {
	for part, reached := range map[string]int{"store": 3, "after store": 2, "event logout": 1, "event": 1, "log": 1} {
		for _, stays := range []bool{false, true} {
			for n := range reached {
				t.Run(fmt.Sprint(part, " ", n, " stays ", stays), func(t *testing.T) {
					s, b := mined(t)
					ana := s.Visitor("ana").On(world.ReplicaA)
					ana.SignIn()
					b.arm(part, n, stays)
					a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, stories.LogoutForm(stories.LogoutToken(s, map[string]any{"sub": "ana-1"})))
					if b.disarm() == 0 {
						t.Error("nothing panicked")
					}
					var body struct {
						Error string `json:"error"`
					}
					switch a.Code {
					case http.StatusOK:
						ana.WantOut(ana.Get("/notes/"))
					case http.StatusBadRequest:
						if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil || body.Error != "invalid_request" || a.Header().Get("Content-Type") != "application/json" {
							t.Errorf("got %v, %v", a, err)
						}
					default:
						t.Errorf("got %v", a)
					}
					if ended := !strings.HasPrefix(part, "store") && !strings.HasPrefix(part, "after"); (a.Code == http.StatusOK) != ended {
						t.Errorf("got %v, ended %v", a, ended)
					}
				})
			}
		}
	}
	for _, part := range []string{"event", "log"} { // also of the refusal
		s, b := mined(t)
		b.arm(part, 0, true)
		a := stories.SendLogout(s, world.ReplicaB, http.MethodPost, stories.FormType, stories.LogoutForm("junk"))
		if b.disarm() == 0 || a.Code != http.StatusBadRequest || !strings.Contains(a.Body.String(), `"error":"invalid_request"`) {
			t.Errorf("%s: got %v", part, a)
		}
	}
}

// If an ErrorHandler panics, the answer is sent without it.
func TestRL8_PanicOfErrorHandler(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.ErrorHandler = func(http.ResponseWriter, *http.Request, *gatehouse.Error) { panic(panicText) }
		}
	})
	s.Mint("panic", panicText)
	ana := s.Visitor("ana")
	wantPanicked(s, ana.Get("/auth/callback"))
	wantPanicked(s, ana.Fetch(http.MethodGet, "/notes/"))
	ana.SignIn()
}

// The application's own session store panics while the answer is being sent.
// The session already exists but must not stay, because its cookie reaches
// nobody.
func TestRL8_PanicOfTheAppStore(t *testing.T) {
	b := &bomb{}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Replicas = 2
		app := scs.New()
		app.Store = appBomb{memstore.NewWithCleanupInterval(0), b}
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
	})
	s.Mint("panic", panicText)
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	b.arm("app", 0, false)
	s.WantRefusal(ana.Get(callback), http.StatusInternalServerError)
	if b.disarm() != 1 || ana.SessionName() != "" {
		t.Errorf("session cookie %q", ana.SessionName())
	}
	s.WantNoSession("ana-1")
	ana.WantServed(ana.Visit("/notes/"))
}

// An application store that fails without a panic also ends the sign-in.
func TestRL8_AppStoreFails(t *testing.T) {
	down := &appDown{Store: memstore.NewWithCleanupInterval(0)}
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Replicas = 2
		app := scs.New()
		app.Store = down
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
	})
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	down.fails.Store(true)
	if a := ana.Get(callback); a.Code < 500 || ana.SessionName() != "" {
		t.Errorf("%v, session cookie %q", a, ana.SessionName())
	}
	s.WantNoSession("ana-1")
	down.fails.Store(false)
	ana.WantServed(ana.Visit("/notes/"))
}

type appDown struct {
	scs.Store
	fails atomic.Bool
}

func (s *appDown) Commit(token string, b []byte, expiry time.Time) error {
	if s.fails.Load() {
		return errors.New("connection refused")
	}
	return s.Store.Commit(token, b, expiry)
}

type appBomb struct {
	scs.Store
	*bomb
}

func (s appBomb) Commit(token string, b []byte, expiry time.Time) error {
	s.reach("app")
	return s.Store.Commit(token, b, expiry)
}

// A panic of the handler behind a guard belongs to the server: it passes on to
// net/http, which ends only this request, and none of our locks stays held.
func TestRL8_PanicOfTheHandler(t *testing.T) {
	s, _ := mined(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	func() {
		defer func() {
			if p := recover(); p != panicText {
				t.Errorf("recovered %v, want what the handler panicked with", p)
			}
		}()
		ana.Get("/breaks")
	}()
	ana.WantServed(ana.Get("/notes/"))
	server := httptest.NewUnstartedServer(s.Replicas[world.ReplicaA].Mux)
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	server.Start()
	defer server.Close()
	for _, path := range []string{"/breaks", "/open"} {
		r, err := http.NewRequest(http.MethodGet, server.URL+path, nil)
		s.Must(err)
		r.AddCookie(&http.Cookie{Name: ana.SessionName(), Value: ana.SessionCookie()})
		resp, err := server.Client().Do(r)
		if (err == nil) != (path == "/open") {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

// http.ErrAbortHandler is intended and not a failure, so it passes.
func TestRL8_AbortIsPassedOn(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(context.Context, *gatehouse.Identity) error { panic(http.ErrAbortHandler) }
		}
	})
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	ana.Get(callback)
	t.Error("it was answered")
}

// A panic during a refresh: the page is answered, no flight or lease stays
// longer than a lease lives, and nobody is locked out.
func TestRL8_PanicDuringRefresh(t *testing.T) {
	for _, part := range []string{"store", "after store", "transport", "event refresh"} {
		t.Run(part, func(t *testing.T) {
			for n := 0; ; n++ {
				s, b := mined(t)
				ana := s.Visitor("ana")
				ana.SignIn()
				s.Advance(world.Past)
				b.arm(part, n, false)
				a := ana.Get("/notes/")
				s.ShutdownAll()
				fired := b.disarm()
				if a.Code == http.StatusInternalServerError {
					wantPanicked(s, a)
				} else if a.Code != http.StatusOK && a.Code != http.StatusSeeOther {
					t.Errorf("time %d: %v", n, a)
				}
				s.Advance(13 * time.Second) // the lease has run out
				ana.WantServed(ana.On(world.ReplicaB).Visit("/notes/"))
				s.ShutdownAll()
				if fired == 0 {
					if n == 0 {
						t.Error("the part was never reached")
					}
					return
				}
			}
		})
	}
}

// A refresh that nobody waits for still logs the stack of its panic.
func TestRL8_PanicInTheBackground(t *testing.T) {
	s, b := mined(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(4*time.Minute + 30*time.Second) // due, while the access token still serves
	b.arm("transport", 0, false)
	ana.WantServed(ana.Get("/notes/"))
	s.ShutdownAll()
	if b.disarm() != 1 || s.Logged("panics_test.go") == 0 {
		t.Error("no panic, or no stack in the log")
	}
	s.Advance(13 * time.Second) // the lease has run out
	ana.WantServed(ana.Get("/notes/"))
}
