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

// Before is the build N−1: the last commit before sessions could be kept in the
// stores of this repository. G14 replaces replicas of one build by the other.
const Before = "7370001"

// buildPatience bounds a build on a busy machine with an empty cache.
const buildPatience = 15 * time.Minute

// Programs builds the site. Close removes what was built. It is safe for
// concurrent use.
type Programs struct {
	// Plain is the replica as it stands here, Raced the same with the race
	// detector, and Old the replica on gatehouse as it was at the commit Before.
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
	p.Old = p.built("old", p.checkOut, "-tags", "before")
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

// checkOut lays the repository out as it was at the commit Before, and puts the
// stores and the replica of now into it: those did not exist then, and use
// nothing that did not.
func (p *Programs) checkOut(ctx context.Context) (string, error) {
	tree := filepath.Join(p.tmp, "old")
	if err := os.MkdirAll(tree, 0o700); err != nil {
		return "", err
	}
	root := filepath.Join(p.dir, "..", "..")
	archive := tree + ".tar"
	git := exec.Command("git", "archive", "-o", archive, Before)
	git.Dir = root
	if err := process.Run(ctx, "git archive", git); err != nil {
		return "", fmt.Errorf("the history of the repository has to reach back to %s: %w", Before, err)
	}
	if err := process.Run(ctx, "tar", exec.Command("tar", "-xf", archive, "-C", tree)); err != nil {
		return "", err
	}
	for _, part := range []string{"redisstore", "pgstore", filepath.Join("interop", "reliability")} {
		to := filepath.Join(tree, part)
		if err := os.RemoveAll(to); err != nil {
			return "", err
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(root, part))); err != nil {
			return "", err
		}
	}
	return filepath.Join(tree, "interop", "reliability"), nil
}
