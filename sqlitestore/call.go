package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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
	// a millisecond and a disk's flush a few.
	busyPause     = 500 * time.Microsecond
	mostBusyPause = 20 * time.Millisecond
)

var errNoValue = errors.New("a row has no value or no expiry, which only somebody else can have written")

// run runs do on a connection within a time, again and again while the file is
// locked.
//
// A call into SQLite may wait for a disk or a lock and heed no context. So it
// has a goroutine of its own, which the caller does not wait for when its time
// is up. Nothing that do touches may be touched by the caller then, hence the
// result.
func run[T any](ctx context.Context, s *Store, within time.Duration, do func(ctx context.Context, conn *sql.Conn) (T, error)) (T, error) {
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
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return none, s.explain(ctx.Err())
	}
	done := make(chan result, 1)
	end := s.begin()
	go func() { // ends with the call
		defer func() { <-s.turns; end() }()
		value, err := whileLocked(ctx, s.db, do)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, s.explain(r.err)
	case <-ctx.Done():
		return none, s.explain(ctx.Err())
	}
}

func whileLocked[T any](ctx context.Context, db *sql.DB, do func(ctx context.Context, conn *sql.Conn) (T, error)) (value T, err error) {
	var conn *sql.Conn
	// A driver that sets the journal mode of a new connection needs the file for it.
	err = again(ctx, func() (err error) { conn, err = db.Conn(ctx); return err })
	if err != nil {
		return value, err
	}
	defer conn.Close()
	// SQLite would wait without a look at the context. We do the waiting.
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return value, err
	}
	err = again(ctx, func() (err error) { value, err = do(ctx, conn); return err })
	return value, err
}

// again tries until the file is not locked.
func again(ctx context.Context, try func() error) error {
	for wait := busyPause; ; wait = min(2*wait, mostBusyPause) {
		err := try()
		if !isLocked(err) || pause(ctx, wait/2+rand.N(wait)) != nil {
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
	return run(ctx, s, within, func(ctx context.Context, conn *sql.Conn) (int64, error) {
		text, args := statement(s.now().UnixMicro())
		result, err := conn.ExecContext(ctx, text, args...)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	})
}

// read runs a statement that returns keys and values. args are those after the
// time.
func (s *Store) read(ctx context.Context, text string, args ...any) (map[string][]byte, error) {
	return run(ctx, s, s.timeout, func(ctx context.Context, conn *sql.Conn) (map[string][]byte, error) {
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
