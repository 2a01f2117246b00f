// Replica is one replica of the site on which the reliability programs act. They
// also run the one of an earlier commit, so it has to understand the same config.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"example.com/gatehouse/interop/reliability/site"
)

// drainWithin is how long the end of a replica may take: the limit of G14.
const drainWithin = 10 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
}

// application is a site made with one of the kinds.
type application interface {
	http.Handler
	// Shutdown waits for what requests have left behind.
	Shutdown(context.Context) error
	// revoke ends all sessions of a person.
	revoke(ctx context.Context, issuer, subject string) error
	discovery() []time.Time
	// rest closes the connections to the provider that nobody uses.
	rest()
}

func run() error {
	var c site.Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	held := &holds{all: map[string]*hold{}}
	var app application
	var err error
	switch c.Kind {
	case site.Gatehouse:
		app, err = newGatehouse(ctx, c, held)
	case site.SCS:
		app, err = newBare(ctx, c, held)
	default:
		err = fmt.Errorf("unknown kind %q", c.Kind)
	}
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: withAdmin(app, held), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("ready %s\n", listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	begin := time.Now()
	end, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if err := errors.Join(server.Shutdown(end), app.Shutdown(end)); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	fmt.Printf("drained in %v\n", time.Since(begin).Round(time.Millisecond))
	return nil
}

// withAdmin serves what the programs ask for beside the site.
func withAdmin(app application, held *holds) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", app)
	mux.HandleFunc("GET "+site.Stat, func(w http.ResponseWriter, _ *http.Request) {
		app.rest()
		goroutines := runtime.NumGoroutine()
		runtime.GC()
		runtime.GC() // what has finalizers goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(site.Stats{Goroutines: goroutines, Heap: m.HeapAlloc, Discovery: app.discovery()})
	})
	mux.HandleFunc("GET "+site.Entered, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held.of(r.FormValue("id")).entered:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET "+site.Release, func(_ http.ResponseWriter, r *http.Request) { held.release(r.FormValue("id")) })
	mux.HandleFunc("POST "+site.Revoke, func(w http.ResponseWriter, r *http.Request) {
		if err := app.revoke(r.Context(), r.FormValue("issuer"), r.FormValue("sub")); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux
}

// holds are the requests that wait in a handler.
type holds struct {
	mu  sync.Mutex
	all map[string]*hold
}

type hold struct {
	entered, released chan struct{}
	enter             sync.Once
}

func (h *holds) of(id string) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[id] == nil {
		h.all[id] = &hold{entered: make(chan struct{}), released: make(chan struct{})}
	}
	return h.all[id]
}

func (h *holds) release(id string) {
	one := h.of(id)
	h.mu.Lock()
	delete(h.all, id)
	h.mu.Unlock()
	close(one.released)
}

// wait holds a request until it is released.
func (h *holds) wait(r *http.Request) {
	one := h.of(r.FormValue("id"))
	one.enter.Do(func() { close(one.entered) })
	select {
	case <-one.released:
	case <-r.Context().Done():
	}
}

// greet answers with whom the request was made for.
func greet(w http.ResponseWriter, subject string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "user="+subject)
}

// times is a list of moments.
type times struct {
	mu  sync.Mutex
	all []time.Time
}

func (t *times) now() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, time.Now())
}

func (t *times) list() []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]time.Time{}, t.all...)
}
