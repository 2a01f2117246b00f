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
func TestStories(t *testing.T) {
	stories.Run(t, func(t testing.TB) func() gatehouse.Store {
		table := "story_" + strings.ToLower(rand.Text())
		return func() gatehouse.Store {
			return open(t, connect(t, bouncer.DSN(), func(c *pgxpool.Config) { c.MaxConns = 2 }), pgstore.Config{Table: table})
		}
	})
}
