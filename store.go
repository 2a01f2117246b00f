package gatehouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"hash/maphash"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// Store keeps login records, marks and used states. It is the context-aware
// store of scs with two methods more, which make sessions safe on many
// replicas. Do not share it with an scs.SessionManager.
//
// Keys are 43 characters of base64url, values at most 60,000 opaque bytes that
// the store compares and never reads. A value past its expiry is absent; when
// the store really removes it is its own affair. All methods are safe for
// concurrent use, by several processes where the store is shared, and honour
// their context. An error means that the outcome is unknown.
//
// The package middlewaretest holds the contract as a test suite.
type Store interface {
	scs.CtxStore

	// SwapCtx replaces the value under key if it equals old. A nil old means
	// that the key must be absent, a nil new deletes. It reports whether the
	// stored value is now new: true as well when it was already, because a
	// client may repeat a command whose reply was lost.
	SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (swapped bool, err error)

	// FindManyCtx returns the values under keys in their order, nil where there
	// is none, in one round trip.
	FindManyCtx(ctx context.Context, keys []string) (values [][]byte, err error)
}

const (
	// maxValue is what every store takes: the TEXT and BLOB columns of SQL
	// databases end at 65,535 bytes.
	maxValue = 60_000
	// storeWait bounds one call to the store, so that a page answers 503 within
	// a second when the store hangs (FA6).
	storeWait = 900 * time.Millisecond
)

// storeKey is the key of value in a domain: SHA-256 of both, so that no key
// reveals a cookie's value and domains never meet (decision 2).
func storeKey(domain string, value ...string) string {
	sum := storeHash(domain, value...)
	var key [keySize]byte
	base64.RawURLEncoding.Encode(key[:], sum[:])
	return string(key[:])
}

// keySize is the size of a store key: SHA-256 in base64url.
const keySize = 43

func storeHash(domain string, value ...string) [sha256.Size]byte {
	in := make([]byte, 0, 192) // enough for what a request hashes, without the heap
	in = append(in, domain...)
	for _, v := range value {
		in = append(append(in, 0), v...)
	}
	return sha256.Sum256(in)
}

// NewMemoryStore returns a Store in the memory of this process, for one process
// and for tests: what it holds is gone when the process ends. A nil now means
// time.Now. It starts no goroutine; what has expired is removed while others
// write.
func NewMemoryStore(now func() time.Time) Store {
	s := &memoryStore{now: orNow(now), seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].items = map[string]memoryItem{}
	}
	return s
}

const (
	memoryShards = 16
	// memorySweep is how many writes to a shard pass between two sweeps at
	// least; a sweep costs time in proportion to the shard, so its cost is
	// spread over as many writes.
	memorySweep = 256
)

type memoryStore struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	mu     sync.RWMutex
	items  map[string]memoryItem
	writes int // since the last sweep
	kept   int // what the last sweep left
}

type memoryItem struct {
	value  []byte
	expiry time.Time
}

func (s *memoryStore) shard(key string) *memoryShard {
	return &s.shards[maphash.String(s.seed, key)%memoryShards]
}

// live returns the value under key; the caller holds the lock.
func (sh *memoryShard) live(key string, now time.Time) []byte {
	item, ok := sh.items[key]
	if !ok || !now.Before(item.expiry) {
		return nil
	}
	return item.value
}

// put stores or, with a nil value, deletes; the caller holds the write lock.
func (sh *memoryShard) put(key string, value []byte, expiry, now time.Time) {
	if value == nil || !now.Before(expiry) {
		delete(sh.items, key)
		return
	}
	sh.items[key] = memoryItem{bytes.Clone(value), expiry}
	sh.writes++
	if sh.writes < max(memorySweep, sh.kept) {
		return
	}
	for k, item := range sh.items {
		if !now.Before(item.expiry) {
			delete(sh.items, k)
		}
	}
	sh.writes, sh.kept = 0, len(sh.items)
}

