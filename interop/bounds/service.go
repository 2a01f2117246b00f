package bounds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse"
)

// site is the address of the service under test.
const site = "https://notes.example.org"

// service is a service that uses gatehouse: all handlers that a stranger can
// reach.
type service struct {
	op       *provider
	log      logBuffer
	provider *gatehouse.Provider
	ahead    atomic.Int64 // of the clock
	sessions *gatehouse.Sessions
	login    *gatehouse.RelyingParty
	rs       *gatehouse.ResourceServer
	client   *gatehouse.UMATransport
	// peer is how resource servers answer the UMA client when it sends no
	// token.
	peer   func() *http.Response
	visits int // to them
	doors  map[string]http.Handler
}

// logBuffer keeps the last lines of a log.
type logBuffer struct {
	mu    sync.Mutex
	lines []byte
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) > logKept {
		l.lines = l.lines[:0]
	}
	l.lines = append(l.lines, b...)
	return len(b), nil
}

func (l *logBuffer) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.lines, []byte(text))
}

// logKept is the size at which a log starts again.
const logKept = 64 << 10

// inside answers a client without a network in between.
type inside struct{ handler http.Handler }

func (x inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	x.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// album is what the resource server protects.
var album = gatehouse.Resource{Name: "album", Scopes: []string{"view"}}

// newService makes a service at a provider. A nil transport is that of gatehouse.
func newService(op *provider, transport http.RoundTripper) (_ *service, err error) {
	s := &service{op: op}
	if s.provider, err = gatehouse.NewProvider(op.issuer, &gatehouse.ProviderConfig{
		Transport: transport, Logger: slog.New(slog.NewTextHandler(&s.log, nil)), Now: s.now,
	}); err != nil {
		return nil, err
	}
	us := gatehouse.Client{ID: clientID, Secret: gatehouse.NewSecret("of the notes")}
	if s.sessions, err = gatehouse.NewSessions(gatehouse.SessionsConfig{Now: s.now}); err != nil {
		return nil, err
	}
	if s.login, err = gatehouse.NewRelyingParty(s.provider, gatehouse.RelyingPartyConfig{
		Client: us, RedirectURL: site + "/auth/callback", Sessions: s.sessions, LoginURL: "/auth/login",
	}); err != nil {
		return nil, err
	}
	if s.rs, err = gatehouse.NewResourceServer(s.provider, gatehouse.ResourceServerConfig{Client: us}); err != nil {
		return nil, err
	}
	if s.client, err = gatehouse.NewUMATransport(s.provider, gatehouse.UMATransportConfig{Client: us, Base: peers{s}}); err != nil {
		return nil, err
	}
	s.doors = map[string]http.Handler{
		"RequireLogin":    s.login.RequireLogin(nothing),
		"OptionalLogin":   s.login.OptionalLogin(nothing),
		"SessionHandler":  s.login.SessionHandler(),
		"LoginHandler":    s.login.LoginHandler(),
		"CallbackHandler": s.login.CallbackHandler(),
		"LogoutHandler":   s.login.LogoutHandler(),
		"UMAProtect":      s.rs.UMAProtect(gatehouse.Rules{"/album": album.AllOf("view")})(nothing),
		"Either":          gatehouse.Require(gatehouse.Either(s.login, s.rs.UMAGuard(album.AllOf("view"))))(nothing),
	}
	return s, nil
}

func (s *service) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// closeTime bounds close, so that it fails if something hangs. It does not
// judge speed, because the machine may be busy.
const closeTime = 3 * time.Minute

// close waits for the work that requests started.
func (s *service) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return errors.Join(s.sessions.Shutdown(ctx), s.rs.Shutdown(ctx), s.client.Shutdown(ctx))
}

// pathOf is the path of a door.
func pathOf(door string) string {
	switch door {
	case "CallbackHandler":
		return "/auth/callback"
	case "LogoutHandler":
		return "/auth/logout"
	case "LoginHandler":
		return "/auth/login"
	}
	return "/album"
}

// navigate makes the request of a browser that opens a page.
func navigate(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, site+path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return r
}

// do sends a request to a door.
func (s *service) do(door string, r *http.Request) *http.Response { return s.serve(s.doors[door], r) }

func (s *service) serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// attempt is a sign-in that has begun.
type attempt struct {
	cookie *http.Cookie
	query  url.Values // of the authorization request
}

func (s *service) begin() (*attempt, error) {
	resp := s.do("RequireLogin", navigate("/album"))
	to, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("no sign-in begins: %s", resp.Status)
	}
	if len(resp.Cookies()) != 1 {
		return nil, fmt.Errorf("%d cookies at the start of a sign-in", len(resp.Cookies()))
	}
	return &attempt{resp.Cookies()[0], to.Query()}, nil
}

// callback is the request that the provider sends the browser back with.
func (a *attempt) callback(code string) *http.Request {
	r := navigate("/auth/callback?" + url.Values{"code": {code}, "state": {a.query.Get("state")}}.Encode())
	r.AddCookie(a.cookie)
	return r
}

// signIn signs somebody in and returns the session's cookie.
func (s *service) signIn() (*http.Cookie, error) {
	a, err := s.begin()
	if err != nil {
		return nil, err
	}
	s.op.expect(a.query.Get("nonce"))
	resp := s.do("CallbackHandler", a.callback(goodCode))
	for _, c := range resp.Cookies() {
		if c.Value != "" && c.Name != a.cookie.Name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the callback answered %s", resp.Status)
}

// peers are the resource servers of the UMA client.
type peers struct{ s *service }

func (p peers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
	if r.Header.Get("Authorization") == "" {
		resp = p.s.peer()
	}
	resp.Request = r
	return resp, nil
}
