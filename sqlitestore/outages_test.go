package sqlitestore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/sqlitestore"
)

// TestOutages: whatever happens to the file, nobody is signed out, and everybody
// is served again as soon as it can be used.
func TestOutages(t *testing.T) {
	var file string
	place := func(t testing.TB) func() gatehouse.Store {
		file = newFile(t)
		return func() gatehouse.Store {
			return open(t, connect(t, file, fmt.Sprintf("_pragma=max_page_count(%d)", pages)), sqlitestore.Config{})
		}
	}
	stories.Outages(t, place,
		stories.Outage{Name: "locked against writes", ReadsWork: true, Begin: func(t testing.TB) func() { return locked(t, file, "write") }},
		stories.Outage{Name: "locked", Begin: func(t testing.TB) func() { return locked(t, file, "freeze") }},
		stories.Outage{Name: "full", ReadsWork: true, SmallWritesWork: true, Begin: func(t testing.TB) func() { return full(t, file) }},
		stories.Outage{Name: "tables are gone", Begin: func(t testing.TB) func() { return away(t, file) }},
	)
}

// pages is the size at which the databases of the outages are full.
const pages = 100

// full fills the file up to its last byte: what needs room fails, and nothing
// else.
func full(t testing.TB, file string) (release func()) {
	t.Helper()
	db := connect(t, file, fmt.Sprintf("_pragma=max_page_count(%d)&_pragma=busy_timeout(10000)", pages))
	n := 0
	for size := 3 << 10; size > 0; size /= 2 {
		for err := error(nil); err == nil; n++ {
			_, err = db.Exec("INSERT INTO gatehouse VALUES (?, zeroblob(?), ?)", "filler "+rand.Text(), size, int64(1)<<60)
			if err != nil && !strings.Contains(err.Error(), "full") {
				t.Fatal(err)
			}
		}
	}
	if n < pages/2 {
		t.Fatalf("the file is full after %d values", n)
	}
	return func() {
		if _, err := db.Exec("DELETE FROM gatehouse WHERE key LIKE 'filler %'"); err != nil {
			t.Error(err)
		}
	}
}

// away renames the table, as somebody does who works on the file by hand.
func away(t testing.TB, file string) (release func()) {
	t.Helper()
	db := connect(t, file, "_pragma=busy_timeout(10000)")
	rename := func(from, to string) {
		if _, err := db.Exec("ALTER TABLE " + from + " RENAME TO " + to); err != nil {
			t.Error(err)
		}
	}
	rename("gatehouse", "elsewhere")
	return func() { rename("elsewhere", "gatehouse") }
}

// TestFA8_Restart: a process dies in the middle of a change, and the replicas
// close the file and open it again, under traffic.
func TestFA8_Restart(t *testing.T) {
	var file string
	var replicas []*reopened
	place := func(t testing.TB) func() gatehouse.Store {
		file, replicas = newFile(t), nil
		return func() gatehouse.Store {
			r := &reopened{t: t, file: file}
			r.open()
			t.Cleanup(r.close)
			replicas = append(replicas, r)
			return r
		}
	}
	stories.FA8Restart(t, place, func(t testing.TB) {
		kill := lockedUntilKilled(t, file)
		time.Sleep(50 * time.Millisecond) // for people to meet it
		kill()
		for _, r := range replicas {
			r.mu.Lock()
			r.close()
			r.open()
			r.mu.Unlock()
		}
	})
}

// reopened is a store whose file is closed and opened again. Calls meanwhile
// fail, as those of a process that ends.
type reopened struct {
	t    testing.TB
	file string

	mu sync.RWMutex
	*sqlitestore.Store
	db *sql.DB
}

func (r *reopened) open() {
	r.db = connect(r.t, r.file, "")
	r.Store = open(r.t, r.db, sqlitestore.Config{})
}

func (r *reopened) close() {
	if err := r.Store.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *reopened) now() (*sqlitestore.Store, error) {
	if !r.mu.TryRLock() {
		return nil, errors.New("the file is not open")
	}
	defer r.mu.RUnlock()
	return r.Store, nil
}

func (r *reopened) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	s, err := r.now()
	if err != nil {
		return nil, false, err
	}
	return s.FindCtx(ctx, key)
}

func (r *reopened) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	s, err := r.now()
	if err != nil {
		return nil, err
	}
	return s.FindManyCtx(ctx, keys)
}

func (r *reopened) CommitCtx(ctx context.Context, key string, value []byte, expiry time.Time) error {
	s, err := r.now()
	if err != nil {
		return err
	}
	return s.CommitCtx(ctx, key, value, expiry)
}

func (r *reopened) DeleteCtx(ctx context.Context, key string) error {
	s, err := r.now()
	if err != nil {
		return err
	}
	return s.DeleteCtx(ctx, key)
}

func (r *reopened) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	s, err := r.now()
	if err != nil {
		return false, err
	}
	return s.SwapCtx(ctx, key, old, new, expiry)
}
