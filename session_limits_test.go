package gatehouse_test

import (
	"net/http"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

func limits(lifetime, idle time.Duration) func(*siteOptions) {
	return func(o *siteOptions) {
		o.sessions = func(c *gatehouse.SessionsConfig) { c.Lifetime, c.IdleTimeout = lifetime, idle }
	}
}

// SE4: the absolute limit holds in spite of one request a minute.
func TestSE4_AbsoluteLimit(t *testing.T) {
	s := newSite(t, twoReplicas, limits(10*time.Minute, 5*time.Minute))
	s.SetTokenLifetime(time.Hour)
	ana := s.visitor("ana")
	ana.signIn()
	for minute := range 10 {
		ana.wantServed(ana.on(minute % 2).get("/notes/"))
		s.advance(time.Minute)
	}
	ana.wantOut(ana.on(replicaA).get("/notes/"))
	ana.wantOut(ana.on(replicaB).get("/notes/"))
}

// SE4: an unused session ends earlier, to the second for who uses it never, and
// at most a tenth early for who uses it.
func TestSE4_IdleLimit(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		live bool
	}{{30*time.Minute - time.Second, true}, {30 * time.Minute, false}, {11 * time.Hour, false}} {
		s := newSite(t, twoReplicas)
		s.SetTokenLifetime(24 * time.Hour)
		ana := s.visitor("ana")
		ana.signIn()
		s.advance(c.wait)
		a := ana.on(replicaB).get("/notes/")
		if c.live {
			ana.wantServed(a)
			s.advance(27*time.Minute - time.Second) // from here on, less a tenth at most
			ana.wantServed(ana.get("/notes/"))
			continue
		}
		ana.wantOut(a)
	}
}

func TestSessionWithoutIdleLimit(t *testing.T) {
	s := newSite(t, watched, limits(48*time.Hour, -1))
	s.SetTokenLifetime(96 * time.Hour)
	ana := s.visitor("ana")
	ana.signIn()
	s.watched().counts()
	s.advance(47 * time.Hour)
	ana.wantServed(ana.get("/notes/"))
	if _, writes := s.watched().counts(); writes != 0 {
		t.Errorf("%d writes without an idle limit", writes)
	}
	s.advance(time.Hour)
	ana.wantOut(ana.get("/notes/"))
}

// One round trip a request, at most one write in a tenth of the idle interval
// (decision 2), and at most 0.05 writes a request (G9).
func TestSessionCostsTheStore(t *testing.T) {
	s := newSite(t, twoReplicas, watched)
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.visitor("ana")
	ana.signIn()
	ana.on(replicaB).get("/notes/")
	s.watched().counts()
	const requests = 360
	for i := range requests { // an hour, one each 10 s
		ana.wantServed(ana.on(i % 2).get("/notes/"))
		s.advance(10 * time.Second)
	}
	reads, writes := s.watched().counts()
	if reads != requests {
		t.Errorf("%d reads in %d requests, want one each", reads, requests)
	}
	if writes > 20 || writes < 10 { // an hour has twenty tenths of 30 minutes
		t.Errorf("%d writes in an hour, want at most one in 3 minutes", writes)
	}
}

// A parallel burst when the write is due writes once, or each on what it read.
func TestSessionIdleWriteBurst(t *testing.T) {
	s := newSite(t, twoReplicas, watched)
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.visitor("ana")
	ana.signIn()
	s.advance(4 * time.Minute)
	done := make(chan *answer)
	for i := range 40 {
		go func() { done <- ana.on(i % 2).get("/notes/") }()
	}
	for range 40 {
		ana.wantServed(<-done)
	}
	s.watched().counts()
	for range 20 {
		ana.wantServed(ana.get("/notes/"))
	}
	if _, writes := s.watched().counts(); writes != 0 {
		t.Errorf("%d writes after the burst", writes)
	}
}

// The life counts from the begin of the sign-in, not from its end.
func TestSessionLifeCountsFromBegin(t *testing.T) {
	s := newSite(t, limits(time.Hour, -1))
	s.SetTokenLifetime(24 * time.Hour)
	ana := s.visitor("ana")
	start := ana.get("/notes/")
	s.advance(9 * time.Minute)
	ana.wantServed(ana.visit(ana.answerOf(start)))
	s.advance(51*time.Minute - time.Second)
	ana.wantServed(ana.get("/notes/"))
	s.advance(time.Second)
	ana.wantOut(ana.get("/notes/"))
}

// The store's expiry is garbage collection: nothing that counts goes earlier,
// and nothing stays for ever.
func TestSessionStoreExpiry(t *testing.T) {
	s := newSite(t, watched, limits(2*time.Hour, -1))
	begin := s.Now()
	ana := s.visitor("ana")
	ana.signIn()
	s.revokeAll(replicaA, siteIssuer, "ben-1")
	short := 0
	for key, expiry := range s.watched().keys {
		life := expiry.Sub(begin)
		switch {
		case life <= 0:
			t.Errorf("key %s is stored without a life", key)
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
	ana.post("/auth/logout", nil)
	grave := 0
	for _, expiry := range s.watched().keys {
		if expiry.Sub(s.Now()) == time.Minute {
			grave++
		}
	}
	if grave != 1 {
		t.Errorf("%d tombstones of a minute, want 1", grave)
	}
}

// A sign-in costs the store a bounded number of calls.
func TestSessionCreationCostsTheStore(t *testing.T) {
	s := newSite(t, watched)
	s.visitor("ben").signIn()
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	s.watched().counts()
	if a := ana.get(callback); a.Code != http.StatusSeeOther {
		t.Fatal(a)
	}
	if reads, writes := s.watched().counts(); reads > 3 || writes > 4 {
		t.Errorf("a callback made %d reads and %d writes", reads, writes)
	}
	if got := s.Count(opserver.EndpointToken); got != 2 {
		t.Errorf("%d token requests for two sign-ins", got)
	}
}
