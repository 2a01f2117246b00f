// Package sqlitestore keeps gatehouse's sessions, owners' grants, registered
// clients and ids of resources in a SQLite file, for the processes of one machine.
//
//	db, err := sql.Open("sqlite", "file:/var/lib/notes/sessions.db")
//	store, err := sqlitestore.New(db, sqlitestore.Config{})
//	err = store.Migrate(ctx) // each time the program starts
//	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store, Keys: keys})
//
// The driver is the program's choice. This package knows only database/sql; its
// tests use modernc.org/sqlite, which is written in Go.
//
// Every change is one statement, so SQLite makes it atomic, also between
// processes. The README says what the file system must promise.
package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

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
	// gatehouse. It has up to 48 ASCII letters, digits and underscores, and does
	// not begin with a digit. SQLite does not distinguish capitals. Three more
	// tables have names that begin with it: notes_grants, notes_ids and
	// notes_schema. Applications that share a file have tables of their own.
	Table string
	// Sweep is how often one process removes expired rows, on average. 0 means
	// every 5 minutes, and less than a millisecond is an error. Processes share the
	// work: what one has swept, the others leave, so all together sweep at most
	// twice as often, however many they are.
	// With a negative Sweep nothing is removed until somebody calls
	// [Store.Sweep]. Expired rows count as absent in any case.
	Sweep time.Duration
	// Timeout is the longest that a call may take, also while another process
	// keeps the file locked. 0 means one second. gatehouse itself gives up after
	// 0.9 s.
	Timeout time.Duration
	// Logger is told, at level WARN, when removing expired rows failed. nil
	// means slog.Default.
	Logger *slog.Logger
	// Now is the clock that decides what has expired. nil means time.Now, which
	// the processes of one machine share.
	Now func() time.Time
}

const (
	// defaultTable is the name that the zero Config stands for.
	defaultTable = "gatehouse"
	// parallel is how many calls use the file at a time. Others wait for their
	// turn, so that a file that hangs does not gather goroutines.
	parallel = 16
	// writers is how many of them change something. The file takes one at a time
	// anyway, and has no order for those who wait: some would wait for a second.
	writers = 1
)

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,47}$`)

// Store keeps values in a SQLite file. It is a [gatehouse.Store], a
// [gatehouse.GrantStore], a [gatehouse.RegistrationStore] and a
// [gatehouse.ResourceIDs], and safe for concurrent use, also by several
// processes on one file.
//
// Every call ends within Config.Timeout, and earlier if its context does. A call
// that fails may have had its effect all the same.
type Store struct {
	db      *sql.DB
	sql     statements
	table   string
	now     func() time.Time
	timeout time.Duration
	every   time.Duration
	sweeper *sweep.Sweeper
	reading []chan struct{} // the turns of a call that reads; each is full when as many calls as may do
	writing []chan struct{} // and of one that changes something

	mu      sync.Mutex
	running map[chan struct{}]struct{} // guarded by mu; each is closed when its call has ended
}

// New makes a Store over a database. It opens no file. The database should be
// used for nothing else, because the Store sets busy_timeout on its
// connections. It remains the caller's, who closes it after the Store.
func New(db *sql.DB, config Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlitestore: the database is nil")
	}
	if config.Table == "" {
		config.Table = defaultTable
	}
	if !tableName.MatchString(config.Table) {
		return nil, fmt.Errorf("sqlitestore: Table: %q is not a name of up to 48 ASCII letters, digits and underscores", config.Table)
	}
	if strings.HasPrefix(strings.ToLower(config.Table)+"_", "sqlite_") {
		return nil, fmt.Errorf("sqlitestore: Table: with %q, names would begin with sqlite_, as only those of SQLite itself may", config.Table)
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("sqlitestore: Timeout: %v is less than 0", config.Timeout)
	}
	if config.Timeout == 0 {
		config.Timeout = callTimeout
	}
	if err := sweep.Check(config.Sweep); err != nil {
		return nil, fmt.Errorf("sqlitestore: Sweep: %w", err)
	}
	if config.Sweep == 0 {
		config.Sweep = sweep.Every
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Store{
		db: db, sql: statementsFor(config.Table), table: config.Table, now: config.Now,
		timeout: config.Timeout, every: config.Sweep, running: map[chan struct{}]struct{}{},
	}
	all := make(chan struct{}, parallel)
	s.reading, s.writing = []chan struct{}{all}, []chan struct{}{make(chan struct{}, writers), all}
	s.sweeper = sweep.Start(config.Sweep, s.sweepTurn, func(err error) {
		config.Logger.Warn("sqlitestore: expired rows were not removed", "table", config.Table, "error", err)
	})
	return s, nil
}

// Close stops the removal of expired rows, and returns when that and all calls
// that were using the file have ended, also those that their callers have given
// up. It may be called several times. Close the database afterwards.
func (s *Store) Close() error {
	s.sweeper.Close()
	s.mu.Lock()
	running := slices.Collect(maps.Keys(s.running))
	s.mu.Unlock()
	for _, ended := range running {
		<-ended
	}
	return nil
}

// begin counts a call as one that Close waits for, until end.
func (s *Store) begin() (end func()) {
	ended := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[ended] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, ended)
		close(ended)
	}
}

// Sweep removes all expired rows now and returns how many those were. Call it
// from time to time if Config.Sweep is negative.
func (s *Store) Sweep(ctx context.Context) (removed int64, err error) {
	return sweep.All(ctx, func(ctx context.Context) (int64, error) {
		return s.exec(ctx, sweepTimeout, func(now int64) (string, []any) { return s.sql.sweep, []any{now, int64(sweep.Batch)} })
	})
}

// sweepTurn is Sweep if no process has swept lately.
func (s *Store) sweepTurn(ctx context.Context) error {
	turn, err := s.change(ctx, func(now int64) (string, []any) {
		return s.sql.sweepTurn, []any{now, now - sweep.Fair(s.every).Microseconds()}
	})
	if err != nil || turn == 0 {
		return err
	}
	_, err = s.Sweep(ctx)
	return err
}
