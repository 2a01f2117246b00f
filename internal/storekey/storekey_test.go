package storekey_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"example.com/gatehouse/internal/storekey"
)

// TestOf: a key is the SHA-256 of domain and parts, as decision 2 of
// docs/design.md defines it.
func TestOf(t *testing.T) {
	for _, c := range []struct {
		in    string
		parts []string
	}{
		{"d", nil},
		{"d\x00a", []string{"a"}},
		{"d\x00a\x00b", []string{"a", "b"}},
		{"d\x00" + strings.Repeat("x", 500), []string{strings.Repeat("x", 500)}},
	} {
		sum := sha256.Sum256([]byte(c.in))
		want := base64.RawURLEncoding.EncodeToString(sum[:])
		if got := storekey.Of("d", c.parts...); got != want || len(got) != storekey.Size {
			t.Errorf("%q: got %s, want %s", c.parts, got, want)
		}
		if got := storekey.Sum("d", c.parts...); got != sum {
			t.Errorf("%q: got %x, want %x", c.parts, got, sum)
		}
	}
	if storekey.Of("a", "b", "c") == storekey.Of("a", "bc") || storekey.Of("a", "b") == storekey.Of("b", "a") {
		t.Error("two different inputs have the same key")
	}
}

// TestPlace: wherever the bytes of two lists of parts are divided, also by zero
// bytes, the places are different.
func TestPlace(t *testing.T) {
	seen := map[[sha256.Size]byte][]string{}
	long := strings.Repeat("x", 300)
	for _, parts := range [][]string{
		{"d"}, {"d", ""}, {"d", "", ""}, {"d", "a"}, {"d", "a", ""}, {"d", "", "a"}, {"da"}, {"d", "a\x00b"}, {"d", "a", "b"}, {"d\x00a", "b"},
		{"d", "ab"}, {"d", "\x01a"}, {"d", "a\x01", "b"}, {"d", "\x00"}, {"d", "\x00\x00"}, {"d", "\xff"}, {"d", long}, {"d", long[1:], "x"}, {"d", long + "x"},
	} {
		at := storekey.Place(parts[0], parts[1:]...)
		if other, ok := seen[at]; ok {
			t.Errorf("%.20q and %.20q have one place", parts, other)
		}
		seen[at] = parts
	}
}
