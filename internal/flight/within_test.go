package flight_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/flight"
)

type nameKey struct{}

// The time runs from when somebody first waits.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer, cancel := context.WithTimeout(context.WithValue(t.Context(), nameKey{}, "value"), time.Hour)
		defer cancel()
		w := flight.NewWithin(outer, time.Second)
		time.Sleep(time.Minute)
		begin := time.Now()
		if w.Err() != nil || w.Value(nameKey{}) != "value" {
			t.Errorf("before: %v", w.Err())
		}
		if <-w.Done(); time.Since(begin) != time.Second || !errors.Is(w.Err(), context.DeadlineExceeded) {
			t.Errorf("ended after %v with %v", time.Since(begin), w.Err())
		}
		w.Stop()

		w = flight.NewWithin(outer, 2*time.Hour)
		if end, ok := w.Deadline(); !ok || time.Until(end) > time.Hour {
			t.Errorf("it ends at %v, after the one around it", end)
		}
		w.Stop()
		if !errors.Is(w.Err(), context.Canceled) {
			t.Errorf("stopped: %v", w.Err())
		}
		w = flight.NewWithin(outer, time.Second)
		w.Stop()
		if w.Err() != nil || w.Done() != outer.Done() {
			t.Errorf("stopped before anybody waited: %v", w.Err())
		}
	})
}
