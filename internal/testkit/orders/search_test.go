package orders_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/testkit/orders"
)

// counter is a number that actors read and then write, each in a step.
type counter struct {
	*orders.Run
	n int
}

func (c *counter) read(ctx context.Context, key string) (n int, err error) {
	err = c.Do(ctx, orders.Step{Name: "reads", Keys: []string{key}, Do: func() (string, bool) { n = c.n; return "", false }})
	return n, err
}

func (c *counter) write(ctx context.Context, key string, n int, private bool) error {
	return c.Do(ctx, orders.Step{Name: "writes", Keys: []string{key}, Write: true, Private: private, Do: func() (string, bool) { c.n = n; return "", true }})
}

func all(t *testing.T, s orders.Search, play func(*orders.Run)) (f orders.Found) {
	s.Most = 100_000
	synctest.Test(t, func(*testing.T) { f = s.All(play) })
	return f
}

func holds() error { return nil }

// TestSearchCounts: known numbers of orders. Actors write n times each.
func TestSearchCounts(t *testing.T) {
	for name, c := range map[string]struct {
		budget  orders.Search
		writes  []int // of each actor
		private bool
		want    float64
	}{
		"one":             {orders.Search{}, []int{3}, false, 1},
		"two":             {orders.Search{}, []int{3, 3}, false, 20},    // 6! / (3! 3!)
		"three":           {orders.Search{}, []int{2, 2, 2}, false, 90}, // 6! / (2! 2! 2!)
		"that commute":    {orders.Search{}, []int{2, 2, 2}, true, 1},
		"a death":         {orders.Search{Crashes: 1}, []int{3}, false, 3},        // none, or after one or two
		"a lost call":     {orders.Search{Losses: 1}, []int{2}, false, 1 + 2*3},   // any of two, in three ways
		"a death of two":  {orders.Search{Crashes: 1}, []int{2, 1}, false, 3 + 3}, // it comes before or after what the other does
		"nothing happens": {orders.Search{Crashes: 1, Losses: 1}, nil, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := all(t, c.budget, func(r *orders.Run) {
				w := &counter{Run: r}
				for i, n := range c.writes {
					r.Actor(fmt.Sprint(i), func(ctx context.Context) string {
						for range n {
							_ = w.write(ctx, "n", 0, c.private)
						}
						return ""
					})
				}
				r.Rules(holds, holds)
			})
			if f.Orders != c.want || f.Broken != nil {
				t.Errorf("%v, %v; want %v orders", f, f.Broken, c.want)
			}
		})
	}
}

// TestSearchFinds: two actors that add one without compare-and-swap lose an
// addition in some order, and the trace says in which.
func TestSearchFinds(t *testing.T) {
	f := all(t, orders.Search{}, func(r *orders.Run) {
		c := &counter{Run: r}
		for _, name := range []string{"ana", "ben"} {
			r.Actor(name, func(ctx context.Context) string {
				n, _ := c.read(ctx, "n")
				_ = c.write(ctx, "n", n+1, false)
				return ""
			})
		}
		r.Rules(holds, func() error {
			if c.n != 2 {
				return fmt.Errorf("the sum is %d", c.n)
			}
			return nil
		})
	})
	if trace := strings.Join(f.Trace, ", "); f.Broken == nil || trace != "ana reads n, ben reads n, ana writes n, ben writes n" {
		t.Errorf("%v, after %s", f.Broken, trace)
	}
}

// TestSearchWaits: who reads again after a pause goes on when the value has
// changed or time has passed, and a long call ends with its context.
func TestSearchWaits(t *testing.T) {
	late, ended := 0, 0
	f := all(t, orders.Search{Ticks: 1, Tick: time.Minute}, func(r *orders.Run) {
		c := &counter{Run: r}
		begin := time.Now()
		r.Actor("waiter", func(ctx context.Context) string {
			for {
				if n, _ := c.read(ctx, "n"); n > 0 || time.Since(begin) > 30*time.Second {
					return fmt.Sprint(n)
				}
				time.Sleep(time.Second)
			}
		})
		r.Actor("worker", func(ctx context.Context) string {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			err := c.Do(ctx, orders.Step{Name: "works", Keys: []string{"work"}, Write: true, Long: true, Do: func() (string, bool) { return "", true }})
			if errors.Is(err, context.DeadlineExceeded) {
				return "ended"
			}
			_ = c.write(context.WithoutCancel(ctx), "n", 1, false)
			return "done"
		})
		r.Rules(holds, func() error {
			if got, _ := r.Result("waiter"); got == "0" {
				late++
			}
			if got, _ := r.Result("worker"); got == "ended" {
				ended++
			}
			return nil
		})
	})
	if f.Broken != nil || late == 0 || ended == 0 {
		t.Errorf("%v, %v: %d waiters gave up, %d calls ended", f, f.Broken, late, ended)
	}
}
