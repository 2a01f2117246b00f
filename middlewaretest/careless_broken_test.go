package middlewaretest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
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
	remembersDone bool // what has been done once is taken for done for ever
	month         bool // a longer life is cut to a month
	oneSlice      bool // values that are read together lie in one slice
	sameSlice     bool // a key that is asked for twice gets one slice

	locks  [8]sync.Mutex
	timers map[string]time.Time // guarded by the store's lock
	buffer []byte
	done   map[string]bool // guarded by the store's lock
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
	case s.oneSlice:
		var all []byte
		for _, b := range values {
			all = append(all, b...)
		}
		for i, b := range values {
			if b != nil {
				values[i], all = all[:len(b)], all[len(b):]
			}
		}
	case s.sameSlice:
		for i, key := range keys {
			values[i] = values[slices.Index(keys, key)]
		}
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
	if s.remembersDone {
		s.lock()
		defer s.mu.Unlock()
		what := fmt.Sprintf("%q %q %q", key, old, new)
		if s.done[what] {
			return true, nil
		}
		s.mu.Unlock()
		swapped, err := s.simple.SwapCtx(ctx, key, old, new, expiry)
		s.mu.Lock()
		s.done[what] = swapped
		return swapped, err
	}
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
	if last := s.clock.Now().AddDate(0, 1, 0); s.month && expiry.After(last) {
		expiry = last
	}
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
		"what was done once is done for ever":     {func(s *careless) { s.remembersDone = true }, "swap creates, swap replaces, swap deletes"},
		"long lives are cut":                      {func(s *careless) { s.month = true }, "expiry is kept"},
		"values of one reply share a slice":       {func(s *careless) { s.oneSlice = true }, "own copies"},
		"a key asked for twice has one slice":     {func(s *careless) { s.sameSlice = true }, "own copies"},
		"the caller's keys are put into an order": {func(s *careless) { s.sortsKeys = true }, "find many"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &careless{simple: newSimple(), timers: map[string]time.Time{}, done: map[string]bool{}}
			c.spoil(store)
			s := newStoreRun(store, StoreClock(store.clock.Now, store.clock.Advance), inMemory)
			wantFailing(t, failing(t, s.suite, s, allStoreParts(), c.fails), c.fails)
		})
	}
}
