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

// TestRecordsOfBefore: records written by the build of November 2026, before
// sessions had their own package, are still read, to the last field.
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
			k := reopen(t, d, key, at)
			rec := load(t, k, d.Session)
			want := &session.Record{
				Issuer: "https://id.example.org", Subject: "ana", ClientID: "notes", SID: "s1", Begin: at, Seen: at, AuthTime: at.Add(-time.Minute),
				Claims: []byte(`{"sub":"ana","email":"ana@example.org"}`), Scope: "openid email",
				Access: session.Token("access"), Expires: at.Add(5 * time.Minute), Requested: at, Refresh: session.Token("refresh"), IDToken: session.Token("a.b.c"),
				Marks: session.MarksOf("https://id.example.org", "ana", "s1"), Asked: []byte("asked123"), AskedAt: at,
			}
			want.Marks[1].Number = d.Mark
			sameRecord(t, rec, want)
			want.Lease = lease.Lease{Holder: "LEASE", Until: at.Add(lease.Life), Takeovers: 2, RetryAt: at.Add(10 * time.Second)}
			want.Ends = at.Add(time.Hour)
			sameRecord(t, load(t, k, d.Leased), want)
			if _, err := k.Load(t.Context(), refOf(t, d.Ended)); !errors.Is(err, session.ErrNone) {
				t.Errorf("a session that has ended: %v", err)
			}
			if list, err := k.List(t.Context(), "https://id.example.org", "ana"); err != nil || len(list) != 1 || list[0].Key != refOf(t, d.Session).Key {
				t.Errorf("the list has %d sessions, %v", len(list), err)
			}
			if ring, err := k.Ring(t.Context()); err != nil || ring == nil {
				t.Errorf("the keys: %v", err)
			}
		})
	}
}

// reopen makes a Keeper over what an earlier build left.
func reopen(t *testing.T, d dump, key string, at time.Time) *session.Keeper {
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
	return session.New(c)
}

func refOf(t *testing.T, cookie string) session.Ref {
	t.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	ref, ok := session.ParseRef(value)
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
