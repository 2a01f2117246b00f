package sqlitestore_test

import (
	"context"
	"crypto/rand"
	"os/exec"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/middlewaretest"
	"example.com/gatehouse/sqlitestore"
)

// The contracts of gatehouse, with databases as people open them.
func TestContracts(t *testing.T) {
	for _, c := range []struct {
		name, options string
		connections   int // at most; 0 for any number
	}{
		{"defaults", "", 0},
		{"one connection", "_pragma=synchronous(normal)&_pragma=busy_timeout(60000)&_txlock=immediate", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := newFile(t)
			db := connect(t, file, c.options)
			db.SetMaxOpenConns(c.connections)
			store := open(t, db, sqlitestore.Config{Timeout: patient})
			hang := middlewaretest.StoreHang(func() func() { return sync.OnceFunc(locked(t, file, "freeze")) })
			shared := middlewaretest.StoreProcess(func(ctx context.Context) *exec.Cmd { return process(ctx, t, file, "serve") })
			t.Run("Store", func(t *testing.T) {
				middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return store }, hang, shared)
			})
			t.Run("GrantStore", func(t *testing.T) {
				middlewaretest.TestGrantStore(t, func(*testing.T) gatehouse.GrantStore { return store }, hang, shared)
			})
			t.Run("RegistrationStore", func(t *testing.T) {
				middlewaretest.TestRegistrationStore(t, func(*testing.T) gatehouse.RegistrationStore { return store }, hang, shared)
			})
			t.Run("ResourceIDs", func(t *testing.T) {
				middlewaretest.TestResourceIDs(t, func(*testing.T) gatehouse.ResourceIDs { return store }, hang, shared)
			})
		})
	}
}

// TestStories runs the stories of sessions over two replicas, each with the
// file opened for itself.
func TestStories(t *testing.T) {
	file := newFile(t)
	stories.Run(t, func(t testing.TB) func() gatehouse.Store {
		table := "story_" + rand.Text()
		return func() gatehouse.Store { return open(t, connect(t, file, ""), sqlitestore.Config{Table: table}) }
	})
}
