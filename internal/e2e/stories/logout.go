package stories

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// RP-L1, LO1: what the provider is told, and the way back.
func LO1Logout(t *testing.T, on On) {
	s := world.NewSite(t, on)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Get("/auth/login") // another sign-in is under way
	a := ana.Post("/auth/logout", nil)
	if a.Code != http.StatusSeeOther || !strings.HasPrefix(a.Location(), s.Endpoint("end_session_endpoint")+"?") || a.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("got %v", a)
	}
	q := world.QueryOf(t, a.Location())
	if q.Get("client_id") != "notes" || q.Get("post_logout_redirect_uri") != s.Origin+"/auth/logout" || len(q.Get("state")) < 22 {
		t.Errorf("client_id %q, post_logout_redirect_uri %q, state of %d", q.Get("client_id"), q.Get("post_logout_redirect_uri"), len(q.Get("state")))
	}
	if hint := world.TokenClaims(t, q.Get("id_token_hint")); hint["sub"] != "ana-1" || hint["aud"] != "notes" {
		t.Errorf("id_token_hint of %v for %v", hint["sub"], hint["aud"])
	}
	if ana.SessionName() != "" || len(ana.Attempts()) != 0 {
		t.Errorf("cookies %v are left (CK3)", ana.Cookies())
	}
	back := ana.Follow(a, nil)
	if back.Code != http.StatusOK || back.URL.Path != "/auth/logout" || !strings.Contains(back.Body.String(), "signed out") {
		t.Errorf("the way back ends in %v", back)
	}
	if len(ana.Cookies()) != 0 {
		t.Errorf("cookies %v are left after the way back", ana.Cookies())
	}
	ana.WantOut(ana.Get("/notes/"))
	s.ShutdownAll()
	if got := s.RevokedTokens(); len(got) != 1 || got[0] == "" {
		t.Errorf("%d tokens revoked, want the refresh token", len(got))
	}
	if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] != "" {
		t.Errorf("logout events %q", got)
	}
	// The provider has signed her out too: the next sign-in asks who it is.
	if page := ana.Follow(ana.Get("/notes/"), func(u *url.URL) bool { return u.Path == "/auth/callback" }); page.Code != http.StatusSeeOther {
		t.Errorf("next sign-in: %v", page)
	}
	if got := s.Count(opserver.EndpointPages); got != 2 {
		t.Errorf("the provider showed %d forms, want 2", got)
	}
}

// LO1: a sign-out on A takes effect on B before the redirect.
func LO1LogoutOnEveryReplica(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas)
	ana, copied, other := s.Visitor("ana"), s.Visitor("ana"), s.Visitor("ana")
	cookie := ana.SignIn()
	other.SignIn()
	copied.SetCookie(ana.SessionName(), cookie)
	copied.WantServed(copied.On(world.ReplicaB).Get("/notes/"))
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther {
		t.Fatalf("sign-out: %v", a)
	}
	for at := range 2 {
		copied.WantOut(copied.On(at).Get("/notes/"))
	}
	if got := copied.On(world.ReplicaB).Fetch(http.MethodGet, "/notes/"); got.Code != http.StatusUnauthorized {
		t.Errorf("a script got %v", got)
	}
	other.WantServed(other.On(world.ReplicaB).Get("/notes/")) // another device stays signed in
}

// LO1: when the redirect is sent, the session is already dead on both replicas,
// and the revocation of its refresh token is given up after 2 s.
func LO1DeadBeforeTheRedirect(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas)
	var left time.Duration
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("revocation_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, context.DeadlineExceeded
	})
	ana, thief := s.Visitor("ana"), s.Visitor("ana")
	cookie := ana.SignIn()
	thief.SetCookie(ana.SessionName(), cookie)
	thief.WantServed(thief.On(world.ReplicaB).Get("/notes/"))
	asked := false
	inner := s.Replicas[world.ReplicaA].Mux
	s.Replicas[world.ReplicaA].Mux = http.NewServeMux()
	s.Replicas[world.ReplicaA].Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w = &beforeHeader{w, func() {
				asked = true
				thief.WantOut(thief.On(world.ReplicaB).Get("/notes/"))
				w := httptest.NewRecorder()
				page := thief.Request(http.MethodGet, "/open", nil)
				page.AddCookie(&http.Cookie{Name: ana.SessionName(), Value: cookie})
				inner.ServeHTTP(w, page)
				if w.Body.String() != "served nobody" {
					t.Errorf("replica A: %q", w.Body)
				}
			}}
		}
		inner.ServeHTTP(w, r)
	})
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || !asked {
		t.Errorf("got %v", a)
	}
	s.ShutdownAll()
	if left <= 0 || left > 2*time.Second {
		t.Errorf("a silent revocation would be waited for %v, want at most 2 s", left)
	}
	thief.WantOut(thief.Get("/notes/")) // its failure does not keep the session
}

// M13: a handler that is still running when the person signs out does not bring
// the session back, whatever it does with it.
func M13SlowHandlerDoesNotResurrect(t *testing.T, on On) {
	for _, use := range []struct {
		name string
		do   func(login *gatehouse.RelyingParty, ctx context.Context) error
	}{
		{"idle handler", func(*gatehouse.RelyingParty, context.Context) error { return nil }},
		{"token wanted", func(login *gatehouse.RelyingParty, ctx context.Context) error {
			_, err := login.Token(ctx)
			return err
		}},
	} {
		t.Run(use.name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			s := world.NewSite(t, on, world.TwoReplicas, func(o *world.SiteOptions) {
				o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/slow", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						close(entered)
						<-leave
						_ = use.do(login, r.Context())
					})))
				}
			})
			ana := s.Visitor("ana")
			cookie := ana.SignIn()
			name := ana.SessionName()
			s.Advance(6 * time.Minute) // an idle write is due and, with a token of 5 min, a refresh
			done := make(chan struct{})
			go func() {
				defer close(done)
				ana.On(world.ReplicaB).Get("/slow")
			}()
			<-entered
			ana.Post("/auth/logout", nil)
			close(leave)
			<-done
			s.Shutdown(world.ReplicaB)
			thief := s.Visitor("ana")
			thief.SetCookie(name, cookie)
			for at := range 2 {
				thief.WantOut(thief.On(at).Get("/notes/"))
			}
		})
	}
}

// M13 at every instant: a sign-out on A comes before the nth store call of a
// request on B. Afterwards the session is dead and stays dead.
func M13LogoutBetweenAnyTwoCalls(t *testing.T, on On) {
	for n := 0; ; n++ {
		s := world.NewSite(t, on, world.TwoReplicas, world.Watched)
		ana := s.Visitor("ana")
		cookie := ana.SignIn()
		name := ana.SessionName()
		s.Advance(6 * time.Minute)
		logout := s.Visitor("ana")
		logout.SetCookie(name, cookie)
		reached := Interrupt(s, n, func() { logout.Post("/auth/logout", nil) })
		ana.On(world.ReplicaB).Get("/notes/")
		s.Shutdown(world.ReplicaB)
		if !reached() {
			if n < 3 {
				t.Errorf("a request made %d store calls: the test no longer tests anything", n)
			}
			return
		}
		for at := range 2 {
			thief := s.Visitor("ana")
			thief.SetCookie(name, cookie)
			thief.WantOut(thief.On(at).Get("/notes/"))
		}
	}
}

// beforeHeader runs f just before the status of an answer is sent.
type beforeHeader struct {
	http.ResponseWriter
	f func()
}

func (w *beforeHeader) WriteHeader(status int) {
	w.f()
	w.ResponseWriter.WriteHeader(status)
}
