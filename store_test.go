package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// storeClock is a clock that only the test moves.
type storeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *storeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *storeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stores are the stores that this package provides.
func stores() map[string]gatehouse.Store {
	return map[string]gatehouse.Store{
		"memory":                 gatehouse.NewMemoryStore(nil),
		"single process":         gatehouse.SingleProcessStore(memstore.NewWithCleanupInterval(0)), // does not implement scs.CtxStore
		"single process, by ctx": gatehouse.SingleProcessStore(gatehouse.NewMemoryStore(nil)),
	}
}

// The contract of Store.SwapCtx.
func TestStoreSwap(t *testing.T) {
	a, b, c := []byte("a"), []byte("b"), []byte("c")
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			ctx, expiry := context.Background(), time.Now().Add(time.Hour)
			for i, step := range []struct {
				old, new []byte
				swapped  bool
				then     []byte
			}{
				{a, b, false, nil},  // absent is not the same as a
				{a, nil, true, nil}, // already absent
				{nil, nil, true, nil},
				{nil, a, true, a},
				{nil, b, false, a},
				{nil, a, true, a}, // repeated after a lost reply (M21)
				{a, b, true, b},
				{a, b, true, b}, // the same
				{a, c, false, b},
				{c, a, false, b},
				{b, b, true, b},
				{c, nil, false, b},
				{b, nil, true, nil},
				{b, nil, true, nil},
				{nil, []byte{}, true, []byte{}}, // empty is not the same as absent
				{nil, a, false, []byte{}},
				{[]byte{}, a, true, a},
			} {
				swapped, err := s.SwapCtx(ctx, "key", step.old, step.new, expiry)
				if err != nil || swapped != step.swapped {
					t.Fatalf("step %d: %q to %q gave %v, %v", i, step.old, step.new, swapped, err)
				}
				value, found, err := s.FindCtx(ctx, "key")
				if err != nil || found != (step.then != nil) || !bytes.Equal(value, step.then) {
					t.Fatalf("step %d: %q is stored (%v), want %q", i, value, found, step.then)
				}
			}
		})
	}
}

func TestStoreFindMany(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			ctx, expiry := context.Background(), time.Now().Add(time.Hour)
			for _, k := range []string{"a", "b"} {
				if err := s.CommitCtx(ctx, k, []byte(k), expiry); err != nil {
					t.Fatal(err)
				}
			}
			values, err := s.FindManyCtx(ctx, []string{"x", "b", "a", "b", "y"})
			if err != nil || len(values) != 5 || values[0] != nil || string(values[1]) != "b" || string(values[2]) != "a" || string(values[3]) != "b" || values[4] != nil {
				t.Errorf("values %q, err %v", values, err)
			}
			if values, err = s.FindManyCtx(ctx, nil); err != nil || len(values) != 0 {
				t.Errorf("no keys: %q, %v", values, err)
			}
			if err := s.DeleteCtx(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteCtx(ctx, "a"); err != nil {
				t.Errorf("deleting what is gone: %v", err)
			}
			if values, err = s.FindManyCtx(ctx, []string{"a"}); err != nil || values[0] != nil {
				t.Errorf("deleted: %q, %v", values, err)
			}
		})
	}
}

// The store keeps its own copy of the caller's bytes.
func TestStoreCopies(t *testing.T) {
	s, ctx := gatehouse.NewMemoryStore(nil), context.Background()
	value := []byte("value")
	if ok, err := s.SwapCtx(ctx, "k", nil, value, time.Now().Add(time.Hour)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	value[0] = 'X'
	got, _, _ := s.FindCtx(ctx, "k")
	got[1] = 'X'
	if many, _ := s.FindManyCtx(ctx, []string{"k"}); string(many[0]) != "value" {
		t.Errorf("stored %q", many[0])
	}
}

// With many concurrent writers, each increment by compare-and-swap counts
// exactly once.
func TestStoreParallelSwaps(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			ctx, expiry := context.Background(), time.Now().Add(time.Hour)
			const writers, each = 8, 50
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for i := range each {
						for {
							old, _, err := s.FindCtx(ctx, "counter")
							if err != nil {
								t.Error(err)
								return
							}
							// a fresh write id beside the count, as every value has
							next := fmt.Appendf(nil, "%d-%d", w, i)
							var n uint64
							if len(old) >= 8 {
								n = binary.BigEndian.Uint64(old)
							} else {
								old = nil
							}
							next = append(binary.BigEndian.AppendUint64(nil, n+1), next...)
							swapped, err := s.SwapCtx(ctx, "counter", old, next, expiry)
							if err != nil {
								t.Error(err)
								return
							}
							if swapped {
								break
							}
						}
					}
				})
			}
			all.Wait()
			value, _, _ := s.FindCtx(ctx, "counter")
			if n := binary.BigEndian.Uint64(value); n != writers*each {
				t.Errorf("counted %d, want %d", n, writers*each)
			}
		})
	}
}

