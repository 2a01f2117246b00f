package gatehouse_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	replicaA = iota
	replicaB
)

// on is the same browser at another replica.
func (b *visitor) on(at int) *visitor {
	v := *b
	v.at = at
	return &v
}

// revokeAll ends all of a person's sessions, asked of a replica.
func (s *site) revokeAll(at int, issuer, subject string) {
	s.t.Helper()
	s.must(s.replicas[at].sessions.RevokeAll(context.Background(), issuer, subject))
}

func TestSessionOnEveryReplica(t *testing.T) {
	s := newSite(t, twoReplicas)
	ana := s.visitor("ana")
	ana.signIn()
	ana.wantServed(ana.on(replicaB).get("/notes/"))
	ana.wantServed(ana.on(replicaB).get("/open"))
}

// LO1: signed out on A is signed out on B, before the redirect.
func TestLO1_LogoutOnEveryReplica(t *testing.T) {
	s := newSite(t, twoReplicas)
	ana, copied, other := s.visitor("ana"), s.visitor("ana"), s.visitor("ana")
	cookie := ana.signIn()
	other.signIn()
	copied.setCookie(ana.sessionName(), cookie)
	copied.wantServed(copied.on(replicaB).get("/notes/"))
	if a := ana.post("/auth/logout", nil); a.Code != http.StatusSeeOther {
		t.Fatalf("sign-out: %v", a)
	}
	for at := range 2 {
		copied.wantOut(copied.on(at).get("/notes/"))
	}
	if got := copied.on(replicaB).fetch(http.MethodGet, "/notes/"); got.Code != http.StatusUnauthorized {
		t.Errorf("a script got %v", got)
	}
	other.wantServed(other.on(replicaB).get("/notes/")) // another device stays
}

// M13: a handler that is still busy when the person signs out does not bring the
// session back, whatever it does with it.
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
			s := newSite(t, twoReplicas, func(o *siteOptions) {
				o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
					mux.Handle("/slow", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						close(entered)
						<-leave
						_ = use.do(login, r.Context())
					})))
				}
			})
			ana := s.visitor("ana")
			cookie := ana.signIn()
			name := ana.sessionName()
			s.advance(6 * time.Minute) // an idle write and, with a token of 5 min, a refresh are due
			done := make(chan struct{})
			go func() {
				defer close(done)
				ana.on(replicaB).get("/slow")
			}()
			<-entered
			ana.post("/auth/logout", nil)
			close(leave)
			<-done
			s.shutdown(replicaB)
			thief := s.visitor("ana")
			thief.setCookie(name, cookie)
			for at := range 2 {
				thief.wantOut(thief.on(at).get("/notes/"))
			}
		})
	}
}

// M13 at every instant: a sign-out on A before the nth store call of a request
// on B. The session is dead afterwards, and stays so.
func TestM13_LogoutBetweenAnyTwoCalls(t *testing.T) {
	for n := 0; ; n++ {
		s := newSite(t, twoReplicas, watched)
		ana := s.visitor("ana")
		cookie := ana.signIn()
		name := ana.sessionName()
		s.advance(6 * time.Minute)
		logout := s.visitor("ana")
		logout.setCookie(name, cookie)
		reached := s.interrupt(n, func() { logout.post("/auth/logout", nil) })
		ana.on(replicaB).get("/notes/")
		s.shutdown(replicaB)
		if !reached() {
			if n < 3 {
				t.Errorf("a request made %d store calls: the test no longer tests", n)
			}
			return
		}
		for at := range 2 {
			thief := s.visitor("ana")
			thief.setCookie(name, cookie)
			thief.wantOut(thief.on(at).get("/notes/"))
		}
	}
}

// interrupt runs f once, before the nth store call from now.
func (s *site) interrupt(n int, f func()) (reached func() bool) {
	var mu sync.Mutex
	calls := 0
	store := s.watched()
	store.between(func(string, string) {
		mu.Lock()
		mine := calls == n
		calls++
		mu.Unlock()
		if mine {
			store.between(nil)
			f()
		}
	})
	return func() bool {
		store.between(nil)
		mu.Lock()
		defer mu.Unlock()
		return calls > n
	}
}

