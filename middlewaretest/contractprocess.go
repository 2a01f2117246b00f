package middlewaretest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	switch what {
	case "count":
		c := storeCell(store, place, func() time.Time { return time.UnixMilli(expiry) })
		return "done", count(ctx, c, id, n)
	case "grant":
		grants, ok := store.(gatehouse.GrantStore)
		if !ok {
			return "", fmt.Errorf("a %T is no GrantStore", store)
		}
		return "done", count(ctx, grantCell(grants, place, "owner"), id, n)
	case "registration":
		clients, ok := store.(gatehouse.RegistrationStore)
		if !ok {
			return "", fmt.Errorf("a %T is no RegistrationStore", store)
		}
		return "done", count(ctx, grantCell(registrations{clients}, place, "owner"), id, n)
	case "ids":
		ids, ok := store.(gatehouse.ResourceIDs)
		if !ok {
			return "", fmt.Errorf("a %T is no ResourceIDs", store)
		}
		sum, err := putAll(ctx, ids, place, id, n)
		return "done " + sum, err
	}
	return "", fmt.Errorf("%w: %q", errCommand, line)
}

// putAll registers n resources as id, and returns a digest of what is kept.
func putAll(ctx context.Context, ids gatehouse.ResourceIDs, issuer, id string, n int) (sum string, err error) {
	digest := sha256.New()
	for i := range n {
		winner, err := ids.PutIfAbsent(ctx, issuer, "", fmt.Sprint("photo ", i), fmt.Sprint(id, "-", i))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%q\n", winner)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// worker is another process.
type worker struct {
	in   io.WriteCloser
	out  *bufio.Scanner
	wait func() error
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
	w := &worker{in: in, out: bufio.NewScanner(out), wait: cmd.Wait}
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
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.wait()) }

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
