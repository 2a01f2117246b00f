package pgstore_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/trouble"
	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/pgstore"
)

// The contracts of gatehouse, through PgBouncer in transaction mode, with a pool
// left at its defaults.
func TestContracts(t *testing.T) {
	store := open(t, connect(t, bouncer.DSN()), pgstore.Config{Timeout: patient})
	table := tableOf(t)
	hang := middlewaretest.StoreHang(locked(t, table))
	shared := processes(t, bouncer.DSN(), table)
	t.Run("Store", func(t *testing.T) { storeContract(t, store, hang, shared) })
	t.Run("GrantStore", func(t *testing.T) {
		middlewaretest.TestGrantStore(t, func(*testing.T) gatehouse.GrantStore { return store }, hang, shared)
	})
	t.Run("RegistrationStore", func(t *testing.T) {
		middlewaretest.TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return store }, hang, shared)
	})
	t.Run("ResourceIDs", func(t *testing.T) {
		middlewaretest.TestResourceIDs(t, func(*testing.T) gatehouse.ResourceIDs { return store }, hang, shared)
	})
}

// The contract of sessions, on a server without a pooler, all of which hangs.
func TestContractAtTheServer(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{Timeout: patient})
	storeContract(t, store, middlewaretest.StoreHang(paused), processes(t, server.DSN(), tableOf(t)))
}

func storeContract(t *testing.T, store gatehouse.Store, options ...middlewaretest.StoreOption) {
	middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return store }, options...)
}

func processes(t *testing.T, dsn, table string) middlewaretest.StoreOption {
	return middlewaretest.StoreProcess(func(ctx context.Context) *exec.Cmd { return process(ctx, t, dsn, table) })
}

// However people connect, and however their database separates transactions, no
// update is lost, and none is an error.
func TestConnections(t *testing.T) {
	for _, c := range []struct {
		name, dsn string
		change    func(*pgxpool.Config)
	}{
		{"pgbouncer", bouncer.DSN(), func(*pgxpool.Config) {}},
		{"pgbouncer and a pool for it", bouncer.DSN(), func(c *pgxpool.Config) {
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			c.ConnConfig.StatementCacheCapacity, c.ConnConfig.DescriptionCacheCapacity = 0, 0
		}},
		// The database ends one of two statements that change the same row.
		{"serializable", server.DSN(), settings(map[string]string{"default_transaction_isolation": "serializable"})},
		{"repeatable read", server.DSN(), settings(map[string]string{"default_transaction_isolation": "repeatable read"})},
		// How the database writes and reads values is another matter of its settings.
		{"forms of values", server.DSN(), settings(map[string]string{
			"bytea_output": "escape", "standard_conforming_strings": "off", "client_encoding": "LATIN1", "DateStyle": "SQL, DMY",
			"IntervalStyle": "postgres_verbose", "TimeZone": "Asia/Kathmandu", "transform_null_equals": "on", "array_nulls": "off",
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, connect(t, c.dsn, c.change), pgstore.Config{Timeout: patient, Table: "connections"})
			trouble.Fill(t, store)
			trouble.Works(t, store)
			countTogether(t, store, c.name)
		})
	}
}

// countTogether has many count in one value.
func countTogether(t *testing.T, store *pgstore.Store, key string) {
	const racers, each = 8, 25
	later := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for r := range racers {
		wg.Go(func() {
			for i := 0; i < each; {
				old, _, err := store.FindCtx(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				fmt.Sscan(string(old), &n) // 0 if there is nothing
				swapped, err := store.SwapCtx(t.Context(), key, old, fmt.Appendf(nil, "%d by %d.%d", n+1, r, i), later)
				if err != nil {
					t.Error(err)
					return
				}
				if swapped {
					i++
				}
			}
		})
	}
	wg.Wait()
	value, _, err := store.FindCtx(t.Context(), key)
	if want := fmt.Sprint(racers*each, " "); !strings.HasPrefix(string(value), want) || err != nil {
		t.Errorf("the counter is %q, want %s (%v)", value, want, err)
	}
}

// patient lets sixteen racers on a machine with other things to do come to their
// turn. Calls that must end earlier have a context that does.
const patient = 20 * time.Second

// paused stops the server's processes.
func paused() (release func()) {
	server.Pause()
	return sync.OnceFunc(server.Resume)
}

// locked locks the tables, as a careless ALTER TABLE does.
func locked(t *testing.T, table string) func() func() {
	return func() (release func()) {
		conn, err := pgx.Connect(t.Context(), server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"BEGIN", "LOCK TABLE " + table + ", " + table + "_grants, " + table + "_ids IN ACCESS EXCLUSIVE MODE"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		return sync.OnceFunc(func() {
			if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}
