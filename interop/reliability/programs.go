package reliability

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// Before is the build N−1: a commit of before, with the stores and the replica of
// its own. G14 replaces replicas of one build by the other.
const Before = "bbf9aca"

// buildPatience bounds a build on a busy machine with an empty cache.
const buildPatience = 15 * time.Minute

// Programs builds the site. Close removes what was built. It is safe for
// concurrent use.
type Programs struct {
	// Plain is the replica as it stands here, Raced the same with the race
	// detector, and Old the replica as it was at the commit Before.
	// Each is built at the first call.
	Plain, Raced, Old func(context.Context) (path string, err error)

	dir string // of this module
	tmp string
}

// NewPrograms builds in a directory of its own. The working directory is within
// the module.
func NewPrograms() (*Programs, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("where the module is: %w", err)
	}
	tmp, err := os.MkdirTemp("", "gatehouse-reliability-")
	if err != nil {
		return nil, err
	}
	p := &Programs{dir: strings.TrimSpace(string(out)), tmp: tmp}
	here := func(context.Context) (string, error) { return p.dir, nil }
	p.Plain = p.built("plain", here)
	p.Raced = p.built("raced", here, "-race")
	p.Old = p.built("old", p.checkOut)
	return p, nil
}

// Close removes the builds.
func (p *Programs) Close() error { return os.RemoveAll(p.tmp) }

// built returns a function that builds a replica once.
func (p *Programs) built(name string, source func(context.Context) (string, error), flags ...string) func(context.Context) (string, error) {
	var mu sync.Mutex
	var made string
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if made != "" {
			return made, nil
		}
		ctx, cancel := context.WithTimeout(ctx, buildPatience)
		defer cancel()
		dir, err := source(ctx)
		if err != nil {
			return "", err
		}
		path := filepath.Join(p.tmp, "replica-"+name)
		cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./replica")...)
		cmd.Dir = dir
		if err := process.Run(ctx, "go build", cmd); err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
		made = path
		return made, nil
	}
}

// checkOut lays the repository out as it was at the commit Before.
func (p *Programs) checkOut(ctx context.Context) (string, error) {
	tree := filepath.Join(p.tmp, "old")
	if err := os.MkdirAll(tree, 0o700); err != nil {
		return "", err
	}
	archive := tree + ".tar"
	git := exec.Command("git", "archive", "-o", archive, Before)
	git.Dir = filepath.Join(p.dir, "..", "..")
	if err := process.Run(ctx, "git archive", git); err != nil {
		return "", fmt.Errorf("the history of the repository has to reach back to %s: %w", Before, err)
	}
	if err := process.Run(ctx, "tar", exec.Command("tar", "-xf", archive, "-C", tree)); err != nil {
		return "", err
	}
	return filepath.Join(tree, "interop", "reliability"), nil
}
