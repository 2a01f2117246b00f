package inbound_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse/internal/inbound"
)

// timed is a writer that records the deadline.
type timed struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (w *timed) SetReadDeadline(until time.Time) error { w.until = until; return nil }

// The deadline is set on the connection, unless the server is stricter.
func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		server time.Duration
		set    bool
	}{{0, true}, {time.Minute, true}, {5 * time.Second, false}, {time.Second, false}} {
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(nil, 0))
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{ReadTimeout: c.server}))
		new(inbound.Bodies).Bound(w, r, 10, 5*time.Second)
		if !w.until.IsZero() != c.set || w.Header().Get("Connection") != "" {
			t.Errorf("ReadTimeout %v: deadline %v, %v", c.server, w.until, w.Header())
		}
	}
}

// A request without a body is left alone.
func TestNoBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		r := &http.Request{Body: body}
		if got := new(inbound.Bodies).Bound(httptest.NewRecorder(), r, 10, time.Second); got != r {
			t.Errorf("another request for the body %v", body)
		}
	}
}

// Below a writer without deadlines, a late read ends all the same. What arrives
// afterwards goes nowhere, and Wait waits for it.
func TestLateRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, release := io.Pipe()
		w := httptest.NewRecorder()
		original := httptest.NewRequest(http.MethodPost, "/", hold)
		bodies := new(inbound.Bodies)
		r := bodies.Bound(w, original, 10, 5*time.Second)
		if r == original || original.Body != hold || w.Header().Get("Connection") != "close" {
			t.Errorf("the caller's request was changed, or the connection stays: %v", w.Header())
		}
		p := []byte("....")
		began := time.Now()
		for range 2 {
			if n, err := r.Body.Read(p); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d, %v", n, err)
			}
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		_, _ = release.Write([]byte("late"))
		if err := bodies.Wait(t.Context()); err != nil || string(p) != "...." {
			t.Errorf("%v, the buffer has %q", err, p)
		}
	})
}

// A body that arrives is read whole, within its size, and the connection goes
// on.
func TestHonestRead(t *testing.T) {
	for text, whole := range map[string]bool{"": true, "0123456789": true, "0123456789x": false} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(&drip{text}))
		r = new(inbound.Bodies).Bound(w, r, 10, 5*time.Second)
		got, err := io.ReadAll(r.Body)
		if (err == nil) != whole || whole && string(got) != text || (w.Header().Get("Connection") == "") != whole {
			t.Errorf("%q: %q, %v, %v", text, got, err, w.Header())
		}
	}
}

// drip is a reader of one byte at a time.
type drip struct{ left string }

func (s *drip) Read(p []byte) (int, error) {
	if s.left == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], s.left)
	s.left = s.left[n:]
	return n, nil
}
