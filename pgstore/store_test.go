package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse/internal/testkit/line"
	"example.com/gatehouse/internal/testkit/trouble"
	"example.com/gatehouse/pgstore"
)

// Settings that somebody means as never are taken as that.
func TestLongestSettings(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{Timeout: math.MaxInt64, Sweep: math.MaxInt64})
	for _, value := range []string{"a", "b"} {
		if err := store.CommitCtx(t.Context(), "key", []byte(value), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := store.FindCtx(t.Context(), "key"); string(got) != value || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := pgstore.New(nil, pgstore.Config{}); err == nil {
		t.Error("a nil pool is taken")
	}
	pool := connect(t, server.DSN())
	if _, err := pgstore.New(pool, pgstore.Config{Timeout: -1}); err == nil || !strings.Contains(err.Error(), "Timeout: ") {
		t.Errorf("Timeout -1: %v", err)
	}
	if _, err := pgstore.New(pool, pgstore.Config{Sweep: 5}); err == nil || !strings.Contains(err.Error(), "Sweep: 5ns") { // minutes were meant
		t.Errorf("Sweep 5ns: %v", err)
	}
	long := strings.Repeat("x", 48)
	for table, good := range map[string]bool{
		"": true, "notes": true, "Notes": true, "_n1": true, "app.notes": true, long: true, long + "." + long: true,
		long + "x": false, long + "x.a": false, "1a": false, "a b": false, "a.b.c": false, ".a": false, "a.": false, `a"b`: false, "a;b": false,
		"a'": false, "é": false, "a\n": false, "a\x00": false, "a-b": false,
	} {
		store, err := pgstore.New(pool, pgstore.Config{Table: table, Sweep: -1})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "pgstore: Table: ") {
			t.Errorf("table %q: %v", table, err)
		}
		if good {
			if err := errors.Join(store.Close(), store.Close()); err != nil {
				t.Error(err)
			}
		}
	}
}