func TestRevokeAll(t *testing.T) {
	s := newSite(t, twoReplicas)
	phone, laptop, ben := s.visitor("ana"), s.visitor("ana"), s.visitor("ben")
	phone.signIn()
	laptop.signIn()
	ben.signIn()
	s.revokeAll(replicaA, "https://other.test", "ana-1") // op2's person of the same subject
	phone.wantServed(phone.on(replicaB).get("/notes/"))
	s.revokeAll(replicaA, siteIssuer, "ana-1")
	for _, b := range []*visitor{phone, laptop} {
		for at := range 2 {
			b.wantOut(b.on(at).get("/notes/"))
		}
	}
	ben.wantServed(ben.on(replicaB).get("/notes/"))
	s.advance(5 * time.Second)
	s.ResetCounts()
	phone.signIn()
	phone.wantServed(phone.on(replicaB).get("/notes/"))
	if got := s.Count(opserver.EndpointAuthorize); got != 1 {
		t.Errorf("a new sign-in took %d authorization requests, want 1", got)
	}
	laptop.wantOut(laptop.get("/notes/"))
	s.revokeAll(replicaB, siteIssuer, "ana-1") // and once more
	phone.wantOut(phone.get("/notes/"))
	phone.signIn() // within the second in which clocks may differ: it starts over, and lives
	phone.wantServed(phone.on(replicaB).get("/notes/"))
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// Sessions of a provider that names no sid end by the subject's mark too.
func TestRevokeAllWithoutSID(t *testing.T) {
	s := newSite(t, twoReplicas)
	s.retoken(t, func(_, claims map[string]any) { delete(claims, "sid") })
	ana := s.visitor("ana")
	ana.signIn()
	s.revokeAll(replicaB, siteIssuer, "ana-1")
	ana.wantOut(ana.get("/notes/"))
}

// A sign-in that began before RevokeAll and comes back after it starts over, and
// ends in a session that lives.
func TestRevokeAllWithCallbackInFlight(t *testing.T) {
	for _, wait := range []time.Duration{0, 2 * time.Second} {
		s := newSite(t, twoReplicas)
		ana := s.visitor("ana")
		callback := ana.toCallback("/notes/9")
		s.advance(wait)
		s.revokeAll(replicaA, siteIssuer, "ana-1")
		s.advance(wait)
		a := ana.on(replicaB).get(callback)
		ana.wantOut(a) // a new authorization request, no session
		if ana.sessionName() != "" {
			t.Error("a session came with the new start")
		}
		if old, now := queryOf(t, callback).Get("state"), queryOf(t, a.location()).Get("state"); old == now {
			t.Error("the new start has the old state")
		}
		a = ana.follow(a, nil)
		ana.wantServed(a)
		if a.url.Path != "/notes/9" {
			t.Errorf("came back to %s", a.url.Path)
		}
		if v := s.Violations(); len(v) != 0 {
			t.Errorf("the provider saw %q", v)
		}
	}
}

// At most twice: then the error page, instead of a loop.
func TestRevokeAllAgainAndAgain(t *testing.T) {
	s := newSite(t, twoReplicas)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) {
		s.revokeAll(replicaB, siteIssuer, "ana-1")
		s.advance(time.Second)
	})
	ana := s.visitor("ana")
	a := ana.visit("/notes/")
	s.wantRefusal(a, http.StatusForbidden)
	if s.lastCode() != "login_superseded" || ana.sessionName() != "" {
		t.Errorf("code %q, session cookie %q", s.lastCode(), ana.sessionName())
	}
	if got := s.Count(opserver.EndpointToken); got != 3 {
		t.Errorf("%d codes were redeemed, want 3", got)
	}
	s.OnRequest(opserver.EndpointToken, nil)
	ana.wantServed(ana.visit("/notes/"))
}

// RevokeAll on A before the nth store call of a callback on B: no session of
// that attempt lives.
func TestRevokeAllBetweenAnyTwoCalls(t *testing.T) {
	for n := 0; ; n++ {
		s := newSite(t, twoReplicas, watched)
		s.visitor("ben").on(replicaB).signIn() // both replicas are warm
		ana := s.visitor("ana")
		callback := ana.toCallback("/notes/")
		s.advance(3 * time.Second)
		reached := s.interrupt(n, func() { s.revokeAll(replicaA, siteIssuer, "ana-1") })
		a := ana.on(replicaB).get(callback)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls: the test no longer tests", n)
			}
			ana.wantServed(ana.follow(a, nil))
			return
		}
		if cookie := ana.sessionCookie(); cookie != "" {
			ana.wantOut(ana.get("/notes/"))
		} else if !strings.HasPrefix(a.location(), s.endpoint["authorization_endpoint"]) {
			t.Errorf("call %d: %v", n, a)
		}
		ana.wantServed(ana.visit("/notes/"))
	}
}

