package lease_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
	"example.com/gatehouse/internal/testkit/orders"
)

// value is a leased value: what was bought last, and the lease.
type value struct {
	Text  string
	Lease lease.Lease
	Write string // fresh in each value
}

var errGone = errors.New("gone")

// shared holds the bytes of a value. Each call is a step of a schedule.
type shared struct {
	*orders.Schedule
	mu  sync.Mutex
	raw []byte
}

func newShared(faults int, v value) *shared {
	raw, _ := json.Marshal(v)
	return &shared{Schedule: orders.New(faults), raw: raw}
}

func (s *shared) Find(ctx context.Context) ([]byte, error) {
	if s.Ask(ctx) != orders.Works {
		return nil, orders.ErrTrouble
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw, nil
}

func (s *shared) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	fate := s.Ask(ctx)
	if fate == orders.Fails {
		return false, orders.ErrTrouble
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !swap.Same(s.raw, old) {
		return false, nil
	}
	s.raw = next.Bytes
	if fate == orders.LostReply {
		return false, orders.ErrTrouble
	}
	return true, nil
}

// cell gives a lease access to a shared value.
type cell struct{ *shared }

func (c cell) Load(ctx context.Context) (v value, err error) {
	raw, err := c.Find(ctx)
	if err == nil && raw == nil {
		err = errGone
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(raw, &v)
}

func (c cell) Lease(v *value) *lease.Lease { return &v.Lease }

func (c cell) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	changed, err = swap.Update(ctx, c.shared, p, func(old []byte) (*swap.Value, error) {
		if old == nil {
			return nil, errGone
		}
		v = value{}
		if err := json.Unmarshal(old, &v); err != nil {
			return nil, err
		}
		if !change(&v) {
			return nil, nil
		}
		v.Write = rand.Text()
		raw, err := json.Marshal(v)
		return &swap.Value{Bytes: raw}, err
	})
	return v, changed, err
}

// shop is where the work is done. It must never see two visitors at once.
type shop struct {
	s        *shared
	mu       sync.Mutex
	within   int
	most     int
	visits   int
	answered func(visit int) lease.Result[value] // nil for success
}

// job buys once, unless somebody else has bought.
func (p *shop) job() lease.Job[value] {
	return lease.Job[value]{
		Cell: cell{p.s}, Now: time.Now,
		Done: func(v value, busy bool) bool { return v.Text != "" },
		Work: func(ctx context.Context, v value) lease.Result[value] {
			p.mu.Lock()
			p.visits++
			visit := p.visits
			p.within++
			p.most = max(p.most, p.within)
			p.mu.Unlock()
			p.s.Ask(ctx) // others may go on meanwhile
			p.mu.Lock()
			p.within--
			p.mu.Unlock()
			if p.answered != nil {
				return p.answered(visit)
			}
			return lease.Result[value]{Merge: func(v *value) bool {
				if v.Text != "" {
					return false
				}
				v.Text = fmt.Sprint("bought ", visit)
				return true
			}}
		},
	}
}

// TestModel_OneAtATime: two processes want the same work. The test tries many
// orders of their calls, with one call that fails or one whose reply is lost.
// Two are never at work at once, and both end with what was bought.
func TestModel_OneAtATime(t *testing.T) {
	for faults := range 2 {
		for seed := range 300 {
			synctest.Test(t, func(t *testing.T) {
				p := &shop{s: newShared(faults, value{Write: "0"})}
				got := map[string]string{}
				var mu sync.Mutex
				buy := func(name string) func(context.Context) {
					return func(ctx context.Context) {
						v, _, err := lease.Run(ctx, p.job())
						for range 3 { // a caller comes back after trouble
							if err == nil {
								break
							}
							time.Sleep(lease.Flight)
							v, _, err = lease.Run(ctx, p.job())
						}
						mu.Lock()
						defer mu.Unlock()
						got[name] = v.Text
						if err != nil {
							t.Errorf("seed %d: %s: %v", seed, name, err)
						}
					}
				}
				p.s.RunFair(orders.Dice(seed, 64), lease.Poll, orders.Actors{"a": buy("a"), "b": buy("b")})
				if p.most > 1 || p.visits != 1 || got["a"] != "bought 1" || got["b"] != "bought 1" {
					t.Errorf("seed %d, %d faults: %d visits, %d at once, %v", seed, faults, p.visits, p.most, got)
				}
			})
		}
	}
}

func run(t *testing.T, p *shop) (value, bool, error) {
	t.Helper()
	return lease.Run(t.Context(), p.job())
}

// stored returns the current value.
func (p *shop) stored(t *testing.T) value {
	t.Helper()
	v, err := cell{p.s}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var errShop = errors.New("the shop is closed")

// TestKnownTrouble: the fate of the work is known, so the lease is given back,
// and nobody tries again before the pause is over.
func TestKnownTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		p.answered = func(int) lease.Result[value] { return lease.Result[value]{Err: errShop, Known: true} }
		for range 20 {
			_, _, err := run(t, p)
			if wait, ok := errors.AsType[*lease.WaitError](err); !ok || wait.For <= 0 || wait.For > 20*time.Second {
				t.Fatalf("%v, want a pause of 10 to 20 s", err)
			}
		}
		if p.visits != 1 {
			t.Errorf("%d visits while paused, want 1", p.visits)
		}
		if l := p.stored(t).Lease; l.Holder != "" || !l.Until.IsZero() || l.Takeovers != 0 || l.RetryAt.Before(time.Now().Add(10*time.Second)) {
			t.Errorf("the lease is %+v", l)
		}
		time.Sleep(20 * time.Second)
		p.answered = nil
		if v, merged, err := run(t, p); err != nil || !merged || v.Text != "bought 2" || v.Lease != (lease.Lease{}) {
			t.Errorf("%+v, %v, %v", v, merged, err)
		}
	})
}

