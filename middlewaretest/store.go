package middlewaretest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/gatehouse"
)

// TestStore checks that a store meets the contract of [gatehouse.Store]. Each
// part of the contract is a subtest, and a failure says what goes wrong with
// logins if the part does not hold. open opens the store once. Its keys are
// random, so the store need not be empty. Run it with the race detector.
func TestStore(t *testing.T, open func(t *testing.T) gatehouse.Store, options ...StoreOption) {
	t.Helper()
	s := newStoreRun(open(t), options...)
	check(t, s.suite, s, storeParts(), storeWaits())
}

// storeRun is one run of the suite.
type storeRun struct {
	gatehouse.Store
	*suite
}

func newStoreRun(store gatehouse.Store, options ...StoreOption) *storeRun {
	return &storeRun{store, newSuite(options...)}
}

// cell is the place under a key.
func (s *storeRun) cell(key string) cell { return storeCell(s.Store, key, s.later) }

// fresh is an empty place.
func (s *storeRun) fresh() cell { return s.cell(s.key()) }

func storeCell(store gatehouse.Store, key string, expiry func() time.Time) cell {
	return cell{
		func(ctx context.Context) ([]byte, error) {
			value, found, err := store.FindCtx(ctx, key)
			if !found {
				value = nil
			}
			return value, err
		},
		func(ctx context.Context, old, new []byte) (bool, error) {
			return store.SwapCtx(ctx, key, old, new, expiry())
		},
	}
}

// holds checks the value under a key; nil means none. Both ways of reading must
// agree.
func (s *storeRun) holds(ctx context.Context, key string, want []byte) error {
	got, found, err := s.FindCtx(ctx, key)
	if err != nil {
		return fmt.Errorf("FindCtx: %w", err)
	}
	if found != (want != nil) || found && string(got) != string(want) {
		return fmt.Errorf("FindCtx returns %s (found: %v), want %s", brief(got), found, brief(want))
	}
	many, err := s.FindManyCtx(ctx, []string{key})
	if err != nil {
		return fmt.Errorf("FindManyCtx: %w", err)
	}
	if len(many) != 1 || (many[0] == nil) != (want == nil) || string(many[0]) != string(want) {
		return fmt.Errorf("FindManyCtx returns %d values, first %s, want %s", len(many), brief(first(many)), brief(want))
	}
	return nil
}

func first(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

// swap expects an outcome of SwapCtx and checks the value afterwards.
func (s *storeRun) swap(ctx context.Context, key string, old, new []byte, swapped bool, after []byte) error {
	got, err := s.SwapCtx(ctx, key, old, new, s.later())
	if err != nil {
		return fmt.Errorf("SwapCtx: %w", err)
	}
	if got != swapped {
		return fmt.Errorf("SwapCtx from %s to %s returns %v, want %v", brief(old), brief(new), got, swapped)
	}
	return s.holds(ctx, key, after)
}
