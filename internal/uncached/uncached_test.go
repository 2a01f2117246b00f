package uncached_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse/internal/uncached"
)

var mark = uncached.Mark{Control: "no-store", Cookie: true, Token: "Authorization"}

// However a handler begins its response, the mark is on it.
func TestServe(t *testing.T) {
	for name, h := range map[string]func(w http.ResponseWriter){
		"nothing":     func(http.ResponseWriter) {},
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"Write":       func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"WriteString": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
		"Copy":        func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("x")) },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":  func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		w := httptest.NewRecorder()
		new(uncached.Writer).Serve(w, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			clear(w.Header())
			h(w)
		}), mark)
		got := w.Result().Header
		if got.Get("Cache-Control") != "no-store" || !slices.Equal(got["Vary"], []string{"Cookie", "Authorization"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The handler's own Cache-Control counts, and what Vary names already is not
// named twice.
func TestHandlersOwnHeaders(t *testing.T) {
	for vary, want := range map[string][]string{
		"":                           {"Cookie", "Authorization"},
		"cookie":                     {"cookie", "Authorization"},
		"Accept, Cookie":             {"Accept, Cookie", "Authorization"},
		"*":                          {"*"},
		"Cookie-Law,  authorization": {"Cookie-Law,  authorization", "Cookie"},
	} {
		w := httptest.NewRecorder()
		new(uncached.Writer).Serve(w, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			clear(w.Header())
			w.Header().Set("Cache-Control", "private, max-age=60")
			if vary != "" {
				w.Header().Set("Vary", vary)
			}
			w.WriteHeader(http.StatusOK)
		}), mark)
		got := w.Result().Header
		if got.Get("Cache-Control") != "private, max-age=60" || !slices.Equal(got["Vary"], want) {
			t.Errorf("Vary %q: %v, want %q", vary, got, want)
		}
	}
}

// bare is a writer with the three methods alone.
type bare struct{ http.ResponseWriter }

// pushing is a writer as HTTP/2 has it.
type pushing struct{ *httptest.ResponseRecorder }

func (pushing) Push(string, *http.PushOptions) error { return http.ErrUseLastResponse }

// hijacking is a writer as HTTP/1.1 has it.
type hijacking struct{ *httptest.ResponseRecorder }

func (hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, net.ErrClosed }

// seizing is a writer that can only be taken over.
type seizing struct{ http.ResponseWriter }

func (seizing) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, net.ErrClosed }

// everything is a wrapper that has all methods.
type everything struct{ hijacking }

func (everything) Push(string, *http.PushOptions) error { return http.ErrUseLastResponse }

// A handler finds the optional methods of the writer below, and no others.
func TestOptionalMethods(t *testing.T) {
	for name, c := range map[string]struct {
		w                        http.ResponseWriter
		flushes, hijacks, pushes bool
	}{
		"bare":   {bare{httptest.NewRecorder()}, false, false, false},
		"seized": {seizing{bare{httptest.NewRecorder()}}, false, true, false},
		"all":    {everything{hijacking{httptest.NewRecorder()}}, true, true, true},
		"plain":  {httptest.NewRecorder(), true, false, false},
		"http/1": {hijacking{httptest.NewRecorder()}, true, true, false},
		"http/2": {pushing{httptest.NewRecorder()}, true, false, true},
	} {
		new(uncached.Writer).Serve(c.w, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, flushes := w.(http.Flusher)
			h, hijacks := w.(http.Hijacker)
			p, pushes := w.(http.Pusher)
			if flushes != c.flushes || hijacks != c.hijacks || pushes != c.pushes {
				t.Errorf("%s: flushes %v, hijacks %v, pushes %v", name, flushes, hijacks, pushes)
			}
			if hijacks {
				if _, _, err := h.Hijack(); err != net.ErrClosed {
					t.Errorf("%s: Hijack: %v", name, err)
				}
			}
			if pushes {
				if err := p.Push("/x", nil); err != http.ErrUseLastResponse {
					t.Errorf("%s: Push: %v", name, err)
				}
			}
		}), mark)
	}
}

func TestOf(t *testing.T) {
	for _, vary := range [][]string{nil, {"Accept, authorization"}, {"cookie,Authorization", "Accept"}} {
		h := http.Header{"Vary": vary}
		mark.Put(h)
		if got := uncached.Of(h); got != mark {
			t.Errorf("Vary %q: %+v, want %+v", vary, got, mark)
		}
	}
}

// finals is a writer to which informational answers are nothing.
type finals struct{ *httptest.ResponseRecorder }

func (f finals) WriteHeader(status int) {
	if status >= 200 {
		f.ResponseRecorder.WriteHeader(status)
	}
}

// An informational answer is not the answer: what is removed after it is put
// back too.
func TestInformational(t *testing.T) {
	w := finals{httptest.NewRecorder()}
	new(uncached.Writer).Serve(w, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		w.WriteHeader(http.StatusNotModified)
	}), mark)
	if got := w.Result().Header; got.Get("Cache-Control") != "no-store" || len(got["Vary"]) != 2 {
		t.Errorf("%v", got)
	}
}

// A refusal keeps its status, its mark and the end of its connection, whatever
// the handler clears.
func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		h    func(w http.ResponseWriter)
		want int
	}{
		"nothing":    {func(http.ResponseWriter) {}, 403},
		"a body":     {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") }, 403},
		"own status": {func(w http.ResponseWriter) { w.WriteHeader(404) }, 404},
		"two":        {func(w http.ResponseWriter) { w.WriteHeader(404); w.WriteHeader(200) }, 404},
	} {
		w := httptest.NewRecorder()
		mark.Put(w.Header())
		w.Header().Set("Connection", "close")
		own := uncached.NewStatus(w, http.StatusForbidden)
		clear(w.Header())
		c.h(own)
		own.Begin()
		if got := w.Result(); got.StatusCode != c.want || uncached.Of(got.Header) != mark || got.Header.Get("Connection") != "close" {
			t.Errorf("%s: %d, %v", name, got.StatusCode, got.Header)
		}
	}
}
