package orders

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// A Search runs actors under every order of their steps. A step is one call to
// what they share: a store, or a server. Between two steps an actor touches
// nothing that is shared.
//
// Beyond the order, any actor may die after a step, any call may lose its request
// or its reply, and time may pass while somebody waits. Each costs one of the
// budget.
//
// Two orders that lead to the same state have the same future, so it is explored
// once. The state is what lies in the store, what each actor has seen so far,
// the time, and what is left of the budget. A value counts as the same only if
// the same actor wrote it after seeing the same. So nothing is left out, and the
// orders are counted although most are never run.
type Search struct {
	Crashes int           // actors that may die
	Losses  int           // calls that may lose their request or their reply
	Ticks   int           // how often time may pass while others could go on
	Tick    time.Duration // how much
	Anytime bool          // time may pass even if nobody waits; writes under way are then lost, as every call has a deadline
	Quiet   bool          // time passes only while nobody is in the middle: who has begun is done, dead, or in a long call
	Most    int           // runs before the search gives up
}

// Found says what a Search went through.
type Found struct {
	Orders float64  // all orders, with every death, loss and pause
	States int      // different ones
	Runs   int      // from the beginning
	Broken error    // the first rule that was broken, nil for none
	Trace  []string // the steps that led there
}

// Add adds the numbers of another search.
func (f *Found) Add(g Found) {
	f.Orders, f.States, f.Runs = f.Orders+g.Orders, f.States+g.States, f.Runs+g.Runs
}

func (f Found) String() string {
	return fmt.Sprintf("%.0f orders, %d states, %d runs", f.Orders, f.States, f.Runs)
}

// Step is one call to what the actors share.
type Step struct {
	Name  string
	Keys  []string // what it reads or writes
	Write bool
	// Do makes the call. It returns what the actor sees beyond the identity of
	// the values, and whether the call changed what is under the first key.
	Do func() (seen string, changed bool)
	// Long means that the call may take long, so that its actor is not stalled
	// while time passes. It ends with its context.
	Long bool
	// Private means that the step commutes with all steps of others, and that no
	// rule sees it: it reads what no other actor ever writes, or writes what no
	// other actor and no rule ever reads. So it is made at once.
	Private bool
}

// Run is one order.
type Run struct {
	mu      sync.Mutex
	idle    *sync.Cond
	running int
	actors  []*actor
	names   map[string]string // short names of keys, for traces
	values  map[string][sha256.Size]byte
	shelf   [sha256.Size]byte // all of them
	start   time.Time
	epoch   int
	search  Search
	left    Search
	path    []*node
	trace   []entry
	always  func() error
	finally func() error
	broken  error
	over    bool
}

type actor struct {
	name    string
	act     func(context.Context) string
	note    string // what the rules have to know of it
	phase   phase
	step    Step
	grant   chan fate
	history [sha256.Size]byte
	result  string
	steps   int
	opening func() string
	wrote   bool // its last step changed something
	sent    bool // its step is done once, and will be repeated
	stalled bool
	asked   time.Time
	read    poll // its last step, if that only read
}

// entry is a step of the current run, for the trace.
type entry struct {
	actor, text, seen string
	keys              []string
}

// poll is a read, to recognize the same one later.
type poll struct {
	keys  []string
	seen  [sha256.Size]byte
	at    time.Time
	epoch int
}

type phase int

const (
	busy phase = iota
	asking
	done
	dead
)

type fate int

const (
	works fate = iota
	dies
	requestLost // not done, with an error
	replyLost   // done, with an error
	repeated    // done, and later done again by the client of the store
	timePasses
)

var fateNames = [...]string{"", "dies before ", "loses the request of ", "loses the reply of ", "loses the reply of, and will repeat, ", ""}

type move struct {
	actor int
	fate  fate
}

// node is a state on the path of the current run.
type node struct {
	state  [sha256.Size]byte
	moves  []move
	next   int
	orders float64
}

