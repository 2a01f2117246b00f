package sqlitestore_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse/sqlitestore"
)

// TestWritersInTurn: many write at the same time, and nobody is passed by others
// again and again. SQLite has no order for those who wait, so without turns somebody
// waits until his time is over. A call may be held up before it takes its place, so
// what looks bad is tried again.
func TestWritersInTurn(t *testing.T) {
	const callers, each, most, tries = 8, 30, 4 * 8, 3
	store := open(t, connect(t, newFile(t), ""), sqlitestore.Config{Timeout: patient})
	later := time.Now().Add(time.Hour)
	worst := int64(0)
	for range tries {
		var done, passed atomic.Int64
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for n := range each {
					before := done.Load()
					if err := store.CommitCtx(t.Context(), "key", []byte{byte(i), byte(n)}, later); err != nil {
						t.Error(err)
					}
					by := done.Add(1) - before - 1
					for old := passed.Load(); by > old && !passed.CompareAndSwap(old, by); old = passed.Load() {
					}
				}
			})
		}
		all.Wait()
		if worst = passed.Load(); worst <= most {
			return
		}
	}
	t.Errorf("%d calls were carried out beside one, want at most %d, and that in each of %d tries", worst, most, tries)
}
