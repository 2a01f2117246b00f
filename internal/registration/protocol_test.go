package registration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/testkit/orders"
)

// TestRG1_OnceOverAllReplicas: sixteen replicas need a client at the same moment.
// One registers; the second start of each sends nothing.
func TestRG1_OnceOverAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		ids := make([]string, 16)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				rec, err := newReplica(t, s, p, 1).Ensure(t.Context(), registration.Want{})
				ids[i] = current(t, rec, err).ID
			})
		}
		wg.Wait()
		slices.Sort(ids)
		if p.calls["register"] != 1 || len(slices.Compact(ids)) != 1 {
			t.Errorf("%v for %v", p.calls, ids)
		}
		again, err := newReplica(t, s, p, 1).Ensure(t.Context(), registration.Want{})
		if c := current(t, again, err); c.Secret == "" || c.Token == "" || p.calls["register"] != 1 || len(p.calls) != 1 {
			t.Errorf("the second start: %v, %v", c, p.calls)
		}
		if strings.Contains(string(s.raw), "secret") || strings.Contains(string(s.raw), "token-") {
			t.Error("the stored form shows a secret, although there are keys")
		}
	})
}

// TestModel_NothingIsLost: two replicas register, and calls to the store and to
// the provider fail or lose their replies. In the end there is one client in the
// store, and every other one at the provider was deleted or told.
func TestModel_NothingIsLost(t *testing.T) {
	for faults := range 4 {
		for seed := range 40 {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(faults)
				p := newProvider(s)
				both := []*replica{newReplica(t, s, p), newReplica(t, s, p)}
				act := func(r *replica) func(context.Context) {
					return func(ctx context.Context) {
						for range 8 { // callers come back after trouble
							ctx, cancel := context.WithTimeout(ctx, registration.Flight)
							_, err := r.Ensure(ctx, registration.Want{})
							cancel()
							if err == nil {
								break
							}
							time.Sleep(time.Minute)
						}
					}
				}
				s.RunFair(orders.Dice(seed, 64), lease.Poll, orders.Actors{"a": act(both[0]), "b": act(both[1])})
				rec, err := both[0].Ensure(t.Context(), registration.Want{})
				kept := current(t, rec, err)
				unknown := slices.Contains(slices.Concat(both[0].told(registration.Orphan), both[1].told(registration.Orphan)), "")
				told := slices.Concat(both[0].told(registration.Orphan), both[1].told(registration.Orphan))
				for id := range p.clients {
					if id != kept.ID && !slices.Contains(told, id) && !unknown {
						t.Errorf("seed %d, %d faults: nobody knows of %s", seed, faults, id)
					}
				}
				if p.clients[kept.ID] == nil {
					t.Errorf("seed %d, %d faults: the client in the store is not at the provider", seed, faults)
				}
				if faults == 0 && (p.calls["register"] != 1 || len(told) > 0) {
					t.Errorf("seed %d: %v, told %v", seed, p.calls, told)
				}
				if p.most > 1 {
					t.Errorf("seed %d: %d calls at once", seed, p.most)
				}
				checkTries(t, p)
			})
		}
	}
}

// checkTries: RG5 allows one try per 30 s over all replicas.
func checkTries(t *testing.T, p *provider) {
	t.Helper()
	for i := 1; i < len(p.tries); i++ {
		if gap := p.tries[i].Sub(p.tries[i-1]); gap < 30*time.Second {
			t.Errorf("two tries within %v", gap)
		}
	}
}

// TestCrash: the process dies after it sent the registration. The next one waits
// 30 s, tells what may be left at the provider, and registers.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		dead := newReplica(t, s, p)
		p.spoil = func(map[string]any) { runtime.Goexit() }
		done := make(chan struct{})
		go func() { defer close(done); _, _ = dead.Ensure(context.Background(), registration.Want{}) }()
		<-done
		p.spoil = nil
		p.mu = sync.Mutex{} // it died with it
		next := newReplica(t, s, p)
		for len(p.clients) < 2 {
			_, err := next.Ensure(t.Context(), registration.Want{})
			if _, paused := errors.AsType[*registration.PausedError](err); err != nil && !paused {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if got := next.told(registration.Orphan); !reflect.DeepEqual(slices.Compact(got), []string{""}) {
			t.Errorf("told %q", got)
		}
		checkTries(t, p)
	})
}

