package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"example.com/gatehouse/internal/testkit/process"
)

// A step is a part of the installation.
type step struct {
	name    string
	install func(ctx context.Context, dir string) (path string, err error)
}

// Install installs everything that the tests need. It installs independent
// parts at the same time, and for each writes a line with its seconds to w.
// What is already there takes no time. It returns the problems of all parts
// together.
func Install(ctx context.Context, w io.Writer) error {
	dir, err := installDir()
	if err != nil {
		return err
	}
	chains := [][]step{
		{{"npm packages", installNode}, {"dex", installDex}},
		{{"apache", installApache}, {"chromium", installChromium}, {"databases", installDatabases},
			{"glewlwyd", installGlewlwyd}, {"lemonldap", installLemonLDAP}},
		{{"keycloak", installKeycloak}, {"keycloak's realms", installKeycloakSeed}},
	}
	var (
		mu       sync.Mutex
		problems []error
		wg       sync.WaitGroup
	)
	for _, chain := range chains {
		wg.Go(func() {
			for _, step := range chain {
				start := time.Now()
				_, err := step.install(ctx, dir)
				result := "ready"
				if err != nil {
					result = "failed"
				}
				mu.Lock()
				fmt.Fprintf(w, "%6.1f s  %s %s\n", time.Since(start).Seconds(), step.name, result)
				problems = append(problems, err) // Join drops nil
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(problems...)
}

// installNode installs the npm packages of the lock file and returns the
// directory that holds node_modules, op.mjs and express.mjs.
func installNode(ctx context.Context, dir string) (string, error) {
	files := []string{"package.json", "package-lock.json", "op.mjs", "express.mjs"}
	version, err := sumOfAssets(files...)
	if err != nil {
		return "", err
	}
	return installOnce(dir, "node", version, func(target string) error {
		for _, name := range files {
			if err := copyAsset(name, filepath.Join(target, name)); err != nil {
				return err
			}
		}
		// npm ci takes exactly what the lock file names and compares the hashes.
		return run(ctx, target, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
}

// installChromium returns the path of a Chromium: one on PATH, or else
// Debian's.
func installChromium(ctx context.Context, dir string) (string, error) {
	path, err := installDebian(ctx, dir, findChromium, "chromium")
	if err != nil {
		return "", fmt.Errorf("no chromium on PATH: %w", err)
	}
	return path, nil
}

// installDebian returns what find finds, and installs Debian packages if it
// finds nothing.
func installDebian(ctx context.Context, dir string, find func() string, packages ...string) (string, error) {
	// apt-get waits for another apt-get when it installs, but not when it
	// updates.
	unlock, err := lock(filepath.Join(dir, "apt-get.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if path := find(); path != "" {
		return path, nil
	}
	const wait = "DPkg::Lock::Timeout=300" // for one that is not ours
	quiet := []string{"DEBIAN_FRONTEND=noninteractive"}
	if err := run(ctx, dir, quiet, "apt-get", "-o", wait, "update", "-qq"); err != nil {
		return "", err
	}
	install := append([]string{"-o", wait, "install", "-y", "-qq", "--no-install-recommends"}, packages...)
	if err := run(ctx, dir, quiet, "apt-get", install...); err != nil {
		return "", err
	}
	if path := find(); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("apt-get installed %q, but it is not there", packages)
}

// servicePolicy is the program that Debian's packages ask before they start a
// service of their own.
const servicePolicy = "/usr/sbin/policy-rc.d"

// installDebianService is installDebian for packages that would start a service.
// They must not.
func installDebianService(ctx context.Context, dir string, find func() string, packages ...string) (string, error) {
	unlock, err := lock(filepath.Join(dir, "policy.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if find() == "" {
		// A policy that is there already is the machine's, and stays.
		f, err := os.OpenFile(servicePolicy, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
		switch {
		case err == nil:
			defer os.Remove(servicePolicy)
			_, writeErr := f.WriteString("#!/bin/sh\nexit 101\n") // forbidden
			if err := errors.Join(writeErr, f.Close()); err != nil {
				return "", err
			}
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
	return installDebian(ctx, dir, find, packages...)
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// run runs a command in dir with extra environment. Its error has the end of
// the command's output.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	return process.Run(ctx, name, cmd)
}

func copyAsset(name, path string) error {
	content, err := asset(name)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// sumOfAssets distinguishes states of the named assets.
func sumOfAssets(names ...string) (string, error) {
	sum := sha256.New()
	for _, name := range names {
		content, err := asset(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", name, len(content))
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
