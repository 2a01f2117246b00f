package signin_test

import (
	"testing"
	"testing/synctest"

	"example.com/gatehouse/internal/e2e/stories"
)

// CC6: every handler runs at once on two replicas while keys rotate, metadata
// is fetched again, tokens are renewed, people sign out here and everywhere,
// and the site closes. It runs under the race detector, three times. Afterwards
// no goroutine is left, or the bubble would not end.
func TestCC6_EverythingAtOnce(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) { stories.CC6EverythingAtOnce(t, stories.InMemory) })
	}
}
