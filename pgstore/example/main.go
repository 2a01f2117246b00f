//go:build unix

// Command example runs the photo site on replicas that share a PostgreSQL
// database:
//
//	go run -C pgstore ./example -replicas 2
//
// It starts a PostgreSQL server for itself, or takes the database that -addr
// names.
package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse/example/replicas"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/pgstore"
)

func main() {
	replicas.Main(replicas.Kind{
		Name: "PostgreSQL",
		Addr: "a database of a running PostgreSQL, as postgres://user:password@host:5432/database or \"host=… user=…\";\nempty starts a server for the time of the example",
		Missing: "PostgreSQL is not installed: install it (on Debian: apt-get install postgresql), " +
			"or name a running one with -addr postgres://user:password@host:5432/database",
		Begin: begin,
		Open:  open,
	})
}

func begin(ctx context.Context) (addr string, end func(), err error) {
	server, err := backing.StartPostgres(ctx, backing.PostgresConfig{})
	if err != nil {
		return "", nil, err
	}
	return server.DSN(), func() { _ = server.Close() }, nil
}

// open is what a program of yours does, too. The one process that starts the
// replicas calls Migrate before.
func open(ctx context.Context, addr string) (replicas.Store, func(), error) {
	pool, err := pgxpool.New(ctx, addr)
	if err != nil {
		return nil, nil, errors.New("-addr is no address of a PostgreSQL") // the error would show a part of it
	}
	store, err := pgstore.New(pool, pgstore.Config{Table: "photos"})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return store, func() {
		_ = store.Close()
		pool.Close()
	}, nil
}
