package stories

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/goroutines"
	"example.com/gatehouse/internal/testkit/opserver"
)

const (
	// answerBound is how soon every request is answered while a store is in
	// trouble.
	answerBound = 1500 * time.Millisecond
	// backBound is how soon everybody is served once the store works again.
	backBound = time.Second
	// leftBound is how long goroutines of that time may last.
	leftBound = 5 * time.Second
	// outageRounds is how often each kind of request is sent meanwhile.
	outageRounds = 2
	// keptShare is the part of the requests for which a goroutine may stay: a
	// pool may keep one for each connection.
	keptShare = 4
)

// Outage is a real trouble of a real store.
type Outage struct {
	Name string
	// Begin begins the trouble. end ends it and returns when the store can
	// work again, for example when its port is open.
	Begin func(t testing.TB) (end func())
	// ReadsWork says that only writes fail, as on a full disk.
	ReadsWork bool
	// SmallWritesWork says that, besides, only writes fail that need room, as in
	// a full database. A sign-out makes a record smaller, and a sign-in is new.
	SmallWritesWork bool
	// SignInsWork says that only what was there before is in trouble.
	SignInsWork bool
}

// outageTries is how often an outage is tried that went well but too slowly: a
// busy machine is no fault.
const outageTries = 3

// Outages runs FA6 and what belongs to it in each trouble, over two replicas:
// every answer is 503 within 1.5 s, no cookie is touched, strangers see public
// pages. Everybody is served within a second after it, and no goroutine is
// left.
func Outages(t *testing.T, open Open, outages ...Outage) {
	t.Helper()
	for _, o := range outages {
		t.Run(o.Name, func(t *testing.T) { o.run(t, open) })
	}
}

func (o Outage) run(t *testing.T, open Open) {
	insist(t, func(p *pace) { o.once(t, p, open) })
}

// pace collects what went well but too slowly.
type pace struct{ slow atomic.Pointer[string] }

func (p *pace) late(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	p.slow.Store(&what)
}

// insist tries a story until nothing in it was too slow.
func insist(t *testing.T, once func(p *pace)) {
	t.Helper()
	for try := range outageTries {
		var p pace
		once(&p)
		slow := p.slow.Load()
		switch {
		case slow == nil:
			return
		case try == outageTries-1:
			t.Error(*slow)
		default:
			t.Logf("once more: %s", *slow)
		}
	}
}

func (o Outage) once(t *testing.T, p *pace, open Open) {
	s := world.NewSite(t, open.On, world.TwoReplicas, Keys("one"))
	overdue := s.Visitor("ana") // for a renewal, and to be written that it is in use
	overdue.SignIn()
	s.Advance(world.Past)
	ana, leaves, late := s.Visitor("ana"), s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	leaves.SignIn()
	callback := late.ToCallback("/notes/")
	stranger := s.Visitor("ana")
	mark := goroutines.New()
	sent := 0
	mark.Do(t.Context(), func(context.Context) {
		end := sync.OnceFunc(o.Begin(t))
		defer end()
		for range outageRounds {
			sent += o.ask(s, p, ana, leaves, overdue)
		}
		asked := s.Count(opserver.EndpointToken)
		back := answered(s, p, late, late.Request(http.MethodGet, callback, nil, world.Navigation...))
		if !o.SignInsWork {
			s.WantRefusal(back, http.StatusServiceUnavailable)
		}
		if (late.SessionName() != "") != (back.Code == http.StatusSeeOther) || s.Count(opserver.EndpointToken) > asked+1 {
			t.Error("a session that was not stored, or a code sent twice")
		}
		if a := answered(s, p, stranger, stranger.Request(http.MethodGet, "/open", nil, world.Navigation...)); a.Code != http.StatusOK {
			t.Errorf("a public page for a stranger: %v", a)
		}
		end()
		o.recovers(s, p, ana, overdue) // whether leaves was signed out is not known
	})
	late.WantServed(late.Visit("/notes/"))
	if a := leaves.Post("/auth/logout", nil); a.Code != http.StatusSeeOther {
		t.Errorf("sign-out after the trouble: %v", a)
	}
	wantEnded(t, p, mark, sent/keptShare)
}

