package lease_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
)

// jobOf is a job on a value that works like the given function.
func jobOf(s *shared, work func(context.Context, value) lease.Result[value]) lease.Job[value] {
	return lease.Job[value]{Cell: cell{s}, Now: time.Now, Done: func(v value, _ bool) bool { return v.Text != "" }, Work: work}
}

// A holder stalls past its lease, and then its work fails. It leaves the lease to
// whoever has taken it, and sets no pause for them.
func TestLateHolderLeavesTheLease(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(0, value{})
				var during lease.Lease
				second := jobOf(s, func(context.Context, value) lease.Result[value] {
					v, err := cell{s}.Load(t.Context())
					if err != nil {
						t.Error(err)
					}
					during = v.Lease
					return lease.Result[value]{Err: errors.New("no answer")} // its lease stays
				})
				first := jobOf(s, func(context.Context, value) lease.Result[value] {
					time.Sleep(lease.Life)
					if _, merged, err := lease.Run(t.Context(), second); merged || err == nil {
						t.Errorf("the second: merged %v, %v", merged, err)
					}
					return lease.Result[value]{Err: errors.New("refused"), Known: known}
				})
				if _, merged, err := lease.Run(t.Context(), first); merged || err == nil {
					t.Errorf("the first: merged %v, %v", merged, err)
				}
				v, err := cell{s}.Load(t.Context())
				if err != nil || during.Holder == "" || v.Lease.Holder != during.Holder || !v.Lease.Until.Equal(during.Until) || v.Lease.Takeovers != 1 {
					t.Errorf("the lease was %+v and is %+v, %v", during, v.Lease, err)
				}
			})
		})
	}
}

// heeding is a cell of a store that heeds contexts.
type heeding struct{ cell }

func (c heeding) Load(ctx context.Context) (v value, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	return c.cell.Load(ctx)
}

func (c heeding) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	if err := ctx.Err(); err != nil {
		return v, false, err
	}
	return c.cell.Update(ctx, p, change)
}

// A caller leaves while the work is done. What came of it is stored all the same.
func TestCallerLeavesAStoreThatHeeds(t *testing.T) {
	for name, r := range map[string]lease.Result[value]{
		"done":   {Merge: func(v *value) bool { v.Text = "bought"; return true }},
		"failed": {Err: errShop, Known: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(0, value{})
			ctx, leave := context.WithCancel(t.Context())
			j := jobOf(s, func(context.Context, value) lease.Result[value] { leave(); return r })
			j.Cell = heeding{cell{s}}
			if _, _, err := lease.Run(ctx, j); errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
			v, err := cell{s}.Load(t.Context())
			if err != nil || v.Lease.Holder != "" || (v.Text == "bought") != (r.Merge != nil) || v.Lease.RetryAt.IsZero() != (r.Merge != nil) {
				t.Errorf("%s: %+v, %v", name, v, err)
			}
		})
	}
}

// Between the look at a value and the lease somebody else has failed. The pause that
// they have set counts.
func TestPauseSetMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0, value{})
		fails := jobOf(s, func(context.Context, value) lease.Result[value] {
			return lease.Result[value]{Err: errShop, Known: true}
		})
		visits := 0
		j := jobOf(s, func(context.Context, value) lease.Result[value] {
			visits++
			return lease.Result[value]{Err: errShop, Known: true}
		})
		j.Cell = &beaten{cell{s}, func() {
			if _, _, err := lease.Run(t.Context(), fails); err == nil {
				t.Error("the other has not failed")
			}
		}}
		_, _, err := lease.Run(t.Context(), j)
		if _, waits := errors.AsType[*lease.WaitError](err); !waits || visits != 0 {
			t.Errorf("%d visits during the pause, %v", visits, err)
		}
	})
}

// beaten is a cell in which somebody is faster once.
type beaten struct {
	cell
	first func()
}

