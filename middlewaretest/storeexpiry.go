package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func expiryCase(ctx context.Context, s *storeRun) error {
	stays, committed, swapped := s.key(), s.key(), s.key()
	deleted, gone, briefly := s.key(), s.key(), s.key()
	return s.expires(ctx, func(at time.Time, pass func() error) error {
		again, anew := s.key(), s.key()
		return steps(
			func() error { return s.CommitCtx(ctx, deleted, []byte("a"), at) },
			func() error { return s.CommitCtx(ctx, gone, []byte("a"), at) },
			func() error { return s.CommitCtx(ctx, briefly, []byte("a"), s.now().Add(300*time.Microsecond)) },
			func() error {
				_, err := s.SwapCtx(ctx, briefly, nil, []byte("b"), s.now().Add(time.Microsecond))
				return err
			},
			func() error { return s.CommitCtx(ctx, stays, []byte("a"), s.now().Add(10*365*24*time.Hour)) },
			func() error { return s.CommitCtx(ctx, committed, []byte("a"), at) },
			func() error { _, err := s.SwapCtx(ctx, swapped, nil, []byte("a"), at); return err },
			func() error { return s.CommitCtx(ctx, again, []byte("a"), at) },
			func() error { return s.DeleteCtx(ctx, again) },
			func() error { return s.swap(ctx, again, nil, []byte("b"), true, []byte("b")) },
			func() error { _, err := s.SwapCtx(ctx, anew, nil, []byte("a"), at); return err },
			func() error { return s.swap(ctx, anew, []byte("a"), nil, true, nil) },
			func() error { return s.swap(ctx, anew, nil, []byte("b"), true, []byte("b")) },
			func() error { return s.holds(ctx, committed, []byte("a")) },
			func() error { return s.holds(ctx, swapped, []byte("a")) },
			pass,
			func() error { return s.holds(ctx, again, []byte("b")) },
			func() error { return s.holds(ctx, anew, []byte("b")) },
			func() error { return s.holds(ctx, stays, []byte("a")) },
			func() error { return s.holds(ctx, committed, nil) },
			func() error { return s.holds(ctx, swapped, nil) },
			func() error { return s.swap(ctx, committed, []byte("a"), []byte("b"), false, nil) },
			func() error { return s.swap(ctx, committed, nil, []byte("b"), true, []byte("b")) },
			func() error { return s.swap(ctx, swapped, nil, []byte("b"), true, []byte("b")) },
			func() error { return s.DeleteCtx(ctx, deleted) },
			func() error { return s.swap(ctx, deleted, nil, []byte("b"), true, []byte("b")) },
			func() error { return s.swap(ctx, gone, []byte("a"), nil, true, nil) },
			func() error { return s.swap(ctx, gone, nil, nil, true, nil) },
			func() error { return s.CommitCtx(ctx, gone, []byte("b"), s.later()) },
			func() error { return s.holds(ctx, gone, []byte("b")) },
			func() error { return s.holds(ctx, briefly, nil) },
		)
	})
}

// longCase lets almost all of the longest life pass that a session may have
// (SessionsConfig.Lifetime).
func longCase(ctx context.Context, s *storeRun) error {
	const day = 24 * time.Hour
	committed, created, replaced := s.key(), s.key(), s.key()
	end := s.now().Add(400 * day)
	all := func(want []byte) error {
		return steps(
			func() error { return s.holds(ctx, committed, want) },
			func() error { return s.holds(ctx, created, want) },
			func() error { return s.holds(ctx, replaced, want) },
		)
	}
	return steps(
		func() error { return s.CommitCtx(ctx, committed, []byte("a"), end) },
		func() error { _, err := s.SwapCtx(ctx, created, nil, []byte("a"), end); return err },
		func() error { return s.CommitCtx(ctx, replaced, []byte("b"), s.later()) },
		func() error { _, err := s.SwapCtx(ctx, replaced, []byte("b"), []byte("a"), end); return err },
		func() error { return s.pass(ctx, 399*day) },
		func() error { return all([]byte("a")) },
		func() error { return s.pass(ctx, 2*day) },
		func() error { return all(nil) },
	)
}

// zoneCase says when values expire as clocks elsewhere show it. An expiry is a
// moment, not what a clock on a wall shows.
func zoneCase(ctx context.Context, s *storeRun) error {
	return s.expires(ctx, func(at time.Time, pass func() error) error {
		var keys []string
		for _, hours := range []int{14, -12, 0} {
			there := at.In(time.FixedZone("there", hours*60*60))
			committed, swapped := s.key(), s.key()
			keys = append(keys, committed, swapped)
			if err := steps(
				func() error { return s.CommitCtx(ctx, committed, []byte("a"), there) },
				func() error { _, err := s.SwapCtx(ctx, swapped, nil, []byte("a"), there); return err },
			); err != nil {
				return err
			}
		}
		all := func(want []byte) func() error {
			return func() error {
				for _, key := range keys {
					if err := s.holds(ctx, key, want); err != nil {
						return err
					}
				}
				return nil
			}
		}
		return steps(all([]byte("a")), pass, all(nil))
	})
}

