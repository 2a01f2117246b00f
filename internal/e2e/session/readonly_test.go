package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// FA6: the store can be read and takes no writes, because it is full, a replica, or
// locked. A page whose tokens are overdue is answered within 1.5 s, although it has
// two things to write, and Token in it or a guard inside the first does not wait once
// more. Each page loses its idle time with one line. Afterwards the tokens are renewed, once.
func TestFA6_OverdueWhileTheStoreIsReadOnly(t *testing.T) {
	const bound = 1500 * time.Millisecond
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprint("hangs ", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, seen := world.WithTokens(t, world.Watched, func(o *world.SiteOptions) {
					mount := o.Mount
					o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
						mount(mux, login)
						mux.Handle("/nested", login.OptionalLogin(login.RequireLogin(login.With(gatehouse.Scopes("email")).RequireLogin(world.WhoAmI))))
					}
				})
				ana := s.Visitor("ana")
				ana.SignIn()
				s.Advance(world.Past)
				s.Watched().FailWrites(errors.New("read only"), hangs)
				for i, path := range []string{"/notes/", "/token", "/open", "/token", "/nested"} {
					begin := time.Now()
					ana.WantServed(ana.Get(path))
					if took := time.Since(begin); took > bound {
						t.Errorf("%s took %v, want at most %v", path, took, bound)
					}
					if got := s.Logged("idle_time_loss"); got != i+1 {
						t.Errorf("%d lines after %d pages", got, i+1)
					}
				}
				_, errs := seen.Take()
				for _, err := range errs {
					if e, ok := errors.AsType[*gatehouse.Error](err); !ok || e.Code != gatehouse.CodeTokenUnavailable || e.Status != http.StatusServiceUnavailable {
						t.Errorf("Token: %v", err)
					}
				}
				s.ShutdownAll()
				if len(errs) != 2 || s.Refreshes() != 0 {
					t.Errorf("%d answers of Token, %d refreshes while nobody could keep what they bring", len(errs), s.Refreshes())
				}
				s.Watched().Fail(nil, false)
				ana.WantServed(ana.Get("/token"))
				seen.One(t)
				if s.Refreshes() != 1 {
					t.Errorf("%d refreshes afterwards, want 1", s.Refreshes())
				}
			})
		})
	}
}
