package sqlitestore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse/internal/testkit/trouble"
	"example.com/gatehouse/sqlitestore"
)

// TestLocked: another process keeps the file. Every call returns in time, never
// "absent", whatever the address says about waiting.
func TestLocked(t *testing.T) {
	for _, c := range []struct {
		name, options, does string
		reads               bool // are held up too
	}{
		{"a change that does not end", "", "write", false},
		{"and a driver that waits", "_pragma=busy_timeout(60000)", "write", false},
		{"the whole file", "", "freeze", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := newFile(t)
			db := connect(t, file, c.options)
			store := open(t, db, sqlitestore.Config{})
			trouble.Fill(t, store)
			trouble.Works(t, store)
			check := trouble.Goroutines(t)
			trouble.Recovers(t, store, func() func() { return locked(t, file, c.does) }, func() {
				trouble.Fails(t, store, c.reads, "")
				trouble.Leaves(t, store, c.reads)
				if err := store.DeleteCtx(t.Context(), "key"); err == nil || !c.reads && !strings.Contains(err.Error(), "locked") {
					t.Errorf("the error of a change is %v", err)
				}
			})
			check() // what was given up ends by itself
			for end := time.Now().Add(patient); db.Stats().InUse != 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d connections are still out", db.Stats().InUse)
				}
			}
		})
	}
}

// A full database takes no change that needs room, and loses nothing.
func TestFull(t *testing.T) {
	file := newFile(t)
	store := open(t, connect(t, file, "_pragma=max_page_count(40)"), sqlitestore.Config{})
	trouble.Fill(t, store)
	later := time.Now().Add(time.Hour)
	var full error
	n := 0
	for ; full == nil && n < 100; n++ {
		full = store.CommitCtx(t.Context(), fmt.Sprint("filler ", n), bytes.Repeat([]byte("x"), 10_000), later)
	}
	if full == nil || !strings.Contains(full.Error(), "full") {
		t.Fatalf("after %d values: %v", n, full)
	}
	if swapped, err := store.SwapCtx(t.Context(), "big", nil, bytes.Repeat([]byte("y"), 50_000), later); swapped || err == nil {
		t.Errorf("a swap in a full database: %v, %v", swapped, err)
	}
	if swapped, err := store.SwapCtx(t.Context(), "filler 0", bytes.Repeat([]byte("x"), 10_000), bytes.Repeat([]byte("y"), 59_000), later); swapped || err == nil {
		t.Errorf("a swap in a full database: %v, %v", swapped, err)
	}
	values, err := store.FindManyCtx(t.Context(), []string{"kept", "filler 0", "big", fmt.Sprint("filler ", n-1)})
	if err != nil || string(values[0]) != trouble.There || len(values[1]) != 10_000 || values[2] != nil || values[3] != nil {
		t.Errorf("a full database holds %.40q, %v", values, err)
	}
	for i := range n { // somebody makes room
		if err := store.DeleteCtx(t.Context(), fmt.Sprint("filler ", i)); err != nil {
			t.Fatal(err)
		}
	}
	trouble.Works(t, store)
}

