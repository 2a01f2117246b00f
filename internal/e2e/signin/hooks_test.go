package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// hooked is a site with an OnSignIn and a page that shows two claims.
func hooked(t testing.TB, hook func(ctx context.Context, id *gatehouse.Identity) error, change ...func(*world.SiteOptions)) *world.Site {
	t.Helper()
	return world.NewSite(t, append(change, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.OnSignIn = hook }
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/claims", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id := gatehouse.IdentityFrom(r.Context())
				fmt.Fprintf(w, "%s: local %q, email %q", id.Subject, id.ClaimString("local_id"), id.ClaimString("email"))
			})))
		}
	})...)
}

// OnSignIn sees who signs in before there is a session. The claims it sets are
// present at every later request, on every replica. Other changes are ignored.
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
	}, world.TwoReplicas)
	ana := s.Visitor("ana")
	ana.SignIn()
	for range 3 {
		for at := range s.Replicas {
			if got := ana.On(at).Get("/claims").Body.String(); got != `ana-1: local "u-17", email ""` {
				t.Errorf("replica %d: %s", at, got)
			}
		}
		s.Advance(world.Past) // the tokens are renewed and the claims stay
	}
	if want := world.SiteIssuer + " ana-1 notes ana@example.org session"; len(saw) != 1 || saw[0] != want {
		t.Errorf("OnSignIn saw %q, want %q once", saw, want)
	}
}

var errDatabase = errors.New("database of the marker-of-hook is away")

// An OnSignIn that fails leaves no session, no cookie and no login event, and
// its error appears only in the log. The next sign-in works.
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
			}, world.Watched)
			ana := s.Visitor("ana")
			callback := ana.ToCallback("/notes/")
			written := s.Watched().Writes()
			a := ana.Get(callback)
			s.WantRefusal(a, c.status)
			if body := a.Body.String(); !strings.Contains(body, c.message) || strings.Contains(body, "marker-of") || strings.Contains(body, ".go:") {
				t.Errorf("got %v; want a page that says %q and no cause", a, c.message)
			}
			if s.LastCode() != c.code || len(s.EventsOf(gatehouse.EventLogin)) != 0 {
				t.Errorf("code %q, login events %q; want %q and none", s.LastCode(), s.EventsOf(gatehouse.EventLogin), c.code)
			}
			for _, cookie := range a.Result().Cookies() {
				if cookie.MaxAge >= 0 {
					t.Errorf("the refusal sets the cookie %s", cookie.Name)
				}
			}
			if n := s.Watched().Writes() - written; n != 1 { // the used state
				t.Errorf("%d writes to the store, want 1", n)
			}
			if got := ana.Cookies(); len(got) != 0 {
				t.Errorf("%d cookies left", len(got))
			}
			ana.WantOut(ana.Get("/notes/"))
			fails = false
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// If OnSignIn panics, the stack is in the log, but the panic value appears
// nowhere, because it may contain anything (RL8).
func TestOnSignInPanicIsLogged(t *testing.T) {
	s := hooked(t, func(context.Context, *gatehouse.Identity) error { panic("marker-of-panic") })
	ana := s.Visitor("ana")
	a := ana.Get(ana.ToCallback("/notes/"))
	s.WantRefusal(a, http.StatusInternalServerError)
	if s.Logged("hooks_test.go") == 0 {
		t.Error("the stack is not in the log")
	}
	if s.Logged("marker-of-panic") != 0 {
		t.Error("what the hook panicked with is in the log")
	}
	if last := refusalOf(t, s); last.Subject != "ana-1" || last.Code != "internal" {
		t.Errorf("the line %+v does not name the person", last)
	}
	if strings.Contains(a.Body.String(), "goroutine") || strings.Contains(a.Body.String(), "hooks_test") {
		t.Errorf("the stack is on the page: %v", a)
	}
}

// A person who has a session and is refused at another sign-in keeps the
// session.
func TestOnSignInRefusedSecondTime(t *testing.T) {
	refuse := false
	s := hooked(t, func(context.Context, *gatehouse.Identity) error {
		if refuse {
			return errDatabase
		}
		return nil
	})
	ana := s.Visitor("ana")
	before := ana.SignIn()
	refuse = true
	s.WantRefusal(ana.Visit("/auth/login"), http.StatusServiceUnavailable)
	if ana.SessionCookie() != before {
		t.Error("the cookie of the session changed")
	}
	ana.WantServed(ana.Get("/notes/"))
}

// An *Error without a status is a refusal, never a success.
func TestOnSignInStatus(t *testing.T) {
	for given, want := range map[int]int{0: 403, 403: 403, 451: 451, 503: 503, 200: 500, 302: 500, 700: 500} {
		s := hooked(t, func(context.Context, *gatehouse.Identity) error {
			return &gatehouse.Error{Code: "not_invited", Status: given, Message: "You are not invited."}
		})
		ana := s.Visitor("ana")
		if a := ana.Get(ana.ToCallback("/notes/")); a.Code != want || ana.SessionName() != "" {
			t.Errorf("status %d: %v, want %d", given, a, want)
		}
	}
}