// If many create the same key, exactly one succeeds.
func TestStoreParallelCreates(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			won := make(chan int, 32)
			for i := range 32 {
				all.Go(func() {
					if ok, err := s.SwapCtx(context.Background(), "k", nil, fmt.Appendf(nil, "value of %d", i), time.Now().Add(time.Hour)); ok && err == nil {
						won <- i
					}
				})
			}
			all.Wait()
			if len(won) != 1 {
				t.Errorf("%d won", len(won))
			}
		})
	}
}

// After its expiry a value is absent for every method, by the injected clock.
func TestMemoryStoreExpiry(t *testing.T) {
	clock := &storeClock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	s, ctx := gatehouse.NewMemoryStore(clock.Now), context.Background()
	put := func(key string, life time.Duration) {
		if err := s.CommitCtx(ctx, key, []byte("v"), clock.Now().Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	put("k", time.Minute)
	put("dead", 0) // must not be stored forever (M15)
	put("long dead", -time.Hour)
	for _, k := range []string{"dead", "long dead"} {
		if _, found, _ := s.FindCtx(ctx, k); found {
			t.Errorf("%s is found", k)
		}
	}
	clock.advance(time.Minute - time.Nanosecond)
	if _, found, _ := s.FindCtx(ctx, "k"); !found {
		t.Fatal("gone too early")
	}
	clock.advance(time.Nanosecond)
	if _, found, _ := s.FindCtx(ctx, "k"); found {
		t.Error("found after its expiry")
	}
	if values, _ := s.FindManyCtx(ctx, []string{"k"}); values[0] != nil {
		t.Error("found after its expiry by FindManyCtx")
	}
	if ok, _ := s.SwapCtx(ctx, "k", []byte("v"), []byte("w"), clock.Now().Add(time.Hour)); ok {
		t.Error("swapped after its expiry")
	}
	if ok, _ := s.SwapCtx(ctx, "k", nil, []byte("w"), clock.Now().Add(time.Hour)); !ok {
		t.Error("not created after the expiry of the one before")
	}
}

// failingStore is an scs store whose calls fail.
type failingStore struct{ scs.CtxStore }

func (failingStore) FindCtx(context.Context, string) ([]byte, bool, error) {
	return nil, false, errors.New("away")
}

func TestSingleProcessStoreErrors(t *testing.T) {
	s := gatehouse.SingleProcessStore(failingStore{gatehouse.NewMemoryStore(nil)})
	if ok, err := s.SwapCtx(context.Background(), "k", nil, []byte("v"), time.Now().Add(time.Hour)); ok || err == nil {
		t.Errorf("swap gave %v, %v", ok, err)
	}
	if _, err := s.FindManyCtx(context.Background(), []string{"k"}); err == nil {
		t.Error("no error")
	}
	defer func() {
		if recover() == nil {
			t.Error("SingleProcessStore(nil) does not panic")
		}
	}()
	gatehouse.SingleProcessStore(nil)
}

// The whole life of a session on a plain scs store: sign-in, refresh,
// sign-out. It runs in a synctest bubble, because the stores of scs use
// time.Now.
func TestSingleProcessStoreSession(t *testing.T) { synctest.Test(t, testSingleProcessStoreSession) }

func testSingleProcessStoreSession(t *testing.T) {
	s, seen := world.WithTokens(t, func(o *world.SiteOptions) {
		o.Store = gatehouse.SingleProcessStore(memstore.NewWithCleanupInterval(0))
	})
	s.Advance(time.Since(s.Now()))
	ana := s.Visitor("ana")
	cookie := ana.SignIn()
	name := ana.SessionName()
	s.Advance(world.Past)
	for _, a := range ana.Together(20, 2, "/token") {
		ana.WantServed(a)
	}
	seen.Take()
	if got := s.Refreshes(); got != 1 {
		t.Errorf("%d refreshes", got)
	}
	ana.Post("/auth/logout", nil)
	thief := s.Visitor("ana")
	thief.SetCookie(name, cookie)
	thief.WantOut(thief.On(world.ReplicaB).Get("/notes/"))
}
