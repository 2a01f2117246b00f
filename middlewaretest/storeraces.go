package middlewaretest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/gatehouse"
)

const othersInTest = 2 // processes besides the test itself

func winnerCase(ctx context.Context, s *storeRun) error { return oneCreates(ctx, s.fresh) }

func counterCase(ctx context.Context, s *storeRun) error { return s.noUpdateLost(ctx, s.fresh) }

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
		func() error { return endsWithContext(ctx, s.calls(s.key())) },
		func() error {
			return s.swap(ctx, key, nil, []byte("and the store works on"), true, []byte("and the store works on"))
		},
	)
}

func hangCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return steps(
		func() error { return s.endsWhenHung(ctx, s.calls(s.key())) },
		func() error { return s.swap(ctx, key, nil, []byte("awake"), true, []byte("awake")) },
	)
}

// ServeStore is the other side of [StoreProcess]. It reads the test's commands
// for the store from in, answers on out, and returns when in ends.
func ServeStore(ctx context.Context, store gatehouse.Store, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	for lines.Scan() {
		var key, id string
		var n int
		var expiry int64
		if _, err := fmt.Sscan(lines.Text(), &key, &id, &n, &expiry); err != nil {
			return fmt.Errorf("middlewaretest: unknown command %q from the test", lines.Text())
		}
		answer := "done"
		c := storeCell(store, key, func() time.Time { return time.UnixMilli(expiry) })
		if err := count(ctx, c, id, n); err != nil {
			answer = "failed: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func processCase(ctx context.Context, s *storeRun) error {
	ctx, cancel := context.WithCancel(ctx) // ends the processes in any case
	defer cancel()
	key := s.key()
	if err := s.CommitCtx(ctx, key, []byte(counterStart), s.later()); err != nil {
		return err
	}
	workers := make([]*worker, othersInTest)
	for i := range workers {
		var err error
		if workers[i], err = s.startWorker(ctx); err != nil {
			return err
		}
	}
	err := together(othersInTest+1, func(i int) error {
		if i == othersInTest {
			return count(ctx, s.cell(key), "test", counts)
		}
		return workers[i].count(key, fmt.Sprint("p", i), s.later())
	})
	for _, w := range workers {
		err = errors.Join(err, w.stop())
	}
	if err != nil {
		return err
	}
	if at, err := s.cell(key).standsAt(ctx); err != nil || at != (othersInTest+1)*counts {
		return fmt.Errorf("%d updates were confirmed, but the counter is at %d (error: %v)", (othersInTest+1)*counts, at, err)
	}
	return nil
}

// worker is another process.
type worker struct {
	in   io.WriteCloser
	out  *bufio.Scanner
	wait func() error
}

func (s *storeRun) startWorker(ctx context.Context) (*worker, error) {
	cmd := s.command(ctx)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{in: in, out: bufio.NewScanner(out), wait: cmd.Wait}
	return w, w.expect("ready")
}

// expect reads lines until one is an answer. It skips anything else that a test
// binary prints.
func (w *worker) expect(want string) error {
	for w.out.Scan() {
		switch text := w.out.Text(); {
		case text == want:
			return nil
		case strings.HasPrefix(text, "failed: "):
			return fmt.Errorf("the other process %s", text)
		}
	}
	return fmt.Errorf("the other process ends without answering %q", want)
}

func (w *worker) count(key, id string, expiry time.Time) error {
	if _, err := fmt.Fprintln(w.in, key, id, counts, expiry.UnixMilli()); err != nil {
		return err
	}
	return w.expect("done")
}

// stop lets the process end by itself.
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.wait()) }
