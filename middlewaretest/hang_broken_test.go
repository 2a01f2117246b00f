package middlewaretest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// sleepy hangs on request, and is broken in one way at a time. It stands for
// all three kinds of stores.
type sleepy struct {
	mu     sync.Mutex
	awake  chan struct{}
	broken bool // calls after a hang fail

	never, stubborn, leaks, staysDown bool
	forever                           chan struct{} // ends with the test
}

func newSleepy(t *testing.T) *sleepy {
	s := &sleepy{awake: make(chan struct{}), forever: make(chan struct{})}
	close(s.awake)
	t.Cleanup(func() { close(s.forever) })
	return s
}

func (s *sleepy) hang() (release func()) {
	if s.never {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	awake := make(chan struct{})
	s.awake = awake
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.broken = s.staysDown
		close(awake)
	})
}

// mend ends what a hang has broken.
func (s *sleepy) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = false
}

// wait is what each call does first.
func (s *sleepy) wait(ctx context.Context) error {
	s.mu.Lock()
	awake, broken := s.awake, s.broken
	s.mu.Unlock()
	if broken {
		return errors.New("connection pool exhausted")
	}
	select {
	case <-awake:
		return nil
	default:
	}
	if s.leaks {
		go func() { <-s.forever }()
	}
	if s.stubborn {
		<-s.forever
	}
	select {
	case <-awake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type sleepyStore struct {
	*sleepy
	*simple
}

func (s sleepyStore) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.wait(ctx); err != nil {
		return nil, false, err
	}
	return s.simple.FindCtx(ctx, key)
}

func (s sleepyStore) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.simple.FindManyCtx(ctx, keys)
}

func (s sleepyStore) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.simple.CommitCtx(ctx, key, b, expiry)
}

func (s sleepyStore) DeleteCtx(ctx context.Context, key string) error {
	return s.CommitCtx(ctx, key, nil, time.Time{})
}

func (s sleepyStore) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if err := s.wait(ctx); err != nil {
		return false, err
	}
	return s.simple.SwapCtx(ctx, key, old, new, expiry)
}

type sleepyGrants struct {
	*sleepy
	*simpleGrants
}

func (s sleepyGrants) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.simpleGrants.Grant(ctx, issuer, owner)
}

func (s sleepyGrants) SwapGrant(ctx context.Context, issuer, owner string, old, new []byte) (bool, error) {
	if err := s.wait(ctx); err != nil {
		return false, err
	}
	return s.simpleGrants.SwapGrant(ctx, issuer, owner, old, new)
}

type sleepyIDs struct {
	*sleepy
	*simpleIDs
}

func (s sleepyIDs) ID(ctx context.Context, issuer, owner, name string) (string, error) {
	if err := s.wait(ctx); err != nil {
		return "", err
	}
	return s.simpleIDs.ID(ctx, issuer, owner, name)
}

func (s sleepyIDs) PutIfAbsent(ctx context.Context, issuer, owner, name, id string) (string, error) {
	if err := s.wait(ctx); err != nil {
		return "", err
	}
	return s.simpleIDs.PutIfAbsent(ctx, issuer, owner, name, id)
}

func (s sleepyIDs) Drop(ctx context.Context, issuer, owner, name, id string) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.simpleIDs.Drop(ctx, issuer, owner, name, id)
}

// hangParts runs the part "hang" of each suite over stores that hang like s.
func hangParts(ctx context.Context, s *sleepy, options ...StoreOption) map[string]error {
	store := newSimple()
	options = append(options, StoreClock(store.clock.Now, nil))
	errs := map[string]error{}
	for suite, run := range map[string]func() error{
		"Store": func() error { return hangCase(ctx, newStoreRun(sleepyStore{s, store}, options...)) },
		"GrantStore": func() error {
			return partOf(grantParts(), "hang").run(ctx, &grantRun{sleepyGrants{s, newSimpleGrants()}, newSuite(options...)})
		},
		"ResourceIDs": func() error {
			return partOf(idsParts(), "hang").run(ctx, &idsRun{sleepyIDs{s, newSimpleIDs()}, newSuite(options...)})
		},
	} {
		errs[suite] = run()
		s.mend()
	}
	return errs
}

// TestHangIsSeen breaks a store that can hang in one way at a time. No suite
// passes without a word about hanging.
func TestHangIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*sleepy)
		want  string // in the error; "" for none
	}{
		"good":                           {func(*sleepy) {}, ""},
		"it does not hang":               {func(s *sleepy) { s.never = true }, "succeeds although the store hangs"},
		"it ignores its context":         {func(s *sleepy) { s.stubborn = true }, "goes on"},
		"it does not come back":          {func(s *sleepy) { s.staysDown = true }, "does not work within 1s"},
		"each call leaves a goroutine":   {func(s *sleepy) { s.leaks = true }, "goroutines of calls that were given up are left"},
		"nobody says how":                {nil, "use StoreHang, or StoreCannotHang with a reason"},
		"it can and it cannot":           {nil, "contradict"},
		"somebody says why it does not":  {nil, ""},
		"somebody says so without a why": {nil, "with a reason"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSleepy(t)
			options := map[string][]StoreOption{
				"nobody says how": nil, "it can and it cannot": {StoreHang(s.hang), inMemory},
				"somebody says why it does not": {inMemory}, "somebody says so without a why": {StoreCannotHang("")},
			}[name]
			if c.spoil != nil {
				c.spoil(s)
				options = []StoreOption{StoreHang(s.hang)}
			}
			if c.want != "" {
				options = append(options, hasty)
			}
			for suite, err := range hangParts(t.Context(), s, options...) {
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", suite, err, c.want)
				}
			}
		})
	}
}

// hasty is for stores that are broken: they are no better in a second attempt.
func hasty(s *suite) { s.settle, s.attempts = hungLife, 1 }

// TestCancelledContextIsSeen tries stores that ignore a context that has ended.
func TestCancelledContextIsSeen(t *testing.T) {
	t.Parallel()
	store, grants, ids := newSimple(), newSimpleGrants(), newSimpleIDs()
	store.stuck, grants.stuck, ids.stuck = make(chan struct{}), make(chan struct{}), make(chan struct{})
	for i, err := range atOnce(
		func() error { return cancelledCase(t.Context(), newStoreRun(store, hasty)) },
		func() error {
			return partOf(grantParts(), "cancelled context").run(t.Context(), &grantRun{grants, newSuite(hasty)})
		},
		func() error {
			return partOf(idsParts(), "cancelled context").run(t.Context(), &idsRun{ids, newSuite(hasty)})
		},
	) {
		if err == nil || !strings.Contains(err.Error(), "goes on") {
			t.Errorf("store %d ignores its context: %v", i, err)
		}
	}
	close(store.stuck) // releases the calls that nobody waits for any longer
	close(grants.stuck)
	close(ids.stuck)
}

var (
	_ gatehouse.Store       = sleepyStore{}
	_ gatehouse.GrantStore  = sleepyGrants{}
	_ gatehouse.ResourceIDs = sleepyIDs{}
)
