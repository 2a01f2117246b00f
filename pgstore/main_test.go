package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/pgstore"
)

// With these variables the test binary is another process on the same table.
const (
	childDSN   = "PGSTORE_TEST_DSN"
	childTable = "PGSTORE_TEST_TABLE"
	// childCreates has it change all childKeys, instead of serving the store.
	childCreates = "PGSTORE_TEST_CREATES"
)

// childKeys are changed by a create, a commit and a replacement.
var childKeys = []string{"created", "committed", "replaced"}

// The servers of all tests. A test that stops one starts it again.
var (
	server  *backing.Postgres
	bouncer *backing.PgBouncer
)

func TestMain(m *testing.M) {
	var err error
	code := 0
	if dsn := os.Getenv(childDSN); dsn != "" {
		err = child(context.Background(), dsn, os.Getenv(childTable))
	} else {
		code, err = withServers(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withServers(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if server, err = backing.StartPostgres(ctx, backing.PostgresConfig{Settings: map[string]string{"max_connections": "300"}}); err != nil {
		return 0, err
	}
	defer server.Close()
	if bouncer, err = backing.StartPgBouncer(ctx, server, "transaction"); err != nil {
		return 0, err
	}
	defer bouncer.Close()
	return m.Run(), nil
}

// child serves the store to a test, or makes one change and waits to be killed.
func child(ctx context.Context, dsn, table string) error {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	config := pgstore.Config{Table: table}
	if os.Getenv(childCreates) == "" {
		config.Timeout = patient
	}
	store, err := pgstore.New(pool, config)
	if err != nil {
		return err
	}
	defer store.Close()
	if os.Getenv(childCreates) != "" {
		return changeAll(ctx, store)
	}
	return middlewaretest.ServeStore(ctx, store, os.Stdin, os.Stdout)
}

// changeAll changes childKeys. It is killed within the second in which the calls
// would end and have their statements cancelled.
func changeAll(ctx context.Context, store *pgstore.Store) error {
	later := time.Now().Add(time.Hour)
	errs := make(chan error, len(childKeys))
	go func() { _, err := store.SwapCtx(ctx, "created", nil, []byte("late"), later); errs <- err }()
	go func() { errs <- store.CommitCtx(ctx, "committed", []byte("late"), later) }()
	go func() { _, err := store.SwapCtx(ctx, "replaced", []byte("x"), []byte("late"), later); errs <- err }()
	return errors.Join(<-errs, <-errs, <-errs)
}

func process(ctx context.Context, t *testing.T, dsn, table string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDSN+"="+dsn, childTable+"="+table)
	cmd.Stderr = t.Output()
	return cmd
}

func connect(t testing.TB, dsn string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// settings are those of each connection of a pool.
func settings(of map[string]string) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { maps.Copy(c.ConnConfig.RuntimeParams, of) }
}

// tableOf is a name for the table of a test.
func tableOf(t testing.TB) string {
	return strings.ToLower(strings.NewReplacer("/", "_", " ", "_", "-", "_").Replace(t.Name()))
}

// open makes a store of a test, on a table of its own, that sweeps only when it
// is told.
func open(t testing.TB, pool *pgxpool.Pool, config pgstore.Config) *pgstore.Store {
	t.Helper()
	if config.Table == "" {
		config.Table = tableOf(t)
	}
	if config.Sweep == 0 {
		config.Sweep = -1
	}
	store, err := pgstore.New(pool, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// statement runs SQL as the administrator.
func statement(t *testing.T, sql string, args ...any) {
	t.Helper()
	admin := connect(t, server.DSN())
	defer admin.Close()
	if _, err := admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
