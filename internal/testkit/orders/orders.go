// Package orders runs actors on one store under every order of their calls,
// including calls that fail and replies that are lost. It is for tests of
// protocols.
package orders

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Fate is what happens to one call.
type Fate int

// What may happen to a call.
const (
	Works     Fate = iota
	Fails          // not done, with an error
	LostReply      // done, but with an error
)

// ErrTrouble is the error of a call that fails.
var ErrTrouble = errors.New("orders: the store is in trouble")

// Schedule lets the calls of actors proceed one at a time.
type Schedule struct {
	mu      sync.Mutex
	asking  []*turn
	running int // actors that are neither asking nor done
	idle    *sync.Cond
	faults  int // how many calls may still go wrong
}

type turn struct {
	actor string
	grant chan Fate
}

type actorKey struct{}

// New makes a Schedule in which at most that many calls may go wrong.
func New(faults int) *Schedule {
	s := &Schedule{faults: faults}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// Ask waits until the call may go on and returns its fate. Calls outside an
// actor are not scheduled: they work.
func (s *Schedule) Ask(ctx context.Context) Fate {
	actor, ok := ctx.Value(actorKey{}).(string)
	if !ok {
		return Works
	}
	c := &turn{actor, make(chan Fate)}
	s.mu.Lock()
	s.asking = append(s.asking, c)
	s.running--
	s.idle.Broadcast()
	s.mu.Unlock()
	return <-c.grant
}

// Actors are functions that run concurrently, by name.
type Actors map[string]func(context.Context)

// Run lets the actors run to completion under the given choices, and returns
// the number of options at each step. No actor may wait for time.
func (s *Schedule) Run(choices []int, actors Actors) (options []int) {
	s.running = len(actors)
	for name, act := range actors {
		go func() {
			act(context.WithValue(context.Background(), actorKey{}, name))
			s.mu.Lock()
			s.running--
			s.idle.Broadcast()
			s.mu.Unlock()
		}()
	}
	for step := 0; ; step++ {
		s.mu.Lock()
		for s.running > 0 {
			s.idle.Wait()
		}
		if len(s.asking) == 0 {
			s.mu.Unlock()
			return options
		}
		kinds := 1
		if s.faults > 0 {
			kinds = 3
		}
		choice := 0
		if step < len(choices) {
			choice = choices[step]
		}
		options = append(options, len(s.asking)*kinds)
		s.proceed(choice/kinds, Fate(choice%kinds))
	}
}

// proceed lets one call go on. The caller holds the lock, which proceed
// releases. Goroutines ask in any order, so the calls are sorted first.
func (s *Schedule) proceed(at int, fate Fate) {
	slices.SortStableFunc(s.asking, func(a, b *turn) int { return strings.Compare(a.actor, b.actor) })
	c := s.asking[at]
	s.asking = slices.Delete(s.asking, at, at+1)
	if fate != Works {
		s.faults--
	}
	s.running++
	s.mu.Unlock()
	c.grant <- fate
}

// RunFair is Run for actors that wait for time, in a bubble of
// testing/synctest. In each choice the lowest bit selects the first or the last
// call that asks, and the next three bits decide whether that call goes wrong.
// While no actor asks, time moves on by tick.
func (s *Schedule) RunFair(choices []int, tick time.Duration, actors Actors) {
	var wg sync.WaitGroup
	for name, act := range actors {
		wg.Go(func() { act(context.WithValue(context.Background(), actorKey{}, name)) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for step := 0; ; step++ {
		synctest.Wait()
		s.mu.Lock()
		if len(s.asking) == 0 {
			s.mu.Unlock()
			select {
			case <-done:
				return
			case <-time.After(tick):
				continue
			}
		}
		choice, at, fate := choices[step%len(choices)], 0, Works
		if choice&1 == 1 {
			at = len(s.asking) - 1
		}
		if wrong := Fate(choice>>1&7) - 5; s.faults > 0 && wrong > Works {
			fate = wrong
		}
		s.proceed(at, fate)
	}
}

// Explore calls play with every sequence of choices, depth first, and logs how
// many there are. It fails the test if there are more than atMost.
func Explore(t *testing.T, atMost int, play func(choices []int) (options []int)) {
	t.Helper()
	var choices []int
	for n := 0; ; n++ {
		if n >= atMost {
			t.Fatalf("more than %d orders", atMost)
		}
		options := play(choices)
		for len(choices) < len(options) {
			choices = append(choices, 0)
		}
		choices = choices[:len(options)]
		if t.Failed() {
			t.Fatalf("after choices %v", choices)
		}
		for len(choices) > 0 && choices[len(choices)-1]+1 >= options[len(choices)-1] {
			choices = choices[:len(choices)-1]
		}
		if len(choices) == 0 {
			t.Logf("%d orders", n+1)
			return
		}
		choices[len(choices)-1]++
	}
}

// Dice makes n choices for RunFair from a seed. The same seed gives the same
// choices.
func Dice(seed, n int) []int {
	choices := make([]int, n)
	for i, x := 0, uint64(seed)*2654435761+1; i < n; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		choices[i] = int(x >> 33 & 15)
	}
	return choices
}
