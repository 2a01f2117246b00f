// Package swap is the one loop around compare-and-swap: read, change, swap, and
// start over if somebody else was faster.
//
// It handles bytes under one key of a store, and it knows that an error of the
// store says nothing about what happened. It must not know what the bytes mean.
package swap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// tries bounds the rounds that may be lost to others while the store works.
// Each lost round means that somebody else has written, so it is more than the
// two dozen tabs of a browser that all come at once.
const tries = 64

// ErrContended means that others kept changing the value.
var ErrContended = errors.New("swap: others kept changing the value")

// Cell is the place of one value in a store.
type Cell interface {
	// Find returns the value, or nil if there is none.
	Find(ctx context.Context) ([]byte, error)
	// Swap replaces old with next if the stored value is exactly old. A nil old
	// means that nothing may be stored. It reports whether next is stored now,
	// even if it was stored before. An error means that the outcome is unknown.
	Swap(ctx context.Context, old []byte, next Value) (swapped bool, err error)
}

// Value is the value to store. The zero Value deletes.
type Value struct {
	Bytes  []byte // differs from every earlier value: it holds a fresh write ID
	Expiry time.Time
}

// Change makes the next value from the current one, which is nil if absent. A
// nil result leaves the current one as it is. An error ends the update. Change
// may be called several times.
type Change func(old []byte) (next *Value, err error)

// Patience says how long an update goes on while the store fails. The zero
// Patience gives up at the first error.
type Patience struct {
	For   time.Duration // since the update began
	Pause time.Duration // before the first retry; it doubles
	Most  time.Duration // the longest pause
	// Slow says that For bounds only what comes after an error. Until then each
	// call has the time that its cell gives it: a store may be slow and work.
	Slow bool
}

// Final marks an error of a cell that no retry can fix. Update returns err
// itself.
func Final(err error) error { return &finalError{err} }

type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// Update changes the value in the cell. changed is false if change declined.
//
// A swap that failed may still have happened. So the value is read before the
// next try, and if it is what was sent, that is sent again: only the answer to a
// swap says that the store keeps it.
func Update(ctx context.Context, c Cell, p Patience, change Change) (changed bool, err error) {
	u := update{cell: c, change: change}
	return u.run(ctx, p)
}

// From is Update for a caller that has just read the value. The first try does
// not read.
func From(ctx context.Context, c Cell, p Patience, have []byte, change Change) (changed bool, err error) {
	u := update{cell: c, change: change, have: have, read: true}
	return u.run(ctx, p)
}

func (u *update) run(ctx context.Context, p Patience) (changed bool, err error) {
	failing := ctx
	if p.For > 0 {
		var cancel context.CancelFunc
		failing, cancel = context.WithTimeout(ctx, p.For)
		defer cancel()
	}
	if !p.Slow {
		ctx = failing
	}
	wait := p.Pause
	for lost := 0; lost < tries; {
		done, err := u.try(ctx)
		if final, ok := errors.AsType[*finalError](err); ok {
			return false, final.error
		}
		switch {
		case done:
			return u.changed, err
		case err == nil:
			lost++
		case p.For == 0:
			return false, err
		default:
			if ctx = failing; Pause(ctx, wait) != nil {
				return false, err
			}
			wait = min(2*wait, p.Most)
		}
	}
	return false, fmt.Errorf("%w, %d times", ErrContended, tries)
}

// update is one call of Update.
type update struct {
	cell    Cell
	change  Change
	have    []byte // what the caller has read, for the first try
	read    bool
	sent    *Value // sent by a swap whose outcome is unknown
	changed bool
}

// try makes one round. If it returns neither done nor an error, somebody else
// was faster.
func (u *update) try(ctx context.Context) (done bool, err error) {
	old := u.have
	if !u.read {
		if old, err = u.cell.Find(ctx); err != nil {
			return false, err
		}
	}
	u.read = false
	if u.sent != nil && Same(old, u.sent.Bytes) {
		u.changed, err = u.cell.Swap(ctx, old, *u.sent)
		return u.changed, err
	}
	u.sent = nil
	next, err := u.change(old)
	if err != nil || next == nil {
		return true, err
	}
	swapped, err := u.cell.Swap(ctx, old, *next)
	if err != nil {
		u.sent = next
		return false, err
	}
	u.changed = swapped
	return swapped, nil
}

// Same compares two values of a store. A nil value is an absent one.
func Same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// Pause waits, or returns the error of ctx if that ends first.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
