package session_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/memstore"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// dump is what an earlier build left in a store, together with the cookies it
// issued.
type dump struct {
	Session string            `json:"session_cookie"`
	Leased  string            `json:"leased_cookie"`
	Ended   string            `json:"ended_cookie"`
	Mark    uint64            `json:"subject_mark"`
	Store   map[string]string `json:"store"`
}

// TestRecordsOfBefore: the build of November 2026 kept its sessions under other
// keys, so everybody signs in once more, and its cookies open nothing. The form
// of a record is the same: moved to where this build looks, a plain one is read
// to the last field, and marks are where they were.
func TestRecordsOfBefore(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	text, err := os.ReadFile("testdata/2026-11.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"plain": "", "sealed": "golden key of thirty-two bytes ok"} {
		t.Run(name, func(t *testing.T) {
			var d dump
			if err := json.Unmarshal(all[name], &d); err != nil {
				t.Fatal(err)
			}
			k, store := reopen(t, d, key, at)
			for _, cookie := range []string{d.Session, d.Leased, d.Ended} {
				if _, err := k.Load(t.Context(), refOf(t, cookie)); !errors.Is(err, session.ErrNone) {
					t.Errorf("a cookie of before: %v", err)
				}
			}
			if list, err := k.List(t.Context(), "https://id.example.org", "ana"); err != nil || len(list) != 0 {
				t.Errorf("the list has %d sessions, %v", len(list), err)
			}
			if ring, err := k.Ring(t.Context()); err != nil || ring == nil {
				t.Errorf("the keys: %v", err)
			}
			move(t, store, d.Session, at)
			move(t, store, d.Leased, at)
			move(t, store, d.Ended, at)
			if key != "" {
				if _, err := k.Load(t.Context(), refOf(t, d.Session)); !errors.Is(err, session.ErrGarbage) {
					t.Errorf("a record sealed for another key: %v", err)
				}
				return
			}
			want := &session.Record{
				Issuer: "https://id.example.org", Subject: "ana", ClientID: "notes", SID: "s1", Begin: at, Seen: at, AuthTime: at.Add(-time.Minute),
				Claims: []byte(`{"sub":"ana","email":"ana@example.org"}`), Scope: "openid email",
				Access: session.Token("access"), Expires: at.Add(5 * time.Minute), Requested: at, Refresh: session.Token("refresh"), IDToken: session.Token("a.b.c"),
				Marks: session.MarksOf("https://id.example.org", "ana", "s1"), Asked: []byte("asked123"), AskedAt: at,
			}
			want.Marks[1].Number = d.Mark
			sameRecord(t, load(t, k, d.Session), want)
			want.Lease = lease.Lease{Holder: "LEASE", Until: at.Add(lease.Life), Takeovers: 2, RetryAt: at.Add(10 * time.Second)}
			want.Ends = at.Add(time.Hour)
			sameRecord(t, load(t, k, d.Leased), want)
			if _, err := k.Load(t.Context(), refOf(t, d.Ended)); !errors.Is(err, session.ErrNone) {
				t.Errorf("a session that has ended: %v", err)
			}
			if err := k.RevokeAll(t.Context(), "https://id.example.org", "ana"); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Load(t.Context(), refOf(t, d.Session)); !errors.Is(err, session.ErrNone) {
				t.Errorf("after RevokeAll over a mark of before: %v", err)
			}
		})
	}
}

// move puts the record of a cookie where this build looks for it.
func move(t *testing.T, store *memstore.Store, cookie string, at time.Time) {
	t.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	id, _, _ := strings.Cut(value, ".")
	record, found, err := store.FindCtx(t.Context(), storekey.Of("gatehouse/session", id))
	if err != nil || !found {
		t.Fatalf("no record of %q, %v", cookie, err)
	}
	if err := store.CommitCtx(t.Context(), refOf(t, cookie).Key, record, at.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// reopen makes a Keeper over what an earlier build left.
func reopen(t *testing.T, d dump, key string, at time.Time) (*session.Keeper, *memstore.Store) {
	t.Helper()
	now := func() time.Time { return at }
	store := memstore.NewStore(now)
	for k, v := range d.Store {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CommitCtx(t.Context(), k, b, at.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	c := session.Config{Store: store, Name: "golden", Lifetime: 12 * time.Hour, Idle: 30 * time.Minute, Now: now}
	if key != "" {
		ring, err := seal.NewRing([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		c.Keys = ring
	}
	return session.New(c), store
}

func refOf(t *testing.T, cookie string) session.Ref {
	t.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	ref, ok := session.ParseRef(session.Home("golden", "https://notes.example.org"), value)
	if !ok {
		t.Fatalf("cookie %q", cookie)
	}
	return ref
}

func load(t *testing.T, k *session.Keeper, cookie string) *session.Record {
	t.Helper()
	s, err := k.Load(t.Context(), refOf(t, cookie))
	if err != nil {
		t.Fatal(err)
	}
	return s.Record
}

// sameRecord compares the encoded forms of two records.
func sameRecord(t *testing.T, got, want *session.Record) {
	t.Helper()
	if g, w := string(got.Encode()[session.HeadSize:]), string(want.Encode()[session.HeadSize:]); g != w {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
