package reliability

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// wire is a client that costs less than net/http's, because it shares the cores
// with what it measures. It holds one connection to each replica, and reads
// pages only. It is for one goroutine.
type wire struct {
	host  string
	lines map[string]*line
	out   []byte
}

type line struct {
	net.Conn
	in *bufio.Reader
}

// get asks a replica for a path as a visitor, whose cookies it does not change.
func (c *wire) get(ctx context.Context, addr string, v *Visitor, path string) (*Answer, error) {
	l := c.lines[addr]
	if l == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		if c.lines == nil {
			c.lines = map[string]*line{}
		}
		l = &line{conn, bufio.NewReader(conn)}
		c.lines[addr] = l
	}
	c.out = append(c.out[:0], "GET "...)
	c.out = append(c.out, v.rely.Path+path+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(c.host, "https://")...)
	c.out = append(c.out, "\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\n"...)
	v.mu.Lock()
	for name, value := range v.cookies { // RFC 9113 allows several fields; RFC 6265 §5.4 wants one
		c.out = append(c.out, "Cookie: "+name+"="+value+"\r\n"...)
	}
	v.mu.Unlock()
	c.out = append(c.out, "\r\n"...)
	begin := time.Now()
	if err := l.SetDeadline(begin.Add(answerPatience)); err != nil {
		return nil, err
	}
	if _, err := l.Write(c.out); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: resp.StatusCode, Body: string(body), Location: resp.Header.Get("Location"), Took: time.Since(begin)}
	a.Clears = slices.ContainsFunc(resp.Cookies(), takesAway)
	return a, nil
}

func (c *wire) close() {
	for _, l := range c.lines {
		_ = l.Close()
	}
}
