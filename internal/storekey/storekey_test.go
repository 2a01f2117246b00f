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
