package signin_test

import (
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// RL1: any number of unfinished sign-ins leave only the key record in the
// store. bench measures the memory of a million of them.
func TestRL1_LoginFlood(t *testing.T) {
	f := world.NewFlood(t)
	f.Begin(t, 5_000)
	f.Over(t)
}
