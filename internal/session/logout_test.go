package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/session"
)

const idServer = "https://id.example.org"

// token is a logout token of now.
func (w *world) token(subject, sid, id string) session.Logout {
	return session.Logout{Issuer: idServer, Subject: subject, SID: sid, ID: id, IssuedAt: w.clock}
}

// signIn makes a login of the person in the session sid, as a callback that
// knows every logout so far.
func (w *world) signIn(t *testing.T, issuer, subject, sid string) session.Ref {
	t.Helper()
	rec := w.record(w.clock)
	rec.Issuer, rec.Subject, rec.SID, rec.Marks = issuer, subject, sid, session.MarksOf(issuer, subject, sid)
	if _, err := w.a.ReadMarks(t.Context(), rec, rec.Begin, func(session.Mark) bool { return true }); err != nil {
		t.Fatal(err)
	}
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if err := w.a.Create(t.Context(), ref, rec, w.clock); err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestLogoutEndsWhatItNames: which sessions of a store a logout from outside
// ends. ana has two sessions with a sid and one without, in all of which she is
// known at another issuer too; ben has one of each.
func TestLogoutEndsWhatItNames(t *testing.T) {
	token := func(subject, sid string) func(*world) error {
		return func(w *world) error { return w.b.LogoutToken(context.Background(), w.token(subject, sid, "j1")) }
	}
	front := func(issuer, sid string) func(*world) error {
		return func(w *world) error { return frontLogout(context.Background(), w.b, issuer, sid) }
	}
	for name, c := range map[string]struct {
		logout func(*world) error
		ends   string
	}{
		"sub":                      {token("ana", ""), "ana1 ana2 ana-"},
		"sub and sid":              {token("ana", "1"), "ana1 ana-"},
		"sid":                      {token("", "1"), "ana1"},
		"sid of another":           {token("ana", "3"), "ben3 ana-"},
		"sub of nobody":            {token("cid", ""), ""},
		"sid of nobody":            {token("", "9"), ""},
		"front channel":            {front(idServer, "2"), "ana2"},
		"front channel, unknown":   {front(idServer, "9"), ""},
		"front channel, no sid":    {front(idServer, ""), ""},
		"front channel, elsewhere": {front("https://other.example.org", "2"), "other2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			refs := map[string]session.Ref{}
			for _, s := range []struct{ name, issuer, subject, sid string }{
				{"ana1", idServer, "ana", "1"}, {"ana2", idServer, "ana", "2"}, {"ana-", idServer, "ana", ""},
				{"ben3", idServer, "ben", "3"}, {"ben-", idServer, "ben", ""},
				{"other1", "https://other.example.org", "ana", "1"}, {"other2", "https://other.example.org", "ana", "2"},
			} {
				refs[s.name] = w.signIn(t, s.issuer, s.subject, s.sid)
			}
			if err := c.logout(w); err != nil {
				t.Fatal(err)
			}
			for s, ref := range refs {
				if alive := signedIn(t, w.a, ref); alive == strings.Contains(" "+c.ends+" ", " "+s+" ") {
					t.Errorf("%s: signed in %v", s, alive)
				}
			}
		})
	}
}

