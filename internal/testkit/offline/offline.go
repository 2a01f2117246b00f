// Package offline carries HTTP requests to handlers in memory. Tests can use
// any origin, even https ones, and can run in a bubble of testing/synctest,
// where requests over sockets cannot be waited for.
package offline

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// Net is a network of origins. It is an http.RoundTripper and safe for
// concurrent use. The zero value has no origins. An origin is written as in a
// URL, with scheme and host. A request for an origin that nobody serves is
// refused.
type Net struct {
	mu      sync.Mutex
	hosts   map[string]*host
	running sync.WaitGroup // handlers
}

// host is the server of an origin.
type host struct {
	handler http.Handler
	up      context.Context // ends when the host goes down
	end     context.CancelFunc
}

// Serve lets a handler answer for an origin, replacing any previous one.
func (n *Net) Serve(origin string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]*host{}
	}
	up, end := context.WithCancel(context.Background())
	n.hosts[origin] = &host{handler: h, up: up, end: end}
}

// Handler returns the handler of an origin, or nil.
func (n *Net) Handler(origin string) http.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[origin]; h != nil {
		return h.handler
	}
	return nil
}

// Down cuts the connections to an origin and refuses new ones.
func (n *Net) Down(origin string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[origin]; h != nil {
		h.end()
	}
}

// Up accepts connections again.
func (n *Net) Up(origin string) {
	if h := n.Handler(origin); h != nil {
		n.Serve(origin, h)
	}
}

// Wait returns when no handler is running.
func (n *Net) Wait() { n.running.Wait() }

// RoundTrip sends a request to the handler of its origin. The handler runs on
// its own goroutine with its own context, which ends when the client leaves.
func (n *Net) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		read, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = read
	}
	if r.URL == nil {
		return nil, errors.New("offline: a request without a URL")
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	h := n.hosts[r.URL.Scheme+"://"+r.URL.Host]
	if h == nil || h.up.Err() != nil {
		n.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	n.running.Add(1)
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(h.up)
	defer cancel()
	rec, done := &recorder{header: http.Header{}}, make(chan any, 1)
	go func() {
		defer n.running.Done()
		defer func() { done <- recover() }()
		h.handler.ServeHTTP(rec, received(r, body).WithContext(ctx))
	}()
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-h.up.Done():
		return nil, reset
	case panicked := <-done:
		// The handler may have ended because the client left or the host went
		// down: then select may choose any of the three.
		switch {
		case panicked != nil && panicked != http.ErrAbortHandler:
			panic(panicked) // a fault of the handler belongs to the test, not to the client
		case r.Context().Err() != nil:
			return nil, r.Context().Err()
		case h.up.Err() != nil:
			return nil, reset
		case panicked != nil:
			return nil, io.ErrUnexpectedEOF
		}
		return rec.response(r), nil
	}
}

// received is the request as a server sees it.
func received(r *http.Request, body []byte) *http.Request {
	in := r.Clone(context.Background())
	in.Body, in.ContentLength, in.GetBody = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234" // RFC 5737: an address for examples
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if r.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: r.URL.Hostname()}
	}
	if r.Header == nil {
		in.Header = http.Header{}
	}
	return in
}

// recorder keeps an answer until it is complete.
type recorder struct {
	header http.Header
	sent   http.Header // as it was when the status was sent
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // informational answers come before the final one
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		if w.header.Get("Content-Type") == "" {
			w.header.Set("Content-Type", http.DetectContentType(b))
		}
		w.WriteHeader(http.StatusOK)
	}
	return w.body.Write(b)
}

// Flush is for handlers that stream. What they have written is sent with the
// rest.
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }

// response is the answer as a client sees it.
func (w *recorder) response(r *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	resp := &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: maps.Clone(w.sent), Request: r,
	}
	body := w.body.Bytes()
	resp.ContentLength = int64(len(body))
	promised, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64)
	switch {
	case r.Method == http.MethodHead:
		body, resp.ContentLength = nil, -1
		if err == nil {
			resp.ContentLength = promised
		}
	case err == nil && promised > int64(len(body)): // the connection ended midway
		resp.ContentLength = promised
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), cut{}))
		return resp
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// cut is the error of a connection that ends too early.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
