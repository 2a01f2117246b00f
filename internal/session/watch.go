package session

import (
	"context"
	"errors"
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

// NewWatch makes a Watch of a login that a request has read.
func (k *Keeper) NewWatch(g *Glance) *Watch {
	w := &Watch{marks: [2]string{g.marks[0].Name, g.marks[1].Name}, whose: Party{g.Issuer, g.ClientID}, ends: k.GlanceEnding(g)}
	w.keys = threeKeys([LoginKeys]storekey.Key{g.key, storekey.Make(markDomain, w.marks[0]), storekey.Make(markDomain, w.marks[1])})
	return w
}

// Pulse judges logins as a request would, in one round trip, and writes nothing.
// It returns an error for each: nil if the login lives, and otherwise ErrNone,
// ErrGarbage, ErrUnreadable or ErrStore. A login whose time is over has ended
// even while the store fails.
func (k *Keeper) Pulse(ctx context.Context, logins []*Watch) []error {
	verdicts := make([]error, len(logins))
	var values [][]byte
	if k.viewer == nil {
		keys := make([]string, 0, len(logins)*LoginKeys)
		for _, w := range logins {
			keys = append(keys, w.keys[:]...)
		}
		var err error
		if values, err = k.findMany(ctx, keys...); err != nil {
			for i, w := range logins {
				verdicts[i] = err
				if !k.now().Before(w.ends) {
					verdicts[i] = errExpired
				}
			}
			return verdicts
		}
	}
	for i, w := range logins {
		if k.viewer != nil {
			verdicts[i] = k.pulse(w, k.viewer.View(w.asKeys()))
		} else {
			verdicts[i] = k.pulse(w, [LoginKeys][]byte(values[i*LoginKeys:]))
		}
	}
	return verdicts
}

func (k *Keeper) pulse(w *Watch, values [LoginKeys][]byte) error {
	var g Glance
	g.key = storekey.Key([]byte(w.keys[0]))
	err := k.judge(&g, w.marks, w.whose, values)
	switch {
	case err == nil:
		w.ends = k.GlanceEnding(&g)
	case errors.Is(err, ErrUnreadable) && !k.now().Before(w.ends):
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
