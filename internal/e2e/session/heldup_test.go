package session_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// asksAgain is a callback with which the provider asks for a new start.
func asksAgain(t testing.TB, callback string) string {
	return world.WithQuery(t, callback, func(q url.Values) {
		q.Del("code")
		q.Set("error", "temporarily_unavailable")
	})
}

// A callback that is held up for minutes starts over, because somebody ended all
// of ana's sessions, or because the provider asks for it. A sign-out that was
// answered meanwhile still ends what comes of it: it has the same session.
func TestSignOutBeatsACallbackThatIsHeldUpAndStartsOver(t *testing.T) {
	for name, asks := range map[string][]bool{ // for each callback in turn, whether it is the provider that asks
		"a revocation": {false}, "two revocations": {false, false}, "trouble at the provider": {true}, "all of them": {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, world.TwoReplicas, world.Watched)
			s.SetCodeLifetime(attempt.Life)
			ana := s.Visitor("ana")
			a := ana.Get("/notes/")
			for i, asked := range asks {
				callback := ana.AnswerOf(a)
				if asked {
					callback = asksAgain(t, callback)
				}
				reached := stories.Interrupt(s, 0, func() {
					stories.RevokeAll(s, 1, world.SiteIssuer, "ana-1")
					if i == 0 {
						if out := ana.Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
							t.Fatalf("sign-out: %v", out)
						}
					}
					s.Advance(attempt.Life - time.Second)
				})
				a = ana.On(world.ReplicaB).Get(callback)
				if ana.WantOut(a); !reached() {
					t.Fatal("the callback made no store call")
				}
			}
			s.Advance(attempt.Life - time.Second) // at the provider
			last := ana.Get(ana.AnswerOf(a))
			if page := ana.Get("/notes/"); page.Code == http.StatusOK {
				t.Errorf("signed in after a sign-out; the last callback was %v", last)
			}
			s.WantNoSession("ana-1")
			ana.WantServed(ana.Visit("/notes/"))
		})
	}
}

// The provider's page was open for longer than the attempt lives. The callback gets
// a new start all the same, but not past a sign-out that was answered while it was
// under way.
func TestSignOutBeatsACallbackThatComesTooLate(t *testing.T) {
	for _, held := range []time.Duration{0, 45 * time.Minute} {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		late := asksAgain(t, ana.AnswerOf(ana.Get("/notes/")))
		s.Advance(attempt.Life + time.Minute)
		browser := s.Visitor("ana")
		for name, value := range ana.Cookies() { // the callback has been sent with them
			browser.SetCookie(name, value)
		}
		if out := browser.Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
			t.Fatalf("sign-out: %v", out)
		}
		s.Advance(held)
		again := ana.On(world.ReplicaB).Get(late)
		ana.WantOut(again)
		s.Advance(attempt.Life - time.Second)
		last := ana.Get(ana.AnswerOf(again))
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("held up for %v: signed in after a sign-out; the last callback was %v", held, last)
		}
		s.WantNoSession("ana-1")
	}
}

// A sign-out knows the session alone, because the sign-in began from it when the
// sign-out had been sent. Its callback is held up, and fails all the same.
func TestSignOutOfASessionBeatsACallbackThatIsHeldUp(t *testing.T) {
	for _, held := range []time.Duration{59 * time.Second, 61 * time.Second, attempt.Life - time.Second} {
		s := world.NewSite(t, world.TwoReplicas, world.Watched)
		s.SetCodeLifetime(attempt.Life)
		ana := s.Visitor("ana")
		first, second := ana.ToCallback("/notes/"), ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(first))
		other := s.Visitor("ana")
		other.SetCookie(ana.SessionName(), ana.SessionCookie())
		reached := stories.Interrupt(s, 0, func() {
			if out := other.Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
				t.Fatalf("sign-out: %v", out)
			}
			s.Advance(held)
		})
		a := ana.On(world.ReplicaB).Get(second)
		if !reached() {
			t.Fatal("the callback made no store call")
		}
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("signed in %v after a sign-out; the callback was %v", held, a)
		}
		s.WantNoSession("ana-1")
	}
}

// A sign-out is held up that brings the cookie of a session which a sign-in has
// replaced meanwhile. It ends that sign-in's session all the same.
func TestSignOutThatIsHeldUpEndsTheSuccessor(t *testing.T) {
	for _, held := range []time.Duration{59 * time.Second, 61 * time.Second, 10 * time.Minute} {
		s := world.NewSite(t, world.TwoReplicas)
		ana := s.Visitor("ana")
		first, second := ana.ToCallback("/notes/"), ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(first))
		late := s.Visitor("ana")
		late.SetCookie(ana.SessionName(), ana.SessionCookie())
		ana.WantServed(ana.Visit(second))
		s.Advance(held)
		if out := late.On(world.ReplicaB).Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
			t.Fatalf("sign-out: %v", out)
		}
		if page := ana.Get("/notes/"); page.Code == http.StatusOK {
			t.Errorf("held up for %v: still signed in", held)
		}
		s.WantNoSession("ana-1")
	}
}
