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
	// maxValue is a size that every store accepts: TEXT and BLOB columns of SQL
	// databases end at 65,535 bytes.
	maxValue = 60_000
	// storeWait bounds one call to the store, so that a page answers 503 within
	// a second if the store hangs (FA6).
	storeWait = 900 * time.Millisecond
)

// Store is what a Keeper needs of a store. Values are compared as bytes, and an
// expired value counts as absent. An error means that the outcome is unknown.
type Store interface {
	// FindManyCtx returns the values under keys, in order, in one round trip.
	// An absent value is nil.
	FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error)
	// SwapCtx replaces the value under key if it equals old, where nil means
	// absent. It reports whether the new value is stored now, even if it was
	// stored before.
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error)
}

// Viewer is a Store that can return its values without a copy and cannot hang.
// A Keeper never changes a value that it has read.
type Viewer interface {
	// View returns the values of a login and of its marks that have not expired
	// at a time by the Keeper's clock: to read a second clock would cost as much
	// as a value. Keys and values are arrays, because they need no memory of
	// their own.
	View(keys [LoginKeys][storekey.Size]byte, now time.Time) (values [LoginKeys][]byte)
}

// LoginKeys is how many keys a login has: its own and those of its two marks.
const LoginKeys = 3

// findLogin reads a login and its marks within storeWait. It sets read to the
// time at which they have to be judged.
func (k *Keeper) findLogin(ctx context.Context, keys [LoginKeys]storekey.Key, read *time.Time) (values [LoginKeys][]byte, err error) {
	if k.viewer != nil {
		*read = k.now()
		return k.viewer.View(keys, *read), nil
	}
	texts := threeKeys(keys)
	ctx, release := k.reads.Context(ctx)
	defer release()
	list, err := k.readAll(ctx, texts[:])
	copy(values[:], list)
	*read = k.now() // after the call, which may have taken long
	return values, err
}

// threeKeys returns the keys as texts, with one allocation.
func threeKeys(keys [LoginKeys]storekey.Key) (texts [LoginKeys]string) {
	var all [LoginKeys * storekey.Size]byte
	for i, key := range keys {
		copy(all[i*storekey.Size:], key[:])
	}
	text := string(all[:])
	for i := range texts {
		texts[i] = text[i*storekey.Size:][:storekey.Size]
	}
	return texts
}

// findMany reads several values within storeWait.
func (k *Keeper) findMany(ctx context.Context, keys ...string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	return k.readAll(ctx, keys)
}

// readAll reads several values. The caller bounds it.
func (k *Keeper) readAll(ctx context.Context, keys []string) ([][]byte, error) {
	values, err := k.store.FindManyCtx(ctx, keys)
	if err == nil && len(values) != len(keys) {
		err = fmt.Errorf("store returned %d values for %d keys", len(values), len(keys))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return values, nil
}

func (k *Keeper) find(ctx context.Context, key string) ([]byte, error) {
	values, err := k.findMany(ctx, key)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// swap makes one compare-and-swap within storeWait.
func (k *Keeper) swap(ctx context.Context, key string, old []byte, next swap.Value) (bool, error) {
	if len(next.Bytes) > maxValue {
		return false, swap.Final(fmt.Errorf("%w: %d bytes", ErrTooLarge, len(next.Bytes)))
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if next.Bytes != nil && !k.now().Before(next.Expiry) {
		next.Bytes = nil // some stores keep an already expired value forever (M15)
	}
	swapped, err := k.store.SwapCtx(ctx, key, old, next.Bytes, next.Expiry)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return swapped, nil
}

// update changes the value under key by compare-and-swap.
func (k *Keeper) update(ctx context.Context, key string, p swap.Patience, change swap.Change) (changed bool, err error) {
	changed, err = swap.Update(ctx, valueCell{k, key}, p, change)
	if errors.Is(err, swap.ErrContended) {
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return changed, err
}

// valueCell is one value of the store.
type valueCell struct {
	k   *Keeper
	key string
}

func (c valueCell) Find(ctx context.Context) ([]byte, error) { return c.k.find(ctx, c.key) }

func (c valueCell) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	return c.k.swap(ctx, c.key, old, next)
}
