package offline_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"example.com/gatehouse/internal/testkit/offline"
)

const origin = "https://notes.test"

func get(t *testing.T, n *offline.Net, address string) (*http.Response, string, error) {
	t.Helper()
	resp, err := (&http.Client{Transport: n}).Get(address)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// A handler sees what a server would show it, and a client gets what a server
// would send.
func TestRequestAndAnswer(t *testing.T) {
	n := &offline.Net{}
	n.Serve(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "words" || r.ContentLength != 5 || r.Method != http.MethodPost {
			t.Errorf("%s %q of %d, %v", r.Method, body, r.ContentLength, err)
		}
		if r.Host != "notes.test" || r.RequestURI != "/a%2Fb?c=d" || r.TLS == nil || r.RemoteAddr == "" {
			t.Errorf("Host %q, RequestURI %q, TLS %v, RemoteAddr %q", r.Host, r.RequestURI, r.TLS, r.RemoteAddr)
		}
		w.Header().Set("X-Early", "1")
		_, _ = io.WriteString(w, "<!doctype html><p>answer")
		w.Header().Set("X-Late", "1") // too late, as over a connection
		w.WriteHeader(http.StatusTeapot)
	}))
	resp, err := (&http.Client{Transport: n}).Post(origin+"/a%2Fb?c=d", "text/plain", strings.NewReader("words"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "<!doctype html><p>answer" || resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(body)) {
		t.Errorf("%d %q of %d, %v", resp.StatusCode, body, resp.ContentLength, err)
	}
	if resp.Header.Get("X-Early") != "1" || resp.Header.Get("X-Late") != "" || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("header %v", resp.Header)
	}
}

// HEAD has no body, but has its length.
func TestHead(t *testing.T) {
	n := &offline.Net{}
	n.Serve(origin, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "abc")
	}))
	resp, err := (&http.Client{Transport: n}).Head(origin)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); len(body) != 0 || err != nil || resp.ContentLength != 3 {
		t.Errorf("%q of %d, %v", body, resp.ContentLength, err)
	}
}

// An origin that is missing or down refuses connections. One that goes down
// cuts running requests. An answer that breaks off is an error.
func TestTrouble(t *testing.T) {
	n := &offline.Net{}
	if _, _, err := get(t, n, origin); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
	held := make(chan struct{})
	n.Serve(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			close(held)
			<-r.Context().Done()
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	}))
	if _, body, err := get(t, n, origin+"/short"); body != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", body, err)
	}
	if _, _, err := get(t, n, origin+"/abort"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	done := make(chan error)
	go func() {
		_, _, err := get(t, n, origin+"/hang")
		done <- err
	}()
	<-held
	n.Down(origin)
	if err := <-done; !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	n.Wait()
	if _, _, err := get(t, n, origin+"/short"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("down: %v", err)
	}
	n.Up(origin)
	if resp, _, err := get(t, n, origin+"/"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("up again: %v", err)
	}
}

// A request that a host answers while it goes down is cut, and one whose client
// has left has no answer, even if the handler ends at that moment.
func TestEndsAtOnce(t *testing.T) {
	n := &offline.Net{}
	leaves := func() error {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		n.Serve(origin, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leave() }))
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, origin, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.RoundTrip(r)
		return err
	}
	for range 20_000 {
		n.Serve(origin, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Down(origin) }))
		if _, _, err := get(t, n, origin); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("down: %v", err)
		}
		if err := leaves(); !errors.Is(err, context.Canceled) {
			t.Fatalf("the client has left: %v", err)
		}
	}
}

// A client that leaves does not wait for the handler, whose context ends.
func TestClientLeaves(t *testing.T) {
	n := &offline.Net{}
	ctx, leave := context.WithCancel(t.Context())
	n.Serve(origin, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leave()
		<-r.Context().Done()
	}))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, origin, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	n.Wait()
	if _, err := n.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A handler that panics fails the test that made the request.
func TestPanic(t *testing.T) {
	n := &offline.Net{}
	n.Serve(origin, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("of the handler") }))
	defer func() {
		if got := recover(); got != "of the handler" {
			t.Errorf("recovered %v", got)
		}
	}()
	_, _, err := get(t, n, origin)
	t.Errorf("got %v", err)
}
