package session

import (
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/deadline"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/swap"
)

const (
	// tombstoneLife is how long an ended record stays, so that slow writers
	// find it.
	tombstoneLife = time.Minute
	// expirySlack is how much longer than the session the store keeps a record.
	// The limits in the record decide when the session ends.
	expirySlack = time.Minute
	// idleParts is the number of parts the idle interval is divided into. A
	// session is written at most once in each part.
	idleParts = 10
)

// The errors of a Keeper, besides those of contexts.
var (
	// ErrNone means that there is no live login.
	ErrNone = errors.New("session: no live login")
	// ErrStore means that the store failed or hangs, so nothing is known.
	ErrStore = errors.New("session: the store failed")
	// ErrUnreadable means that this process cannot read a value that a newer
	// build or one with other keys has written.
	ErrUnreadable = errors.New("session: a stored value cannot be read")
	// ErrSignedOut means that the person signed out in the same browser while
	// the sign-in was under way.
	ErrSignedOut = errors.New("session: a sign-out came in between")
	// ErrTooLarge means that a value is too large for some stores. The sign-in
	// fails at once instead of looping later.
	ErrTooLarge = errors.New("session: the record is too large")
	// ErrOver means that the session of a new login would already be over.
	ErrOver = errors.New("session: the login took too long")
)

// Config says how logins are kept. All fields but Keys are required.
type Config struct {
	Store    Store
	Keys     *seal.Ring    // the configured keys, which seal records too; nil keeps a key in the store
	Unsealed bool          // with Keys, records that are not sealed are read too
	Name     string        // separates the keys and the lists of several keepers on one store
	Lifetime time.Duration // of a session, even one in constant use
	Idle     time.Duration // of an unused session; negative for no limit
	Now      func() time.Time
}

// A Keeper keeps login records in a store. It is safe for concurrent use.
type Keeper struct {
	store    Store
	viewer   Viewer // the store, if it is a Viewer
	given    *seal.Ring
	unsealed bool
	name     string
	lifetime time.Duration
	idle     time.Duration
	now      func() time.Time
	made     madeKey
	reads    *deadline.Shared // of calls that requests wait for
	keys     markKeys
}

// New makes a Keeper. It does no I/O.
func New(c Config) *Keeper {
	k := &Keeper{store: c.Store, given: c.Keys, unsealed: c.Unsealed, name: c.Name, lifetime: c.Lifetime, idle: c.Idle, now: c.Now, reads: deadline.New(storeWait)}
	k.viewer, _ = c.Store.(Viewer)
	return k
}

// Stored is a record together with its bytes in the store. Neither is changed.
type Stored struct {
	Record *Record
	raw    []byte
}

// pack returns the stored form of a record, sealed if keys are configured.
func (k *Keeper) pack(key string, r *Record) []byte {
	plain := r.encode()
	if k.given == nil {
		return plain
	}
	return append([]byte{recordVersion, formSealed}, k.given.Seal(sessionDomain, []byte(key), plain)...)
}

// unpack reads the stored form. It fails with ErrUnreadable if a newer build or
// a process with other keys may read it, and otherwise with ErrGarbage.
func (k *Keeper) unpack(key string, b []byte) (*Record, error) {
	plain, err := k.open([]byte(key), b)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(plain)
	if err != nil {
		return nil, unreadable(err)
	}
	if !r.whole() {
		return nil, errNotWhole
	}
	return r, nil
}

var errNotWhole = fmt.Errorf("%w: it lacks what every login has", ErrGarbage)

// unreadable returns the error for a value that could not be decoded.
func unreadable(err error) error {
	if errors.Is(err, errVersion) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

// open returns the plain form of a stored value.
func (k *Keeper) open(key, b []byte) ([]byte, error) {
	sealed := len(b) > 2 && b[0] == recordVersion && b[1] == formSealed
	switch {
	case sealed && k.given == nil:
		return nil, fmt.Errorf("%w: it is sealed, and there are no keys", ErrUnreadable)
	case sealed:
		plain, err := k.given.Open(sessionDomain, key, b[2:])
		if errors.Is(err, seal.ErrVersion) || errors.Is(err, seal.ErrUnknownKey) {
			return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGarbage, err)
		}
		return plain, nil
	case k.given != nil && !k.unsealed && len(b) > 1 && b[0] == recordVersion: // whoever can write to the store could make one
		return nil, fmt.Errorf("%w: it is not sealed, and there are keys", ErrGarbage)
	}
	return b, nil
}

// packed returns the record as a value with its expiry in the store.
func (k *Keeper) packed(key string, r *Record) swap.Value {
	expiry := k.Ending(r).Add(expirySlack)
	if !r.Ended.IsZero() {
		expiry = later(r.Ended.Add(tombstoneLife), r.Ends)
	}
	return swap.Value{Bytes: k.pack(key, r), Expiry: expiry}
}

// Ending is the latest time at which the session ends, however busy it is.
func (k *Keeper) Ending(r *Record) time.Time { return k.ending(r.Begin, r.Ends) }

func (k *Keeper) ending(begin, ends time.Time) time.Time {
	end := begin.Add(k.lifetime)
	if !ends.IsZero() && ends.Before(end) {
		end = ends
	}
	return end
}

// IdleEnding is when the session ends if it is not used. It is the zero time if
// there is no idle limit.
func (k *Keeper) IdleEnding(r *Record) time.Time {
	if k.idle < 0 {
		return time.Time{}
	}
	return r.Seen.Add(k.idle)
}

// alive reports whether the limits of the record still hold.
func (k *Keeper) alive(r *Record, now time.Time) bool {
	return r.Ended.IsZero() && k.lives(k.Ending(r), r.Seen, now)
}

func (k *Keeper) lives(end, seen, now time.Time) bool {
	if !now.Before(end) {
		return false
	}
	return k.idle < 0 || now.Before(seen.Add(k.idle))
}

// touchable reports whether use is to be written that was last seen at a time.
func (k *Keeper) touchable(seen, now time.Time) bool {
	return k.idle >= 0 && !now.Before(seen.Add(k.idle/idleParts))
}
