package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/session"
)

// counted is a store that counts round trips and notes how long values live.
type counted struct {
	session.Store
	calls  int
	latest time.Time // of all expiries
	last   string    // key of the last write
}

func (s *counted) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	s.calls++
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *counted) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	s.calls, s.last = s.calls+1, key
	if expiry.After(s.latest) {
		s.latest = expiry
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// many signs ana in again and again, and after each sign-in ends it if the
// function says so.
type many struct {
	t     *testing.T
	store *counted
	k     *session.Keeper
	clock time.Time
	keys  []string // of all sessions, oldest first
	ended []string // because there were too many
}

// shorter is a keeper of the same name and store at another origin, whose
// sessions live shorter.
func (m *many) shorter(life time.Duration) *session.Keeper {
	return session.New(session.Config{Store: m.store, Name: "site", Lifetime: life, Idle: time.Minute, Now: func() time.Time { return m.clock }})
}

func newMany(t *testing.T) *many {
	m := &many{t: t, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	now := func() time.Time { return m.clock }
	m.store = &counted{Store: memstore.NewStore(now)}
	m.k = session.New(session.Config{Store: m.store, Name: "site", Lifetime: 12 * time.Hour, Idle: time.Hour, Now: now})
	return m
}

func (m *many) signIn(subject string) (calls int) {
	m.t.Helper()
	m.clock = m.clock.Add(time.Second)
	rec := &session.Record{Issuer: "https://id.example.org", Subject: subject, ClientID: "notes", Begin: m.clock, Seen: m.clock, Marks: session.MarksOf("https://id.example.org", subject, "")}
	ref := session.NewRef("home", session.NewID(), rec.Marks)
	if err := m.k.Create(m.t.Context(), ref, rec, m.clock); err != nil {
		m.t.Fatal(err)
	}
	m.keys = append(m.keys, ref.Key)
	before := m.store.calls
	over, err := m.k.Enlist(m.t.Context(), ref, rec)
	if err != nil {
		m.t.Fatal(err)
	}
	calls = m.store.calls - before
	for _, key := range over {
		m.end(key)
	}
	m.ended = append(m.ended, over...)
	return calls
}

func (m *many) end(key string) {
	m.t.Helper()
	if _, err := m.k.End(m.t.Context(), key); err != nil {
		m.t.Fatal(err)
	}
}

// list returns the keys of the list, oldest first.
func (m *many) list(subject string) (keys []string) {
	m.t.Helper()
	live, err := m.k.List(m.t.Context(), "https://id.example.org", subject)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, l := range live {
		keys = append(keys, l.Key)
	}
	slices.Reverse(keys)
	return keys
}

// The list shows every live session, however many have ended since. A sign-in
// costs two round trips for it until the list is full.
func TestListAmongEndedSessions(t *testing.T) {
	m := newMany(t)
	var live []string
	dear := 0
	for i := range 500 {
		calls := m.signIn("ana")
		switch {
		case i < 100 && calls != 2:
			t.Errorf("sign-in %d: %d round trips, want 2", i, calls)
		case calls > 2:
			dear++
		}
		if i%50 == 0 {
			live = append(live, m.keys[i])
			continue
		}
		m.end(m.keys[i])
	}
	if got := m.list("ana"); !slices.Equal(got, live) {
		t.Errorf("%d sessions are listed, want %d", len(got), len(live))
	}
	if len(m.ended) != 0 || dear > 8 {
		t.Errorf("%d sessions were ended, %d sign-ins were dear", len(m.ended), dear)
	}
}

// A person has at most 100 sessions. One more ends the oldest.
func TestListOfTooMany(t *testing.T) {
	m := newMany(t)
	for range 100 {
		m.signIn("ana")
	}
	m.signIn("ben")
	if got := m.list("ana"); len(got) != 100 || len(m.ended) != 0 {
		t.Fatalf("%d sessions are listed, %d ended", len(got), len(m.ended))
	}
	for i := range 3 {
		m.signIn("ana")
		if got := m.list("ana"); len(got) != 100 || got[0] != m.keys[i+1] || len(m.ended) != i+1 {
			t.Fatalf("%d sessions are listed, %d ended", len(got), len(m.ended))
		}
		if m.ended[i] != m.keys[i] {
			t.Error("another than the oldest has to end")
		}
	}
	if got := m.list("ben"); len(got) != 1 {
		t.Errorf("ben has %d sessions", len(got))
	}
	if err := m.k.RevokeAll(t.Context(), "https://id.example.org", "ana"); err != nil {
		t.Fatal(err)
	}
	if got := m.list("ana"); len(got) != 0 {
		t.Errorf("%d sessions after RevokeAll", len(got))
	}
}

// A sign-in with a shorter life does not shorten that of the list, and lays
// nothing down for longer than its own.
func TestListOutlivesAShorterLife(t *testing.T) {
	m := newMany(t)
	long, short := m.k, m.shorter(time.Minute)
	m.signIn("ana")
	m.k = short
	m.signIn("ana")
	m.store.latest = time.Time{}
	m.signIn("ben")
	if most := m.clock.Add(2 * time.Minute); m.store.latest.After(most) {
		t.Errorf("a sign-in of a minute stores something until %v, later than %v", m.store.latest, most)
	}
	m.k = long
	m.clock = m.clock.Add(3 * time.Minute)
	if got := m.list("ana"); len(got) != 1 || got[0] != m.keys[0] {
		t.Errorf("%d of one session are listed after the shorter life", len(got))
	}
}

// A list that cannot be read is empty, and the next sign-in begins a new one.
// Only that of a newer build is an error.
func TestListThatCannotBeRead(t *testing.T) {
	for name, garbage := range map[string]string{"text": "somebody else's value under our key", "none": "", "cut": "cut"} {
		t.Run(name, func(t *testing.T) {
			m := newMany(t)
			m.signIn("ana")
			key := m.store.last
			raw, err := m.store.FindManyCtx(t.Context(), []string{key})
			if err != nil {
				t.Fatal(err)
			}
			bad := []byte(garbage)
			if name == "cut" {
				bad = raw[0][:len(raw[0])-1]
			}
			if done, err := m.store.SwapCtx(t.Context(), key, raw[0], bad, m.clock.Add(time.Hour)); err != nil || !done {
				t.Fatalf("%v, %v", done, err)
			}
			if got := m.list("ana"); len(got) != 0 {
				t.Errorf("%d sessions are listed", len(got))
			}
			m.signIn("ana")
			if got := m.list("ana"); len(got) != 1 || got[0] != m.keys[1] {
				t.Errorf("%d sessions are listed after another sign-in", len(got))
			}
		})
	}
	m := newMany(t)
	m.signIn("ana")
	raw, _ := m.store.FindManyCtx(t.Context(), []string{m.store.last})
	newer := slices.Clone(raw[0])
	newer[0]++
	if done, err := m.store.SwapCtx(t.Context(), m.store.last, raw[0], newer, m.clock.Add(time.Hour)); err != nil || !done {
		t.Fatalf("%v, %v", done, err)
	}
	if _, err := m.k.List(t.Context(), "https://id.example.org", "ana"); !errors.Is(err, session.ErrUnreadable) {
		t.Errorf("a list of a newer build: %v", err)
	}
}

// A build keeps the sessions in the list that only a newer one can read.
func TestListOfANewerBuild(t *testing.T) {
	m := newMany(t)
	for range 60 {
		m.signIn("ana")
	}
	const newer = 3
	raw, err := m.store.FindManyCtx(t.Context(), m.keys[newer:newer+1])
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, version byte) {
		next := slices.Clone(raw[0])
		next[0] = version
		was := slices.Clone(raw[0])
		was[0] = old
		if done, err := m.store.SwapCtx(t.Context(), m.keys[newer], was, next, m.clock.Add(time.Hour)); err != nil || !done {
			t.Fatalf("%v, %v", done, err)
		}
	}
	change(session.Version, session.Version+1)
	for i := range 50 { // so that the list is full, and those that have ended leave it
		m.signIn("ana")
		m.end(m.keys[60+i])
	}
	if got := m.list("ana"); len(got) != 59 || slices.Contains(got, m.keys[newer]) {
		t.Errorf("%d sessions are listed", len(got))
	}
	change(session.Version+1, session.Version)
	if got := m.list("ana"); len(got) != 60 || !slices.Contains(got, m.keys[newer]) {
		t.Errorf("%d sessions are listed for the newer build", len(got))
	}
}
