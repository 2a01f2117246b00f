package gatehouse_test

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// watchedStore counts what a store is asked, can fail or hang, and lets a test
// act between a read and a write.
type watchedStore struct {
	gatehouse.Store

	mu     sync.Mutex
	keys   map[string]time.Time // written and not deleted, with their expiry
	reads  int
	writes int
	err    error
	hang   bool
	before func(op, key string) // runs before the call, outside the lock
}

// watched puts a watchedStore before the store of a site.
func watched(o *siteOptions) {
	o.wrap = func(s gatehouse.Store) gatehouse.Store {
		return &watchedStore{Store: s, keys: map[string]time.Time{}}
	}
}

func twoReplicas(o *siteOptions) { o.replicas = 2 }

func (s *site) watched() *watchedStore {
	store, ok := s.store.(*watchedStore)
	if !ok {
		s.t.Fatal("the store of this site is not watched")
	}
	return store
}

// raceEnabled tells tests that count in millions to count less.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func (s *watchedStore) enter(ctx context.Context, op, key string) error {
	s.mu.Lock()
	err, hang, before := s.err, s.hang, s.before
	if op == "swap" {
		s.writes++
	} else {
		s.reads++
	}
	s.mu.Unlock()
	if before != nil {
		before(op, key)
	}
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (s *watchedStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.enter(ctx, "find", keys[0]); err != nil {
		return nil, err
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *watchedStore) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.enter(ctx, "find", key); err != nil {
		return nil, false, err
	}
	return s.Store.FindCtx(ctx, key)
}

func (s *watchedStore) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	if err := s.enter(ctx, "swap", key); err != nil {
		return err
	}
	s.note(key, b, expiry)
	return s.Store.CommitCtx(ctx, key, b, expiry)
}

func (s *watchedStore) DeleteCtx(ctx context.Context, key string) error {
	if err := s.enter(ctx, "swap", key); err != nil {
		return err
	}
	s.note(key, nil, time.Time{})
	return s.Store.DeleteCtx(ctx, key)
}

func (s *watchedStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if err := s.enter(ctx, "swap", key); err != nil {
		return false, err
	}
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if swapped {
		s.note(key, new, expiry)
	}
	return swapped, err
}

func (s *watchedStore) note(key string, value []byte, expiry time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.keys, key)
		return
	}
	s.keys[key] = expiry
}

// all returns the keys that the store may hold.
func (s *watchedStore) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for k := range s.keys {
		list = append(list, k)
	}
	return list
}

// counts returns reads and writes since the last call.
func (s *watchedStore) counts() (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads, writes = s.reads, s.writes
	s.reads, s.writes = 0, 0
	return reads, writes
}

func (s *watchedStore) fail(err error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.hang = err, hang
}

func (s *watchedStore) between(f func(op, key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// deafWriter takes an answer and keeps nothing but the status.
type deafWriter struct {
	header http.Header
	status int
}

func (w *deafWriter) Header() http.Header         { return w.header }
func (w *deafWriter) WriteHeader(status int)      { w.status = status }
func (w *deafWriter) Write(b []byte) (int, error) { return len(b), nil }

// One million sign-ins that nobody finishes leave the key record and nothing
// else, in the store and in memory (RL1).
func TestRL1_LoginFlood(t *testing.T) {
	starts := 1_000_000
	if raceEnabled() {
		starts = 20_000 // under the race detector a million takes minutes
	}
	s := newSite(t, watched)
	store := s.watched()
	login := s.replicas[0].login.LoginHandler()
	template := s.visitor("ana").request(http.MethodGet, "/auth/login?return_to=/notes/7", nil, navigation...)
	flood := func(n int) {
		var all sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		for range workers {
			all.Go(func() {
				w := &deafWriter{header: http.Header{}}
				for range n / workers {
					clear(w.header)
					login.ServeHTTP(w, template)
					if w.status != http.StatusSeeOther {
						t.Errorf("status %d", w.status)
						return
					}
				}
			})
		}
		all.Wait()
	}
	flood(1000)
	before := heap()
	flood(starts)
	if keys := store.all(); len(keys) != 1 {
		t.Errorf("%d keys in the store after %d starts, want the one of the key record", len(keys), starts)
	}
	if _, writes := store.counts(); writes != 1 {
		t.Errorf("%d writes to the store, want 1", writes)
	}
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	s.visitor("ana").signIn() // and one who means it still gets in
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The key in the store outlives every session by far.
func TestLoginKeyRecord(t *testing.T) {
	s := newSite(t, watched, twoReplicas)
	store := s.watched()
	s.visitor("ana").get("/notes/")
	keys := store.all()
	if len(keys) != 1 || len(keys[0]) != 43 {
		t.Fatalf("keys %q, want one of 43 characters", keys)
	}
	if left := store.keys[keys[0]].Sub(s.Now()); left < 9*365*24*time.Hour {
		t.Errorf("the key record expires in %v", left)
	}
	ana := s.visitor("ana")
	callback := ana.toCallback("/notes/")
	ana.at = 1 // the other replica opens what the first has sealed
	ana.wantServed(ana.visit(callback))
}
