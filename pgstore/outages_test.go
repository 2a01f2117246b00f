package pgstore_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/pgstore"
)

// TestOutages: whatever PostgreSQL is in trouble with, nobody is signed out, and
// everybody is served again as soon as it works.
func TestOutages(t *testing.T) {
	var table string
	at := func(dsn string) stories.Open {
		return func(t testing.TB) func() gatehouse.Store {
			table = "outage_" + strings.ToLower(rand.Text())
			return func() gatehouse.Store {
				return open(t, connect(t, dsn, func(c *pgxpool.Config) { c.MaxConns = 4 }), pgstore.Config{Table: table})
			}
		}
	}
	hang := func(testing.TB) func() { server.Pause(); return server.Resume }
	down := func(stop func()) func(testing.TB) func() {
		return func(t testing.TB) func() {
			stop()
			return func() { restartServer(t) }
		}
	}
	stories.Outages(t, at(bouncer.DSN()),
		stories.Outage{Name: "hang, behind PgBouncer", Begin: hang},
		stories.Outage{Name: "killed, behind PgBouncer", Begin: down(server.Kill)},
	)
	stories.Outages(t, at(server.DSN()),
		stories.Outage{Name: "hang", Begin: hang},
		stories.Outage{Name: "stopped", Begin: down(func() { server.Stop(backing.Fast) })},
		stories.Outage{Name: "killed", Begin: down(server.Kill)},
		stories.Outage{Name: "a table lock", Begin: func(testing.TB) func() { return locked(t, table)() }},
		stories.Outage{Name: "a lock against writes", ReadsWork: true, Begin: func(t testing.TB) func() {
			admin := connect(t, server.DSN())
			tx, err := admin.Begin(context.Background())
			if err == nil {
				_, err = tx.Exec(context.Background(), "LOCK TABLE "+table+" IN SHARE MODE")
			}
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := tx.Rollback(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}},
	)
}

// TestFA8_Restart restarts PostgreSQL under traffic.
func TestFA8_Restart(t *testing.T) {
	stories.FA8Restart(t, placeAt(server.DSN(), 25), func(t testing.TB) {
		server.Stop(backing.Fast)
		restartServer(t)
	})
}

func restartServer(t testing.TB) {
	t.Helper()
	if err := server.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}
