package middlewaretest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// simple is a store that tests break. Each field is one way to break it.
type simple struct {
	gatehouse.Store // nil if the methods without context are not tested
	mu              sync.Mutex
	gap
	items map[string]simpleItem
	clock *Clock

	notAtomic, falseWhenOurs, swapIgnoresOld, deletesUnseen bool // in a swap
	immortal, immortalPast, keepsExpiry                     bool
	aliasIn, aliasOut, textOnly, cutsAt255, foldsKeys       bool
	manyOrder, manySkips, manyOnce                          bool
	errorWhenAbsent                                         bool
	stuck                                                   chan struct{} // all calls wait for it; nil for none
}

// gap is what a method that is not atomic leaves between its steps.
type gap struct {
	begun int // calls so far; guarded by the store's lock
}

// yields is how often a call lets others run. Only one that is alone gets so
// far.
const yields = 200

// others unlocks mu until another call has begun, if there is one.
func (g *gap) others(mu *sync.Mutex) {
	alone := g.begun
	for range yields {
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		if g.begun != alone {
			return
		}
	}
}

func newSimple() *simple {
	return &simple{items: map[string]simpleItem{}, clock: &Clock{now: time.Unix(1_800_000_000, 0)}}
}

type simpleItem struct {
	value  []byte
	expiry time.Time
}

func (s *simple) name(key string) string {
	if s.foldsKeys {
		return strings.ToLower(key)
	}
	return key
}

// get and put are called with the lock held.
func (s *simple) get(key string) []byte {
	item, ok := s.items[s.name(key)]
	if !ok || !s.immortal && !item.expiry.IsZero() && !s.clock.Now().Before(item.expiry) {
		return nil
	}
	if s.aliasOut {
		return item.value
	}
	return bytes.Clone(item.value)
}

func (s *simple) put(key string, value []byte, expiry time.Time) {
	key = s.name(key)
	if value == nil {
		delete(s.items, key)
		return
	}
	if s.immortalPast && !s.clock.Now().Before(expiry) {
		expiry = time.Time{} // like SET without a time to live
	} else if expiry.IsZero() {
		expiry = time.Unix(0, 0)
	}
	if before, ok := s.items[key]; ok && s.keepsExpiry && len(before.value) > 0 {
		expiry = before.expiry
	}
	if s.textOnly {
		value, _, _ = bytes.Cut(value, []byte{0})
	}
	if s.cutsAt255 {
		value = value[:min(len(value), 255)]
	}
	if !s.aliasIn {
		value = bytes.Clone(value)
	}
	s.items[key] = simpleItem{value, expiry}
}

// lock hangs if the store does, regardless of the context.
func (s *simple) lock() {
	if s.stuck != nil {
		<-s.stuck
	}
	s.mu.Lock()
	s.begun++
}

func (s *simple) FindCtx(_ context.Context, key string) ([]byte, bool, error) {
	s.lock()
	defer s.mu.Unlock()
	b := s.get(key)
	if b == nil && s.errorWhenAbsent {
		return nil, false, fmt.Errorf("no such key")
	}
	return b, b != nil, nil
}

func (s *simple) CommitCtx(_ context.Context, key string, b []byte, expiry time.Time) error {
	s.lock()
	defer s.mu.Unlock()
	s.put(key, b, expiry)
	return nil
}

func (s *simple) DeleteCtx(ctx context.Context, key string) error {
	return s.CommitCtx(ctx, key, nil, time.Time{})
}

func (s *simple) Find(key string) ([]byte, bool, error) { return s.FindCtx(context.Background(), key) }

func (s *simple) Commit(key string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, b, expiry)
}

func (s *simple) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }

func (s *simple) SwapCtx(_ context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	s.lock()
	defer s.mu.Unlock()
	current := s.get(key)
	if s.notAtomic {
		s.others(&s.mu)
	}
	switch {
	case same(current, new) && !s.falseWhenOurs:
		return true, nil
	case same(current, old), s.swapIgnoresOld && old != nil, s.deletesUnseen && new == nil:
		s.put(key, new, expiry)
		return true, nil
	}
	return false, nil
}

func (s *simple) FindManyCtx(_ context.Context, keys []string) ([][]byte, error) {
	s.lock()
	defer s.mu.Unlock()
	keys = slices.Clone(keys)
	if s.manyOrder { // as "where key in (…)" returns it
		slices.Sort(keys)
	}
	if s.manyOnce {
		slices.Sort(keys)
		keys = slices.Compact(keys)
	}
	values := [][]byte{}
	for _, key := range keys {
		if b := s.get(key); b != nil || !s.manySkips {
			values = append(values, b)
		}
	}
	return values, nil
}