// ask sends requests of people who are signed in, at the same time.
func (o Outage) ask(s *world.Site, p *pace, ana, leaves, overdue *world.Visitor) int {
	s.T.Helper()
	reads := []*http.Request{
		ana.Request(http.MethodGet, "/notes/", nil, world.Navigation...),
		ana.Request(http.MethodGet, "/open", nil, world.Navigation...),
		ana.Request(http.MethodPost, "/notes/", nil, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"),
		ana.Request(http.MethodGet, "/notes/", nil, "Sec-Fetch-Mode", "cors"),
	}
	var wg sync.WaitGroup
	read := func(b *world.Visitor, r *http.Request) {
		a := answered(s, p, b, r)
		if o.ReadsWork && a.Code == http.StatusOK && strings.Contains(a.Body.String(), "served ana-1") {
			return
		}
		o.wantTrouble(s, a)
	}
	for i, r := range reads {
		wg.Go(func() { read(ana.On(i%2), r) })
	}
	wg.Go(func() { read(overdue, overdue.Request(http.MethodGet, "/notes/", nil, world.Navigation...)) })
	wg.Go(func() {
		a := answered(s, p, leaves, leaves.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin"))
		if !o.SmallWritesWork || a.Code != http.StatusSeeOther {
			o.wantTrouble(s, a)
		}
	})
	wg.Wait()
	return len(reads) + 2
}

// wantTrouble checks that an answer decides nothing.
func (o Outage) wantTrouble(s *world.Site, a *world.Page) {
	s.T.Helper()
	if a.Code != http.StatusServiceUnavailable || strings.Contains(a.Body.String(), "served") || a.Header().Get("Retry-After") == "" {
		s.T.Errorf("got %v, want 503 with Retry-After", a)
	}
	if a.Location() != "" || len(a.Result().Cookies()) != 0 {
		s.T.Errorf("%v: cookies %v with a 503", a, a.Result().Cookies())
	}
}

// recovers waits until both replicas serve.
func (o Outage) recovers(s *world.Site, p *pace, people ...*world.Visitor) {
	s.T.Helper()
	deadline, backOnce := time.NewTimer(backBound), 0
	defer deadline.Stop()
	for {
		var bad *world.Page
		for _, b := range people {
			for at := range 2 {
				if a := b.On(at).Get("/notes/"); a.Code != http.StatusOK {
					bad = a
				}
			}
		}
		if bad == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline.C:
			p.late("%v after the trouble: %v, %s", backBound, bad, s.LastCode())
			deadline.Reset(leftBound) // it has to come back at all
			backOnce++
			if backOnce > 1 {
				s.T.Fatalf("the store does not come back: %v, %s", bad, s.LastCode())
			}
		}
	}
}

// answered sends a request and gives up when nobody answers in time.
func answered(s *world.Site, p *pace, b *world.Visitor, r *http.Request) *world.Page {
	s.T.Helper()
	what := r.Method + " " + r.URL.Path // the visitor changes the request
	got := make(chan *world.Page, 1)
	go func() { got <- b.Do(r) }()
	deadline := time.NewTimer(answerBound)
	defer deadline.Stop()
	select {
	case a := <-got:
		return a
	case <-deadline.C:
		p.late("%s: no answer after %v", what, answerBound)
		return <-got
	}
}

// wantEnded waits until at most keep goroutines of a mark are left.
func wantEnded(t *testing.T, p *pace, mark goroutines.Mark, keep int) {
	t.Helper()
	deadline := time.NewTimer(leftBound)
	defer deadline.Stop()
	for {
		left, err := mark.Left()
		if err != nil {
			t.Fatal(err)
		}
		if left <= keep {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline.C:
			p.late("%d goroutines of the outage are left after %v", left, leftBound)
			return
		}
	}
}

// FA8Restart restarts a store that keeps its data, under traffic of people who
// are signed in and with 50 idle connections: nobody is sent to sign-in, nobody
// becomes nobody, and 503 ends a second after the store is back. restart
// returns when the store can work again.
func FA8Restart(t *testing.T, open Open, restart func(t testing.TB)) {
	insist(t, func(p *pace) { fa8Restart(t, p, open, restart) })
}

func fa8Restart(t *testing.T, p *pace, open Open, restart func(t testing.TB)) {
	const idle, traffic = 50, 8
	s := world.NewSite(t, open.On, world.TwoReplicas)
	s.SetTokenLifetime(24 * time.Hour)
	people := make([]*world.Visitor, traffic)
	for i := range people {
		people[i] = s.Visitor("ana")
		people[i].SignIn()
	}
	people[0].Together(2*idle, 2, "/notes/") // opens connections, which takes longer than a call may
	for _, b := range people {
		for at := range 2 {
			b.WantServed(b.On(at).Get("/notes/"))
		}
	}
	var back, stop atomic.Bool
	var troubled atomic.Int64
	requests := make(chan struct{})
	var wg sync.WaitGroup
	for i, b := range people {
		wg.Go(func() {
			for n := i; !stop.Load() && !t.Failed(); n++ {
				if err := fairAnswer(p, b.On(n%2), back.Load(), &troubled); err != nil {
					t.Error(err)
				}
				select {
				case requests <- struct{}{}:
				default:
				}
			}
		})
	}
	gone := make(chan struct{})
	go func() { wg.Wait(); close(gone) }()
	flows := func(n int) {
		for range n {
			select {
			case <-requests:
			case <-gone:
			}
		}
	}
	flows(10 * traffic)
	restart(t)
	<-time.After(backBound)
	back.Store(true)
	flows(20 * traffic)
	stop.Store(true)
	<-gone
	t.Logf("%d answers 503", troubled.Load())
	for _, b := range people {
		b.WantServed(b.Get("/notes/"))
	}
}

// fairAnswer asks for a page. A page is served or, unless it is too late for
// that, in trouble.
func fairAnswer(p *pace, b *world.Visitor, late bool, troubled *atomic.Int64) error {
	for _, path := range []string{"/notes/", "/open"} {
		switch a := b.Get(path); {
		case a.Code == http.StatusOK && a.Body.String() == "served ana-1 by session":
		case a.Code != http.StatusServiceUnavailable || len(a.Result().Cookies()) > 0:
			return fmt.Errorf("somebody who is signed in got %v", a)
		case !late:
			troubled.Add(1)
		default:
			p.late("503 although the store was back for %v: %v", backBound, a)
		}
	}
	return nil
}
