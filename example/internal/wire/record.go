package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxBody is how much of a body is read for the record. Protocol messages are
// smaller. Of a longer body nothing is shown, but all of it passes through.
const maxBody = 64 << 10

// formTime bounds the wait for a form.
const formTime = 5 * time.Second

// Transport records what a party sends through base, nil for
// http.DefaultTransport.
func (rec *Recorder) Transport(party string, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{rec: rec, party: party, base: base}
}

type transport struct {
	rec   *Recorder
	party string
	base  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := t.rec
	to := rec.at(r.URL.Scheme + "://" + r.URL.Host)
	v := rec.visitOf(r.Context(), t.party)
	span := newSpan()
	rec.mu.Lock()
	c := v.step.reserve(v.call)
	if to.Local {
		rec.spans[span] = c
	}
	rec.mu.Unlock()

	out := r.Clone(r.Context())
	seen := exchange{from: rec.actor(t.party), to: to, method: r.Method, url: r.URL, requestHeader: r.Header}
	if r.Body != nil && r.Body != http.NoBody {
		seen.requestBody, out.Body = peek(r.Body)
	}
	if to.Local {
		out.Header.Set("Traceparent", traceparent(v.hash, span))
	}
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		seen.failed = true
	} else {
		seen.status, seen.responseHeader = resp.StatusCode, resp.Header
		seen.responseBody, resp.Body = peek(resp.Body)
		resp.Request = r
	}
	rec.fill(c, seen)
	rec.mu.Lock()
	delete(rec.spans, span)
	rec.mu.Unlock()
	return resp, err
}

// nobody is the thread of calls that belong to no browser.
const nobody = "00000000000000000000000000000000"

// traceparent names the click to another party (W3C Trace Context §3.2), which
// then leaves the recording to the sender.
func traceparent(hash, span string) string {
	if hash == "" {
		hash = nobody
	}
	return "00-" + hash + "-" + span + "-01"
}

func newSpan() string {
	var span [8]byte
	rand.Read(span[:])
	return hex.EncodeToString(span[:])
}

// peek reads the beginning of a body, and returns it with a reader of the whole
// body.
func peek(body io.ReadCloser) ([]byte, io.ReadCloser) {
	begin, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	rest := io.MultiReader(bytes.NewReader(begin), body)
	if err != nil {
		rest = io.MultiReader(bytes.NewReader(begin), failing{err})
	}
	whole := struct {
		io.Reader
		io.Closer
	}{rest, body}
	if len(begin) > maxBody {
		return nil, whole
	}
	return begin, whole
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Handler records what browsers and strangers send to a party. What another
// party sends is recorded by its Transport. An event stream is not recorded: it
// belongs to no click, and what is sent while it is open does not belong to it.
func (rec *Recorder) Handler(party string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "text/event-stream" {
			next.ServeHTTP(w, r)
			return
		}
		v, recorded := rec.arrive(w, r, party)
		rec.enter(party, v)
		defer rec.leave(party, v)
		r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
		if recorded {
			next.ServeHTTP(w, r)
			return
		}
		seen := exchange{from: browser, to: rec.actor(party), method: r.Method, url: r.URL, requestHeader: r.Header.Clone()}
		if v.thread == rec.common {
			seen.from = stranger
		}
		if r.Body != nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			// The party bounds the time of a body, but only after this. The server
			// clears the deadline at the end of the body.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTime))
			seen.requestBody, r.Body = peek(r.Body)
		}
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		seen.status, seen.responseHeader = answer.status, w.Header()
		rec.fill(v.call, seen)
		rec.turn(v, r, answer.status)
	})
}

// arrive finds out to which click a request belongs. It reserves a place for
// the message unless the sender records it.
func (rec *Recorder) arrive(w http.ResponseWriter, r *http.Request, party string) (v *visit, recorded bool) {
	parts := strings.Split(r.Header.Get("Traceparent"), "-")
	hash := ""
	if len(parts) != 4 {
		hash = browserOf(w, r)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(parts) == 4 {
		if t := rec.threadOf(parts[1], false); t != nil {
			return &visit{thread: t, step: t.last(), call: rec.spans[parts[2]], hash: parts[1]}, true
		}
		if parts[1] == nobody {
			return &visit{thread: rec.common, step: rec.common.last(), call: rec.spans[parts[2]]}, true
		}
	}
	title := r.Method + " " + shownPath(r.URL) + " at the " + rec.actor(party).Name
	if hash == "" {
		v = &visit{thread: rec.common, step: rec.common.click(title)}
		v.call = v.step.reserve(nil)
		return v, false
	}
	v = &visit{thread: rec.threadOf(hash, true), hash: hash}
	if opensPage(r) {
		v.step = v.thread.click(title)
	} else {
		v.step = v.thread.last()
	}
	v.call = v.step.reserve(nil)
	return v, false
}

// turn notes whether the click continues with a redirect.
func (rec *Recorder) turn(v *visit, r *http.Request, status int) {
	if !opensPage(r) {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	v.thread.open = status >= 300 && status < 400
}

// fill completes a message for which a place was reserved.
func (rec *Recorder) fill(c *call, seen exchange) {
	shown := seen.message()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	c.message = shown
	rec.tell()
}

// answer notes the status that a handler gives.
type answer struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if !a.wrote && status >= 200 {
		a.status, a.wrote = status, true
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.wrote = true
	return a.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
