// Package inbound bounds the body of a request, in bytes and in time.
//
// It knows requests and the connection below them. It must not know handlers:
// its caller says what the bounds are and answers what is too slow.
package inbound

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"example.com/gatehouse/internal/flight"
)

// Bodies are the bodies that are being read. The zero value is ready to use. A
// Bodies is safe for concurrent use and must not be copied.
type Bodies struct {
	reads flight.Group[*body, read]
}

// Bound returns the request with a body of at most size bytes that has to
// arrive within d. A later read fails with os.ErrDeadlineExceeded. The server
// keeps to d too when it looks for the end of a body that nobody read.
//
// If w cannot set a deadline, because a wrapper around the server's writer has
// no Unwrap, a read ends in time all the same, and the connection ends with the
// answer, unless the whole body was read before.
func (b *Bodies) Bound(w http.ResponseWriter, r *http.Request, size int64, d time.Duration) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	capped := *r // a copy, because the request belongs to the caller
	capped.Body = http.MaxBytesReader(w, r.Body, size)
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout > 0 && server.ReadTimeout <= d {
		return &capped // the server is stricter, and its deadline began earlier
	}
	// The server clears the deadline at the end of the body, and before the next
	// request of the connection.
	until := time.Now().Add(d)
	if http.NewResponseController(w).SetReadDeadline(until) == nil {
		return &capped
	}
	if r.ProtoMajor == 1 { // without this, the server answers only when the body is there
		w.Header().Set("Connection", "close")
	}
	capped.Body = &body{ReadCloser: capped.Body, all: b, w: w, ctx: r.Context(), until: until, d: d}
	return &capped
}

// Wait returns when no read is under way, or with the error of ctx.
func (b *Bodies) Wait(ctx context.Context) error { return b.reads.Wait(ctx) }

// body is one whose connection takes no deadline. A read that is late goes on
// in a flight, until the server ends it after the handler has returned.
type body struct {
	io.ReadCloser
	all   *Bodies
	w     http.ResponseWriter
	ctx   context.Context // of the request
	until time.Time
	d     time.Duration
}

type read struct {
	bytes []byte
	err   error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	ctx, cancel := context.WithDeadline(b.ctx, b.until)
	defer cancel()
	got, err := b.all.reads.Do(ctx, b, b.d, func(context.Context) (read, error) {
		own := make([]byte, len(p)) // not p, which the caller has back when the read is late
		n, err := b.ReadCloser.Read(own)
		return read{own[:n], err}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	if got.err == io.EOF {
		b.w.Header().Del("Connection") // another request may follow
	}
	return copy(p, got.bytes), got.err
}
