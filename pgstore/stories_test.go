package pgstore_test

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/pgstore"
)

// TestStories runs the stories of sessions over two replicas, each with a pool
// of its own, through PgBouncer.
func TestStories(t *testing.T) { stories.Run(t, placeAt(bouncer.DSN(), 2)) }

// placeAt makes tables of their own for each story. The first process of a story
// migrates.
func placeAt(dsn string, connections int32) stories.Open {
	return func(t testing.TB) func() gatehouse.Store {
		config, migrated := pgstore.Config{Table: "story_" + strings.ToLower(rand.Text()), Sweep: -1}, false
		return func() gatehouse.Store {
			pool := connect(t, dsn, func(c *pgxpool.Config) { c.MaxConns = connections })
			if err := pool.Ping(t.Context()); err != nil { // the first connection takes longer than a call may
				t.Fatal(err)
			}
			if !migrated {
				migrated = true
				return open(t, pool, config)
			}
			store, err := pgstore.New(pool, config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			return store
		}
	}
}
