package gatehouse_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// table is a Store over a table with a primary key, here in memory. The
// comments are the statements that a database would run, in the dialect of
// PostgreSQL:
//
//	CREATE TABLE sessions (key text PRIMARY KEY, value bytea, expiry timestamptz)
//
// Each method is one statement, so the database makes it atomic.
type table struct {
	now  func() time.Time
	mu   sync.Mutex
	rows map[string]row
}

type row struct {
	value  []byte
	expiry time.Time
}

// live returns the value under key. The caller holds the lock.
func (t *table) live(key string) []byte {
	if r, ok := t.rows[key]; ok && r.expiry.After(t.now()) {
		return r.value
	}
	return nil
}

// SELECT value FROM sessions WHERE key = $1 AND expiry > now()
func (t *table) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	values, err := t.FindManyCtx(ctx, []string{key})
	if err != nil || values[0] == nil {
		return nil, false, err
	}
	return values[0], true, nil
}

// SELECT key, value FROM sessions WHERE key = ANY ($1) AND expiry > now()
func (t *table) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = bytes.Clone(t.live(key))
	}
	return values, ctx.Err()
}

// INSERT INTO sessions VALUES ($1, $2, $3)
// ON CONFLICT (key) DO UPDATE SET value = $2, expiry = $3
func (t *table) CommitCtx(ctx context.Context, key string, value []byte, expiry time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[key] = row{bytes.Clone(value), expiry}
	return ctx.Err()
}

// DELETE FROM sessions WHERE key = $1
func (t *table) DeleteCtx(ctx context.Context, key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, key)
	return ctx.Err()
}

// SwapCtx is what keeps a session that has ended from coming back. It replaces
// old with new in one statement, and reports whether a row was changed:
//
//	UPDATE sessions SET value = $3, expiry = $4
//	WHERE key = $1 AND expiry > now() AND value IN ($2, $3)
//
// The value may be new already: then a reply was lost, and the command came
// twice. For a nil old:
//
//	INSERT INTO sessions VALUES ($1, $3, $4)
//	ON CONFLICT (key) DO UPDATE SET value = $3, expiry = $4
//	WHERE sessions.expiry <= now() OR sessions.value = $3
//
// For a nil new it deletes the row if it holds old, and reports true also if
// there is no live row.
func (t *table) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	current := t.live(key)
	same := func(v []byte) bool { return (v == nil) == (current == nil) && bytes.Equal(v, current) }
	switch {
	case !same(old) && !same(new):
		return false, ctx.Err()
	case new == nil:
		delete(t.rows, key)
	default:
		t.rows[key] = row{bytes.Clone(new), expiry}
	}
	return true, ctx.Err()
}

// scs asks for the three methods without a context as well. gatehouse does not
// call them.
func (t *table) Find(key string) ([]byte, bool, error) { return t.FindCtx(context.Background(), key) }
func (t *table) Delete(key string) error               { return t.DeleteCtx(context.Background(), key) }
func (t *table) Commit(key string, value []byte, expiry time.Time) error {
	return t.CommitCtx(context.Background(), key, value, expiry)
}

// The contract of a Store is a suite of tests. Run it for your own.
func TestExampleStore(t *testing.T) {
	clock := middlewaretest.NewServer(t).Clock()
	middlewaretest.TestStore(t, func(*testing.T) gatehouse.Store { return &table{now: clock.Now, rows: map[string]row{}} },
		middlewaretest.StoreClock(clock.Now, clock.Advance), // without it the suite waits for values to expire
		middlewaretest.StoreCannotHang("it is a map"))       // any other store needs StoreHang
}

// Two replicas share a store and a key. A person who signed in at one is signed
// in at the other, and a sign-out at one holds at both.
func ExampleStore() {
	t := newExampleTB()
	defer t.end()
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	store := &table{now: op.Clock().Now, rows: map[string]row{}}
	key := gatehouse.NewSecret(rand.Text() + rand.Text()) // the same on each replica
	var client gatehouse.Client
	replica := func(base string) http.Handler {
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: store, Keys: []gatehouse.Secret{key}, Now: op.Clock().Now})
		if err != nil {
			panic(err)
		}
		if client.ID == "" {
			client = op.AddClient(base + "/auth/callback")
		}
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: client, RedirectURL: base + "/auth/callback", Scopes: []string{"email"}, Sessions: sessions,
		})
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/notes/", login.RequireLogin(notes))
		mux.Handle("/{$}", login.OptionalLogin(notes))
		return mux
	}
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return alternate(replica(base), replica(base)) // as a load balancer does
	})
	ana := op.Browser(t, "ana")
	show(ana.Get(url + "/notes/"))
	show(ana.Get(url + "/"))
	show(ana.Get(url + "/"))
	_, _ = ana.PostForm(url+"/auth/logout", nil)
	show(ana.Get(url + "/"))
	show(ana.Get(url + "/"))
	// Output:
	// 200 /notes/: notes of ana@example.org
	// 200 /: notes of ana@example.org
	// 200 /: notes of ana@example.org
	// 200 /: notes of nobody
	// 200 /: notes of nobody
}

// alternate sends each request to the next handler.
func alternate(handlers ...http.Handler) http.Handler {
	var mu sync.Mutex
	n := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[n%len(handlers)]
		n++
		mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// readJSON decodes and closes the body of an answer.
func readJSON(resp *http.Response, v any) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: %w", body, err)
	}
	return nil
}
