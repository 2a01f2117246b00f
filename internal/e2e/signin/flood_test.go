package signin_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// RL1: any number of unfinished sign-ins leave only the key record in the
// store. bench measures the memory of a million of them.
func TestRL1_LoginFlood(t *testing.T) {
	const starts = 5_000
	s := world.NewSite(t, world.Watched)
	store := s.Watched()
	s.Flood(starts)
	if keys := store.All(); len(keys) != 1 {
		t.Errorf("%d keys in the store after %d starts, want the one of the key record", len(keys), starts)
	}
	if _, writes := store.Counts(); writes != 1 {
		t.Errorf("%d writes to the store, want 1", writes)
	}
	s.Visitor("ana").SignIn() // an honest visitor still gets in
}
