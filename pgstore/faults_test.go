package pgstore_test

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/internal/testkit/trouble"
	"example.com/gatehouse/pgstore"
)

// TestFaults: whatever the database suffers, every call returns an error in
// time, never "absent", and works within a second after the trouble.
func TestFaults(t *testing.T) {
	restart := func(t *testing.T) {
		if err := server.Restart(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	stopped := func(mode backing.StopMode) func(*testing.T, string) func() {
		return func(t *testing.T, _ string) func() {
			server.Stop(mode)
			return func() { restart(t) }
		}
	}
	for _, c := range []struct {
		name, dsn string
		settings  map[string]string
		begin     func(t *testing.T, table string) (end func())
		says      string
	}{
		{"lock", server.DSN(), nil, func(t *testing.T, table string) func() { return locked(t, table)() }, ""},
		{"lock_pgbouncer", bouncer.DSN(), nil, func(t *testing.T, table string) func() { return locked(t, table)() }, ""},
		{"statement_timeout", server.DSN(), map[string]string{"statement_timeout": "100"}, func(t *testing.T, table string) func() { return locked(t, table)() }, "57014"},
		{"lock_timeout", server.DSN(), map[string]string{"lock_timeout": "100"}, func(t *testing.T, table string) func() { return locked(t, table)() }, "55P03"},
		{"hang", server.DSN(), nil, func(*testing.T, string) func() { return paused() }, ""},
		{"hang_pgbouncer", bouncer.DSN(), nil, func(*testing.T, string) func() { return paused() }, ""},
		{"stopped_fast", server.DSN(), nil, stopped(backing.Fast), ""},
		{"stopped_immediate", server.DSN(), nil, stopped(backing.Immediate), ""},
		{"killed", server.DSN(), nil, func(t *testing.T, _ string) func() {
			server.Kill()
			return func() { restart(t) }
		}, ""},
		{"killed_pgbouncer", bouncer.DSN(), nil, func(t *testing.T, _ string) func() {
			server.Kill()
			return func() { restart(t) }
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, connect(t, c.dsn, settings(c.settings)), pgstore.Config{})
			trouble.Fill(t, store)
			trouble.Works(t, store)
			check := trouble.Goroutines(t)
			begin := func() (end func()) {
				end = sync.OnceFunc(c.begin(t, tableOf(t)))
				t.Cleanup(end)
				return end
			}
			trouble.Recovers(t, store, begin, func() { trouble.Fails(t, store, true, c.says) })
			check()
		})
	}
}

// A server that went away and came back between two calls costs none of them an
// error, although every idle connection is dead.
func TestRestartUnnoticed(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{Timeout: patient})
	trouble.Fill(t, store)
	for _, mode := range []backing.StopMode{backing.Fast, backing.Immediate} {
		trouble.Works(t, store) // all connections are used now
		server.Stop(mode)
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, err := range trouble.Outcome(t, store) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A database that takes no changes still says who is signed in, and every change
// is an error.
func TestReadOnly(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	trouble.Fill(t, store)
	statement(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	statement(t, "SELECT pg_reload_conf()")
	end := sync.OnceFunc(func() {
		statement(t, "ALTER SYSTEM RESET default_transaction_read_only")
		statement(t, "SELECT pg_reload_conf()")
	})
	defer end()
	for wait := time.Now(); time.Since(wait) < patient; time.Sleep(20 * time.Millisecond) { // until every process has read it
		if now := trouble.InTime(t, store); now["Drop"] != nil && now["CommitCtx"] != nil {
			break
		}
	}
	trouble.Fails(t, store, false, "25006")
	end()
	trouble.Works(t, store)
}

// A standby may not know a logout yet, so nothing is read there.
func TestStandby(t *testing.T) {
	trouble.Fill(t, open(t, connect(t, server.DSN()), pgstore.Config{}))
	standby, err := backing.StartPostgres(t.Context(), backing.PostgresConfig{StandbyOf: server})
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	store, err := pgstore.New(connect(t, standby.DSN()), pgstore.Config{Table: tableOf(t), Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range trouble.InTime(t, store) {
		if err == nil || !strings.Contains(err.Error(), "read replica") && !strings.Contains(err.Error(), "25006") {
			t.Errorf("%s returns %v", name, err)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	trouble.Fill(t, open(t, connect(t, server.DSN()), pgstore.Config{}))
	statement(t, "CREATE ROLE crowd LOGIN SUPERUSER CONNECTION LIMIT 1")
	statement(t, "ALTER ROLE crowd NOSUPERUSER")
	statement(t, "GRANT pg_read_all_data, pg_write_all_data TO crowd")
	dsn := strings.Replace(server.DSN(), "postgres@", "crowd@", 1)
	other, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pgstore.New(connect(t, dsn, func(c *pgxpool.Config) { c.MaxConns = 1 }), pgstore.Config{Table: tableOf(t), Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	check := trouble.Goroutines(t)
	trouble.Fails(t, store, true, "53300")
	check()
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	trouble.Works(t, store)
}

// Every call says what is missing, and Migrate makes it again.
func TestDroppedTables(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	trouble.Fill(t, store)
	table := tableOf(t)
	statement(t, "DROP TABLE "+table+", "+table+"_ids, "+table+"_grants")
	trouble.Fails(t, store, true, "call Migrate")
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	trouble.Fill(t, store)
	trouble.Works(t, store)
}

// What somebody else has put into the table is no session, and is not absent
// either. Others' sessions are not touched by it.
func TestGarbage(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	trouble.Fill(t, store)
	table := tableOf(t)
	statement(t, "ALTER TABLE "+table+" ALTER value DROP NOT NULL, ALTER expires DROP NOT NULL")
	statement(t, "ALTER TABLE "+table+"_grants ALTER value DROP NOT NULL")
	statement(t, "INSERT INTO "+table+" VALUES ('no value', NULL, now() + interval '1 hour'), ('no expiry', 'x', NULL), ('nothing', NULL, NULL), ('gone', NULL, now())")
	statement(t, "UPDATE "+table+"_grants SET value = NULL")
	for _, key := range []string{"no value", "no expiry", "nothing"} {
		if value, found, err := store.FindCtx(t.Context(), key); err == nil {
			t.Errorf("%s: found %v %q", key, found, value)
		}
		if values, err := store.FindManyCtx(t.Context(), []string{"kept", key}); err == nil {
			t.Errorf("%s: found %q", key, values)
		}
		if absent, err := store.SwapCtx(t.Context(), key, nil, nil, time.Time{}); absent {
			t.Errorf("%s: absent, %v", key, err)
		}
		if created, err := store.SwapCtx(t.Context(), key, nil, []byte("new"), time.Now().Add(time.Hour)); created {
			t.Errorf("%s: created, %v", key, err)
		}
	}
	if _, found, err := store.FindCtx(t.Context(), "gone"); found || err != nil {
		t.Errorf("an expired row: found %v, %v", found, err)
	}
	if value, found, err := store.FindCtx(t.Context(), "kept"); string(value) != trouble.There || !found || err != nil {
		t.Errorf("another session: %q, %v, %v", value, found, err)
	}
	if value, err := store.Grant(t.Context(), "as", "ana"); err == nil {
		t.Errorf("a grant without a value: %q", value)
	}
	for _, key := range []string{"no value", "no expiry", "nothing"} { // a sign-out, or an administrator, removes it
		if err := store.DeleteCtx(t.Context(), key); err != nil {
			t.Error(err)
		}
		if _, found, err := store.FindCtx(t.Context(), key); found || err != nil {
			t.Errorf("%s after a deletion: found %v, %v", key, found, err)
		}
	}
}

// A caller who leaves gets an answer at once, and costs the pool nothing.
func TestCancel(t *testing.T) {
	pool := connect(t, server.DSN())
	store := open(t, pool, pgstore.Config{})
	trouble.Fill(t, store)
	trouble.Works(t, store)
	check := trouble.Goroutines(t)
	release := locked(t, tableOf(t))()
	for range 3 {
		trouble.Leaves(t, store, true)
	}
	release()
	trouble.Works(t, store)
	check() // what was cancelled is closed in the background
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still out", n)
	}
}

// A replica that was killed while its statement waited for a lock does not
// change anything later: the logout that came meanwhile may have been forgotten.
func TestLateStatement(t *testing.T) {
	for _, c := range []struct{ name, lock string }{
		{"tables", "LOCK TABLE @ IN ACCESS EXCLUSIVE MODE"},
		// Who waits for a row goes on as if nothing had been, if its holder gives up.
		{"rows", "INSERT INTO @ VALUES ('created', 'other', now()), ('committed', 'other', now()); SELECT FROM @ WHERE key = 'replaced' FOR UPDATE"},
		{"changed_rows", "INSERT INTO @ VALUES ('created', 'other', now()), ('committed', 'other', now()); UPDATE @ SET value = 'other' WHERE key = 'replaced'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, table := open(t, connect(t, server.DSN()), pgstore.Config{}), tableOf(t)
			if err := store.CommitCtx(t.Context(), "replaced", []byte("x"), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			lock, err := connect(t, server.DSN()).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range strings.Split(c.lock, ";") {
				if _, err := lock.Exec(t.Context(), strings.ReplaceAll(sql, "@", table)); err != nil {
					t.Fatal(err)
				}
			}
			killInChange(t, table)
			time.Sleep(2100 * time.Millisecond)
			if err := lock.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			waiting(t, table, 0)
			values, err := store.FindManyCtx(t.Context(), childKeys)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{"", "", "x"} {
				if string(values[i]) != want {
					t.Errorf("%s is %q long after the replica was killed", childKeys[i], values[i])
				}
			}
		})
	}
}

// killInChange kills another process while it waits to change all childKeys.
func killInChange(t *testing.T, table string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(process(ctx, t, server.DSN(), table).Env, childCreates+"=1")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waiting(t, table, len(childKeys))
	cancel() // SIGKILL
	if err := cmd.Wait(); err == nil {
		t.Error("the other process ended by itself")
	}
}

// waiting waits until so many statements on a table wait for a lock.
func waiting(t *testing.T, table string, n int) {
	t.Helper()
	admin := connect(t, server.DSN())
	defer admin.Close()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var now int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'", table).Scan(&now); err != nil {
			t.Fatal(err)
		}
		if now == n {
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("%d statements wait, want %d", now, n)
		}
	}
}