// Every call says what is missing, and Migrate makes it again.
func TestDroppedTables(t *testing.T) {
	db := connect(t, newFile(t), "")
	before, err := sqlitestore.New(db, sqlitestore.Config{Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	trouble.Fails(t, before, true, "call Migrate")
	store := open(t, db, sqlitestore.Config{})
	trouble.Fill(t, store)
	execute(t, db, "DROP TABLE gatehouse; DROP TABLE gatehouse_ids; DROP TABLE gatehouse_grants")
	trouble.Fails(t, store, true, "call Migrate")
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	trouble.Fill(t, store)
	trouble.Works(t, store)
}

// A file that is none of SQLite's is an error of each call.
func TestNoDatabase(t *testing.T) {
	file := newFile(t)
	if err := os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := sqlitestore.New(connect(t, file, ""), sqlitestore.Config{Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	trouble.Fails(t, store, true, "not a database")
}

// What somebody else has put into the table is no session, and is not absent
// either.
func TestGarbage(t *testing.T) {
	db := connect(t, newFile(t), "")
	execute(t, db, "CREATE TABLE gatehouse (key TEXT PRIMARY KEY, value BLOB, expires INTEGER)")
	store := open(t, db, sqlitestore.Config{})
	trouble.Fill(t, store)
	execute(t, db, "INSERT INTO gatehouse VALUES ('no value', NULL, 1e18), ('no expiry', x'00', NULL), ('nothing', NULL, NULL), ('gone', NULL, 1), ('odd', 'text', 'soon')")
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
		if err := store.DeleteCtx(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	for key, want := range map[string]string{"gone": "", "odd": "text", "kept": trouble.There, "nothing": ""} {
		if value, found, err := store.FindCtx(t.Context(), key); string(value) != want || found != (want != "") || err != nil {
			t.Errorf("%s: %q, %v, %v", key, value, found, err)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := sqlitestore.New(nil, sqlitestore.Config{}); err == nil {
		t.Error("a nil database is taken")
	}
	db := connect(t, newFile(t), "")
	if _, err := sqlitestore.New(db, sqlitestore.Config{Timeout: -1}); err == nil || !strings.Contains(err.Error(), "Timeout: ") {
		t.Errorf("Timeout -1: %v", err)
	}
	if _, err := sqlitestore.New(db, sqlitestore.Config{Sweep: 5}); err == nil || !strings.Contains(err.Error(), "Sweep: 5ns") { // minutes were meant
		t.Errorf("Sweep 5ns: %v", err)
	}
	long := strings.Repeat("x", 48)
	for table, good := range map[string]bool{
		"": true, "notes": true, "Notes_2": true, "_": true, "select": true, long: true, "sqlitenotes": true, "sqlite": false, "sqlite_notes": false, "SQLite_": false,
		long + "x": false, "1a": false, "a b": false, "a.b": false, `a"b`: false, "a;b": false, "é": false, "a\n": false, "a\x00": false,
	} {
		store, err := sqlitestore.New(db, sqlitestore.Config{Table: table, Sweep: -1})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "sqlitestore: Table: ") {
			t.Errorf("table %q: %v", table, err)
		}
		if !good {
			continue
		}
		if err := errors.Join(store.Migrate(t.Context()), store.CommitCtx(t.Context(), "k", []byte(table), time.Now().Add(time.Hour)), store.Close(), store.Close()); err != nil {
			t.Errorf("table %q: %v", table, err)
		}
	}
}

func TestMigrate(t *testing.T) {
	migrate := func(t *testing.T, db *sql.DB) error {
		t.Helper()
		store, err := sqlitestore.New(db, sqlitestore.Config{Sweep: -1})
		if err != nil {
			t.Fatal(err)
		}
		return store.Migrate(t.Context())
	}
	t.Run("at once", func(t *testing.T) {
		for round := range 12 {
			options := []string{"", "_pragma=journal_mode(wal)"}[round%2] // with which a connection is opened only if nobody has the file
			file := newFile(t)
			var wg sync.WaitGroup
			for range 6 {
				db := connect(t, file, options)
				wg.Go(func() {
					if err := migrate(t, db); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
	for _, c := range []struct{ name, address, says string }{
		{"in memory", ":memory:", "in memory"},
		{"in memory, shared", "file::memory:?cache=shared", "in memory"},
		{"in memory, by mode", "file:mem1?mode=memory", "in memory"},
		{"temporary", "", "in memory"},
		{"synchronous off", "file:" + newFile(t) + "?_pragma=synchronous(off)", "synchronous"},
		{"another journal", "file:" + newFile(t) + "?_pragma=journal_mode(delete)", "journal mode delete"},
		{"a connection for itself", "file:" + newFile(t) + "?_pragma=locking_mode(exclusive)", "locking_mode"},
		{"no such directory", "file:" + newFile(t) + "/x/y", "unable to open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := sql.Open("sqlite", c.address)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := migrate(t, db); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	t.Run("sets the journal", func(t *testing.T) {
		db := connect(t, newFile(t), "")
		store := open(t, db, sqlitestore.Config{})
		trouble.Fill(t, store)
		mode := ""
		if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("%s, %v", mode, err)
		}
		if err := store.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
		trouble.Works(t, store)
	})
	t.Run("beside older connections", func(t *testing.T) { // of an application with tables of its own, which have seen the old journal
		db := connect(t, newFile(t), "")
		execute(t, db, "CREATE TABLE notes (text TEXT)")
		db.SetMaxIdleConns(3)
		var idle []*sql.Conn
		for range 3 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), "SELECT text FROM notes"); err != nil {
				t.Fatal(err)
			}
			idle = append(idle, conn)
		}
		for _, conn := range idle {
			conn.Close()
		}
		if err := migrate(t, db); err != nil {
			t.Error(err)
		}
	})
	t.Run("a later version", func(t *testing.T) {
		db := connect(t, newFile(t), "")
		store := open(t, db, sqlitestore.Config{})
		execute(t, db, "UPDATE gatehouse_schema SET version = version + 1")
		if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Error(err)
		}
	})
	t.Run("a table that is not ours", func(t *testing.T) {
		db := connect(t, newFile(t), "")
		execute(t, db, "CREATE TABLE gatehouse (name TEXT)")
		if err := migrate(t, db); err == nil || !strings.Contains(err.Error(), "may not be ours") {
			t.Error(err)
		}
		n := 0
		if err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'gatehouse%'").Scan(&n); err != nil || n != 1 {
			t.Errorf("a failed Migrate left %d tables, %v", n, err)
		}
	})
}

// Facts have no expiry. Their owners may have names of any bytes.
func TestFacts(t *testing.T) {
	store := open(t, connect(t, newFile(t), "_pragma=synchronous(normal)"), sqlitestore.Config{})
	names := []string{"", "\x00", "a\x00", "\x00a", "a", "\xff", "é", "e\u0301", strings.Repeat("n", 5000), strings.Repeat("n", 5000) + "\x00"}
	each := func(do func(issuer, owner, name, id string)) {
		for i, issuer := range names {
			for j, owner := range names {
				do(issuer, owner, names[(i+j)%len(names)], fmt.Sprint(i, " ", j))
			}
		}
	}
	each(func(issuer, owner, name, id string) {
		winner, err := store.PutIfAbsent(t.Context(), issuer, owner, name, id)
		ok, grantErr := store.SwapGrant(t.Context(), issuer, owner, nil, []byte(id))
		if winner != id || !ok || err != nil || grantErr != nil {
			t.Errorf("%.9q %.9q %.9q: %q, %v, %v, %v", issuer, owner, name, winner, ok, err, grantErr)
		}
	})
	if _, err := store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	each(func(issuer, owner, name, id string) {
		kept, err := store.ID(t.Context(), issuer, owner, name)
		grant, grantErr := store.Grant(t.Context(), issuer, owner)
		if kept != id || string(grant) != id || err != nil || grantErr != nil {
			t.Errorf("%.9q %.9q %.9q: %q, %q, %v, %v", issuer, owner, name, kept, grant, err, grantErr)
		}
	})
}

// Sweeping removes what has expired by the store's clock, and nothing else.
func TestSweep(t *testing.T) {
	now := time.Now()
	db := connect(t, newFile(t), "")
	store := open(t, db, sqlitestore.Config{Now: func() time.Time { return now }})
	trouble.Fill(t, store)
	execute(t, db, fmt.Sprint("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1203) INSERT INTO gatehouse SELECT 'old ' || i, x'00', ", now.UnixMicro(), " FROM n"))
	if n, err := store.Sweep(t.Context()); n != 1203 || err != nil {
		t.Errorf("%d rows removed, %v", n, err)
	}
	if _, found, err := store.FindCtx(t.Context(), "kept"); !found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	now = now.Add(2 * time.Hour)
	if _, found, err := store.FindCtx(t.Context(), "kept"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if n, err := store.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d rows removed, %v", n, err)
	}
}

// Many processes sweep little more often than one would, and stop when they are
// told. Trouble is told.
func TestSweepers(t *testing.T) {
	file := newFile(t)
	db := connect(t, file, "")
	open(t, db, sqlitestore.Config{})
	execute(t, db, `CREATE TABLE turns (at INTEGER);
		CREATE TRIGGER turn AFTER UPDATE ON gatehouse_schema BEGIN INSERT INTO turns VALUES (new.swept); END;
		INSERT INTO gatehouse VALUES ('old', x'00', 1)`)
	const every, rounds = 200 * time.Millisecond, 6
	check := trouble.Goroutines(t)
	begin := time.Now()
	var all []*sqlitestore.Store
	for range 8 {
		all = append(all, open(t, db, sqlitestore.Config{Sweep: every}))
	}
	time.Sleep(rounds * every)
	for _, s := range all {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	took := time.Since(begin)
	var left, turns, after int
	read := "SELECT (SELECT count(*) FROM gatehouse), (SELECT count(*) FROM turns)"
	if err := db.QueryRow(read).Scan(&left, &turns); err != nil {
		t.Fatal(err)
	}
	if most := int(took/(every/2)) + 1; left != 0 || turns < 2 || turns > most {
		t.Errorf("%d rows are left after %d turns, want at most %d", left, turns, most)
	}
	time.Sleep(2 * every)
	if err := db.QueryRow(read).Scan(&left, &after); err != nil || after != turns {
		t.Errorf("%d turns after Close, %v", after-turns, err)
	}
	check()

	lines := make(chan string, 1000)
	store, err := sqlitestore.New(db, sqlitestore.Config{Table: "never_made", Sweep: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(writer(lines), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if line := <-lines; !strings.Contains(line, "WARN") || !strings.Contains(line, "call Migrate") {
		t.Error(line)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// Close waits for the calls that had begun, and for no others: a program may close
// its store while it still answers.
func TestCloseAmongCalls(t *testing.T) {
	file := newFile(t)
	store := open(t, connect(t, file, ""), sqlitestore.Config{Timeout: 200 * time.Millisecond})
	release := locked(t, file, "write") // each call takes all its time
	defer release()
	ctx, stop := context.WithCancel(t.Context())
	var callers, closers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for time.Sleep(time.Duration(i) * 25 * time.Millisecond); ctx.Err() == nil; {
				if err := store.DeleteCtx(ctx, "key"); err == nil {
					t.Error("a change of a locked file succeeds")
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond) // there is always a call now
	for range 4 {
		closers.Go(func() {
			for range 3 {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	closed := make(chan struct{})
	go func() { closers.Wait(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patient):
		t.Error("Close waits for calls that begin after it")
	}
	stop()
	callers.Wait()
	<-closed
}

type writer chan string

func (w writer) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func execute(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
