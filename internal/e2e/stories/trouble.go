package stories

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// A process that has never seen its key cannot start a sign-in without the
// store.
func FA6StoreDownAtStart(t *testing.T, on On) {
	s := world.NewSite(t, on, world.Watched)
	s.Watched().Fail(errors.New("refused"), false)
	ana := s.Visitor("ana")
	s.WantRefusal(ana.Get("/notes/"), http.StatusServiceUnavailable)
	s.WantRefusal(ana.Get("/auth/login"), http.StatusServiceUnavailable)
	if len(ana.Cookies()) != 0 {
		t.Errorf("cookies %v", ana.Cookies())
	}
	s.Watched().Fail(nil, false)
	ana.SignIn()
}

// If the store fails at the nth call of a callback, the browser gets no
// session, and the next sign-in works.
func FA6StoreFailsDuringCallback(t *testing.T, on On) {
	t.Parallel() // it waits
	for n := 0; ; n++ {
		s := world.NewSite(t, on, world.Watched)
		s.Visitor("ben").SignIn()
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		reached := Interrupt(s, n, func() { s.Watched().Fail(errors.New("refused"), false) })
		a := ana.Get(callback)
		s.Watched().Fail(nil, false)
		if !reached() {
			if n < 5 {
				t.Errorf("a callback made %d store calls", n)
			}
			return
		}
		switch a.Code {
		case http.StatusServiceUnavailable:
			s.WantRefusal(a, http.StatusServiceUnavailable)
			if ana.SessionName() != "" {
				t.Errorf("call %d: a session cookie with the 503", n)
			}
		case http.StatusSeeOther: // only the list of sessions was not written
			ana.WantServed(ana.Get("/notes/"))
		default:
			t.Errorf("call %d: %v", n, a)
		}
		ana.WantServed(ana.Visit("/notes/"))
	}
}

// The store fails after the new session is stored, when the one that the browser
// had is to end. The sign-in fails, the old session goes on, and the new one,
// which nobody has, ends as soon as the store works again.
func FA6StoreFailsAfterTheSessionIsStored(t *testing.T, on On) {
	t.Parallel() // it waits
	ghosts := 0
	for n := 0; ; n++ {
		s := world.NewSite(t, on, world.Watched)
		ana := s.Visitor("ana")
		callback := ana.ToCallback("/notes/")
		other := ana.ToCallback("/notes/")
		ana.WantServed(ana.Visit(callback))
		sessions := func() (stored int) { // listed or not
			for _, key := range s.Watched().All() {
				if v, _, _ := s.Watched().Store.FindCtx(t.Context(), key); bytes.Contains(v, []byte("ana@example.org")) {
					stored++
				}
			}
			return stored
		}
		reached := Interrupt(s, n, func() { s.Watched().Fail(errors.New("refused"), false) })
		a := ana.Get(other)
		if !reached() {
			break
		}
		if a.Code == http.StatusServiceUnavailable && sessions() == 2 {
			ghosts++
		}
		s.Watched().Fail(nil, false)
		s.ShutdownAll()
		if got := sessions(); got != 1 {
			t.Errorf("call %d: %d sessions are stored after %v", n, got, a)
		}
		ana.WantServed(ana.Get("/notes/"))
	}
	if ghosts == 0 {
		t.Error("the store never failed at that moment, so nothing is tested")
	}
}
