//go:build unix

package replicas

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// place is where a party listens. It is the value of a flag.
type place struct {
	what    string
	address string
	wanted  bool // given on the command line, so no other port is tried
	moved   bool // the default was taken
}

// String implements flag.Value.
func (p *place) String() string { return p.address }

// Set implements flag.Value.
func (p *place) Set(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not on loopback: the example speaks http, for which that is the only safe place", host)
	}
	p.address, p.wanted = address, true
	return nil
}

// listen opens the port. If a default port is taken, a free one is used
// instead.
func (p *place) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", p.address)
	if err != nil && !p.wanted {
		p.moved = true
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.what, err)
	}
	return l, nil
}

const (
	// headerTime bounds how long a client may take over its header.
	headerTime = 5 * time.Second
	// lastTime is how long requests may take that are under way at the end.
	// The example answers within milliseconds.
	lastTime = 1500 * time.Millisecond
)

// serve serves on a listener. If that fails, failed gets the error. What it
// returns stops it: it calls ending, requests under way have lastTime, then their
// connections are closed.
func serve(l net.Listener, h http.Handler, failed chan<- error, ending ...func()) func(context.Context) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: headerTime}
	for _, end := range ending {
		s.RegisterOnShutdown(end)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case failed <- err:
			default: // one failure is enough to end the program
			}
		}
	}()
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, lastTime)
		defer cancel()
		err := s.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) { // an event stream, for example
			err = s.Close()
		}
		<-done
		return err
	}
}
