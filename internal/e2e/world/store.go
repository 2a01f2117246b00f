package world

import (
	"context"
	"maps"
	"sync"
	"time"

	"example.com/gatehouse"
)

// WatchedStore counts the calls to a store, can fail or hang, and lets a test
// act between a read and a write.
type WatchedStore struct {
	gatehouse.Store

	mu        sync.Mutex
	keys      map[string]time.Time // written and not deleted, with their expiry
	reads     int
	writes    int
	err       error
	hang      bool
	readsWork bool                 // work while the rest fails or hangs
	before    func(op, key string) // runs before the call, outside the lock
}

// Watched puts a WatchedStore in front of the store of a site.
func Watched(o *SiteOptions) {
	o.Wrap = func(s gatehouse.Store) gatehouse.Store { return Watch(s) }
}

// Watch puts a WatchedStore in front of a store.
func Watch(s gatehouse.Store) *WatchedStore {
	return &WatchedStore{Store: s, keys: map[string]time.Time{}}
}

// Watched is the watched store of the site.
func (s *Site) Watched() *WatchedStore {
	store, ok := s.Store.(*WatchedStore)
	if !ok {
		s.T.Fatal("the store of this site is not watched")
	}
	return store
}

// Keys returns what was written and not deleted, with the expiry.
func (s *WatchedStore) Keys() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.keys)
}

func (s *WatchedStore) enter(ctx context.Context, op, key string) error {
	s.mu.Lock()
	err, hang, readsWork, before := s.err, s.hang, s.readsWork, s.before
	if op == "swap" {
		s.writes++
	} else {
		s.reads++
	}
	s.mu.Unlock()
	if before != nil {
		before(op, key)
	}
	if readsWork && op != "swap" {
		return nil
	}
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (s *WatchedStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.enter(ctx, "find", keys[0]); err != nil {
		return nil, err
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *WatchedStore) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.enter(ctx, "find", key); err != nil {
		return nil, false, err
	}
	return s.Store.FindCtx(ctx, key)
}

func (s *WatchedStore) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	if err := s.enter(ctx, "swap", key); err != nil {
		return err
	}
	s.note(key, b, expiry)
	return s.Store.CommitCtx(ctx, key, b, expiry)
}

func (s *WatchedStore) DeleteCtx(ctx context.Context, key string) error {
	if err := s.enter(ctx, "swap", key); err != nil {
		return err
	}
	s.note(key, nil, time.Time{})
	return s.Store.DeleteCtx(ctx, key)
}

func (s *WatchedStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if err := s.enter(ctx, "swap", key); err != nil {
		return false, err
	}
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if swapped {
		s.note(key, new, expiry)
	}
	return swapped, err
}

func (s *WatchedStore) note(key string, value []byte, expiry time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.keys, key)
		return
	}
	s.keys[key] = expiry
}

// All returns the keys that the store may hold.
func (s *WatchedStore) All() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for k := range s.keys {
		list = append(list, k)
	}
	return list
}

// Counts returns the reads and writes since the last call.
func (s *WatchedStore) Counts() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads, writes = s.reads, s.writes
	s.reads, s.writes = 0, 0
	return reads, writes
}

// Writes counts writes since the last call of Counts.
func (s *WatchedStore) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// Fail makes every call fail, or hang until its context ends. Nil and false end
// that.
func (s *WatchedStore) Fail(err error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.hang, s.readsWork = err, hang, false
}

// FailWrites is Fail for writes alone.
func (s *WatchedStore) FailWrites(err error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.hang, s.readsWork = err, hang, true
}

// Between runs f before every call: "find" or "swap", with the key.
func (s *WatchedStore) Between(f func(op, key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}