// TestPauseAskedFor: if the server asks for a longer pause, it is kept.
func TestPauseAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		p.answered = func(int) lease.Result[value] {
			return lease.Result[value]{Err: errShop, Known: true, Wait: time.Minute}
		}
		_, _, err := run(t, p)
		if wait, ok := errors.AsType[*lease.WaitError](err); !ok || wait.For < time.Minute || !errors.Is(err, errShop) {
			t.Errorf("%v, want a pause of at least a minute, because of %v", err, errShop)
		}
	})
}

// TestUrgent: work that asks nothing of who was in trouble does not wait for the
// end of a pause. It waits for whoever is at work, and leaves no pause behind.
func TestUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0", Lease: lease.Lease{Holder: "other", Until: time.Now().Add(5 * time.Second), RetryAt: time.Now().Add(time.Hour)}})}
		j := p.job()
		if _, _, err := lease.Run(t.Context(), j); err == nil || p.visits != 0 {
			t.Errorf("not urgent: %v, %d visits", err, p.visits)
		}
		j.Urgent = true
		begin := time.Now()
		v, merged, err := lease.Run(t.Context(), j)
		if took := time.Since(begin); err != nil || !merged || p.visits != 1 || took < 5*time.Second || took > 5*time.Second+lease.Poll {
			t.Errorf("urgent: %v, merged %v, %d visits, after %v", err, merged, p.visits, took)
		}
		if v.Lease != (lease.Lease{}) {
			t.Errorf("the lease is %+v", v.Lease)
		}
	})
}

// TestUnknownFate: the fate of the work is unknown. The lease stays until it
// runs out, and the next holder counts a take-over.
func TestUnknownFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		p.answered = func(int) lease.Result[value] { return lease.Result[value]{Err: errShop} }
		if _, _, err := run(t, p); !errors.Is(err, errShop) {
			t.Fatal(err)
		}
		left := p.stored(t).Lease
		if left.Holder == "" || !left.Until.After(time.Now()) || left.Takeovers != 0 {
			t.Fatalf("the lease is %+v, want it to stay", left)
		}
		time.Sleep(25 * time.Second)
		var seen lease.Lease
		p.answered = func(int) lease.Result[value] {
			seen = p.stored(t).Lease
			return lease.Result[value]{Merge: func(v *value) bool { v.Text = "bought"; return true }}
		}
		if _, merged, err := run(t, p); err != nil || !merged {
			t.Fatal(merged, err)
		}
		if seen.Takeovers != 1 || seen.Holder == left.Holder {
			t.Errorf("during the second work the lease was %+v, before %+v", seen, left)
		}
	})
}

