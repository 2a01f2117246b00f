package session_test

import (
	"testing"
	"time"

	"example.com/gatehouse/internal/e2e/world"
)

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
