// Package lease lets one holder at a time work on a value that many processes
// share, using only compare-and-swap. It deals with unknown outcomes, with
// holders that died, and with pauses after trouble.
//
// It knows where a value keeps its lease, and it knows a clock. It must not
// know what is leased or what the work is.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/swap"
)

const (
	// Life is how long a holder keeps a lease. A lease is never extended.
	Life = 12 * time.Second
	// margin is the time between the end of the work and the end of the lease.
	// The clocks of two processes agree within 1 s.
	margin = 2 * time.Second
	// Poll is how often a process checks whether the holder is done.
	Poll = 150 * time.Millisecond
	// Flight bounds one Run: waiting for another holder, then working.
	Flight = 2*Life + time.Second
	// retry is the shortest pause after failed work. A random time of up to the
	// same length is added.
	retry = 10 * time.Second
	// mergeFor, mergePause and mergeMost space the attempts to store the result
	// of the work while the store is in trouble. A restart of the store thus
	// loses nothing.
	mergeFor   = 10 * time.Second
	mergePause = 50 * time.Millisecond
	mergeMost  = time.Second
	// takeFor bounds the attempts to take the lease. A lost reply would
	// otherwise leave a lease that nobody uses. It is no longer than one call to a
	// store, because pages wait for it while the store takes no writes (FA6). A store
	// that is slow and works gives the lease all the same.
	takeFor = 900 * time.Millisecond
	// farAhead is further ahead than any lease or pause ends: a server may ask for
	// an hour. What ends later was written by a clock that was wrong, and must not
	// hold up everybody until then.
	farAhead = 2 * time.Hour
)

// Ahead reports whether a time up to which everybody waits is still to come. A
// time that no right clock could have set counts as over.
func Ahead(until, now time.Time) bool {
	left := until.Sub(now)
	return 0 < left && left < farAhead
}

// Lease is the part of a value that records who works on it. The zero Lease is
// free.
type Lease struct {
	Holder    string    // who is working; "" for nobody
	Until     time.Time // nobody else works before then
	Takeovers uint64    // leases that ran out without a result
	RetryAt   time.Time // nobody works before then, after trouble
}

// Cell is the place of a leased value.
type Cell[V any] interface {
	// Load returns the current value. An error ends the run: the value is gone,
	// or nothing can be known about it.
	Load(ctx context.Context) (V, error)
	// Update changes the value by compare-and-swap. It reports whether change
	// agreed, and returns what is stored now. change may be called several
	// times.
	Update(ctx context.Context, p swap.Patience, change func(*V) bool) (now V, changed bool, err error)
	// Lease returns the lease inside the value.
	Lease(v *V) *Lease
}

// Job is work on a value. Run takes the lease before it starts the work.
type Job[V any] struct {
	Cell Cell[V]
	Now  func() time.Time
	// Done reports whether the value needs no work, because others were faster.
	// busy means that somebody is at work or that it is too early to try again.
	// A value that still serves is then good enough.
	Done func(v V, busy bool) bool
	// Urgent means that a pause after trouble does not count: the work asks nothing
	// of whoever was in trouble. A lease of somebody else counts all the same.
	Urgent bool
	// Work does the work once. Its context ends before the lease does.
	Work func(ctx context.Context, v V) Result[V]
}

// Result is the outcome of the work.
type Result[V any] struct {
	// Merge puts the result into the current value and gives the lease back. It
	// declines if the value no longer holds what the work started from. It is
	// nil if the work failed.
	Merge func(*V) bool
	// Err is why the work failed.
	Err error
	// Known reports whether the fate of the work is known, so that the lease
	// can be given back. Otherwise the lease stays until it runs out, and the
	// next holder counts a take-over.
	Known bool
	// Wait is the shortest pause that the work asks for. A pause is at least
	// ten seconds.
	Wait time.Duration
}

// WaitError means that nobody may work on the value for now.
type WaitError struct {
	For time.Duration
	Err error // why the last work failed
}

