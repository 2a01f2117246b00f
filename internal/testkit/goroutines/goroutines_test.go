package goroutines_test

import (
	"context"
	"testing"

	"example.com/gatehouse/internal/testkit/goroutines"
)

// TestLeft: what a marked part starts is counted until it ends, and nothing
// else.
func TestLeft(t *testing.T) {
	mark, other := goroutines.New(), goroutines.New()
	want := func(when string, n int) {
		t.Helper()
		for { // what has just ended may still be in the profile
			got, err := mark.Left()
			if err != nil || got < n {
				t.Fatalf("%s: %d goroutines, %v, want %d", when, got, err, n)
			}
			if got == n {
				return
			}
		}
	}
	want("before", 0)
	end := make(chan struct{})
	mark.Do(t.Context(), func(context.Context) {
		for range 3 {
			go func() {
				go func() { <-end }() // what is started inside counts too
				<-end
			}()
		}
	})
	other.Do(t.Context(), func(context.Context) { go func() { <-end }() })
	for started := 0; started < 6; {
		started, _ = mark.Left()
	}
	want("while they run", 6)
	close(end)
	want("after", 0)
}
