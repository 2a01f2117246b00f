package registration_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/registration"
	"example.com/gatehouse/internal/testkit/orders"
)

// existing lets somebody else register a client, and returns it as that knew it.
func existing(t *testing.T, p *provider) registration.Client {
	t.Helper()
	other := newShared(0)
	rec, err := newReplica(t, other, p).Ensure(t.Context(), registration.Want{})
	c := current(t, rec, err)
	p.calls, p.tries = map[string]int{}, nil
	return registration.Client{ID: c.ID, Secret: c.Secret, Expires: c.Expires, Manage: c.Manage, Token: c.Token}
}

// adopting returns a replica that is to take the client over.
func adopting(t *testing.T, s *shared, p *provider, c registration.Client) *replica {
	r := newReplica(t, s, p)
	r.Existing = &c
	return r
}

// TestExistingOfAnyTime: whatever a file says about the end of the secret can be
// stored. JSON has no years beyond 9999 and before 0.
func TestExistingOfAnyTime(t *testing.T) {
	for name, c := range map[string]struct {
		ends   time.Time
		serves bool
	}{
		"the year 33658":       {time.UnixMilli(999_999_999_999_999), true},
		"the last millisecond": {time.UnixMilli(math.MaxInt64), true},
		"the year 10000":       {time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), true},
		"the year 9999":        {time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), true},
		"an odd zone":          {time.Date(3000, 1, 1, 0, 0, 0, 0, time.FixedZone("", 30*3600)), true},
		"never":                {time.Time{}, true},
		"before Christ":        {time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0)
				p := newProvider(s)
				had := existing(t, p)
				had.Expires = c.ends
				rec, err := adopting(t, s, p, had).Ensure(t.Context(), registration.Want{})
				if got := current(t, rec, err); got.ID != had.ID && c.serves || p.calls["register"] != 0 && c.serves || got.Expires.IsZero() != (c.ends.IsZero() || c.ends.Year() > 9999) && c.serves {
					t.Errorf("%v, %v, %v", got, got.Expires, p.calls)
				}
			})
		})
	}
}

// TestExisting: a client that the provider has already is taken over once over all
// replicas, and none is registered. Everything that can be done with a registered
// one can be done with it.
func TestExisting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		had := existing(t, p)
		told := make([]int, 8)
		var wg sync.WaitGroup
		for i := range told {
			wg.Go(func() {
				r := adopting(t, s, p, had)
				rec, err := r.Ensure(t.Context(), registration.Want{})
				if c := current(t, rec, err); c.ID != had.ID || c.Secret != had.Secret {
					t.Errorf("%v", c)
				}
				told[i] = len(r.told(registration.Adopted))
			})
		}
		wg.Wait()
		if slices.Sort(told); told[7] != 1 || told[6] != 0 || len(p.calls) != 0 {
			t.Errorf("told %v, calls %v", told, p.calls)
		}
		// A later start needs no Existing any more, and another one changes nothing.
		rec, err := newReplica(t, s, p).Ensure(t.Context(), registration.Want{})
		current(t, rec, err)
		r := adopting(t, s, p, registration.Client{ID: "another", Secret: "s", Manage: "https://as.example.org/reg/another", Token: "t"})
		rec, err = r.Ensure(t.Context(), registration.Want{})
		if c := current(t, rec, err); c.ID != had.ID || len(p.calls) != 0 {
			t.Errorf("%v, %v", c, p.calls)
		}
		if _, body, err := r.Read(t.Context()); err != nil || !strings.Contains(string(body), had.ID) {
			t.Errorf("%v", err)
		}
		for range 2 { // the second time nothing has changed
			rec, err = r.Ensure(t.Context(), registration.Want{Anew: true})
			if c := current(t, rec, err); c.ID != had.ID || p.calls["update"] != 1 || p.calls["register"] != 0 {
				t.Errorf("%v, %v", c, p.calls)
			}
		}
		if err := r.Delete(t.Context()); err != nil || len(p.clients) != 0 {
			t.Errorf("%v, %v", err, p.clients)
		}
		if _, err := r.Ensure(t.Context(), registration.Want{}); !errors.Is(err, registration.ErrDeleted) {
			t.Error(err)
		}
		// What was deleted is not taken over again.
		rec, err = adopting(t, s, p, had).Ensure(t.Context(), registration.Want{Anew: true})
		if c := current(t, rec, err); c.ID == had.ID {
			t.Errorf("%v", c)
		}
	})
}

