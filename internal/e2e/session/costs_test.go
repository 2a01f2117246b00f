package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// timedStore counts the writes to a store, with times from the injected clock.
type timedStore struct {
	gatehouse.Store
	now func() time.Time

	mu    sync.Mutex
	taken map[string][]time.Time // by key
	meet  int                    // this many reads are answered at once
	met   chan struct{}
}

// together makes the next n reads wait for one another, so that all read the
// same value.
func (s *timedStore) together(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meet, s.met = n, make(chan struct{})
}

func (s *timedStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	values, err := s.Store.FindManyCtx(ctx, keys)
	s.mu.Lock()
	met, wait := s.met, s.meet > 0
	if wait {
		if s.meet--; s.meet == 0 {
			close(met)
		}
	}
	s.mu.Unlock()
	if wait {
		<-met
	}
	return values, err
}

func (s *timedStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	swapped, err := s.Store.SwapCtx(ctx, key, old, new, expiry)
	if swapped {
		s.mu.Lock()
		s.taken[key] = append(s.taken[key], s.now())
		s.mu.Unlock()
	}
	return swapped, err
}

// There is at most one write to the store per session and tenth of the idle
// interval. The test covers three intervals, two replicas and two browsers,
// with requests one by one and many at once.
func TestSessionWritesOncePerTenth(t *testing.T) {
	const idle = 20 * time.Minute
	var store *timedStore
	s := world.NewSite(t, world.TwoReplicas, world.Limits(12*time.Hour, idle), func(o *world.SiteOptions) {
		o.Wrap = func(inner gatehouse.Store) gatehouse.Store {
			store = &timedStore{Store: inner, taken: map[string][]time.Time{}}
			return store
		}
	})
	store.now = s.Now
	s.SetTokenLifetime(24 * time.Hour)
	people := []*world.Visitor{s.Visitor("ana"), s.Visitor("ben")}
	keys := map[string]bool{}
	for _, b := range people {
		b.SignIn()
		keys[stories.RecordKey(t, s, b)] = true
	}
	begin := s.Now()
	const step = 7 * time.Second
	for i := 0; s.Now().Before(begin.Add(3 * idle)); i++ {
		for _, b := range people {
			if i%40 == 0 {
				s.Advance(idle / 10) // a write is due, and all requests see that
				store.together(24)
				for _, a := range b.Together(24, 2, "/notes/") {
					b.WantServed(a)
				}
				continue
			}
			b.WantServed(b.On(i % 2).Get("/notes/"))
		}
		s.Advance(step)
	}
	s.ShutdownAll()
	store.mu.Lock()
	defer store.mu.Unlock()
	for key := range keys {
		times := store.taken[key]
		if len(times) < 20 { // 30 tenths, less what the steps waste
			t.Errorf("%d writes of a session in constant use: the test no longer tests anything", len(times))
		}
		if times[0].Equal(begin) {
			times = times[1:] // its creation
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < idle/10 {
				t.Errorf("two writes of one session within %v, want at least %v apart", gap, idle/10)
			}
		}
	}
	for key, times := range store.taken {
		if !keys[key] && times[len(times)-1].After(begin) {
			t.Errorf("a request wrote to another key at %v", times[len(times)-1].Sub(begin))
		}
	}
}
