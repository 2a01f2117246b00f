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
	alone bool      // the next Pulse reads it by itself
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

// asked is a login that a Pulse judges.
type asked struct {
	*Watch
	verdict error
}

// Pulse judges logins as a request would, in one round trip, and writes nothing.
// It returns an error for each: nil if the login lives, and otherwise ErrNone,
// ErrGarbage, ErrUnreadable or ErrStore. A login whose time is over has ended
// even while the store fails.
//
// If that read fails, each login is read by itself: the trouble may be that of one,
// such as a key of another type, or of the node that has it. That is at once, or the
// next time if there is too little time left. What cannot be read by itself stays
// apart from the others.
func (k *Keeper) Pulse(ctx context.Context, logins []*Watch) []error {
	verdicts := make([]error, len(logins))
	if k.viewer != nil {
		now := k.now()
		for i, w := range logins {
			verdicts[i] = k.pulse(w, k.viewer.View(w.asKeys(), now), now)
		}
		return verdicts
	}
	list, together := make([]asked, len(logins)), make([]*asked, 0, len(logins))
	var alone []*asked
	for i, w := range logins {
		list[i].Watch = w
		if w.alone {
			alone = append(alone, &list[i])
		} else {
			together = append(together, &list[i])
		}
	}
	if len(alone) == 0 {
		k.pulseShared(ctx, together)
	} else {
		k.pulseBoth(ctx, together, alone)
	}
	for i := range list {
		verdicts[i] = list[i].verdict
	}
	return verdicts
}

// pulseBoth judges some logins together and others by themselves, all at the same
// time. A panic of the store is that of the caller.
func (k *Keeper) pulseBoth(ctx context.Context, together, alone []*asked) {
	var all sync.WaitGroup
	var panicked atomic.Pointer[any]
	begin := func(judge func()) {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(&p)
				}
			}()
			judge()
		})
	}
	for _, a := range alone {
		begin(func() { a.alone = !k.pulseTogether(ctx, []*asked{a}) })
	}
	if len(together) > 0 {
		begin(func() { k.pulseShared(ctx, together) })
	}
	all.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
}

// pulseShared judges logins in one round trip, or by themselves if that fails.
func (k *Keeper) pulseShared(ctx context.Context, logins []*asked) {
	began := time.Now()
	if k.pulseTogether(ctx, logins) || len(logins) == 1 {
		return
	}
	if end, ok := ctx.Deadline(); !ok || time.Until(end) >= time.Since(began) {
		k.pulseBoth(ctx, nil, logins)
		return
	}
	for _, a := range logins {
		a.alone = true
	}
}

// pulseTogether judges logins in one round trip. It reports whether they could be
// read.
func (k *Keeper) pulseTogether(ctx context.Context, logins []*asked) bool {
	keys := make([]string, 0, len(logins)*LoginKeys)
	for _, a := range logins {
		keys = append(keys, a.keys[:]...)
	}
	values, err := k.findMany(ctx, keys...)
	now := k.now()
	for i, a := range logins {
		switch {
		case err == nil:
			a.verdict = k.pulse(a.Watch, [LoginKeys][]byte(values[i*LoginKeys:]), now)
		case !now.Before(a.ends):
			a.verdict = errExpired
		default:
			a.verdict = err
		}
	}
	return err == nil
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
