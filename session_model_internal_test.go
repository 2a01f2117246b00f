package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/attempt"
)

// The tests of this file run the session protocol (docs/design.md, decision 3)
// under every order of its store calls, also with one call that fails and one
// whose reply is lost, and check what must hold in each of them.

// schedule is a Store whose calls proceed one at a time, in an order that the
// explorer chooses.
type schedule struct {
	Store
	mu      sync.Mutex
	asking  []*turn
	running int // actors that are neither asking nor done
	idle    *sync.Cond
	faults  int // how many calls may still go wrong
}

type turn struct {
	actor string
	grant chan fate
}

type fate int

const (
	works     fate = iota
	fails          // not done, and an error
	lostReply      // done, and an error
)

type actorKey struct{}

var errModel = errors.New("the store is in trouble")

func newSchedule(store Store, faults int) *schedule {
	s := &schedule{Store: store, faults: faults}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// ask waits until the explorer lets the call go on. Calls outside an actor are
// not scheduled.
func (s *schedule) ask(ctx context.Context) fate {
	actor, ok := ctx.Value(actorKey{}).(string)
	if !ok {
		return works
	}
	c := &turn{actor, make(chan fate)}
	s.mu.Lock()
	s.asking = append(s.asking, c)
	s.running--
	s.idle.Broadcast()
	s.mu.Unlock()
	return <-c.grant
}

func (s *schedule) FindManyCtx(ctx context.Context, keys []string) ([][]byte, error) {
	if s.ask(ctx) != works {
		return nil, errModel
	}
	return s.Store.FindManyCtx(ctx, keys)
}

func (s *schedule) SwapCtx(ctx context.Context, key string, old, new []byte, expiry time.Time) (bool, error) {
	switch s.ask(ctx) {
	case fails:
		return false, errModel
	case lostReply:
		_, _ = s.Store.SwapCtx(ctx, key, old, new, expiry)
		return false, errModel
	}
	return s.Store.SwapCtx(ctx, key, old, new, expiry)
}

// run lets the actors run to their ends under the choices given, and returns
// the number of options at each step.
func (s *schedule) run(choices []int, actors map[string]func(context.Context)) (options []int) {
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
		s.sort()
		c, o := s.asking[choice/kinds], fate(choice%kinds)
		s.asking = append(s.asking[:choice/kinds], s.asking[choice/kinds+1:]...)
		if o != works {
			s.faults--
		}
		s.running++
		s.mu.Unlock()
		c.grant <- o
	}
}

// sort makes a schedule repeatable: goroutines ask in any order.
func (s *schedule) sort() {
	for i := range s.asking {
		for j := i; j > 0 && s.asking[j].actor < s.asking[j-1].actor; j-- {
			s.asking[j], s.asking[j-1] = s.asking[j-1], s.asking[j]
		}
	}
}

// explore calls play with every sequence of choices, depth first.
func explore(t *testing.T, atMost int, play func(choices []int) (options []int)) {
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
		for len(choices) > 0 && choices[len(choices)-1]+1 >= options[len(choices)-1] {
			choices = choices[:len(choices)-1]
		}
		if len(choices) == 0 {
			t.Logf("%d orders", n+1)
			return
		}
		choices[len(choices)-1]++
		if t.Failed() {
			t.Fatalf("after choices %v", choices)
		}
	}
}

// tokenEndpoint answers token requests in process and counts what was sent.
type tokenEndpoint struct {
	mu      sync.Mutex
	sent    map[string]int
	revoked int
	answers int
}

func (e *tokenEndpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form := string(body)
	e.mu.Lock()
	defer e.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/revoke") {
		e.revoked++
		return jsonReply(`{}`), nil
	}
	e.sent[form]++
	e.answers++
	return jsonReply(fmt.Sprintf(`{"access_token":"at%d","token_type":"Bearer","expires_in":300,"refresh_token":"rt%d"}`, e.answers, e.answers)), nil
}

func jsonReply(json string) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(json))}
}

// world is one run: two replicas on one store.
type world struct {
	clock    time.Time
	store    *schedule
	endpoint *tokenEndpoint
	a, b     *RelyingParty
}

