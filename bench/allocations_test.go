//go:build !race

package bench

import (
	"strings"
	"testing"

	"example.com/gatehouse/internal/compact"
)

// A token that is too long or no token at all is refused before it costs anything.
func TestCheckAllocatesNothing(t *testing.T) {
	const limit = 16 << 10
	raw := "a." + strings.Repeat("b", limit-4) + ".c"
	if n := testing.AllocsPerRun(100, func() { _ = compact.Check(raw, limit) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
