package lease_test

import (
	"testing"
	"time"

	"example.com/gatehouse/internal/lease"
)

func TestRenewAt(t *testing.T) {
	requested := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ life, ahead time.Duration }{
		"an hour":             {time.Hour, time.Minute},
		"just four minutes":   {4 * time.Minute, time.Minute},
		"less than that":      {3 * time.Minute, 45 * time.Second},
		"a second":            {time.Second, 250 * time.Millisecond},
		"over from the start": {0, 0},
	} {
		expires := requested.Add(tt.life)
		if got, want := lease.RenewAt(requested, expires), expires.Add(-tt.ahead); !got.Equal(want) {
			t.Errorf("%s: renewed at %v, want %v", name, got, want)
		}
	}
	if got := lease.RenewAt(requested, time.Time{}); !got.IsZero() {
		t.Errorf("unknown expiry: renewed at %v, want never", got)
	}
}