// All makes every run. play sets up the world of one run: it must do the same
// each time. All has to be called in a bubble of testing/synctest.
func (s Search) All(play func(*Run)) (f Found) {
	seen := map[[sha256.Size]byte]float64{}
	var path []*node
	for {
		if f.Runs++; f.Runs > s.Most {
			f.Broken = fmt.Errorf("more than %d runs", s.Most)
			return f
		}
		r := &Run{search: s, left: s, start: time.Now(), values: map[string][sha256.Size]byte{}, names: map[string]string{}, path: path}
		r.idle = sync.NewCond(&r.mu)
		play(r)
		orders := r.play(seen)
		path = r.path
		if f.States = len(seen); r.broken != nil {
			f.Broken, f.Trace = r.broken, r.told()
			return f
		}
		for len(path) > 0 {
			top := path[len(path)-1]
			top.orders += orders
			if top.next++; top.next < len(top.moves) {
				break
			}
			seen[top.state], orders = top.orders, top.orders
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			f.Orders, f.States = orders, len(seen)
			return f
		}
	}
}

// Actor adds an actor. What it returns is all that the rules may ask of it.
func (r *Run) Actor(name string, act func(context.Context) string) {
	r.actors = append(r.actors, &actor{name: name, act: act, grant: make(chan fate, 1)})
}

func (r *Run) begin(a *actor) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running--
		r.idle.Broadcast()
	}()
	result := a.act(context.WithValue(context.Background(), actorKey{}, a))
	r.mu.Lock()
	defer r.mu.Unlock()
	a.phase, a.result = done, result
}

// Opening sets what is called when the actor makes its first step. What it returns
// becomes part of the state.
func (r *Run) Opening(name string, look func() string) { r.actor(name).opening = look }

// Look calls look while nobody makes a step, and makes what it returns a part of
// the state.
func (r *Run) Look(ctx context.Context, look func() string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, _ := ctx.Value(actorKey{}).(*actor)
	a.note += look()
}

// Rules sets what must hold after each step, and what when everybody is done or
// dead.
func (r *Run) Rules(always, finally func() error) { r.always, r.finally = always, finally }

// Name gives a key a short name, for traces.
func (r *Run) Name(key, name string) { r.names[key] = name }

// Result returns what the actor has returned.
func (r *Run) Result(name string) (result string, returned bool) {
	a := r.actor(name)
	return a.result, a.phase == done
}

// Began reports whether the actor has made a step.
func (r *Run) Began(name string) bool { return r.actor(name).steps > 0 }

// Asking returns how many actors have a call of that name under way.
func (r *Run) Asking(name string) (n int) {
	for _, a := range r.actors {
		if a.phase == asking && a.step.Name == name {
			n++
		}
	}
	return n
}

// Spent returns how much of the budget the run has used.
func (r *Run) Spent() Search {
	return Search{Crashes: r.search.Crashes - r.left.Crashes, Losses: r.search.Losses - r.left.Losses, Ticks: r.epoch}
}

// Ticks returns how often time may still pass.
func (r *Run) Ticks() int { return r.left.Ticks }

// Break ends the run because a step broke a rule.
func (r *Run) Break(err error) {
	if r.broken == nil {
		r.broken = err
	}
}

// Died reports whether the actor has died.
func (r *Run) Died(name string) bool { return r.actor(name).phase == dead }

// Stalled reports whether time passed while the actor had a short call to make.
func (r *Run) Stalled(name string) bool { return r.actor(name).stalled }

func (r *Run) actor(name string) *actor {
	for _, a := range r.actors {
		if a.name == name {
			return a
		}
	}
	panic("no actor " + name)
}

// Who returns the name of the actor whose context it is, or "".
func Who(ctx context.Context) string {
	if a, ok := ctx.Value(actorKey{}).(*actor); ok {
		return a.name
	}
	return ""
}

