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
	Control string // Cache-Control, unless the handler sets its own
	Cookie  bool   // the response depends on the request's cookies
	Token   string // the response depends on this header, which holds the token
}

// Put sets what is missing in h. A Cache-Control that is there takes
// precedence.
func (m Mark) Put(h http.Header) {
	if m.Cookie {
		Vary(h, "Cookie")
	}
	if m.Token != "" {
		Vary(h, m.Token)
	}
	if m.Control != "" && !filled(h["Cache-Control"]) {
		h.Set("Cache-Control", m.Control)
	}
}

// Of returns the mark that h has.
func Of(h http.Header) Mark {
	var m Mark
	m.Control, m.Cookie = h.Get("Cache-Control"), varies(h, "Cookie")
	if varies(h, "Authorization") {
		m.Token = "Authorization"
	}
	return m
}

// varies reports whether Vary names the field, or all.
func varies(h http.Header, name string) bool {
	for _, line := range h["Vary"] {
		if line == name {
			return true
		}
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, name) {
				return true
			}
		}
	}
	return false
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
	if !varies(h, name) {
		h.Add("Vary", name)
	}
}

// Writer puts a mark on a response, and once more when the header is sent. It is
// for one response; the zero value is ready to use. It has the optional methods
// of the writer below that handlers look for (http.Flusher, http.Hijacker,
// http.Pusher); http.ResponseController finds all others.
type Writer struct {
	w http.ResponseWriter
	// The usual values of Vary and Cache-Control. They lie here because every
	// request that a guard lets pass needs them.
	vary, control [1]string
	token         string // of the mark; its Control is in control
	cookie        bool
	begun         bool
}

// Serve runs next with the writer.
func (w *Writer) Serve(below http.ResponseWriter, r *http.Request, next http.Handler, m Mark) {
	w.w, w.cookie, w.token, w.control[0] = below, m.Cookie, m.Token, m.Control
	w.putFirst(m, below.Header())
	next.ServeHTTP(w.as(), r)
	w.begin(http.StatusOK) // if next has written nothing
}

// putFirst is m.Put without an allocation where h has no such headers yet.
func (w *Writer) putFirst(m Mark, h http.Header) {
	rest, fresh := m, len(h) == 0
	if rest.Cookie != (rest.Token != "") && (fresh || h["Vary"] == nil) {
		w.vary[0] = "Cookie"
		if rest.Token != "" {
			w.vary[0] = rest.Token
		}
		h["Vary"] = w.vary[:]
		rest.Cookie, rest.Token = false, ""
	}
	if rest.Control != "" && (fresh || h["Cache-Control"] == nil) {
		h["Cache-Control"] = w.control[:]
		rest.Control = ""
	}
	rest.Put(h)
}

// as returns the writer with as many methods as the one below.
func (w *Writer) as() http.ResponseWriter {
	_, flushes := w.w.(http.Flusher)
	_, hijacks := w.w.(http.Hijacker)
	_, pushes := w.w.(http.Pusher)
	switch {
	case flushes && hijacks && pushes: // a wrapper that has all, whatever the server's writer has
		return all{w}
	case flushes && hijacks:
		return http1{w}
	case flushes && pushes:
		return http2{w}
	case flushes:
		return flusher{w}
	case hijacks:
		return hijacker{w}
	}
	return w
}

// begin is called before the header is sent. An informational response (1xx)
// is not the response.
func (w *Writer) begin(status int) {
	if !w.begun && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.begun = true
		if h := w.w.Header(); !w.asPut(h) {
			Mark{w.control[0], w.cookie, w.token}.Put(h)
		}
	}
}

// asPut reports whether h still has exactly what putFirst has put there, the usual
// case.
func (w *Writer) asPut(h http.Header) bool {
	vary, control := h["Vary"], h["Cache-Control"]
	return len(vary) == 1 && &vary[0] == &w.vary[0] && (vary[0] == w.token || w.cookie && vary[0] == "Cookie") &&
		len(control) == 1 && &control[0] == &w.control[0] && control[0] != ""
}

// Header implements http.ResponseWriter.
func (w *Writer) Header() http.Header { return w.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	w.begin(status)
	w.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *Writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.w.Write(b)
}

// WriteString implements io.StringWriter.
func (w *Writer) WriteString(s string) (int, error) {
	w.begin(http.StatusOK)
	return io.WriteString(w.w, s)
}

// ReadFrom implements io.ReaderFrom, with which a server sends a file.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	return io.Copy(w.w, r)
}

// FlushError is what http.ResponseController calls.
func (w *Writer) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.w).Flush()
}

// Unwrap is for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.w }

func (w *Writer) flush() { _ = w.FlushError() }

// hijack is for a caller that writes the header itself, often from what Header
// holds.
func (w *Writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.w).Hijack()
}

func (w *Writer) push(target string, opts *http.PushOptions) error {
	if own, ok := w.w.(http.Pusher); ok {
		return own.Push(target, opts)
	}
	return http.ErrNotSupported
}

// Each of these is one pointer, so that it costs no allocation.
type (
	flusher  struct{ *Writer }
	hijacker struct{ *Writer }
	http1    struct{ *Writer }
	http2    struct{ *Writer }
	all      struct{ *Writer }
)

func (f flusher) Flush()                                         { f.flush() }
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return h.hijack() }
func (h http1) Flush()                                           { h.flush() }
func (h http1) Hijack() (net.Conn, *bufio.ReadWriter, error)     { return h.hijack() }
func (h http2) Flush()                                           { h.flush() }
func (h http2) Push(target string, opts *http.PushOptions) error { return h.push(target, opts) }
func (a all) Flush()                                             { a.flush() }
func (a all) Hijack() (net.Conn, *bufio.ReadWriter, error)       { return a.hijack() }
func (a all) Push(target string, opts *http.PushOptions) error   { return a.push(target, opts) }

// A Status is a writer that sends its own status unless the handler sends
// another one. It keeps the mark of the header that was there before, and
// whether the connection ends.
type Status struct {
	http.ResponseWriter
	status int
	mark   Mark
	closes bool
	begun  bool
}

// NewStatus returns a Status above w.
func NewStatus(w http.ResponseWriter, status int) *Status {
	return &Status{ResponseWriter: w, status: status, mark: Of(w.Header()), closes: w.Header().Get("Connection") == "close"}
}

// Begin sends the status if the handler has sent nothing.
func (w *Status) Begin() {
	if !w.begun {
		w.WriteHeader(w.status)
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *Status) WriteHeader(status int) {
	if status >= 200 && !w.begun {
		w.begun = true
		w.mark.Put(w.Header())
		if w.closes {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *Status) Write(b []byte) (int, error) {
	w.Begin()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *Status) Unwrap() http.ResponseWriter { return w.ResponseWriter }
