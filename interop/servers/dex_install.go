package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	dexModule = "github.com/dexidp/dex"
	// dexVersion is of August 2026. The proxy has no release after 2018 by name.
	dexVersion = "v0.0.0-20260806151424-ab64ed778070"
	// dexSum is the hash of the module, as go.sum has it.
	dexSum = "h1:Zhb4XyHQ8935RToX2ZgxyfQcg8EE9gSnbk2Zi5PYf4E="
)

// dexFiles are the assets of Dex, and where they are copied to.
var dexFiles = map[string]string{
	"dex/main.go.txt":      "main.go",
	"dex/go.mod.txt":       "go.mod",
	"dex/go.sum.txt":       "go.sum",
	"dex/connector.go.txt": "dex/server/connector.go",
}

// installDex builds Dex from its module and returns the program. It leaves out
// the connectors to other providers, all storage but memory, and the signer for
// Vault, because they make two thirds of the time to compile: 35 s of one
// processor are left. How tokens are made is Dex's own.
func installDex(ctx context.Context, dir string) (string, error) {
	names := make([]string, 0, len(dexFiles))
	for name := range dexFiles {
		names = append(names, name)
	}
	slices.Sort(names)
	version, err := sumOfAssets(names...)
	if err != nil {
		return "", err
	}
	target, err := installOnce(dir, "dex", dexVersion+" "+version, func(target string) error {
		source, err := downloadDex(ctx, target)
		if err != nil {
			return err
		}
		for _, part := range []string{"connector", "pkg", "server", "storage", "web", "go.mod"} {
			if err := copyDex(filepath.Join(source, part), filepath.Join(target, "dex", part), part); err != nil {
				return err
			}
		}
		for _, name := range names {
			if err := copyAsset(name, filepath.Join(target, dexFiles[name])); err != nil {
				return err
			}
		}
		return run(ctx, target, goEnvironment, "go", "build", "-o", "server", ".")
	})
	return filepath.Join(target, "server"), err
}

// goEnvironment keeps a go command to the module in its directory, and out of the
// repository around it.
var goEnvironment = []string{"GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false", "CGO_ENABLED=0"}

// downloadDex returns the directory of Dex's source.
func downloadDex(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", dexModule+"@"+dexVersion)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s%s", err, out, exit.Stderr)
		}
		return "", fmt.Errorf("download %s: %w", dexModule, err)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", err
	}
	if module.Sum != dexSum {
		return "", fmt.Errorf("%s has the hash %s, want %s", dexModule, module.Sum, dexSum)
	}
	return module.Dir, nil
}

// copyDex copies a part of Dex without what is left out.
func copyDex(source, target, part string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(filepath.Join(part, below))
		top := strings.Count(name, "/") == 1
		switch {
		case entry.IsDir() && top && (part == "connector" || part == "storage" && name != "storage/memory"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(target, below), 0o755)
		case strings.HasSuffix(name, "_test.go"), name == "server/signer/vault.go":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(target, below)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
}
