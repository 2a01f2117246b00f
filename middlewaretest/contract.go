package middlewaretest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// StoreOption tells [TestStore], [TestGrantStore], [TestResourceIDs] or
// [TestRegistrationStore] what else it can do with a store.
type StoreOption func(*suite)

// StoreClock says that the store reads a clock that advance moves. Without it
// TestStore waits a second or two for values to expire, and the other suites do
// not check that facts last for years.
func StoreClock(now func() time.Time, advance func(time.Duration)) StoreOption {
	return func(s *suite) { s.now, s.advance = now, advance }
}

// StoreHang makes the store hang, for example by stopping its server with
// SIGSTOP. hang makes it hang: every call must wait then. release, which may be
// called twice, ends that; the store has to work within a second. If something
// came too late, the store hangs again, up to three times, as the machine may
// have been busy. A suite fails without StoreHang, unless [StoreCannotHang] says
// why there is none.
func StoreHang(hang func() (release func())) StoreOption {
	return func(s *suite) { s.hang = hang }
}

// StoreCannotHang says why no call to the store ever waits for anybody, for
// example that it is a map in memory. A store behind a network, a disk or a
// connection pool can hang; use [StoreHang].
func StoreCannotHang(reason string) StoreOption {
	return func(s *suite) { s.cannotHang = reason }
}

// StoreProcess says that processes can share the store. command makes another
// process that opens the same data and calls [ServeStore] on its standard input
// and output. The test binary itself serves best as that process. Some of these
// processes are killed while they write.
func StoreProcess(command func(context.Context) *exec.Cmd) StoreOption {
	return func(s *suite) { s.command = command }
}

const (
	// storePatience bounds one part of a contract.
	storePatience = 60 * time.Second
	// storeLimit is the size of value that a store must accept
	// (gatehouse.Store).
	storeLimit = 60_000
)

// part is a part of a contract, with the consequence of breaking it. R is one
// run of the suite over the kind of store in question.
type part[R any] struct {
	name, why string
	needs     func(*suite) bool // nil for nothing
	run       func(context.Context, R) error
}

// check runs the parts as subtests. Those in waits let time pass: if it is real
// time, they wait together.
func check[R any](t *testing.T, s *suite, run R, parts, waits []part[R]) {
	t.Helper()
	if s.cannotHang != "" {
		t.Logf("the store cannot hang: %s", s.cannotHang)
	}
	all := func(t *testing.T, parts []part[R], prepare func(*testing.T)) {
		for _, p := range parts {
			if p.needs != nil && !p.needs(s) {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				prepare(t)
				ctx, cancel := context.WithTimeout(t.Context(), storePatience)
				defer cancel()
				if err := p.run(ctx, run); err != nil {
					t.Errorf("%v\nthis matters: %s", err, p.why)
				}
			})
		}
	}
	alone := func(*testing.T) {}
	all(t, parts, alone)
	switch {
	case s.advance != nil:
		all(t, waits, alone)
	case len(waits) > 0: // a group ends when all in it have
		t.Run("in real time", func(t *testing.T) { all(t, waits, (*testing.T).Parallel) })
	}
}

func hasClock(s *suite) bool { return s.advance != nil }
func isShared(s *suite) bool { return s.command != nil }

// suite is what the runs of all suites share.
type suite struct {
	now     func() time.Time
	advance func(time.Duration) // nil: real time
	hang    func() func()
	command func(context.Context) *exec.Cmd

	cannotHang string // why not

	raceTime time.Duration
	settle   time.Duration
	attempts int // at what may be late

	mu     sync.Mutex
	serial int
	prefix string
}

func newSuite(options ...StoreOption) *suite {
	s := &suite{now: time.Now, raceTime: raceTime, settle: settleBound, attempts: lateAttempts, prefix: fmt.Sprint(time.Now().UnixNano())}
	for _, o := range options {
		o(s)
	}
	return s
}

// key makes a new key like those that gatehouse makes.
func (s *suite) key() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", s.prefix, s.serial))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// later is an expiry that no test reaches.
func (s *suite) later() time.Time { return s.now().Add(time.Hour) }

// pass lets time go by.
func (s *suite) pass(ctx context.Context, d time.Duration) error {
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

// soon is how long values live that a test sees expire. Stores that count in
// whole seconds need more than one second.
const soon = 1200 * time.Millisecond

// expires runs a part in which values expire at a time, and which lets that time
// pass once. A busy machine may take longer to come to that point; then the
// values are gone too early, which says nothing about the store, and the part
// runs again with values that live twice as long.
func (s *suite) expires(ctx context.Context, run func(at time.Time, pass func() error) error) error {
	for life := soon; ; life *= 2 {
		at, passed := s.now().Add(life), false
		err := run(at, func() error {
			if passed = s.now().Before(at); !passed {
				return errors.New("the values have expired before the test has seen them")
			}
			return s.pass(ctx, life+100*time.Millisecond)
		})
		if err == nil || passed || s.now().Before(at) || ctx.Err() != nil {
			return err
		}
	}
}

// brief shows a value in a message; nil means no value.
func brief(b []byte) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.20q", len(b), b)
}

// spoil overwrites a slice, as a caller may do with its own.
func spoil(b []byte) { copy(b, strings.Repeat("#", len(b))) }

// steps runs one step after another until one fails.
func steps(all ...func() error) error {
	for i, step := range all {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// cell is one place of a store with compare-and-swap; nil means no value.
type cell struct {
	read func(context.Context) ([]byte, error)
	swap func(ctx context.Context, old, new []byte) (swapped bool, err error)
}

// holds checks the value in the cell.
func (c cell) holds(ctx context.Context, want []byte) error {
	got, err := c.read(ctx)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if (got == nil) != (want == nil) || string(got) != string(want) {
		return fmt.Errorf("the store returns %s, want %s", brief(got), brief(want))
	}
	return nil
}

// swaps expects an outcome of a swap and checks the value in the cell
// afterwards.
func (c cell) swaps(ctx context.Context, old, new []byte, swapped bool, after []byte) error {
	got, err := c.swap(ctx, old, new)
	if err != nil {
		return fmt.Errorf("swapping: %w", err)
	}
	if got != swapped {
		return fmt.Errorf("a swap from %s to %s returns %v, want %v", brief(old), brief(new), got, swapped)
	}
	return c.holds(ctx, after)
}
