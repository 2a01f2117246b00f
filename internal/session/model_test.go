package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/testkit/orders"
)

// The tests of this file run the session protocol (docs/design.md, decision 3:
// compare-and-swap and marks) under many orders of its store calls, with no
// fault, with one call that fails, and with one whose reply is lost. They check
// what must hold in each case.

// scheduled is a store whose calls proceed in the order of a schedule.
type scheduled struct {
	session.Store
	*orders.Schedule
}

func (s scheduled) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if s.Ask(ctx) != orders.Works {
		return nil, orders.ErrTrouble
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s scheduled) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	switch s.Ask(ctx) {
	case orders.Fails:
		return false, orders.ErrTrouble
	case orders.LostReply:
		_, _ = s.Store.SwapCtx(ctx, key, old, new, expiry)
		return false, orders.ErrTrouble
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// issuer renews tokens in process and counts the requests it gets.
type issuer struct {
	mu        sync.Mutex
	answers   int
	discarded []string
}

func (i *issuer) Renew(context.Context, *session.Record) (session.Tokens, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answers++
	return session.Tokens{Access: fmt.Sprintf("at%d", i.answers), Refresh: fmt.Sprintf("rt%d", i.answers)}, nil
}

func (i *issuer) Discard(refresh string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.discarded = append(i.discarded, refresh)
}

// world is one run: two replicas on one store.
type world struct {
	clock  time.Time
	store  scheduled
	issuer issuer
	a, b   *session.Keeper
}

func newWorld(faults int) *world {
	w := &world{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	now := func() time.Time { return w.clock }
	w.store = scheduled{memstore.NewStore(now), orders.New(faults)}
	replica := func() *session.Keeper {
		return session.New(session.Config{Store: w.store, Lifetime: 12 * time.Hour, Idle: 30 * time.Minute, Now: now})
	}
	w.a, w.b = replica(), replica()
	return w
}

func (w *world) record(begin time.Time) *session.Record {
	return &session.Record{
		Issuer: "https://id.example.org", Subject: "ana", ClientID: "notes", SID: "s1", Begin: begin, Seen: begin,
		Access: session.Token("at0"), Refresh: session.Token("rt0"), Requested: begin, Expires: begin.Add(5 * time.Minute),
		Marks: session.MarksOf("https://id.example.org", "ana", "s1"),
	}
}

// login makes a login that nobody is using yet.
func (w *world) login(t *testing.T) (*session.Record, session.Ref) {
	t.Helper()
	rec := w.record(w.clock)
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if err := w.a.Create(t.Context(), ref, rec, w.clock); err != nil {
		t.Fatal(err)
	}
	return rec, ref
}

// signedIn reports whether a request with the cookie would pass.
func signedIn(t *testing.T, k *session.Keeper, ref session.Ref) bool {
	t.Helper()
	_, err := k.Load(t.Context(), ref)
	if err != nil && !errors.Is(err, session.ErrNone) {
		t.Fatal(err)
	}
	return err == nil
}

func carriesNone(session.Mark) bool { return false }

// A logout of all sessions runs beside a callback. Whatever the order, a
// session that began before the logout answered is dead afterwards, or its
// sign-in starts over.
func TestModel_RevokeAllBesideACallback(t *testing.T) {
	for faults := range 2 {
		orders.Explore(t, 60_000, func(choices []int) []int {
			w := newWorld(faults)
			rec := w.record(w.clock)
			ref := session.NewRef("home", session.NewID(), rec.Marks)
			var revoked, created bool
			options := w.store.Run(choices, orders.Actors{
				"callback": func(ctx context.Context) {
					again, err := w.a.ReadMarks(ctx, rec, rec.Begin, carriesNone)
					if err == nil && !again {
						created = w.a.Create(ctx, ref, rec, w.clock) == nil
					}
				},
				"revoke": func(ctx context.Context) {
					revoked = w.b.RevokeAll(ctx, rec.Issuer, rec.Subject) == nil
				},
			})
			alive := signedIn(t, w.b, ref)
			if revoked && alive {
				t.Error("the session outlived a completed logout")
			}
			if !revoked && faults == 0 {
				t.Error("the logout failed though the store works")
			}
			if created && !revoked && faults == 0 && !alive {
				t.Error("the session is gone without a logout")
			}
			return options
		})
	}
}

// callbackOf runs what a callback does to sessions: it stores its own, and then
// replaces the one under old, if there is one. An error means that it did not
// come through. Then the browser never gets the cookie.
func (w *world) callbackOf(ctx context.Context, k *session.Keeper, ref session.Ref, rec *session.Record, old string) error {
	err := k.Create(ctx, ref, rec, w.clock)
	if err == nil && old != "" {
		if _, err = k.Replace(ctx, old, ref.Key, rec.Begin); err != nil {
			_, _ = k.End(context.WithoutCancel(ctx), ref.Key)
		}
	}
	return err
}

// A sign-out runs beside a callback in the same browser. If it was answered,
// nothing of that browser is signed in afterwards, whatever the order, whether
// it knows the attempt, the session that the attempt began from, or both.
func TestModel_SignOutBesideACallback(t *testing.T) {
	for name, c := range map[string]struct{ session, attempt bool }{
		"no session before": {false, true}, "from a session": {true, true}, "the session alone": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			for faults := range 2 {
				orders.Explore(t, 60_000, func(choices []int) (options []int) {
					synctest.Test(t, func(t *testing.T) { // pauses take no time
						w := newWorld(faults)
						var old session.Ref
						if c.session {
							_, old = w.login(t)
						}
						w.clock = w.clock.Add(time.Minute)
						rec := w.record(w.clock)
						ref := session.NewRef("home", session.NewID(), rec.Marks)
						var came, answered error = errors.New("not run"), errors.New("not run")
						options = w.store.Run(choices, orders.Actors{
							"callback": func(ctx context.Context) { came = w.callbackOf(ctx, w.a, ref, rec, old.Key) },
							"sign-out": func(ctx context.Context) {
								answered = nil
								for _, key := range []string{old.Key, ref.Key} {
									if key == "" || key == ref.Key && !c.attempt {
										continue
									}
									if _, err := w.b.SignOut(ctx, key); err != nil {
										answered = err
										return
									}
								}
							},
						})
						if answered == nil && (came == nil || c.attempt) && signedIn(t, w.a, ref) {
							t.Errorf("signed in after a sign-out was answered; the callback: %v", came)
						}
						if answered == nil && c.session && signedIn(t, w.a, old) {
							t.Error("the old session outlived its sign-out")
						}
						if faults == 0 && answered != nil {
							t.Errorf("sign-out failed though the store works: %v", answered)
						}
						if faults == 0 && came != nil && !errors.Is(came, session.ErrSignedOut) {
							t.Errorf("the callback: %v", came)
						}
					})
					return options
				})
			}
		})
	}
}

