package session_test

import (
	"net/http"
	"testing"
	"time"

	"example.com/gatehouse/internal/e2e/world"
)

// A sign-out that was answered wins over a callback under way in the same
// browser. It comes before the nth store call of the callback, with the cookies
// that the browser has at that moment: from nobody, and from a session.
func TestSignOutBeatsACallback(t *testing.T) {
	for name, signedIn := range map[string]bool{"from nobody": false, "from a session": true} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				s := world.NewSite(t, world.TwoReplicas, world.Watched)
				s.Visitor("ben").On(world.ReplicaB).SignIn()
				ana := s.Visitor("ana")
				callback := ana.ToCallback("/notes/")
				if signedIn {
					second := ana.ToCallback("/notes/")
					ana.WantServed(ana.Visit(callback))
					callback = second
				}
				var out *world.Page
				reached := interrupt(s, n, func() {
					r := ana.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin")
					out = ana.Do(r)
				})
				a := ana.On(world.ReplicaB).Get(callback)
				if !reached() {
					if n < 6 {
						t.Errorf("a callback made %d store calls", n)
					}
					return
				}
				if out == nil || out.Code != http.StatusSeeOther {
					t.Fatalf("call %d: sign-out was answered with %v", n, out)
				}
				if page := ana.Get("/notes/"); page.Code == http.StatusOK {
					t.Errorf("call %d: signed in after a sign-out; the callback was %v", n, a)
				}
				s.WantNoSession("ana-1")
				s.Advance(2 * time.Minute)
				if page := ana.Get("/notes/"); page.Code == http.StatusOK {
					t.Errorf("call %d: the session is back", n)
				}
				s.WantNoSession("ana-1")
				ana.WantServed(ana.Visit("/notes/"))
			}
		})
	}
}

// The same with a sign-out that brings the session's cookie alone.
func TestSignOutOfASessionBeatsItsSuccessor(t *testing.T) {
	for n := 0; ; n++ {
		s := world.NewSite(t, world.Watched)
		ana := s.Visitor("ana")
		first, second := ana.ToCallback("/notes/"), ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(first))
		other := s.Visitor("ana")
		other.SetCookie(ana.SessionName(), ana.SessionCookie())
		reached := interrupt(s, n, func() { other.Post("/auth/logout", nil) })
		ana.Get(second)
		if !reached() {
			return
		}
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("call %d: signed in after a sign-out", n)
		}
		s.WantNoSession("ana-1")
	}
}

// Of two tabs that sign in from one session both come through, whatever the
// order of their store calls: only a sign-out makes a callback fail.
func TestTwoTabsFromOneSession(t *testing.T) {
	for n := 0; ; n++ {
		s := world.NewSite(t, world.Watched)
		ana := s.Visitor("ana")
		first, second, third := ana.ToCallback("/notes/"), ana.ToCallback("/notes/"), ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(first))
		tab := s.Visitor("ana")
		for name, value := range ana.Cookies() {
			tab.SetCookie(name, value)
		}
		var b *world.Page
		reached := interrupt(s, n, func() { b = tab.Get(third) })
		a := ana.Get(second)
		if !reached() {
			if n < 6 {
				t.Errorf("a callback made %d store calls", n)
			}
			return
		}
		for _, page := range []*world.Page{a, b} {
			if page.Code != http.StatusSeeOther || page.Location() != "/notes/" {
				t.Errorf("call %d: %v", n, page)
			}
		}
		ana.WantServed(ana.Get("/notes/"))
		tab.WantServed(tab.Get("/notes/"))
	}
}
