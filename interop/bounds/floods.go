package bounds

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// floodEnd is where a flood stops: a client that has read so much would read
// on.
const floodEnd = 64 << 20

// drop is the pause between the bytes of a slow answer. dropsEnd is how many
// there are: they take twice as long as a call may.
const (
	drop     = 500 * time.Millisecond
	dropsEnd = int(2 * MaxTime / drop)
)

// floodMark is the header that identifies an answer of a flood.
const floodMark = "X-Flood"

// A flood is a way of answering without end.
type flood struct {
	name   string
	answer http.HandlerFunc
	// header says that it is the header that does not end. Our own transport
	// handles it, and what is read is not counted.
	header bool
	fits   bool // within the cap, so it may be accepted
}

// floods returns all floods but the slow one, for an answer of which this much
// may be read.
func floods(most int64) []flood {
	return []flood{
		{name: "members up to the cap", answer: members(most), fits: true},
		{name: "without end", answer: endless(http.StatusOK)},
		{name: "a refusal without end", answer: endless(http.StatusBadRequest)},
		{name: "gzip without end", answer: zipped()},
		{name: "a header without end", answer: lines("HTTP/1.1 200 OK\r\n", "X-Line: some value\r\n"), header: true},
		{name: "early hints without end", answer: lines("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), header: true},
	}
}

// slow is an answer that sends a byte from time to time.
var slow = flood{name: "drop by drop", answer: func(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(drop)
	defer tick.Stop()
	w.Header().Set(floodMark, "yes")
	for range dropsEnd {
		if _, err := io.WriteString(w, " "); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}}

// pour writes the beginning of a JSON object and then a text that does not end.
func pour(w io.Writer) {
	block := bytes.Repeat([]byte("x"), 32<<10)
	_, err := io.WriteString(w, `{"error":"`)
	for n := 0; err == nil && n < floodEnd; n += len(block) {
		_, err = w.Write(block)
	}
}

// members makes an object that just fits a cap, of as many members as possible.
func members(most int64) http.HandlerFunc {
	body := []byte(`{"x":0`)
	for n := 0; len(body) < int(most)-16; n++ {
		body = fmt.Appendf(body, `,"%x":0`, n)
	}
	body = append(body, '}')
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(floodMark, "yes")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client is gone
	}
}

func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(floodMark, "yes")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		pour(w)
	}
}

// zipped sends a thousandth of what has to be read: a gzip member of 1 MiB
// again and again, which RFC 1952 §2.2 makes one file.
func zipped() http.HandlerFunc {
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(bytes.Repeat([]byte("x"), 1<<20)) // a buffer takes it
	_ = z.Close()
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			endless(http.StatusOK)(w, r)
			return
		}
		w.Header().Set(floodMark, "yes")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		var err error
		for n := 0; err == nil && n < floodEnd; n += 1 << 20 {
			_, err = w.Write(member.Bytes())
		}
	}
}

// lines writes to the connection itself.
func lines(first, line string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, first)
		block := bytes.Repeat([]byte(line), 1000)
		for n := 0; err == nil && n < floodEnd; n += len(block) {
			_, err = conn.Write(block)
		}
	}
}

// counting is a transport that counts how much is read of the bodies of floods,
// after decompression. It keeps the largest count of one answer.
type counting struct {
	base *http.Transport
	most atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.base.RoundTrip(r)
	if err == nil && resp.Header.Get(floodMark) != "" {
		resp.Body = &countingBody{ReadCloser: resp.Body, most: &c.most}
	}
	return resp, err
}

type countingBody struct {
	io.ReadCloser
	read int64
	most *atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	for most := b.most.Load(); b.read > most && !b.most.CompareAndSwap(most, b.read); most = b.most.Load() {
	}
	return n, err
}

// listen serves a handler on loopback until stop.
func listen(handler http.Handler) (address string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with Close
	}()
	return "http://" + l.Addr().String(), func() error {
		err := server.Close()
		<-served
		return err
	}, nil
}
