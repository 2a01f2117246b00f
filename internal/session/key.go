package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
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

// Wait waits until no reading of the key is under way, or until ctx ends.
func (k *Keeper) Wait(ctx context.Context) error { return k.made.flights.Wait(ctx) }

// loadKey reads the key, or makes one if there is none.
func (k *Keeper) loadKey(ctx context.Context) (*seal.Ring, error) {
	var random [keySize]byte
	rand.Read(random[:])
	value := append(newValue(headSize+keySize), random[:]...)
	_, err := k.update(ctx, storekey.Of(keyDomain, k.name), swap.Patience{}, func(old []byte) (*swap.Value, error) {
		if old != nil {
			value = old
			return nil, nil
		}
		return &swap.Value{Bytes: value, Expiry: k.now().Add(keyLife)}, nil
	})
	if err != nil {
		return nil, err
	}
	body, err := valueBody(value)
	if err != nil || len(body) != keySize {
		return nil, fmt.Errorf("%w: the key", ErrUnreadable)
	}
	ring, err := seal.NewRing(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the key: %w", ErrUnreadable, err)
	}
	now := k.now()
	k.made.mu.Lock()
	defer k.made.mu.Unlock()
	k.made.ring, k.made.readAt = ring, now
	return ring, nil
}