// failing returns the parts of the contract that a store breaks.
func failing[R any](t *testing.T, s *suite, run R, parts []part[R]) (out []string) {
	t.Helper()
	s.raceTime = 0
	for _, p := range parts {
		if p.needs != nil && !p.needs(s) {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if p.run(ctx, run) != nil {
			out = append(out, p.name)
		}
		cancel()
	}
	return out
}

// wantFailing expects at least the parts in want to fail; "" means none at all.
func wantFailing(t *testing.T, got []string, want string) {
	t.Helper()
	if want == "" {
		if len(got) > 0 {
			t.Errorf("a good store fails %q", got)
		}
		return
	}
	for part := range strings.SplitSeq(want, ", ") {
		if !slices.Contains(got, part) {
			t.Errorf("fails %q, want %q among them", got, part)
		}
	}
}

// TestTheSuiteFailsBrokenStores breaks a good store in one way at a time.
func TestTheSuiteFailsBrokenStores(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*simple)
		fails string // at least these parts fail; "" for none
	}{
		"good":                               {func(*simple) {}, ""},
		"swap is not atomic":                 {func(s *simple) { s.notAtomic = true }, "one creates, no lost update"},
		"swap says false when already ours":  {func(s *simple) { s.falseWhenOurs = true }, "swap is repeated, no lost update with lost replies"},
		"swap does not look at the old":      {func(s *simple) { s.swapIgnoresOld = true }, "swap replaces, no lost update"},
		"swap deletes unseen":                {func(s *simple) { s.deletesUnseen = true }, "swap deletes"},
		"nothing expires":                    {func(s *simple) { s.immortal = true }, "expiry, expiry in the past"},
		"the past is immortal":               {func(s *simple) { s.immortalPast = true }, "expiry in the past"},
		"swap keeps the expiry":              {func(s *simple) { s.keepsExpiry = true }, "expiry is replaced"},
		"stored slices are the caller's":     {func(s *simple) { s.aliasIn = true }, "own copies"},
		"returned slices are the store's":    {func(s *simple) { s.aliasOut = true }, "own copies"},
		"values are texts":                   {func(s *simple) { s.textOnly = true }, "bytes"},
		"values are short":                   {func(s *simple) { s.cutsAt255 = true }, "size"},
		"keys are compared without case":     {func(s *simple) { s.foldsKeys = true }, "keys"},
		"many in another order":              {func(s *simple) { s.manyOrder = true }, "find many"},
		"many without those that are absent": {func(s *simple) { s.manySkips = true }, "find many"},
		"many without repetitions":           {func(s *simple) { s.manyOnce = true }, "find many"},
		"absence is an error":                {func(s *simple) { s.errorWhenAbsent = true }, "absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSimple()
			c.spoil(store)
			s := newStoreRun(store, StoreClock(store.clock.Now, store.clock.Advance))
			wantFailing(t, failing(t, s.suite, s, storeParts()), c.fails)
		})
	}
}

// TestHangIsSeen tries a store that hangs without regard to its context, and
// one that does not hang at all.
func TestHangIsSeen(t *testing.T) {
	t.Parallel()
	store := newSimple()
	store.stuck = make(chan struct{})
	errs := atOnce(
		func() error { return cancelledCase(t.Context(), newStoreRun(store)) },
		func() error {
			return hangCase(t.Context(), newStoreRun(store, StoreHang(func() func() { return func() {} })))
		},
	)
	for i, what := range []string{"ignores its context", "hangs beyond its context"} {
		if err := errs[i]; err == nil || !strings.Contains(err.Error(), "goes on") {
			t.Errorf("a store that %s: %v", what, err)
		}
	}
	close(store.stuck) // releases the calls that nobody waits for any longer
	s := newStoreRun(store, StoreHang(func() func() { return func() {} }))
	if err := hangCase(t.Context(), s); err == nil || !strings.Contains(err.Error(), "succeeds") {
		t.Errorf("a store that does not hang: %v", err)
	}
}

func TestEveryCaseHasAReason(t *testing.T) {
	t.Run("Store", func(t *testing.T) { wantReasons(t, storeParts()) })
	t.Run("GrantStore", func(t *testing.T) { wantReasons(t, grantParts()) })
	t.Run("ResourceIDs", func(t *testing.T) { wantReasons(t, idsParts()) })
}

func wantReasons[R any](t *testing.T, parts []part[R]) {
	t.Helper()
	names := map[string]bool{}
	for _, p := range parts {
		if p.why == "" || strings.Contains(p.why, "\n") || names[p.name] {
			t.Errorf("%q: %q", p.name, p.why)
		}
		names[p.name] = true
	}
}

// TestProcessesThatShareNothing starts a process that does not share the store.
func TestProcessesThatShareNothing(t *testing.T) {
	s := newStoreRun(newSimple(), StoreProcess(func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, "/no/such/program")
	}))
	if err := processCase(t.Context(), s); err == nil {
		t.Error("a process that cannot start is accepted")
	}
}

// TestServeStore serves a store without the rest of the suite.
func TestServeStore(t *testing.T) {
	store := newSimple()
	s := newStoreRun(store)
	var out strings.Builder
	if err := ServeStore(t.Context(), store, strings.NewReader("nonsense\n"), &out); err == nil {
		t.Error("nonsense is accepted")
	}
	out.Reset()
	in := fmt.Sprintln(s.key(), "p", 3, s.later().UnixMilli())
	if err := ServeStore(t.Context(), store, strings.NewReader(in), &out); err != nil || !strings.HasPrefix(out.String(), "ready\nfailed: ") {
		t.Errorf("another store: %q, %v", out.String(), err)
	}
}
