//go:build unix

package backing

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// RedisError is an error that the server answered, such as "NOAUTH …".
type RedisError string

// Error implements error.
func (e RedisError) Error() string { return string(e) }

// Do sends one command on a connection of its own and returns the answer: a
// string, an int64, nil, or a []any of these. It is for commands that
// administrators send. It is safe for concurrent use.
func (r *Redis) Do(ctx context.Context, args ...string) (any, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Closing the connection ends a call that hangs.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if r.TLS != nil {
		conn = tls.Client(conn, r.TLS)
	}
	answers := bufio.NewReader(conn)
	if r.Password != "" {
		if _, err := exchange(conn, answers, "AUTH", r.Password); err != nil {
			return nil, err
		}
	}
	return exchange(conn, answers, args...)
}

// exchange sends a command and reads its answer.
func exchange(w io.Writer, answers *bufio.Reader, args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return nil, err
	}
	return readAnswer(answers)
}

// readAnswer reads one value of RESP 2.
func readAnswer(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("redis answered an empty line")
	}
	kind, text := line[0], line[1:]
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, RedisError(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("redis answered %q", line)
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		value := make([]byte, n+2)
		if _, err := io.ReadFull(r, value); err != nil {
			return nil, err
		}
		return string(value[:n]), nil
	case kind != '*':
		return nil, fmt.Errorf("redis answered %q", line)
	}
	values := make([]any, n)
	for i := range values {
		if values[i], err = readAnswer(r); err != nil {
			return nil, err
		}
	}
	return values, nil
}
