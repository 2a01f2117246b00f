package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

const (
	// createWithin bounds the time from reading the marks of a new login to the
	// last attempt to store it. After that, the marks may have expired.
	createWithin = 30 * time.Second
	// createFor is how long one creation is retried while the store fails. A
	// person is waiting for it.
	createFor = 2 * storeWait
	// createPause is the pause between two tries.
	createPause = 20 * time.Millisecond
)

const usedDomain = "gatehouse/used"

// errTaken cannot happen by chance: the key has 256 random bits.
var errTaken = errors.New("session: the key of a new login is taken")

// Load reads a live login and its marks in one round trip. It fails with
// ErrNone, ErrGarbage, ErrUnreadable or ErrStore.
func (k *Keeper) Load(ctx context.Context, ref Ref) (Stored, error) {
	values, err := k.findMany(ctx, ref.Key, markKey(ref.Marks[0]), markKey(ref.Marks[1]))
	if err != nil {
		return Stored{}, err
	}
	if values[0] == nil {
		return Stored{}, ErrNone
	}
	r, err := k.unpack(ref.Key, values[0])
	if err != nil {
		return Stored{}, err
	}
	if r.Marks[0].Name != ref.Marks[0] || r.Marks[1].Name != ref.Marks[1] {
		return Stored{}, ErrNone
	}
	for i := range r.Marks {
		number, err := decodeMark(values[i+1])
		if err != nil {
			return Stored{}, err
		}
		if number > r.Marks[i].Number { // ended from outside: the first reader deletes it
			k.bury(ctx, ref.Key, values[0])
			return Stored{}, ErrNone
		}
	}
	if !k.alive(r, k.now()) {
		return Stored{}, ErrNone
	}
	return Stored{r, values[0]}, nil
}

// bury deletes a record that is over. A failure does no harm. The refresh token
// is not revoked here: the person may be signing in again through the
// provider's own session, and some servers would end that session with the
// token.
func (k *Keeper) bury(ctx context.Context, key string, raw []byte) {
	_, _ = k.swap(context.WithoutCancel(ctx), key, raw, swap.Value{})
}

// Touch records that the session is in use. It writes at most once in a tenth
// of the idle interval, and only over the bytes that were read, so a login that
// ended meanwhile stays ended (M13). It returns the record as it is stored now.
func (k *Keeper) Touch(ctx context.Context, ref Ref, have Stored) (Stored, error) {
	now := k.now()
	if k.idle < 0 || now.Before(have.Record.Seen.Add(k.idle/idleParts)) {
		return have, nil
	}
	next := *have.Record
	next.Seen = now
	value := k.packed(ref.Key, &next)
	swapped, err := k.swap(context.WithoutCancel(ctx), ref.Key, have.raw, value)
	if err != nil || !swapped {
		return have, err
	}
	return Stored{&next, value.Bytes}, nil
}

// Create stores a new login whose marks were read at the given time by our
// clock. If the outcome of a write is unknown, it reads to find out. It fails
// with ErrOver, ErrTooLarge, ErrStore, or an error saying that the record
// cannot be read back.
func (k *Keeper) Create(ctx context.Context, ref Ref, r *Record, marksRead time.Time) error {
	if !k.alive(r, k.now()) {
		return ErrOver
	}
	value := k.packed(ref.Key, r)
	if _, err := k.unpack(ref.Key, value.Bytes); err != nil { // a login that nobody can read would cause a loop
		return err
	}
	deadline := marksRead.Add(createWithin)
	_, err := swap.From(ctx, valueCell{k, ref.Key}, swap.Patience{For: createFor, Pause: createPause, Most: createFor}, nil, func(old []byte) (*swap.Value, error) {
		switch {
		case old != nil:
			return nil, fmt.Errorf("%w: %w", ErrStore, errTaken)
		case !k.now().Before(deadline):
			return nil, fmt.Errorf("%w: storing the login took too long", ErrStore)
		}
		return &value, nil
	})
	return err
}

// End replaces the record under key with a tombstone, whatever others write
// meanwhile, and returns the record that ended. A record that is gone or
// already ended is not an error.
func (k *Keeper) End(ctx context.Context, key string) (*Record, error) {
	var ended *Record
	changed, err := k.update(ctx, key, swap.Patience{}, func(old []byte) (*swap.Value, error) {
		ended = nil
		if old == nil {
			return nil, nil
		}
		r, err := k.unpack(key, old)
		if errors.Is(err, ErrGarbage) {
			return &swap.Value{}, nil
		}
		if err != nil || !r.Ended.IsZero() {
			return nil, err
		}
		ended = r
		value := k.packed(key, r.tombstone(k.now()))
		return &value, nil
	})
	if err != nil || !changed {
		return nil, err
	}
	return ended, nil
}

// Spend marks a value as used until the given time. It reports whether this was
// the first use across all replicas (R9: a value works once).
func (k *Keeper) Spend(ctx context.Context, value string, until time.Time) (first bool, err error) {
	return k.swap(ctx, storekey.Of(usedDomain, value), nil, swap.Value{Bytes: newValue(headSize), Expiry: until.Add(markSlack)})
}
