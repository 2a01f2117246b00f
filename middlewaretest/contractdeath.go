package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

const (
	// deaths is how many processes are killed while they write. Not each of them
	// dies in the middle of a change.
	deaths = 5
	// deathAfter is how many values a process has stored before.
	deathAfter = 5
	// deathWithin is how long it goes on at most. It is some writes.
	deathWithin = 2 * time.Millisecond
)

func deathCase(ctx context.Context, s *storeRun) error {
	return s.survivesDeaths(ctx, "count", func() (string, cell) { key := s.key(); return key, s.cell(key) })
}

func grantDeathCase(ctx context.Context, s *grantRun) error {
	return s.survivesDeaths(ctx, "grant", func() (string, cell) { issuer := s.issuer(); return issuer, s.cell(issuer, "owner") })
}

// survivesDeaths kills processes that write into a new cell. What they have
// written has to stay, and others have to go on there and elsewhere.
func (s *suite) survivesDeaths(ctx context.Context, what string, fresh func() (place string, c cell)) error {
	for range deaths {
		place, c := fresh()
		at, err := s.diesWriting(ctx, what, place, c)
		if err != nil {
			return err
		}
		works := func(ctx context.Context) error {
			_, other := fresh()
			return errors.Join(continues(ctx, c, at), other.swaps(ctx, nil, []byte("a"), true, []byte("a")))
		}
		if err := s.inTime(ctx, func() error { return recovers(ctx, works) }); err != nil {
			return fmt.Errorf("after a process was killed while it wrote: %w", err)
		}
	}
	return nil
}

// diesWriting lets another process count in a cell, kills it, and returns what has
// been read of the cell before.
func (s *suite) diesWriting(ctx context.Context, what, place string, c cell) (at int, err error) {
	if err := c.swaps(ctx, nil, []byte(counterStart), true, []byte(counterStart)); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the process in any case
	defer cancel()
	w, err := s.startWorker(ctx)
	if err != nil {
		return 0, err
	}
	const forever = 1 << 30
	if _, err := fmt.Fprintln(w.in, what, place, "p", forever, s.later().UnixMilli()); err != nil {
		return 0, errors.Join(err, w.kill())
	}
	for at < deathAfter && err == nil {
		at, err = c.standsAt(ctx)
		runtime.Gosched()
	}
	// It dies anywhere in its work, and not always where we have just read.
	rest, end := context.WithTimeout(ctx, rand.N(deathWithin))
	<-rest.Done()
	end()
	return at, errors.Join(err, w.kill())
}

// continues reads what is in a cell, which has to be at a count at least, and
// replaces it.
func continues(ctx context.Context, c cell, at int) error {
	old, err := c.read(ctx)
	if err != nil {
		return err
	}
	now, err := position(old)
	if err != nil || now < at {
		return fmt.Errorf("the counter is at %s, and was at %d (error: %v)", brief(old), at, err)
	}
	return c.swaps(ctx, old, fmt.Appendf(nil, "%d survivor", now+1), true, fmt.Appendf(nil, "%d survivor", now+1))
}