// TestStoreFailsAfterwards: the provider has registered, and the store is away.
// The process keeps the client, and stores it when the store is back.
func TestStoreFailsAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		r := newReplica(t, s, p)
		p.spoil = func(map[string]any) { s.down = orders.ErrTrouble }
		if _, err := r.Ensure(t.Context(), registration.Want{}); !errors.Is(err, orders.ErrTrouble) {
			t.Fatal(err)
		}
		s.down = nil
		time.Sleep(time.Minute)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		if c := current(t, rec, err); p.calls["register"] != 1 || c.ID != "c1" {
			t.Errorf("%v, %v", c, p.calls)
		}

		// Another replica registers first: then ours is deleted.
		s = newShared(0)
		p.s, r = s, newReplica(t, s, p)
		second := newReplica(t, s, p)
		if _, err := r.Ensure(t.Context(), registration.Want{}); err == nil {
			t.Fatal("the store was down")
		}
		s.down, p.spoil = nil, nil
		time.Sleep(time.Minute)
		rec, err = second.Ensure(t.Context(), registration.Want{})
		kept := current(t, rec, err)
		if _, err := r.Ensure(t.Context(), registration.Want{}); err != nil {
			t.Fatal(err)
		}
		if gone := r.told(registration.Removed); len(gone) != 1 || p.clients[gone[0]] != nil || p.clients[kept.ID] == nil {
			t.Errorf("removed %v of %v", gone, p.clients)
		}
	})
}

// TestRG4_SecretRenewed: a secret of ten minutes is renewed before it ends: by a
// read, by an update, or by a new client beside the old one.
func TestRG4_SecretRenewed(t *testing.T) {
	for _, c := range []struct {
		name           string
		renews, beside bool
		managed        bool
	}{{"by a read", true, false, true}, {"by a new client", false, true, true}, {"unmanaged", false, true, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0)
				p := newProvider(s)
				p.life, p.renews, p.unmanaged = 10*time.Minute, c.renews, !c.managed
				a, b := newReplica(t, s, p), newReplica(t, s, p)
				rec, err := a.Ensure(t.Context(), registration.Want{})
				first := current(t, rec, err)
				var last registration.Record
				for range 12 {
					time.Sleep(time.Minute)
					for _, r := range []*replica{a, b} {
						last, err = r.Ensure(t.Context(), registration.Want{})
						now := current(t, last, err)
						old := last.Find(first.ID)
						if time.Since(first.Since) < 10*time.Minute && old == nil {
							t.Fatal("the old client is forgotten before its secret ends")
						}
						if c.renews && now.ID != first.ID {
							t.Fatal("another client, although a read gives a new secret")
						}
					}
				}
				wantRegister := 1
				if c.beside {
					wantRegister = 2
				}
				if p.calls["register"] != wantRegister || c.renews && p.calls["read"] != 1 {
					t.Errorf("%v", p.calls)
				}
				if c.beside && c.managed {
					// At the next renewal the first one is over, and is deleted.
					time.Sleep(5 * time.Minute)
					if _, err := a.Ensure(t.Context(), registration.Want{}); err != nil || p.clients[first.ID] != nil {
						t.Errorf("%v: the old client is still at the provider: %v", err, p.clients)
					}
				}
			})
		})
	}
}

// TestRG5_BackOff: the endpoint refuses, is busy or is away. All replicas
// together try once per 30 s, and as late as the server asks; the error of each
// says why.
func TestRG5_BackOff(t *testing.T) {
	for _, c := range []struct {
		name string
		fail *registration.Failure
		gap  time.Duration
	}{
		{"401", &registration.Failure{Err: errors.New("status 401 from the registration endpoint"), Lasting: true, Code: "refused"}, 30 * time.Second},
		{"429", &registration.Failure{Err: errors.New("status 429 from the registration endpoint"), Wait: 20 * time.Minute, Code: "busy"}, 20 * time.Minute},
		{"503", &registration.Failure{Err: errors.New("status 503 from the registration endpoint"), Code: "away"}, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0)
				p := newProvider(s)
				p.fails = c.fail
				replicas := []*replica{newReplica(t, s, p), newReplica(t, s, p), newReplica(t, s, p)}
				for range 720 {
					for _, r := range replicas {
						_, err := r.Ensure(t.Context(), registration.Want{})
						paused, ok := errors.AsType[*registration.PausedError](err)
						if ok && (paused.Why != c.fail.Err.Error() || paused.Code != c.fail.Code || paused.For <= 0) {
							t.Fatalf("%+v", paused)
						}
						if !ok && !errors.Is(err, c.fail) {
							t.Fatal(err)
						}
					}
					time.Sleep(10 * time.Second)
				}
				checkTries(t, p)
				for i := 1; i < len(p.tries); i++ {
					if p.tries[i].Sub(p.tries[i-1]) < c.gap {
						t.Errorf("tries at %v, want %v between", p.tries, c.gap)
					}
				}
				if n := len(p.tries); n < 4 || n > 30 {
					t.Errorf("%d tries in two hours", n)
				}
				p.fails = nil
				time.Sleep(time.Hour)
				rec, err := replicas[1].Ensure(t.Context(), registration.Want{})
				current(t, rec, err)
			})
		})
	}
}

