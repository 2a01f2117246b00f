package redisstore_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/backing"
	"example.com/gatehouse/redisstore"
)

// changes are the calls that write, on a value "old" under each key and name.
func changes(s *redisstore.Store, key string) map[string]func(context.Context) error {
	later := time.Now().Add(time.Hour)
	swapped := func(ok bool, err error) error {
		if err == nil && !ok {
			err = fmt.Errorf("not swapped")
		}
		return err
	}
	return map[string]func(context.Context) error{
		"CommitCtx": func(ctx context.Context) error { return s.CommitCtx(ctx, key, []byte("new"), later) },
		"DeleteCtx": func(ctx context.Context) error { return s.DeleteCtx(ctx, key) },
		"SwapCtx": func(ctx context.Context) error {
			return swapped(s.SwapCtx(ctx, key, []byte("old"), []byte("new"), later))
		},
		"SwapCtx that deletes": func(ctx context.Context) error { return swapped(s.SwapCtx(ctx, key, []byte("old"), nil, later)) },
		"PutIfAbsent": func(ctx context.Context) error {
			_, err := s.PutIfAbsent(ctx, "issuer", "", key, "old")
			return err
		},
		"Drop": func(ctx context.Context) error { return s.Drop(ctx, "issuer", "", key, "old") },
		"SwapGrant": func(ctx context.Context) error {
			return swapped(s.SwapGrant(ctx, "issuer", key, []byte("old"), []byte("new")))
		},
		"SwapGrant that deletes": func(ctx context.Context) error {
			return swapped(s.SwapGrant(ctx, "issuer", key, []byte("old"), nil))
		},
	}
}

