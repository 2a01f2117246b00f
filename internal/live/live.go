// Package live gives contexts that end when what let them begin is over. A [Hub]
// judges things again and again, one judgement for all contexts of a thing. A
// [Set] has contexts that end at a time.
//
// It knows contexts and time. It must not know what it watches, nor where that
// is kept: its caller judges, and says what an end is called.
package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/gatehouse/internal/flight"
)

// Verdict is what a judgement says of one thing. The zero Verdict means that it
// lives.
type Verdict struct {
	Over  error // if not nil, the thing is over: its contexts end with this cause
	Doubt error // if not nil, it could not be judged; the cause if that stays so for too long
}

// Config says how a Hub judges. All fields are required.
type Config[T any] struct {
	Every time.Duration // from one judgement of a thing to the next
	Limit time.Duration // of one judgement, for its context
	Trust time.Duration // how long a thing lives on that cannot be judged
	Batch int           // how many things are judged together, at most
	// Judge returns a verdict for each thing. It runs under no lock. At most one
	// call at a time has the same thing.
	Judge func(ctx context.Context, things []T) []Verdict
	// Late is the cause if a judgement hangs for longer than Trust.
	Late error
}

// Hub gives contexts that end when a thing is over. Nothing runs while it has
// none: things are judged by timers, in groups of up to Batch, and what a
// judgement starts is waited for by Wait. It is safe for concurrent use.
type Hub[T any] struct {
	config Config[T]
	reads  flight.Group[*judgement[T], struct{}]

	mu     sync.Mutex
	closed error // the cause, once Close was called
	things map[string]*thing[T]
	room   map[*group[T]]bool // groups that are not full
}

// A group is judged together.
type group[T any] struct {
	things  []*thing[T]
	timer   *time.Timer
	running bool // a judgement is under way
}

type thing[T any] struct {
	key   string
	what  T
	in    *group[T] // nil when it is over, or nobody watches it any more
	at    int       // its place there
	first *conn[T]  // of a list
	// trusted is when the last judgement began that found it alive, and doubt
	// what there was since.
	trusted time.Time
	doubt   error
}

// conn is one context. Those of a thing are linked.
type conn[T any] struct {
	cancel     context.CancelCauseFunc
	of         *thing[T]
	prev, next *conn[T]
}

// NewHub makes a Hub.
func NewHub[T any](c Config[T]) *Hub[T] {
	return &Hub[T]{config: c, things: map[string]*thing[T]{}, room: map[*group[T]]bool{}}
}

// Watch returns a context, derived from ctx, that ends when the thing under key
// is over. It lived just now. The first caller for a key says what the thing is.
// Everything that Watch has made goes when ctx ends.
func (h *Hub[T]) Watch(ctx context.Context, key string, what T) context.Context {
	live, cancel := context.WithCancelCause(ctx)
	c := &conn[T]{cancel: cancel}
	if err := h.enter(c, key, what); err != nil {
		cancel(err)
		return live
	}
	context.AfterFunc(live, func() { h.leave(c) })
	return live
}

func (h *Hub[T]) enter(c *conn[T], key string, what T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return h.closed
	}
	t := h.things[key]
	if t == nil {
		t = &thing[T]{key: key, what: what, trusted: time.Now()}
		h.place(t)
	}
	c.of, c.next = t, t.first
	if t.first != nil {
		t.first.prev = c
	}
	t.first = c
	return nil
}

// place gives a thing its group. The caller holds h.mu.
func (h *Hub[T]) place(t *thing[T]) {
	for g := range h.room { // any
		t.in = g
		break
	}
	if t.in == nil {
		g := &group[T]{}
		g.timer = time.AfterFunc(h.config.Every, func() { h.tick(g) })
		t.in = g
	}
	g := t.in
	t.at = len(g.things)
	g.things = append(g.things, t)
	if h.room[g] = true; len(g.things) == h.config.Batch {
		delete(h.room, g)
	}
	h.things[t.key] = t
}