// TestExistingFirst: each call takes the client over, whichever comes first.
func TestExistingFirst(t *testing.T) {
	for name, call := range map[string]func(*replica, context.Context) error{
		"read":   func(r *replica, ctx context.Context) error { _, _, err := r.Read(ctx); return err },
		"update": func(r *replica, ctx context.Context) error { _, err := r.Update(ctx); return err },
		"delete": func(r *replica, ctx context.Context) error { return r.Delete(ctx) },
		"anew": func(r *replica, ctx context.Context) error {
			_, err := r.Ensure(ctx, registration.Want{Anew: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0)
				p := newProvider(s)
				r := adopting(t, s, p, existing(t, p))
				if err := call(r, t.Context()); err != nil || p.calls["register"] != 0 || p.calls["read"]+p.calls["update"]+p.calls["delete"] != 1 {
					t.Errorf("%v, %v", err, p.calls)
				}
				if left := len(p.clients); left != 1 && name != "delete" || left != 0 && name == "delete" {
					t.Errorf("%d clients", left)
				}
			})
		})
	}
}

// TestExistingSecretEnded: the secret ended long ago, or the provider has forgotten
// the client.
func TestExistingSecretEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		p.life, p.renews = time.Hour, true
		had := existing(t, p)
		time.Sleep(48 * time.Hour)
		rec, err := adopting(t, s, p, had).Ensure(t.Context(), registration.Want{})
		if c := current(t, rec, err); c.ID != had.ID || c.Secret == had.Secret || p.calls["read"] != 1 || p.calls["register"] != 0 {
			t.Errorf("%v, %v", c, p.calls)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		had := existing(t, p)
		clear(p.clients)
		r := adopting(t, s, p, had)
		rec, err := r.Ensure(t.Context(), registration.Want{})
		if c := current(t, rec, err); c.ID != had.ID {
			t.Errorf("%v: nobody has said that it is gone", c)
		}
		time.Sleep(time.Minute)
		rec, err = r.Ensure(t.Context(), registration.Want{RefusedID: had.ID, Refused: had.Secret})
		if c := current(t, rec, err); c.ID == had.ID || p.calls["register"] != 1 || rec.Owns(had.ID) != true {
			t.Errorf("%v, %v", c, p.calls)
		}
	})
}

// TestExistingElsewhere: the token is not sent to a management address of another
// origin. The client is not taken over, not deleted, and none is registered instead.
func TestExistingElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0)
		p := newProvider(s)
		had := existing(t, p)
		had.Manage = "https://evil.example.org/reg/" + had.ID
		for _, call := range []func(*replica) error{
			func(r *replica) error { _, err := r.Ensure(t.Context(), registration.Want{}); return err },
			func(r *replica) error { _, err := r.Ensure(t.Context(), registration.Want{Anew: true}); return err },
			func(r *replica) error { _, _, err := r.Read(t.Context()); return err },
			func(r *replica) error { return r.Delete(t.Context()) },
		} {
			r := adopting(t, s, p, had)
			if err := call(r); !errors.Is(err, registration.ErrUnusable) || len(p.calls) != 0 || strings.Contains(err.Error(), had.Token) {
				t.Errorf("%v, %v", err, p.calls)
			}
			time.Sleep(time.Hour)
		}
		if len(p.clients) != 1 {
			t.Errorf("%d clients", len(p.clients))
		}
	})
}

// TestExistingNothingIsLost: whatever fails or loses its reply at the store, the
// client is taken over and none is registered.
func TestExistingNothingIsLost(t *testing.T) {
	for seed := range 20 {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(3)
			p := newProvider(newShared(0))
			had := existing(t, p)
			act := func(r *replica) func(context.Context) {
				return func(ctx context.Context) {
					for range 8 {
						if _, err := r.Ensure(ctx, registration.Want{}); err == nil {
							break
						}
						time.Sleep(time.Minute)
					}
				}
			}
			s.RunFair(orders.Dice(seed, 64), time.Second, orders.Actors{"a": act(adopting(t, s, p, had)), "b": act(adopting(t, s, p, had))})
			rec, err := newReplica(t, s, p).Ensure(t.Context(), registration.Want{})
			if c := current(t, rec, err); c.ID != had.ID || len(p.calls) != 0 {
				t.Errorf("seed %d: %v, %v", seed, c, p.calls)
			}
		})
	}
}
