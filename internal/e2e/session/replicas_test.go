package session_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestSessionOnEveryReplica(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	ana.WantServed(ana.On(world.ReplicaB).Get("/open"))
}

// LO1: a sign-out on A takes effect on B before the redirect.
func TestLO1_LogoutOnEveryReplica(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
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

// M13: a handler that is still running when the person signs out does not bring
// the session back, whatever it does with it.
func TestM13_SlowHandlerDoesNotResurrect(t *testing.T) {
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
			s := world.NewSite(t, world.TwoReplicas, func(o *world.SiteOptions) {
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
func TestM13_LogoutBetweenAnyTwoCalls(t *testing.T) {
	for n := 0; ; n++ {
		s := world.NewSite(t, world.TwoReplicas, world.Watched)
		ana := s.Visitor("ana")
		cookie := ana.SignIn()
		name := ana.SessionName()
		s.Advance(6 * time.Minute)
		logout := s.Visitor("ana")
		logout.SetCookie(name, cookie)
		reached := interrupt(s, n, func() { logout.Post("/auth/logout", nil) })
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

// interrupt runs f once, before the nth call from now to the site's store or to
// one of the others.
func interrupt(s *world.Site, n int, f func(), others ...*world.WatchedStore) (reached func() bool) {
	var mu sync.Mutex
	calls := 0
	stores := append(others, s.Watched())
	between := func(f func(string, string)) {
		for _, store := range stores {
			store.Between(f)
		}
	}
	between(func(string, string) {
		mu.Lock()
		mine := calls == n
		calls++
		mu.Unlock()
		if mine {
			between(nil)
			f()
		}
	})
	return func() bool {
		between(nil)
		mu.Lock()
		defer mu.Unlock()
		return calls > n
	}
}

// SE3: the second person in one browser replaces the first.
func TestSE3_AnotherPersonSignsIn(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	b := s.Visitor("ana")
	cookie := b.SignIn()
	name := b.SessionName()
	s.EndSessions("ana") // at the provider: the next sign-in asks who it is
	b.User = "ben"
	b.Visit("/auth/login")
	b.WantServed(b.On(world.ReplicaB).Get("/notes/"))
	thief := s.Visitor("ana")
	thief.SetCookie(name, cookie)
	thief.WantOut(thief.On(world.ReplicaB).Get("/notes/"))
	s.Shutdown(world.ReplicaA)
	if got := s.Count(opserver.EndpointRevoke); got != 1 {
		t.Errorf("%d revocations, want that of ana's refresh token", got)
	}
	if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] == "" {
		t.Errorf("logout events %q, want one with a code", got)
	}
	list, err := s.Replicas[world.ReplicaB].Sessions.List(context.Background(), world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 0 {
		t.Errorf("ana has %d sessions, err %v", len(list), err)
	}
}

func TestSessionsList(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ctx := context.Background()
	phone, laptop := s.Visitor("ana"), s.Visitor("ana")
	begin := s.Now()
	phone.SignIn()
	s.Advance(10 * time.Minute)
	laptop.SignIn()
	sessions := s.Replicas[world.ReplicaB].Sessions
	list, err := sessions.List(ctx, world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	if !list[0].Began.After(list[1].Began) || !list[1].Began.Equal(begin) || !list[1].Ends.Equal(begin.Add(12*time.Hour)) {
		t.Errorf("sessions %+v, want the newest first", list)
	}
	for _, one := range list {
		if strings.Contains(phone.SessionCookie()+laptop.SessionCookie(), one.ID) {
			t.Error("the id in the list is in the cookie")
		}
	}
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ben-1", list[1].ID)) // not his
	s.Must(sessions.Revoke(ctx, "https://other.test", "ana-1", list[1].ID))
	phone.WantServed(phone.Get("/notes/"))
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[1].ID))
	phone.WantOut(phone.Get("/notes/"))
	laptop.WantServed(laptop.Get("/notes/"))
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[1].ID)) // a session that is gone is not an error
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", "nothing"))
	if list, err = sessions.List(ctx, world.SiteIssuer, "ana-1"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions, err %v", len(list), err)
	}
	revokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1")
	if list, err = sessions.List(ctx, world.SiteIssuer, "ana-1"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions after RevokeAll, err %v", len(list), err)
	}
	if list, err = sessions.List(ctx, world.SiteIssuer, "nobody"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions of an unknown person, err %v", len(list), err)
	}
}

// A person has at most 100 sessions. One that a sign-in replaces does not count:
// in a browser that has one already, no other session ends. One more browser
// ends the oldest.
func TestSessionsListIsFull(t *testing.T) {
	s := world.NewSite(t)
	browsers := make([]*world.Visitor, 100)
	for i := range browsers {
		browsers[i] = s.Visitor("ana")
		browsers[i].SignIn()
		s.Advance(time.Second)
	}
	live := func() int {
		list, err := s.Replicas[0].Sessions.List(t.Context(), world.SiteIssuer, "ana-1")
		s.Must(err)
		return len(list)
	}
	for range 3 {
		browsers[50].Visit("/auth/login")
		s.Advance(time.Second)
	}
	browsers[0].WantServed(browsers[0].Get("/notes/"))
	if got := live(); got != 100 || s.Logged("code=oldest") != 0 {
		t.Errorf("%d sessions, %d ended as the oldest", got, s.Logged("code=oldest"))
	}
	more := s.Visitor("ana")
	more.SignIn()
	browsers[0].WantOut(browsers[0].Get("/notes/"))
	browsers[1].WantServed(browsers[1].Get("/notes/"))
	if got := live(); got != 100 || s.Logged("code=oldest") != 1 {
		t.Errorf("%d sessions, %d ended as the oldest", got, s.Logged("code=oldest"))
	}
}

// SE3 for the application's data: nothing from the first person's session is
// readable in the second's, on either replica.
func TestSE3_NothingPassesOn(t *testing.T) {
	var saw []string
	s := world.NewSite(t, world.TwoReplicas, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
				if id.Subject == "ana-1" {
					return id.SetClaim("cart", "of-ana")
				}
				return nil
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/all", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				var all map[string]any
				if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
					t.Error(err)
				}
				token, err := login.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				saw = append(saw, world.JSON(t, all), token.AccessToken)
			})))
		}
	})
	b := s.Visitor("ana")
	b.SignIn()
	b.Get("/all")
	anas := saw
	saw = nil
	s.EndSessions("ana")
	b.User = "ben"
	b.Visit("/auth/login")
	for at := range s.Replicas {
		b.On(at).Get("/all")
	}
	if len(anas) != 2 || len(saw) != 4 {
		t.Fatalf("%d and %d answers", len(anas), len(saw))
	}
	for _, got := range saw {
		if strings.Contains(got, "ana") || got == anas[1] {
			t.Error("ben's session has something of ana's")
		}
	}
}
