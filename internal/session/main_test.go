package session_test

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets the heap grow to five times what is in use before it is
// collected: the proof makes and drops a world for each order, and the usual two
// times cost a third of its processor time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
