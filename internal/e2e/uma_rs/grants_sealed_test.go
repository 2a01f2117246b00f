package uma_rs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/seal"
)

// Two keys for grants.
var (
	keyA = gatehouse.NewSecret(strings.Repeat("a", 32))
	keyB = gatehouse.NewSecret(strings.Repeat("b", 32))
)

// grantOf is what the store has of an owner.
func (s *grantStore) grantOf(w *world.Photoz, owner string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[w.Issuer()+" "+owner]
}

// set is what somebody else does to the store.
func (s *grantStore) set(w *world.Photoz, owner string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	s.values[w.Issuer()+" "+owner] = value
}

// pat asks for alice's token and returns the code of the error.
func patCode(t *testing.T, g *gatehouse.OwnerGrants, owner string) string {
	t.Helper()
	pat, err := g.PAT(t.Context(), owner, gatehouse.Secret{})
	if err == nil && pat.IsZero() {
		t.Error("no token and no error")
	}
	return gatehouse.ErrorCode(err)
}

// TestOwnerGrantsSealed: with Keys the store never sees a token, neither after
// a sign-in nor after a renewal nor after Put, and every replica with the keys
// can use the grant.
func TestOwnerGrantsSealed(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	g := w.Grants(store, keyA)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
	secret := func(when string) {
		t.Helper()
		value := store.grantOf(w, "alice")
		pat, err := w.Grants(store, keyA).PAT(t.Context(), "alice", gatehouse.Secret{})
		if err != nil || len(value) < seal.Overhead || bytes.Contains(value, []byte(pat.Reveal())) || bytes.Contains(value, []byte("refresh")) || json.Valid(value) {
			t.Errorf("%s: %d bytes that show what they hold, %v", when, len(value), err)
		}
	}
	w.Agree(g, "alice")
	secret("after the sign-in")
	w.WantTicket(world.Send(h, "GET", "/", ""))
	w.Advance(2 * time.Hour)
	w.WantTicket(world.Send(h, "GET", "/", ""))
	if n := w.CountToken("refresh_token"); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	secret("after the renewal")
	w.Must(g.Put(t.Context(), "bob", gatehouse.NewSecret("of-oxd-refresh")))
	if value := store.grantOf(w, "bob"); len(value) == 0 || bytes.Contains(value, []byte("of-oxd")) {
		t.Errorf("after Put: %q", value)
	}
	w.Must(g.Forget(t.Context(), "alice"))
	if store.grantOf(w, "alice") != nil {
		t.Error("a sealed grant is not forgotten")
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestOwnerGrantsSealedOnceRead: a grant that is not sealed, or not with the
// first key, is read, and written sealed by the next who reads or renews it,
// once. Nobody has to agree again.
func TestOwnerGrantsSealedOnceRead(t *testing.T) {
	ways := map[string]func(w *world.Photoz, g *gatehouse.OwnerGrants) error{
		"PAT": func(w *world.Photoz, g *gatehouse.OwnerGrants) error {
			_, err := g.PAT(w.T.Context(), "alice", gatehouse.Secret{})
			return err
		},
		"Has": func(w *world.Photoz, g *gatehouse.OwnerGrants) error {
			has, err := g.Has(w.T.Context(), "alice")
			if !has {
				w.T.Error("Has says no")
			}
			return err
		},
		"renewal": func(w *world.Photoz, g *gatehouse.OwnerGrants) error {
			w.Advance(2 * time.Hour)
			_, err := g.PAT(w.T.Context(), "alice", gatehouse.Secret{})
			return err
		},
	}
	for name, from := range map[string][]gatehouse.Secret{"not sealed": nil, "with the old key": {keyB}} {
		for way, read := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				w := world.NewPhotoz(t)
				store := &grantStore{}
				w.Agree(w.Grants(store, from...), "alice")
				before := store.grantOf(w, "alice")
				w.Must(read(w, w.Grants(store, keyA, keyB)))
				after := store.grantOf(w, "alice")
				if bytes.Equal(before, after) {
					t.Fatal("it is not written again")
				}
				// The first key alone opens it now, and nothing writes it once more.
				g := w.Grants(store, keyA)
				if code := patCode(t, g, "alice"); code != "" {
					t.Errorf("with the first key alone: %s", code)
				}
				if has, err := g.Has(t.Context(), "alice"); !has || err != nil {
					t.Errorf("Has: %v, %v", has, err)
				}
				if !bytes.Equal(after, store.grantOf(w, "alice")) {
					t.Error("a sealed grant is written again at each read")
				}
			})
		}
	}
}

