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

func TestSessionWithoutIdleLimit(t *testing.T) {
	s := world.NewSite(t, world.Watched, world.Limits(48*time.Hour, -1))
	s.SetTokenLifetime(96 * time.Hour)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Watched().Counts()
	s.Advance(47 * time.Hour)
	ana.WantServed(ana.Get("/notes/"))
	if _, writes := s.Watched().Counts(); writes != 0 {
		t.Errorf("%d writes without an idle limit", writes)
	}
	s.Advance(time.Hour)
	ana.WantOut(ana.Get("/notes/"))
}

// A request makes one round trip, there is at most one write in a tenth of the
// idle interval (decision 2), and there are at most 0.05 writes per request
// (G9).
func TestSessionCostsTheStore(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas, world.Watched)
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.On(world.ReplicaB).Get("/notes/")
	s.Watched().Counts()
	const requests = 360
	for i := range requests { // an hour, one every 10 s
		ana.WantServed(ana.On(i % 2).Get("/notes/"))
		s.Advance(10 * time.Second)
	}
	reads, writes := s.Watched().Counts()
	if reads != requests {
		t.Errorf("%d reads in %d requests, want one each", reads, requests)
	}
	if writes > 20 || writes < 10 { // an hour has twenty tenths of 30 minutes
		t.Errorf("%d writes in an hour, want at most one in 3 minutes", writes)
	}
}

// A parallel burst when the write is due writes once, or each request writes
// over what it read.
func TestSessionIdleWriteBurst(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas, world.Watched)
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(4 * time.Minute)
	done := make(chan *world.Page)
	for i := range 40 {
		go func() { done <- ana.On(i % 2).Get("/notes/") }()
	}
	for range 40 {
		ana.WantServed(<-done)
	}
	s.Watched().Counts()
	for range 20 {
		ana.WantServed(ana.Get("/notes/"))
	}
	if _, writes := s.Watched().Counts(); writes != 0 {
		t.Errorf("%d writes after the burst", writes)
	}
}

// The lifetime counts from the start of the sign-in, not from its end.
func TestSessionLifeCountsFromBegin(t *testing.T) {
	s := world.NewSite(t, world.Limits(time.Hour, -1))
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.Visitor("ana")
	start := ana.Get("/notes/")
	s.Advance(9 * time.Minute)
	ana.WantServed(ana.Visit(ana.AnswerOf(start)))
	s.Advance(51*time.Minute - time.Second)
	ana.WantServed(ana.Get("/notes/"))
	s.Advance(time.Second)
	ana.WantOut(ana.Get("/notes/"))
}

// The store's expiry is garbage collection: nothing needed disappears early,
// and nothing stays forever. Sign-ins lay nothing down for longer than their
// own sessions. A mark that was raised outlives any session of the store.
func TestSessionStoreExpiry(t *testing.T) {
	s := world.NewSite(t, world.Watched, world.Limits(2*time.Hour, -1))
	begin := s.Now()
	ana := s.Visitor("ana")
	ana.SignIn()
	short := 0
	signedIn := s.Watched().Keys()
	for key, expiry := range signedIn {
		life := expiry.Sub(begin)
		switch {
		case life <= 0:
			t.Errorf("key %s is stored without an expiry", key)
		case life < 2*time.Hour: // the used state
			short++
			if life < 10*time.Minute {
				t.Errorf("key %s lives %v, less than an attempt", key, life)
			}
		case life > 3*time.Hour && life < 9*365*24*time.Hour:
			t.Errorf("key %s lives %v", key, life)
		}
	}
	if short != 1 {
		t.Errorf("%d short-lived keys, want that of the used state", short)
	}
	stories.RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ben-1")
	for key, expiry := range s.Watched().Keys() {
		if life := expiry.Sub(begin); signedIn[key].IsZero() && (life < 400*24*time.Hour || life > 401*24*time.Hour) {
			t.Errorf("the raised mark lives %v, want as long as the longest session", life)
		}
	}
	cookie := ana.SessionName()
	ana.Post("/auth/logout", nil)
	grave := 0
	for _, expiry := range s.Watched().Keys() {
		if life := expiry.Sub(s.Now()); life > time.Hour && life < 100*time.Minute {
			grave++
		}
	}
	if grave != 1 {
		t.Errorf("%d tombstones that outlive each sign-in under way, want 1", grave)
	}
	before := s.Watched().Keys()
	stranger := s.Visitor("eve")
	stranger.SetCookie(cookie, strings.Repeat("A", 43)+"."+strings.Repeat("A", 22)+"."+strings.Repeat("A", 22))
	stranger.Post("/auth/logout", nil)
	after := s.Watched().Keys()
	for key, expiry := range after {
		if before[key].IsZero() && expiry.Sub(s.Now()) > time.Minute {
			t.Errorf("a cookie of nobody's session left something for %v", expiry.Sub(s.Now()))
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("a cookie of nobody's session left %d values", len(after)-len(before))
	}
}

// A sign-in makes a bounded number of store calls.
func TestSessionCreationCostsTheStore(t *testing.T) {
	s := world.NewSite(t, world.Watched)
	s.Visitor("ben").SignIn()
	ana := s.Visitor("ana")
	callback := ana.ToCallback("/notes/")
	s.Watched().Counts()
	if a := ana.Get(callback); a.Code != http.StatusSeeOther {
		t.Fatal(a)
	}
	if reads, writes := s.Watched().Counts(); reads > 3 || writes > 4 {
		t.Errorf("a callback made %d reads and %d writes", reads, writes)
	}
	if got := s.Count(opserver.EndpointToken); got != 2 {
		t.Errorf("%d token requests for two sign-ins", got)
	}
}