// TestHolderUnknown: a lease without a holder, as an older release stored it,
// counts as a take-over too. A free value does not.
func TestHolderUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			left lease.Lease
			want uint64
		}{
			"free":           {lease.Lease{}, 0},
			"after a pause":  {lease.Lease{RetryAt: time.Now()}, 0},
			"only the end":   {lease.Lease{Until: time.Now()}, 1},
			"holder and end": {lease.Lease{Holder: "other", Until: time.Now(), Takeovers: 1}, 2},
		} {
			p := &shop{s: newShared(0, value{Write: "0", Lease: c.left})}
			p.answered = func(int) lease.Result[value] {
				if got := p.stored(t).Lease.Takeovers; got != c.want {
					t.Errorf("%s: %d take-overs, want %d", name, got, c.want)
				}
				return lease.Result[value]{Merge: func(v *value) bool { v.Text = "bought"; return true }}
			}
			if _, _, err := run(t, p); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestDeadHolder: a dead holder blocks others only for the life of its lease. A
// result that it brings later does not overwrite theirs.
func TestDeadHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		wake := make(chan struct{})
		p.answered = func(visit int) lease.Result[value] {
			if visit == 1 {
				<-wake // past its lease
			}
			return lease.Result[value]{Merge: func(v *value) bool {
				if v.Text != "" {
					return false
				}
				v.Text = fmt.Sprint("bought ", visit)
				return true
			}}
		}
		dead := make(chan value)
		go func() {
			v, merged, err := lease.Run(context.Background(), p.job())
			if err != nil || merged {
				t.Errorf("the late holder: merged %v, %v", merged, err)
			}
			dead <- v
		}()
		synctest.Wait()
		begin := time.Now()
		v, _, err := run(t, p)
		if took := time.Since(begin); err != nil || v.Text != "bought 2" || took < lease.Life || took > lease.Life+lease.Poll {
			t.Errorf("%q after %v, %v; want the lease to be taken over after %v", v.Text, took, err, lease.Life)
		}
		close(wake)
		if late := <-dead; late.Text != "bought 2" {
			t.Errorf("the late holder ends with %q", late.Text)
		}
	})
}

// TestWorkEndsBeforeItsLease: the work's context ends two seconds before the
// lease.
func TestWorkEndsBeforeItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		j := p.job()
		j.Work = func(ctx context.Context, _ value) lease.Result[value] {
			begin := time.Now()
			<-ctx.Done()
			if took := time.Since(begin); took != lease.Life-2*time.Second {
				t.Errorf("the work had %v", took)
			}
			return lease.Result[value]{Err: ctx.Err()}
		}
		if _, _, err := lease.Run(t.Context(), j); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestGoodEnough: while somebody is at work, or during a pause, a value that
// still serves is returned at once.
func TestGoodEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, l := range map[string]lease.Lease{
			"held":   {Holder: "other", Until: time.Now().Add(lease.Life)},
			"paused": {RetryAt: time.Now().Add(time.Minute)},
		} {
			p := &shop{s: newShared(0, value{Write: "0", Lease: l})}
			j := p.job()
			j.Done = func(_ value, busy bool) bool { return busy }
			begin := time.Now()
			if _, merged, err := lease.Run(t.Context(), j); err != nil || merged || time.Since(begin) != 0 || p.visits != 0 {
				t.Errorf("%s: merged %v, %v after %v and %d visits", name, merged, err, time.Since(begin), p.visits)
			}
		}
	})
}

// TestCallerLeaves: waiting for another holder ends with the caller's context.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0", Lease: lease.Lease{Holder: "other", Until: time.Now().Add(lease.Life)}})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := lease.Run(ctx, p.job()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestGone: if the value is gone, even during the work, the run ends with the
// error of the cell.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &shop{s: newShared(0, value{Write: "0"})}
		p.answered = func(int) lease.Result[value] {
			p.s.mu.Lock()
			p.s.raw = nil
			p.s.mu.Unlock()
			return lease.Result[value]{Merge: func(v *value) bool { v.Text = "late"; return true }}
		}
		for range 2 {
			if _, merged, err := run(t, p); merged || !errors.Is(err, errGone) {
				t.Errorf("merged %v, %v", merged, err)
			}
		}
		if p.visits != 1 || p.s.raw != nil {
			t.Errorf("%d visits, %s", p.visits, p.s.raw)
		}
	})
}
