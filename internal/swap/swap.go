// Package swap is the one loop around compare-and-swap: read, change, swap, and
// begin again when somebody else was faster.
//
// It knows bytes under one key of some store, and that an error of the store
// says nothing about what happened. It must not know what the bytes mean.
package swap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// tries bounds the rounds that others may win while the store works: each lost
// round means that somebody else has written.
const tries = 16

// ErrContended is the error of a value that others kept changing.
var ErrContended = errors.New("swap: others kept changing the value")

// Cell is the place of one value in a store.
type Cell interface {
	// Find returns the value, nil if there is none.
	Find(ctx context.Context) ([]byte, error)
	// Swap replaces old by next if exactly old is there. A nil old means that
	// nothing may be there. It reports whether next is there now, also when it
	// was before. An error means that the outcome is not known.
	Swap(ctx context.Context, old []byte, next Value) (swapped bool, err error)
}

// Value is what is to be stored. The zero Value deletes.
type Value struct {
	Bytes  []byte // different from every value before: a fresh write id is in it
	Expiry time.Time
}

// Change makes the next value of the one that is there now, nil for none. A nil
// next leaves it as it is. An error ends the update. Change may be called
// several times.
type Change func(old []byte) (next *Value, err error)

// Patience says how long an update goes on while the store fails. The zero
// Patience gives up at the first error.
type Patience struct {
	For   time.Duration // since the update began
	Pause time.Duration // before the first repetition; it doubles
	Most  time.Duration // the longest pause
}

// Final marks an error of a cell after which no other try makes sense. Update
// returns err itself.
func Final(err error) error { return &finalError{err} }

type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// Update changes the value in the cell. changed is false if change declined.
//
// A swap that failed may have happened. So before the next try the value is
// read, and if it is what was sent the update is done.
func Update(ctx context.Context, c Cell, p Patience, change Change) (changed bool, err error) {
	u := update{cell: c, change: change}
	return u.run(ctx, p)
}

// From is Update for a caller that has just read the value: the first try does
// without reading.
func From(ctx context.Context, c Cell, p Patience, have []byte, change Change) (changed bool, err error) {
	u := update{cell: c, change: change, have: have, read: true}
	return u.run(ctx, p)
}

func (u *update) run(ctx context.Context, p Patience) (changed bool, err error) {
	if p.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.For)
		defer cancel()
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
			if Pause(ctx, wait) != nil {
				return false, err
			}
			wait = min(2*wait, p.Most)
		}
	}
	return false, fmt.Errorf("%w, %d times", ErrContended, tries)
}

// update is one Update under way.
type update struct {
	cell    Cell
	change  Change
	have    []byte // what the caller has read, for the first try
	read    bool
	sent    *Value // by a swap whose outcome is not known
	changed bool
}

// try makes one round. Without done and without an error somebody else was
// faster.
func (u *update) try(ctx context.Context) (done bool, err error) {
	old := u.have
	if !u.read {
		if old, err = u.cell.Find(ctx); err != nil {
			return false, err
		}
	}
	u.read = false
	if u.sent != nil && Same(old, u.sent.Bytes) {
		u.changed = true
		return true, nil
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

// Same compares two values of a store, of which nil is none at all.
func Same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// Pause waits, or returns the error of ctx when that ends first.
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
