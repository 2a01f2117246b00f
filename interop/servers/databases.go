package servers

import (
	"context"
	"fmt"
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

// installDatabases installs what the store modules are tested on. They start
// servers of their own, on free ports, so the services of the packages are not
// started.
func installDatabases(ctx context.Context, dir string) (string, error) {
	path, err := installDebianService(ctx, dir, findDatabases, "redis-server", "redis-sentinel", "postgresql", "pgbouncer")
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
