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
	ref := session.NewRef(rec.Marks)
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
			ref := session.NewRef(rec.Marks)
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
				_, ref := w.login(t)
				w.clock = w.clock.Add(6 * time.Minute)
				var ended, refreshed bool
				options := w.store.Run(choices, orders.Actors{
					"logout": func(ctx context.Context) { ended = logout(ctx, w, ref) == nil },
					"refresh": func(ctx context.Context) {
						_, _, err := w.b.Renew(ctx, ref, "at0", &w.issuer)
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
			_, ref := w.login(t)
			w.clock = w.clock.Add(6 * time.Minute)
			got := map[string]string{}
			var mu sync.Mutex
			refresh := func(name string, k *session.Keeper) func(context.Context) {
				return func(ctx context.Context) {
					now, _, err := k.Renew(ctx, ref, "at0", &w.issuer)
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
	ref := session.NewRef(rec.Marks)
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
