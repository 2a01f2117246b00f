// Package pgstore keeps gatehouse's sessions, owners' grants, registered clients
// and ids of resources in PostgreSQL, for any number of replicas.
//
//	store, err := pgstore.New(pool, pgstore.Config{})
//	err = store.Migrate(ctx) // when the program is deployed, or each time it starts
//	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store, Keys: keys})
//
// Every change is one statement, so the database makes it atomic. No statement
// relies on the session of a connection or on named prepared statements. So the
// pool may have any settings, and PgBouncer in transaction mode may stand in
// between.
//
// The README says what the database must be configured to promise.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/sweep"
)

// One Store is all four stores of gatehouse.
var (
	_ gatehouse.Store      = (*Store)(nil)
	_ gatehouse.GrantStore = (*Store)(nil)

	_ gatehouse.RegistrationStore = (*Store)(nil)
	_ gatehouse.ResourceIDs       = (*Store)(nil)
)

// Config holds the settings of New. The zero value is complete.
type Config struct {
	// Table is the name of the table that holds what expires. "" means
	// gatehouse. It may name a schema too: app.gatehouse. Each of the two names
	// has up to 48 ASCII letters, digits and underscores, does not begin with a
	// digit, and is taken as it is written: Notes is not notes. Three more
	// tables have names that begin with it: notes_grants, notes_ids and
	// notes_schema. Applications that share a database have tables of their own.
	Table string
	// Sweep is how often one replica removes expired rows, on average. 0 means
	// every 5 minutes, and less than a millisecond is an error. Replicas share the
	// work: what one has swept, the others leave, so all together sweep at most
	// twice as often, however many they are.
	// With a negative Sweep nothing is removed until somebody calls
	// [Store.Sweep]. Expired rows count as absent in any case.
	Sweep time.Duration
	// Timeout is the longest that a call may take, also while the database hangs.
	// 0 means one second. gatehouse itself gives up after 0.9 s.
	Timeout time.Duration
	// Logger is told, at level WARN, when removing expired rows failed. nil
	// means slog.Default.
	Logger *slog.Logger
	// Now is the clock of those who call the store. It only says how long from
	// now an expiry is: the database's clock decides when that time has passed.
	// nil means time.Now.
	Now func() time.Time
}

// defaultTable is the name that the zero Config stands for.
const defaultTable = "gatehouse"

// tableName leaves room for the longest suffix in the 63 bytes of a name in
// PostgreSQL, which would cut it off in silence.
var tableName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,47}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}$`)

// Store keeps values in PostgreSQL. It is a [gatehouse.Store], a
// [gatehouse.GrantStore], a [gatehouse.RegistrationStore] and a
// [gatehouse.ResourceIDs], and safe for concurrent use by any number of
// processes.
//
// Every call ends within Config.Timeout, and earlier if its context does. A call
// that fails may have had its effect all the same. Whatever lock it waits for, it
// has none later than a second after that. Only what the server has not read yet,
// because it hangs, is done when it goes on.
type Store struct {
	pool    *pgxpool.Pool
	sql     statements
	table   string
	now     func() time.Time
	timeout time.Duration
	sweeper *sweep.Sweeper
	every   time.Duration
}

// New makes a Store over a pool. It opens no connection. The pool remains the
// caller's, who closes it after the Store. It should give up connecting after a
// second (connect_timeout=1 in the address): otherwise, after the network has lost
// what was sent, it may be of no use for two minutes.
func New(pool *pgxpool.Pool, config Config) (*Store, error) {
	if pool == nil {
		return nil, errors.New("pgstore: the pool is nil")
	}
	if config.Table == "" {
		config.Table = defaultTable
	}
	if !tableName.MatchString(config.Table) {
		return nil, fmt.Errorf("pgstore: Table: %q is not a name, or two with a dot between them, of up to 48 ASCII letters, digits and underscores", config.Table)
	}
	if err := sweep.Check(config.Sweep); err != nil {
		return nil, fmt.Errorf("pgstore: Sweep: %w", err)
	}
	if config.Sweep == 0 {
		config.Sweep = sweep.Every
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("pgstore: Timeout: %v is less than 0", config.Timeout)
	}
	if config.Timeout == 0 {
		config.Timeout = callTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Store{pool: pool, sql: statementsFor(config.Table, min(config.Timeout, longestWait)+afterTimeout), table: config.Table,
		now: config.Now, timeout: config.Timeout, every: config.Sweep}
	s.sweeper = sweep.Start(config.Sweep, s.sweepTurn, func(err error) {
		config.Logger.Warn("pgstore: expired rows were not removed", "table", config.Table, "error", err)
	})
	return s, nil
}

// Close stops the removal of expired rows and returns when that has ended. It
// may be called several times. The rest of the Store works on.
func (s *Store) Close() error {
	s.sweeper.Close()
	return nil
}

// Sweep removes all expired rows now and returns how many those were. Rows that
// somebody else is changing or removing at the moment are left. Call it from
// time to time if Config.Sweep is negative.
func (s *Store) Sweep(ctx context.Context) (removed int64, err error) {
	return sweep.All(ctx, func(ctx context.Context) (int64, error) {
		return s.change(ctx, sweepTimeout, s.sql.sweep, int64(sweep.Batch))
	})
}

// sweepTurn is Sweep if no replica has swept lately.
func (s *Store) sweepTurn(ctx context.Context) error {
	turn, err := s.exec(ctx, s.sql.sweepTurn, sweep.Fair(s.every).Microseconds())
	if err != nil || turn == 0 {
		return err
	}
	_, err = s.Sweep(ctx)
	return err
}

// identifier quotes the name of a table.
func identifier(table, suffix string) string {
	parts := strings.Split(table, ".")
	parts[len(parts)-1] += suffix
	return pgx.Identifier(parts).Sanitize()
}
