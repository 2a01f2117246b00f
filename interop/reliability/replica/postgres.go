package main

import (
	"context"
	"errors"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/reliability/site"
)

// openPostgres needs a store for PostgreSQL, which this repository does not have
// yet. Bare scs has one.
func openPostgres(context.Context, site.Config) (gatehouse.Store, error) {
	return nil, errors.New("there is no store for PostgreSQL yet")
}
