package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/swap"
)

const (
	keyDomain = "gatehouse/key"
	// keySize is the size of a generated key in bytes.
	keySize = 32
	// keyLife is how long the generated key stays in the store.
	keyLife = 10 * 365 * 24 * time.Hour
	// keyReread is how often a value under an unknown key may make us read the
	// store's key again. The store may have lost the first key and hold
	// another.
	keyReread = 30 * time.Second
	// keyFlight bounds one reading of the key, including making a new one.
	keyFlight = 2 * storeWait
)

// madeKey is the key kept in the store when none is configured.
type madeKey struct {
	flights flight.Group[struct{}, *seal.Ring]

	mu     sync.Mutex
	ring   *seal.Ring
	readAt time.Time

	replaced atomic.Bool // what was no key, and nobody has asked yet
}

// Ring returns the keys that seal cookies: the configured ones, or else one
// that is made on first use and kept in the store. A single process and many
// replicas thus both work without configuration.
func (k *Keeper) Ring(ctx context.Context) (*seal.Ring, error) {
	if k.given != nil {
		return k.given, nil
	}
	k.made.mu.Lock()
	ring := k.made.ring
	k.made.mu.Unlock()
	if ring != nil {
		return ring, nil
	}
	return k.made.flights.Do(ctx, struct{}{}, keyFlight, k.loadKey)
}

// Reread reads the key in the store again, unless keys are configured or it was
// read just now.
func (k *Keeper) Reread(ctx context.Context) (*seal.Ring, bool) {
	now := k.now()
	k.made.mu.Lock()
	fresh := k.given != nil || now.Before(k.made.readAt.Add(keyReread))
	k.made.mu.Unlock()
	if fresh {
		return nil, false
	}
	ring, err := k.made.flights.Do(ctx, struct{}{}, keyFlight, k.loadKey)
	return ring, err == nil
}

// ReplacedKey reports, once, that the value in the store was no key of any build
// and that a new key has taken its place.
func (k *Keeper) ReplacedKey() bool { return k.made.replaced.Load() && k.made.replaced.Swap(false) }

// Wait waits until no reading of the key is under way, or until ctx ends.
func (k *Keeper) Wait(ctx context.Context) error { return k.made.flights.Wait(ctx) }

// loadKey reads the key, or makes one if there is none. A value that no build
// has written is replaced: it seals only sign-ins under way, and nobody could
// sign in any more.
func (k *Keeper) loadKey(ctx context.Context) (*seal.Ring, error) {
	var body []byte
	garbage := false
	made, err := k.update(ctx, storekey.Of(keyDomain, k.name), swap.Patience{}, func(old []byte) (*swap.Value, error) {
		kept, err := valueBody(old)
		if errors.Is(err, errVersion) {
			return nil, fmt.Errorf("%w: the key: %w", ErrUnreadable, err)
		}
		if err == nil && len(kept) == keySize {
			body = kept
			return nil, nil
		}
		body, garbage = make([]byte, keySize), old != nil
		rand.Read(body)
		return &swap.Value{Bytes: append(newValue(headSize+keySize), body...), Expiry: k.now().Add(keyLife)}, nil
	})
	if err != nil {
		return nil, err
	}
	ring, err := seal.NewRing(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the key: %w", ErrUnreadable, err)
	}
	if made && garbage {
		k.made.replaced.Store(true)
	}
	now := k.now()
	k.made.mu.Lock()
	defer k.made.mu.Unlock()
	k.made.ring, k.made.readAt = ring, now
	return ring, nil
}
