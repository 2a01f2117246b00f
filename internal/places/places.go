// Package places bounds how much is done at a time. Whoever gets no place is
// turned away at once, or waits for one, as the caller decides.
package places

import (
	"context"
	"slices"
	"sync"
)

// Pool counts the places that are taken. Several users may share a Pool and
// each give a limit of its own. The zero value is ready to use; a Pool must not
// be copied after first use. All methods are safe for concurrent use.
type Pool struct {
	mu      sync.Mutex
	taken   int       // guarded by mu
	waiting []*waiter // guarded by mu; longest waiting first
}

type waiter struct {
	limit int
	ready chan struct{} // closed when the waiter has a place
}

// Try takes a place if fewer than limit are taken. It never waits.
func (p *Pool) Try(limit int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= limit {
		return false
	}
	p.taken++
	return true
}

// Wait takes a place as soon as fewer than limit are taken. Those who wait get
// places in their order, and before those who try. It returns the error of ctx
// if that ends first.
func (p *Pool) Wait(ctx context.Context, limit int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	if p.taken < limit {
		p.taken++
		p.mu.Unlock()
		return nil
	}
	w := &waiter{limit: limit, ready: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else { // the place came at the same moment
		p.leave()
	}
	return ctx.Err()
}

// Leave gives a place back.
func (p *Pool) Leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave()
}

func (p *Pool) leave() {
	p.taken--
	for len(p.waiting) > 0 && p.taken < p.waiting[0].limit {
		close(p.waiting[0].ready)
		p.waiting = slices.Delete(p.waiting, 0, 1)
		p.taken++
	}
}
