package middlewaretest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

func TestStoreInMemory(t *testing.T) {
	clock := middlewaretest.NewServer(t).Clock()
	middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return gatehouse.NewMemoryStore(clock.Now) },
		middlewaretest.StoreClock(clock.Now, clock.Advance), middlewaretest.StoreCannotHang("it is a map"))
}

// TestStoreOfSCS runs in real time, because the store of scs has no other
// clock.
func TestStoreOfSCS(t *testing.T) {
	t.Parallel()
	middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store {
		return gatehouse.SingleProcessStore(memstore.NewWithCleanupInterval(0))
	}, middlewaretest.StoreCannotHang("it is a map"))
}

// sleeper is a store that hangs on request, like one behind a network.
type sleeper struct {
	gatehouse.Store
	mu    sync.Mutex
	awake chan struct{}
}

func newSleeper(store gatehouse.Store) *sleeper {
	s := &sleeper{Store: store, awake: make(chan struct{})}
	close(s.awake)
	return s
}

func (s *sleeper) hang() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	awake := make(chan struct{})
	s.awake = awake
	return sync.OnceFunc(func() { close(awake) })
}

func (s *sleeper) wait(ctx context.Context) error {
	s.mu.Lock()
	awake := s.awake
	s.mu.Unlock()
	select {
	case <-awake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sleeper) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.wait(ctx); err != nil {
		return nil, false, err
	}
	return s.Store.FindCtx(ctx, key)
}

func (s *sleeper) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *sleeper) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Store.CommitCtx(ctx, key, b, expiry)
}

func (s *sleeper) DeleteCtx(ctx context.Context, key string) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Store.DeleteCtx(ctx, key)
}

func (s *sleeper) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if err := s.wait(ctx); err != nil {
		return false, err
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

func TestStoreThatCanHang(t *testing.T) {
	clock := middlewaretest.NewServer(t).Clock()
	s := newSleeper(gatehouse.NewMemoryStore(clock.Now))
	middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return s },
		middlewaretest.StoreClock(clock.Now, clock.Advance), middlewaretest.StoreHang(s.hang))
}
