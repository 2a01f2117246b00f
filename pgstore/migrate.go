package pgstore

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
)

// schemaVersion is the version of the tables that this package reads and
// writes. A later one will find this one and change it.
const schemaVersion = 1

// Migrate makes the tables that are missing. It does nothing where all are
// there, so every replica may call it when it starts, at the same time as
// others. Only a call that makes something needs the right to create tables.
//
// Tables of a later version are an error, and so is a table of that name that is
// not ours. Migrate waits for another one at most 30 seconds.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	done, err := s.migrated(ctx, s.pool)
	if err == nil && !done {
		// READ COMMITTED, so that what is there is seen after waiting for others.
		options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
		err = pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error { return s.migrate(ctx, tx) })
	}
	if err != nil {
		return fmt.Errorf("pgstore: Migrate %s: %w", s.table, err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1::bigint)", oneTrip, migrationLock()); err != nil {
		return err
	}
	if done, err := s.migrated(ctx, tx); err != nil || done {
		return err
	}
	// Without arguments, several statements are one simple query.
	if _, err := tx.Exec(ctx, s.sql.schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, s.sql.probe, oneTrip); err != nil {
		return fmt.Errorf("a table of that name is not ours: %w", err)
	}
	_, err := tx.Exec(ctx, s.sql.setVersion, oneTrip, int64(schemaVersion))
	return err
}

// A querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// migrated reports whether all tables are there, in the version of this
// package.
func (s *Store) migrated(ctx context.Context, q querier) (bool, error) {
	var all, versioned bool
	if err := q.QueryRow(ctx, s.sql.present, oneTrip).Scan(&all, &versioned); err != nil || !versioned {
		return false, err
	}
	version := 0
	if err := q.QueryRow(ctx, s.sql.version, oneTrip).Scan(&version); err != nil && err != pgx.ErrNoRows {
		return false, err
	}
	if version > schemaVersion {
		return false, fmt.Errorf("the tables have version %d, and this program knows %d: another replica runs a later one", version, schemaVersion)
	}
	return all && version == schemaVersion, nil
}

// migrationLock is the number of the lock that one Migrate at a time holds,
// whatever its table: one table has two names, with its schema and without.
func migrationLock() int64 {
	h := fnv.New64a()
	h.Write([]byte("gatehouse/pgstore")) // never fails
	return int64(h.Sum64())
}
