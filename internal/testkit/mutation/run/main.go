// Run removes the lines that docs/mutations.md lists, one place at a time, and
// fails unless each of the tests named there fails without them.
//
//	go run ./internal/testkit/mutation/run            # all
//	go run ./internal/testkit/mutation/run R4 R7-2    # of these rules, or one of them
//	go run ./internal/testkit/mutation/run -for 90s   # some, by chance, as time allows
//
// It changes no file: the compiler gets the changed text as an overlay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/testkit/mutation"
)

const (
	// buildTime bounds the compilation of one changed package and its tests.
	buildTime = 3 * time.Minute
	// testTime bounds one test. A test that does not end without the line also
	// fails.
	testTime = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	limit := flag.Duration("for", 0, "begin no further line after this time, and take them in any order; 0 is all")
	flag.Parse()
	err := run(ctx, *limit, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, limit time.Duration, rules []string) error {
	f, err := os.Open(mutation.Document)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := mutation.Parse(f, os.DirFS(mutation.Diffs))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if limit > 0 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	var survivors []error
	started := time.Now()
	for _, m := range all {
		if limit > 0 && time.Since(started) > limit {
			break
		}
		if len(rules) > 0 && !slices.Contains(rules, m.Rule) && !slices.Contains(rules, m.Name) {
			continue
		}
		begin := time.Now()
		err := try(ctx, tmp, &m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		said := "noticed"
		if err != nil {
			said = err.Error()
			survivors = append(survivors, fmt.Errorf("%s: %s (%s:%d): %w", m.Name, m.File, mutation.Document, m.Line, err))
		}
		fmt.Printf("%5.1f s  %-6s %-32s %s\n", time.Since(begin).Seconds(), m.Name, m.File, said)
	}
	return errors.Join(survivors...)
}

// try makes the change and runs the tests that must notice it.
func try(ctx context.Context, tmp string, m *mutation.Mutation) error {
	overlay, err := overlayFor(tmp, m)
	if err != nil {
		return err
	}
	byDir := map[string][]string{}
	for _, t := range m.Tests {
		byDir[t.Dir] = append(byDir[t.Dir], t.Name)
	}
	for dir, names := range byDir {
		binary := filepath.Join(tmp, "changed.test")
		build, cancel := context.WithTimeout(ctx, buildTime)
		out, err := exec.CommandContext(build, "go", "test", "-c", "-overlay", overlay, "-o", binary, "./"+dir).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("does not compile: %w\n%s", err, out)
		}
		for _, name := range names {
			if err := mustFail(ctx, binary, dir, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// overlayFor writes the changed file, and the overlay that makes the compiler
// use it.
func overlayFor(tmp string, m *mutation.Mutation) (string, error) {
	text, err := os.ReadFile(filepath.FromSlash(m.File))
	if err != nil {
		return "", err
	}
	changed, err := m.Apply(string(text))
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(filepath.FromSlash(m.File))
	if err != nil {
		return "", err
	}
	replaced := filepath.Join(tmp, "changed.go")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replaced}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(tmp, "overlay.json")
	return overlay, errors.Join(os.WriteFile(replaced, []byte(changed), 0o600), os.WriteFile(overlay, list, 0o600))
}

// mustFail runs one test, which must fail.
func mustFail(ctx context.Context, binary, dir, name string) error {
	test, cancel := context.WithTimeout(ctx, testTime+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(test, binary, "-test.run", "^"+name+"$", "-test.timeout", testTime.String())
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	said := string(out)
	switch {
	case err == nil && strings.Contains(said, "no tests to run"):
		return fmt.Errorf("there is no %s", name)
	case err == nil:
		return fmt.Errorf("%s passes without the line", name)
	case !strings.Contains(said, "--- FAIL: "+name) && !strings.Contains(said, "test timed out") && !strings.Contains(said, "panic: "):
		return fmt.Errorf("%s did not run: %w\n%s", name, err, out)
	}
	return nil
}
