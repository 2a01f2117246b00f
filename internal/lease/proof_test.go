package lease_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/swap"
	"example.com/gatehouse/internal/testkit/orders"
)

// The tests of this file prove the lease (docs/proof.md): processes
// with clocks a second apart want to buy with the coupon in a value, which a shop
// takes once. Every order of their calls is tried, with one death and one lost
// call.

// flaw is a rule of the lease that a run leaves out, to see the proof find it.
type flaw string

const (
	sound         flaw = ""
	takesHeld     flaw = "a lease is taken while another holds it"
	awaitsForever flaw = "the work goes on past the end of the lease"
	noMargin      flaw = "the work ends with the lease, and not two seconds before"
	countsNone    flaw = "a take-over is not counted"
	givesBack     flaw = "a holder that does not know what became of its work gives the lease back"
	mergesAll     flaw = "a result is merged into whatever is there"
)

// market is the world of one run.
type market struct {
	*orders.Run
	flaw   flaw
	raw    []byte
	later  time.Duration
	start  time.Time
	names  []string
	valid  string // the coupon that the shop takes
	sold   int
	sent   map[string]bool
	reused bool // a coupon came twice
	lost   bool // an answer
}

// place is the value for one process.
type place struct{ *market }

func (m place) Find(ctx context.Context) (raw []byte, err error) {
	err = m.Do(ctx, orders.Step{Name: "reads", Keys: []string{"the value"}, Do: func() (string, bool) { raw = m.raw; return "", false }})
	return raw, err
}

func (m place) Swap(ctx context.Context, old []byte, next swap.Value) (swapped bool, err error) {
	err = m.Do(ctx, orders.Step{Name: "swaps", Keys: []string{"the value"}, Write: true, Do: func() (string, bool) {
		switch {
		case bytes.Equal(m.raw, next.Bytes):
			swapped = true
			return "true", false
		case !bytes.Equal(m.raw, old) && m.flaw != mergesAll:
			return "false", false
		}
		m.raw, swapped = next.Bytes, true
		return "true", true
	}})
	return swapped && err == nil, err
}

func (m place) Load(ctx context.Context) (v value, err error) {
	raw, err := m.Find(ctx)
	if err == nil {
		v = m.read(raw)
	}
	return v, err
}

func (m place) read(raw []byte) (v value) {
	if err := json.Unmarshal(raw, &v); err != nil {
		panic(err)
	}
	if m.flaw == takesHeld {
		v.Lease.Until = time.Time{}
	}
	return v
}

func (m place) Lease(v *value) *lease.Lease { return &v.Lease }

func (m place) Update(ctx context.Context, p swap.Patience, change func(*value) bool) (v value, changed bool, err error) {
	changed, err = swap.Update(ctx, m, p, func(old []byte) (*swap.Value, error) {
		if v = m.read(old); !change(&v) {
			return nil, nil
		}
		if m.flaw == countsNone {
			v.Lease.Takeovers = 0
		}
		v.Write = rand.Text()
		raw, err := json.Marshal(v)
		return &swap.Value{Bytes: raw}, err
	})
	return v, changed, err
}

const buys = "buys"

// job buys once with the coupon that the process has seen.
func (m *market) job(seen string, skew time.Duration) lease.Job[value] {
	return lease.Job[value]{
		Cell: place{m}, Now: func() time.Time { return base.Add(time.Since(m.start) + m.later + skew) },
		Done: func(v value, _ bool) bool { return v.Text != seen || v.Text == "" },
		Work: m.buy,
	}
}

func (m *market) buy(ctx context.Context, v value) lease.Result[value] {
	switch m.flaw {
	case awaitsForever:
		ctx = context.WithoutCancel(ctx)
	case noMargin:
		end, _ := ctx.Deadline()
		late, cancel := context.WithDeadline(context.WithoutCancel(ctx), end.Add(2*time.Second))
		defer cancel()
		ctx = late
	}
	if ctx.Err() != nil {
		return lease.Result[value]{Err: ctx.Err(), Known: true}
	}
	var came, taken bool
	var next string
	err := m.Do(ctx, orders.Step{Name: buys, Keys: []string{"in the shop"}, Write: true, Long: true, Do: func() (string, bool) {
		came = true
		if m.sent[v.Text] && v.Lease.Takeovers == 0 {
			m.Break(errors.New("a coupon is sent again, and nobody has counted a take-over"))
		}
		m.sent[v.Text] = true
		if taken = v.Text == m.valid; !taken {
			m.reused = true
			return "refused", true
		}
		m.sold++
		m.valid = fmt.Sprint("coupon ", m.sold)
		next = m.valid
		return next, true
	}})
	if err != nil {
		m.lost = m.lost || came || !errors.Is(err, orders.ErrTrouble)
		return lease.Result[value]{Err: err, Known: !came && errors.Is(err, orders.ErrTrouble) || m.flaw == givesBack}
	}
	if !taken { // somebody used it and never told us
		next = ""
	}
	return lease.Result[value]{Merge: func(now *value) bool {
		if now.Text != v.Text && m.flaw != mergesAll {
			return false
		}
		now.Text = next
		return true
	}}
}