// Two tabs sign in from one session. Both come through and stay signed in, and
// a sign-out of the session that they began from ends both.
func TestModel_TwoTabsFromOneSession(t *testing.T) {
	orders.Explore(t, 60_000, func(choices []int) []int {
		w := newWorld(0)
		_, old := w.login(t)
		w.clock = w.clock.Add(time.Minute)
		var refs [2]session.Ref
		var errs [2]error
		actors := orders.Actors{}
		for i, k := range []*session.Keeper{w.a, w.b} {
			rec := w.record(w.clock)
			refs[i] = session.NewRef("home", session.NewID(), rec.Marks)
			actors[[]string{"tab 1", "tab 2"}[i]] = func(ctx context.Context) { errs[i] = w.callbackOf(ctx, k, refs[i], rec, old.Key) }
		}
		options := w.store.Run(choices, actors)
		for i, ref := range refs {
			if errs[i] != nil || !signedIn(t, w.a, ref) {
				t.Errorf("tab %d is not signed in: %v", i+1, errs[i])
			}
		}
		if signedIn(t, w.a, old) {
			t.Error("the session before was not replaced")
		}
		if _, err := w.b.SignOut(t.Context(), old.Key); err != nil {
			t.Fatal(err)
		}
		for i, ref := range refs {
			if signedIn(t, w.a, ref) {
				t.Errorf("tab %d outlived the sign-out of the session before", i+1)
			}
		}
		return options
	})
}

