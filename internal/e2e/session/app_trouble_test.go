package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// appStore is a store of the application's sessions that fails or hangs from the
// nth call on.
type appStore struct {
	*memstore.MemStore
	from, calls int // no trouble if from is 0
	hangs       bool
}

func (s *appStore) call(ctx context.Context) error {
	s.calls++
	switch {
	case s.from == 0 || s.calls < s.from:
		return nil
	case s.hangs:
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.New("refused")
}

func (s *appStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if err := s.call(ctx); err != nil {
		return nil, false, err
	}
	return s.Find(token)
}

func (s *appStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	if err := s.call(ctx); err != nil {
		return err
	}
	return s.Commit(token, b, expiry)
}

func (s *appStore) DeleteCtx(ctx context.Context, token string) error {
	if err := s.call(ctx); err != nil {
		return err
	}
	return s.Delete(token)
}

// FA6 at the store of the application's sessions: whichever call of a callback or a
// sign-out fails or hangs, the answer is 503 within 1.5 s, and says when to come
// back. It sends nobody on and brings no session. A callback whose session is
// stored succeeds, with the application's cookie.
func TestFA6_StoreOfTheApp(t *testing.T) {
	const bound = 1500 * time.Millisecond
	for _, hangs := range []bool{false, true} {
		for from := 1; from <= 4; from++ {
			t.Run(fmt.Sprintf("hangs %v, call %d", hangs, from), func(t *testing.T) {
				app := scs.New() // begins a goroutine, which stays out of the bubble
				synctest.Test(t, func(t *testing.T) {
					store := &appStore{MemStore: memstore.NewWithCleanupInterval(0), hangs: hangs}
					app.Cookie.Name, app.Store = "app", store
					s := world.NewSite(t, func(o *world.SiteOptions) {
						o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
						o.Mount = func(mux *http.ServeMux, _ *gatehouse.RelyingParty) {
							mux.Handle("/put", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { app.Put(r.Context(), "basket", "apples") })))
						}
					})
					ana, ben := s.Visitor("ana"), s.Visitor("ben")
					ana.Get("/put")
					ben.Get("/put")
					ana.SignIn()
					callback, before := ben.ToCallback("/notes/"), ben.Cookies()["app"]
					trouble := func(do func() *world.Page) *world.Page {
						store.from, store.calls = from, 0
						begin := time.Now()
						a := do()
						if took := time.Since(begin); took > bound {
							t.Errorf("%v after %v", a, took)
						}
						store.from = 0
						return a
					}
					a := trouble(func() *world.Page { return ben.Get(callback) })
					switch {
					case store.calls < from:
						t.Fatalf("a callback made %d calls", store.calls)
					case a.Code == http.StatusSeeOther && from == 4: // scs stores once more what is stored
						ben.WantServed(ben.Get("/notes/"))
						if now := ben.Cookies()["app"]; now == before || now == "" {
							t.Error("the application's session has its old token")
						}
					default:
						s.WantRefusal(a, http.StatusServiceUnavailable)
						if a.Location() != "" || ben.SessionName() != "" || ben.Cookies()["app"] != before {
							t.Errorf("%v with the cookies %v", a, a.Result().Cookies())
						}
						ben.WantServed(ben.Visit("/notes/"))
					}
					a = trouble(func() *world.Page { return ana.Post("/auth/logout", nil) })
					if store.calls < from { // a sign-out makes fewer
						return
					}
					s.WantRefusal(a, http.StatusServiceUnavailable)
					if a.Location() != "" || len(a.Result().Cookies()) != 0 {
						t.Errorf("%v with the cookies %v", a, a.Result().Cookies())
					}
					if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || ana.Cookies()["app"] != "" {
						t.Errorf("sign-out afterwards: %v, cookies %v", a, ana.Cookies())
					}
				})
			})
		}
	}
}
