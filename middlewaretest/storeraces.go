package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func winnerCase(ctx context.Context, s *storeRun) error { return oneCreates(ctx, s.fresh) }

func counterCase(ctx context.Context, s *storeRun) error { return s.noUpdateLost(ctx, s.fresh) }

func replacerCase(ctx context.Context, s *storeRun) error { return oneReplaces(ctx, s.fresh) }

func endCase(ctx context.Context, s *storeRun) error { return oneEnds(ctx, s.fresh) }

func neighboursCase(ctx context.Context, s *storeRun) error { return allStay(ctx, s.fresh) }

// freshMany is an empty place that is read the way a request reads.
func (s *storeRun) freshMany() cell {
	key := s.key()
	return cell{func(ctx context.Context) ([]byte, error) {
		values, err := s.FindManyCtx(ctx, []string{key})
		return first(values), err
	}, s.cell(key).swap}
}

func awayCase(ctx context.Context, s *storeRun) error {
	return steps(func() error { return neverAway(ctx, s.fresh) }, func() error { return neverAway(ctx, s.freshMany) })
}

// reviveCase lets racers create values where one has expired. A store that
// removes the old value in a step of its own may remove a racer's.
func reviveCase(ctx context.Context, s *storeRun) error {
	return s.expires(ctx, func(at time.Time, pass func() error) error {
		keys := make([]string, raceRounds)
		for i := range keys {
			keys[i] = s.key()
			if err := s.CommitCtx(ctx, keys[i], []byte("expires"), at); err != nil {
				return err
			}
		}
		if err := pass(); err != nil {
			return err
		}
		for _, key := range keys {
			if err := s.cell(key).oneOf(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func giveUpCase(ctx context.Context, s *storeRun) error {
	return steps(func() error { return givesUp(ctx, s.fresh) }, func() error { return givesUp(ctx, s.freshMany) })
}

func leavingCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return outlivesCaller(ctx, s.fresh) },
		func() error {
			return leaving(ctx, func(ctx context.Context) error { return s.CommitCtx(ctx, key, []byte("a"), s.later()) })
		},
		func() error { return stays(func() error { return s.holds(ctx, key, []byte("a")) }) },
	)
}

func lossyCase(ctx context.Context, s *storeRun) error { return noUpdateLostWithReplies(ctx, s.fresh) }

func raceCase(ctx context.Context, s *storeRun) error {
	keys := []string{s.key(), s.key(), s.key()}
	return together(racers, func(i int) error {
		for n := range counts {
			key, value := keys[(i+n)%len(keys)], fmt.Appendf(nil, "%d.%d", i, n)
			old, found, err := s.FindCtx(ctx, key)
			if !found {
				old = nil
			}
			_, swapErr := s.SwapCtx(ctx, key, old, value, s.later())
			_, manyErr := s.FindManyCtx(ctx, keys)
			var otherErr error
			if n%10 == 0 {
				otherErr = errors.Join(s.CommitCtx(ctx, key, value, s.later()), s.DeleteCtx(ctx, key))
			}
			if err := errors.Join(err, swapErr, manyErr, otherErr); err != nil {
				return err
			}
		}
		return nil
	})
}

// calls are all methods with a context, on one key.
func (s *storeRun) calls(key string) []call {
	return []call{
		{"FindCtx", func(ctx context.Context) error { _, _, err := s.FindCtx(ctx, key); return err }},
		{"FindManyCtx", func(ctx context.Context) error { _, err := s.FindManyCtx(ctx, []string{key}); return err }},
		{"CommitCtx", func(ctx context.Context) error { return s.CommitCtx(ctx, key, []byte("a"), s.later()) }},
		{"DeleteCtx", func(ctx context.Context) error { return s.DeleteCtx(ctx, key) }},
		{"SwapCtx", func(ctx context.Context) error {
			_, err := s.SwapCtx(ctx, key, nil, []byte("a"), s.later())
			return err
		}},
	}
}

func cancelledCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.endsWithContext(ctx, s.calls(s.key())) },
		func() error {
			return s.swap(ctx, key, nil, []byte("and the store works on"), true, []byte("and the store works on"))
		},
	)
}

func hangCase(ctx context.Context, s *storeRun) error {
	return s.hangs(ctx, s.calls(s.key()), func(ctx context.Context) error {
		key := s.key()
		return steps(
			func() error { return s.swap(ctx, key, nil, []byte("awake"), true, []byte("awake")) },
			func() error { return s.CommitCtx(ctx, key, []byte("up"), s.later()) },
			func() error { return s.holds(ctx, key, []byte("up")) },
			func() error { return s.DeleteCtx(ctx, key) },
		)
	})
}
