package gatehouse

import (
	"context"
	"encoding/base64"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keepsAll is a store that keeps a value for ever once its expiry has passed, as
// some do, and remembers what it was given last.
type keepsAll struct {
	Store
	given  []byte
	expiry time.Time
}

func (s *keepsAll) SwapCtx(_ context.Context, _ string, _, new []byte, expiry time.Time) (bool, error) {
	s.given, s.expiry = new, expiry
	return true, nil
}

// No value reaches a store whose expiry has passed: it is deleted instead (M15).
// No public way leads there but a clock that jumps between two steps.
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
			s, err := NewSessions(SessionsConfig{Store: store, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			swapped, err := s.swap(t.Context(), "key", []byte("old"), []byte("new"), c.expiry)
			if !swapped || err != nil || !store.expiry.Equal(c.expiry) {
				t.Errorf("swapped %v, error %v, expiry %v", swapped, err, store.expiry)
			}
			if got := string(store.given); (got == "new") != c.kept || !c.kept && store.given != nil {
				t.Errorf("the store was given %q", got)
			}
		})
	}
}

// SE8: a session id has 256 bits, all of them in use, and no two are alike. That
// they come from crypto/rand is in its code; that no other source is imported is
// checked here.
func TestSE8_SessionIDs(t *testing.T) {
	const ids = 1000
	seen := map[string]bool{}
	var ones [8 * sessionIDSize]int
	for range ids {
		id := newSessionID()
		b, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil || len(b) != sessionIDSize || seen[id] {
			t.Fatalf("id %q: %d bytes, seen before: %v, error %v", id, len(b), seen[id], err)
		}
		seen[id] = true
		for i := range ones {
			ones[i] += int(b[i/8] >> (i % 8) & 1)
		}
	}
	for i, n := range ones {
		if n < ids/3 || n > 2*ids/3 { // ten standard deviations from a half
			t.Errorf("bit %d is set in %d of %d ids", i, n, ids)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
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
