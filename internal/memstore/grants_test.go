package memstore_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/gatehouse/internal/memstore"
)

// TestGrants: each step in the life of one grant, and what is stored after it.
func TestGrants(t *testing.T) {
	var grants memstore.Grants
	for i, c := range []struct {
		old, new []byte
		swapped  bool
		kept     string // "-" for nothing
	}{
		{nil, nil, true, "-"},
		{[]byte("a"), []byte("b"), false, "-"},
		{nil, []byte("a"), true, "a"},
		{nil, []byte("a"), true, "a"}, // a command repeated because its answer was lost
		{nil, []byte("b"), false, "a"},
		{[]byte("b"), []byte("c"), false, "a"},
		{[]byte("a"), []byte("b"), true, "b"},
		{[]byte("a"), nil, false, "b"},
		{[]byte("b"), nil, true, "-"},
		{[]byte("b"), nil, true, "-"},
	} {
		swapped, err := grants.SwapGrant(t.Context(), "as", "ana", c.old, c.new)
		if swapped != c.swapped || err != nil {
			t.Errorf("step %d: swapped %v, %v", i, swapped, err)
		}
		kept, err := grants.Grant(t.Context(), "as", "ana")
		if err != nil || (kept == nil) != (c.kept == "-") || kept != nil && string(kept) != c.kept {
			t.Errorf("step %d: kept %q, %v, want %q", i, kept, err, c.kept)
		}
	}
	mine := []byte("a")
	if _, err := grants.SwapGrant(t.Context(), "as", "ana", nil, mine); err != nil {
		t.Fatal(err)
	}
	mine[0] = 'x' // the caller's slice stays the caller's
	for _, other := range [][2]string{{"as", ""}, {"", "ana"}, {"asa", "na"}, {"a", "sana"}} {
		if kept, err := grants.Grant(t.Context(), other[0], other[1]); kept != nil || err != nil {
			t.Errorf("%q has another owner's grant", other)
		}
	}
	if kept, err := grants.Grant(t.Context(), "as", "ana"); string(kept) != "a" || err != nil {
		t.Errorf("kept %q, %v", kept, err)
	}
}

// TestGrantsSwapOnce: of many callers that swap the same value, one succeeds.
func TestGrantsSwapOnce(t *testing.T) {
	var grants memstore.Grants
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if swapped, err := grants.SwapGrant(t.Context(), "as", "ana", nil, fmt.Append(nil, i)); err != nil {
				t.Error(err)
			} else if swapped {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d swapped", won.Load())
	}
}