// TestHang: an endpoint that hangs holds nobody longer than the flight, and what
// it may have registered is told.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		p.hang = make(chan struct{})
		r := newReplica(t, s, p)
		begin := time.Now()
		_, err := r.Ensure(t.Context(), registration.Want{})
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > lease.Life {
			t.Errorf("%v after %v", err, took)
		}
		if got := r.told(registration.Orphan); !reflect.DeepEqual(got, []string{""}) {
			t.Errorf("told %q", got)
		}
		close(p.hang)
		time.Sleep(time.Minute)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		current(t, rec, err)
		if got := r.told(registration.Orphan); len(got) != 1 {
			t.Errorf("told %q, once is enough", got)
		}
	})
}

// TestRefusedWhole: an answer that cannot serve is refused, and the client
// deleted if the management address is to be trusted.
func TestRefusedWhole(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(map[string]any)
		deleted bool
	}{
		{"other redirect URIs", func(a map[string]any) { a["redirect_uris"] = []string{"https://evil.example.org/cb"} }, true},
		{"one redirect URI more", func(a map[string]any) {
			a["redirect_uris"] = []string{"https://site.example.org/cb", "https://evil.example.org/cb"}
		}, true},
		{"no secret", func(a map[string]any) { delete(a, "client_secret") }, true},
		{"a method that we cannot do", func(a map[string]any) { a["token_endpoint_auth_method"] = "tls_client_auth" }, true},
		{"no method", func(a map[string]any) { a["token_endpoint_auth_method"] = "none" }, true},
		{"another origin", func(a map[string]any) { a["registration_client_uri"] = "https://evil.example.org/reg/c1" }, false},
		{"no id", func(a map[string]any) { delete(a, "client_id") }, true},
		{"an id of other types", func(a map[string]any) { a["client_id"] = 7 }, true},
		{"a null id", func(a map[string]any) { a["client_id"] = nil }, true},
		{"an id with a line break", func(a map[string]any) { a["client_id"] = "a\nb" }, true},
		{"a token of other types", func(a map[string]any) { a["registration_access_token"] = 7 }, false},
		{"a secret with a line break", func(a map[string]any) { a["client_secret"] = "a\nb" }, true},
		{"a secret that is over", func(a map[string]any) { a["client_secret_expires_at"] = time.Now().Unix() - 1 }, true},
		{"a secret that is nearly over", func(a map[string]any) { a["client_secret_expires_at"] = time.Now().Unix() + 35 }, true},
		{"a time before all", func(a map[string]any) { a["client_secret_expires_at"] = -1 }, true},
		{"no time", func(a map[string]any) { a["client_secret_expires_at"] = "soon" }, true},
		{"no code", func(a map[string]any) { a["response_types"] = []string{"token"} }, true},
		{"no code grant", func(a map[string]any) { a["grant_types"] = []string{"refresh_token"} }, true},
		{"unsigned ID Tokens", func(a map[string]any) { a["id_token_signed_response_alg"] = "none" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0)
				p := newProvider(s)
				p.spoil = c.spoil
				r := newReplica(t, s, p)
				_, err := r.Ensure(t.Context(), registration.Want{})
				if !errors.Is(err, registration.ErrUnusable) || strings.Contains(err.Error(), "evil") {
					t.Fatal(err)
				}
				if gone := len(p.clients) == 0; gone != c.deleted || gone == (len(r.told(registration.Orphan)) > 0) {
					t.Errorf("deleted %v, want %v; told %v", gone, c.deleted, r.notes)
				}
				p.spoil = nil
				time.Sleep(time.Minute)
				rec, err := r.Ensure(t.Context(), registration.Want{})
				if current(t, rec, err); len(rec.Leftover) > 0 {
					t.Errorf("left over: %v", rec.Leftover)
				}
			})
		})
	}
}

// TestClockSetBack: a process whose clock is a day ahead fails, or dies at work.
// The others, and the next start, do not wait for a day.
func TestClockSetBack(t *testing.T) {
	for _, dies := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(0)
			p := newProvider(s)
			ahead := newReplica(t, s, p)
			ahead.Now = func() time.Time { return time.Now().Add(24 * time.Hour) }
			done := make(chan struct{})
			p.fails = &registration.Failure{Err: errors.New("busy")}
			if dies {
				p.fails, p.spoil = nil, func(map[string]any) { runtime.Goexit() }
			}
			go func() { defer close(done); _, _ = ahead.Ensure(context.Background(), registration.Want{}) }()
			<-done
			p.fails, p.spoil = nil, nil
			p.mu = sync.Mutex{} // it died with it
			time.Sleep(time.Minute)
			rec, err := newReplica(t, s, p).Ensure(t.Context(), registration.Want{})
			current(t, rec, err)
		})
	}
}