func newWorld(t *testing.T, faults int) *world {
	t.Helper()
	w := &world{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), endpoint: &tokenEndpoint{sent: map[string]int{}}}
	now := func() time.Time { return w.clock }
	w.store = newSchedule(NewMemoryStore(now), faults)
	replica := func() *RelyingParty {
		p, err := NewProvider("https://id.example.org", &ProviderConfig{
			Transport: w.endpoint, Now: now, Logger: slog.New(slog.DiscardHandler),
			Metadata: &Metadata{TokenEndpoint: "https://id.example.org/token", RevocationEndpoint: "https://id.example.org/revoke"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSessions(SessionsConfig{Store: w.store, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		rp, err := NewRelyingParty(p, RelyingPartyConfig{Client: Client{ID: "notes"}, RedirectURL: "https://notes.example.org/cb", Sessions: s})
		if err != nil {
			t.Fatal(err)
		}
		return rp
	}
	w.a, w.b = replica(), replica()
	return w
}

func (w *world) record(begin time.Time) *record {
	return &record{
		issuer: "https://id.example.org", subject: "ana", clientID: "notes", sid: "s1", begin: begin, seen: begin,
		access: token("at0"), refresh: token("rt0"), requested: begin, expires: begin.Add(5 * time.Minute),
		marks: marksOf("https://id.example.org", "ana", "s1"),
	}
}

// signedIn reports whether a request with the cookie would pass at rp.
func signedIn(t *testing.T, rp *RelyingParty, id string, marks [2]mark) bool {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://notes.example.org/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: rp.cookie, Value: cookieValue(id, marks)})
	_, err = rp.load(r)
	if err != nil && !errors.Is(err, errNotSignedIn) {
		t.Fatal(err)
	}
	return err == nil
}

func request(ctx context.Context, rp *RelyingParty, id string, marks [2]mark) (*liveSession, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://notes.example.org/", nil)
	if err != nil {
		return nil, err
	}
	r.AddCookie(&http.Cookie{Name: rp.cookie, Value: cookieValue(id, marks)})
	return rp.load(r)
}

// A logout of all sessions beside a callback: whatever the order, a session
// that began before the logout answered is dead afterwards, or its sign-in
// starts over.
func TestModel_RevokeAllBesideACallback(t *testing.T) {
	for faults := range 2 {
		explore(t, 60_000, func(choices []int) []int {
			w := newWorld(t, faults)
			a := attempt.New(w.clock)
			rec, id := w.record(a.Begin), newSessionID()
			var revoked, created bool
			options := w.store.run(choices, map[string]func(context.Context){
				"callback": func(ctx context.Context) {
					again, err := w.a.sessions.readMarks(ctx, a, rec)
					if err == nil && !again {
						created = w.a.sessions.create(ctx, sessionKey(id), rec, w.clock.Add(createWithin)) == nil
					}
				},
				"revoke": func(ctx context.Context) {
					revoked = w.b.sessions.RevokeAll(ctx, rec.issuer, rec.subject) == nil
				},
			})
			alive := signedIn(t, w.b, id, rec.marks)
			if revoked && alive {
				t.Error("the session outlived a logout that was answered")
			}
			if !revoked && faults == 0 {
				t.Error("the logout failed though the store works")
			}
			if created && !revoked && faults == 0 && !alive {
				t.Error("the session is gone without a logout")
			}
			return options
		})
	}
}

// Sign-out beside a request that writes the idle limit back, on another
// replica: the session is never seen again (M13).
func TestModel_LogoutBesideATouch(t *testing.T) {
	for faults := range 2 {
		explore(t, 60_000, func(choices []int) []int {
			w := newWorld(t, faults)
			rec, id := w.record(w.clock), newSessionID()
			key := sessionKey(id)
			if err := w.a.sessions.create(context.Background(), key, rec, w.clock.Add(createWithin)); err != nil {
				t.Fatal(err)
			}
			w.clock = w.clock.Add(4 * time.Minute)
			var ended bool
			options := w.store.run(choices, map[string]func(context.Context){
				"logout": func(ctx context.Context) {
					_, err := w.a.sessions.end(ctx, key)
					ended = err == nil
				},
				"slow 1": func(ctx context.Context) { touchOnce(ctx, w.b, id, rec.marks) },
				"slow 2": func(ctx context.Context) { touchOnce(ctx, w.a, id, rec.marks) },
			})
			if ended && signedIn(t, w.b, id, rec.marks) {
				t.Error("the session is back after sign-out")
			}
			if !ended && faults == 0 {
				t.Error("sign-out failed though the store works")
			}
			return options
		})
	}
}

func touchOnce(ctx context.Context, rp *RelyingParty, id string, marks [2]mark) {
	if live, err := request(ctx, rp, id, marks); err == nil {
		live.touch(ctx)
	}
}

// Sign-out beside a refresh: the session stays dead, the refresh token is sent
// at most once, and new tokens that nobody holds any more are revoked.
func TestModel_LogoutBesideARefresh(t *testing.T) {
	explore(t, 60_000, func(choices []int) []int {
		w := newWorld(t, 0)
		rec, id := w.record(w.clock), newSessionID()
		key := sessionKey(id)
		if err := w.a.sessions.create(context.Background(), key, rec, w.clock.Add(createWithin)); err != nil {
			t.Fatal(err)
		}
		w.clock = w.clock.Add(6 * time.Minute)
		var ended, refreshed bool
		options := w.store.run(choices, map[string]func(context.Context){
			"logout": func(ctx context.Context) {
				_, err := w.a.sessions.end(ctx, key)
				ended = err == nil
			},
			"refresh": func(ctx context.Context) {
				run := &refreshRun{sessions: w.b.sessions, party: w.b, key: key, seen: string(rec.access), marks: [2]string{rec.marks[0].name, rec.marks[1].name}}
				_, err := run.fly(ctx)
				refreshed = err == nil
			},
		})
		if err := w.b.sessions.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !ended {
			t.Error("sign-out failed")
		}
		if signedIn(t, w.a, id, rec.marks) {
			t.Error("the refresh brought the session back")
		}
		if w.endpoint.answers > 1 {
			t.Errorf("%d token requests", w.endpoint.answers)
		}
		if w.endpoint.answers == 1 && !refreshed && w.endpoint.revoked != 1 {
			t.Error("tokens that came after the sign-out were not revoked")
		}
		return options
	})
}

// Two replicas that refresh at once, and a touch beside them: the refresh
// token is sent once, and both end with the tokens that came.
func TestModel_TwoReplicasRefresh(t *testing.T) {
	for seed := range 400 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			w.clock = time.Now()
			rec, id := w.record(w.clock), newSessionID()
			key := sessionKey(id)
			if err := w.a.sessions.create(context.Background(), key, rec, w.clock.Add(createWithin)); err != nil {
				t.Fatal(err)
			}
			w.clock = w.clock.Add(6 * time.Minute)
			got := map[string]string{}
			var mu sync.Mutex
			refresh := func(name string, rp *RelyingParty) func(context.Context) {
				return func(ctx context.Context) {
					run := &refreshRun{sessions: rp.sessions, party: rp, key: key, seen: string(rec.access), marks: [2]string{rec.marks[0].name, rec.marks[1].name}}
					next, err := run.fly(ctx)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					got[name] = string(next.rec.access)
				}
			}
			choices := make([]int, 64)
			for i, n := 0, uint64(seed)*2654435761+1; i < len(choices); i++ {
				n ^= n << 13
				n ^= n >> 7
				n ^= n << 17
				choices[i] = int(n>>33) & 1
			}
			w.store.runFair(choices, map[string]func(context.Context){
				"a": refresh("a", w.a), "b": refresh("b", w.b),
				"touch": func(ctx context.Context) { touchOnce(ctx, w.b, id, rec.marks) },
			})
			if w.endpoint.answers != 1 {
				t.Errorf("seed %d: %d token requests", seed, w.endpoint.answers)
			}
			if got["a"] != "at1" || got["b"] != "at1" {
				t.Errorf("seed %d: replicas hold %v", seed, got)
			}
		})
	}
}

// runFair is run for actors that may poll: each choice says whether the first
// or the last that asks goes on.
func (s *schedule) runFair(choices []int, actors map[string]func(context.Context)) {
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
			case <-time.After(leasePoll):
				continue
			}
		}
		s.sort()
		at := 0
		if choices[step%len(choices)] == 1 {
			at = len(s.asking) - 1
		}
		c := s.asking[at]
		s.asking = append(s.asking[:at], s.asking[at+1:]...)
		s.mu.Unlock()
		c.grant <- works
	}
}

