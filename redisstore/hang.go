package redisstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// hangAfter is how many calls in a row have to end without an answer before
	// Redis counts as hanging. One answer begins the count again.
	hangAfter = 32
	// hangLeast is how long that has to last, so that a burst of callers with
	// little time does not count.
	hangLeast = time.Second
	// hangTry is how often one call tries whether Redis is back.
	hangTry = 100 * time.Millisecond
)

// errHangs is a call that was not made.
var errHangs = errors.New("no answer comes from Redis, so nothing was sent; it is tried ten times a second")

// hang keeps calls from one server that does not answer. go-redis opens a
// connection for each call whose time is over. After half a minute thousands of
// dead ones would fill the backlog of Redis, and it would answer them all before
// it answers anybody who still waits.
type hang struct {
	begin time.Time    // of this clock
	calls atomic.Int64 // in a row without an answer
	since atomic.Int64 // when the first of them ended
	next  atomic.Int64 // when the next call may try
}

// passes reports whether a call may be made now.
func (h *hang) passes() bool {
	if h.calls.Load() < hangAfter {
		return true
	}
	now := int64(time.Since(h.begin))
	if now-h.since.Load() < int64(hangLeast) {
		return true
	}
	next := h.next.Load()
	return now >= next && h.next.CompareAndSwap(next, now+int64(hangTry))
}

// note learns from the end of a call.
func (h *hang) note(err error) {
	switch {
	case err == nil:
		if h.calls.Load() != 0 {
			h.calls.Store(0)
		}
	case isLate(err):
		if h.calls.Add(1) == 1 {
			h.since.Store(int64(time.Since(h.begin)))
		}
	case !errors.Is(err, context.Canceled): // an answer, or a refusal that costs nothing
		h.calls.Store(0)
	}
}

// isLate reports whether the time of a call was over before an answer came.
func isLate(err error) bool {
	var late interface{ Timeout() bool }
	return errors.As(err, &late) && late.Timeout()
}
