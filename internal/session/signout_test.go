package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/gatehouse/internal/session"
)

// TestSignOutUntil: a sign-out stays for as long as a callback under way may create
// its login, whatever another sign-out that knows less writes there, and not for
// much longer.
func TestSignOutUntil(t *testing.T) {
	for name, more := range map[string]func(*session.Keeper, string) error{
		"alone":                     func(*session.Keeper, string) error { return nil },
		"then by one of the record": func(k *session.Keeper, key string) error { _, err := k.SignOut(t.Context(), key); return err },
		"then by one that is earlier": func(k *session.Keeper, key string) error {
			_, err := k.SignOutUntil(t.Context(), key, newWorld(0).clock.Add(time.Minute))
			return err
		},
		"then by Revoke": func(k *session.Keeper, key string) error {
			_, err := k.Revoke(t.Context(), "https://id.example.org", "ana", key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				w, ctx := newWorld(0), t.Context()
				until := w.clock.Add(10 * time.Minute)
				rec := w.record(w.clock)
				ref := session.NewRef("home", session.NewID(), rec.Marks)
				if _, err := w.a.SignOutUntil(ctx, ref.Key, until); err != nil {
					t.Fatal(err)
				}
				w.clock = w.clock.Add(30 * time.Second)
				if err := more(w.b, ref.Key); err != nil {
					t.Fatal(err)
				}
				w.clock = until.Add(-time.Millisecond)
				if late {
					w.clock = until
				}
				err := w.b.Create(ctx, ref, rec, w.clock)
				if late && err != nil || !late && !errors.Is(err, session.ErrSignedOut) {
					t.Errorf("late %v: %v", late, err)
				}
			}
		})
	}
}

// TestReplaceAfterASignOut: a sign-in that began after a sign-out lives, although
// its browser still had the cookie of the session. Within the second by which
// clocks may differ nobody knows, and the sign-out wins.
func TestReplaceAfterASignOut(t *testing.T) {
	for began, lives := range map[time.Duration]bool{
		-time.Minute: false, 0: false, time.Second: false, time.Second + time.Millisecond: true, 30 * time.Second: true,
	} {
		w, ctx := newWorld(0), t.Context()
		_, old := w.login(t)
		signedOut := w.clock
		if _, err := w.a.SignOut(ctx, old.Key); err != nil {
			t.Fatal(err)
		}
		w.clock = w.clock.Add(45 * time.Second)
		rec := w.record(signedOut.Add(began))
		ref := session.NewRef("home", session.NewID(), rec.Marks)
		if err := w.callbackOf(ctx, w.b, ref, rec, old.Key); (err == nil) != lives || err != nil && !errors.Is(err, session.ErrSignedOut) {
			t.Errorf("begun %v after the sign-out: %v", began, err)
		}
		if signedIn(t, w.a, ref) != lives || signedIn(t, w.a, old) {
			t.Errorf("begun %v after the sign-out: new session %v, old session %v", began, signedIn(t, w.a, ref), signedIn(t, w.a, old))
		}
		w.clock = w.clock.Add(45 * time.Minute) // the answer with the new cookie is held up, and the person signs out again
		if _, err := w.a.SignOut(ctx, old.Key); err != nil {
			t.Fatal(err)
		}
		if signedIn(t, w.a, ref) {
			t.Errorf("begun %v after the sign-out: the next sign-out with the old cookie does not end it", began)
		}
	}
}

// TestSignOutInACircle: what a store has mixed up may say that a login took its own
// place, or that two took each other's. A sign-out ends each once.
func TestSignOutInACircle(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	_, one := w.login(t)
	_, two := w.login(t)
	_, live := w.login(t)
	for _, pair := range [][2]string{{one.Key, one.Key}, {one.Key, two.Key}, {two.Key, one.Key}, {two.Key, live.Key}, {one.Key, live.Key}} {
		if _, err := w.a.Replace(ctx, pair[0], pair[1], w.clock); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // without an end, this one would fill the stack
	defer cancel()
	ended, err := w.b.SignOut(ctx, one.Key)
	if err != nil || len(ended) != 1 || signedIn(t, w.a, live) {
		t.Errorf("%d sessions ended, %v; signed in: %v", len(ended), err, signedIn(t, w.a, live))
	}
}
