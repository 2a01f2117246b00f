package session_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/session"
)

// unkept is a store that does what it is told and cannot promise to keep it, such
// as one whose replicas do not acknowledge.
type unkept struct {
	session.Store
	on bool
}

var errUnkept = errors.New("too few replicas have acknowledged the write")

func (s *unkept) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if err == nil && swapped && s.on {
		return false, errUnkept
	}
	return swapped, err
}

// A logout is answered when the store has said that it keeps it (decision 14). To
// read what was written does not tell. So the logout fails, also the second time,
// and when the store is whole again, it is done.
func TestLogoutUnkept(t *testing.T) {
	for name, logout := range map[string]func(context.Context, *session.Keeper, session.Ref) error{
		"back channel": func(ctx context.Context, k *session.Keeper, _ session.Ref) error {
			return k.LogoutToken(ctx, session.Logout{Issuer: "https://id.example.org", Subject: "ana", SID: "s1", ID: "j1", IssuedAt: newWorld(0).clock})
		},
		"front channel": func(ctx context.Context, k *session.Keeper, _ session.Ref) error {
			found, err := k.LogoutFront(ctx, "https://id.example.org", "s1")
			if err == nil && !found {
				err = errNoMark
			}
			return err
		},
		"RevokeAll": func(ctx context.Context, k *session.Keeper, _ session.Ref) error {
			return k.RevokeAll(ctx, "https://id.example.org", "ana")
		},
		"Revoke": func(ctx context.Context, k *session.Keeper, ref session.Ref) error {
			_, err := k.Revoke(ctx, "https://id.example.org", "ana", ref.Key)
			return err
		},
		"sign-out": func(ctx context.Context, k *session.Keeper, ref session.Ref) error {
			_, err := k.SignOut(ctx, ref.Key)
			return err
		},
		"an end that is tried for long": func(ctx context.Context, k *session.Keeper, ref session.Ref) error {
			_, err := k.EndAnyway(ctx, ref.Key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(0)
				rec := w.record(w.clock)
				if _, err := w.a.ReadMarks(t.Context(), rec, rec.Begin, carriesNone); err != nil {
					t.Fatal(err)
				}
				ref := session.NewRef("home", session.NewID(), rec.Marks)
				if err := w.a.Create(t.Context(), ref, rec, w.clock); err != nil {
					t.Fatal(err)
				}
				store := &unkept{w.store, true}
				k := session.New(session.Config{Store: store, Lifetime: 12 * time.Hour, Idle: 30 * time.Minute, Now: func() time.Time { return w.clock }})
				times := 2
				if name == "an end that is tried for long" { // nobody repeats that
					times = 1
				}
				for i := range times {
					if err := logout(t.Context(), k, ref); !errors.Is(err, session.ErrStore) {
						t.Errorf("time %d: %v, want the store's error", i+1, err)
					}
				}
				store.on = false
				if err := logout(t.Context(), k, ref); err != nil || signedIn(t, w.b, ref) {
					t.Errorf("in the end: %v, signed in %v", err, signedIn(t, w.b, ref))
				}
			})
		})
	}
}

// meeting is a store at which something happens before a swap.
type meeting struct {
	session.Store
	swaps, at int
	happens   func()
}

func (s *meeting) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if s.swaps++; s.swaps == s.at {
		s.happens()
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// A logout token that finds the mark raised by another one is answered when the
// store has said that it keeps that mark. The other's writing may have failed.
func TestLogoutUnkeptByAnother(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"the same number": 0, "a higher number": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(0)
				ref := w.signIn(t, idServer, "ana", "1")
				keeper := func(s session.Store, ahead time.Duration) *session.Keeper {
					return session.New(session.Config{Store: s, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock.Add(ahead) }})
				}
				mine := &unkept{Store: w.store}
				other := keeper(w.store, ahead)
				k := keeper(&meeting{Store: mine, at: 2, happens: func() { // the number of the token is stored, the mark is not raised
					if err := other.LogoutToken(t.Context(), w.token("", "1", "other")); err != nil {
						t.Error(err)
					}
					mine.on = true
				}}, 0)
				if err := k.LogoutToken(t.Context(), w.token("", "1", "mine")); !errors.Is(err, session.ErrStore) {
					t.Errorf("the token: %v, want the store's error", err)
				}
				mine.on = false
				if err := k.LogoutToken(t.Context(), w.token("", "1", "mine")); err != nil || signedIn(t, w.b, ref) {
					t.Errorf("in the end: %v, signed in %v", err, signedIn(t, w.b, ref))
				}
			})
		})
	}
}

// confirming remembers what it has said that it keeps.
type confirming struct {
	unkept
	kept map[string][]byte
}

func (s *confirming) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.unkept.SwapCtx(ctx, key, old, new, expiry)
	switch {
	case err != nil:
		if _, known := s.kept[key]; !known {
			s.kept[key] = nil
		}
	case swapped:
		s.kept[key] = new
	}
	return swapped, err
}

// A logout token is answered when the store has said that it keeps everything that
// it has to know of it: the marks, and the number, without which the same token once
// more would end sessions that began later.
func TestLogoutTokenIsKeptWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(0)
		w.signIn(t, idServer, "ana", "1")
		store := &confirming{unkept{w.store, true}, map[string][]byte{}}
		k := session.New(session.Config{Store: store, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
		token := w.token("ana", "1", "j")
		if err := k.LogoutToken(t.Context(), token); !errors.Is(err, session.ErrStore) {
			t.Errorf("%v, want the store's error", err)
		}
		store.on = false
		if err := k.LogoutToken(t.Context(), token); err != nil {
			t.Error(err)
		}
		if len(store.kept) != 3 {
			t.Errorf("%d values, want the number and two marks", len(store.kept))
		}
		for key, kept := range store.kept {
			if now, err := w.store.FindManyCtx(t.Context(), []string{key}); err != nil || !bytes.Equal(now[0], kept) {
				t.Errorf("the store has not said that it keeps %q (%v)", now, err)
			}
		}
	})
}
