package opserver

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// hugeAnswer is how much white space [HugeAnswer] sends: far more than a client
// has reason to read.
const hugeAnswer = 8 << 20

// faultSet holds the active faults and the held requests.
type faultSet struct {
	mu     sync.Mutex
	on     map[Fault][]string // endpoints; none means all
	hooks  map[string]func(*http.Request)
	freed  chan struct{} // closed when held requests may go
	closed bool
}

func (f *faultSet) init() {
	f.on, f.hooks, f.freed = map[Fault][]string{}, map[string]func(*http.Request){}, make(chan struct{})
}

// SetFault switches a fault on or off. An unknown fault is an error.
func (s *Server) SetFault(fault Fault, on bool) error { return s.SetFaultAt(fault, on) }

// SetFaultAt is SetFault for the named endpoints only. It is for the faults
// that any endpoint can have; the others have a fixed place.
func (s *Server) SetFaultAt(fault Fault, on bool, endpoints ...string) error {
	if !slices.Contains(Faults(), fault) {
		return fmt.Errorf("opserver: no fault is called %q", fault)
	}
	for _, e := range endpoints {
		if !slices.Contains(Endpoints(), e) {
			return fmt.Errorf("opserver: no endpoint is called %q", e)
		}
	}
	if on && (fault == LostPAT || fault == LostResource) {
		s.forget(fault)
	}
	f := &s.wrong
	f.mu.Lock()
	defer f.mu.Unlock()
	if on {
		f.on[fault] = slices.Clone(endpoints)
		return nil
	}
	delete(f.on, fault)
	if fault == AuthorizationServerHangs {
		f.free()
	}
	return nil
}

// OnRequest makes every request to the endpoint call hook before it is
// processed; nil removes the hook. A hook that blocks holds the request.
func (s *Server) OnRequest(endpoint string, hook func(*http.Request)) {
	mustBeEndpoint(endpoint)
	s.wrong.mu.Lock()
	defer s.wrong.mu.Unlock()
	if hook == nil {
		delete(s.wrong.hooks, endpoint)
		return
	}
	s.wrong.hooks[endpoint] = hook
}

// has reports whether a fault is on.
func (f *faultSet) has(fault Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, on := f.on[fault]
	return on
}

// free releases held requests. The lock is held.
func (f *faultSet) free() {
	close(f.freed)
	f.freed = make(chan struct{})
}

// release ends all holding for good.
func (f *faultSet) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	delete(f.on, AuthorizationServerHangs)
	f.free()
}

// at reports whether a fault is on for an endpoint.
func (f *faultSet) at(fault Fault, endpoint string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	where, on := f.on[fault]
	return on && (len(where) == 0 || slices.Contains(where, endpoint))
}

// play applies the faults that any endpoint can have. It returns the writer
// through which the endpoint must answer, or nil if it must not answer. trap is
// the target of a redirect.
func (f *faultSet) play(w http.ResponseWriter, r *http.Request, name string, human bool, trap string) http.ResponseWriter {
	f.mu.Lock()
	hook := f.hooks[name]
	f.mu.Unlock()
	if hook != nil {
		hook(r)
	}
	if f.at(AuthorizationServerHangs, name) && !f.hold(r) {
		return nil
	}
	switch {
	case f.at(TokenEndpointDown, name) && name == EndpointToken:
		http.Error(w, "the token endpoint is out of order", http.StatusInternalServerError)
	case f.at(IntrospectionDown, name) && name == EndpointIntrospect, f.at(EndpointDown, name):
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	case f.at(EndpointFails, name):
		http.Error(w, "out of order", http.StatusInternalServerError)
	case f.at(EndpointGone, name):
		http.NotFound(w, r)
	case human:
		return w
	case f.at(HTMLAnswer, name):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Maintenance</title><p>Back soon.</p>")
	case f.at(RedirectingAnswer, name):
		w.Header().Set("Location", trap)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case f.at(HugeAnswer, name):
		return &paddedWriter{ResponseWriter: w}
	case f.at(TruncatedAnswer, name):
		return &cuttingWriter{ResponseWriter: w}
	default:
		return w
	}
	return nil
}

// paddedWriter puts white space before a JSON answer, which stays valid.
type paddedWriter struct {
	http.ResponseWriter
	padded bool
}

func (p *paddedWriter) Write(b []byte) (int, error) {
	if !p.padded {
		p.padded = true
		blank := []byte(strings.Repeat(" ", 1<<16))
		for range hugeAnswer / len(blank) {
			if _, err := p.ResponseWriter.Write(blank); err != nil {
				return 0, err // the client has read enough
			}
		}
	}
	return p.ResponseWriter.Write(b)
}

// cuttingWriter announces an answer, sends half of it and lets the connection
// end.
type cuttingWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader waits until the length is known.
func (c *cuttingWriter) WriteHeader(status int) { c.status = status }

func (c *cuttingWriter) Write(b []byte) (int, error) {
	c.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.ResponseWriter.WriteHeader(c.status)
	_, err := c.ResponseWriter.Write(b[:len(b)/2])
	return len(b), err
}

// hold keeps a request until the fault ends, and reports whether it must still
// be answered. It reads the body first, because only then does net/http notice
// a client that leaves.
func (f *faultSet) hold(r *http.Request) bool {
	f.mu.Lock()
	freed, closed := f.freed, f.closed
	f.mu.Unlock()
	if closed {
		return true
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	select {
	case <-freed:
		return true
	case <-r.Context().Done():
		return false
	}
}