// remove takes a thing out. Of an empty group nothing is left. The caller holds
// h.mu.
func (h *Hub[T]) remove(t *thing[T]) {
	g, last := t.in, len(t.in.things)-1
	g.things[t.at] = g.things[last]
	g.things[t.at].at = t.at
	g.things[last] = nil
	g.things = g.things[:last]
	t.in = nil
	delete(h.things, t.key)
	h.room[g] = true
	if last == 0 {
		g.timer.Stop()
		delete(h.room, g)
	}
}

// leave is called when a context has ended.
func (h *Hub[T]) leave(c *conn[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := c.of
	if t.in == nil {
		return
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		t.first = c.next
	}
	if t.first == nil {
		h.remove(t)
	}
}

// ending is a thing that is over.
type ending[T any] struct {
	first *conn[T]
	cause error
}

// over takes a thing out. Its contexts are ended without the lock. The caller
// holds h.mu.
func (h *Hub[T]) over(t *thing[T], cause error) ending[T] {
	h.remove(t)
	return ending[T]{t.first, cause}
}

func endAll[T any](all []ending[T]) {
	for _, e := range all {
		for c := e.first; c != nil; c = c.next {
			c.cancel(e.cause)
		}
	}
}

// tick starts the next judgement of a group, unless the last one still runs.
func (h *Hub[T]) tick(g *group[T]) {
	list, late := h.due(g)
	endAll(late)
	if len(list) > 0 {
		j := &judgement[T]{g, list} // each has a run of its own: that of the one before may not be over yet
		h.reads.Start(j, h.config.Limit, func(ctx context.Context) (struct{}, error) {
			h.judge(ctx, j)
			return struct{}{}, nil
		})
	}
}

// due returns what is to be judged, if anything, and what could not be judged for
// too long. A process that was stopped judges before it ends anything.
func (h *Hub[T]) due(g *group[T]) (list []*thing[T], late []ending[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, t := range slices.Clone(g.things) {
		switch tooLong := now.Sub(t.trusted) > h.config.Trust; {
		case tooLong && t.doubt != nil:
			late = append(late, h.over(t, t.doubt))
		case tooLong && g.running:
			late = append(late, h.over(t, h.config.Late))
		default:
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil, late
	}
	g.timer.Reset(h.config.Every)
	if g.running {
		return nil, late
	}
	g.running = true
	return list, late
}

// judgement is of the things that a group had when it began.
type judgement[T any] struct {
	of   *group[T]
	list []*thing[T]
}

func (h *Hub[T]) judge(ctx context.Context, j *judgement[T]) {
	began, things := time.Now(), make([]T, len(j.list))
	for i, t := range j.list {
		things[i] = t.what
	}
	var verdicts []Verdict
	defer func() { endAll(h.apply(j, verdicts, began)) }() // also if Judge panics
	verdicts = h.config.Judge(ctx, things)
}

// apply takes note of the verdicts of a judgement, and returns what is over.
func (h *Hub[T]) apply(j *judgement[T], verdicts []Verdict, began time.Time) (over []ending[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	j.of.running = false
	for i, t := range j.list {
		switch {
		case t.in == nil: // nobody watches it any more
		case i >= len(verdicts):
			t.doubt = h.config.Late
		case verdicts[i].Over != nil:
			over = append(over, h.over(t, verdicts[i].Over))
		case verdicts[i].Doubt != nil:
			t.doubt = verdicts[i].Doubt
		default:
			t.trusted, t.doubt = began, nil
		}
	}
	return over
}

// Close ends all contexts with the cause, and those that Watch returns from now
// on. Only the first cause counts.
func (h *Hub[T]) Close(cause error) {
	h.mu.Lock()
	var all []ending[T]
	if h.closed == nil {
		h.closed = cause
	}
	for _, t := range h.things {
		all = append(all, h.over(t, cause))
	}
	h.mu.Unlock()
	endAll(all)
}

// Wait waits until no judgement is under way, or until ctx ends.
func (h *Hub[T]) Wait(ctx context.Context) error { return h.reads.Wait(ctx) }

// Watched returns how many things are watched.
func (h *Hub[T]) Watched() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.things)
}