// TestLeftoverAfterCrash: a client that was refused and could not be deleted is
// deleted by the next process.
func TestLeftoverAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		p.spoil = func(a map[string]any) {
			a["redirect_uris"] = []string{}
			p.fails = &registration.Failure{Err: errors.New("away"), Unknown: true}
		}
		if _, err := newReplica(t, s, p).Ensure(t.Context(), registration.Want{}); !errors.Is(err, registration.ErrUnusable) {
			t.Fatal(err)
		}
		p.spoil, p.fails = nil, nil
		time.Sleep(time.Minute)
		next := newReplica(t, s, p)
		rec, err := next.Ensure(t.Context(), registration.Want{})
		kept := current(t, rec, err)
		if gone := next.told(registration.Removed); len(p.clients) != 1 || p.clients[kept.ID] == nil || len(gone) != 1 {
			t.Errorf("%v at the provider, removed %v", p.clients, gone)
		}
	})
}

// TestLeftoversWithoutIDs: two clients that were refused, and whose ids nobody
// knows, are both deleted when the provider lets us again.
func TestLeftoversWithoutIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		r := newReplica(t, s, p)
		for range 2 {
			p.spoil = func(a map[string]any) {
				a["client_id"] = nil
				p.fails = &registration.Failure{Err: errors.New("away"), Unknown: true}
			}
			if _, err := r.Ensure(t.Context(), registration.Want{}); !errors.Is(err, registration.ErrUnusable) {
				t.Fatal(err)
			}
			p.spoil, p.fails = nil, nil
			time.Sleep(2 * time.Minute)
			p.fails = nil
		}
		rec, err := r.Ensure(t.Context(), registration.Want{})
		if kept := current(t, rec, err); len(p.clients) != 1 || p.clients[kept.ID] == nil {
			t.Errorf("%d at the provider", len(p.clients))
		}
	})
}

// TestManage: read, update and delete.
func TestManage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		r := newReplica(t, s, p)
		if _, err := r.Update(t.Context()); !errors.Is(err, registration.ErrNone) {
			t.Error(err)
		}
		rec, err := r.Ensure(t.Context(), registration.Want{})
		first := current(t, rec, err)
		if _, body, err := r.Read(t.Context()); err != nil || !strings.Contains(string(body), first.ID) {
			t.Errorf("%s, %v", body, err)
		}
		p.metadata["scope"] = []byte(`"openid"`)
		if _, err = r.Ensure(t.Context(), registration.Want{}); err != nil || p.calls["update"] != 0 {
			t.Errorf("%v: a need alone changes nothing", err)
		}
		rec, err = r.Ensure(t.Context(), registration.Want{Anew: true})
		if c := current(t, rec, err); c.ID != first.ID || p.calls["update"] != 1 || p.calls["register"] != 1 {
			t.Errorf("%v, %v", c, p.calls)
		}
		if _, err = r.Ensure(t.Context(), registration.Want{Anew: true}); err != nil || p.calls["update"] != 1 {
			t.Errorf("%v, %v: nothing has changed", err, p.calls)
		}
		if _, err = r.Update(t.Context()); err != nil || p.calls["update"] != 2 {
			t.Errorf("%v, %v", err, p.calls)
		}
		if err := r.Delete(t.Context()); err != nil || len(p.clients) != 0 {
			t.Errorf("%v, %v", err, p.clients)
		}
		for _, again := range []*replica{r, newReplica(t, s, p)} {
			if _, err := again.Ensure(t.Context(), registration.Want{}); !errors.Is(err, registration.ErrDeleted) || p.calls["register"] != 1 {
				t.Errorf("%v, %v: what was deleted is not registered again by itself", err, p.calls)
			}
		}
		rec, err = r.Ensure(t.Context(), registration.Want{Anew: true})
		current(t, rec, err)
	})
}

