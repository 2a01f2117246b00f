// Package tenants remembers who serves a name, for names that come and go.
//
// It knows names, and a function that finds who serves one. It must not know
// what the names are, nor what serves them.
package tenants

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/places"
)

const (
	// Life is how long the function is not asked again about a name that is
	// served. One that is served no more is refused within that time.
	Life = time.Minute
	// unknownLife is the same for a name that nobody serves. It is short, because
	// a new one should serve soon.
	unknownLife = 5 * time.Second
	// MaxNames bounds how many names that are served are remembered, and how many
	// of the others.
	MaxNames = 1000
	// maxName bounds a name, in bytes. Nobody serves a longer one.
	maxName = 2 << 10
)

// ErrBusy means that the function is asked about too many names at once.
var ErrBusy = errors.New("tenants: too many names are being looked up")

// Find returns who serves a name, or nil.
type Find[V any] func(ctx context.Context, name string) (*V, error)

// A Directory says who serves a name. Names that nobody serves have a memory of
// their own, so that strangers who make them up push out nobody. It is safe for
// concurrent use. [New] makes one.
type Directory[V any] struct {
	find    Find[V]
	timeout time.Duration // of one call of find
	calls   int           // of find at a time, about names that were never served
	now     func() time.Time
	flights flight.Group[string, *V]
	pool    places.Pool

	mu      sync.Mutex
	served  names[V] // guarded by mu
	unknown names[V] // guarded by mu
}

// New makes a Directory that asks find.
func New[V any](find Find[V], timeout time.Duration, calls int, now func() time.Time) *Directory[V] {
	return &Directory[V]{find: find, timeout: timeout, calls: calls, now: now, served: newNames[V](), unknown: newNames[V]()}
}

// Of returns who serves name, or nil. Many callers share one call of the
// function. Its errors are not remembered.
func (d *Directory[V]) Of(ctx context.Context, name string) (*V, error) {
	if len(name) > maxName {
		return nil, nil
	}
	if v, fresh := d.known(name); fresh {
		return v, nil
	}
	return d.flights.Do(ctx, name, d.timeout, func(ctx context.Context) (*V, error) {
		v, fresh := d.known(name)
		if fresh {
			return v, nil
		}
		if v == nil { // strangers can make up as many names as they like
			if !d.pool.Try(d.calls) {
				return nil, ErrBusy
			}
			defer d.pool.Leave()
		}
		v, err := d.find(ctx, name)
		if err == nil {
			d.keep(name, v)
		}
		return v, err
	})
}

// Wait returns when the function is not being asked, or with the error of ctx.
func (d *Directory[V]) Wait(ctx context.Context) error { return d.flights.Wait(ctx) }

// Waits collects directories, so that one can wait for all. The zero value is
// ready to use. It is safe for concurrent use.
type Waits struct {
	mu  sync.Mutex
	all []interface{ Wait(context.Context) error } // guarded by mu
}

// Add adds a directory.
func (w *Waits) Add(directory interface{ Wait(context.Context) error }) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, directory)
}

// Wait calls Wait on each.
func (w *Waits) Wait(ctx context.Context) error {
	w.mu.Lock()
	all := w.all // only ever appended to
	w.mu.Unlock()
	var errs []error
	for _, d := range all {
		errs = append(errs, d.Wait(ctx))
	}
	return errors.Join(errs...)
}

// known returns what is remembered, and whether it still counts.
func (d *Directory[V]) known(name string) (v *V, fresh bool) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.served.of[name]; ok {
		return e.v, now.Before(e.until)
	}
	e, ok := d.unknown.of[name]
	return nil, ok && now.Before(e.until)
}

func (d *Directory[V]) keep(name string, v *V) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if v != nil {
		d.unknown.drop(name)
		d.served.put(name, entry[V]{v, now.Add(Life)})
		return
	}
	d.served.drop(name)
	d.unknown.put(name, entry[V]{nil, now.Add(unknownLife)})
}

type entry[V any] struct {
	v     *V
	until time.Time
}

// names holds at most MaxNames entries. If it is full, the one that was asked
// about the longest ago goes.
type names[V any] struct{ of map[string]entry[V] }

func newNames[V any]() names[V] { return names[V]{make(map[string]entry[V])} }

func (n *names[V]) put(name string, e entry[V]) {
	if _, ok := n.of[name]; !ok && len(n.of) >= MaxNames {
		n.dropOldest()
	}
	n.of[name] = e
}

func (n *names[V]) drop(name string) { delete(n.of, name) }

func (n *names[V]) dropOldest() {
	oldest, found := "", false
	for name, e := range n.of {
		if !found || e.until.Before(n.of[oldest].until) {
			oldest, found = name, true
		}
	}
	n.drop(oldest)
}