func (s *memoryStore) FindCtx(_ context.Context, key string) ([]byte, bool, error) {
	sh := s.shard(key)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	b := sh.live(key, s.now())
	return bytes.Clone(b), b != nil, nil
}

func (s *memoryStore) FindManyCtx(_ context.Context, keys []string) ([][]byte, error) {
	values := s.view(keys)
	for i, v := range values {
		values[i] = bytes.Clone(v)
	}
	return values, nil
}

// view is FindManyCtx without the copies, for Sessions, which changes no value
// it has read. put stores a copy and nothing writes into it.
func (s *memoryStore) view(keys []string) [][]byte {
	values, now := make([][]byte, len(keys)), s.now()
	for i, key := range keys {
		sh := s.shard(key)
		sh.mu.RLock()
		values[i] = sh.live(key, now)
		sh.mu.RUnlock()
	}
	return values
}

func (s *memoryStore) CommitCtx(_ context.Context, key string, b []byte, expiry time.Time) error {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.put(key, b, expiry, s.now())
	return nil
}

func (s *memoryStore) DeleteCtx(_ context.Context, key string) error {
	return s.CommitCtx(context.Background(), key, nil, time.Time{})
}

func (s *memoryStore) SwapCtx(_ context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.now()
	current := sh.live(key, now)
	if same(current, new) {
		return true, nil
	}
	if !same(current, old) {
		return false, nil
	}
	sh.put(key, new, expiry, now)
	return true, nil
}

// same compares two values of a store, nil being absence.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// The methods without a context belong to scs.Store.
func (s *memoryStore) Find(key string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), key)
}

func (s *memoryStore) Commit(key string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, b, expiry)
}

func (s *memoryStore) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }

// SingleProcessStore makes a Store of any scs store for programs that run in
// one process only: compare-and-swap is done under a lock of this process.
// With a second process, or a second SingleProcessStore on the same data, a
// logout may be undone and a refresh token sent twice. A store without the
// methods of scs.CtxStore is called without a context, and a hanging one then
// hangs the request.
func SingleProcessStore(s scs.Store) Store {
	if s == nil {
		panic("gatehouse: SingleProcessStore needs a store")
	}
	return &singleProcess{Store: s, seed: maphash.MakeSeed()}
}

type singleProcess struct {
	scs.Store
	seed  maphash.Seed
	locks [64]sync.Mutex
}

// FindCtx and CommitCtx copy: memstore keeps and gives the slice itself.
func (s *singleProcess) FindCtx(ctx context.Context, key string) (b []byte, found bool, err error) {
	if c, ok := s.Store.(scs.CtxStore); ok {
		b, found, err = c.FindCtx(ctx, key)
	} else {
		b, found, err = s.Find(key)
	}
	return bytes.Clone(b), found, err
}

func (s *singleProcess) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	b = bytes.Clone(b)
	if c, ok := s.Store.(scs.CtxStore); ok {
		return c.CommitCtx(ctx, key, b, expiry)
	}
	return s.Commit(key, b, expiry)
}

func (s *singleProcess) DeleteCtx(ctx context.Context, key string) error {
	if c, ok := s.Store.(scs.CtxStore); ok {
		return c.DeleteCtx(ctx, key)
	}
	return s.Delete(key)
}

func (s *singleProcess) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		b, found, err := s.FindCtx(ctx, key)
		if err != nil {
			return nil, err
		}
		if found {
			values[i] = b
		}
	}
	return values, nil
}

func (s *singleProcess) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	lock := &s.locks[maphash.String(s.seed, key)%uint64(len(s.locks))]
	lock.Lock()
	defer lock.Unlock()
	current, found, err := s.FindCtx(ctx, key)
	if err != nil {
		return false, err
	}
	if !found {
		current = nil
	}
	switch {
	case same(current, new):
		return true, nil
	case !same(current, old):
		return false, nil
	case new == nil:
		err = s.DeleteCtx(ctx, key)
	default:
		err = s.CommitCtx(ctx, key, new, expiry)
	}
	return err == nil, err
}
