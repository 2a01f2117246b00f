package session_test

import (
	"testing"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/testkit/orders"
)

// heldUp lets callbacks come almost as late as their attempts allow, as often as
// given, and logouts just as late. Once taken up, nobody takes minutes.
func heldUp(times int) orders.Search {
	return orders.Search{Ticks: times, Tick: attempt.Life - lateBy, Quiet: true}
}

// lateBy is how long before the end of its attempt a callback is taken up.
const lateBy = time.Second

// TestProof_HeldUp: a replica takes a callback or a logout up minutes after it was
// sent, and attempts start over meanwhile.
func TestProof_HeldUp(t *testing.T) {
	s, sum := newScene(t, true), orders.Found{}
	s.held = true
	for _, other := range []kind{callback, signIn} {
		for _, logout := range []kind{signOut, signOutAlone, revokeAll, backChannel} {
			s.prove(t, &sum, []kind{logout, other}, heldUp(2))
		}
	}
	for _, kinds := range [][]kind{{signOut, revokeAll, callback}, {signOutAlone, backChannel, callback}, {signOut, revokeAll, signIn}} {
		s.prove(t, &sum, kinds, heldUp(*depth+1))
	}
	if *depth > 1 {
		s.prove(t, &sum, []kind{signOutAlone, callback, callback}, heldUp(1))
		s.prove(t, &sum, []kind{signOut, callback, callback}, heldUp(1))
		for _, logout := range []kind{signOut, signOutAlone} {
			both := heldUp(2)
			both.Crashes, both.Losses = 1, 1
			s.prove(t, &sum, []kind{logout, callback}, both)
			s.prove(t, &sum, []kind{logout, signIn}, both)
		}
	}
	t.Logf("in all: %v", sum)
}