// TestLogoutTokenTwice: a token that comes again, to whichever replica, ends no
// session that began after it. Another token does, even in the same
// millisecond, and so does one that a careless server gives an id that it used
// for somebody else.
func TestLogoutTokenTwice(t *testing.T) {
	long := strings.Repeat("j", 1<<20)
	for name, c := range map[string]struct {
		first, second [3]string // sub, sid, jti
		ends          bool
	}{
		"the same":             {[3]string{"ana", "1", "j"}, [3]string{"ana", "1", "j"}, false},
		"the same, sub alone":  {[3]string{"ana", "", "j"}, [3]string{"ana", "", "j"}, false},
		"the same, sid alone":  {[3]string{"", "1", "j"}, [3]string{"", "1", "j"}, false},
		"the same, long":       {[3]string{"ana", "1", long}, [3]string{"ana", "1", long}, false},
		"the same, no text":    {[3]string{"ana", "1", "\x00\xff"}, [3]string{"ana", "1", "\x00\xff"}, false},
		"another id":           {[3]string{"ana", "1", "j"}, [3]string{"ana", "1", "k"}, true},
		"another long id":      {[3]string{"ana", "1", long}, [3]string{"ana", "1", long + "k"}, true},
		"another after a zero": {[3]string{"ana", "1", "\x00\xff"}, [3]string{"ana", "1", "\x00\xfe"}, true},
		"the id of another":    {[3]string{"ben", "2", "j"}, [3]string{"ana", "1", "j"}, true},
		"the id, sub alone":    {[3]string{"ana", "1", "j"}, [3]string{"ana", "", "j"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newWorld(0), t.Context()
			before := w.signIn(t, idServer, "ana", "1")
			if err := w.a.LogoutToken(ctx, w.token(c.first[0], c.first[1], c.first[2])); err != nil {
				t.Fatal(err)
			}
			if alive := signedIn(t, w.b, before); alive != (c.first[0] == "ben") {
				t.Errorf("signed in %v after the first", alive)
			}
			after := w.signIn(t, idServer, "ana", "1")
			if err := w.b.LogoutToken(ctx, w.token(c.second[0], c.second[1], c.second[2])); err != nil {
				t.Fatal(err)
			}
			if alive := signedIn(t, w.a, after); alive == c.ends {
				t.Errorf("signed in %v after the second", alive)
			}
		})
	}
}

