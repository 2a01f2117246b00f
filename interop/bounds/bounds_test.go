package bounds_test

import (
	"strings"
	"testing"

	"example.com/gatehouse/interop/bounds"
)

// G11 with few repeats: the figures hold. `go run ./cmd/bounds` has more of them.
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
