package swap_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/swap"
)

var errStore = errors.New("the store is in trouble")

// cell is a value whose calls can go wrong.
type cell struct {
	value  []byte
	fails  int // calls that fail without effect
	lost   int // swaps that take effect and still fail
	rivals int // swaps before which somebody else writes
	finds  int
	swaps  int
}

func (c *cell) Find(context.Context) ([]byte, error) {
	c.finds++
	if c.fails > 0 {
		c.fails--
		return nil, errStore
	}
	return c.value, nil
}

func (c *cell) Swap(_ context.Context, old []byte, next swap.Value) (bool, error) {
	c.swaps++
	if c.rivals > 0 {
		c.rivals--
		c.value = append([]byte("rival"), byte(c.rivals))
	}
	if !swap.Same(c.value, old) {
		return false, nil
	}
	c.value = next.Bytes
	if c.lost > 0 {
		c.lost--
		return false, errStore
	}
	return true, nil
}

func to(text string) swap.Change {
	return func([]byte) (*swap.Value, error) { return &swap.Value{Bytes: []byte(text)}, nil }
}

func TestUpdate(t *testing.T) {
	patient := swap.Patience{For: 10 * time.Second, Pause: 50 * time.Millisecond, Most: time.Second}
	declined := func([]byte) (*swap.Value, error) { return nil, nil }
	errOwn := errors.New("no")
	for name, c := range map[string]struct {
		cell     cell
		patience swap.Patience
		change   swap.Change
		changed  bool
		err      error
		want     string
		swaps    int
	}{
		"at once":                 {cell{}, swap.Patience{}, to("new"), true, nil, "new", 1},
		"declined":                {cell{value: []byte("old")}, swap.Patience{}, declined, false, nil, "old", 0},
		"refused by change":       {cell{value: []byte("old")}, patient, func([]byte) (*swap.Value, error) { return nil, errOwn }, false, errOwn, "old", 0},
		"somebody faster":         {cell{rivals: 3}, swap.Patience{}, to("new"), true, nil, "new", 4},
		"contended":               {cell{rivals: 99}, patient, to("new"), false, swap.ErrContended, "rival#", 64},
		"trouble, no patience":    {cell{fails: 1}, swap.Patience{}, to("new"), false, errStore, "", 0},
		"trouble, patience":       {cell{fails: 3}, patient, to("new"), true, nil, "new", 1},
		"trouble without end":     {cell{fails: 999}, patient, to("new"), false, errStore, "", 0},
		"lost reply, no patience": {cell{lost: 1}, swap.Patience{}, to("new"), false, errStore, "new", 1},
		"lost reply, patience":    {cell{lost: 1}, patient, to("new"), true, nil, "new", 2},
		"all replies lost":        {cell{lost: 1 << 30}, patient, to("new"), false, errStore, "new", 14},
		"deletes":                 {cell{value: []byte("old")}, patient, func([]byte) (*swap.Value, error) { return &swap.Value{}, nil }, true, nil, "", 1},
		"lost reply of a delete":  {cell{value: []byte("old"), lost: 1}, patient, func([]byte) (*swap.Value, error) { return &swap.Value{}, nil }, true, nil, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cell := c.cell
				changed, err := swap.Update(t.Context(), &cell, c.patience, c.change)
				if changed != c.changed || !errors.Is(err, c.err) || string(cell.value) != c.want || cell.swaps != c.swaps {
					t.Errorf("changed %v, %v, %q after %d swaps; want %v, %v, %q, %d", changed, err, cell.value, cell.swaps, c.changed, c.err, c.want, c.swaps)
				}
			})
		})
	}
}

// TestFrom: the first try, and only that, trusts what the caller has read.
func TestFrom(t *testing.T) {
	for name, c := range map[string]struct {
		cell  cell
		have  []byte
		finds int
	}{
		"right": {cell{value: []byte("old")}, []byte("old"), 0},
		"wrong": {cell{value: []byte("old")}, nil, 1},
	} {
		cell := c.cell
		changed, err := swap.From(t.Context(), &cell, swap.Patience{}, c.have, to("new"))
		if !changed || err != nil || string(cell.value) != "new" || cell.finds != c.finds {
			t.Errorf("%s: %v, %v, %q after %d reads; want %d", name, changed, err, cell.value, cell.finds, c.finds)
		}
	}
}

// unfit is a cell that cannot store anything.
type unfit struct{ cell }

var errUnfit = errors.New("too large")

func (c *unfit) Swap(context.Context, []byte, swap.Value) (bool, error) {
	c.swaps++
	return false, swap.Final(errUnfit)
}

func TestFinal(t *testing.T) {
	var c unfit
	_, err := swap.Update(t.Context(), &c, swap.Patience{For: time.Hour, Pause: time.Hour}, to("new"))
	if err != errUnfit || c.swaps != 1 {
		t.Errorf("%v after %d swaps", err, c.swaps)
	}
}

// TestUpdateEndsInTime: an update ends when its patience or its context ends.
func TestUpdateEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ patience, deadline, want time.Duration }{
			{10 * time.Second, time.Hour, 10 * time.Second},
			{10 * time.Second, 2 * time.Second, 2 * time.Second},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
			begin := time.Now()
			_, err := swap.Update(ctx, &cell{fails: 1 << 30}, swap.Patience{For: c.patience, Pause: time.Millisecond, Most: time.Second}, to("x"))
			if took := time.Since(begin); took != c.want || !errors.Is(err, errStore) {
				t.Errorf("%v after %v; want the store's error after %v", err, took, c.want)
			}
			cancel()
		}
	})
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b []byte
		want bool
	}{
		{nil, nil, true}, {nil, []byte{}, false}, {[]byte{}, nil, false}, {[]byte{}, []byte{}, true},
		{[]byte("a"), []byte("a"), true}, {[]byte("a"), []byte("b"), false},
	} {
		if got := swap.Same(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %v", c.a, c.b, got)
		}
	}
}
