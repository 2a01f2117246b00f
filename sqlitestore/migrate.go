package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

const (
	// schemaVersion is the version of the tables that this package reads and
	// writes. A later one will find this one and change it.
	schemaVersion = 1
	// tables is how many tables a store has.
	tables = 4
)

// Migrate makes the tables that are missing, and sets the file to write-ahead
// logging, with which readers do not wait for a writer. It does nothing where
// all is done, so every process may call it when it starts, at the same time as
// others.
//
// A database in memory is an error, because each connection would have one of
// its own. So are connections with synchronous=OFF, locking_mode=EXCLUSIVE or another
// journal mode, tables of a later version, and a table of that name that is not
// ours. Migrate waits for other processes at most 30 seconds.
func (s *Store) Migrate(ctx context.Context) error {
	_, err := run(ctx, s, migrateTimeout, s.writing, func(ctx context.Context, conn *sql.Conn) (struct{}, error) {
		err := checkFile(ctx, conn)
		if err == nil {
			err = s.migrate(ctx, conn)
		}
		if err == nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // closes it, so that the next call opens another
		}
		return struct{}{}, err
	})
	if err == nil {
		_, err = run(ctx, s, migrateTimeout, s.reading, func(ctx context.Context, conn *sql.Conn) (struct{}, error) {
			return struct{}{}, checkAddress(ctx, conn)
		})
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// checkFile refuses what could not keep sessions.
func checkFile(ctx context.Context, conn *sql.Conn) error {
	var file, mode string
	if err := conn.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		return err
	}
	if file == "" {
		return errors.New("the database is in memory, where each connection has one of its own: name a file, or use gatehouse.NewMemoryStore")
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file stays in journal mode %s: write-ahead logging needs a file on a disk of this machine", mode)
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA locking_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "normal" {
		return errors.New("locking_mode is EXCLUSIVE, so that one connection locks all others out: leave it NORMAL")
	}
	synchronous := 0
	if err := conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return err
	}
	if synchronous == 0 {
		return errors.New("synchronous is OFF, so that a power cut may destroy the file: set it to NORMAL or FULL")
	}
	return nil
}

// checkAddress refuses an address of the database that sets another journal mode.
// Each new connection would, and wait until nobody else uses the file.
func checkAddress(ctx context.Context, conn *sql.Conn) error {
	mode, tables := "", 0
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil { // an older connection learns the mode by reading
		return err
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("a new connection sets the file to journal mode %s: the address of the database must not set journal_mode, unless to WAL", mode)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, conn *sql.Conn) (err error) {
	if done, err := s.migrated(ctx, conn); err != nil || done {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	end := "ROLLBACK"
	defer func() {
		// The connection goes back to the pool, so this must not depend on ctx.
		if _, endErr := conn.ExecContext(context.WithoutCancel(ctx), end); err == nil {
			err = endErr
		}
	}()
	if done, err := s.migrated(ctx, conn); err != nil || done {
		return err
	}
	for _, text := range s.sql.schema {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return notOurs(err)
		}
	}
	for _, text := range s.sql.probe {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return notOurs(err)
		}
	}
	if _, err := conn.ExecContext(ctx, s.sql.setVersion, int64(schemaVersion)); err != nil {
		return err
	}
	end = "COMMIT"
	return nil
}

func notOurs(err error) error {
	if isLocked(err) {
		return err
	}
	return fmt.Errorf("a table of that name may not be ours: %w", err)
}

// migrated reports whether all tables are there, in the version of this
// package.
func (s *Store) migrated(ctx context.Context, conn *sql.Conn) (bool, error) {
	n, version := 0, 0
	if err := conn.QueryRowContext(ctx, s.sql.tables, s.table).Scan(&n); err != nil || n == 0 {
		return false, err
	}
	switch err := conn.QueryRowContext(ctx, s.sql.version).Scan(&version); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, nil // the table is missing
	case version > schemaVersion:
		return false, fmt.Errorf("the tables have version %d, and this program knows %d: another process runs a later one", version, schemaVersion)
	}
	return n == tables && version == schemaVersion, nil
}
