package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/reliability/site"
	"example.com/gatehouse/pgstore"
)

// openPostgres connects to PostgreSQL, and makes the tables if they are not
// there.
func openPostgres(ctx context.Context, c site.Config) (gatehouse.Store, error) {
	pool, err := pgxpool.New(ctx, c.Postgres)
	if err != nil {
		return nil, err
	}
	store, err := pgstore.New(pool, pgstore.Config{Table: c.Prefix})
	if err != nil {
		return nil, err
	}
	return store, store.Migrate(ctx)
}