// TestLogoutTokenAge: a token counts for two minutes from its iat. Its id is kept
// for longer than that, even if the provider's clock is ahead.
func TestLogoutTokenAge(t *testing.T) {
	for name, c := range map[string]struct {
		age time.Duration
		err error
	}{
		"now":            {0, nil},
		"two minutes":    {2 * time.Minute, nil},
		"older":          {2*time.Minute + time.Millisecond, session.ErrStale},
		"ahead":          {-119 * time.Second, nil},
		"far ahead":      {-119*time.Second - time.Millisecond, session.ErrStale},
		"a lifetime ago": {1 << 62, session.ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newWorld(0), t.Context()
			ref := w.signIn(t, idServer, "ana", "1")
			token := w.token("ana", "1", "j")
			token.IssuedAt = w.clock.Add(-c.age)
			if err := w.a.LogoutToken(ctx, token); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if alive := signedIn(t, w.a, ref); alive == (c.err == nil) {
				t.Errorf("signed in: %v", alive)
			}
			if c.err != nil {
				return
			}
			for w.clock = w.clock.Add(time.Second); ; w.clock = w.clock.Add(time.Second) {
				later := w.signIn(t, idServer, "ana", "1")
				err := w.b.LogoutToken(ctx, token)
				if !signedIn(t, w.a, later) {
					t.Fatalf("%v later, it ended a session that began after it", w.clock.Sub(token.IssuedAt))
				}
				if errors.Is(err, session.ErrStale) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestLogoutTokenLacksAName: a token that names nobody, or has no id, is
// refused before the store is asked.
func TestLogoutTokenLacksAName(t *testing.T) {
	w := newWorld(0)
	counted := &counting{Store: w.store.Store}
	w.store.Store = counted
	k := session.New(session.Config{Store: w.store, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
	for _, l := range []session.Logout{w.token("ana", "1", ""), w.token("", "", "j"), {}} {
		if err := k.LogoutToken(t.Context(), l); !errors.Is(err, session.ErrNameless) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	if counted.finds+counted.swaps > 0 {
		t.Errorf("%d reads and %d writes", counted.finds, counted.swaps)
	}
}

// counting counts the calls of a store.
type counting struct {
	session.Store
	finds, swaps int
}

func (c *counting) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	c.finds++
	return c.Store.FindManyCtx(ctx, keys)
}

func (c *counting) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	c.swaps++
	return c.Store.SwapCtx(ctx, key, old, new, expiry)
}

// TestLogoutCosts: what a logout from outside may ask of the store. A stranger
// at the front channel writes nothing.
func TestLogoutCosts(t *testing.T) {
	for name, c := range map[string]struct {
		logout       func(*session.Keeper, *world) error
		finds, swaps int
	}{
		"token": {func(k *session.Keeper, w *world) error {
			return k.LogoutToken(context.Background(), w.token("ana", "1", "j"))
		}, 1, 3},
		"token, again": {func(k *session.Keeper, w *world) error {
			return k.LogoutToken(context.Background(), w.token("ana", "1", "old"))
		}, 1, 3}, // the number and both marks once more
		"front":                {func(k *session.Keeper, w *world) error { return frontLogout(context.Background(), k, idServer, "1") }, 1, 1},
		"front, of a stranger": {func(k *session.Keeper, w *world) error { return frontLogout(context.Background(), k, idServer, "9") }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			w.signIn(t, idServer, "ana", "1")
			if err := w.a.LogoutToken(t.Context(), w.token("ana", "1", "old")); err != nil {
				t.Fatal(err)
			}
			counted := &counting{Store: w.store.Store}
			k := session.New(session.Config{Store: counted, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
			if err := c.logout(k, w); err != nil || counted.finds != c.finds || counted.swaps != c.swaps {
				t.Errorf("%d reads and %d writes, %v; want %d and %d", counted.finds, counted.swaps, err, c.finds, c.swaps)
			}
		})
	}
}

// TestLogoutMarksLast: marks that a logout raised outlive the longest session
// that any keeper on the store may have, even if the mark of an older build had
// no end.
func TestLogoutMarksLast(t *testing.T) {
	marks := session.MarksOf(idServer, "ana", "1")
	noSID := session.MarksOf(idServer, "ana", "")
	for name, c := range map[string]struct {
		logout func(*world) error
		raised []session.Mark
	}{
		"sub":   {func(w *world) error { return w.a.LogoutToken(context.Background(), w.token("ana", "", "j")) }, marks[1:]},
		"both":  {func(w *world) error { return w.a.LogoutToken(context.Background(), w.token("ana", "1", "j")) }, []session.Mark{marks[0], noSID[0]}},
		"sid":   {func(w *world) error { return w.a.LogoutToken(context.Background(), w.token("", "1", "j")) }, marks[:1]},
		"front": {func(w *world) error { return frontLogout(context.Background(), w.a, idServer, "1") }, marks[:1]},
	} {
		for _, old := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w, ctx := newWorld(0), t.Context()
				ahead := uint64(w.clock.UnixMilli()) + 5
				for _, m := range c.raised {
					value := session.EncodeMark(ahead, w.clock.Add(time.Hour))
					if old {
						value = value[:session.HeadSize+8]
					}
					if _, err := w.store.SwapCtx(ctx, session.MarkKey(m.Name), nil, value, w.clock.Add(time.Hour)); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					if err := c.logout(w); err != nil {
						t.Fatal(err)
					}
				}
				for _, m := range c.raised {
					values, err := w.store.FindManyCtx(ctx, []string{session.MarkKey(m.Name)})
					if err != nil {
						t.Fatal(err)
					}
					number, err1 := session.DecodeMark(values[0])
					end, err2 := session.MarkEnd(values[0])
					if err1 != nil || err2 != nil || number <= ahead || end.Before(w.clock.Add(400*24*time.Hour)) {
						t.Errorf("number %d after %d, until %v, %v, %v", number, ahead, end, err1, err2)
					}
				}
			})
		}
	}
}

// TestLogoutFindsBadValues: a mark or a number of a token that cannot be read
// counts as raised just now. Of a newer build's value nobody can say what it
// means, so the logout fails.
func TestLogoutFindsBadValues(t *testing.T) {
	newer := append([]byte{session.Version + 1, 0}, make([]byte, 40)...)
	token := func(w *world) error { return w.a.LogoutToken(context.Background(), w.token("ana", "1", "j")) }
	front := func(w *world) error { return frontLogout(context.Background(), w.a, idServer, "1") }
	mark := session.MarkKey(session.MarksOf(idServer, "ana", "1")[0].Name)
	id := session.LogoutKey(session.Logout{Issuer: idServer, Subject: "ana", SID: "1", ID: "j"})
	for name, c := range map[string]struct {
		logout func(*world) error
		key    string
		value  []byte
		err    error
	}{
		"token, mark":         {token, mark, []byte("x"), nil},
		"token, empty mark":   {token, mark, []byte{}, nil},
		"token, newer mark":   {token, mark, newer, session.ErrUnreadable},
		"token, its number":   {token, id, []byte("x"), nil},
		"token, newer number": {token, id, newer, session.ErrUnreadable},
		"front, mark":         {front, mark, []byte("x"), nil},
		"front, newer mark":   {front, mark, newer, session.ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newWorld(0), t.Context()
			ref := w.signIn(t, idServer, "ana", "1")
			if err := w.store.Store.(*memstore.Store).CommitCtx(ctx, c.key, c.value, w.clock.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if err := c.logout(w); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if c.err == nil && signedIn(t, w.a, ref) {
				t.Error("still signed in")
			}
		})
	}
}

// troubled fails its first calls, or hangs.
type troubled struct {
	session.Store
	fails  int
	hangs  bool
	before bool // a write that fails has happened
}

func (s *troubled) trouble(ctx context.Context) error {
	if s.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.fails--; s.fails >= 0 {
		return errors.New("trouble")
	}
	return nil
}

func (s *troubled) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.trouble(ctx); err != nil {
		return nil, err
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *troubled) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	err := s.trouble(ctx)
	if err != nil && !s.before {
		return false, err
	}
	swapped, _ := s.Store.SwapCtx(ctx, key, old, new, expiry)
	return swapped && err == nil, err
}

// TestFA6_LogoutFromOutside: a logout gets over short trouble of the store, and
// a caller that leaves does not stop it halfway. If the store is gone, it fails
// within 1.5 s and ends nothing that it does not report.
func TestFA6_LogoutFromOutside(t *testing.T) {
	for name, logout := range map[string]func(context.Context, *session.Keeper, *world) error{
		"token": func(ctx context.Context, k *session.Keeper, w *world) error {
			return k.LogoutToken(ctx, w.token("ana", "1", "j"))
		},
		"front": func(ctx context.Context, k *session.Keeper, w *world) error {
			return frontLogout(ctx, k, idServer, "1")
		},
	} {
		for _, trouble := range []troubled{{fails: 1}, {fails: 5}, {fails: 5, before: true}, {hangs: true}, {fails: 1 << 30}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(0)
					ref := w.signIn(t, idServer, "ana", "1")
					s := trouble
					s.Store = w.store.Store
					k := session.New(session.Config{Store: &s, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
					ctx, leave := context.WithCancel(t.Context())
					leave()
					begin := time.Now()
					err := logout(ctx, k, w)
					if took := time.Since(begin); took > 1500*time.Millisecond {
						t.Errorf("it took %v", took)
					}
					if gone := s.hangs || s.fails > 5; gone != errors.Is(err, session.ErrStore) || signedIn(t, w.a, ref) != gone {
						t.Errorf("%+v: %v", trouble, err)
					}
				})
			})
		}
	}
}