// Do makes a step of the actor whose context it is. Outside an actor the step is
// made at once.
func (r *Run) Do(ctx context.Context, s Step) error {
	a, ok := ctx.Value(actorKey{}).(*actor)
	if !ok {
		s.Do()
		return nil
	}
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		runtime.Goexit()
	}
	a.step, a.phase, a.sent, a.asked = s, asking, false, time.Now()
	r.running--
	r.idle.Broadcast()
	r.mu.Unlock()
	var end <-chan struct{}
	if s.Long {
		end = ctx.Done()
	}
	var f fate
	select {
	case f = <-a.grant:
	case <-end:
		r.mu.Lock()
		waits := a.phase == asking
		if waits {
			a.phase = busy
			a.history = sum(a.history[:], []byte("ended"), r.clock())
			r.trace = append(r.trace, entry{actor: a.name, text: "waits no longer for " + s.Name})
			r.running++
		}
		r.mu.Unlock()
		if waits {
			return ctx.Err()
		}
		f = <-a.grant
	}
	switch f {
	case works:
		return nil
	case dies:
		runtime.Goexit()
	}
	return ErrTrouble
}

func sum(parts ...[]byte) (out [sha256.Size]byte) {
	var room [512]byte
	all := room[:0]
	for _, p := range parts {
		all = append(binary.AppendUvarint(all, uint64(len(p))), p...)
	}
	return sha256.Sum256(all)
}

func (r *Run) clock() []byte {
	return binary.AppendVarint(nil, int64(time.Since(r.start)))
}

// play follows the path and then the first choices, until everybody is done or
// the state is known. It returns the number of orders from there.
func (r *Run) play(seen map[[sha256.Size]byte]float64) (orders float64) {
	defer r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = len(r.actors)
	for _, a := range r.actors {
		go r.begin(a)
	}
	for depth := 0; ; depth++ {
		for r.running > 0 {
			r.idle.Wait()
		}
		if r.broken == nil {
			r.broken = r.always()
		}
		if r.broken != nil {
			return 0
		}
		if depth == len(r.path) {
			state := r.state()
			if n, known := seen[state]; known {
				return n
			}
			moves := r.moves()
			if len(moves) == 0 {
				r.broken = r.finally()
				seen[state] = 1
				return 1
			}
			r.path = append(r.path, &node{state: state, moves: moves})
		}
		n := r.path[depth]
		r.proceed(n.moves[n.next])
	}
}

// end lets the actors that are still there go.
func (r *Run) end() {
	r.mu.Lock()
	r.over = true
	for _, a := range r.actors {
		if a.phase == asking {
			a.phase = dead
			r.running++
			a.grant <- dies
		}
	}
	r.mu.Unlock()
	synctest.Wait()
}

func (r *Run) state() [sha256.Size]byte {
	var b []byte
	for _, a := range r.actors {
		flags := byte(a.phase) << 2
		if a.stalled {
			flags |= 1
		}
		if a.sent {
			flags |= 2
		}
		b = append(append(b, flags, byte(len(a.note))), a.note...)
		switch a.phase {
		case done:
			b = append(binary.AppendUvarint(b, uint64(len(a.result))), a.result...)
		case dead:
			b = append(b, byte(min(a.steps, 1)))
		default:
			b = append(b, a.history[:]...)
		}
	}
	b = append(b, r.shelf[:]...)
	b = append(b, byte(r.left.Crashes), byte(r.left.Losses), byte(r.left.Ticks), byte(r.epoch))
	return sum(b, r.clock())
}

// waits reports whether the actor would only see again what it has just seen.
func (r *Run) waits(a *actor) bool {
	return r.polls(a) && a.read.epoch == r.epoch && r.seen(a.step.Keys) == a.read.seen
}

func (r *Run) seen(keys []string) [sha256.Size]byte {
	var b []byte
	for _, k := range keys {
		id := r.values[k]
		b = append(b, id[:]...)
	}
	return sum(b)
}

func (r *Run) moves() (moves []move) {
	waiting, free, middle := false, false, false
	for i, a := range r.actors {
		if a.phase != asking {
			continue
		}
		middle = middle || a.steps > 0 && !a.step.Long
		if r.waits(a) {
			waiting = true
			continue
		}
		if a.step.Private && (a.steps > 0 || a.opening == nil) {
			return r.movesOf(nil, i)
		}
		waiting, free = waiting || a.step.Long, true
		moves = r.movesOf(moves, i)
	}
	if waiting && !free || r.left.Ticks > 0 && !(r.left.Quiet && middle) && (waiting || free && r.left.Anytime) {
		moves = append(moves, move{-1, timePasses})
	}
	return moves
}