// TestOwnerGrantsSealingFails: a store that takes no writes for a while does not
// cost anybody a token that serves.
func TestOwnerGrantsSealingFails(t *testing.T) {
	w := world.NewPhotoz(t)
	store := &grantStore{}
	w.Agree(w.Grants(store), "alice")
	plain := store.grantOf(w, "alice")
	readOnly := &dying{store, 0}
	if code := patCode(t, w.Grants(readOnly, keyA), "alice"); code != "" {
		t.Errorf("the token is not served: %s", code)
	}
	if !bytes.Equal(plain, store.grantOf(w, "alice")) {
		t.Error("the store took a write")
	}
	if got := w.EventsOf(gatehouse.EventTrouble); !slices.Equal(got, []string{"unsealed_grant"}) {
		t.Errorf("troubles %q", got)
	}
	if code := patCode(t, w.Grants(store, keyA), "alice"); code != "" || bytes.Equal(plain, store.grantOf(w, "alice")) {
		t.Errorf("the store works again: %s, and the grant is still not sealed", code)
	}
}

// TestOwnerGrantsRotateKeys: the new key comes last, then first, then the old
// one goes. At each step replicas of this step and the one before serve, and a
// renewal at either is read by the other.
func TestOwnerGrantsRotateKeys(t *testing.T) {
	steps := [][]gatehouse.Secret{{keyA}, {keyA, keyB}, {keyB, keyA}, {keyB}}
	w := world.NewPhotoz(t)
	store := &grantStore{}
	w.Agree(w.Grants(store, keyA), "alice")
	for i := range len(steps) - 1 {
		before, after := w.Grants(store, steps[i]...), w.Grants(store, steps[i+1]...)
		for range 2 {
			for _, g := range []*gatehouse.OwnerGrants{after, before} {
				w.Advance(2 * time.Hour)
				for _, reader := range []*gatehouse.OwnerGrants{g, before, after} {
					if code := patCode(t, reader, "alice"); code != "" {
						t.Errorf("step %d: %s", i+1, code)
					}
				}
			}
		}
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// TestOwnerGrantsTwoFirstKeys: while the new key comes first on one replica after
// the other, they do not write a grant by turns. Has still seals it with the first
// key each time, so that the old one may go after it.
func TestOwnerGrantsTwoFirstKeys(t *testing.T) {
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(24 * time.Hour) // nothing is renewed
	store := &grantStore{}
	before, after := w.Grants(store, keyA, keyB), w.Grants(store, keyB, keyA)
	w.Agree(before, "alice")
	writes, last := 0, store.grantOf(w, "alice")
	for range 20 {
		for _, g := range []*gatehouse.OwnerGrants{after, before} {
			if code := patCode(t, g, "alice"); code != "" {
				t.Error(code)
			}
			if now := store.grantOf(w, "alice"); !bytes.Equal(last, now) {
				writes, last = writes+1, now
			}
		}
	}
	if writes > 2 {
		t.Errorf("%d writes by replicas with the same keys", writes)
	}
	w.Advance(10 * time.Minute)
	if code := patCode(t, after, "alice"); code != "" || bytes.Equal(last, store.grantOf(w, "alice")) {
		t.Errorf("ten minutes later %q, and the grant is as before: %v", code, bytes.Equal(last, store.grantOf(w, "alice")))
	}
	for range 2 {
		if has, err := before.Has(t.Context(), "alice"); !has || err != nil {
			t.Errorf("Has: %v, %v", has, err)
		}
		if has, err := after.Has(t.Context(), "alice"); !has || err != nil {
			t.Errorf("Has: %v, %v", has, err)
		}
		if code := patCode(t, w.Grants(store, keyB), "alice"); code != "" {
			t.Errorf("without the old key: %s", code)
		}
	}
	if n := w.CountToken("refresh_token"); n != 0 {
		t.Errorf("%d renewals", n)
	}
}

// TestOwnerGrantsManyTwoFirstKeys: nor do they if there are many owners.
func TestOwnerGrantsManyTwoFirstKeys(t *testing.T) {
	const owners = 300
	w := world.NewPhotoz(t)
	w.SetTokenLifetime(24 * time.Hour) // nothing is renewed
	store := &grantStore{}
	before, after := w.Grants(store, keyA, keyB), w.Grants(store, keyB, keyA)
	name := func(i int) string { return fmt.Sprint("owner-", i) }
	for i := range owners {
		w.Kit.AddUser(name(i), nil)
		w.Agree(before, name(i))
	}
	last := make([][]byte, owners)
	writes := 0
	for range 4 {
		for _, g := range []*gatehouse.OwnerGrants{after, before} {
			for i := range owners {
				if code := patCode(t, g, name(i)); code != "" {
					t.Fatal(code)
				}
				if now := store.grantOf(w, name(i)); !bytes.Equal(last[i], now) {
					writes, last[i] = writes+1, now
				}
			}
		}
	}
	if writes > 2*owners {
		t.Errorf("%d writes of %d grants", writes, owners)
	}
}

// TestOwnerGrantsUnreadable: what another key sealed or a newer build wrote is
// 503 with a code of its own, wherever it is needed. Nothing overwrites or
// deletes it, and nobody is asked to agree again.
func TestOwnerGrantsUnreadable(t *testing.T) {
	newer := func(value []byte) []byte { return append([]byte{value[0] + 1}, value[1:]...) }
	for name, c := range map[string]struct {
		change func([]byte) []byte // of what keyA sealed
		keys   []gatehouse.Secret
	}{
		"an unknown key":  {slices.Clone[[]byte], []gatehouse.Secret{keyB}},
		"no key":          {slices.Clone[[]byte], nil},
		"a newer version": {newer, []gatehouse.Secret{keyA}},
		"newer, no key":   {newer, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			store := &grantStore{}
			w.Agree(w.Grants(store, keyA), "alice")
			value := c.change(store.grantOf(w, "alice"))
			store.set(w, "alice", value)
			g := w.Grants(store, c.keys...)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: g}).UMAProtect(album7.AllOf("view")))
			answer := world.Send(h, "GET", "/", "")
			world.WantTrouble(t, answer)
			if !strings.Contains(answer.Body.String(), "grant_unreadable") {
				t.Errorf("body %s", answer.Body)
			}
			_, hasErr := g.Has(t.Context(), "alice")
			for what, code := range map[string]string{
				"PAT":    patCode(t, g, "alice"),
				"Has":    gatehouse.ErrorCode(hasErr),
				"Put":    gatehouse.ErrorCode(g.Put(t.Context(), "alice", gatehouse.NewSecret("x"))),
				"Forget": gatehouse.ErrorCode(g.Forget(t.Context(), "alice")),
			} {
				if code != "grant_unreadable" {
					t.Errorf("%s: %q", what, code)
				}
			}
			if resp := w.AskToAgree(g, "alice"); resp.StatusCode != http.StatusServiceUnavailable || w.LastCode() != "grant_unreadable" {
				t.Errorf("the sign-in: %s, %s", resp.Status, w.LastCode())
			}
			if !bytes.Equal(store.grantOf(w, "alice"), value) {
				t.Error("the grant was changed")
			}
			// The process that has the key still uses it.
			store.set(w, "alice", append([]byte{1}, value[1:]...))
			if code := patCode(t, w.Grants(store, keyA), "alice"); code != "" {
				t.Errorf("with its key: %s", code)
			}
		})
	}
}

