package gatehouse

import (
	"context"
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
			s, err := NewSessions(SessionConfig{Store: store, Now: func() time.Time { return now }})
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
