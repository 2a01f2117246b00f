package world

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

const (
	// gcPercent lets the heap of a test binary grow to five times what is in use
	// before it is collected. Every test makes a world and drops it, so the usual
	// two times cost a quarter of the processor time.
	gcPercent = 400
	// atOnce is how many parallel tests run at the same time, unless -parallel
	// says so. They mostly wait, for a store that hangs for example, and need no
	// core meanwhile.
	atOnce = "8"
)

// Main runs the tests of a package of stories.
func Main(m *testing.M) {
	debug.SetGCPercent(gcPercent)
	if err := flag.Set("test.parallel", atOnce); err != nil { // before the command line is read
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
