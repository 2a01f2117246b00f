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
	deletesFirst                                            bool          // a swap removes the old value in a step of its own
	wrapsExpiry, refusesFar, subMillisecond                 bool          // what becomes of an expiry
	keepsEarlier, swapsToSelfFail, emptyIsAbsent, chunks    bool          // rare in tests, not at work
	removesLate                                             bool          // a create removes an expired value when others may have written
	mixesReplies                                            bool          // a call that was given up leaves its reply to the next
	stuck                                                   chan struct{} // all calls wait for it; nil for none
	left                                                    [][]byte      // replies that nobody took
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
	switch now := s.clock.Now(); {
	case s.wrapsExpiry: // as a time.Duration in nanoseconds does
		expiry = now.Add(time.Duration(expiry.UnixNano() - now.UnixNano()))
	case s.keepsEarlier && s.items[key].value != nil && s.items[key].expiry.After(expiry):
		expiry = s.items[key].expiry
	case s.emptyIsAbsent && len(value) == 0:
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

func (s *simple) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	s.lock()
	defer s.mu.Unlock()
	b := s.get(key)
	switch {
	case s.mixesReplies && ctx.Err() != nil:
		s.left = append(s.left, b)
		return nil, false, ctx.Err()
	case len(s.left) > 0:
		b, s.left = s.left[0], s.left[1:]
	}
	if b == nil && s.errorWhenAbsent {
		return nil, false, fmt.Errorf("no such key")
	}
	return b, b != nil, nil
}

func (s *simple) CommitCtx(_ context.Context, key string, b []byte, expiry time.Time) error {
	s.lock()
	defer s.mu.Unlock()
	return s.commit(key, b, expiry)
}

// commit is called with the lock held.
func (s *simple) commit(key string, b []byte, expiry time.Time) error {
	left := expiry.Sub(s.clock.Now())
	switch {
	case s.refusesFar && left > decades:
		return fmt.Errorf("out of range")
	case s.subMillisecond && left > 0 && left < time.Millisecond: // PX 0
		return fmt.Errorf("invalid expire time")
	}
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
	_, lies := s.items[s.name(key)] // perhaps it has expired
	switch {
	case s.swapsToSelfFail && new != nil && same(old, new):
		return false, nil
	case same(current, new) && !s.falseWhenOurs:
		return true, nil
	case same(current, old) && current == nil && lies && s.removesLate:
		s.others(&s.mu)
		delete(s.items, s.name(key))
		fallthrough
	case same(current, old), s.swapIgnoresOld && old != nil, s.deletesUnseen && new == nil:
		if s.deletesFirst && current != nil {
			delete(s.items, s.name(key))
			s.others(&s.mu)
		}
		err := s.commit(key, new, expiry)
		return err == nil, err
	}
	return false, nil
}

