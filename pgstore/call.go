package pgstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// callTimeout bounds one call, unless Config.Timeout does. A page answers 503
	// soon after when the database hangs.
	callTimeout = time.Second
	// afterTimeout is how long after the end of a call a statement of it may still
	// have an effect, because its cancellation is under way.
	afterTimeout = time.Second
	// longestWait is how long a statement may wait for a lock and still have an
	// effect, however long Config.Timeout is. What a logout leaves lasts a minute,
	// and nothing from before may come after that.
	longestWait = 30 * time.Second
	// sweepTimeout bounds one batch of the removal of expired rows, for which
	// nobody waits.
	sweepTimeout = 10 * time.Second
	// migrateTimeout bounds Migrate, which waits for that of another replica.
	migrateTimeout = 30 * time.Second
	// reconnects is how often a statement is sent again because its connection
	// was gone. After a restart of the database each idle connection is.
	reconnects = 4
	// conflictPause is the longest wait before a statement is repeated that was
	// in conflict with another.
	conflictPause = 5 * time.Millisecond
)

// oneTrip has a statement parsed, bound and executed in one round trip, without
// a name. PgBouncer may send the next one to another server.
const oneTrip = pgx.QueryExecModeExec

// errReplica refuses to read where changes arrive late.
var errReplica = errors.New("this is a read replica, which may not know a logout yet: connect to the primary server")

// call runs do within a time, and again if that cannot harm. Nothing can be
// harmed by a change that is made twice: a swap that was done already counts as
// done.
func (s *Store) call(ctx context.Context, within time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for lost := 0; ; {
		err := do(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return s.explain(err)
		case inConflict(err): // the database has undone it
			if pause(ctx, rand.N(conflictPause)) != nil {
				return s.explain(err)
			}
		case connectionLost(err) && lost < reconnects:
			lost++
		default:
			return s.explain(err)
		}
	}
}

// inConflict: a database with a stricter isolation than READ COMMITTED ends one
// of two statements that change the same row.
func inConflict(err error) bool {
	code := sqlState(err)
	return code == "40001" || code == "40P01"
}

// connectionLost reports whether a connection that stood was lost, by itself or
// because the server shuts down (57P01, 57P02). A server to which nobody can
// connect is not asked again.
func connectionLost(err error) bool {
	if code := sqlState(err); code != "" {
		return code == "57P01" || code == "57P02"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return false
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// explain says what to do, where that is known.
func (s *Store) explain(err error) error {
	switch sqlState(err) {
	case "":
		if err == nil {
			return nil
		}
		return fmt.Errorf("pgstore: %w", err)
	case "42P01", "3F000": // undefined table, invalid schema
		return fmt.Errorf("pgstore: a table of %s is missing: call Migrate: %w", s.table, err)
	default:
		return fmt.Errorf("pgstore: table %s: %w", s.table, err)
	}
}

// exec is change within the time of a call.
func (s *Store) exec(ctx context.Context, sql string, args ...any) (changed int64, err error) {
	return s.change(ctx, s.timeout, sql, args...)
}

// change runs a statement that changes rows and returns how many.
func (s *Store) change(ctx context.Context, within time.Duration, sql string, args ...any) (changed int64, err error) {
	args = append([]any{oneTrip}, args...)
	err = s.call(ctx, within, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, sql, args...)
		changed = tag.RowsAffected()
		return err
	})
	return changed, err
}

var errNoValue = errors.New("a row has no value or no expiry, which only somebody else can have written")

// read runs a statement that returns keys and values, and calls each with them.
// It may do so several times, so begin is called before. The values come in
// hexadecimal digits.
func (s *Store) read(ctx context.Context, sql string, begin func(), each func(key string, value []byte), args ...any) error {
	args = append([]any{oneTrip}, args...)
	return s.call(ctx, s.timeout, func(ctx context.Context) error {
		begin()
		rows, err := s.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			raw := rows.RawValues() // as they came, until the next row
			key, digits := raw[0], raw[1]
			switch {
			case key == nil:
				return errReplica
			case digits == nil:
				return errNoValue
			}
			value := make([]byte, hex.DecodedLen(len(digits)))
			if _, err := hex.Decode(value, digits); err != nil {
				return err
			}
			each(string(key), value)
		}
		return rows.Err()
	})
}

// readOne returns the value of the only row, or nil if there is none.
func (s *Store) readOne(ctx context.Context, sql string, args ...any) (value []byte, err error) {
	err = s.read(ctx, sql, func() { value = nil }, func(_ string, v []byte) { value = v }, args...)
	if err != nil {
		return nil, err
	}
	return value, nil
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