// Names are taken as they are written, in any schema, and two tables know
// nothing of each other.
func TestTables(t *testing.T) {
	pool := connect(t, server.DSN())
	statement(t, `CREATE SCHEMA "App"`)
	long := strings.Repeat("n", 48)
	tables := []string{"notes", "Notes", "App.notes", "App.Notes", "select", long, "App." + long}
	for _, table := range tables {
		store := open(t, pool, pgstore.Config{Table: table})
		if err := store.CommitCtx(t.Context(), "kept", []byte(table), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.PutIfAbsent(t.Context(), "as", "ana", "album", table); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range tables {
		store := open(t, pool, pgstore.Config{Table: table})
		value, _, err := store.FindCtx(t.Context(), "kept")
		id, idErr := store.ID(t.Context(), "as", "ana", "album")
		if string(value) != table || id != table || err != nil || idErr != nil {
			t.Errorf("table %s holds %q and %q: %v, %v", table, value, id, err, idErr)
		}
	}
}

func TestMigrate(t *testing.T) {
	pool := connect(t, server.DSN())
	make := func(t *testing.T, pool *pgxpool.Pool, table string) *pgstore.Store {
		store, err := pgstore.New(pool, pgstore.Config{Table: table, Sweep: -1})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	t.Run("at once", func(t *testing.T) {
		for round := range 5 {
			var wg sync.WaitGroup
			for _, dsn := range []string{server.DSN(), server.DSN(), bouncer.DSN(), bouncer.DSN()} {
				replica := make(t, connect(t, dsn), fmt.Sprint("at_once_", round))
				for range 3 {
					wg.Go(func() {
						if err := replica.Migrate(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
		}
	})
	t.Run("by two names", func(t *testing.T) {
		for round := range 5 {
			var wg sync.WaitGroup
			for _, schema := range []string{"", "public.", "", "public."} {
				replica := make(t, connect(t, server.DSN()), fmt.Sprint(schema, "two_names_", round))
				wg.Go(func() {
					if err := replica.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
	t.Run("serializable", func(t *testing.T) {
		config := settings(map[string]string{"default_transaction_isolation": "serializable"})
		var wg sync.WaitGroup
		for range 6 {
			replica := make(t, connect(t, server.DSN(), config), "at_once_serializable")
			wg.Go(func() {
				if err := replica.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("keeps", func(t *testing.T) {
		store := open(t, pool, pgstore.Config{})
		trouble.Fill(t, store)
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		trouble.Works(t, store)
	})
	t.Run("before it", func(t *testing.T) {
		trouble.Fails(t, make(t, pool, "never_made"), true, "call Migrate")
		trouble.Fails(t, make(t, pool, "no_schema.never_made"), true, "call Migrate")
		if err := make(t, pool, "no_schema.never_made").Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "no_schema") {
			t.Error(err)
		}
	})
	t.Run("a later version", func(t *testing.T) {
		store := make(t, pool, "from_later")
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		statement(t, "UPDATE from_later_schema SET version = version + 1")
		if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Error(err)
		}
	})
	t.Run("a table that is not ours", func(t *testing.T) {
		statement(t, "CREATE TABLE theirs (key text PRIMARY KEY, value text, expires text)")
		if err := make(t, pool, "theirs").Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "not ours") {
			t.Error(err)
		}
		var left bool
		if err := pool.QueryRow(t.Context(), "SELECT to_regclass('theirs_grants') IS NOT NULL").Scan(&left); err != nil || left {
			t.Errorf("a failed Migrate left something (%v)", err)
		}
	})
	t.Run("without rights", func(t *testing.T) {
		statement(t, "CREATE ROLE clerk LOGIN")
		statement(t, "GRANT pg_read_all_data, pg_write_all_data TO clerk")
		clerk := connect(t, strings.Replace(server.DSN(), "postgres@", "clerk@", 1))
		if err := make(t, clerk, "no_rights").Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Error(err)
		}
		if err := make(t, pool, "no_rights").Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		store := make(t, clerk, "no_rights")
		if err := store.Migrate(t.Context()); err != nil {
			t.Errorf("with all tables there: %v", err)
		}
		trouble.Fill(t, store)
		trouble.Works(t, store)
		if _, err := store.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		store := make(t, pool, "cancelled")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := store.Migrate(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// The database's clock decides when a value has expired, for all replicas
// alike, however wrong their own clocks are.
func TestOneClock(t *testing.T) {
	ahead := func() time.Time { return time.Now().Add(3 * time.Hour) }
	behind := func() time.Time { return time.Now().Add(-3 * time.Hour) }
	pool := connect(t, server.DSN())
	table := tableOf(t)
	stores := map[string]*pgstore.Store{
		"ahead": open(t, pool, pgstore.Config{Table: table, Now: ahead}), "behind": open(t, pool, pgstore.Config{Table: table, Now: behind}),
		"right": open(t, pool, pgstore.Config{Table: table}),
	}
	const life = 700 * time.Millisecond
	for name, now := range map[string]func() time.Time{"ahead": ahead, "behind": behind, "right": time.Now} {
		begin := time.Now()
		if ok, err := stores[name].SwapCtx(t.Context(), name, nil, []byte("x"), now().Add(life)); !ok || err != nil {
			t.Fatal(ok, err)
		}
		see := func(want bool) {
			t.Helper()
			for other, store := range stores {
				_, found, err := store.FindCtx(t.Context(), name)
				if err != nil || found != want && (!want || time.Since(begin) < life) {
					t.Errorf("%s sees the value of %s: %v, want %v (error: %v)", other, name, found, want, err)
				}
			}
		}
		see(true)
		time.Sleep(life + 10*time.Millisecond)
		see(false)
		if ok, err := stores["behind"].SwapCtx(t.Context(), name, nil, []byte("y"), behind().Add(life)); !ok || err != nil {
			t.Errorf("an expired value is in the way: %v, %v", ok, err)
		}
	}
}

// Times at both ends of the calendar are clamped.
func TestFarExpiries(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	for i, at := range []time.Time{time.Unix(1<<61, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), {}, time.Unix(-1<<61, 0)} {
		key, past := fmt.Sprint("far ", i), i > 2
		if err := store.CommitCtx(t.Context(), key, []byte("x"), at); err != nil {
			t.Errorf("%v: %v", at, err)
		}
		if _, found, err := store.FindCtx(t.Context(), key); found == past || err != nil {
			t.Errorf("%v: found %v, %v", at, found, err)
		}
	}
}

// Facts have no expiry: neither sweeping nor Migrate touches them. Their owners
// may have names that no column of text takes.
func TestFacts(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	names := []string{"", "\x00", "a\x00", "\x00a", "a", "\xff", "\xff\xfe", "é", "e\u0301", strings.Repeat("n", 5000), strings.Repeat("n", 5000) + "\x00"}
	each := func(do func(issuer, owner, name, id string)) {
		for i, issuer := range names {
			for j, owner := range names {
				do(issuer, owner, names[(i+j)%len(names)], fmt.Sprint(i, " ", j))
			}
		}
	}
	each(func(issuer, owner, name, id string) {
		if winner, err := store.PutIfAbsent(t.Context(), issuer, owner, name, id); winner != id || err != nil {
			t.Errorf("%.9q %.9q %.9q: %q, %v", issuer, owner, name, winner, err)
		}
		if ok, err := store.SwapGrant(t.Context(), issuer, owner, nil, []byte(id)); !ok || err != nil {
			t.Errorf("%.9q %.9q: %v, %v", issuer, owner, ok, err)
		}
	})
	if _, err := store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	each(func(issuer, owner, name, id string) {
		if kept, err := store.ID(t.Context(), issuer, owner, name); kept != id || err != nil {
			t.Errorf("%.9q %.9q %.9q: %q, want %q (%v)", issuer, owner, name, kept, id, err)
		}
		if kept, err := store.Grant(t.Context(), issuer, owner); string(kept) != id || err != nil {
			t.Errorf("%.9q %.9q: %q, want %q (%v)", issuer, owner, kept, id, err)
		}
	})
}

// An empty value is a value, and nil is none.
func TestEmptyValue(t *testing.T) {
	store := open(t, connect(t, server.DSN()), pgstore.Config{})
	later := time.Now().Add(time.Hour)
	if ok, err := store.SwapCtx(t.Context(), "k", nil, []byte{}, later); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if value, found, err := store.FindCtx(t.Context(), "k"); !found || value == nil || len(value) > 0 || err != nil {
		t.Errorf("found %v %v, %v", found, value, err)
	}
	if ok, err := store.SwapCtx(t.Context(), "k", []byte{}, []byte("x"), later); !ok || err != nil {
		t.Error(ok, err)
	}
	if err := store.CommitCtx(t.Context(), "k", nil, later); err != nil {
		t.Error(err)
	}
	if _, found, err := store.FindCtx(t.Context(), "k"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

// Sweeping removes what has expired and nothing else, in batches, and waits for
// nobody.
func TestSweep(t *testing.T) {
	pool := connect(t, server.DSN())
	store := open(t, pool, pgstore.Config{})
	table := tableOf(t)
	trouble.Fill(t, store)
	statement(t, "INSERT INTO "+table+" SELECT 'old ' || n, 'x', now() - interval '1 second' FROM generate_series(1, 1203) AS n")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Somebody is just creating these two anew.
	if _, err := tx.Exec(t.Context(), "UPDATE "+table+" SET expires = now() + interval '1 hour' WHERE key IN ('old 1', 'old 700')"); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Sweep(t.Context()); n != 1201 || err != nil {
		t.Errorf("%d rows removed, %v", n, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("%d rows removed, %v", n, err)
	}
	values, err := store.FindManyCtx(t.Context(), []string{"kept", "old 1", "old 700", "old 2"})
	if err != nil || string(values[0]) != trouble.There || values[1] == nil || values[2] == nil || values[3] != nil {
		t.Errorf("after sweeping: %q, %v", values, err)
	}
}

// Many replicas sweep little more often than one would, and stop when they are
// told.
func TestSweepers(t *testing.T) {
	table, pool := tableOf(t), connect(t, server.DSN())
	statement(t, "CREATE TABLE turns (at timestamptz)")
	open(t, pool, pgstore.Config{Table: table})
	statement(t, "CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO turns VALUES (clock_timestamp()); RETURN NULL; END'")
	statement(t, "CREATE TRIGGER turn AFTER UPDATE ON "+table+"_schema FOR EACH ROW EXECUTE FUNCTION turn()")
	statement(t, "INSERT INTO "+table+" SELECT 'old ' || n, 'x', now() - interval '1 second' FROM generate_series(1, 700) AS n")
	const every, rounds = 200 * time.Millisecond, 6
	check := trouble.Goroutines(t)
	begin := time.Now()
	var replicas []*pgstore.Store
	for range 8 {
		replicas = append(replicas, open(t, pool, pgstore.Config{Table: table, Sweep: every}))
	}
	time.Sleep(rounds * every)
	for _, r := range replicas {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	took := time.Since(begin)
	var left, turns int
	if err := pool.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM "+table+"), (SELECT count(*) FROM turns)").Scan(&left, &turns); err != nil {
		t.Fatal(err)
	}
	if most := int(took/(every/2)) + 1; left != 0 || turns < 2 || turns > most {
		t.Errorf("%d rows are left after %d turns of 8 replicas, want at most %d", left, turns, most)
	}
	time.Sleep(2 * every)
	after := 0
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM turns").Scan(&after); err != nil || after != turns {
		t.Errorf("%d turns after Close (%v)", after-turns, err)
	}
	pool.Reset()
	check()
}

// A database whose clock was ahead for a while is swept all the same.
func TestSweepAfterWrongClock(t *testing.T) {
	pool, table := connect(t, server.DSN()), tableOf(t)
	open(t, pool, pgstore.Config{})
	statement(t, "UPDATE "+table+"_schema SET swept = now() + interval '1 year'")
	statement(t, "INSERT INTO "+table+" VALUES ('old', 'x', now() - interval '1 second')")
	open(t, pool, pgstore.Config{Sweep: 10 * time.Millisecond})
	left := 1
	for begin := time.Now(); left > 0; time.Sleep(5 * time.Millisecond) {
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("nobody sweeps")
		}
	}
}

// Sweeping among changes fails no more than they do, if the database ends one of
// two that are in conflict.
func TestSweepInConflict(t *testing.T) {
	pool := connect(t, server.DSN(), settings(map[string]string{"default_transaction_isolation": "serializable"}))
	store := open(t, pool, pgstore.Config{Timeout: patient})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ { // some values have expired already
				if err := store.CommitCtx(t.Context(), fmt.Sprint(i, n%20), []byte("x"), time.Now().Add(time.Duration(n%3-1)*20*time.Millisecond)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for ctx.Err() == nil {
		if _, err := store.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// Trouble with sweeping is told.
func TestSweepFails(t *testing.T) {
	var log lockedBuffer
	store, err := pgstore.New(connect(t, server.DSN()), pgstore.Config{Table: "never_made", Sweep: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); !strings.Contains(log.String(), "never_made"); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("no line in the log")
		}
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if line, _, _ := strings.Cut(log.String(), "\n"); !strings.Contains(line, "WARN") || !strings.Contains(line, "call Migrate") {
		t.Error(line)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A change whose reply was lost is sent again, and is right both times.
func TestLostReply(t *testing.T) {
	between := line.New(t, server.Addr())
	dsn := strings.Replace(server.DSN(), server.Addr(), between.Addr, 1)
	store := open(t, connect(t, dsn, func(c *pgxpool.Config) { c.MaxConns = 1 }), pgstore.Config{})
	other := open(t, connect(t, server.DSN()), pgstore.Config{})
	later := time.Now().Add(time.Hour)
	swap := func(old, new []byte) func() error {
		return func() error {
			ok, err := store.SwapCtx(t.Context(), "k", old, new, later)
			if err == nil && !ok {
				err = errors.New("not swapped")
			}
			return err
		}
	}
	grant := func(old, new []byte) func() error {
		return func() error {
			ok, err := store.SwapGrant(t.Context(), "as", "ana", old, new)
			if err == nil && !ok {
				err = errors.New("not swapped")
			}
			return err
		}
	}
	a, b := []byte("a"), []byte("b")
	for _, c := range []struct {
		name string
		do   func() error
		want []byte // under k
	}{
		{"create", swap(nil, a), a},
		{"replace", swap(a, b), b},
		{"delete", swap(b, nil), nil},
		{"commit", func() error { return store.CommitCtx(t.Context(), "k", a, later) }, a},
		{"remove", func() error { return store.DeleteCtx(t.Context(), "k") }, nil},
		{"grant", grant(nil, a), nil},
		{"next grant", grant(a, b), nil},
		{"no grant", grant(b, nil), nil},
		{"id", func() error {
			winner, err := store.PutIfAbsent(t.Context(), "as", "ana", "album", "1")
			if err == nil && winner != "1" {
				err = fmt.Errorf("winner %q", winner)
			}
			return err
		}, nil},
		{"no id", func() error { return store.Drop(t.Context(), "as", "ana", "album", "1") }, nil},
		{"read", func() error { _, _, err := store.FindCtx(t.Context(), "k"); return err }, nil},
	} {
		if _, _, err := store.FindCtx(t.Context(), "k"); err != nil { // there is a connection, and it is fresh
			t.Fatal(err)
		}
		lost := between.LoseReply()
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := lost(); n != 1 {
			t.Errorf("%s: %d replies were lost", c.name, n)
		}
		if value, _, err := other.FindCtx(t.Context(), "k"); !bytes.Equal(value, c.want) || err != nil {
			t.Errorf("%s: the store holds %q, %v", c.name, value, err)
		}
	}
}

// A line that swallows answers and breaks nothing costs sessions no more than its
// own time, with the connect_timeout that the README asks for.
func TestSilentLine(t *testing.T) {
	between := line.New(t, server.Addr())
	dsn := strings.Replace(server.DSN(), server.Addr(), between.Addr, 1) + "&connect_timeout=1"
	store := open(t, connect(t, dsn), pgstore.Config{})
	trouble.Fill(t, store)
	trouble.Works(t, store)
	silence := func() func() { between.Silence(line.Replies); return func() { between.Silence(line.None) } }
	trouble.Recovers(t, store, silence, func() {
		for range 3 { // the second time, pgx has to connect
			trouble.Fails(t, store, true, "")
		}
	})
}
