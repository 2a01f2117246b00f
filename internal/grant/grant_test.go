package grant_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/grant"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/seal"
)

const issuer, owner = "https://as.example.org", "alice"

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func box(t testing.TB, keys ...byte) grant.Box {
	t.Helper()
	if len(keys) == 0 {
		return grant.Box{}
	}
	var all [][]byte
	for _, k := range keys {
		all = append(all, bytes.Repeat([]byte{k}, seal.MinKey))
	}
	ring, err := seal.NewRing(all...)
	if err != nil {
		t.Fatal(err)
	}
	return grant.Box{Keys: ring}
}

func encode(t testing.TB, b grant.Box, g grant.Grant) []byte {
	t.Helper()
	value, err := b.Encode(issuer, owner, g)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

var full = grant.Grant{
	Access: "access", Refresh: "refresh", Client: "notes", Expires: at.Add(time.Hour), RenewAt: at.Add(59 * time.Minute),
	Lease: lease.Lease{Holder: "me", Until: at.Add(lease.Life), Takeovers: 2, RetryAt: at.Add(time.Second)},
}

// TestForms: what one set of keys writes and another reads. Old says whether
// the reader would write it in another form.
func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		writer, reader []byte
		stale          bool
		want           error
	}{
		"plain":                     {nil, nil, false, nil},
		"the first key comes":       {nil, []byte{1}, true, nil},
		"sealed":                    {[]byte{1}, []byte{1}, false, nil},
		"the new key last":          {[]byte{1}, []byte{1, 2}, false, nil},
		"back to one key":           {[]byte{1, 2}, []byte{1}, false, nil},
		"the new key first":         {[]byte{1, 2}, []byte{2, 1}, true, nil},
		"before the old key is out": {[]byte{2, 1}, []byte{2}, false, nil},
		"the old key is out":        {[]byte{1}, []byte{2}, false, grant.ErrUnreadable},
		"no keys":                   {[]byte{1}, nil, false, grant.ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			value := encode(t, box(t, c.writer...), full)
			if sealed := c.writer != nil; sealed == bytes.Contains(value, []byte("refresh")) {
				t.Errorf("tokens are visible: %v", !sealed)
			}
			got, err := box(t, c.reader...).Decode(issuer, owner, value)
			want := full
			want.Stale, want.Plain = c.stale, c.stale && c.writer == nil
			if c.want != nil {
				want = grant.Grant{}
			}
			if !errors.Is(err, c.want) || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, want, c.want)
			}
		})
	}
}

// TestValuesDiffer: two writes of the same grant are never equal, so that a
// store can tell them apart.
func TestValuesDiffer(t *testing.T) {
	for _, b := range []grant.Box{box(t), box(t, 1)} {
		if bytes.Equal(encode(t, b, full), encode(t, b, full)) {
			t.Error("two values of one grant are equal")
		}
	}
}

// TestMoved: a sealed grant is worth nothing under another owner or issuer, nor
// where the two only join to the same text.
func TestMoved(t *testing.T) {
	b := box(t, 1)
	value := encode(t, b, full)
	for _, to := range [][2]string{{issuer, "bob"}, {issuer, "Alice"}, {issuer, ""}, {"https://other.example.org", owner}, {issuer + "a", "lice"}, {issuer[:len(issuer)-1], "galice"}, {"", issuer + owner}} {
		if got, err := b.Decode(to[0], to[1], value); !errors.Is(err, grant.ErrGarbage) || got.Refresh != "" {
			t.Errorf("moved to %q: %+v, %v", to, got, err)
		}
	}
}

