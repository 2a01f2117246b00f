package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds one call, unless Config.Timeout does. A page answers 503
	// soon after when the file hangs.
	callTimeout = time.Second
	// sweepTimeout bounds one batch of the removal of expired rows, for which
	// nobody waits.
	sweepTimeout = 10 * time.Second
	// migrateTimeout bounds Migrate, which waits for that of another process.
	migrateTimeout = 30 * time.Second
	// busyPause is the first wait before a file is tried again that another
	// process has locked; it doubles up to mostBusyPause. A write takes less than
	// a millisecond and a disk's flush a few. Between two writes of a busy process
	// the file is free for less than that, and who looks seldom never meets it so.
	busyPause     = 500 * time.Microsecond
	mostBusyPause = 2 * time.Millisecond
)

var errNoValue = errors.New("a row has no value or no expiry, which only somebody else can have written")

// run runs do on a connection within a time, again and again while the file is
// locked.
//
// A call into SQLite may wait for a disk or a lock and heed no context. So it
// has a goroutine of its own, which the caller does not wait for when its time
// is up. Nothing that do touches may be touched by the caller then, hence the
// result.
func run[T any](ctx context.Context, s *Store, within time.Duration, turns []chan struct{}, do func(ctx context.Context, conn *sql.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil {
		return none, s.explain(ctx.Err())
	}
	leave, err := enter(ctx, turns)
	if err != nil {
		return none, s.explain(err)
	}
	done := make(chan result, 1)
	end, locked := s.begin(), new(atomic.Bool)
	go func() { // ends with the call
		defer func() { leave(); end() }()
		value, err := whileLocked(ctx, s.db, locked, do)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, s.explain(r.err)
	case <-ctx.Done():
		if locked.Load() {
			return none, s.explain(fmt.Errorf("%w: %w", errLocked, ctx.Err()))
		}
		return none, s.explain(ctx.Err())
	}
}

var (
	errLocked = errors.New("the file is locked by another connection or process")
	errTurn   = errors.New("the calls before this one have taken all its time")
)

// enter waits for a place in each of the turns, first come, first served. leave
// gives the places back.
func enter(ctx context.Context, turns []chan struct{}) (leave func(), err error) {
	entered := 0
	leave = func() {
		for _, turn := range turns[:entered] {
			<-turn
		}
	}
	for _, turn := range turns {
		select {
		case turn <- struct{}{}:
			entered++
		case <-ctx.Done():
			leave()
			return nil, fmt.Errorf("%w: %w", errTurn, ctx.Err())
		}
	}
	return leave, nil
}

// whileLocked runs do on a connection until the file is not locked. It sets
// locked while the file is.
func whileLocked[T any](ctx context.Context, db *sql.DB, locked *atomic.Bool, do func(ctx context.Context, conn *sql.Conn) (T, error)) (value T, err error) {
	var conn *sql.Conn
	// A driver that sets the journal mode of a new connection needs the file for it.
	err = again(ctx, locked, func() (err error) { conn, err = db.Conn(ctx); return err })
	if err != nil {
		return value, err
	}
	defer conn.Close()
	// SQLite would wait without a look at the context. We do the waiting.
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return value, err
	}
	err = again(ctx, locked, func() (err error) { value, err = do(ctx, conn); return err })
	return value, err
}

// again tries until the file is not locked.
func again(ctx context.Context, locked *atomic.Bool, try func() error) error {
	for wait := busyPause; ; wait = min(2*wait, mostBusyPause) {
		err := try()
		locked.Store(isLocked(err))
		if !locked.Load() || pause(ctx, wait/2+rand.N(wait)) != nil {
			return err
		}
	}
}

// isLocked recognises SQLITE_BUSY and SQLITE_LOCKED by the texts that SQLite
// itself has for them, which every driver passes on.
func isLocked(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "database is locked") || strings.Contains(text, "table is locked")
}

// explain says what to do, where that is known.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "no such table"):
		return fmt.Errorf("sqlitestore: a table of %s is missing: call Migrate: %w", s.table, err)
	default:
		return fmt.Errorf("sqlitestore: table %s: %w", s.table, err)
	}
}

// change is exec within the time of a call.
func (s *Store) change(ctx context.Context, statement func(now int64) (sql string, args []any)) (int64, error) {
	return s.exec(ctx, s.timeout, statement)
}

// exec runs a statement that changes rows and returns how many. The statement
// is asked for at each try, because time passes while the file is locked.
func (s *Store) exec(ctx context.Context, within time.Duration, statement func(now int64) (sql string, args []any)) (changed int64, err error) {
	return run(ctx, s, within, s.writing, func(ctx context.Context, conn *sql.Conn) (int64, error) {
		text, args := statement(s.now().UnixMicro())
		result, err := conn.ExecContext(ctx, text, args...)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	})
}

// read runs a statement that returns keys and values and changes nothing. args are
// those after the time.
func (s *Store) read(ctx context.Context, text string, args ...any) (map[string][]byte, error) {
	return s.query(ctx, s.reading, text, args...)
}

// query runs a statement that returns keys and values, when it is its turn.
func (s *Store) query(ctx context.Context, turns []chan struct{}, text string, args ...any) (map[string][]byte, error) {
	return run(ctx, s, s.timeout, turns, func(ctx context.Context, conn *sql.Conn) (map[string][]byte, error) {
		rows, err := conn.QueryContext(ctx, text, append([]any{s.now().UnixMicro()}, args...)...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		found := map[string][]byte{}
		for rows.Next() {
			var key string
			var value []byte
			var missing bool
			if err := rows.Scan(&key, &value, &missing); err != nil {
				return nil, err
			}
			if missing {
				return nil, errNoValue
			}
			if value == nil { // some drivers return an empty value so
				value = []byte{}
			}
			found[key] = value
		}
		return found, rows.Err()
	})
}

// readOne returns the value of the only row, or nil if there is none.
func (s *Store) readOne(ctx context.Context, text string, args ...any) (value []byte, err error) {
	found, err := s.read(ctx, text, args...)
	return found[""], err
}

// pause waits, or returns the error of ctx if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