// slow is a store that takes its time for each call.
type slow struct {
	session.Store
	takes time.Duration
}

func (s slow) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.takes):
		return nil
	}
}

func (s slow) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s slow) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if err := s.wait(ctx); err != nil {
		return false, err
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// TestLogoutOnASlowStore: a store that answers each call within the time of a call
// does so for a logout too, although it makes several.
func TestLogoutOnASlowStore(t *testing.T) {
	for name, logout := range map[string]func(*session.Keeper, *world) error{
		"token": func(k *session.Keeper, w *world) error {
			return k.LogoutToken(context.Background(), w.token("ana", "1", "j"))
		},
		"front": func(k *session.Keeper, w *world) error {
			return frontLogout(context.Background(), k, idServer, "1")
		},
	} {
		for _, takes := range []time.Duration{400 * time.Millisecond, 800 * time.Millisecond, time.Hour} {
			t.Run(name+" "+takes.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(0)
					ref := w.signIn(t, idServer, "ana", "1")
					k := session.New(session.Config{Store: slow{w.store.Store, takes}, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
					hangs, begin := takes == time.Hour, time.Now()
					err := logout(k, w)
					if errors.Is(err, session.ErrStore) != hangs || signedIn(t, w.a, ref) != hangs {
						t.Errorf("%v", err)
					}
					if took := time.Since(begin); hangs && took > 1500*time.Millisecond {
						t.Errorf("it took %v", took)
					}
				})
			})
		}
	}
}

