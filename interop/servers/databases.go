package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Databases sees to it that Redis, PostgreSQL and PgBouncer are installed, for a
// test that starts its own.
func Databases(t testing.TB) {
	t.Helper()
	dir, err := installDir()
	if err == nil {
		_, err = installDatabases(t.Context(), dir)
	}
	if err != nil {
		t.Fatalf("databases: %v", err)
	}
}

// servicePolicy is the program that Debian's packages ask before they start a
// service of their own.
const servicePolicy = "/usr/sbin/policy-rc.d"

// installDatabases installs what the store modules are tested on. They start
// servers of their own, on free ports, so the services of the packages are not
// started.
func installDatabases(ctx context.Context, dir string) (string, error) {
	if findDatabases() == "" {
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
	path, err := installDebian(ctx, dir, findDatabases, "redis-server", "redis-sentinel", "postgresql", "pgbouncer")
	if err != nil {
		return "", fmt.Errorf("no Redis, PostgreSQL and PgBouncer: %w", err)
	}
	return path, nil
}

// findDatabases returns the path of one of the programs if all are there.
func findDatabases() string {
	postgres, err := exec.LookPath("postgres")
	if err != nil { // Debian keeps it off the PATH
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if err != nil || len(found) == 0 {
			return ""
		}
		postgres = found[0]
	}
	for _, name := range []string{"redis-server", "redis-sentinel", "pgbouncer"} {
		if _, err := exec.LookPath(name); err != nil {
			return ""
		}
	}
	return postgres
}
