package middlewaretest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse"
)

const (
	racers     = 16  // goroutines at one key
	raceRounds = 25  // keys that they race for
	counts     = 50  // updates of each goroutine
	processes  = 2   // beside the test itself
	triesEach  = 500 // swaps for one update; with racers of equal chances a few dozen do
)

// together runs f in many goroutines that begin at the same time.
func together(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	begin, errs := make(chan struct{}), make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = f(i)
		})
	}
	close(begin)
	wg.Wait()
	return errors.Join(errs...)
}

func winnerCase(ctx context.Context, s *storeRun) error {
	for range raceRounds {
		key := s.key()
		won := make([]bool, racers)
		if err := together(racers, func(i int) (err error) {
			won[i], err = s.SwapCtx(ctx, key, nil, fmt.Appendf(nil, "racer %d", i), s.later())
			return err
		}); err != nil {
			return err
		}
		var winners []int
		for i, w := range won {
			if w {
				winners = append(winners, i)
			}
		}
		if len(winners) != 1 {
			return fmt.Errorf("%d of %d racers have created the same key", len(winners), racers)
		}
		if err := s.holds(ctx, key, fmt.Appendf(nil, "racer %d", winners[0])); err != nil {
			return err
		}
	}
	return nil
}

// count adds to a counter n times. Each value has an id of its own, as those of
// gatehouse have, so that nobody takes another's value for his.
func count(ctx context.Context, store gatehouse.Store, key, id string, n int, expiry time.Time) error {
	i, tries := 0, 0
	for ; i < n && tries < n*triesEach; tries++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d of %d updates: %w", i, n, err)
		}
		old, found, err := store.FindCtx(ctx, key)
		if err != nil {
			return err
		}
		text, _, _ := strings.Cut(string(old), " ")
		at, err := strconv.Atoi(text)
		if !found || err != nil {
			return fmt.Errorf("the counter is %s", brief(old))
		}
		runtime.Gosched() // lets others come between
		swapped, err := store.SwapCtx(ctx, key, old, fmt.Appendf(nil, "%d %s.%d", at+1, id, i), expiry)
		if err != nil {
			return err
		}
		if swapped {
			i++
		}
	}
	if i < n {
		return fmt.Errorf("%d swaps have made %d updates", tries, i)
	}
	return nil
}

// counter lets goroutines share one counter and returns where it stands in the end.
func (s *storeRun) counter(ctx context.Context, store gatehouse.Store, goroutines int) (int, error) {
	key := s.key()
	if err := s.CommitCtx(ctx, key, []byte("0 start"), s.later()); err != nil {
		return 0, err
	}
	if err := together(goroutines, func(i int) error {
		return count(ctx, store, key, fmt.Sprint("g", i), counts, s.later())
	}); err != nil {
		return 0, err
	}
	return s.standsAt(ctx, key)
}

func (s *storeRun) standsAt(ctx context.Context, key string) (int, error) {
	b, _, err := s.FindCtx(ctx, key)
	if err != nil {
		return 0, err
	}
	text, _, _ := strings.Cut(string(b), " ")
	return strconv.Atoi(text)
}

// raceTime is how long updates are counted: a swap that is not atomic loses one
// within a fraction of it.
const raceTime = 400 * time.Millisecond

func counterCase(ctx context.Context, s *storeRun) error {
	for begin := time.Now(); time.Since(begin) < raceTime; {
		if err := s.countOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *storeRun) countOnce(ctx context.Context) error {
	if at, err := s.counter(ctx, s.Store, racers); err != nil || at != racers*counts {
		return fmt.Errorf("%d updates were confirmed, the counter stands at %d (error: %v)", racers*counts, at, err)
	}
	return nil
}

// lossy loses the first reply to every swap, after the write, and sends the
// command again, as clients of networks do.
type lossy struct{ gatehouse.Store }

func (l lossy) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	if _, err := l.Store.SwapCtx(ctx, key, old, new, expiry); err != nil {
		return false, err
	}
	return l.Store.SwapCtx(ctx, key, old, new, expiry)
}

