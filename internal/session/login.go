package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// EndFor is how long EndAnyway goes on while the store fails.
	EndFor = 10 * time.Second
	// touchTries is how often one request tries to write that the session is in
	// use. A renewal writes at most three times.
	touchTries = 4
	// replacedLife is how long a login is remembered that others took the place of:
	// a sign-out that brings its cookie may be held up in front of a replica.
	replacedLife = time.Hour
	// maxNext is how many logins a tombstone names that took its place: as many
	// as a person may have.
	maxNext = maxListed
)

const usedDomain = "gatehouse/used"

// errTaken cannot happen by chance: the key has 256 random bits.
var errTaken = errors.New("session: the key of a new login is taken")

// Load reads a live login and its marks in one round trip, and judges it as
// Glance does. It fails with ErrNone, ErrGarbage, ErrUnreadable or ErrStore.
func (k *Keeper) Load(ctx context.Context, ref Ref) (Stored, error) {
	g := Glance{Found: Found{names: ref.Marks}}
	copy(g.key[:], ref.Key)
	if err := k.look(ctx, Party{}, &g); err != nil {
		return Stored{}, err
	}
	return k.Whole(&g.Found)
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
// ended meanwhile stays ended (M13). If somebody else has written, such as a
// renewal that took its lease or failed, it reads again, so that the use counts
// all the same. It returns the record as it is stored now.
func (k *Keeper) Touch(ctx context.Context, ref Ref, have Stored) (Stored, error) {
	for range touchTries {
		now := k.now()
		if !k.touchable(have.Record.Seen, now) {
			return have, nil
		}
		ctx = context.WithoutCancel(ctx)
		next := *have.Record
		next.Seen = now
		value := k.packed(ref.Key, &next)
		swapped, err := k.swap(ctx, ref.Key, have.raw, value)
		if err != nil {
			return have, err
		}
		if swapped {
			return Stored{&next, value.Bytes}, nil
		}
		again, err := k.Load(ctx, ref)
		if errors.Is(err, ErrNone) {
			return have, nil
		}
		if err != nil {
			return have, err
		}
		have = again
	}
	return have, nil
}

// Create stores a new login whose marks were read at the given time by our
// clock. It sets r.Ends. If the outcome of a write is unknown, it reads to find
// out. It fails with ErrOver, ErrTooLarge, ErrStore, ErrSignedOut, or an error
// saying that the record cannot be read back.
func (k *Keeper) Create(ctx context.Context, ref Ref, r *Record, marksRead time.Time) error {
	if !k.alive(r, k.now()) {
		return ErrOver
	}
	r.Ends = k.Ending(r) // with its cookie and its marks, whatever the lifetime is later
	value := k.packed(ref.Key, r)
	if _, err := k.unpack(ref.Key, value.Bytes); err != nil { // a login that nobody can read would cause a loop
		return err
	}
	deadline := marksRead.Add(createWithin)
	_, err := swap.From(ctx, valueCell{k, ref.Key}, swap.Patience{For: createFor, Pause: createPause, Most: createFor}, nil, func(old []byte) (*swap.Value, error) {
		switch {
		case old != nil && k.signedOut(ref.Key, old):
			return nil, ErrSignedOut
		case old != nil:
			return nil, fmt.Errorf("%w: %w", ErrStore, errTaken)
		case !k.now().Before(deadline):
			return nil, fmt.Errorf("%w: storing the login took too long", ErrStore)
		}
		return &value, nil
	})
	return err
}

func (k *Keeper) signedOut(key string, raw []byte) bool {
	r, err := k.unpack(key, raw)
	return err == nil && !r.Ended.IsZero() && r.Why == whySignOut
}

// End replaces the record under key with a tombstone, whatever others write
// meanwhile, and returns the record that ended. A record that is gone or
// already ended is not an error.
func (k *Keeper) End(ctx context.Context, key string) (*Record, error) {
	return k.end(ctx, key, swap.Patience{}, k.plainGrave)
}

// EndAnyway is End for a caller whose decision nobody repeats. It goes on for a
// while if the store fails.
func (k *Keeper) EndAnyway(ctx context.Context, key string) (*Record, error) {
	return k.end(ctx, key, swap.Patience{For: EndFor, Pause: createPause, Most: time.Second}, k.plainGrave)
}

func (k *Keeper) plainGrave(r *Record) *Record {
	if r == nil || !r.Ended.IsZero() {
		return nil
	}
	return r.tombstone(k.now(), whyOther)
}

// firmGrave is plainGrave, but writes a tombstone that is there once more, because
// the store may not have confirmed it.
func (k *Keeper) firmGrave(r *Record) *Record {
	if r != nil && !r.Ended.IsZero() {
		return r
	}
	return k.plainGrave(r)
}

// Replace ends the login under key because next takes its place, whose sign-in
// began at begin. It fails with ErrSignedOut if the person has signed out of the
// login since. A sign-in that began after that lives; where clocks may not agree
// on it, it counts as begun before, as does a zero begin. Several logins may take
// the place of one: each tab brings its own.
func (k *Keeper) Replace(ctx context.Context, key, next string, begin time.Time) (*Record, error) {
	var over bool
	ended, err := k.end(ctx, key, swap.Patience{}, func(r *Record) *Record {
		signedOut := r != nil && !r.Ended.IsZero() && r.Why == whySignOut
		over = signedOut && !begin.After(r.Ended.Add(markSkew))
		now := k.now()
		switch {
		case r == nil || over:
			return nil
		case signedOut: // and stays so, for those that began before
			r.Ends = later(r.Ends, now.Add(replacedLife))
		case r.Ended.IsZero():
			r = r.tombstone(now, whyReplaced)
			r.Ends = now.Add(replacedLife)
		default: // a sign-out in this browser may still find it
			r.Why, r.Ended, r.Ends = whyReplaced, now, later(r.Ends, now.Add(replacedLife))
		}
		r.Next = append(r.Next[:len(r.Next):len(r.Next)], next...)
		if extra := len(r.Next) - maxNext*storekey.Size; extra > 0 {
			r.Next = r.Next[extra:]
		}
		return r
	})
	if err == nil && over {
		err = ErrSignedOut
	}
	return ended, err
}

// SignOut ends the login under key, whatever the record holds, and the logins
// that have just taken its place. It leaves a tombstone even where nothing was
// stored, so that a sign-in under way finds it. It returns the records that
// ended, also beside an error.
func (k *Keeper) SignOut(ctx context.Context, key string) (all []*Record, err error) {
	return k.SignOutUntil(ctx, key, time.Time{})
}

// SignOutSession is SignOut of a session that is remembered until then, for sign-ins
// under way that began from it. Where nothing is stored, it leaves no more than
// SignOut does: anybody may send a cookie.
func (k *Keeper) SignOutSession(ctx context.Context, key string, until time.Time) (all []*Record, err error) {
	return k.signOut(ctx, key, func(r *Record) time.Time {
		if r == nil {
			return time.Time{}
		}
		return until
	})
}

// SignOutUntil is SignOut of a login that a sign-in under way may create until
// then: its callback may be held up for longer than a tombstone lives otherwise.
func (k *Keeper) SignOutUntil(ctx context.Context, key string, until time.Time) (all []*Record, err error) {
	return k.signOut(ctx, key, func(*Record) time.Time { return until })
}

// signOut ends a login and those that have taken its place. until gets the record,
// or nil if there is none, and says until when the tombstone stays.
func (k *Keeper) signOut(ctx context.Context, key string, until func(*Record) time.Time) (all []*Record, err error) {
	ended, next, err := k.signOutOne(ctx, key, until)
	done := map[string]bool{key: true} // who has taken whose place may go round in what a store has mixed up
	for err == nil {
		if ended != nil {
			all = append(all, ended)
		}
		next = slices.DeleteFunc(next, func(key string) bool { return done[key] })
		if len(next) == 0 {
			return all, nil
		}
		key, done[next[0]] = next[0], true
		var more []string
		ended, more, err = k.signOutOne(ctx, key, func(*Record) time.Time { return time.Time{} })
		next = append(more, next[1:]...)
	}
	return all, err
}

// signOutOne leaves a tombstone in the place of a record, and returns the record, if
// it was alive, and the keys of the logins that have taken its place.
func (k *Keeper) signOutOne(ctx context.Context, key string, until func(*Record) time.Time) (ended *Record, next []string, err error) {
	ended, err = k.end(ctx, key, swap.Patience{}, func(r *Record) *Record {
		ends := until(r)
		if r == nil {
			r = &Record{}
		}
		t := r.tombstone(k.now(), whySignOut)
		t.Ends = ends
		if next = nil; !r.Ended.IsZero() { // also by a sign-out, which the store may not have confirmed
			t.Next = r.Next
			t.Ends = later(ends, r.Ends) // a sign-out that knows less forgets nothing
			for n := range slices.Chunk(r.Next, storekey.Size) {
				next = append(next, string(n))
			}
		}
		return t
	})
	return ended, next, err
}

// end replaces the record under key with the tombstone that grave makes of it.
// grave gets nil if there is no record or none that can be read. It returns nil
// to leave things as they are. end returns the record that was alive before.
func (k *Keeper) end(ctx context.Context, key string, p swap.Patience, grave func(*Record) *Record) (ended *Record, err error) {
	changed, err := k.update(ctx, key, p, func(old []byte) (*swap.Value, error) {
		ended = nil
		var r *Record
		garbage := false
		if old != nil {
			var err error
			r, err = k.unpack(key, old)
			garbage = errors.Is(err, ErrGarbage)
			if err == nil && r.Ended.IsZero() {
				ended = r
			}
		}
		tombstone := grave(r)
		switch {
		case tombstone != nil:
			value := k.packed(key, tombstone)
			return &value, nil
		case garbage: // nobody can use it
			return &swap.Value{}, nil
		}
		return nil, nil
	})
	if err != nil || !changed {
		return nil, err
	}
	return ended, nil
}

// Spent reports whether a value has been marked as used.
func (k *Keeper) Spent(ctx context.Context, value string) (bool, error) {
	mark, err := k.find(ctx, storekey.Of(usedDomain, value))
	return mark != nil, err
}

// Spend marks a value as used until the given time. It reports whether this was
// the first use across all replicas (R9: a value works once).
func (k *Keeper) Spend(ctx context.Context, value string, until time.Time) (first bool, err error) {
	return k.swap(ctx, storekey.Of(usedDomain, value), nil, swap.Value{Bytes: newValue(headSize), Expiry: until.Add(markSlack)})
}
