package gatehouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// hooked is a site with an OnSignIn and a page that tells two claims.
func hooked(t testing.TB, hook func(ctx context.Context, id *gatehouse.Identity) error, change ...func(*siteOptions)) *site {
	t.Helper()
	return newSite(t, append(change, func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) { c.OnSignIn = hook }
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/claims", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id := gatehouse.IdentityFrom(r.Context())
				fmt.Fprintf(w, "%s: local %q, email %q", id.Subject, id.ClaimString("local_id"), id.ClaimString("email"))
			})))
		}
	})...)
}

// OnSignIn sees who signs in before there is a session. The claims it sets are
// there at every later request, on every replica; other changes are ignored.
func TestOnSignInAddsClaims(t *testing.T) {
	var mu sync.Mutex
	var saw []string
	s := hooked(t, func(ctx context.Context, id *gatehouse.Identity) error {
		mu.Lock()
		defer mu.Unlock()
		saw = append(saw, fmt.Sprint(id.Issuer, " ", id.Subject, " ", id.ClientID, " ", id.ClaimString("email"), " ", id.Via))
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the context of OnSignIn never ends")
		}
		if err := id.SetClaim("email", nil); err != nil {
			return err
		}
		if err := id.SetClaim("local_id", "u-17"); err != nil {
			return err
		}
		id.Subject, id.Issuer, id.Expires = "ben-1", "https://op2.test", time.Time{}
		return nil
	}, twoReplicas)
	ana := s.visitor("ana")
	ana.signIn()
	for range 3 {
		for at := range s.replicas {
			if got := ana.on(at).get("/claims").Body.String(); got != `ana-1: local "u-17", email ""` {
				t.Errorf("replica %d: %s", at, got)
			}
		}
		s.advance(past) // the tokens are renewed: the claims stay
	}
	if want := siteIssuer + " ana-1 notes ana@example.org session"; len(saw) != 1 || saw[0] != want {
		t.Errorf("OnSignIn saw %q, want %q once", saw, want)
	}
}

var errDatabase = errors.New("database of the marker-of-hook is away")

// An OnSignIn that fails leaves no session, no cookie and no login event, and
// what it said is in the log only. The next sign-in works.
func TestOnSignInRefuses(t *testing.T) {
	blocked := &gatehouse.Error{Code: "blocked", Status: http.StatusUnavailableForLegalReasons, Message: "Your account is blocked.", Err: errDatabase}
	for _, c := range []struct {
		name    string
		hook    func() error
		status  int
		code    string
		message string
	}{
		{"own error", func() error { return blocked }, 451, "blocked", "Your account is blocked."},
		{"own error wrapped", func() error { return fmt.Errorf("linking: %w", blocked) }, 451, "blocked", "Your account is blocked."},
		{"another error", func() error { return errDatabase }, 503, "sign_in_hook_failed", "We cannot sign you in right now."},
		{"panic with an error", func() error { panic(errDatabase) }, 500, "internal", "Something went wrong on our side."},
		{"panic with a text", func() error { panic("marker-of-panic") }, 500, "internal", "Something went wrong on our side."},
	} {
		t.Run(c.name, func(t *testing.T) {
			fails := true
			s := hooked(t, func(context.Context, *gatehouse.Identity) error {
				if fails {
					return c.hook()
				}
				return nil
			}, watched)
			ana := s.visitor("ana")
			callback := ana.toCallback("/notes/")
			written := s.watched().writeCount()
			a := ana.get(callback)
			s.wantRefusal(a, c.status)
			if body := a.Body.String(); !strings.Contains(body, c.message) || strings.Contains(body, "marker-of") || strings.Contains(body, ".go:") {
				t.Errorf("got %v; want a page that says %q and no cause", a, c.message)
			}
			if s.lastCode() != c.code || len(s.eventsOf(gatehouse.EventLogin)) != 0 {
				t.Errorf("code %q, login events %q; want %q and none", s.lastCode(), s.eventsOf(gatehouse.EventLogin), c.code)
			}
			for _, cookie := range a.Result().Cookies() {
				if cookie.MaxAge >= 0 {
					t.Errorf("the refusal sets the cookie %s", cookie.Name)
				}
			}
			if n := s.watched().writeCount() - written; n != 1 { // the used state
				t.Errorf("%d writes to the store, want 1", n)
			}
			if got := ana.cookies(); len(got) != 0 {
				t.Errorf("%d cookies left", len(got))
			}
			ana.wantOut(ana.get("/notes/"))
			fails = false
			ana.wantServed(ana.visit("/notes/"))
		})
	}
}

func (s *watchedStore) writeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// A panic of OnSignIn: the stack is in the log and what it panicked with is
// nowhere, because that may quote anything (RL8).
func TestOnSignInPanicIsLogged(t *testing.T) {
	s := hooked(t, func(context.Context, *gatehouse.Identity) error { panic("marker-of-panic") })
	ana := s.visitor("ana")
	a := ana.get(ana.toCallback("/notes/"))
	s.wantRefusal(a, http.StatusInternalServerError)
	if s.logged("hooks_test.go") == 0 {
		t.Error("the stack is not in the log")
	}
	if s.logged("marker-of-panic") != 0 {
		t.Error("what the hook panicked with is in the log")
	}
	if strings.Contains(a.Body.String(), "goroutine") || strings.Contains(a.Body.String(), "hooks_test") {
		t.Errorf("the stack is on the page: %v", a)
	}
}