// Error returns the text of the cause.
func (e *WaitError) Error() string { return "lease: paused: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WaitError) Unwrap() error { return e.Err }

var (
	errPaused   = errors.New("lease: the last work failed")
	errUnmerged = errors.New("lease: the result of the work could not be stored")
)

// Run does the job unless another process does it, and returns the value as it
// is afterwards. merged reports whether our own result is in it. The error is
// that of the cell, a *WaitError, or that of ctx.
func Run[V any](ctx context.Context, j Job[V]) (now V, merged bool, err error) {
	for {
		v, err := j.Cell.Load(ctx)
		if err != nil {
			return now, false, err
		}
		at, l := j.Now(), j.Cell.Lease(&v)
		held, paused := Ahead(l.Until, at), Ahead(l.RetryAt, at)
		switch {
		case j.Done(v, held || paused):
			return v, false, nil
		case paused && !j.Urgent:
			return now, false, &WaitError{For: l.RetryAt.Sub(at), Err: errPaused}
		case held:
			if err := swap.Pause(ctx, Poll); err != nil {
				return now, false, err
			}
			continue
		}
		mine, ok, err := j.take(ctx)
		if err != nil {
			return now, false, err
		}
		if ok {
			return j.work(ctx, mine)
		}
	}
}

// take takes the lease if it is still free, and counts a lease that ran out
// without a result. It knows its lease also if the reply to that was lost and
// somebody else has changed the value since.
func (j Job[V]) take(ctx context.Context) (mine V, ok bool, err error) {
	holder := rand.Text()
	mine, ok, err = j.Cell.Update(ctx, swap.Patience{For: takeFor, Pause: mergePause, Most: mergeMost, Slow: true}, func(v *V) bool {
		now, l := j.Now(), j.Cell.Lease(v)
		if j.Done(*v, false) || Ahead(l.Until, now) || !j.Urgent && Ahead(l.RetryAt, now) {
			return false
		}
		if l.Holder != "" || !l.Until.IsZero() { // an older release did not store who holds the lease
			l.Takeovers++
		}
		l.Holder, l.Until = holder, now.Add(Life)
		return true
	})
	return mine, ok || err == nil && j.Cell.Lease(&mine).Holder == holder, err
}

// work does the work under the lease and stores its result. A caller that
// leaves does not undo work that was done.
func (j Job[V]) work(ctx context.Context, mine V) (now V, merged bool, err error) {
	l := *j.Cell.Lease(&mine)
	r := j.once(ctx, mine, l)
	after := context.WithoutCancel(ctx)
	if r.Merge == nil {
		return now, false, j.putOff(after, l, r)
	}
	now, merged, err = j.Cell.Update(after, merging(), func(v *V) bool {
		if !r.Merge(v) {
			return false
		}
		*j.Cell.Lease(v) = Lease{}
		return true
	})
	switch {
	case err != nil:
		return now, false, fmt.Errorf("%w: %w", errUnmerged, err)
	case !merged:
		now, err = j.Cell.Load(after)
	}
	return now, merged, err
}

func (j Job[V]) once(ctx context.Context, mine V, l Lease) Result[V] {
	ctx, cancel := context.WithTimeout(ctx, l.Until.Add(-margin).Sub(j.Now()))
	defer cancel()
	return j.Work(ctx, mine)
}

// putOff sets a pause, so that a server in trouble is not asked on every
// request.
func (j Job[V]) putOff(ctx context.Context, mine Lease, r Result[V]) error {
	var jitter [1]byte
	rand.Read(jitter[:])
	wait := max(retry, r.Wait) + retry*time.Duration(jitter[0])/256
	_, _, err := j.Cell.Update(ctx, merging(), func(v *V) bool {
		l := j.Cell.Lease(v)
		if l.Holder != mine.Holder {
			return false
		}
		l.RetryAt = j.Now().Add(wait)
		if r.Known {
			l.Holder, l.Until = "", time.Time{}
		}
		return true
	})
	if err != nil {
		return errors.Join(r.Err, err)
	}
	return &WaitError{For: wait, Err: r.Err}
}

func merging() swap.Patience {
	return swap.Patience{For: mergeFor, Pause: mergePause, Most: mergeMost}
}
