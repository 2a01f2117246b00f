package pgstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/pgstore"
)

// A swap that waits for somebody else's change is decided by what that leaves,
// and not by what was there when the swap began.
func TestSwapWaits(t *testing.T) {
	pool := connect(t, server.DSN())
	store := open(t, pool, pgstore.Config{})
	table := tableOf(t)
	const hour = "now() + interval '1 hour'"
	old, next := []byte("old"), []byte("new")
	for _, c := range []struct {
		name   string
		there  []byte // before
		change string // under way
		old    []byte
		new    []byte
		commit bool // the change
		want   bool
		after  string
	}{
		{"create, another creates", nil, "INSERT INTO @ VALUES (KEY, 'other', " + hour + ")", nil, next, true, false, "other"},
		{"create, another gives up", nil, "INSERT INTO @ VALUES (KEY, 'other', " + hour + ")", nil, next, false, true, "new"},
		{"create, its lost first try", nil, "INSERT INTO @ VALUES (KEY, 'new', " + hour + ")", nil, next, true, true, "new"},
		{"create, what was there expires", old, "UPDATE @ SET expires = now() WHERE key = KEY", nil, next, true, true, "new"},
		{"create, what was there goes", old, "DELETE FROM @ WHERE key = KEY", nil, next, true, true, "new"},
		{"replace, another replaces", old, "UPDATE @ SET value = 'other' WHERE key = KEY", old, next, true, false, "other"},
		{"replace, another gives up", old, "UPDATE @ SET value = 'other' WHERE key = KEY", old, next, false, true, "new"},
		{"replace, its lost first try", old, "UPDATE @ SET value = 'new' WHERE key = KEY", old, next, true, true, "new"},
		{"replace, another deletes", old, "DELETE FROM @ WHERE key = KEY", old, next, true, false, ""},
		{"replace, it expires", old, "UPDATE @ SET expires = now() WHERE key = KEY", old, next, true, false, ""},
		{"delete, another replaces", old, "UPDATE @ SET value = 'other' WHERE key = KEY", old, nil, true, false, "other"},
		{"delete, another deletes", old, "DELETE FROM @ WHERE key = KEY", old, nil, true, true, ""},
		{"delete, another gives up", old, "DELETE FROM @ WHERE key = KEY", old, nil, false, true, ""},
		{"delete, it expires", old, "UPDATE @ SET expires = now() WHERE key = KEY", old, nil, true, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := strings.NewReplacer(" ", "-", ",", "").Replace(c.name)
			if c.there != nil {
				if err := store.CommitCtx(t.Context(), key, c.there, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.WithoutCancel(t.Context()))
			if _, err := tx.Exec(t.Context(), strings.NewReplacer("@", table, "KEY", "'"+key+"'").Replace(c.change)); err != nil {
				t.Fatal(err)
			}
			type result struct {
				swapped bool
				err     error
			}
			done := make(chan result, 1)
			go func() {
				swapped, err := store.SwapCtx(t.Context(), key, c.old, c.new, time.Now().Add(time.Hour))
				done <- result{swapped, err}
			}()
			waiting(t, table, 1)
			end := tx.Rollback
			if c.commit {
				end = tx.Commit
			}
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := <-done; r.swapped != c.want || r.err != nil {
				t.Errorf("swapped %v, %v", r.swapped, r.err)
			}
			if value, _, err := store.FindCtx(t.Context(), key); string(value) != c.after || err != nil {
				t.Errorf("the store holds %q, want %q (%v)", value, c.after, err)
			}
		})
	}
}
