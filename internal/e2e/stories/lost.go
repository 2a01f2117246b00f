package stories

import (
	"context"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// LostStore: the store loses everything, as a failover to an empty replica
// does. People sign in once more, without a loop. A sign-in under way comes to
// its end. Without Keys the key of sign-ins is lost too; processes that knew it
// go on.
func LostStore(t *testing.T, on On) {
	for name, keys := range map[string]On{"with keys": Keys("one"), "without keys": InMemory} {
		t.Run(name, func(t *testing.T) {
			var side *switching
			s := world.NewSite(t, on, world.TwoReplicas, keys, func(o *world.SiteOptions) {
				o.Wrap = func(store gatehouse.Store) gatehouse.Store {
					side = &switching{Store: store}
					return side
				}
			})
			ana, ben := s.Visitor("ana"), s.Visitor("ben")
			ana.SignIn()
			ben.On(world.ReplicaB).SignIn() // both processes know the key
			ben = s.Visitor("ben")
			callback := ben.ToCallback("/notes/")
			side.lose(emptyStore(s, on))
			for at := range 2 {
				ana.WantOut(ana.On(at).Get("/notes/"))
			}
			s.ResetCounts()
			ana.SignIn()
			if n := s.Count(opserver.EndpointAuthorize); n != 1 {
				t.Errorf("%d authorization requests, want 1", n)
			}
			ben.WantServed(ben.On(world.ReplicaB).Visit(callback))
			for at := range 2 {
				ana.WantServed(ana.On(at).Get("/notes/"))
				ben.WantServed(ben.On(at).Get("/notes/"))
			}
			// A process that starts now signs people in as well.
			s.AddReplica(s.Options)
			other := s.Visitor("ana").On(2)
			other.SignIn()
			other.WantServed(other.On(world.ReplicaA).Get("/notes/"))
			for _, code := range s.EventsOf(gatehouse.EventRefusal) {
				if code != gatehouse.CodeLoginRequired {
					t.Errorf("a refusal with %s", code)
				}
			}
		})
	}
}

// emptyStore opens another empty place of the same kind.
func emptyStore(s *world.Site, on On) gatehouse.Store {
	var o world.SiteOptions
	on(&o)
	if o.Open == nil {
		return gatehouse.NewMemoryStore(s.Now)
	}
	return o.Open(s.T)()
}

// switching is a store that can lose everything.
type switching struct {
	gatehouse.Store
	mu    sync.Mutex
	empty gatehouse.Store
}

func (s *switching) lose(empty gatehouse.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty = empty
}

func (s *switching) now() gatehouse.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty != nil {
		return s.empty
	}
	return s.Store
}

func (s *switching) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	return s.now().FindCtx(ctx, key)
}

func (s *switching) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	return s.now().FindManyCtx(ctx, keys)
}

func (s *switching) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	return s.now().CommitCtx(ctx, key, b, expiry)
}

func (s *switching) DeleteCtx(ctx context.Context, key string) error {
	return s.now().DeleteCtx(ctx, key)
}

func (s *switching) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	return s.now().SwapCtx(ctx, key, old, new, expiry)
}