// TestOwnerGrantsGarbage: what nobody can have written for an owner is no grant,
// with one warning, as it is for records of sessions. That includes a sealed
// grant of another owner or issuer. The owner agrees once more; others notice
// nothing.
func TestOwnerGrantsGarbage(t *testing.T) {
	for name, change := range map[string]func(alices []byte) []byte{
		"moved from another owner": slices.Clone[[]byte],
		"cut":                      func(b []byte) []byte { return b[:len(b)-9] },
		"random":                   func([]byte) []byte { return []byte(strings.Repeat("kx7", 40)) },
		"a brace":                  func([]byte) []byte { return []byte("{") },
		"empty":                    func([]byte) []byte { return []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewPhotoz(t)
			store := &grantStore{}
			g := w.Grants(store, keyA)
			w.Agree(g, "alice")
			garbage := change(store.grantOf(w, "alice"))
			store.set(w, "bob", garbage)
			for range 3 {
				if code := patCode(t, g, "bob"); code != gatehouse.CodeOwnerGrantMissing {
					t.Errorf("PAT: %q", code)
				}
				if has, err := g.Has(t.Context(), "bob"); has || err != nil {
					t.Errorf("Has: %v, %v", has, err)
				}
			}
			if got := w.EventsOf(gatehouse.EventTrouble); !slices.Equal(got, []string{"garbage_record"}) {
				t.Errorf("troubles %q, want one", got)
			}
			if !bytes.Equal(store.grantOf(w, "bob"), garbage) {
				t.Error("reading has changed it")
			}
			if code := patCode(t, g, "alice"); code != "" {
				t.Errorf("alice: %s", code)
			}
			w.Advance(time.Second)
			w.Agree(g, "bob")
			if code := patCode(t, g, "bob"); code != "" {
				t.Errorf("bob agreed again: %s", code)
			}
			store.set(w, "bob", garbage)
			w.Must(g.Put(t.Context(), "bob", gatehouse.NewSecret("r")))
			store.set(w, "bob", garbage)
			w.Must(g.Forget(t.Context(), "bob"))
			if store.grantOf(w, "bob") != nil {
				t.Error("Forget leaves it")
			}
		})
	}
}

