package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/swap"
)

// fullRecord has every field set.
func fullRecord() *session.Record {
	at := time.UnixMilli(1_777_636_800_000)
	return &session.Record{
		Issuer: "https://op.test", Subject: "u1", ClientID: "notes", SID: "s1",
		Begin: at, Seen: at, Ends: at, AuthTime: at, Claims: []byte(`{"sub":"u1"}`), Scope: "openid",
		Access: session.Token("at"), Expires: at, Requested: at, Refresh: session.Token("rt"), IDToken: session.Token("a.b.c"),
		Marks: [2]session.Mark{{Name: strings.Repeat("A", 22), Number: 1}, {Name: strings.Repeat("B", 22), Number: 2}},
		Asked: []byte("asked"), AskedAt: at, Lease: lease.Lease{Holder: "lease", Until: at, Takeovers: 3, RetryAt: at}, Ended: at,
		Own: []byte(`{"role":null}`), Kept: []byte(`{"acr":"2"}`), Why: 2, Next: []byte(strings.Repeat("N", 43)), App: session.Token("app"),
	}
}

// FuzzRecord: any stored bytes decode to a record or an error. A decoded record
// is written back whole, including the fields of newer builds.
func FuzzRecord(f *testing.F) {
	whole := fullRecord().Encode()
	f.Add(whole)
	f.Add((&session.Record{}).Encode())
	f.Add(append(bytes.Clone(whole), 99, 3, 'n', 'e', 'w'))
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{session.Version + 1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := session.DecodeRecord(bytes.Clone(b))
		if err != nil {
			return
		}
		second, err := session.DecodeRecord(first.Encode())
		if err != nil {
			t.Fatalf("what was read cannot be read again once written: %v", err)
		}
		one, two := first.Encode(), second.Encode()
		const head = session.HeadSize
		if !bytes.Equal(one[head:], two[head:]) {
			t.Errorf("%x is written as\n%x and then as\n%x", b, one[head:], two[head:])
		}
		if bytes.Equal(one[:head], two[:head]) {
			t.Error("two writes have the same write ID")
		}
	})
}

// FuzzGlance: a request refuses the stored bytes that a renewal refuses, and
// otherwise reads the same in them. It takes the texts that it knows as they are.
func FuzzGlance(f *testing.F) {
	whole := fullRecord()
	f.Add(whole.Encode())
	f.Add(append(whole.Encode(), 99, 3, 'n', 'e', 'w'))
	f.Add(append(whole.Encode(), 1, 0, 2, 5, 'o', 't', 'h', 'e', 'r')) // the last of two counts
	f.Add(append(whole.Encode(), 5, 1, 0x80))
	f.Add(append(whole.Encode(), 6, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))
	whole.Ended, whole.Scope = time.Time{}, strings.Repeat("s ", 200)
	f.Add(whole.Encode())
	f.Add(whole.Encode()[:session.HeadSize+40])
	f.Add((&session.Record{}).Encode())
	f.Add([]byte{session.Version + 1, 0})
	keeper := session.New(session.Config{Lifetime: time.Hour, Idle: time.Hour, Now: time.Now})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := keeper.ReadRecord(b)
		for _, whose := range []session.Party{{}, {Issuer: "https://op.test", ClientID: "notes"}} {
			g, gErr := keeper.ReadGlance(b, [2]string{strings.Repeat("A", 22)}, whose)
			if fmt.Sprint(gErr) != fmt.Sprint(err) {
				t.Fatalf("error %v, want %v", gErr, err)
			}
			if err != nil {
				continue
			}
			same := &session.Record{
				Issuer: r.Issuer, Subject: r.Subject, ClientID: r.ClientID, Scope: r.Scope, Claims: r.Claims, Asked: r.Asked, Marks: r.Marks,
				Begin: r.Begin, Seen: r.Seen, Ends: r.Ends, AuthTime: r.AuthTime, Expires: r.Expires, Requested: r.Requested, AskedAt: r.AskedAt,
				Lease: lease.Lease{RetryAt: r.Lease.RetryAt},
			}
			if got := g.AsRecord(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", same) {
				t.Errorf("read\n%+v, want\n%+v", got, same)
			}
			if g.Has(true) != (len(r.Refresh) > 0) || g.Has(false) != !r.Ended.IsZero() {
				t.Errorf("refresh token %v, ended %v, of %+v", g.Has(true), g.Has(false), r)
			}
			g.Read = r.Expires.Add(-time.Second)
			if g.Due() != r.Due(g.Read) || g.Ends != keeper.Ending(r) {
				t.Errorf("due %v, ends %v, of %+v", g.Due(), g.Ends, r)
			}
		}
	})
}

