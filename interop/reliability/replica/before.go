//go:build before

package main

import (
	"context"
	"errors"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/reliability/site"
)

// openPostgres is missing in the build before, because pgstore uses what
// gatehouse did not have then.
func openPostgres(context.Context, site.Config) (gatehouse.Store, error) {
	return nil, errors.New("the build before knows Redis only")
}