// Two logouts in one millisecond with a sign-in between them: the second ends
// what the first let live.
func TestModel_TwoLogoutsInOneMillisecond(t *testing.T) {
	w, ctx := newWorld(t, 0), context.Background()
	if err := w.a.sessions.RevokeAll(ctx, "https://id.example.org", "ana"); err != nil {
		t.Fatal(err)
	}
	a := attempt.New(w.clock)
	rec, id := w.record(a.Begin), newSessionID()
	if again, err := w.a.sessions.readMarks(ctx, a, rec); err != nil || !again {
		t.Fatalf("again %v, %v: the attempt does not know of the logout", again, err)
	}
	next, err := a.Again(a.Begin, rec.marks[0].carried(), rec.marks[1].carried())
	if err != nil {
		t.Fatal(err)
	}
	a = next
	if again, err := w.a.sessions.readMarks(ctx, a, rec); err != nil || again {
		t.Fatalf("again %v, %v: the attempt carries the mark", again, err)
	}
	if err := w.a.sessions.create(ctx, sessionKey(id), rec, w.clock.Add(createWithin)); err != nil {
		t.Fatal(err)
	}
	if !signedIn(t, w.b, id, rec.marks) {
		t.Fatal("the new sign-in does not live")
	}
	if err := w.b.sessions.RevokeAll(ctx, "https://id.example.org", "ana"); err != nil {
		t.Fatal(err)
	}
	if signedIn(t, w.a, id, rec.marks) {
		t.Fatal("the session outlived the second logout")
	}
}