// Who has a session and is refused at a sign-in once more keeps the session.
func TestOnSignInRefusedSecondTime(t *testing.T) {
	refuse := false
	s := hooked(t, func(context.Context, *gatehouse.Identity) error {
		if refuse {
			return errDatabase
		}
		return nil
	})
	ana := s.visitor("ana")
	before := ana.signIn()
	refuse = true
	s.wantRefusal(ana.visit("/auth/login"), http.StatusServiceUnavailable)
	if ana.sessionCookie() != before {
		t.Error("the cookie of the session changed")
	}
	ana.wantServed(ana.get("/notes/"))
}

// sessionSite has SessionHandler at /auth/session.
func sessionSite(t testing.TB, change ...func(*siteOptions)) *site {
	t.Helper()
	return newSite(t, append([]func(*siteOptions){watched, func(o *siteOptions) {
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/auth/session", login.SessionHandler())
		}
	}}, change...)...)
}

// ask reads an answer of SessionHandler, which is 200.
func (b *visitor) ask() map[string]any {
	b.s.t.Helper()
	a := b.fetch(http.MethodGet, "/auth/session")
	h := a.Header()
	if a.Code != http.StatusOK || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Vary") != "Cookie" {
		b.s.t.Fatalf("got %v with %v", a, h)
	}
	var m map[string]any
	b.s.must(json.Unmarshal(a.Body.Bytes(), &m))
	return m
}

func TestSessionHandler(t *testing.T) {
	s := sessionSite(t)
	ana := s.visitor("ana")
	out := `{"login_url":"/auth/login","signed_in":false}`
	if got := toJSON(t, ana.ask()); got != out {
		t.Errorf("signed out: %s, want %s", got, out)
	}
	begin := s.Now()
	ana.signIn()
	s.advance(time.Minute)
	m := ana.ask()
	claims, _ := m["claims"].(map[string]any)
	if claims["email"] != "ana@example.org" || claims["sub"] != "ana-1" {
		t.Errorf("claims %v", claims)
	}
	delete(m, "claims")
	want := fmt.Sprintf(`{"expires":%q,"idle_ends":%q,"issuer":%q,"signed_in":true,"subject":"ana-1"}`,
		begin.Add(12*time.Hour).Format(time.RFC3339), begin.Add(30*time.Minute).Format(time.RFC3339), siteIssuer)
	if got := toJSON(t, m); got != want {
		t.Errorf("signed in: %s, want %s", got, want)
	}
	if a := ana.fetch(http.MethodHead, "/auth/session"); a.Code != http.StatusOK {
		t.Errorf("HEAD: %v", a)
	}
	ana.follow(ana.post("/auth/logout", nil), nil)
	if got := toJSON(t, ana.ask()); got != out {
		t.Errorf("after sign-out: %s, want %s", got, out)
	}
}

// Without an idle limit none is told.
func TestSessionHandlerWithoutIdleLimit(t *testing.T) {
	s := sessionSite(t, limits(2*time.Hour, -1))
	ana := s.visitor("ana")
	end := s.Now().Add(2 * time.Hour).Format(time.RFC3339)
	ana.signIn()
	m := ana.ask()
	if _, has := m["idle_ends"]; has || m["expires"] != end {
		t.Errorf("idle_ends %v, expires %v; want none and %v", m["idle_ends"], m["expires"], end)
	}
}

// Asking is no activity: it writes nothing, and the session ends by its idle
// limit at the time that was told.
func TestSessionHandlerIsNoActivity(t *testing.T) {
	s := sessionSite(t)
	ana := s.visitor("ana")
	ana.signIn()
	told, written := ana.ask()["idle_ends"], s.watched().writeCount()
	for range 29 {
		s.advance(time.Minute)
		if m := ana.ask(); m["signed_in"] != true || m["idle_ends"] != told {
			t.Fatalf("signed in %v until %v, want until %v", m["signed_in"], m["idle_ends"], told)
		}
	}
	if n := s.watched().writeCount() - written; n != 0 {
		t.Errorf("asking wrote %d times to the store", n)
	}
	s.advance(time.Minute)
	if m := ana.ask(); m["signed_in"] != false {
		t.Errorf("still signed in at %v", told)
	}
	ana.wantOut(ana.get("/notes/"))
}

// A store in trouble is 503, never "signed out"; other methods are 405.
func TestSessionHandlerRefusals(t *testing.T) {
	s := sessionSite(t)
	ana := s.visitor("ana")
	ana.signIn()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		a := ana.fetch(method, "/auth/session")
		s.wantRefusal(a, http.StatusMethodNotAllowed)
		if got := a.Header().Get("Allow"); got != "GET, HEAD" {
			t.Errorf("%s: Allow %q", method, got)
		}
	}
	store := s.watched()
	setErr := func(err error) { store.mu.Lock(); store.err = err; store.mu.Unlock() }
	setErr(errDatabase)
	a := ana.fetch(http.MethodGet, "/auth/session")
	s.wantRefusal(a, http.StatusServiceUnavailable)
	if strings.Contains(a.Body.String(), "signed_in") || strings.Contains(a.Body.String(), "marker-of") {
		t.Errorf("got %v", a)
	}
	setErr(nil)
	if m := ana.ask(); m["signed_in"] != true {
		t.Errorf("after the trouble: %v", m)
	}
}

// An *Error that says nothing of its status is a refusal, never a success.
func TestOnSignInStatus(t *testing.T) {
	for given, want := range map[int]int{0: 403, 403: 403, 451: 451, 503: 503, 200: 500, 302: 500, 700: 500} {
		s := hooked(t, func(context.Context, *gatehouse.Identity) error {
			return &gatehouse.Error{Code: "not_invited", Status: given, Message: "You are not invited."}
		})
		ana := s.visitor("ana")
		if a := ana.get(ana.toCallback("/notes/")); a.Code != want || ana.sessionName() != "" {
			t.Errorf("status %d: %v, want %d", given, a, want)
		}
	}
}
