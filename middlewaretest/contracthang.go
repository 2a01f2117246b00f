package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/gatehouse/internal/testkit/goroutines"
)

const (
	// hangBound is how long a call may continue after its context has ended.
	hangBound = time.Second
	// recoveryBound is how soon a store must work after it has hung, or after a
	// process has died. People wait for it.
	recoveryBound = time.Second
	// settleBound is how long goroutines of given-up calls may stay after that.
	// Connection pools close what is broken in the background.
	settleBound = 5 * time.Second
	// lateAttempts is how often a store hangs if something took longer than
	// that. A busy machine makes a good store late now and then; a bad one is late
	// each time.
	lateAttempts = 3

	hungEach = 12 // calls of each method while the store hangs
	hungLife = 100 * time.Millisecond
	// poolShare is the part of the hung calls for which a goroutine may stay:
	// a pool may keep one for each of its connections.
	poolShare = 4

	recoveryPause = 10 * time.Millisecond // between two looks
)

// errLate is the error of what came too late.
var errLate = errors.New("too late")

// inTime runs f again while it is late, a few times.
func (s *suite) inTime(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		if err := f(); !errors.Is(err, errLate) || n >= s.attempts || ctx.Err() != nil {
			return err
		}
	}
}

// call is one method of a store, with its arguments.
type call struct {
	name string
	do   func(context.Context) error
}

// timely runs a call and expects it to return soon after its context ends. A
// call that never returns cannot be stopped: its goroutine stays with the
// failed test.
func timely(ctx context.Context, wait time.Duration, do func(context.Context) error) (back bool, err error) {
	callCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(callCtx) }()
	timer := time.NewTimer(wait + hangBound)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// endsWithContext makes each call with a context that has already ended.
func (s *suite) endsWithContext(ctx context.Context, calls []call) error {
	for _, c := range calls {
		if err := s.inTime(ctx, func() error {
			if back, _ := timely(ctx, 0, c.do); !back {
				return goesOn(c)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func goesOn(c call) error {
	return fmt.Errorf("%w: %s goes on %v after its context has ended", errLate, c.name, hangBound)
}

// hangs makes many calls of each kind while the store hangs. Each must fail when
// its context ends. Once the store is awake it must work, and nothing may be
// left of the calls.
func (s *suite) hangs(ctx context.Context, calls []call, works func(context.Context) error) error {
	switch {
	case s.hang == nil && s.cannotHang == "":
		return errors.New("nobody has said how to make the store hang: use StoreHang, or StoreCannotHang with a reason")
	case s.hang != nil && s.cannotHang != "":
		return fmt.Errorf("StoreHang and StoreCannotHang (%s) contradict each other", s.cannotHang)
	case s.hang == nil:
		return nil
	}
	return s.inTime(ctx, func() error {
		mark, err := goroutines.New(), error(nil)
		mark.Do(ctx, func(ctx context.Context) { err = s.whileHung(ctx, calls, works) })
		if err != nil {
			return err
		}
		return s.settles(ctx, mark, len(calls)*hungEach/poolShare)
	})
}

func (s *suite) whileHung(ctx context.Context, calls []call, works func(context.Context) error) error {
	release := s.hang()
	defer release()
	if err := together(len(calls)*hungEach, func(i int) error {
		c := calls[i%len(calls)]
		back, err := timely(ctx, hungLife, c.do)
		switch {
		case !back:
			return goesOn(c)
		case err == nil:
			return fmt.Errorf("%s succeeds although the store hangs", c.name)
		}
		return nil
	}); err != nil {
		return err
	}
	release()
	return recovers(ctx, works)
}

// recovers tries until the store works.
func recovers(ctx context.Context, works func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recoveryBound)
	defer cancel()
	for {
		err := works(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(recoveryPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: the store does not work within %v: %w", errLate, recoveryBound, err)
		}
	}
}

// settles waits until at most keep goroutines of the mark are left.
func (s *suite) settles(ctx context.Context, mark goroutines.Mark, keep int) error {
	ctx, cancel := context.WithTimeout(ctx, s.settle)
	defer cancel()
	for {
		left, err := mark.Left()
		if err != nil || left <= keep {
			return err
		}
		select {
		case <-time.After(recoveryPause):
		case <-ctx.Done():
			return fmt.Errorf("%d goroutines of calls that were given up are left %v after the store is back", left, s.settle)
		}
	}
}
