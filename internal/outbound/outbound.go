// Package outbound is the one HTTP client for back-channel calls. It has size
// caps and a deadline for the whole exchange, follows no redirects, requires
// https or loopback, and returns errors without secrets or bytes from the peer.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// MaxBody caps every response body, counted after decompression. Tokens,
	// metadata and key sets are far smaller. go-oidc reads without a cap.
	MaxBody = 1 << 20

	// Timeout bounds one exchange, including reading the body, so that a silent
	// peer cannot hold a request forever.
	Timeout = 10 * time.Second

	// maxResponseHeader caps the response header; providers send a few KiB.
	maxResponseHeader = 64 << 10

	// maxIdlePerHost keeps enough connections for a busy token or introspection
	// endpoint. The standard library keeps two.
	maxIdlePerHost = 16
)

// ErrTooLarge means that a response body is larger than its limit.
var ErrTooLarge = errors.New("outbound: response body too large")

// SizeError is an [ErrTooLarge] that names the limit.
type SizeError struct{ Limit int64 }

func (e *SizeError) Error() string {
	return ErrTooLarge.Error() + ": more than " + strconv.FormatInt(e.Limit, 10) + " bytes"
}

func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

type limitKey struct{}

// WithLimit lowers the cap on response bodies of requests made with the
// returned context to n bytes. It never raises it.
func WithLimit(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, limitKey{}, max(0, min(n, limitOf(ctx))))
}

func limitOf(ctx context.Context) int64 {
	if n, ok := ctx.Value(limitKey{}).(int64); ok {
		return n
	}
	return MaxBody
}

// NewClient returns a client for back-channel calls. It requires https, or http
// to a loopback host (to any host with insecureHTTP). It follows no redirects
// and keeps no cookies; a 3xx answer is returned as it is. Response bodies are
// capped at [MaxBody] or the limit of [WithLimit]. The exchange ends after
// [Timeout] or at the context's deadline, whichever comes first.
//
// A nil base means a clone of [http.DefaultTransport] with its proxy settings.
// The client is safe for concurrent use. Its errors are wrapped in a
// [*net/url.Error] that contains the whole URL: pass them through [Redact].
func NewClient(base http.RoundTripper, insecureHTTP bool) *http.Client {
	if base == nil {
		base = newTransport()
	}
	return &http.Client{
		Transport: &transport{base: base, insecureHTTP: insecureHTTP},
		// Following a redirect would send client secrets and codes elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport() *http.Transport {
	var t *http.Transport
	if std, ok := http.DefaultTransport.(*http.Transport); ok {
		t = std.Clone()
	} else {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
	t.DialContext = dialLocalhost(t.DialContext)
	t.Proxy = proxyOthers(t.Proxy)
	t.MaxResponseHeaderBytes = maxResponseHeader
	t.MaxIdleConnsPerHost = maxIdlePerHost
	return t
}

// dialLocalhost dials localhost for every name below it, without asking for
// that name: what a resolver answers might not be this machine (RFC 6761 §6.3).
func dialLocalhost(dial dialFunc) dialFunc {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && isLocalhost(host) {
			address = net.JoinHostPort("localhost", port)
		}
		return dial(ctx, network, address)
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// proxyOthers sends no request to this machine through a proxy. The standard
// library does the same, but does not know the names below localhost.
func proxyOthers(proxy proxyFunc) proxyFunc {
	if proxy == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		if isLocalhost(r.URL.Hostname()) {
			return nil, nil
		}
		return proxy(r)
	}
}

type proxyFunc = func(*http.Request) (*url.URL, error)

// transport checks the URL, sets the deadline and caps the body.
type transport struct {
	base         http.RoundTripper
	insecureHTTP bool
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkURL(req.URL, t.insecureHTTP); err != nil {
		if req.Body != nil {
			req.Body.Close() // RoundTrip must close it, even on errors
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), Timeout)
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, quiet(err)
	}
	resp.Body = &body{rc: resp.Body, left: limitOf(ctx), limit: limitOf(ctx), cancel: cancel}
	return resp, nil
}

// CloseIdleConnections lets [http.Client.CloseIdleConnections] reach the base.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// body is a response body with a cap. When it is closed or fails, it ends the
// exchange's context, so that the deadline's timer does not outlive it.
type body struct {
	rc     io.ReadCloser
	left   int64
	limit  int64
	err    error // what every further Read returns
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	// One extra byte distinguishes a full body from one that is too large.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.rc.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), &SizeError{b.limit}
	}
	b.left -= int64(n)
	if err != nil {
		if err != io.EOF {
			err = quiet(err)
		}
		b.err = err
		b.cancel()
	}
	return n, err
}

func (b *body) Close() error {
	err := b.rc.Close()
	b.cancel()
	return err
}
