package deadline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/deadline"
)

type key struct{}

// TestLife: a context ends by itself, neither late nor much too early, whenever
// it began.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 900 * time.Millisecond
		shared := deadline.New(life)
		for range 50 {
			begin := time.Now()
			ctx, release := shared.Context(t.Context())
			end, ok := ctx.Deadline()
			if took := end.Sub(begin); !ok || took > life || took < life*15/16 {
				t.Fatalf("the deadline is %v away, want about %v", took, life)
			}
			if ctx.Err() != nil {
				t.Fatalf("it ended at once: %v", ctx.Err())
			}
			go func() {
				defer release()
				<-ctx.Done()
				if !time.Now().Equal(end) || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
					t.Errorf("it ended %v after its deadline with %v", time.Since(end), ctx.Err())
				}
			}()
			time.Sleep(17 * time.Millisecond)
		}
		time.Sleep(life)
	})
}

// TestParent: the values and an earlier deadline of the parent hold; that the
// parent is cancelled does not matter to what has begun.
func TestParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := deadline.New(time.Second)
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		ctx, release := shared.Context(parent)
		defer release()
		if ctx.Value(key{}) != "value" {
			t.Error("the values of the parent are gone")
		}
		cancel()
		if ctx.Err() != nil {
			t.Errorf("it ended with its parent: %v", ctx.Err())
		}
		if late, release := shared.Context(parent); !errors.Is(late.Err(), context.Canceled) {
			t.Errorf("a parent that has ended gives a context with %v", late.Err())
		} else {
			release()
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		early, release := shared.Context(soon)
		defer release()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !errors.Is(early.Err(), context.DeadlineExceeded) {
			t.Errorf("after the deadline of the parent its error is %v", early.Err())
		}
	})
}

// TestChild: contexts that are made of one end with it, and need no goroutine of
// their own to notice.
func TestChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, release := deadline.New(time.Second).Context(t.Context())
		defer release()
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		stopped := false
		stop := context.AfterFunc(ctx, func() { stopped = true })
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(child.Err(), context.DeadlineExceeded) || !stopped || stop() {
			t.Errorf("the child has %v; the function ran: %v", child.Err(), stopped)
		}
	})
}
