package memstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"example.com/gatehouse/internal/swap"
)

const (
	// shards is the number of locks of a Store.
	shards = 16
	// sweepAfter is the least number of writes to a shard between two sweeps. A
	// sweep takes time in proportion to the shard, so its cost is spread over
	// as many writes.
	sweepAfter = 256
)

// Store keeps values until they expire. It has the methods of gatehouse.Store
// and is safe for concurrent use. It starts no goroutine: writes remove what
// has expired.
type Store struct {
	now    func() time.Time
	shards [shards]shard
}

type shard struct {
	mu     sync.RWMutex
	items  map[string]item
	writes int // since the last sweep
	kept   int // what the last sweep left
}

type item struct {
	value  []byte // never modified
	expiry time.Time
}

// NewStore makes an empty Store that uses the given clock.
func NewStore(now func() time.Time) *Store {
	s := &Store{now: now}
	for i := range s.shards {
		s.shards[i].items = map[string]item{}
	}
	return s
}

func (s *Store) shard(key string) *shard { return &s.shards[shardOf(key)] }

// shardOf returns the number of the shard of a key. Keys are base64url of hashes,
// so their characters spread them; the last one has fewer bits than the others.
func shardOf[T string | []byte](key T) int {
	if len(key) < 2 {
		return 0
	}
	return int(key[len(key)-2]) % shards
}

// live returns the value under key. The caller holds the lock.
func (sh *shard) live(key string, now time.Time) []byte {
	it, ok := sh.items[key]
	if !ok || !now.Before(it.expiry) {
		return nil
	}
	return it.value
}

// put stores a value, or deletes it if the value is nil. The caller holds the
// write lock.
func (sh *shard) put(key string, value []byte, expiry, now time.Time) {
	if value == nil || !now.Before(expiry) {
		delete(sh.items, key)
		return
	}
	sh.items[key] = item{bytes.Clone(value), expiry}
	sh.writes++
	if sh.writes < max(sweepAfter, sh.kept) {
		return
	}
	for k, it := range sh.items {
		if !now.Before(it.expiry) {
			delete(sh.items, k)
		}
	}
	sh.writes, sh.kept = 0, len(sh.items)
}

// keySize is the size of the keys that View takes.
const keySize = 43

// View returns the values under three keys that have not expired at a time,
// without a copy. Callers must not change them.
func (s *Store) View(keys [3][keySize]byte, now time.Time) (values [3][]byte) {
	for i := range keys {
		key := keys[i][:]
		sh := &s.shards[shardOf(key)]
		sh.mu.RLock()
		it, ok := sh.items[string(key)]
		sh.mu.RUnlock()
		if ok && now.Before(it.expiry) {
			values[i] = it.value
		}
	}
	return values
}

func (s *Store) find(key string, now time.Time) []byte {
	sh := s.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.live(key, now)
}

// FindManyCtx returns copies of the values under keys.
func (s *Store) FindManyCtx(_ context.Context, keys []string) ([][]byte, error) {
	values, now := make([][]byte, len(keys)), s.now()
	for i, key := range keys {
		values[i] = bytes.Clone(s.find(key, now))
	}
	return values, nil
}

// FindCtx returns a copy of the value under key.
func (s *Store) FindCtx(_ context.Context, key string) (value []byte, found bool, err error) {
	v := s.find(key, s.now())
	return bytes.Clone(v), v != nil, nil
}

// CommitCtx stores a value, replacing any other.
func (s *Store) CommitCtx(_ context.Context, key string, value []byte, expiry time.Time) error {
	now, sh := s.now(), s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.put(key, value, expiry, now)
	return nil
}

// DeleteCtx removes a value.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	return s.CommitCtx(ctx, key, nil, time.Time{})
}

// SwapCtx replaces the value if it equals old.
func (s *Store) SwapCtx(_ context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	now, sh := s.now(), s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	current := sh.live(key, now)
	if swap.Same(current, new) {
		return true, nil
	}
	if !swap.Same(current, old) {
		return false, nil
	}
	sh.put(key, new, expiry, now)
	return true, nil
}

// Find, Commit and Delete are the methods of scs.Store, without a context.

// Find is FindCtx without a context.
func (s *Store) Find(key string) ([]byte, bool, error) { return s.FindCtx(context.Background(), key) }

// Commit is CommitCtx without a context.
func (s *Store) Commit(key string, value []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, value, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }
