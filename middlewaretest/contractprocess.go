package middlewaretest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"example.com/gatehouse"
)

const (
	othersInTest = 2  // processes besides the test itself
	sharedNames  = 50 // resources that processes register at once
)

// ServeStore is the other side of [StoreProcess]. It reads the test's commands
// for the store from in, answers on out, and returns when in ends. For
// [TestGrantStore], [TestResourceIDs] and [TestRegistrationStore] the store has to
// implement that interface too.
func ServeStore(ctx context.Context, store gatehouse.Store, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	for lines.Scan() {
		answer, err := serveLine(ctx, store, lines.Text())
		if errors.Is(err, errCommand) {
			return err
		}
		if err != nil {
			answer = "failed: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

var errCommand = errors.New("middlewaretest: unknown command from the test")

// serveLine does what one line of the test says.
func serveLine(ctx context.Context, store gatehouse.Store, line string) (answer string, err error) {
	var what, place, id string
	var n int
	var expiry int64
	if _, err := fmt.Sscan(line, &what, &place, &id, &n, &expiry); err != nil {
		return "", fmt.Errorf("%w: %q", errCommand, line)
	}
	what, reads := strings.CutPrefix(what, reading)
	if what == "ids" {
		ids, ok := store.(gatehouse.ResourceIDs)
		switch {
		case !ok:
			return "", fmt.Errorf("a %T is no ResourceIDs", store)
		case reads:
			kept, err := ids.ID(ctx, place, "", idName(0))
			return "done " + strconv.Quote(kept), err
		}
		sum, err := putAll(ctx, ids, place, id, n)
		return "done " + sum, err
	}
	c, err := servedCell(store, what, place, expiry)
	switch {
	case err != nil:
		return "", err
	case reads:
		if what == "count" {
			c = bothWays(store, c, place)
		}
		value, err := c.read(ctx)
		return "done " + brief(value), err
	}
	return "done", count(ctx, c, id, n)
}

// reading is how a command begins that reads what the rest of it would write.
const reading = "read-"

// servedCell is the place that a command names.
func servedCell(store gatehouse.Store, what, place string, expiry int64) (cell, error) {
	switch what {
	case "count":
		return storeCell(store, place, func() time.Time { return time.UnixMilli(expiry) }), nil
	case "grant":
		grants, ok := store.(gatehouse.GrantStore)
		if !ok {
			return cell{}, fmt.Errorf("a %T is no GrantStore", store)
		}
		return grantCell(grants, place, "owner"), nil
	case "registration":
		clients, ok := store.(gatehouse.RegistrationStore)
		if !ok {
			return cell{}, fmt.Errorf("a %T is no RegistrationStore", store)
		}
		return grantCell(registrations{clients}, place, "owner"), nil
	}
	return cell{}, fmt.Errorf("%w: %q", errCommand, what)
}

// bothWays is a cell of which both ways of reading have to say the same.
func bothWays(store gatehouse.Store, c cell, key string) cell {
	return cell{func(ctx context.Context) ([]byte, error) {
		many, err := store.FindManyCtx(ctx, []string{key})
		if err != nil {
			return nil, err
		}
		one, err := c.read(ctx)
		if err == nil && brief(one) != brief(first(many)) {
			err = fmt.Errorf("FindManyCtx returns %s, and then FindCtx %s", brief(first(many)), brief(one))
		}
		return one, err
	}, c.swap}
}

func idName(i int) string { return fmt.Sprint("photo ", i) }

// putAll registers n resources as id, and returns a digest of what is kept.
func putAll(ctx context.Context, ids gatehouse.ResourceIDs, issuer, id string, n int) (sum string, err error) {
	digest := sha256.New()
	for i := range n {
		winner, err := ids.PutIfAbsent(ctx, issuer, "", idName(i), fmt.Sprint(id, "-", i))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%q\n", winner)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// worker is another process.
type worker struct {
	in  io.WriteCloser
	out *bufio.Scanner
	cmd *exec.Cmd
}

func (s *suite) startWorker(ctx context.Context) (*worker, error) {
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
	w := &worker{in: in, out: bufio.NewScanner(out), cmd: cmd}
	_, err = w.expect("ready")
	return w, err
}

// expect reads lines until one is an answer, and returns what follows it. It
// skips anything else that a test binary prints.
func (w *worker) expect(want string) (rest string, err error) {
	for w.out.Scan() {
		first, rest, _ := strings.Cut(w.out.Text(), " ")
		switch first {
		case want:
			return rest, nil
		case "failed:":
			return "", fmt.Errorf("the other process failed: %s", rest)
		}
	}
	return "", fmt.Errorf("the other process ends without answering %q", want)
}

// do sends one command and waits for its answer.
func (w *worker) do(what, place, id string, n int, expiry time.Time) (rest string, err error) {
	if _, err := fmt.Fprintln(w.in, what, place, id, n, expiry.UnixMilli()); err != nil {
		return "", err
	}
	return w.expect("done")
}

// stop lets the process end by itself.
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.cmd.Wait()) }

// kill ends the process wherever it is.
func (w *worker) kill() error {
	err := w.cmd.Process.Kill()
	_ = w.cmd.Wait() // killed
	return err
}

// withProcesses runs command in other processes, and self in this one, at the
// same time. The answers of all come back, that of this process last.
func (s *suite) withProcesses(ctx context.Context, what, place string, n int, self func(context.Context) (string, error)) (answers []string, err error) {
	ctx, cancel := context.WithCancel(ctx) // ends the processes in any case
	defer cancel()
	workers := make([]*worker, othersInTest)
	for i := range workers {
		if workers[i], err = s.startWorker(ctx); err != nil {
			return nil, err
		}
	}
	answers = make([]string, othersInTest+1)
	err = together(othersInTest+1, func(i int) (err error) {
		if i == othersInTest {
			answers[i], err = self(ctx)
			return err
		}
		answers[i], err = workers[i].do(what, place, fmt.Sprint("p", i), n, s.later())
		return err
	})
	for _, w := range workers {
		err = errors.Join(err, w.stop())
	}
	return answers, err
}

// countsWithProcesses counts in a cell together with other processes.
func (s *suite) countsWithProcesses(ctx context.Context, what, place string, c cell) error {
	if err := c.swaps(ctx, nil, []byte(counterStart), true, []byte(counterStart)); err != nil {
		return err
	}
	if _, err := s.withProcesses(ctx, what, place, counts, func(ctx context.Context) (string, error) {
		return "", count(ctx, c, "test", counts)
	}); err != nil {
		return err
	}
	if at, err := c.standsAt(ctx); err != nil || at != (othersInTest+1)*counts {
		return fmt.Errorf("%d updates were confirmed, but the counter is at %d (error: %v)", (othersInTest+1)*counts, at, err)
	}
	return nil
}

func processCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return s.countsWithProcesses(ctx, "count", key, s.cell(key))
}

func grantProcessCase(ctx context.Context, s *grantRun) error {
	issuer := s.issuer()
	return s.countsWithProcesses(ctx, "grant", issuer, s.cell(issuer, "owner"))
}

func idProcessCase(ctx context.Context, s *idsRun) error {
	issuer := s.issuer()
	self := func(ctx context.Context) (string, error) { return putAll(ctx, s, issuer, "test", sharedNames) }
	answers, err := s.withProcesses(ctx, "ids", issuer, sharedNames, self)
	if err != nil {
		return err
	}
	for i, got := range answers {
		if got != answers[0] {
			return fmt.Errorf("process %d was told that other ids are stored than process 0 was", i)
		}
	}
	return nil
}

// withWorker runs f beside one other process.
func (s *suite) withWorker(ctx context.Context, f func(context.Context, *worker) error) error {
	ctx, cancel := context.WithCancel(ctx) // ends the process in any case
	defer cancel()
	w, err := s.startWorker(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, w), w.stop())
}

// reads expects the other process to read something.
func (w *worker) reads(what, place, want string) error {
	got, err := w.do(reading+what, place, "p", 1, time.Time{})
	if err == nil && got != want {
		err = fmt.Errorf("another process reads %s, after this one has stored %s", got, want)
	}
	return err
}

// seesAtOnce lets two processes write by turns. Each has to see at once what the
// other has written, although it has read the value of before.
func (s *suite) seesAtOnce(ctx context.Context, what, place string, c cell) error {
	return s.withWorker(ctx, func(ctx context.Context, w *worker) error {
		at, value := 0, []byte(counterStart)
		if err := w.reads(what, place, brief(nil)); err != nil { // an absence must not be remembered either
			return err
		}
		if err := c.swaps(ctx, nil, value, true, value); err != nil {
			return err
		}
		for range counts {
			if err := w.reads(what, place, brief(value)); err != nil {
				return err
			}
			if _, err := w.do(what, place, "p", 1, s.later()); err != nil {
				return err
			}
			now, err := c.read(ctx)
			if err != nil {
				return err
			}
			if at++; brief(now) != brief(fmt.Appendf(nil, "%d p.0", at)) {
				return fmt.Errorf("this process reads %s, after another has stored number %d", brief(now), at)
			}
			at, value = at+1, fmt.Appendf(nil, "%d test", at+1)
			if err := c.swaps(ctx, now, value, true, value); err != nil {
				return err
			}
		}
		return steps(
			func() error { return w.reads(what, place, brief(value)) },
			func() error { return c.swaps(ctx, value, nil, true, nil) },
			func() error { return w.reads(what, place, brief(nil)) },
			func() error { return c.swaps(ctx, nil, value, true, value) },
			func() error { return w.reads(what, place, brief(value)) },
		)
	})
}

func atOnceCase(ctx context.Context, s *storeRun) error {
	key := s.key()
	return s.seesAtOnce(ctx, "count", key, bothWays(s.Store, s.cell(key), key))
}

func grantAtOnceCase(ctx context.Context, s *grantRun) error {
	issuer := s.issuer()
	return s.seesAtOnce(ctx, "grant", issuer, s.cell(issuer, "owner"))
}

// idAtOnceCase is seesAtOnce for ids.
func idAtOnceCase(ctx context.Context, s *idsRun) error {
	issuer := s.issuer()
	p := s.slot(issuer, "", idName(0))
	return s.withWorker(ctx, func(ctx context.Context, w *worker) error {
		for i := range counts {
			id := fmt.Sprint("r-", i)
			if err := steps(
				func() error { return w.reads("ids", issuer, strconv.Quote("")) },
				func() error { return p.puts(ctx, id, id) },
				func() error { return w.reads("ids", issuer, strconv.Quote(id)) },
				func() error { return p.drops(ctx, id, "") },
				func() error { return w.reads("ids", issuer, strconv.Quote("")) },
				func() error { _, err := w.do("ids", issuer, "p", 1, time.Time{}); return err },
				func() error { return p.holds(ctx, "p-0") },
				func() error { return p.drops(ctx, "p-0", "") },
			); err != nil {
				return err
			}
		}
		return nil
	})
}
