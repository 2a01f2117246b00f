package session_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/e2e/stories"
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
				reached := stories.Interrupt(s, n, func() {
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

// The same while the callback starts over, because of a logout elsewhere or of
// trouble at the provider: the sign-in that takes its place does not come
// through either.
func TestSignOutBeatsACallbackThatStartsOver(t *testing.T) {
	for name, answer := range map[string]func(s *world.Site, callback string) string{
		"logout": func(s *world.Site, callback string) string {
			stories.RevokeAll(s, 0, world.SiteIssuer, "ana-1")
			return callback
		},
		"trouble": func(s *world.Site, callback string) string {
			return world.WithQuery(s.T, callback, func(q url.Values) { q.Del("code"); q.Set("error", "temporarily_unavailable") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				s := world.NewSite(t, world.Watched)
				ana := s.Visitor("ana")
				callback := answer(s, ana.ToCallback("/notes/"))
				browser := s.Visitor("ana")
				for name, value := range ana.Cookies() {
					browser.SetCookie(name, value)
				}
				reached := stories.Interrupt(s, n, func() { browser.Post("/auth/logout", nil) })
				a := ana.Get(callback)
				if !reached() {
					browser.Post("/auth/logout", nil) // just before the answer arrives
				}
				if last := ana.Follow(a, nil); last.Code == http.StatusOK {
					t.Errorf("call %d: %v after a sign-out", n, last)
				}
				s.WantNoSession("ana-1")
				if !reached() {
					return
				}
			}
		})
	}
}

// The same with two providers on one Sessions: the handler of either ends the
// sign-ins under way at both, and all that has ended is revoked.
func TestSignOutBeatsACallbackOfAnotherProvider(t *testing.T) {
	for n := 0; ; n++ {
		s := world.NewSite(t, world.Watched)
		other, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)},
			RedirectURL: s.Origin + "/second/callback", Sessions: s.Replicas[0].Sessions,
		})
		s.Must(err)
		s.Replicas[0].Mux.Handle("/second/logout", other.LogoutHandler())
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		browser := s.Visitor("ana")
		for name, value := range ana.Cookies() {
			browser.SetCookie(name, value)
		}
		signOut := func() {
			if a := browser.Post("/second/logout", nil); a.Code != http.StatusSeeOther || len(browser.Cookies()) > 1 {
				t.Errorf("sign-out: %v, cookies %v", a, browser.Cookies())
			}
		}
		reached := stories.Interrupt(s, n, signOut)
		ana.Get(callback)
		last := !reached()
		if last {
			signOut()
		}
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("call %d: signed in after a sign-out", n)
		}
		s.WantNoSession("ana-1")
		if last {
			return
		}
	}
}

// A sign-out that cannot tell the sign-ins under way is not answered as if it
// had: the store is in trouble, and the process does not know the key yet.
func TestSignOutWithoutTheKey(t *testing.T) {
	s := world.NewSite(t, world.Watched)
	ana := s.Visitor("ana")
	ana.ToCallback("/notes/")
	s.AddReplica(s.Options)
	before := len(ana.Cookies())
	s.Watched().Fail(errors.New("refused"), false)
	s.WantRefusal(ana.On(1).Post("/auth/logout", nil), http.StatusServiceUnavailable)
	if len(ana.Cookies()) != before || before == 0 {
		t.Errorf("cookies %v", ana.Cookies())
	}
}

// An attempt expires while its callback is under way: a sign-out still ends it.
func TestSignOutBeatsACallbackOfTheLastSecond(t *testing.T) {
	for n := 2; ; n++ { // the first calls are those that find it alive
		s := world.NewSite(t, world.Watched)
		ana := s.Visitor("ana")
		start := ana.Get("/notes/")
		s.Advance(attempt.Life - time.Second)
		callback := ana.AnswerOf(start)
		browser := s.Visitor("ana")
		for name, value := range ana.Cookies() {
			browser.SetCookie(name, value)
		}
		reached := stories.Interrupt(s, n, func() {
			s.Advance(5 * time.Second)
			browser.Post("/auth/logout", nil)
		})
		ana.Get(callback)
		if !reached() {
			return
		}
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("call %d: signed in after a sign-out", n)
		}
	}
}