// TestRefusedSecret: the provider refuses the secret, because it has given
// another one and the answer was lost, or because it has lost the client.
func TestRefusedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		r := newReplica(t, s, p)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		first := current(t, rec, err)
		p.renews = true
		if _, err = r.Ensure(t.Context(), registration.Want{RefusedID: first.ID, Refused: first.Secret}); err != nil || len(p.calls) != 1 {
			t.Errorf("%v, %v: a provider that refuses what it has just given is not asked again at once", err, p.calls)
		}
		time.Sleep(time.Minute)
		rec, err = r.Ensure(t.Context(), registration.Want{RefusedID: first.ID, Refused: first.Secret})
		second := current(t, rec, err)
		if second.ID != first.ID || second.Secret == first.Secret {
			t.Errorf("%v", p.calls)
		}
		rec, err = r.Ensure(t.Context(), registration.Want{RefusedID: first.ID, Refused: first.Secret}) // of one who is late
		if current(t, rec, err).Secret != second.Secret {
			t.Error("asked again, although the secret was renewed already")
		}
		clear(p.clients)
		time.Sleep(time.Minute)
		rec, err = r.Ensure(t.Context(), registration.Want{RefusedID: second.ID, Refused: second.Secret})
		if third := current(t, rec, err); third.ID == first.ID || rec.Find(first.ID) != nil {
			t.Errorf("%v: the provider has lost the client", rec.Clients)
		}
		p.renews = false
		third := current(t, rec, err)
		time.Sleep(time.Minute)
		_, err = r.Ensure(t.Context(), registration.Want{RefusedID: third.ID, Refused: third.Secret})
		if err == nil || p.calls["register"] != 2 {
			t.Errorf("%v, %v: the client is there, and its secret is what it says", err, p.calls)
		}
		checkTries(t, p)
	})
}

// TestRenewedByUpdateAlone: the read brings the old secret once more, and the update
// a new one. No new client is registered.
func TestRenewedByUpdateAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		p.life, p.updates = time.Hour, true
		r := newReplica(t, s, p)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		first := current(t, rec, err)
		time.Sleep(50 * time.Minute)
		rec, err = r.Ensure(t.Context(), registration.Want{})
		second := current(t, rec, err)
		if second.ID != first.ID || second.Secret == first.Secret || !second.Expires.After(first.Expires) {
			t.Errorf("%v after %v", second, first)
		}
		if p.calls["read"] != 1 || p.calls["update"] != 1 || p.calls["register"] != 1 {
			t.Errorf("%v", p.calls)
		}
		if got := r.told(registration.Renewed); !slices.Equal(got, []string{first.ID}) {
			t.Errorf("told %q", got)
		}
	})
}

// TestRefusedWithoutSecret: a client that signs is refused. It is read, and where the
// provider does not know it any more, another is registered. What was refused of
// another client says nothing about this one.
func TestRefusedWithoutSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		p.metadata["token_endpoint_auth_method"] = json.RawMessage(`"none"`)
		r := newReplica(t, s, p)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		first := current(t, rec, err)
		time.Sleep(time.Minute)
		if _, err = r.Ensure(t.Context(), registration.Want{RefusedID: "another"}); err != nil || len(p.calls) != 1 {
			t.Errorf("%v, %v: another client was refused", err, p.calls)
		}
		clear(p.clients)
		rec, err = r.Ensure(t.Context(), registration.Want{RefusedID: first.ID})
		if second := current(t, rec, err); first.Secret != "" || second.ID == first.ID || p.calls["read"] != 1 {
			t.Errorf("%v, %v", second, p.calls)
		}
	})
}

// TestSecretsNeverPrinted: no verb shows a secret of a client or a record.
func TestSecretsNeverPrinted(t *testing.T) {
	c := registration.Client{ID: "id", Secret: "hush-secret", Token: "hush-token", Manage: "https://as.example.org/reg?token=hush"}
	rec := registration.Record{Clients: []registration.Client{c}, Leftover: []registration.Client{c}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{c, &c, rec, &rec, []registration.Client{c}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hush") {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
	}
}

// late is a connection on which the answer to a registration comes after its
// lease has run out.
type late struct{ *provider }

func (l late) Register(ctx context.Context, a registration.Ask) ([]byte, error) {
	body, err := l.provider.Register(ctx, a)
	time.Sleep(2 * time.Minute)
	return body, err
}

// TestLateAnswer: another replica has taken over and registered when the answer
// comes. The client that came late is deleted.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		slow, quick := newReplica(t, s, p), newReplica(t, s, p)
		slow.Server = late{p}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := slow.Ensure(t.Context(), registration.Want{}); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Minute)
		rec, err := quick.Ensure(t.Context(), registration.Want{})
		kept := current(t, rec, err)
		<-done
		if gone := slow.told(registration.Removed); len(p.clients) != 1 || p.clients[kept.ID] == nil || len(gone) != 1 {
			t.Errorf("%d clients at the provider, removed %v", len(p.clients), gone)
		}
	})
}
