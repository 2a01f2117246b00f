// Package wire records the protocol messages that pass between the parties of
// the example, for the panel beside each page. A Transport records what a party
// sends. A Handler records what browsers and strangers send to a party. Both
// record from the wire, so a message appears as it was sent, except that
// secrets are shortened before anything is kept.
//
// What is kept is bounded by browser, by click and in size. Nothing is written
// to disk.
package wire

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// maxThreads bounds the browsers that are remembered. The one that was
	// inactive longest is forgotten first.
	maxThreads = 64
	// maxSteps is how many clicks back a panel shows: the last one and what led
	// to it.
	maxSteps = 6
	// maxMessages bounds one click. The busiest one of the story, a first
	// order, has about fifteen.
	maxMessages = 40
)

// Actor is a party that sends and receives messages.
type Actor struct {
	ID     string // also a class of the style sheet
	Name   string // as the panel shows it
	Origin string // scheme, host and port; "" if it has none
	Local  bool   // runs in this process, so it can be told to which click a request belongs
}

// Recorder keeps recorded messages. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	actors  []Actor
	threads map[string]*thread
	order   []string // of threads, the one that was inactive longest first
	busy    map[string][]*visit
	spans   map[string]*call // under way to a party of this process
	common  *thread          // of strangers, and of calls that nobody waits for
	changed chan struct{}    // closed at the next change; nil if nobody waits
}

// thread is what one browser caused.
type thread struct {
	steps []*step
	open  bool // the last answer was a redirect: the click goes on
}

// step is one click and its consequences.
type step struct {
	title string
	calls []*call
	count int
}

// call holds the place of a message, and the calls that it took to answer it.
type call struct {
	message Message // zero while it is under way
	inner   []*call
}

// visit is a request that a party is serving. Calls that the party makes in the
// meantime belong to it.
type visit struct {
	thread *thread
	step   *step
	call   *call  // of the request itself, nil if its sender is not known
	hash   string // names the thread to other parties
}

// New makes a Recorder for the parties.
func New(actors ...Actor) *Recorder {
	return &Recorder{
		actors:  slices.Clone(actors),
		threads: map[string]*thread{},
		busy:    map[string][]*visit{},
		spans:   map[string]*call{},
		common:  &thread{},
	}
}

// Changed returns a channel that is closed when something was recorded.
func (rec *Recorder) Changed() <-chan struct{} {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.changed == nil {
		rec.changed = make(chan struct{})
	}
	return rec.changed
}

// tell wakes who waits for a change. The lock is held.
func (rec *Recorder) tell() {
	if rec.changed != nil {
		close(rec.changed)
		rec.changed = nil
	}
}

// actor finds a party by its ID.
func (rec *Recorder) actor(id string) Actor {
	for _, a := range rec.actors {
		if a.ID == id {
			return a
		}
	}
	return Actor{ID: "other", Name: id}
}

// at finds the party that an address belongs to.
func (rec *Recorder) at(origin string) Actor {
	for _, a := range rec.actors {
		if a.Origin != "" && strings.EqualFold(a.Origin, origin) {
			return a
		}
	}
	return Actor{ID: "other", Name: origin}
}

var (
	browser  = Actor{ID: "browser", Name: "Your browser"}
	stranger = Actor{ID: "browser", Name: "A stranger"}
)

type visitKey struct{}

// cookie identifies the browser. Cookies ignore ports, so all parties on one
// host see the same cookie.
const cookie = "gatehouse-example-panel"

// threadOf finds what a browser caused, by the hash of its cookie. The lock is
// held.
func (rec *Recorder) threadOf(hash string, make bool) *thread {
	t := rec.threads[hash]
	if t == nil && !make {
		return nil
	}
	if t == nil {
		t = &thread{}
		rec.threads[hash] = t
	}
	rec.order = append(slices.DeleteFunc(rec.order, func(h string) bool { return h == hash }), hash)
	if len(rec.order) > maxThreads {
		delete(rec.threads, rec.order[0])
		rec.order = rec.order[1:]
	}
	return t
}

// click starts a step unless the browser is following a redirect. The lock is
// held.
func (t *thread) click(title string) *step {
	if t.open && len(t.steps) > 0 {
		return t.steps[len(t.steps)-1]
	}
	s := &step{title: title}
	t.steps = append(t.steps, s)
	if len(t.steps) > maxSteps {
		t.steps = t.steps[1:]
	}
	return s
}

// last is the step to which a request belongs that is not a click. The lock is
// held.
func (t *thread) last() *step {
	if len(t.steps) == 0 {
		t.steps = append(t.steps, &step{})
	}
	return t.steps[len(t.steps)-1]
}

// reserve keeps a place for a message, in the order in which requests were
// sent, within the call that it helps to answer. The lock is held.
func (s *step) reserve(within *call) *call {
	c := &call{}
	if s.count++; s.count > maxMessages {
		return c
	}
	if within != nil {
		within.inner = append(within.inner, c)
	} else {
		s.calls = append(s.calls, c)
	}
	return c
}

// enter records that a party serves a request.
func (rec *Recorder) enter(party string, v *visit) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.busy[party] = append(rec.busy[party], v)
}

func (rec *Recorder) leave(party string, v *visit) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.busy[party] = slices.DeleteFunc(rec.busy[party], func(o *visit) bool { return o == v })
}

// visitOf finds the request to which a call of a party belongs: the one on its
// context, or else one that the party is serving. The latter is needed because
// gatehouse shares calls between requests and gives them a context of their
// own.
func (rec *Recorder) visitOf(ctx context.Context, party string) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if busy := rec.busy[party]; len(busy) > 0 {
		return busy[0]
	}
	return &visit{thread: rec.common, step: rec.common.click("In the background")}
}

// hashOf identifies a browser to the other parties without its cookie.
func hashOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:16])
}

// browserOf finds the thread of a browser by its cookie, and gives a browser
// that opens a page one if it has none. It returns "" for a stranger.
func browserOf(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(cookie); err == nil && len(c.Value) == len(rand.Text()) {
		return hashOf(c.Value)
	}
	if !opensPage(r) {
		return ""
	}
	value := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return hashOf(value)
}

// opensPage reports whether a person will see the answer.
func opensPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
