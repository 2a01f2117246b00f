package middlewaretest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// StoreOption tells [TestStore] what else it can do with a store.
type StoreOption func(*storeRun)

// StoreClock says that the store reads a clock that advance moves. Without it
// TestStore waits a second or two for values to expire.
func StoreClock(now func() time.Time, advance func(time.Duration)) StoreOption {
	return func(s *storeRun) { s.now, s.advance = now, advance }
}

// StoreHang says that the store can be made to hang, say by a stopped server:
// hang does it, and release, which may be called twice, ends it.
func StoreHang(hang func() (release func())) StoreOption {
	return func(s *storeRun) { s.hang = hang }
}

// StoreProcess says that processes can share the store. command makes another
// process that opens the same data and calls [ServeStore] on its standard input
// and output; its best form is the test binary itself.
func StoreProcess(command func(context.Context) *exec.Cmd) StoreOption {
	return func(s *storeRun) { s.command = command }
}

// TestStore holds a store to the contract of [gatehouse.Store]: each part of it
// is a subtest, and a failure says what goes wrong with logins where the part
// does not hold. open opens the store once. Its keys are random, so that the data
// need not be empty. Run it with the race detector.
func TestStore(t *testing.T, open func(t *testing.T) gatehouse.Store, options ...StoreOption) {
	t.Helper()
	s := newStoreRun(open(t), options...)
	for _, c := range storeCases() {
		if c.needs != nil && !c.needs(s) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), storePatience)
			defer cancel()
			if err := c.run(ctx, s); err != nil {
				t.Errorf("%v\nthis matters: %s", err, c.why)
			}
		})
	}
}

const (
	// storePatience bounds one part of the contract.
	storePatience = 60 * time.Second
	// storeLimit is the size of value that a store must take (gatehouse.Store).
	storeLimit = 60_000
	// hangBound is how long after the end of its context a call may still go on.
	hangBound = time.Second
	// soon is an expiry that a test without a clock can wait for. Stores that
	// count in whole seconds need more than one.
	soon = 1200 * time.Millisecond
)

// storeRun is one run of the suite.
type storeRun struct {
	gatehouse.Store
	now     func() time.Time
	advance func(time.Duration) // nil: real time
	hang    func() func()
	command func(context.Context) *exec.Cmd

	mu     sync.Mutex
	serial int
	prefix string
}

func newStoreRun(store gatehouse.Store, options ...StoreOption) *storeRun {
	s := &storeRun{Store: store, now: time.Now, prefix: fmt.Sprint(time.Now().UnixNano())}
	for _, o := range options {
		o(s)
	}
	return s
}

// key makes a key like those that gatehouse makes, another one each time.
func (s *storeRun) key() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", s.prefix, s.serial))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// later is an expiry that no test reaches.
func (s *storeRun) later() time.Time { return s.now().Add(time.Hour) }

// pass lets a time go by.
func (s *storeRun) pass(ctx context.Context, d time.Duration) error {
	if s.advance != nil {
		s.advance(d)
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holds checks what the store has under a key; nil: nothing. Both ways of reading
// must agree.
func (s *storeRun) holds(ctx context.Context, key string, want []byte) error {
	got, found, err := s.FindCtx(ctx, key)
	if err != nil {
		return fmt.Errorf("FindCtx: %w", err)
	}
	if found != (want != nil) || found && string(got) != string(want) {
		return fmt.Errorf("FindCtx gives %s (found: %v), want %s", brief(got), found, brief(want))
	}
	many, err := s.FindManyCtx(ctx, []string{key})
	if err != nil {
		return fmt.Errorf("FindManyCtx: %w", err)
	}
	if len(many) != 1 || (many[0] == nil) != (want == nil) || string(many[0]) != string(want) {
		return fmt.Errorf("FindManyCtx gives %d values, first %s, want %s", len(many), brief(first(many)), brief(want))
	}
	return nil
}

func first(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

func brief(b []byte) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.20q", len(b), b)
}

// swap expects an outcome of SwapCtx, and what the store has afterwards.
func (s *storeRun) swap(ctx context.Context, key string, old, new []byte, swapped bool, after []byte) error {
	got, err := s.SwapCtx(ctx, key, old, new, s.later())
	if err != nil {
		return fmt.Errorf("SwapCtx: %w", err)
	}
	if got != swapped {
		return fmt.Errorf("SwapCtx from %s to %s gives %v, want %v", brief(old), brief(new), got, swapped)
	}
	return s.holds(ctx, key, after)
}

// steps runs one step after the other until one fails.
func steps(all ...func() error) error {
	for i, step := range all {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}