// lossyCase counts with lost replies: exactly when alone. Among others a swap may
// answer false although it wrote, when another writer came before the repetition;
// but what was confirmed is there.
func lossyCase(ctx context.Context, s *storeRun) error {
	if at, err := s.counter(ctx, lossy{s.Store}, 1); err != nil || at != counts {
		return fmt.Errorf("%d updates of one writer, the counter stands at %d (error: %v)", counts, at, err)
	}
	if at, err := s.counter(ctx, lossy{s.Store}, racers); err != nil || at < racers*counts {
		return fmt.Errorf("%d updates were confirmed, the counter stands at %d (error: %v)", racers*counts, at, err)
	}
	return nil
}

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

// timely runs a call and expects it back in time after its context ended. A call
// that never ends cannot be stopped: its goroutine stays with the failed test.
func timely(ctx context.Context, wait time.Duration, call func(context.Context) error) (back bool, err error) {
	callCtx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(callCtx) }()
	timer := time.NewTimer(wait + hangBound)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// calls are all methods with a context, on one key.
func (s *storeRun) calls(key string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"FindCtx":     func(ctx context.Context) error { _, _, err := s.FindCtx(ctx, key); return err },
		"FindManyCtx": func(ctx context.Context) error { _, err := s.FindManyCtx(ctx, []string{key}); return err },
		"CommitCtx":   func(ctx context.Context) error { return s.CommitCtx(ctx, key, []byte("a"), s.later()) },
		"DeleteCtx":   func(ctx context.Context) error { return s.DeleteCtx(ctx, key) },
		"SwapCtx": func(ctx context.Context) error {
			_, err := s.SwapCtx(ctx, key, nil, []byte("a"), s.later())
			return err
		},
	}
}

func cancelledCase(ctx context.Context, s *storeRun) error {
	for name, call := range s.calls(s.key()) {
		if back, _ := timely(ctx, 0, call); !back {
			return fmt.Errorf("%s goes on %v after its context has ended", name, hangBound)
		}
	}
	key := s.key()
	return s.swap(ctx, key, nil, []byte("and the store works on"), true, []byte("and the store works on"))
}

func hangCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	release := s.hang()
	defer release()
	for name, call := range s.calls(key) {
		back, err := timely(ctx, 100*time.Millisecond, call)
		switch {
		case !back:
			return fmt.Errorf("%s goes on %v after its context has ended", name, hangBound)
		case err == nil:
			return fmt.Errorf("%s succeeds in a store that hangs", name)
		}
	}
	release()
	key = s.key()
	return s.swap(ctx, key, nil, []byte("awake"), true, []byte("awake"))
}

// ServeStore is the other side of [StoreProcess]: it works on the store as the
// test says on in, answers on out, and returns when in ends.
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
			return fmt.Errorf("middlewaretest: the test says %q", lines.Text())
		}
		answer := "done"
		if err := count(ctx, store, key, id, n, time.UnixMilli(expiry)); err != nil {
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
	if err := s.CommitCtx(ctx, key, []byte("0 start"), s.later()); err != nil {
		return err
	}
	workers := make([]*worker, processes)
	for i := range workers {
		var err error
		if workers[i], err = s.startWorker(ctx); err != nil {
			return err
		}
	}
	err := together(processes+1, func(i int) error {
		if i == processes {
			return count(ctx, s.Store, key, "test", counts, s.later())
		}
		return workers[i].count(key, fmt.Sprint("p", i), s.later())
	})
	for _, w := range workers {
		err = errors.Join(err, w.stop())
	}
	if err != nil {
		return err
	}
	if at, err := s.standsAt(ctx, key); err != nil || at != (processes+1)*counts {
		return fmt.Errorf("%d updates were confirmed, the counter stands at %d (error: %v)", (processes+1)*counts, at, err)
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

// expect reads lines until one is an answer; what a test binary prints besides is
// passed over.
func (w *worker) expect(want string) error {
	for w.out.Scan() {
		switch text := w.out.Text(); {
		case text == want:
			return nil
		case strings.HasPrefix(text, "failed: "):
			return fmt.Errorf("the other process %s", text)
		}
	}
	return fmt.Errorf("the other process ends without saying %q", want)
}

func (w *worker) count(key, id string, expiry time.Time) error {
	if _, err := fmt.Fprintln(w.in, key, id, counts, expiry.UnixMilli()); err != nil {
		return err
	}
	return w.expect("done")
}

// stop lets the process end by itself.
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.wait()) }