// clampCase uses expiries that a column, a count of seconds or a time.Duration
// may be too small for: it reaches 292 years. They are as good as never.
func clampCase(ctx context.Context, s *storeRun) error {
	for _, far := range []time.Time{
		s.now().AddDate(30, 0, 0), s.now().AddDate(292, 0, 0), s.now().AddDate(293, 0, 0), s.now().AddDate(600, 0, 0),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(294_277, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(1<<63 - 1), time.Unix(1<<62, 0),
	} {
		committed, swapped, over := s.key(), s.key(), s.key()
		if err := steps(
			func() error { return s.CommitCtx(ctx, committed, []byte("a"), far) },
			func() error { return s.holds(ctx, committed, []byte("a")) },
			func() error { _, err := s.SwapCtx(ctx, swapped, nil, []byte("a"), far); return err },
			func() error { return s.holds(ctx, swapped, []byte("a")) },
			func() error { return s.CommitCtx(ctx, over, []byte("a"), s.later()) },
			func() error { _, err := s.SwapCtx(ctx, over, []byte("a"), []byte("b"), far); return err },
			func() error { return s.holds(ctx, over, []byte("b")) },
			func() error { return s.swap(ctx, swapped, []byte("a"), []byte("b"), true, []byte("b")) },
		); err != nil {
			return fmt.Errorf("expiry in the year %d: %w", far.Year(), err)
		}
	}
	return nil
}

func pastCase(ctx context.Context, s *storeRun) error {
	for _, past := range []time.Time{s.now(), s.now().Add(-time.Millisecond), s.now().Add(-time.Hour), time.Unix(0, 0), {},
		s.now().AddDate(-293, 0, 0), time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(-1 << 63), time.Unix(-1<<62, 0)} {
		committed, over, swapped, swappedOver := s.key(), s.key(), s.key(), s.key()
		if err := steps(
			func() error { return s.CommitCtx(ctx, committed, []byte("a"), past) },
			func() error { return s.holds(ctx, committed, nil) },
			func() error { return s.CommitCtx(ctx, over, []byte("a"), s.later()) },
			func() error { return s.CommitCtx(ctx, over, []byte("b"), past) },
			func() error { return s.holds(ctx, over, nil) },
			func() error { _, err := s.SwapCtx(ctx, swapped, nil, []byte("a"), past); return err },
			func() error { return s.holds(ctx, swapped, nil) },
			func() error { return s.CommitCtx(ctx, swappedOver, []byte("a"), s.later()) },
			func() error { _, err := s.SwapCtx(ctx, swappedOver, []byte("a"), []byte("b"), past); return err },
			func() error { return s.holds(ctx, swappedOver, nil) },
			func() error {
				swapped, err := s.SwapCtx(ctx, s.key(), []byte("a"), []byte("b"), past)
				if err == nil && swapped {
					err = errors.New("SwapCtx says that it has swapped what is not there")
				}
				return err
			},
		); err != nil {
			return fmt.Errorf("expiry %v: %w", past, err)
		}
	}
	return nil
}

func newExpiryCase(ctx context.Context, s *storeRun) error {
	shorter, longer, sooner, later := s.key(), s.key(), s.key(), s.key()
	return s.expires(ctx, func(at time.Time, pass func() error) error {
		return steps(
			func() error { return s.CommitCtx(ctx, sooner, []byte("a"), s.later()) },
			func() error { return s.CommitCtx(ctx, sooner, []byte("a"), at) },
			func() error { return s.CommitCtx(ctx, later, []byte("a"), at) },
			func() error { return s.CommitCtx(ctx, later, []byte("a"), s.later()) },
			func() error { return s.CommitCtx(ctx, shorter, []byte("a"), s.later()) },
			func() error { _, err := s.SwapCtx(ctx, shorter, []byte("a"), []byte("b"), at); return err },
			func() error { return s.CommitCtx(ctx, longer, []byte("a"), at) },
			func() error { return s.swap(ctx, longer, []byte("a"), []byte("b"), true, []byte("b")) },
			func() error { return s.holds(ctx, shorter, []byte("b")) },
			pass,
			func() error { return s.holds(ctx, shorter, nil) },
			func() error { return s.holds(ctx, longer, []byte("b")) },
			func() error { return s.holds(ctx, sooner, nil) },
			func() error { return s.holds(ctx, later, []byte("a")) },
		)
	})
}