// lay puts "old" where changes expects it.
func lay(t testing.TB, s *redisstore.Store, key string) {
	t.Helper()
	_, idErr := s.PutIfAbsent(t.Context(), "issuer", "", key, "old")
	_, grantErr := s.SwapGrant(t.Context(), "issuer", key, nil, []byte("old"))
	for _, err := range []error{s.CommitCtx(t.Context(), key, []byte("old"), time.Now().Add(time.Hour)), idErr, grantErr} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTooFewAcknowledge: one of two replicas hangs. Every write is an error of
// unknown fate, within its deadline. When the replica is back, writes succeed.
func TestTooFewAcknowledge(t *testing.T) {
	_, copies, p := startCopied(t, 2)
	store := p.open(t)
	p.Wait = 0
	hasty := p.open(t)
	i := 0
	for name := range changes(store, "") {
		i++
		key := keyOf(t, i)
		lay(t, hasty, key)
		var err error
		took, life := time.Duration(0), 500*time.Millisecond
		for range attempts { // a busy machine may not have asked the replicas by then
			copies[0].Pause()
			ctx, cancel := context.WithTimeout(t.Context(), life)
			begin := time.Now()
			err = changes(store, key)[name](ctx)
			took = time.Since(begin)
			cancel()
			copies[0].Resume()
			if err == nil || strings.Contains(err.Error(), "too few replicas") && took <= 2*life {
				break
			}
			life *= 2
			eventually(t, startup, func() error { return written(t, store) })
		}
		if err == nil || !strings.Contains(err.Error(), "too few replicas") || !strings.Contains(err.Error(), "1 of 2") {
			t.Errorf("%s: error %v, want too few replicas, 1 of 2", name, err)
		}
		if took > 2*life {
			t.Errorf("%s takes %v of %v", name, took, life)
		}
		eventually(t, startup, func() error { return written(t, store) })
	}
}

// written writes something, and succeeds when all replicas have that and what was
// written before.
func written(t *testing.T, store *redisstore.Store) error {
	return store.CommitCtx(t.Context(), keyOf(t, 0), []byte("all have it"), time.Now().Add(time.Hour))
}

// TestRepetitionWaits: a call that finds its work done has lost its reply, and
// nobody knows yet who else has the write. Here another connection has written,
// without waiting. The store's own has written nothing, and all replicas have
// all of nothing.
func TestRepetitionWaits(t *testing.T) {
	_, copies, p := startCopied(t, 2)
	waiting, third := p.open(t), p.open(t)
	p.Wait = 0
	hasty := p.open(t)
	i := 0
	for name := range changes(waiting, "") {
		i++
		key := keyOf(t, i)
		lay(t, hasty, key)
		if _, err := waiting.FindManyCtx(t.Context(), []string{key}); err != nil { // has a connection
			t.Fatal(err)
		}
		eventually(t, startup, func() error { return written(t, third) }) // the replicas have what lay wrote
		copies[0].Pause()
		if err := changes(hasty, key)[name](t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := changes(waiting, key)[name](ctx)
		cancel()
		copies[0].Resume()
		if err == nil || !strings.Contains(err.Error(), "too few replicas") {
			t.Errorf("%s, repeated: error %v, want too few replicas", name, err)
		}
	}
}

// TestWaitAfterScriptFlush: a server that has forgotten the scripts.
func TestWaitAfterScriptFlush(t *testing.T) {
	r, _, p := startCopied(t, 1)
	waiting := p.open(t)
	p.Wait = 0
	for _, store := range []*redisstore.Store{waiting, p.open(t)} {
		for i := range 3 {
			if _, err := r.Do(t.Context(), "SCRIPT", "FLUSH"); err != nil {
				t.Fatal(err)
			}
			key, value := keyOf(t, i), fmt.Appendf(nil, "value %d", i)
			if swapped, err := store.SwapCtx(t.Context(), key, nil, value, time.Now().Add(time.Hour)); err != nil || !swapped {
				t.Errorf("swapped %v, error %v", swapped, err)
			}
			if id, err := store.PutIfAbsent(t.Context(), "issuer", "", key, "id"); err != nil || id != "id" {
				t.Errorf("id %q, error %v", id, err)
			}
			if err := holds(t.Context(), store, key, string(value)); err != nil {
				t.Error(err)
			}
			if err := store.DeleteCtx(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestClusterKeysMove: while a slot moves, a node asks to ask another one, and
// then sends there for good. No call fails, with WAIT or without.
func TestClusterKeysMove(t *testing.T) {
	s, p := startCluster(t, backing.RedisClusterConfig{Masters: 2, Replicas: 1})
	hasty := p.open(t)
	p.Wait = 1
	waiting := p.open(t)
	ctx := t.Context()
	key := keyOf(t, 0)
	name := p.config().Prefix + key
	do := func(r *backing.Redis, args ...string) any {
		t.Helper()
		answer, err := r.Do(ctx, args...)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return answer
	}
	slot := fmt.Sprint(do(s.Masters[0], "CLUSTER", "KEYSLOT", name))
	from, to := s.Masters[0], s.Masters[1]
	if err := waiting.CommitCtx(ctx, key, []byte("0"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if do(from, "CLUSTER", "COUNTKEYSINSLOT", slot) != int64(1) {
		from, to = to, from
	}
	fromID, toID := fmt.Sprint(do(from, "CLUSTER", "MYID")), fmt.Sprint(do(to, "CLUSTER", "MYID"))
	at := 0
	counts := func(phase string) {
		t.Helper()
		for _, store := range []*redisstore.Store{waiting, hasty} {
			swapped, err := store.SwapCtx(ctx, key, fmt.Append(nil, at), fmt.Append(nil, at+1), time.Now().Add(time.Hour))
			if err != nil || !swapped {
				t.Fatalf("%s: swapped %v, error %v", phase, swapped, err)
			}
			at++
			if err := holds(ctx, store, key, fmt.Sprint(at)); err != nil {
				t.Fatalf("%s: %v", phase, err)
			}
		}
	}
	counts("before")
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	counts("the key has not moved yet")
	host, port, _ := strings.Cut(to.Addr, ":")
	do(from, "MIGRATE", host, port, name, "0", "5000")
	counts("the key has moved")
	do(to, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	do(from, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	counts("the slot has moved")
	if do(to, "CLUSTER", "COUNTKEYSINSLOT", slot) != int64(1) {
		t.Error("the key has not moved")
	}
}

// TestLogoutWaits: a logout from outside is not answered with 200 as long as too few
// replicas have it, the second time neither, although the master shows it.
func TestLogoutWaits(t *testing.T) {
	_, copies, p := startCopied(t, 1)
	s := stories.LogoutSite(t, func(o *world.SiteOptions) {
		o.Begin = time.Now().Truncate(time.Second).Add(time.Second) // Redis has a clock of its own
		o.Open = func(t testing.TB) func() gatehouse.Store {
			return func() gatehouse.Store {
				store, _ := p.openWith(t, p.config())
				return store
			}
		}
	})
	ana, sid := stories.SignedIn(s, "ana", 0)
	token := stories.LogoutToken(s, map[string]any{"sid": sid})
	copies[0].Pause()
	for at := range 2 {
		stories.WantRefusedLogout(s, stories.SendLogout(s, at, http.MethodPost, stories.FormType, stories.LogoutForm(token)), http.StatusBadRequest, gatehouse.CodeStoreUnavailable)
	}
	copies[0].Resume()
	eventually(t, startup, func() error {
		if a := stories.SendLogout(s, 0, http.MethodPost, stories.FormType, stories.LogoutForm(token)); a.Code != http.StatusOK {
			return fmt.Errorf("got %v", a)
		}
		return nil
	})
	stories.Everywhere(s, func(at int) { ana.WantOut(ana.On(at).Get("/notes/")) })
}
