package reliability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/gatehouse/internal/testkit/process"
	"example.com/gatehouse/interop/reliability/site"
)

// startPatience bounds the start of a replica on a busy machine.
const startPatience = time.Minute

// World is a site of some replicas with a store and providers of its own.
type World struct {
	Store     *Database
	Providers []*Provider
	Front     *Front

	config  site.Config
	program string
	mu      sync.Mutex
	all     []*Replica // also those that have ended
}

// setting is what a world is made for.
type setting struct {
	store     string // "redis" or "postgres"
	replicas  int
	providers int                // 0 counts as 1; each has a relying party
	sessions  int                // relying parties at the first provider, each with sessions of its own; 0 counts as 1
	idle      time.Duration      // 0 is the default
	api       bool               // serves the paths of an API too
	program   string             // "" is the build of now
	change    func(*World) error // before the replicas start
}

// build starts a world. Close ends it.
func (r *Run) build(ctx context.Context, s setting) (w *World, err error) {
	w = &World{program: s.program, Front: newFront()}
	defer func() {
		if err != nil {
			w.Close()
			w = nil
		}
	}()
	if w.program == "" {
		if w.program, err = r.Programs.Plain(ctx); err != nil {
			return w, err
		}
	}
	if w.Store, err = openDatabase(ctx, s.store); err != nil {
		return w, err
	}
	w.config = site.Config{Kind: r.Kind, Addr: "127.0.0.1:0", Prefix: w.Store.prefix, Key: "the key of the site is long enough, too", Idle: s.idle, API: s.api}
	w.Store.point(&w.config)
	for i := range max(1, s.providers) {
		p, err := newProvider()
		if err != nil {
			return w, err
		}
		w.Providers = append(w.Providers, p)
		var paths []string
		sessions := 1
		if i == 0 {
			sessions = max(1, s.sessions)
		}
		for range sessions {
			path, name := "", ""
			if n := len(w.config.Relying); n > 0 {
				name = fmt.Sprintf("s%d", n)
				path = "/" + name
			}
			w.config.Relying = append(w.config.Relying, site.Relying{Path: path, Name: name, Issuer: p.Issuer()})
			paths = append(paths, path)
		}
		if err := p.register(paths...); err != nil {
			return w, err
		}
	}
	if s.change != nil {
		if err := s.change(w); err != nil {
			return w, err
		}
	}
	for range s.replicas {
		if _, err := w.Start(ctx, w.program); err != nil {
			return w, err
		}
	}
	return w, nil
}

// Close ends everything that the world has started.
func (w *World) Close() {
	w.mu.Lock()
	all := w.all
	w.mu.Unlock()
	for _, one := range all {
		one.kill()
	}
	for _, p := range w.Providers {
		p.Close()
	}
	if w.Store != nil {
		_ = w.Store.Close()
	}
	w.Front.client.CloseIdleConnections()
}

// Provider returns the first provider.
func (w *World) Provider() *Provider { return w.Providers[0] }

// A Replica is one process of the site.
type Replica struct {
	Addr    string
	front   *Front
	process *process.Process
}

// Start starts a replica from a program, and puts it behind the front.
func (w *World) Start(ctx context.Context, program string) (*Replica, error) {
	words, err := json.Marshal(w.config)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Stdin = bytes.NewReader(words)
	cmd.WaitDelay = time.Second
	one := &Replica{front: w.Front}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	one.process, err = process.Start(ctx, "replica", cmd, func(line []byte) bool {
		addr, ok := strings.CutPrefix(string(line), "ready ")
		if ok {
			one.Addr = addr
		}
		return ok
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.all = append(w.all, one)
	w.mu.Unlock()
	w.Front.add(one)
	return one, nil
}

// Drain ends a replica as a deployment does, with SIGTERM, and returns how long
// its end took. An end that is not clean is an error.
func (one *Replica) Drain() (time.Duration, error) {
	begin := time.Now()
	one.front.remove(one)
	one.process.Stop()
	if log := one.process.Log(process.LogShown); !strings.Contains(log, "drained in") {
		return 0, fmt.Errorf("a replica did not end cleanly:\n%s", log)
	}
	return time.Since(begin), nil
}

func (one *Replica) kill() {
	one.process.End = 9
	one.process.Stop()
}

// Stat asks a replica about itself.
func (one *Replica) Stat(ctx context.Context) (site.Stats, error) {
	var s site.Stats
	body, err := one.admin(ctx, http.MethodGet, site.Stat, nil)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// Resident returns the resident memory of the replica in bytes.
func (one *Replica) Resident() (int64, error) { return resident(one.process.PID()) }

// admin asks a replica for what is not part of the site.
func (one *Replica) admin(ctx context.Context, method, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+one.Addr+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := one.front.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

// Front spreads requests over the replicas in turn, as a load balancer does. It
// is safe for concurrent use.
type Front struct {
	client *http.Client
	turn   atomic.Uint64
	closed atomic.Bool // no replica gets requests

	mu  sync.Mutex
	all []*Replica
}

func newFront() *Front {
	return &Front{client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (f *Front) add(one *Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(slices.Clone(f.all), one)
}

func (f *Front) remove(one *Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = slices.DeleteFunc(slices.Clone(f.all), func(o *Replica) bool { return o == one })
}

// Replicas returns those that take requests.
func (f *Front) Replicas() []*Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

// next returns the replica whose turn it is, or nil.
func (f *Front) next() *Replica {
	all := f.Replicas()
	if len(all) == 0 || f.closed.Load() {
		return nil
	}
	return all[f.turn.Add(1)%uint64(len(all))]
}

var errNoReplica = errors.New("no replica takes requests")

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
