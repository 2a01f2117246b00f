package places_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/places"
)

func TestTry(t *testing.T) {
	var p places.Pool
	for range 2 {
		if !p.Try(2) {
			t.Error("a place is missing")
		}
	}
	if p.Try(2) {
		t.Error("two places are not two")
	}
	if !p.Try(3) {
		t.Error("another user's limit is higher")
	}
	p.Leave()
	p.Leave()
	if !p.Try(2) || p.Try(2) {
		t.Error("after two have left, one place is free")
	}
}

// TestWait: those who wait get places in their order, before those who try, and
// who gives up takes none.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p places.Pool
		if err := p.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		var got atomic.Int32
		for i := range int32(3) {
			go func() {
				if err := p.Wait(context.Background(), 1); err != nil || !got.CompareAndSwap(i, i+1) {
					t.Errorf("waiter %d: %v, %d before it", i, err, got.Load())
				}
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up with %v", err)
		}
		for want := range int32(3) {
			if got.Load() != want || p.Try(1) {
				t.Errorf("%d have a place, want %d, and none is free", got.Load(), want)
			}
			p.Leave()
			synctest.Wait()
		}
		p.Leave()
		if !p.Try(1) {
			t.Error("the place of the one who gave up is lost")
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := p.Wait(ended, 9); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}