// TestUnreadableAndGarbage: what a newer build or another key may have written
// is told apart from what nobody can have written.
func TestUnreadableAndGarbage(t *testing.T) {
	b := box(t, 1)
	good, plain := encode(t, b, full), encode(t, box(t), full)
	change := func(i int, to byte) []byte {
		c := bytes.Clone(good)
		c[i] = to
		return c
	}
	newer := append([]byte{2, 0}, plain...)
	for name, c := range map[string]struct {
		value []byte
		want  error
	}{
		"good":                    {good, nil},
		"a newer version":         {change(0, 2), grant.ErrUnreadable},
		"a newer version, plain":  {newer, grant.ErrUnreadable},
		"a newer seal":            {change(2, 2), grant.ErrUnreadable},
		"an unknown key":          {change(3, good[3]+1), grant.ErrUnreadable},
		"newer, but no such head": {change(1, 9), grant.ErrGarbage},
		"version 0":               {change(0, 0), grant.ErrGarbage},
		"a plain head":            {change(1, 0), grant.ErrGarbage},
		"changed":                 {change(len(good)-1, good[len(good)-1]+1), grant.ErrGarbage},
		"cut":                     {good[:len(good)-1], grant.ErrGarbage},
		"cut short":               {good[:10], grant.ErrGarbage},
		"longer":                  {append(bytes.Clone(good), 0), grant.ErrGarbage},
		"newer, but too large":    {append([]byte{2, 1}, make([]byte, 60_000)...), grant.ErrGarbage},
		"empty":                   {[]byte{}, grant.ErrGarbage},
		"cut JSON":                {plain[:len(plain)-1], grant.ErrGarbage},
		"a brace":                 {[]byte("{"), grant.ErrGarbage},
		"another type":            {[]byte(`{"refresh":7}`), grant.ErrGarbage},
		"text":                    {[]byte("correct horse battery staple, at least this long, no grant at all"), grant.ErrGarbage},
	} {
		if _, err := b.Decode(issuer, owner, c.value); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestSize: the limit counts for what the store gets.
func TestSize(t *testing.T) {
	for name, b := range map[string]grant.Box{"plain": box(t), "sealed": box(t, 1)} {
		empty := len(encode(t, b, grant.Grant{Refresh: "x"})) - 1
		largest := 60_000 - empty
		value := encode(t, b, grant.Grant{Refresh: strings.Repeat("x", largest)})
		if len(value) != 60_000 {
			t.Errorf("%s: %d bytes", name, len(value))
		}
		if _, err := b.Decode(issuer, owner, value); err != nil {
			t.Errorf("%s: the largest: %v", name, err)
		}
		if _, err := b.Encode(issuer, owner, grant.Grant{Refresh: strings.Repeat("x", largest+1)}); !errors.Is(err, grant.ErrTooLarge) {
			t.Errorf("%s: one byte more: %v", name, err)
		}
	}
}

// sealedByVersion1 is a grant as the first build with keys sealed it.
const sealedByVersion1 = "AQEBa7y6r3oAjvln2aqxNlOIEM5dcKTtB0ir+00IutciUqoYql9no7oOAdpJrzFb1/hHJu3q1gaoonUDef1UYJRONGGdQdOXQJFkfA3xWCURctF6B4iWCpcfD2wmQmD4ASm9IkuW1dTsjM+jVoTgPrjR6ezJBJEeB2t8RIPraF/IZDUrtU8iZLHQ6qapnmOqZdIuJY2i2EpKDzrsnFyYy4HjdoYX9Je6qYPN5GPdzi7A+2dxrZewrK9dzEhkaJ0aL5b9PnCFSm1AIdGiDTpfsfIQMnVTFR5NHWMPmzT9MqXU6oVMHJeUYFPzVcRa8MTvAcfqfg2KqT6d1/K+rgF5/pifN7WbAQTCtGeD"

// TestVersion1: what that build sealed opens for good.
func TestVersion1(t *testing.T) {
	value, err := base64.StdEncoding.DecodeString(sealedByVersion1)
	if err != nil {
		t.Fatal(err)
	}
	want := full
	want.Client = "" // that build did not write it down
	got, err := box(t, 1).Decode(issuer, owner, value)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTokens: which token a grant offers.
func TestTokens(t *testing.T) {
	for name, c := range map[string]struct {
		g              grant.Grant
		refused        string
		fresh, serving string
	}{
		"good":           {grant.Grant{Access: "a", Expires: at.Add(time.Hour), RenewAt: at.Add(time.Minute)}, "", "a", "a"},
		"due":            {grant.Grant{Access: "a", Expires: at.Add(time.Hour), RenewAt: at}, "", "", "a"},
		"expired":        {grant.Grant{Access: "a", Expires: at, RenewAt: at}, "", "", ""},
		"refused":        {grant.Grant{Access: "a", Expires: at.Add(time.Hour), RenewAt: at.Add(time.Minute)}, "a", "", ""},
		"another":        {grant.Grant{Access: "a"}, "b", "a", "a"},
		"none":           {grant.Grant{Refresh: "r"}, "", "", ""},
		"without an end": {grant.Grant{Access: "a"}, "", "a", "a"},
	} {
		if f, s := c.g.Fresh(at, c.refused), c.g.Serving(at, c.refused); f != c.fresh || s != c.serving {
			t.Errorf("%s: fresh %q, serving %q, want %q, %q", name, f, s, c.fresh, c.serving)
		}
	}
}

// Whatever lies in a store, reading it neither panics nor invents a grant that
// is sealed.
func FuzzDecode(f *testing.F) {
	b := box(f, 1)
	f.Add(encode(f, b, full))
	f.Add(encode(f, box(f), full))
	f.Add([]byte{2, 0})
	f.Add([]byte(`{"w":`))
	f.Fuzz(func(t *testing.T, value []byte) {
		g, err := b.Decode(issuer, owner, value)
		if err == nil && !g.Stale && !bytes.HasPrefix(value, []byte{1, 1}) {
			t.Fatalf("%x is a sealed grant", value)
		}
		if err != nil && !errors.Is(err, grant.ErrGarbage) && !errors.Is(err, grant.ErrUnreadable) {
			t.Fatal(err)
		}
	})
}
