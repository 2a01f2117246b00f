// Package line stands between clients and a server on loopback, and does to their
// connections what networks do. It must not know what the bytes mean.
package line

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/gatehouse/internal/testkit/ports"
)

// A Line is another address of a server. Its methods are safe for concurrent use.
type Line struct {
	// Addr is host and port, and stays the same.
	Addr string

	target string
	silent atomic.Int32 // the Silence of now
	armed  atomic.Bool  // the next reply is lost
	losses atomic.Int32

	mu       sync.Mutex
	listener net.Listener // nil while the line is cut
	conns    map[net.Conn]bool
	all      sync.WaitGroup
}

// A Silence is what a line swallows. Who sends there is told nothing.
type Silence int32

const (
	None    Silence = iota
	Replies         // of the server
	Both            // what clients send, too
)

// New makes a line to target, a host and port, for the duration of the test.
func New(t testing.TB, target string) *Line {
	t.Helper()
	listener, err := ports.Listen()
	if err != nil {
		t.Fatalf("line: %v", err)
	}
	l := &Line{Addr: listener.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	l.listen(listener)
	t.Cleanup(l.Cut)
	return l
}

// listen takes the connections of a listener. The caller holds mu, or is alone.
func (l *Line) listen(listener net.Listener) {
	l.listener = listener
	l.all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // cut
			}
			l.all.Go(func() { l.serve(client) })
		}
	})
}

// Cut ends all connections and refuses new ones: the server is gone.
func (l *Line) Cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.all.Wait()
}

// Mend takes connections again after Cut.
func (l *Line) Mend(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return
	}
	listener, err := net.Listen("tcp", l.Addr)
	if err != nil {
		t.Fatalf("line: %v", err)
	}
	l.listen(listener)
}

// Silence swallows what is sent from now on. Connections stand, and new ones are
// taken. One of which something was swallowed stays silent, because the rest
// would make no sense.
func (l *Line) Silence(s Silence) { l.silent.Store(int32(s)) }

// LoseReply ends the connection on which the next reply comes, without the reply:
// the server has done what it was told. The function that it returns ends that,
// and says how many replies were lost.
func (l *Line) LoseReply() (lost func() int) {
	before := l.losses.Load()
	l.armed.Store(true)
	return func() int {
		l.armed.Store(false)
		return int(l.losses.Load() - before)
	}
}

// serve carries one connection to the server and back, until one side ends or the
// line is cut.
func (l *Line) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !l.add(client, server) {
		return
	}
	defer l.remove(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		l.carry(client, server, Replies)
		client.Close()
	})
	l.carry(server, client, Both)
	server.Close()
	back.Wait()
}

// carry carries bytes until an end. It swallows them from the first one on that
// is sent while the silence is at least that one.
func (l *Line) carry(to, from net.Conn, swallows Silence) {
	gone := false
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && swallows == Replies && l.armed.CompareAndSwap(true, false) {
			l.losses.Add(1)
			return
		}
		gone = gone || n > 0 && Silence(l.silent.Load()) >= swallows
		if !gone {
			if _, failed := to.Write(buf[:n]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// add makes Cut close the connections. It reports false if the line is cut.
func (l *Line) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return false
	}
	for _, conn := range conns {
		l.conns[conn] = true
	}
	return true
}

func (l *Line) remove(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		delete(l.conns, conn)
	}
}