// TestLogoutOnASlowStoreInARace: somebody else changes the marks each time. The one
// who waits for the answer gets it all the same.
func TestLogoutOnASlowStoreInARace(t *testing.T) {
	for _, front := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(0)
			w.signIn(t, idServer, "ana", "1")
			k := session.New(session.Config{Store: outrun{slow{w.store.Store, 800 * time.Millisecond}}, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
			begin, err := time.Now(), error(nil)
			if front {
				err = frontLogout(t.Context(), k, idServer, "1")
			} else {
				err = k.LogoutToken(t.Context(), w.token("ana", "1", "j"))
			}
			if took := time.Since(begin); !errors.Is(err, session.ErrStore) || took > 6*time.Second {
				t.Errorf("front channel %v: %v after %v", front, err, took)
			}
		})
	}
}

// TestLogoutOfAllSessionsOnASlowStore: a provider that ends all of a person's
// sessions sends a token for each, all at once. None has to wait for the others.
func TestLogoutOfAllSessionsOnASlowStore(t *testing.T) {
	const sessions = 50
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(0)
		var refs []session.Ref
		for i := range sessions {
			refs = append(refs, w.signIn(t, idServer, "ana", fmt.Sprint(i)))
		}
		k := session.New(session.Config{Store: slow{w.store.Store, 150 * time.Millisecond}, Lifetime: time.Hour, Idle: -1, Now: func() time.Time { return w.clock }})
		begin := time.Now()
		var all sync.WaitGroup
		for i := range sessions {
			all.Go(func() {
				if err := k.LogoutToken(t.Context(), w.token("ana", fmt.Sprint(i), fmt.Sprint("j", i))); err != nil {
					t.Errorf("session %d: %v after %v", i, err, time.Since(begin))
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		for i, ref := range refs {
			if signedIn(t, w.a, ref) {
				t.Errorf("session %d lives", i)
			}
		}
	})
}

// outrun is a store at which somebody else is always faster.
type outrun struct{ slow }

func (o outrun) SwapCtx(ctx context.Context, _ string, _, _ []byte, _ time.Time) (bool, error) {
	return false, o.wait(ctx)
}

// frontLogout is LogoutFront, whether it finds a mark or not.
func frontLogout(ctx context.Context, k *session.Keeper, issuer, sid string) error {
	_, err := k.LogoutFront(ctx, issuer, sid)
	return err
}

// LogoutFront says whether a sign-in has laid the mark down.
func TestLogoutFrontFinds(t *testing.T) {
	w := newWorld(0)
	w.signIn(t, idServer, "ana", "1")
	for sid, want := range map[string]bool{"1": true, "9": false} {
		if found, err := w.a.LogoutFront(t.Context(), idServer, sid); found != want || err != nil {
			t.Errorf("sid %s: found %v, error %v", sid, found, err)
		}
	}
}

// TestLogoutAfterALongerLife: a session ends with the mark that its sign-in has
// laid down, although keepers let sessions live longer since. No front-channel
// logout would end it otherwise.
func TestLogoutAfterALongerLife(t *testing.T) {
	w, ctx := newWorld(0), t.Context()
	begin := w.clock
	short := session.New(session.Config{Store: w.store, Lifetime: time.Hour, Idle: 30 * time.Minute, Now: func() time.Time { return w.clock }})
	rec := w.record(begin)
	rec.Requested, rec.Expires = time.Time{}, time.Time{}
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if again, err := short.ReadMarks(ctx, rec, begin, carriesNone); again || err != nil {
		t.Fatal(again, err)
	}
	if err := short.Create(ctx, ref, rec, w.clock); err != nil {
		t.Fatal(err)
	}
	for w.clock.Before(begin.Add(3 * time.Hour)) {
		have, err := w.a.Load(ctx, ref)
		if lives := err == nil; lives != w.clock.Before(begin.Add(time.Hour)) || !lives && !errors.Is(err, session.ErrNone) {
			t.Errorf("after %v: %v", w.clock.Sub(begin), err)
		}
		if err == nil {
			if _, err := w.a.Touch(ctx, ref, have); err != nil {
				t.Fatal(err)
			}
			if end := w.a.Ending(have.Record); !end.Equal(begin.Add(time.Hour)) {
				t.Errorf("it ends at %v", end)
			}
		}
		w.clock = w.clock.Add(10 * time.Minute)
	}
}
