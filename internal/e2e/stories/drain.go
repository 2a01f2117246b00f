package stories

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// drainBound is how long a replica may take to end.
const drainBound = 10 * time.Second

// CC8Drain ends one replica after the other, as SIGTERM does: it stops its
// server and then its parts. Twenty sign-ins are between redirect and callback
// each time, people go on reading, and one request is answered slowly. No
// sign-in fails, nobody gets a 5xx, and nobody is signed out.
func CC8Drain(t *testing.T, on On) {
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	s := world.NewSite(t, on, world.TwoReplicas, Keys("one"), func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/slow", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-leave
				world.WhoAmI(w, r)
			})))
		}
	})
	s.SetTokenLifetime(24 * time.Hour)
	f := newFront(s)
	readers := f.read(4)
	for turn := range 2 {
		underWay := f.signIns(20)
		slow := s.Visitor("ana").On(f.at)
		slow.SignIn()
		answer := make(chan *world.Page, 1)
		f.first(turn, func() { go func() { answer <- slow.Get("/slow") }(); <-entered })
		ended := f.end(turn)
		for _, one := range underWay[:10] {
			one.finish(t)
		}
		select {
		case err := <-ended:
			t.Errorf("replica %d ended before its last answer: %v", turn, err)
		default:
		}
		leave <- struct{}{}
		slow.WantServed(<-answer)
		if err := <-ended; err != nil {
			t.Errorf("replica %d: %v", turn, err)
		}
		for _, one := range underWay[10:] {
			one.finish(t)
		}
		f.start(s.AddReplica(s.Options))
		for _, one := range underWay {
			one.visitor.WantServed(one.visitor.Get("/notes/"))
		}
	}
	readers()
	for _, code := range s.EventsOf(gatehouse.EventRefusal) {
		if code != gatehouse.CodeLoginRequired {
			t.Errorf("a refusal with %s", code)
		}
	}
}

// front spreads requests over the replicas that run, each behind a server of
// its own, and passes over one that does not take connections.
type front struct {
	site *world.Site
	at   int // where visitors find it
	wire *http.Transport

	mu      sync.Mutex
	turn    int
	servers map[int]*running
	chosen  *running // is tried first, unless it is nil
}

// running is a replica behind a server.
type running struct {
	replica *world.Replica
	server  *http.Server
	addr    string
}

// newFront starts the replicas of a site and adds the front as one more.
func newFront(s *world.Site) *front {
	f := &front{site: s, at: len(s.Replicas), wire: &http.Transport{MaxIdleConnsPerHost: 32}, servers: map[int]*running{}}
	s.T.Cleanup(f.wire.CloseIdleConnections)
	for _, r := range s.Replicas {
		f.start(r)
	}
	mux := http.NewServeMux()
	mux.Handle("/", f)
	s.Replicas = append(s.Replicas, &world.Replica{Provider: s.Replicas[0].Provider, Sessions: s.Replicas[0].Sessions, Login: s.Replicas[0].Login, Mux: mux})
	return f
}

// start lets a replica take connections.
func (f *front) start(r *world.Replica) {
	f.site.T.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	f.site.Must(err)
	one := &running{r, &http.Server{Handler: r.Mux, ReadHeaderTimeout: drainBound}, l.Addr().String()}
	go one.server.Serve(l)
	f.site.T.Cleanup(func() { one.server.Close() })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers[len(f.servers)] = one
}

// end ends the nth replica as SIGTERM does.
func (f *front) end(n int) (done chan error) {
	f.mu.Lock()
	one := f.servers[n]
	f.mu.Unlock()
	done = make(chan error, 1)
	closed := make(chan struct{})
	one.server.RegisterOnShutdown(func() { close(closed) })
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), drainBound)
		defer cancel()
		done <- gatehouse.Shutdown(ctx, one.server, one.replica.Login)
	}()
	<-closed // it takes no more connections
	return done
}

// first sends the requests of during to the nth replica.
func (f *front) first(n int, during func()) {
	set := func(one *running) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.chosen = one
	}
	f.mu.Lock()
	one := f.servers[n]
	f.mu.Unlock()
	set(one)
	during()
	set(nil)
}

// next lists the replicas in the order in which to try them.
func (f *front) next() []*running {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn++
	keys := slices.Sorted(maps.Keys(f.servers))
	var all []*running
	if f.chosen != nil {
		all = append(all, f.chosen)
	}
	for i := range keys {
		all = append(all, f.servers[keys[(i+f.turn)%len(keys)]])
	}
	return all
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, one := range f.next() {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", one.addr
		out.Body = http.NoBody
		if len(body) > 0 {
			out.Body = io.NopCloser(bytes.NewReader(body))
		}
		resp, err := f.wire.RoundTrip(out)
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			continue
		}
		// A connection that a server has not accepted before it closes breaks.
		if err != nil && r.Method == http.MethodGet {
			continue
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
		return
	}
	http.Error(w, "no replica takes connections", http.StatusBadGateway)
}

// read lets people read through the front until stop is called, which reports
// what went wrong.
func (f *front) read(n int) (stop func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	var pages atomic.Int64
	for range n {
		b := f.site.Visitor("ana").On(f.at)
		b.SignIn()
		wg.Go(func() {
			for !over.Load() {
				if a := b.Get("/notes/"); a.Code != http.StatusOK {
					f.site.T.Errorf("a reader got %v", a)
					return
				}
				pages.Add(1)
			}
		})
	}
	return func() {
		over.Store(true)
		wg.Wait()
		if pages.Load() < int64(n) {
			f.site.T.Errorf("%d pages were read: the test no longer tests anything", pages.Load())
		}
	}
}

// attempt is a sign-in between redirect and callback.
type attempt struct {
	visitor  *world.Visitor
	callback string
}

func (f *front) signIns(n int) (all []attempt) {
	for range n {
		b := f.site.Visitor("ben").On(f.at)
		all = append(all, attempt{b, b.ToCallback("/notes/")})
	}
	return all
}

func (a attempt) finish(t *testing.T) {
	t.Helper()
	a.visitor.WantServed(a.visitor.Visit(a.callback))
}