func (s *simple) FindManyCtx(_ context.Context, keys []string) ([][]byte, error) {
	s.lock()
	defer s.mu.Unlock()
	keys = slices.Clone(keys)
	if s.chunks { // as a statement with so many parameters
		keys = keys[:min(len(keys), 999)]
	}
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

// inMemory is an option for stores of these tests.
var inMemory = StoreCannotHang("it is a map")

// failing returns those of the parts in want that a store breaks; "" stands for
// all parts.
func failing[R any](t *testing.T, s *suite, run R, parts []part[R], want string) (out []string) {
	t.Helper()
	s.raceTime = 0
	tries, patience := 20, 5*time.Second // not every race goes wrong
	if want == "" {                      // a good store passes, also where the machine is slow
		tries, patience = 1, storePatience
	}
	for _, p := range parts {
		if p.needs != nil && !p.needs(s) || want != "" && !slices.Contains(strings.Split(want, ", "), p.name) {
			continue
		}
		for range tries {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err := p.run(ctx, run)
			cancel()
			if err != nil {
				out = append(out, p.name)
				break
			}
		}
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
		"swap is not atomic":                 {func(s *simple) { s.notAtomic = true }, "one creates, one replaces, no lost update"},
		"swap deletes first":                 {func(s *simple) { s.deletesFirst = true }, "never away"},
		"a create removes the expired late":  {func(s *simple) { s.removesLate = true }, "one creates over what has expired"},
		"a swap to the same fails":           {func(s *simple) { s.swapsToSelfFail = true }, "swap to itself"},
		"the expiry wraps round":             {func(s *simple) { s.wrapsExpiry = true }, "expiry is clamped"},
		"far expiries are refused":           {func(s *simple) { s.refusesFar = true }, "expiry is clamped"},
		"no expiry below a millisecond":      {func(s *simple) { s.subMillisecond = true }, "expiry"},
		"an expiry only moves later":         {func(s *simple) { s.keepsEarlier = true }, "expiry is replaced"},
		"an empty value is none":             {func(s *simple) { s.emptyIsAbsent = true }, "bytes"},
		"many are cut":                       {func(s *simple) { s.chunks = true }, "find very many"},
		"replies are mixed up":               {func(s *simple) { s.mixesReplies = true }, "deadline"},
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
		"keys are compared without case":     {func(s *simple) { s.foldsKeys = true }, "keys, keys by case"},
		"many in another order":              {func(s *simple) { s.manyOrder = true }, "find many"},
		"many without those that are absent": {func(s *simple) { s.manySkips = true }, "find many"},
		"many without repetitions":           {func(s *simple) { s.manyOnce = true }, "find many"},
		"absence is an error":                {func(s *simple) { s.errorWhenAbsent = true }, "absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSimple()
			c.spoil(store)
			s := newStoreRun(store, StoreClock(store.clock.Now, store.clock.Advance), inMemory)
			wantFailing(t, failing(t, s.suite, s, allStoreParts(), c.fails), c.fails)
		})
	}
}

func allStoreParts() []part[*storeRun] { return slices.Concat(storeParts(), storeWaits()) }

// slowStore takes a while for every write.
type slowStore struct{ *simple }

func (s slowStore) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	s.clock.Advance(soon / 3)
	return s.simple.CommitCtx(ctx, key, b, expiry)
}

// On a slow machine values expire before the suite has looked at them. That is
// not held against a good store, and a broken one does not profit from it.
func TestSlowStoresExpire(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*simple)
		fails string
	}{
		"good":                         {func(*simple) {}, ""},
		"nothing expires":              {func(s *simple) { s.immortal = true }, "expiry"},
		"an expiry only moves later":   {func(s *simple) { s.keepsEarlier = true }, "expiry is replaced"},
		"a create removes the expired": {func(s *simple) { s.removesLate = true }, "one creates over what has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newSimple()
			c.spoil(store)
			s := newStoreRun(slowStore{store}, StoreClock(store.clock.Now, store.clock.Advance), inMemory)
			wantFailing(t, failing(t, s.suite, s, storeWaits(), c.fails), c.fails)
		})
	}
}

func TestEveryCaseHasAReason(t *testing.T) {
	t.Run("Store", func(t *testing.T) { wantReasons(t, allStoreParts()) })
	t.Run("GrantStore", func(t *testing.T) { wantReasons(t, grantParts()) })
	t.Run("ResourceIDs", func(t *testing.T) { wantReasons(t, idsParts()) })
	t.Run("RegistrationStore", func(t *testing.T) { wantReasons(t, registrationParts()) })
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
	for _, what := range []string{"count", "grant", "ids", "registration"} { // an empty store, and none of the others
		out.Reset()
		in := fmt.Sprintln(what, s.key(), "p", 3, s.later().UnixMilli())
		if err := ServeStore(t.Context(), store, strings.NewReader(in), &out); err != nil || !strings.HasPrefix(out.String(), "ready\nfailed: ") {
			t.Errorf("%s in another store: %q, %v", what, out.String(), err)
		}
	}
}