// hungGrants is a store that never answers before its caller gives up.
type hungGrants struct{ gatehouse.GrantStore }

func (hungGrants) Grant(ctx context.Context, _, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// readableGrants is a GrantStore that takes no writes: they fail, or hang.
type readableGrants struct {
	*grantStore
	hangs bool
}

func (s readableGrants) SwapGrant(ctx context.Context, _, _ string, _, _ []byte) (bool, error) {
	if s.hangs {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return false, errors.New("db: read only")
}

// slowGrants is a GrantStore that takes long for each call, and works.
type slowGrants struct{ *grantStore }

func (s slowGrants) Grant(ctx context.Context, issuer, owner string) ([]byte, error) {
	if err := slowly(ctx); err != nil {
		return nil, err
	}
	return s.grantStore.Grant(ctx, issuer, owner)
}

func (s slowGrants) SwapGrant(ctx context.Context, issuer, owner string, old, value []byte) (bool, error) {
	if err := slowly(ctx); err != nil {
		return false, err
	}
	return s.grantStore.SwapGrant(ctx, issuer, owner, old, value)
}

func slowly(ctx context.Context) error {
	select {
	case <-time.After(700 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestOwnerGrantsSlowStore: each call has its own time. An owner who agrees is
// remembered, and the token is renewed.
func TestOwnerGrantsSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.NewPhotoz(t)
		g := w.Grants(slowGrants{&grantStore{}})
		w.Agree(g, "alice")
		w.Advance(world.Past)
		if code := patCode(t, g, "alice"); code != "" || w.CountToken("refresh_token") != 1 {
			t.Errorf("PAT: %q after %d token requests", code, w.CountToken("refresh_token"))
		}
	})
}

// TestOwnerGrantsStoreReadOnly: who needs a new token while the store takes no
// writes is told so within a second.
func TestOwnerGrantsStoreReadOnly(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := world.NewPhotoz(t)
			store := &grantStore{}
			w.Agree(w.Grants(store), "alice")
			g := w.Grants(readableGrants{store, hangs})
			if code := patCode(t, g, "alice"); code != "" {
				t.Errorf("a token that serves: %q", code)
			}
			w.Advance(world.Past)
			begin := time.Now()
			if code := patCode(t, g, "alice"); code != "grant_store_unavailable" {
				t.Errorf("PAT: %q", code)
			}
			if took := time.Since(begin); took > time.Second || w.CountToken("refresh_token") > 0 {
				t.Errorf("PAT took %v and %d token requests", took, w.CountToken("refresh_token"))
			}
		})
	}
}

// TestOwnerGrantsStoreHangs: a store that hangs costs a request a second, not
// the life of its connection.
func TestOwnerGrantsStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.NewPhotoz(t)
		g := w.Grants(hungGrants{})
		begin := time.Now()
		if code := patCode(t, g, "alice"); code != "grant_store_unavailable" {
			t.Errorf("PAT: %q", code)
		}
		if _, err := g.Has(t.Context(), "alice"); gatehouse.ErrorCode(err) != "grant_store_unavailable" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Has: %v", err)
		}
		if d := time.Since(begin); d != 2*900*time.Millisecond {
			t.Errorf("two calls took %v", d)
		}
	})
}
