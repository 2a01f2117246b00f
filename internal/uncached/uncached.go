// Package uncached keeps on a response what caches have to know about it, even
// if the handler that writes the response removes it. http.FileServer removes
// Cache-Control from its errors, and many handlers replace Vary.
//
// It knows response headers. It must not know guards or sessions: its caller
// says what a response depends on.
package uncached

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
)

// Mark says what caches have to know about a response.
type Mark struct {
	Control       string // Cache-Control, unless the handler sets its own
	Cookie        bool   // the response depends on the request's cookies
	Authorization bool   // the response depends on its Authorization
}

// Put sets what is missing in h. A Cache-Control that is there takes
// precedence.
func (m Mark) Put(h http.Header) {
	if m.Cookie {
		Vary(h, "Cookie")
	}
	if m.Authorization {
		Vary(h, "Authorization")
	}
	if m.Control != "" && !filled(h["Cache-Control"]) {
		h.Set("Cache-Control", m.Control)
	}
}

// Of returns the mark that h has.
func Of(h http.Header) Mark {
	var m Mark
	m.Control = h.Get("Cache-Control")
	for _, line := range h["Vary"] {
		m.Cookie = m.Cookie || line == "Cookie"
		m.Authorization = m.Authorization || line == "Authorization"
	}
	return m
}

func filled(values []string) bool {
	for _, v := range values {
		if v != "" {
			return true
		}
	}
	return false
}

// Vary adds name to Vary (RFC 9110 §12.5.5), unless it is there.
func Vary(h http.Header, name string) {
	for _, line := range h["Vary"] {
		if line == name {
			return
		}
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, name) {
				return
			}
		}
	}
	h.Add("Vary", name)
}

// Serve runs next with a writer that puts the mark on the response once more
// when its header is sent. The writer has the optional methods of w that
// handlers look for (http.Flusher, http.Hijacker, http.Pusher);
// http.ResponseController finds all others.
func Serve(w http.ResponseWriter, r *http.Request, next http.Handler, m Mark) {
	m.Put(w.Header())
	own := writer{w: w, mark: m}
	next.ServeHTTP(own.as(), r)
	own.begin(http.StatusOK) // if next has written nothing
}

type writer struct {
	w     http.ResponseWriter
	mark  Mark
	begun bool
}

// as returns the writer with as many methods as the one below.
func (w *writer) as() http.ResponseWriter {
	_, flushes := w.w.(http.Flusher)
	_, hijacks := w.w.(http.Hijacker)
	_, pushes := w.w.(http.Pusher)
	switch {
	case flushes && hijacks:
		return hijacker{w}
	case flushes && pushes:
		return pusher{w}
	case flushes:
		return flusher{w}
	}
	return w
}

// begin is called before the header is sent. An informational response (1xx)
// is not the response.
func (w *writer) begin(status int) {
	if !w.begun && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.begun = true
		w.mark.Put(w.w.Header())
	}
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	w.begin(status)
	w.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.w.Write(b)
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	w.begin(http.StatusOK)
	return io.WriteString(w.w, s)
}

// ReadFrom implements io.ReaderFrom, with which a server sends a file.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	return io.Copy(w.w, r)
}

// FlushError is what http.ResponseController calls.
func (w *writer) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.w).Flush()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.w }

type flusher struct{ *writer }

// Flush implements http.Flusher.
func (f flusher) Flush() { _ = f.FlushError() }

type hijacker struct{ *writer }

// Flush implements http.Flusher.
func (h hijacker) Flush() { _ = h.FlushError() }

// Hijack implements http.Hijacker. The caller writes the header itself, often
// from what Header holds.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.begin(http.StatusSwitchingProtocols)
	return http.NewResponseController(h.w).Hijack()
}

type pusher struct{ *writer }

// Flush implements http.Flusher.
func (p pusher) Flush() { _ = p.FlushError() }

// Push implements http.Pusher.
func (p pusher) Push(target string, opts *http.PushOptions) error {
	if own, ok := p.w.(http.Pusher); ok {
		return own.Push(target, opts)
	}
	return http.ErrNotSupported
}
