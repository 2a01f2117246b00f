package session_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func TestRevokeAll(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	phone, laptop, ben := s.Visitor("ana"), s.Visitor("ana"), s.Visitor("ben")
	phone.SignIn()
	laptop.SignIn()
	ben.SignIn()
	stories.RevokeAll(s, world.ReplicaA, "https://other.test", "ana-1") // op2's person with the same subject
	phone.WantServed(phone.On(world.ReplicaB).Get("/notes/"))
	stories.RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1")
	for _, b := range []*world.Visitor{phone, laptop} {
		for at := range 2 {
			b.WantOut(b.On(at).Get("/notes/"))
		}
	}
	ben.WantServed(ben.On(world.ReplicaB).Get("/notes/"))
	s.Advance(5 * time.Second)
	s.ResetCounts()
	phone.SignIn()
	phone.WantServed(phone.On(world.ReplicaB).Get("/notes/"))
	if got := s.Count(opserver.EndpointAuthorize); got != 1 {
		t.Errorf("a new sign-in took %d authorization requests, want 1", got)
	}
	laptop.WantOut(laptop.Get("/notes/"))
	stories.RevokeAll(s, world.ReplicaB, world.SiteIssuer, "ana-1") // and once more
	phone.WantOut(phone.Get("/notes/"))
	phone.SignIn() // within the second by which clocks may differ, so it starts over, and lives
	phone.WantServed(phone.On(world.ReplicaB).Get("/notes/"))
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// The subject's mark also ends sessions of a provider that names no sid.
func TestRevokeAllWithoutSID(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	s.Retoken(t, func(_, claims map[string]any) { delete(claims, "sid") })
	ana := s.Visitor("ana")
	ana.SignIn()
	stories.RevokeAll(s, world.ReplicaB, world.SiteIssuer, "ana-1")
	ana.WantOut(ana.Get("/notes/"))
}

// A sign-in that began before RevokeAll and returns after it starts over, and
// ends in a live session.
func TestRevokeAllWithCallbackInFlight(t *testing.T) {
	for _, wait := range []time.Duration{0, 2 * time.Second} {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/9")
		s.Advance(wait)
		stories.RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1")
		s.Advance(wait)
		a := ana.On(world.ReplicaB).Get(callback)
		ana.WantOut(a) // a new authorization request, no session
		if ana.SessionName() != "" {
			t.Error("the restart created a session")
		}
		if old, now := world.QueryOf(t, callback).Get("state"), world.QueryOf(t, a.Location()).Get("state"); old == now {
			t.Error("the restart has the old state")
		}
		a = ana.Follow(a, nil)
		ana.WantServed(a)
		if a.URL.Path != "/notes/9" {
			t.Errorf("came back to %s", a.URL.Path)
		}
		if v := s.Violations(); len(v) != 0 {
			t.Errorf("the provider saw %q", v)
		}
	}
}

// At most twice: then comes the error page, not a loop.
func TestRevokeAllAgainAndAgain(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	s.OnRequest(opserver.EndpointToken, func(*http.Request) {
		stories.RevokeAll(s, world.ReplicaB, world.SiteIssuer, "ana-1")
		s.Advance(time.Second)
	})
	ana := s.Visitor("ana")
	a := ana.Visit("/notes/")
	s.WantRefusal(a, http.StatusForbidden)
	if s.LastCode() != "login_superseded" || ana.SessionName() != "" {
		t.Errorf("code %q, session cookie %q", s.LastCode(), ana.SessionName())
	}
	if got := s.Count(opserver.EndpointToken); got != 3 {
		t.Errorf("%d codes were redeemed, want 3", got)
	}
	s.OnRequest(opserver.EndpointToken, nil)
	ana.WantServed(ana.Visit("/notes/"))
}

// RevokeAll on A comes before the nth store call of a callback on B: no session
// of that attempt lives.
func TestRevokeAllBetweenAnyTwoCalls(t *testing.T) {
	for n := 0; ; n++ {
		s := world.NewSite(t, world.TwoReplicas, world.Watched)
		s.Visitor("ben").On(world.ReplicaB).SignIn() // both replicas are warm
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		s.Advance(3 * time.Second)
		reached := stories.Interrupt(s, n, func() { stories.RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1") })
		a := ana.On(world.ReplicaB).Get(callback)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls: the test no longer tests anything", n)
			}
			ana.WantServed(ana.Follow(a, nil))
			return
		}
		if cookie := ana.SessionCookie(); cookie != "" {
			ana.WantOut(ana.Get("/notes/"))
		} else if !strings.HasPrefix(a.Location(), s.Endpoint("authorization_endpoint")) {
			t.Errorf("call %d: %v", n, a)
		}
		ana.WantServed(ana.Visit("/notes/"))
	}
}