// Keepers with different lifetimes write one mark: sign-ins lay it down, and a
// logout raises it. Whatever the order and whatever fails, no write moves its
// end back, no write makes its number smaller, and a completed logout outlives
// the longest session.
func TestModel_MarksNeverShorten(t *testing.T) {
	for i := range 4 {
		faults, before := i%2, i/2 == 1
		orders.Explore(t, 60_000, func(choices []int) []int {
			w := newWorld(faults)
			now := func() time.Time { return w.clock }
			rec := w.record(w.clock)
			key := session.MarkKey(rec.Marks[1].Name)
			var laid, raised bool
			watch := &neverBack{Store: w.store.Store, t: t, key: key}
			w.store.Store = watch
			long := session.New(session.Config{Store: w.store, Lifetime: 90 * 24 * time.Hour, Idle: -1, Now: now})
			short := session.New(session.Config{Store: w.store, Lifetime: time.Hour, Idle: -1, Now: now})
			lay := func(k *session.Keeper) func(context.Context) {
				return func(ctx context.Context) {
					r := w.record(w.clock)
					r.Marks[0] = r.Marks[1] // so that a sign-in lays down the mark that the logout raises
					_, err := k.ReadMarks(ctx, r, r.Begin, carriesNone)
					laid = laid || err == nil && k == long
				}
			}
			if before {
				lay(short)(t.Context())
			}
			options := w.store.Run(choices, orders.Actors{
				"sign-in": lay(long),
				"logout":  func(ctx context.Context) { raised = short.RevokeAll(ctx, rec.Issuer, rec.Subject) == nil },
			})
			if laid && watch.end.Before(w.clock.Add(90*24*time.Hour)) {
				t.Errorf("the mark ends %v, before the session", watch.end)
			}
			if raised && watch.end.Before(w.clock.Add(400*24*time.Hour)) {
				t.Errorf("the raised mark ends %v, before the longest session", watch.end)
			}
			return options
		})
	}
}

// neverBack fails a test if a write moves the end or the number of a mark back.
type neverBack struct {
	session.Store
	t      *testing.T
	key    string
	end    time.Time
	number uint64
}

func (s *neverBack) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if key != s.key || !swapped || err != nil {
		return swapped, err
	}
	end, err1 := session.MarkEnd(new)
	number, err2 := session.DecodeMark(new)
	if err1 != nil || err2 != nil || !end.Equal(expiry) || end.Before(s.end) || number < s.number {
		s.t.Errorf("from %v, %d to %v (kept until %v), %d, %v, %v", s.end, s.number, end, expiry, number, err1, err2)
	}
	s.end, s.number = end, number
	return swapped, err
}

// Sign-out runs beside a request on another replica that writes the idle limit.
// The session must never come back (M13).
func TestModel_LogoutBesideATouch(t *testing.T) {
	for faults := range 2 {
		orders.Explore(t, 60_000, func(choices []int) []int {
			w := newWorld(faults)
			_, ref := w.login(t)
			w.clock = w.clock.Add(4 * time.Minute)
			var ended bool
			options := w.store.Run(choices, orders.Actors{
				"logout": func(ctx context.Context) {
					_, err := w.a.End(ctx, ref.Key)
					ended = err == nil
				},
				"slow 1": func(ctx context.Context) { touchOnce(ctx, w.b, ref) },
				"slow 2": func(ctx context.Context) { touchOnce(ctx, w.a, ref) },
			})
			if ended && signedIn(t, w.b, ref) {
				t.Error("the session is back after sign-out")
			}
			if !ended && faults == 0 {
				t.Error("sign-out failed though the store works")
			}
			return options
		})
	}
}

func touchOnce(ctx context.Context, k *session.Keeper, ref session.Ref) {
	if have, err := k.Load(ctx, ref); err == nil {
		_, _ = k.Touch(ctx, ref, have)
	}
}

