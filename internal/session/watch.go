package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/storekey"
)

// Watch is a login that is judged again and again, for as long as a connection
// lives that it let in. One Pulse at a time may have it.
type Watch struct {
	keys  [LoginKeys]string // slices of one text
	marks [2]string
	whose Party
	ends  time.Time // at the latest, as far as is known
}

// NewWatch makes a Watch of a login that a request has found at that party.
func (k *Keeper) NewWatch(f *Found, whose Party) *Watch {
	g := Glance{Found: *f}
	w := &Watch{marks: f.names}
	if k.read(&g, whose) == nil { // as it did for the request
		w.whose, w.ends = Party{g.Issuer, g.ClientID}, g.Ends
	}
	w.keys = threeKeys([LoginKeys]storekey.Key{f.key, storekey.Make(markDomain, w.marks[0]), storekey.Make(markDomain, w.marks[1])})
	return w
}

// Pulse judges logins as a request would, in one round trip, and writes nothing.
// It returns an error for each: nil if the login lives, and otherwise ErrNone,
// ErrGarbage, ErrUnreadable or ErrStore. A login whose time is over has ended
// even while the store fails.
//
// If that read fails, or has taken half of the time, each login is read by itself:
// the trouble may be that of one, such as a key of another type, or of the node
// that has it.
func (k *Keeper) Pulse(ctx context.Context, logins []*Watch) []error {
	verdicts := make([]error, len(logins))
	switch {
	case k.viewer != nil:
		now := k.now()
		for i, w := range logins {
			verdicts[i] = k.pulse(w, k.viewer.View(w.asKeys(), now), now)
		}
	case len(logins) == 1:
		k.pulseTogether(ctx, logins, verdicts)
	default:
		half, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			half, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		}
		together := k.pulseTogether(half, logins, verdicts)
		cancel()
		if !together {
			k.pulseApart(ctx, logins, verdicts)
		}
	}
	return verdicts
}

// pulseTogether judges logins in one round trip. It reports whether they could be
// read.
func (k *Keeper) pulseTogether(ctx context.Context, logins []*Watch, verdicts []error) bool {
	keys := make([]string, 0, len(logins)*LoginKeys)
	for _, w := range logins {
		keys = append(keys, w.keys[:]...)
	}
	values, err := k.findMany(ctx, keys...)
	now := k.now()
	for i, w := range logins {
		switch {
		case err == nil:
			verdicts[i] = k.pulse(w, [LoginKeys][]byte(values[i*LoginKeys:]), now)
		case !now.Before(w.ends):
			verdicts[i] = errExpired
		default:
			verdicts[i] = err
		}
	}
	return err == nil
}

// pulseApart judges each login by itself, all at the same time. A panic of the
// store is that of the caller.
func (k *Keeper) pulseApart(ctx context.Context, logins []*Watch, verdicts []error) {
	var all sync.WaitGroup
	var panicked atomic.Pointer[any]
	for i := range logins {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(&p)
				}
			}()
			k.pulseTogether(ctx, logins[i:i+1], verdicts[i:i+1])
		})
	}
	all.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
}

// pulse judges the login whose values were read at a time.
func (k *Keeper) pulse(w *Watch, values [LoginKeys][]byte, now time.Time) error {
	g := Glance{Found: Found{key: storekey.Key([]byte(w.keys[0])), names: w.marks}, Read: now}
	err := k.judge(&g, w.whose, values)
	switch {
	case err == nil:
		w.ends = g.Ends
	case errors.Is(err, ErrUnreadable) && !now.Before(w.ends):
		err = errExpired
	}
	return err
}

func (w *Watch) asKeys() (keys [LoginKeys]storekey.Key) {
	for i, key := range w.keys {
		copy(keys[i][:], key)
	}
	return keys
}
