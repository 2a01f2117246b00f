package world

import (
	"os"
	"runtime/debug"
	"testing"
)

// gcPercent lets the heap of a test binary grow to five times what is in use
// before it is collected. Every test makes a world and drops it, so the usual
// two times cost a quarter of the processor time.
const gcPercent = 400

// Main runs the tests of a package of stories.
func Main(m *testing.M) {
	debug.SetGCPercent(gcPercent)
	os.Exit(m.Run())
}
