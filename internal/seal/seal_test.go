package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/gatehouse/internal/seal"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, seal.MinKey) }

func ring(t testing.TB, keys ...[]byte) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewRing(t *testing.T) {
	tests := []struct {
		name string
		keys [][]byte
		want string // part of the error
	}{
		{"one", [][]byte{key(1)}, ""},
		{"longer", [][]byte{bytes.Repeat([]byte("x"), 100)}, ""},
		{"none", nil, "no key"},
		{"nil key", [][]byte{nil}, "key 1"},
		{"short", [][]byte{key(1), key(2)[1:]}, "key 2"},
		{"twice", [][]byte{key(1), key(2), key(1)}, "key 3 repeats key 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := seal.NewRing(tt.keys...)
			if tt.want == "" && (err != nil || r == nil) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSealOpen(t *testing.T) {
	r := ring(t, key(1))
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("secret"), 10_000)} {
		sealed := r.Seal("record", []byte("ad"), plain)
		if len(sealed) != len(plain)+seal.Overhead {
			t.Errorf("%d bytes for %d, want %d more", len(sealed), len(plain), seal.Overhead)
		}
		if len(plain) > 1 && bytes.Contains(sealed, plain[:6]) {
			t.Error("the plaintext is visible")
		}
		got, err := r.Open("record", []byte("ad"), sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("opened %d bytes, %v", len(got), err)
		}
	}
	if bytes.Equal(r.Seal("d", nil, []byte("x")), r.Seal("d", nil, []byte("x"))) {
		t.Error("two seals are equal")
	}
}

func TestOpenRefuses(t *testing.T) {
	r := ring(t, key(1), key(2))
	good := r.Seal("record", []byte("ad"), []byte("plain"))
	change := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] ^= b
		return c
	}
	tests := []struct {
		name   string
		domain string
		ad     string
		sealed []byte
		want   error
	}{
		{"good", "record", "ad", good, nil},
		{"other domain", "cookie", "ad", good, seal.ErrGarbage},
		{"other data", "record", "da", good, seal.ErrGarbage},
		{"no data", "record", "", good, seal.ErrGarbage},
		{"changed nonce", "record", "ad", change(6, 1), seal.ErrGarbage},
		{"changed text", "record", "ad", change(18, 1), seal.ErrGarbage},
		{"changed tag", "record", "ad", change(len(good)-1, 0x80), seal.ErrGarbage},
		{"truncated", "record", "ad", good[:len(good)-1], seal.ErrGarbage},
		{"longer", "record", "ad", append(bytes.Clone(good), 0), seal.ErrGarbage},
		{"too short", "record", "ad", good[:seal.Overhead-1], seal.ErrGarbage},
		{"empty", "record", "ad", nil, seal.ErrGarbage},
		{"version 0", "record", "ad", change(0, good[0]), seal.ErrGarbage},
		{"newer version", "record", "ad", change(0, 2), seal.ErrVersion},
		{"newer version but short", "record", "ad", []byte{9, 9}, seal.ErrGarbage},
		{"unknown key", "record", "ad", change(1, 1), seal.ErrUnknownKey},
		{"key of another ring", "record", "ad", ring(t, key(3)).Seal("record", []byte("ad"), nil), seal.ErrUnknownKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plain, err := r.Open(tt.domain, []byte(tt.ad), tt.sealed)
			if !errors.Is(err, tt.want) || tt.want != nil && plain != nil {
				t.Errorf("got %q, %v, want %v", plain, err, tt.want)
			}
		})
	}
	// This puts the id of one key on a value that another key sealed.
	first, second := r.Seal("d", nil, nil), ring(t, key(2)).Seal("d", nil, nil)
	copy(second[1:5], first[1:5])
	if _, err := r.Open("d", nil, second); !errors.Is(err, seal.ErrGarbage) {
		t.Errorf("exchanged key id: %v", err)
	}
}

// A text is opened as it was sealed, and in no other spelling.
func TestText(t *testing.T) {
	r := ring(t, key(1))
	for plain := range 4 { // each length of the last group
		want := bytes.Repeat([]byte("x"), plain)
		text := r.SealText("cookie", "ad", want)
		if got, err := r.OpenText("cookie", "ad", text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %q, %v", plain, got, err)
		}
		last := text[:len(text)-1] + string(text[len(text)-1]+1)
		for name, other := range map[string]string{"empty": "", "padded": text + "=", "a line break": text[:8] + "\n" + text[8:], "another alphabet": "+/" + text[2:], "another end": last, "cut": text[:len(text)-1]} {
			if got, err := r.OpenText("cookie", "ad", other); !errors.Is(err, seal.ErrGarbage) && !errors.Is(err, seal.ErrUnknownKey) && !errors.Is(err, seal.ErrVersion) {
				t.Errorf("%d bytes, %s: %q, %v", plain, name, got, err)
			}
		}
		if _, err := r.OpenText("cookie", "other", text); !errors.Is(err, seal.ErrGarbage) {
			t.Errorf("with other additional data: %v", err)
		}
	}
}

func TestRotation(t *testing.T) {
	before := ring(t, key(1))
	added := ring(t, key(1), key(2))    // new key last: it does not seal yet
	switched := ring(t, key(2), key(1)) // moved to the front
	removed := ring(t, key(2))
	steps := []struct {
		from, to *seal.Ring
		want     error
	}{
		{before, added, nil}, {added, before, nil},
		{added, switched, nil}, {switched, added, nil},
		{switched, removed, nil}, {before, removed, seal.ErrUnknownKey},
	}
	for i, s := range steps {
		got, err := s.to.Open("d", nil, s.from.Seal("d", nil, []byte("x")))
		if !errors.Is(err, s.want) || s.want == nil && string(got) != "x" {
			t.Errorf("step %d: %q, %v", i, got, err)
		}
	}
	old := before.Seal("d", nil, []byte("x"))
	if !added.First(old) || switched.First(old) || !switched.First(switched.Seal("d", nil, nil)) || switched.First(nil) {
		t.Error("First takes another key for the first, or the first for another")
	}
}

func TestRingKeepsNoSlice(t *testing.T) {
	k := key(1)
	r := ring(t, k)
	clear(k)
	if _, err := ring(t, key(1)).Open("d", nil, r.Seal("d", nil, []byte("x"))); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := ring(t, key(1), key(2))
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			domain := fmt.Sprint(i % 4)
			got, err := r.Open(domain, nil, r.Seal(domain, nil, []byte("x")))
			if err != nil || string(got) != "x" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
}

// No value opens unless Seal made it, whatever its form.
func FuzzOpen(f *testing.F) {
	r := ring(f, key(1), key(2))
	f.Add([]byte("ad"), []byte("plain"), uint(7), byte(1))
	f.Add([]byte{}, []byte{}, uint(0), byte(3))
	f.Add([]byte("ad"), []byte("plain"), uint(0), byte(0))
	f.Fuzz(func(t *testing.T, ad, data []byte, at uint, flip byte) {
		if _, err := r.Open("d", ad, data); err == nil {
			t.Fatalf("%x opens", data)
		}
		sealed := r.Seal("d", ad, data)
		sealed[at%uint(len(sealed))] ^= flip
		got, err := r.Open("d", ad, sealed)
		if flip == 0 && (err != nil || !bytes.Equal(got, data)) {
			t.Fatalf("does not open: %v", err)
		}
		if flip != 0 && err == nil {
			t.Fatalf("opens with byte %d changed by %#x", at%uint(len(sealed)), flip)
		}
	})
}