// The same with a callback that is held up for minutes before its replica takes it,
// such as one that was stopped: the sign-out is still remembered.
func TestSignOutBeatsACallbackThatIsHeldUp(t *testing.T) {
	for _, held := range []time.Duration{59 * time.Second, 61 * time.Second, attempt.Life - time.Second} {
		for name, again := range map[string]bool{"once": false, "twice": true} {
			t.Run(held.String()+", signed out "+name, func(t *testing.T) {
				s := world.NewSite(t, world.TwoReplicas, world.Watched)
				s.SetCodeLifetime(attempt.Life)
				ana := s.Visitor("ana")
				callback := ana.ToCallback("/notes/")
				reached := stories.Interrupt(s, 0, func() {
					attempts := ana.Cookies()
					if out := ana.Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
						t.Fatalf("sign-out: %v", out)
					}
					if again { // by a tab that has the cookies of before
						s.Advance(time.Second)
						for name, value := range attempts {
							ana.SetCookie(name, value)
						}
						ana.Post("/auth/logout", nil)
					}
					s.Advance(held)
				})
				a := ana.On(world.ReplicaB).Get(callback)
				if !reached() {
					t.Fatal("the callback made no store call")
				}
				if page := ana.Get("/notes/"); page.Code == http.StatusOK {
					t.Errorf("signed in %v after a sign-out; the callback was %v", held, a)
				}
				s.WantNoSession("ana-1")
				ana.WantServed(ana.Visit("/notes/"))
			})
		}
	}
}

// A sign-in that begins after a sign-out lives, also if the answer of the sign-out
// was lost, so that the browser still sends the cookie of the session.
func TestSignInAfterASignOutWhoseAnswerWasLost(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas)
	ana := s.Visitor("ana")
	ana.SignIn()
	lost := s.Visitor("ana")
	for name, value := range ana.Cookies() {
		lost.SetCookie(name, value)
	}
	lost.Post("/auth/logout", nil)
	s.Advance(2 * time.Second)
	ana.WantOut(ana.On(world.ReplicaB).Get("/notes/"))
	ana.WantServed(ana.Visit("/notes/"))
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
		reached := stories.Interrupt(s, n, func() { other.Post("/auth/logout", nil) })
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
		reached := stories.Interrupt(s, n, func() { b = tab.Get(third) })
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

// Two dozen tabs come back from the provider at the same moment, from nobody and
// from one session, over a store whose calls take time. All come through, and
// all are listed.
func TestManyTabsInStep(t *testing.T) {
	for _, signedIn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := world.NewSite(t, world.Watched)
			ana := s.Visitor("ana")
			if signedIn {
				ana.SignIn()
			}
			var callbacks []string
			for range 24 {
				callbacks = append(callbacks, ana.ToCallback("/auth/login"))
			}
			s.Watched().Between(func(string, string) { time.Sleep(5 * time.Millisecond) })
			answers := make(chan *world.Page)
			tabs := make([]*world.Visitor, len(callbacks))
			for i, callback := range callbacks {
				tabs[i] = s.Visitor("ana")
				for name, value := range ana.Cookies() {
					tabs[i].SetCookie(name, value)
				}
				go func() { answers <- tabs[i].Get(callback) }()
			}
			for range callbacks {
				if a := <-answers; a.Code != http.StatusSeeOther {
					t.Errorf("got %v", a)
				}
			}
			s.Watched().Between(nil)
			for _, tab := range tabs {
				tab.WantServed(tab.Get("/notes/"))
			}
			list, err := s.Replicas[0].Sessions.List(t.Context(), world.SiteIssuer, "ana-1")
			if err != nil || len(list) != len(callbacks) {
				t.Errorf("%d sessions are listed, %v", len(list), err)
			}
		})
	}
}