// TestRecordFields: no field is lost between two builds, whether known or not.
func TestRecordFields(t *testing.T) {
	more := []byte{99, 3, 'n', 'e', 'w'}
	got, err := session.DecodeRecord(append(fullRecord().Encode(), more...))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Unknown(), more) {
		t.Errorf("unknown fields %x, want %x", got.Unknown(), more)
	}
	want := append(fullRecord().Encode(), more...)
	if !bytes.Equal(got.Encode()[session.HeadSize:], want[session.HeadSize:]) {
		t.Errorf("%+v", got)
	}
	newer := make([]byte, session.HeadSize)
	newer[0] = session.Version + 1
	if _, err := session.DecodeRecord(newer); err != session.ErrNewVersion {
		t.Errorf("a newer version: %v", err)
	}
}

// FuzzMark: a mark is a number or an error.
func FuzzMark(f *testing.F) {
	f.Add(session.EncodeMark(1, time.UnixMilli(1)))
	f.Add(session.EncodeMark(1<<64-1, time.UnixMilli(1<<50)))
	f.Add(session.EncodeMark(1, time.UnixMilli(1))[:session.HeadSize+8])
	f.Add([]byte{})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := session.DecodeMark(b)
		if err != nil || len(b) == 0 {
			return
		}
		if again, err := session.DecodeMark(session.EncodeMark(n, time.UnixMilli(2))); err != nil || again != n {
			t.Errorf("%d became %d, %v", n, again, err)
		}
	})
}

// FuzzSessionCookie: a value is accepted only in the exact form that we write.
func FuzzSessionCookie(f *testing.F) {
	good := session.NewRef("home", session.NewID(), session.MarksOf("https://op.test", "u1", "s1")).Cookie()
	f.Add(good)
	f.Add(strings.ToLower(good))
	f.Add(good + ".")
	f.Add("..")
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		ref, ok := session.ParseRef("home", value)
		if !ok {
			return
		}
		if back := ref.Cookie(); back != value {
			t.Errorf("%q is read as %q", value, back)
		}
		if len(ref.ID) != 43 || len(ref.Marks[0]) != 22 || len(ref.Marks[1]) != 22 || len(ref.Key) != 43 {
			t.Errorf("%q has parts of %d, %d and %d", value, len(ref.ID), len(ref.Marks[0]), len(ref.Marks[1]))
		}
	})
}

// keepsAll is a store that keeps a value forever if it arrives already expired,
// as some stores do. It remembers the last value it was given.
type keepsAll struct {
	session.Store
	given  []byte
	expiry time.Time
}

func (s *keepsAll) SwapCtx(_ context.Context, _ string, _, new []byte, expiry time.Time) (bool, error) {
	s.given, s.expiry = new, expiry
	return true, nil
}

// A value that has already expired never reaches the store: it is deleted
// instead (M15).
func TestSwapDeletesWhatHasExpired(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		expiry time.Time
		kept   bool
	}{
		"ahead":   {now.Add(time.Nanosecond), true},
		"now":     {now, false},
		"passed":  {now.Add(-time.Hour), false},
		"no time": {time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := &keepsAll{given: []byte("untouched")}
			k := session.New(session.Config{Store: store, Now: func() time.Time { return now }})
			swapped, err := k.Swap(t.Context(), "key", []byte("old"), swap.Value{Bytes: []byte("new"), Expiry: c.expiry})
			if !swapped || err != nil || !store.expiry.Equal(c.expiry) {
				t.Errorf("swapped %v, error %v, expiry %v", swapped, err, store.expiry)
			}
			if got := string(store.given); (got == "new") != c.kept || !c.kept && store.given != nil {
				t.Errorf("the store was given %q", got)
			}
		})
	}
}

// SE8: a session id has 256 bits, all of them in use, and no two ids are alike.
// A test cannot show that they come from crypto/rand, but it can show that no
// other source is imported.
func TestSE8_SessionIDs(t *testing.T) {
	const ids = 1000
	seen := map[string]bool{}
	var ones [8 * session.IDSize]int
	for range ids {
		id := session.NewRef("home", session.NewID(), [2]session.Mark{}).ID
		b, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil || len(b) != session.IDSize || seen[id] {
			t.Fatalf("id %q: %d bytes, seen before: %v, error %v", id, len(b), seen[id], err)
		}
		seen[id] = true
		for i := range ones {
			ones[i] += int(b[i/8] >> (i % 8) & 1)
		}
	}
	for i, n := range ones {
		if n < ids/3 || n > 2*ids/3 { // ten standard deviations from one half
			t.Errorf("bit %d is set in %d of %d ids", i, n, ids)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if strings.HasPrefix(i.Path.Value, `"math/rand`) {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
