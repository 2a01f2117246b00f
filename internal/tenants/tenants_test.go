package tenants_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/tenants"
)

// desk finds who serves a name, and remembers who asked.
type desk struct {
	mu    sync.Mutex
	asked []string
	serve map[string]*int
	err   error
	hold  chan struct{} // if not nil, it answers when this is closed
}

func (d *desk) find(_ context.Context, name string) (*int, error) {
	d.mu.Lock()
	d.asked = append(d.asked, name)
	v, err, hold := d.serve[name], d.err, d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return v, err
}

func (d *desk) times(name string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asked {
		if a == name {
			n++
		}
	}
	return n
}

const calls = 4

func newDirectory(d *desk) *tenants.Directory[int] {
	return tenants.New(d.find, time.Second, calls, time.Now)
}

// TestLife: an answer counts for a minute, and "nobody" for five seconds.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		d := &desk{serve: map[string]*int{"a": &one}}
		dir := newDirectory(d)
		for _, step := range []struct {
			wait  time.Duration
			name  string
			asked int
		}{
			{0, "a", 1}, {59 * time.Second, "a", 1}, {time.Second, "a", 2},
			{0, "x", 1}, {4 * time.Second, "x", 1}, {time.Second, "x", 2},
			{0, strings.Repeat("a", 2049), 0},
		} {
			time.Sleep(step.wait)
			v, err := dir.Of(t.Context(), step.name)
			if err != nil || (v == &one) != (step.name == "a") || d.times(step.name) != step.asked {
				t.Errorf("%.9s after %v more: %v, %v, asked %d times", step.name, step.wait, v, err, d.times(step.name))
			}
		}
		delete(d.serve, "a") // it goes
		time.Sleep(time.Minute)
		if v, err := dir.Of(t.Context(), "a"); v != nil || err != nil {
			t.Errorf("one that is gone: %v, %v", v, err)
		}
	})
}

// TestErrorsAreNotRemembered: the next request asks again.
func TestErrorsAreNotRemembered(t *testing.T) {
	d := &desk{err: errors.New("no answer")}
	dir := newDirectory(d)
	for n := 1; n <= 2; n++ {
		if _, err := dir.Of(t.Context(), "a"); !errors.Is(err, d.err) || d.times("a") != n {
			t.Errorf("%v, asked %d times", err, d.times("a"))
		}
	}
}

// TestStrangers: names that are made up push out nobody, and ask for few at a
// time, while names that are served are renewed.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		d := &desk{serve: map[string]*int{"a": &one}}
		dir := newDirectory(d)
		_, _ = dir.Of(t.Context(), "a")
		for i := range 3 * tenants.MaxNames {
			_, _ = dir.Of(t.Context(), fmt.Sprint("made up ", i))
		}
		if v, _ := dir.Of(t.Context(), "a"); v != &one || d.times("a") != 1 {
			t.Errorf("%v, asked %d times", v, d.times("a"))
		}
		time.Sleep(tenants.Life)
		d.mu.Lock()
		d.hold = make(chan struct{})
		d.mu.Unlock()
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() { _, _ = dir.Of(t.Context(), fmt.Sprint("held ", i)) })
		}
		synctest.Wait()
		if _, err := dir.Of(t.Context(), "one more"); !errors.Is(err, tenants.ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		for range 3 {
			wg.Go(func() {
				if v, err := dir.Of(t.Context(), "a"); v != &one || err != nil {
					t.Errorf("served: %v, %v", v, err)
				}
			})
		}
		synctest.Wait()
		close(d.hold)
		wg.Wait()
		if d.times("a") != 2 {
			t.Errorf("three who wait asked %d times", d.times("a")-1)
		}
		if err := dir.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestMany: beyond the bound the one asked about the longest ago goes.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		d := &desk{serve: map[string]*int{}}
		dir := newDirectory(d)
		for i := range tenants.MaxNames + 1 {
			d.serve[fmt.Sprint(i)] = &one
			_, _ = dir.Of(t.Context(), fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		for name, asked := range map[string]int{"0": 2, "2": 1, fmt.Sprint(tenants.MaxNames): 1} {
			if _, _ = dir.Of(t.Context(), name); d.times(name) != asked {
				t.Errorf("%s was asked about %d times, want %d", name, d.times(name), asked)
			}
		}
	})
}