// base is when each run begins.
var base = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newMarket(r *orders.Run, f flaw, skew time.Duration, processes int) {
	m := &market{Run: r, flaw: f, valid: "coupon", start: time.Now(), sent: map[string]bool{}}
	m.raw, _ = json.Marshal(value{Text: "coupon", Write: "0"})
	for i := range processes {
		name := fmt.Sprint("process ", i+1)
		m.names = append(m.names, name)
		r.Actor(name, func(ctx context.Context) string {
			v, merged, err := lease.Run(ctx, m.job("coupon", time.Duration(i%2)*skew))
			if _, waits := errors.AsType[*lease.WaitError](err); waits {
				return "waits"
			}
			return fmt.Sprint(v.Text, merged, err)
		})
	}
	r.Rules(m.always, m.finally)
}

func (m *market) always() error {
	if n := m.Asking(buys); n > 1 {
		return fmt.Errorf("%d are at work at once", n)
	}
	return nil
}

// finally: without a death, a stall or a lost answer the coupon was sent once,
// and what was bought is there. A minute later somebody else can go on.
func (m *market) finally() error {
	disturbed := m.lost
	for _, name := range m.names {
		disturbed = disturbed || m.Died(name) || m.Stalled(name)
	}
	v := place{m}.read(m.raw)
	switch {
	case m.flaw == takesHeld || m.flaw == awaitsForever || m.flaw == noMargin:
		return nil // always has to find these
	case !disturbed && m.reused:
		return errors.New("a coupon was sent twice")
	case !disturbed && v.Text != m.valid:
		return fmt.Errorf("the value holds %q, and the shop takes %q", v.Text, m.valid)
	}
	m.later += time.Minute
	after, _, err := lease.Run(context.Background(), m.job(v.Text, 0))
	if err != nil || v.Text != "" && after.Text == v.Text {
		return fmt.Errorf("a minute later nobody can go on: %w", err)
	}
	return nil
}

func search(t *testing.T, s orders.Search, f flaw, processes int) (found orders.Found) {
	s.Most = 1_000_000
	if s.Tick == 0 {
		s.Tick = lease.Life - time.Second + 10*time.Millisecond // the work has to be over, and the lease is by a clock that is ahead
	}
	synctest.Test(t, func(*testing.T) {
		for _, skew := range []time.Duration{time.Second, -time.Second} {
			one := s.All(func(r *orders.Run) { newMarket(r, f, skew, processes) })
			if found.Add(one); one.Broken != nil {
				found.Broken, found.Trace = fmt.Errorf("the second clock %v: %w", skew, one.Broken), one.Trace
				return
			}
		}
	})
	return found
}

var depth = flag.Int("proof", 1, "2 adds time that passes, and a third process with a death; 3 a third process with a lost call")

// TestProof: two processes, or three.
func TestProof(t *testing.T) {
	type run struct {
		processes int
		budget    orders.Search
	}
	runs := []run{{2, orders.Search{Crashes: 1, Ticks: 1}}, {2, orders.Search{Crashes: 1, Losses: 1}}}
	if raced {
		runs = runs[:1]
	}
	if *depth > 1 {
		runs = append(runs, run{2, orders.Search{Crashes: 1, Losses: 1, Ticks: 1, Tick: 31 * time.Second}}, run{3, orders.Search{Crashes: 1}})
	}
	if *depth > 2 {
		runs = append(runs, run{3, orders.Search{Losses: 1}})
	}
	for _, c := range runs {
		f := search(t, c.budget, sound, c.processes)
		if t.Logf("%d processes: %v", c.processes, f); f.Broken != nil {
			t.Errorf("%v\n%s", f.Broken, strings.Join(f.Trace, "\n"))
		}
	}
}

// TestProof_FindsFlaws: a lease that leaves out one rule is found out.
func TestProof_FindsFlaws(t *testing.T) {
	for _, c := range []struct {
		flaw   flaw
		budget orders.Search
	}{
		{takesHeld, orders.Search{}},
		{awaitsForever, orders.Search{Ticks: 1}},
		{noMargin, orders.Search{Ticks: 1}},
		{countsNone, orders.Search{Crashes: 1}},
		{givesBack, orders.Search{Losses: 1, Tick: 31 * time.Second, Ticks: 1}},
		{mergesAll, orders.Search{}},
	} {
		t.Run(string(c.flaw), func(t *testing.T) {
			f := search(t, c.budget, c.flaw, 2)
			if f.Broken == nil {
				t.Fatalf("not found in %v", f)
			}
			t.Logf("found in run %d: %v\n%s", f.Runs, f.Broken, strings.Join(f.Trace, "\n"))
		})
	}
}