// SE3: the second person in one browser replaces the first.
func TestSE3_AnotherPersonSignsIn(t *testing.T) {
	s := newSite(t, twoReplicas)
	b := s.visitor("ana")
	cookie := b.signIn()
	name := b.sessionName()
	s.EndSessions("ana") // at the provider: the next sign-in asks who it is
	b.user = "ben"
	b.visit("/auth/login")
	b.wantServed(b.on(replicaB).get("/notes/"))
	thief := s.visitor("ana")
	thief.setCookie(name, cookie)
	thief.wantOut(thief.on(replicaB).get("/notes/"))
	s.shutdown(replicaA)
	if got := s.Count(opserver.EndpointRevoke); got != 1 {
		t.Errorf("%d revocations, want that of ana's refresh token", got)
	}
	if got := s.eventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] == "" {
		t.Errorf("logout events %q, want one with a code", got)
	}
	list, err := s.replicas[replicaB].sessions.List(context.Background(), siteIssuer, "ana-1")
	if err != nil || len(list) != 0 {
		t.Errorf("ana has %d sessions, err %v", len(list), err)
	}
}

func TestSessionsList(t *testing.T) {
	s := newSite(t, twoReplicas)
	ctx := context.Background()
	phone, laptop := s.visitor("ana"), s.visitor("ana")
	begin := s.Now()
	phone.signIn()
	s.advance(10 * time.Minute)
	laptop.signIn()
	sessions := s.replicas[replicaB].sessions
	list, err := sessions.List(ctx, siteIssuer, "ana-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	if !list[0].Began.After(list[1].Began) || !list[1].Began.Equal(begin) || !list[1].Ends.Equal(begin.Add(12*time.Hour)) {
		t.Errorf("sessions %+v, want the newest first", list)
	}
	for _, one := range list {
		if strings.Contains(phone.sessionCookie()+laptop.sessionCookie(), one.ID) {
			t.Error("the id in the list is in the cookie")
		}
	}
	s.must(sessions.Revoke(ctx, siteIssuer, "ben-1", list[1].ID)) // not his
	s.must(sessions.Revoke(ctx, "https://other.test", "ana-1", list[1].ID))
	phone.wantServed(phone.get("/notes/"))
	s.must(sessions.Revoke(ctx, siteIssuer, "ana-1", list[1].ID))
	phone.wantOut(phone.get("/notes/"))
	laptop.wantServed(laptop.get("/notes/"))
	s.must(sessions.Revoke(ctx, siteIssuer, "ana-1", list[1].ID)) // gone is no error
	s.must(sessions.Revoke(ctx, siteIssuer, "ana-1", "nothing"))
	if list, err = sessions.List(ctx, siteIssuer, "ana-1"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions, err %v", len(list), err)
	}
	s.revokeAll(replicaA, siteIssuer, "ana-1")
	if list, err = sessions.List(ctx, siteIssuer, "ana-1"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions after RevokeAll, err %v", len(list), err)
	}
	if list, err = sessions.List(ctx, siteIssuer, "nobody"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions of nobody, err %v", len(list), err)
	}
}

// SE3 beside the session itself: nothing that the first person's session knew is
// readable in the second's, on either replica.
func TestSE3_NothingPassesOn(t *testing.T) {
	var saw []string
	s := newSite(t, twoReplicas, func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
				if id.Subject == "ana-1" {
					return id.SetClaim("cart", "of-ana")
				}
				return nil
			}
		}
		o.mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
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
				saw = append(saw, toJSON(t, all), token.AccessToken)
			})))
		}
	})
	b := s.visitor("ana")
	b.signIn()
	b.get("/all")
	anas := saw
	saw = nil
	s.EndSessions("ana")
	b.user = "ben"
	b.visit("/auth/login")
	for at := range s.replicas {
		b.on(at).get("/all")
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