// Sign-out, or a logout of all sessions, runs beside a refresh. The session
// stays dead, the refresh token is sent at most once, and new tokens that no
// session holds are discarded.
func TestModel_LogoutBesideARefresh(t *testing.T) {
	for name, logout := range map[string]func(context.Context, *world, session.Ref) error{
		"sign-out": func(ctx context.Context, w *world, ref session.Ref) error {
			_, err := w.a.End(ctx, ref.Key)
			return err
		},
		"from outside": func(ctx context.Context, w *world, _ session.Ref) error {
			return w.a.RevokeAll(ctx, "https://id.example.org", "ana")
		},
	} {
		t.Run(name, func(t *testing.T) {
			orders.Explore(t, 60_000, func(choices []int) []int {
				w := newWorld(0)
				rec, ref := w.login(t)
				w.clock = w.clock.Add(6 * time.Minute)
				var ended, refreshed bool
				options := w.store.Run(choices, orders.Actors{
					"logout": func(ctx context.Context) { ended = logout(ctx, w, ref) == nil },
					"refresh": func(ctx context.Context) {
						_, _, err := w.b.Renew(ctx, ref, rec, &w.issuer)
						refreshed = err == nil
					},
				})
				if !ended {
					t.Error("the logout failed")
				}
				if signedIn(t, w.a, ref) {
					t.Error("the refresh brought the session back")
				}
				if w.issuer.answers > 1 {
					t.Errorf("%d token requests", w.issuer.answers)
				}
				if w.issuer.answers == 1 && !refreshed && len(w.issuer.discarded) != 1 {
					t.Error("tokens that arrived after the logout were not discarded")
				}
				return options
			})
		})
	}
}

// Two replicas refresh at once while a touch runs beside them. The refresh
// token is sent once, and both replicas end with the new tokens.
func TestModel_TwoReplicasRefresh(t *testing.T) {
	for seed := range 400 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(0)
			w.clock = time.Now()
			rec, ref := w.login(t)
			w.clock = w.clock.Add(6 * time.Minute)
			got := map[string]string{}
			var mu sync.Mutex
			refresh := func(name string, k *session.Keeper) func(context.Context) {
				return func(ctx context.Context) {
					now, _, err := k.Renew(ctx, ref, rec, &w.issuer)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					got[name] = string(now.Record.Access)
				}
			}
			w.store.RunFair(orders.Dice(seed, 64), lease.Poll, orders.Actors{
				"a": refresh("a", w.a), "b": refresh("b", w.b),
				"touch": func(ctx context.Context) { touchOnce(ctx, w.b, ref) },
			})
			if w.issuer.answers != 1 {
				t.Errorf("seed %d: %d token requests", seed, w.issuer.answers)
			}
			if got["a"] != "at1" || got["b"] != "at1" {
				t.Errorf("seed %d: replicas hold %v", seed, got)
			}
		})
	}
}

// Two logouts happen in one millisecond with a sign-in between them. The second
// logout ends the session that the first let live.
func TestModel_TwoLogoutsInOneMillisecond(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	if err := w.a.RevokeAll(ctx, "https://id.example.org", "ana"); err != nil {
		t.Fatal(err)
	}
	rec := w.record(w.clock)
	if again, err := w.a.ReadMarks(ctx, rec, rec.Begin, carriesNone); err != nil || !again {
		t.Fatalf("again %v, %v: the attempt does not know of the logout", again, err)
	}
	known := rec.Marks
	carries := func(m session.Mark) bool { return m == known[0] || m == known[1] }
	if again, err := w.a.ReadMarks(ctx, rec, rec.Begin, carries); err != nil || again {
		t.Fatalf("again %v, %v: the attempt carries the mark", again, err)
	}
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if err := w.a.Create(ctx, ref, rec, w.clock); err != nil {
		t.Fatal(err)
	}
	if !signedIn(t, w.b, ref) {
		t.Fatal("the new sign-in is not live")
	}
	if err := w.b.RevokeAll(ctx, "https://id.example.org", "ana"); err != nil {
		t.Fatal(err)
	}
	if signedIn(t, w.a, ref) {
		t.Fatal("the session outlived the second logout")
	}
}
