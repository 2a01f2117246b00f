package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/sqlitestore"
)

// With these variables the test binary is another process on the same file.
const (
	childFile = "SQLITESTORE_TEST_FILE"
	childDoes = "SQLITESTORE_TEST_DOES" // serve, freeze or write
)

func TestMain(m *testing.M) {
	file := os.Getenv(childFile)
	if file == "" {
		os.Exit(m.Run())
	}
	if err := child(context.Background(), file, os.Getenv(childDoes)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child serves the store to a test, or takes a lock and keeps it until its
// input ends.
func child(ctx context.Context, file, does string) error {
	if does == "freeze" {
		return freeze(file)
	}
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return err
	}
	defer db.Close()
	if does == "write" {
		return write(ctx, db)
	}
	store, err := sqlitestore.New(db, sqlitestore.Config{Timeout: patient})
	if err != nil {
		return err
	}
	defer store.Close()
	return middlewaretest.ServeStore(ctx, store, os.Stdin, os.Stdout)
}

// freeze locks the part of the index of the log that every reader and writer
// locks: bytes 120 to 127, as SQLite's file format says.
func freeze(file string) error {
	f, err := os.OpenFile(file+"-shm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 120, Len: 8}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLKW, &lock); err != nil {
		return err
	}
	return held()
}

// write begins a change and does not end it.
func write(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 10000"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "DELETE FROM gatehouse"); err != nil {
		return err
	}
	return held()
}

func held() error {
	fmt.Println("held")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func process(ctx context.Context, t testing.TB, file, does string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+file, childDoes+"="+does)
	cmd.Stderr = t.Output()
	return cmd
}

// locked has another process take a lock of the file and keep it.
func locked(t testing.TB, file, does string) (release func()) {
	t.Helper()
	cmd, in := hold(t, file, does)
	return func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// hold starts another process that takes a lock. It keeps that until its input
// ends.
func hold(t testing.TB, file, does string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := process(context.WithoutCancel(t.Context()), t, file, does)
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("held\n"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd, in
}

// lockedUntilKilled has another process begin a change, and die in it.
func lockedUntilKilled(t testing.TB, file string) (kill func()) {
	t.Helper()
	cmd, _ := hold(t, file, "write")
	return func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
	}
}

// newFile is the path of a database that does not exist yet.
func newFile(t testing.TB) string { return filepath.Join(t.TempDir(), "sessions.db") }

// connect opens a file. options are those of the driver, such as
// "_pragma=synchronous(normal)".
func connect(t testing.TB, file, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?"+options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// open makes a store of a test that sweeps only when it is told.
func open(t testing.TB, db *sql.DB, config sqlitestore.Config) *sqlitestore.Store {
	t.Helper()
	if config.Sweep == 0 {
		config.Sweep = -1
	}
	store, err := sqlitestore.New(db, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// patient lets sixteen racers on a machine with other things to do come to their
// turn. Calls that must end earlier have a context that does.
const patient = 20 * time.Second