func (c *beaten) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	if f := c.first; f != nil {
		c.first = nil
		f()
	}
	return c.cell.Update(ctx, p, change)
}

// slow is a cell of a store whose answers take long.
type slow struct {
	cell
	takes time.Duration
}

func (c slow) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	v, changed, err = c.cell.Update(ctx, p, change)
	time.Sleep(c.takes)
	return v, changed, err
}

// The work ends two seconds before its lease, however long it took to get that.
func TestWorkEndsBeforeALeaseThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0, value{})
		j := jobOf(s, func(ctx context.Context, v value) lease.Result[value] {
			if end, ok := ctx.Deadline(); !ok || end.After(v.Lease.Until.Add(-2*time.Second)) {
				t.Errorf("the work ends %v, and the lease %v", end, v.Lease.Until)
			}
			return lease.Result[value]{Err: errShop, Known: true}
		})
		j.Cell = slow{cell{s}, 1500 * time.Millisecond}
		if _, merged, err := lease.Run(t.Context(), j); merged || err == nil {
			t.Error(merged, err)
		}
	})
}

// A lease or a pause that ends years ahead was written by a clock that was wrong. It
// holds nobody up. One of an hour may be right: servers ask for that.
func TestWrongClock(t *testing.T) {
	for ahead, works := range map[time.Duration]bool{time.Hour: false, 3 * time.Hour: true, 100_000 * time.Hour: true} {
		synctest.Test(t, func(t *testing.T) {
			until := time.Now().Add(ahead)
			for name, l := range map[string]lease.Lease{"lease": {Holder: "other", Until: until}, "pause": {RetryAt: until}} {
				visits := 0
				j := jobOf(newShared(0, value{Lease: l}), func(context.Context, value) lease.Result[value] {
					visits++
					return lease.Result[value]{Merge: func(v *value) bool { v.Text = "bought"; return true }}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, merged, err := lease.Run(ctx, j)
				if cancel(); merged != works || visits == 1 != works || (err == nil) != works {
					t.Errorf("a %s of %v: merged %v, %v", name, ahead, merged, err)
				}
			}
		})
	}
}

// lagging is a shared value in a store that takes long for each call, and works.
type lagging struct {
	*shared
	takes time.Duration
}

func (c lagging) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 900*time.Millisecond) // as cells bound each call
	defer cancel()
	return swap.Pause(ctx, c.takes)
}

func (c lagging) Find(ctx context.Context) ([]byte, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	return c.shared.Find(ctx)
}

func (c lagging) Swap(ctx context.Context, old []byte, next swap.Value) (bool, error) {
	if err := c.wait(ctx); err != nil {
		return false, err
	}
	return c.shared.Swap(ctx, old, next)
}

// laggingCell gives a lease access to it.
type laggingCell struct {
	cell
	store lagging
}

func (c laggingCell) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	changed, err = swap.Update(ctx, c.store, p, func(old []byte) (*swap.Value, error) {
		v = value{}
		if err := json.Unmarshal(old, &v); err != nil || !change(&v) {
			return nil, err
		}
		raw, err := json.Marshal(v)
		return &swap.Value{Bytes: raw}, err
	})
	return v, changed, err
}

// A store may take almost a second for each call, and work. The lease is two calls.
func TestLeaseOnASlowStore(t *testing.T) {
	for _, takes := range []time.Duration{0, 300 * time.Millisecond, 500 * time.Millisecond, 850 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(0, value{})
			j := jobOf(s, func(context.Context, value) lease.Result[value] {
				return lease.Result[value]{Merge: func(v *value) bool { v.Text = "bought"; return true }}
			})
			j.Cell = laggingCell{cell{s}, lagging{s, takes}}
			if v, merged, err := lease.Run(t.Context(), j); err != nil || !merged || v.Text != "bought" {
				t.Errorf("%v for a call: merged %v, %+v, %v", takes, merged, v, err)
			}
		})
	}
}
