package bench

import (
	"fmt"
	"net/http"
	"testing"

	"example.com/gatehouse/bench/paired"
)

// writer is a ResponseWriter that is reused.
type writer struct {
	header http.Header
	code   int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }
func (w *writer) WriteHeader(code int)        { w.code = code }

// subject hands requests to a middleware around an empty handler, in turn. It
// is for one goroutine.
type subject struct {
	name     string
	handler  http.Handler
	requests []*http.Request

	w             writer
	asked, served int
}

// newSubject wraps the empty handler, which only counts its calls.
func newSubject(name string, middleware func(http.Handler) http.Handler, requests []*http.Request) *subject {
	s := &subject{name: name, requests: requests, w: writer{header: http.Header{}}}
	s.handler = middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.served++ }))
	return s
}

// once is the operation. It copies the request, because a server has a fresh
// one every time.
func (s *subject) once() {
	clear(s.w.header)
	r := *s.requests[s.asked%len(s.requests)]
	s.asked++
	s.handler.ServeHTTP(&s.w, &r)
}

// check fails if a request did not reach the handler, or if its answer was not
// the handler's.
func (s *subject) check(t *testing.T) {
	t.Helper()
	if s.asked == 0 || s.asked != s.served || s.w.code != 0 {
		t.Errorf("%s: %d of %d requests reached the handler, status %d", s.name, s.served, s.asked, s.w.code)
	}
}

// subjects makes the subjects for package paired. Each has answered all its
// requests before.
func subjects(t *testing.T, list ...*subject) []paired.Subject {
	t.Helper()
	var out []paired.Subject
	for _, s := range list {
		for range s.requests {
			s.once()
		}
		s.check(t)
		out = append(out, paired.Loop(s.name, s.once))
	}
	return out
}

// requests returns one request for each of n.
func requests(n int, cookie func(i int) string) []*http.Request {
	var out []*http.Request
	for i := range n {
		out = append(out, get(fmt.Sprintf("https://notes.example.org/notes/%d", i), cookie(i)))
	}
	return out
}
