package session_test

import (
	"context"
	"testing"
	"time"

	"example.com/gatehouse/internal/session"
)

// between is a store that does something after the first read.
type between struct {
	session.Store
	then func()
}

func (s *between) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values, err := s.Store.FindManyCtx(ctx, keys)
	if f := s.then; f != nil {
		s.then = nil
		f()
	}
	return values, err
}

// A request finds a record that a logout from outside has ended, and deletes it.
// What a sign-in has put there meanwhile stays: it says what a sign-out has to end.
func TestWhoFindsAnEndedRecordDeletesNothingElse(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	_, old := w.login(t)
	if err := w.b.RevokeAll(ctx, idServer, "ana"); err != nil {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(time.Minute)
	rec := w.record(w.clock)
	if again, err := w.b.ReadMarks(ctx, rec, rec.Begin, carriesNone); again || err != nil {
		t.Fatal(again, err)
	}
	next := session.NewRef("home", session.NewID(), rec.Marks)
	replaced := false
	slow := session.New(session.Config{Store: &between{w.store.Store, func() {
		err := w.callbackOf(ctx, w.b, next, rec, old.Key)
		if replaced = err == nil; !replaced {
			t.Error(err)
		}
	}}, Lifetime: 12 * time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
	if signedIn(t, slow, old) || !replaced || !signedIn(t, w.a, next) {
		t.Fatal("the old session lives, or the new one does not")
	}
	if _, err := w.a.SignOut(ctx, old.Key); err != nil {
		t.Fatal(err)
	}
	if signedIn(t, w.a, next) {
		t.Error("a sign-out with the cookie of the old session does not end the new one")
	}
}

// Two end one session at once. One of them has ended it, and tells so.
func TestOneEndsASession(t *testing.T) {
	for name, end := range map[string]func(context.Context, *session.Keeper, string) (int, error){
		"End": func(ctx context.Context, k *session.Keeper, key string) (int, error) {
			ended, err := k.End(ctx, key)
			return count(ended), err
		},
		"SignOut": func(ctx context.Context, k *session.Keeper, key string) (int, error) {
			all, err := k.SignOut(ctx, key)
			return count(all...), err
		},
		"Replace": func(ctx context.Context, k *session.Keeper, key string) (int, error) {
			ended, err := k.Replace(ctx, key, key, base)
			return count(ended), err
		},
	} {
		w, ctx := newWorld(0), t.Context()
		_, ref := w.login(t)
		told := 0
		slow := session.New(session.Config{Store: &between{w.store.Store, func() {
			ended, err := w.b.End(ctx, ref.Key)
			if told += count(ended); err != nil {
				t.Error(err)
			}
		}}, Lifetime: 12 * time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
		n, err := end(ctx, slow, ref.Key)
		if told += n; err != nil || told != 1 {
			t.Errorf("%s: %d have ended the session, %v", name, told, err)
		}
	}
}

func count(records ...*session.Record) (n int) {
	for _, r := range records {
		if r != nil {
			n++
		}
	}
	return n
}

// A cookie names the marks that its session carries. With the names of others, which
// nobody has raised, it opens nothing: a stolen one would outlive each logout.
func TestCookieWithOtherMarks(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	_, ref := w.login(t)
	for i := range ref.Marks {
		other := ref
		other.Marks[i] = session.MarksOf(idServer, "ben", "s9")[i].Name
		for _, revoked := range []bool{false, true} {
			if revoked {
				if err := w.b.RevokeAll(ctx, idServer, "ana"); err != nil {
					t.Fatal(err)
				}
			}
			if signedIn(t, w.a, other) {
				t.Errorf("mark %d: signed in, revoked: %v", i, revoked)
			}
		}
	}
}

// What is used is remembered to the end.
func TestSpentUntil(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	until := w.clock.Add(10 * time.Minute)
	if first, err := w.a.Spend(ctx, "state", until); !first || err != nil {
		t.Fatal(first, err)
	}
	w.clock = until.Add(time.Second) // by a clock that is ahead
	if first, err := w.b.Spend(ctx, "state", until); first || err != nil {
		t.Errorf("used twice, %v", err)
	}
}

// The list shows no session whose time is over.
func TestListOfExpired(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	rec, ref := w.login(t)
	if _, err := w.a.Enlist(ctx, ref, rec); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{30*time.Minute - time.Millisecond: 1, 30 * time.Minute: 0} { // the idle limit
		w.clock = rec.Begin.Add(after)
		if all, err := w.b.List(ctx, idServer, "ana"); err != nil || len(all) != want {
			t.Errorf("after %v: %d sessions, %v", after, len(all), err)
		}
	}
}
