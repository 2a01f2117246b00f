package registration_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/registration"
)

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var full = registration.Record{
	Clients: []registration.Client{
		{ID: "a", Secret: "s", Expires: at.Add(time.Hour), Since: at, Auth: "client_secret_post", Manage: "https://as.example.org/reg/a", Token: "t", Asked: "d"},
		{ID: "b", Since: at},
	},
	Ended:    []string{"z"},
	Leftover: []registration.Client{{ID: "c", Since: at, Manage: "https://as.example.org/reg/c", Token: "u"}},
	Deleted:  true, Sent: at, Fails: 2, NotBefore: at.Add(time.Minute), Why: "because", Code: "busy",
	Lease: lease.Lease{Holder: "me", Until: at, Takeovers: 1, RetryAt: at},
}

// TestAt: all replicas answer alike which client a sign-in belongs to, and a new
// one begins when all know it.
func TestAt(t *testing.T) {
	rec := registration.Record{Ended: []string{"gone"}, Clients: []registration.Client{
		{ID: "new", From: at.Add(time.Minute)}, {ID: "old", Expires: at.Add(time.Hour)}, {ID: "over", Expires: at},
	}}
	for _, c := range []struct {
		begin, now time.Duration
		want       string
	}{{0, 0, "old"}, {59 * time.Second, 10 * time.Minute, "old"}, {time.Minute, time.Minute, "new"}, {0, 2 * time.Hour, "new"}} {
		if got := rec.At(at.Add(c.begin), at.Add(c.now)); got == nil || got.ID != c.want {
			t.Errorf("%v, at %v: %v, want %s", c.begin, c.now, got, c.want)
		}
	}
	for id, want := range map[string]bool{"new": true, "old": true, "gone": true, "other": false, "": false} {
		if rec.Owns(id) != want {
			t.Errorf("owns %q", id)
		}
	}
	rec.Deleted = true
	if rec.At(at, at) != nil {
		t.Error("a deleted registration begins sign-ins")
	}
}

func encode(t testing.TB, b registration.Box, r registration.Record) []byte {
	t.Helper()
	raw, err := b.Encode(name, r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestForms: what one set of keys writes and another reads.
func TestForms(t *testing.T) {
	for title, c := range map[string]struct {
		writer, reader []byte
		stale          bool
		want           error
	}{
		"plain":             {nil, nil, false, nil},
		"the first key":     {nil, []byte{1}, true, nil},
		"the same key":      {[]byte{1}, []byte{1}, false, nil},
		"an older key":      {[]byte{1}, []byte{2, 1}, true, nil},
		"another key":       {[]byte{1}, []byte{2}, false, registration.ErrUnreadable},
		"the keys are gone": {[]byte{1}, nil, false, registration.ErrUnreadable},
	} {
		raw := encode(t, box(t, c.writer...), full)
		got, err := box(t, c.reader...).Decode(name, raw)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", title, err)
		}
		want := full
		want.Stale = c.stale
		if c.want == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v", title, got)
		}
		if len(c.writer) > 0 && bytes.Contains(raw, []byte(`"id"`)) {
			t.Errorf("%s: not sealed", title)
		}
		if _, err := box(t, c.writer...).Decode(name+"x", raw); len(c.writer) > 0 && !errors.Is(err, registration.ErrGarbage) {
			t.Errorf("%s: under another name: %v", title, err)
		}
	}
	if a, b := encode(t, box(t), full), encode(t, box(t), full); bytes.Equal(a, b) {
		t.Error("two values are equal")
	}
}

func TestBadForms(t *testing.T) {
	sealed := encode(t, box(t, 1), full)
	for title, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"empty":          {[]byte{}, registration.ErrGarbage},
		"cut":            {sealed[:len(sealed)-1], registration.ErrGarbage},
		"head alone":     {sealed[:2], registration.ErrGarbage},
		"changed":        {append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1), registration.ErrGarbage},
		"newer":          {append([]byte{2}, sealed[1:]...), registration.ErrUnreadable},
		"other kind":     {append([]byte{1, 9}, sealed[2:]...), registration.ErrUnreadable},
		"zero":           {append([]byte{0}, sealed[1:]...), registration.ErrGarbage},
		"newer plain":    {[]byte(`{"v":2}`), registration.ErrUnreadable},
		"no version":     {[]byte(`{"clients":[]}`), registration.ErrGarbage},
		"no id":          {[]byte(`{"v":1,"clients":[{}]}`), registration.ErrGarbage},
		"wrong type":     {[]byte(`{"v":1,"clients":7}`), registration.ErrGarbage},
		"cut plain":      {[]byte(`{"v":1,`), registration.ErrGarbage},
		"too large":      {[]byte(`{"v":1,"why":"` + strings.Repeat("x", 60_000) + `"}`), registration.ErrGarbage},
		"something else": {[]byte("client_id = 7"), registration.ErrGarbage},
	} {
		_, err := box(t, 1).Decode(name, c.raw)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", title, err, c.want)
		}
	}
	if _, err := box(t).Encode(name, registration.Record{Why: strings.Repeat("x", 60_000)}); !errors.Is(err, registration.ErrTooLarge) {
		t.Error(err)
	}
}

// FuzzDecode: whatever is stored is read or refused, and what is read is written
// and read again as the same.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, box(f), full))
	f.Add(encode(f, box(f, 1), full))
	f.Add([]byte(`{"v":1,"clients":[{"id":"a"}]}`))
	f.Add([]byte{1, 1, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, b := range []registration.Box{box(t), box(t, 1)} {
			rec, err := b.Decode(name, raw)
			if err != nil {
				if !errors.Is(err, registration.ErrGarbage) && !errors.Is(err, registration.ErrUnreadable) {
					t.Fatal(err)
				}
				continue
			}
			again, err := b.Encode(name, rec)
			if errors.Is(err, registration.ErrTooLarge) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Decode(name, again); err != nil {
				t.Fatalf("%v: %q", err, again)
			}
		}
	})
}
