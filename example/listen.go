package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// place is where a party listens.
type place struct {
	what    string
	address string
	wanted  bool // given on the command line, so no other port is tried
	moved   bool // the default was taken
}

// listen opens the port. If a default port is taken, a free one is used
// instead.
func (p *place) listen() (net.Listener, error) {
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		host, port = "127.0.0.1", p.address // only a port
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s: %q is not on loopback: the example speaks http, for which that is the only safe place", p.what, host)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil && !p.wanted {
		p.moved = true
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.what, err)
	}
	return l, nil
}

// headerTime bounds how long a client may take over its header.
const headerTime = 5 * time.Second

// server is an HTTP server that can be stopped and started again on its port.
type server struct {
	address string
	handler http.Handler
	ending  func() // called when shutdown begins; may be nil
	failed  chan<- error

	mu   sync.Mutex
	http *http.Server  // nil while it is stopped
	done chan struct{} // closed when its goroutine has ended
}

// serve starts the server on an open listener.
func (s *server) serve(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serveLocked(l)
}

func (s *server) serveLocked(l net.Listener) {
	s.http = &http.Server{Handler: s.handler, ReadHeaderTimeout: headerTime}
	if s.ending != nil {
		s.http.RegisterOnShutdown(s.ending)
	}
	s.done = make(chan struct{})
	go func(h *http.Server, done chan<- struct{}) {
		defer close(done)
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case s.failed <- err:
			default: // one failure is enough to end the program
			}
		}
	}(s.http, s.done)
}

// start opens the port again. A server that is running stays as it is.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.serveLocked(l)
	return nil
}

// stop closes the port and every connection.
func (s *server) stop() error { return s.end((*http.Server).Close) }

// shutdown closes the port and lets requests end.
func (s *server) shutdown(ctx context.Context) error {
	return s.end(func(h *http.Server) error {
		if err := h.Shutdown(ctx); err != nil {
			return errors.Join(err, h.Close())
		}
		return nil
	})
}

func (s *server) end(how func(*http.Server) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	err := how(s.http)
	<-s.done
	s.http = nil
	return err
}

// running reports whether the port is open.
func (s *server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.http != nil
}
