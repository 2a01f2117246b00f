package bounds_test

import (
	"strings"
	"testing"

	"example.com/gatehouse/interop/bounds"
)

// The figures of G11 (1 MiB of heap, 20 ms) hold with few repeats. `go run
// ./cmd/bounds` makes more of them.
func TestG11_Bounds(t *testing.T) {
	figures, err := bounds.Run(bounds.Effort{Repeats: 5, Rounds: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range figures.Over() {
		t.Error(what)
	}
	if t.Failed() {
		var table strings.Builder
		if _, err := figures.WriteTo(&table); err != nil {
			t.Fatal(err)
		}
		t.Log(table.String())
	}
}
