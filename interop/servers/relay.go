package servers

import (
	"io"
	"net"
	"sync"
	"testing"

	"example.com/gatehouse/internal/testkit/ports"
)

// A Relay is another address of a server on this machine. A test can cut it. To
// anybody who uses this address, the server is then stopped.
type Relay struct {
	address, target string // host:port

	mu       sync.Mutex
	listener net.Listener // nil while the relay is cut
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// newRelay relays to target, a host:port, for the duration of the test.
func newRelay(t testing.TB, target string) *Relay {
	t.Helper()
	listener, err := ports.Listen()
	if err != nil {
		t.Fatalf("relay: %v", err)
	}
	r := &Relay{target: target, conns: make(map[net.Conn]bool)}
	r.listen(listener)
	t.Cleanup(r.Cut)
	return r
}

// Cut ends all connections and refuses new ones.
func (r *Relay) Cut() {
	r.mu.Lock()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Mend accepts connections again, at the same address as before.
func (r *Relay) Mend(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		return
	}
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		t.Fatalf("relay: %v", err)
	}
	r.listen(listener)
}

// listen accepts the connections of a listener. The caller holds mu, or is alone.
func (r *Relay) listen(l net.Listener) {
	r.listener, r.address = l, l.Addr().String()
	r.wg.Go(func() { r.accept(l) })
}

func (r *Relay) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // cut
		}
		r.wg.Go(func() { r.serve(client) })
	}
}

// serve carries one connection to the server and back, until one side ends or
// the relay is cut.
func (r *Relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !r.add(client, server) {
		return
	}
	defer r.remove(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // an error is the end of the connection
		client.Close()
	})
	_, _ = io.Copy(server, client)
	server.Close()
	back.Wait()
}

// add makes Cut close the connections. It reports false if the relay is already
// cut.
func (r *Relay) add(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		return false
	}
	for _, conn := range conns {
		r.conns[conn] = true
	}
	return true
}

func (r *Relay) remove(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.conns, conn)
	}
}
