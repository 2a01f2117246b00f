package middlewaretest

import (
	"bytes"
	"context"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"
)

// careless is a store whose single calls are right, one after another in one
// process of one time zone. Each field is what it does not take care of.
type careless struct {
	*simple

	deletesLater  bool // a swap that deletes compares first, and deletes in a step of its own
	boundToCaller bool // a value goes when the context of its writer ends
	writesAll     bool // each write replaces all that is kept; there is a lock for each key
	swallows      bool // what could not be read of many counts as absent
	wallClock     bool // an expiry is what a clock shows, wherever that clock is
	oldTimers     bool // a value goes when an earlier one under its key would have
	oneBuffer     bool // what was read lies where the next read puts its value
	sortsKeys     bool // in the caller's slice
	skipsMiddle   bool // long values are compared at their ends

	locks  [8]sync.Mutex
	timers map[string]time.Time // guarded by the store's lock
	buffer []byte
}

func (s *careless) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	s.expire(key)
	b, found, err := s.simple.FindCtx(ctx, key)
	if s.oneBuffer && found {
		s.buffer = append(s.buffer[:0], b...)
		b = s.buffer
	}
	return b, found, err
}

func (s *careless) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	for _, key := range keys {
		s.expire(key)
	}
	values, err := s.simple.FindManyCtx(ctx, keys)
	switch {
	case s.swallows && ctx.Err() != nil:
		clear(values)
	case s.sortsKeys && len(keys) > 1:
		keys[0], keys[1] = keys[1], keys[0]
	}
	return values, err
}

func (s *careless) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	expiry = s.time(key, b, expiry)
	err := s.simple.CommitCtx(ctx, key, b, expiry)
	s.bind(ctx, key, b)
	return err
}

func (s *careless) DeleteCtx(ctx context.Context, key string) error {
	return s.simple.DeleteCtx(ctx, key)
}

func (s *careless) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	expiry = s.time(key, new, expiry)
	swapped, err := s.swap(ctx, key, old, new, expiry)
	if swapped {
		s.bind(ctx, key, new)
	}
	return swapped, err
}

func (s *careless) swap(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if now, _, _ := s.simple.FindCtx(ctx, key); s.skipsMiddle && len(now) > 64 && len(now) == len(old) &&
		bytes.Equal(now[:32], old[:32]) && bytes.Equal(now[len(now)-32:], old[len(now)-32:]) {
		old = now
	}
	switch {
	case s.deletesLater && new == nil:
		s.lock()
		defer s.mu.Unlock()
		if now := s.get(key); now == nil || old == nil || string(now) != string(old) {
			return now == nil, nil
		}
		s.others(&s.mu)
		s.put(key, nil, expiry)
		return true, nil
	case s.writesAll:
		lock := &s.locks[key[0]%8]
		lock.Lock()
		defer lock.Unlock()
		s.lock()
		all := newSimple()
		all.clock, all.items = s.clock, maps.Clone(s.items)
		s.others(&s.mu)
		s.mu.Unlock()
		swapped, err := all.SwapCtx(ctx, key, old, new, expiry)
		s.lock()
		s.items = all.items
		s.mu.Unlock()
		return swapped, err
	}
	return s.simple.SwapCtx(ctx, key, old, new, expiry)
}

// bind deletes a value with the context of its writer.
func (s *careless) bind(ctx context.Context, key string, value []byte) {
	if !s.boundToCaller || value == nil {
		return
	}
	context.AfterFunc(ctx, func() {
		_, _ = s.simple.SwapCtx(context.Background(), key, value, nil, time.Time{})
	})
	runtime.Gosched()
}

// time is what the store takes for the expiry.
func (s *careless) time(key string, value []byte, expiry time.Time) time.Time {
	if year := expiry.Year(); s.wallClock && 0 < year && year < 9999 {
		y, m, d := expiry.Date()
		expiry = time.Date(y, m, d, expiry.Hour(), expiry.Minute(), expiry.Second(), expiry.Nanosecond(), s.clock.Now().Location())
	}
	if s.oldTimers && value != nil {
		s.lock()
		defer s.mu.Unlock()
		if s.get(key) == nil && s.timers[key].IsZero() { // writing over a value sets the timer anew, deleting it does not
			s.timers[key] = expiry
		} else if s.get(key) != nil {
			s.timers[key] = expiry
		}
	}
	return expiry
}

// expire deletes what an old timer says.
func (s *careless) expire(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.timers[key]; s.oldTimers && !at.IsZero() && !s.clock.Now().Before(at) {
		delete(s.items, key)
		delete(s.timers, key)
	}
}

// TestTheSuiteFailsCarelessStores: what a store does in one call is not all.
func TestTheSuiteFailsCarelessStores(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*careless)
		fails string // at least these parts fail
	}{
		"good":                                    {func(*careless) {}, ""},
		"a swap that deletes is not atomic":       {func(s *careless) { s.deletesLater = true }, "one ends"},
		"a value goes with its writer":            {func(s *careless) { s.boundToCaller = true }, "the caller leaves"},
		"a write replaces all":                    {func(s *careless) { s.writesAll = true }, "neighbours"},
		"what cannot be read of many is absent":   {func(s *careless) { s.swallows = true }, "deadline"},
		"an expiry is what a clock shows":         {func(s *careless) { s.wallClock = true }, "expiry in other zones"},
		"timers of what was deleted go on":        {func(s *careless) { s.oldTimers = true }, "expiry"},
		"long values are compared at their ends":  {func(s *careless) { s.skipsMiddle = true }, "size"},
		"values share a buffer":                   {func(s *careless) { s.oneBuffer = true }, "what was read stays"},
		"the caller's keys are put into an order": {func(s *careless) { s.sortsKeys = true }, "find many"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &careless{simple: newSimple(), timers: map[string]time.Time{}}
			c.spoil(store)
			s := newStoreRun(store, StoreClock(store.clock.Now, store.clock.Advance), inMemory)
			wantFailing(t, failing(t, s.suite, s, allStoreParts(), c.fails), c.fails)
		})
	}
}
