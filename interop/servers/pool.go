package servers

import (
	"context"
	"sync"
	"testing"
)

// A Pool holds the servers that are too slow to start for each test. The zero
// value is ready. A test package has one, and stops it in TestMain:
//
//	var shared servers.Pool
//
//	func TestMain(m *testing.M) {
//		code := m.Run()
//		shared.Stop()
//		os.Exit(code)
//	}
//
// It is safe for concurrent use.
type Pool struct {
	mu       sync.Mutex
	keycloak *startup // nil until somebody asked for it
}

type startup struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when server and err are there
	server *Keycloak
	err    error
}

// Warm begins to start Keycloak, if nobody has, and does not wait for it.
func (p *Pool) Warm() {
	p.begin()
}

func (p *Pool) begin() *startup {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keycloak == nil {
		ctx, cancel := context.WithCancel(context.Background())
		s := &startup{cancel: cancel, done: make(chan struct{})}
		go func() {
			defer close(s.done)
			s.server, s.err = newKeycloak(ctx)
		}()
		p.keycloak = s
	}
	return p.keycloak
}

// Keycloak returns the Keycloak of the pool, and starts it if necessary. Tests
// that share it name their resources so that they do not clash.
func (p *Pool) Keycloak(t testing.TB) *Keycloak {
	t.Helper()
	s := p.begin()
	select {
	case <-s.done:
	case <-t.Context().Done():
		t.Fatalf("keycloak: %v", context.Cause(t.Context()))
	}
	if s.err != nil {
		t.Fatalf("keycloak: %v", s.err)
	}
	t.Cleanup(func() { s.server.logOnFailure(t) })
	return s.server
}

// Stop stops what the pool has started. The pool can be used again afterwards.
func (p *Pool) Stop() error {
	p.mu.Lock()
	s := p.keycloak
	p.keycloak = nil
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	s.cancel()
	<-s.done
	if s.err != nil {
		return nil // the tests that asked for it have failed with it
	}
	return s.server.close()
}