// movesOf adds what may happen to the step of one actor. One that has changed
// nothing since it last could have died need not die: nobody would see a
// difference.
func (r *Run) movesOf(moves []move, i int) []move {
	a := r.actors[i]
	moves = append(moves, move{i, works})
	if r.left.Crashes > 0 && a.wrote {
		moves = append(moves, move{i, dies})
	}
	if r.left.Losses == 0 || a.sent {
		return moves
	}
	moves = append(moves, move{i, requestLost})
	if a.step.Write {
		moves = append(moves, move{i, replyLost})
		if !a.step.Long {
			moves = append(moves, move{i, repeated})
		}
	}
	return moves
}

// proceed makes a move. The caller holds the lock.
func (r *Run) proceed(m move) {
	if m.fate == timePasses {
		r.pass()
		return
	}
	a := r.actors[m.actor]
	if a.phase != asking {
		panic("orders: " + a.name + " did otherwise before: the actors must depend on nothing but their steps and the time")
	}
	r.trace = append(r.trace, entry{actor: a.name, text: fateNames[m.fate] + a.step.Name, keys: a.step.Keys})
	switch m.fate {
	case dies:
		r.left.Crashes--
		a.phase = dead
		r.running++ // until it has gone
		a.grant <- dies
		return
	case requestLost, replyLost, repeated:
		r.left.Losses--
	}
	if a.steps == 0 && a.opening != nil && !a.sent {
		a.note += a.opening()
	}
	seen := []byte("lost")
	a.wrote = false
	if m.fate != requestLost {
		text, changed := a.step.Do()
		if changed {
			r.put(a.step.Keys[0], sum(a.history[:], []byte(a.step.Name)))
		}
		if m.fate == works {
			seen = []byte(text)
		}
		a.wrote = changed || a.sent
		r.trace[len(r.trace)-1].seen = text
	}
	if m.fate == repeated {
		a.sent = true
		return
	}
	a.steps++
	a.read = poll{}
	if !a.step.Write && m.fate == works {
		a.read = poll{a.step.Keys, r.seen(a.step.Keys), time.Now(), r.epoch}
	}
	a.history = sum(a.history[:], []byte(a.step.Name), []byte(strings.Join(a.step.Keys, " ")), seen, a.read.seen[:], r.clock())
	a.phase = busy
	r.running++
	a.grant <- m.fate
}

// put notes that a key has another value.
func (r *Run) put(key string, id [sha256.Size]byte) {
	before, after := r.values[key], id
	was, is := sum([]byte(key), before[:]), sum([]byte(key), after[:])
	for i := range r.shelf {
		r.shelf[i] ^= was[i] ^ is[i]
	}
	r.values[key] = id
}

// pass lets time pass. Who holds a call that should be short is stalled.
func (r *Run) pass() {
	r.left.Ticks = max(0, r.left.Ticks-1)
	if r.epoch++; r.epoch > 20 {
		r.broken = errors.New("nobody can go on")
		return
	}
	for _, a := range r.actors {
		a.stalled = a.stalled || a.phase == asking && !a.step.Long && !r.polls(a)
	}
	r.trace = append(r.trace, entry{text: r.left.Tick.String() + " pass"})
	r.mu.Unlock()
	time.Sleep(r.left.Tick)
	synctest.Wait()
	r.mu.Lock()
	for _, a := range r.actors {
		if r.left.Anytime && a.phase == asking && a.step.Write && !a.step.Long {
			a.history, a.phase, a.wrote = sum(a.history[:], []byte("too late")), busy, a.sent
			r.running++
			a.grant <- requestLost
		}
	}
}

// polls reports whether the actor reads once more, after a pause.
func (r *Run) polls(a *actor) bool {
	return a.read.keys != nil && a.asked.After(a.read.at) && !a.step.Write && slices.Equal(a.read.keys, a.step.Keys)
}

// told returns the trace for people.
func (r *Run) told() (lines []string) {
	for _, e := range r.trace {
		line := e.actor + " " + e.text
		for _, k := range e.keys {
			if n := r.names[k]; n != "" {
				k = n
			}
			line += " " + k
		}
		if e.seen != "" {
			line += ": " + e.seen
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
