// Package outbound is the one HTTP client for back-channel calls: size caps,
// a deadline for the whole exchange, no redirects, https or loopback, and
// errors that hold neither secrets nor remote bytes.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// MaxBody caps every response body, counted after decompression. Tokens,
	// metadata and key sets are far smaller; go-oidc reads without a cap.
	MaxBody = 1 << 20

	// Timeout bounds one exchange including the reading of the body, so that
	// a silent peer cannot hold a request for ever.
	Timeout = 10 * time.Second

	// maxResponseHeader caps the response header; providers send a few KiB.
	maxResponseHeader = 64 << 10

	// maxIdlePerHost keeps enough connections for a busy token or
	// introspection endpoint; the standard library keeps two.
	maxIdlePerHost = 16
)

// ErrTooLarge is the error of reading past the limit of a response body.
var ErrTooLarge = errors.New("outbound: response body too large")

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

// NewClient gives a client for back-channel calls. It speaks https, or http
// to a loopback host (to any host with insecureHTTP), follows no redirects
// and keeps no cookies. A 3xx answer is returned as it is. Response bodies
// are capped at [MaxBody] or the limit of [WithLimit]; the exchange ends
// after [Timeout] or at the context's deadline, whichever comes first.
//
// A nil base means a clone of [http.DefaultTransport] with its proxy
// settings. The client is safe for concurrent use. Its errors come wrapped
// in a [*net/url.Error] that names the whole URL: pass them through [Redact].
func NewClient(base http.RoundTripper, insecureHTTP bool) *http.Client {
	if base == nil {
		base = newTransport()
	}
	return &http.Client{
		Transport: &transport{base: base, insecureHTTP: insecureHTTP},
		// A redirect would send client secrets and codes to another place.
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
	t.MaxResponseHeaderBytes = maxResponseHeader
	t.MaxIdleConnsPerHost = maxIdlePerHost
	return t
}

// transport checks the URL, sets the deadline and caps the body.
type transport struct {
	base         http.RoundTripper
	insecureHTTP bool
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkURL(req.URL, t.insecureHTTP); err != nil {
		if req.Body != nil {
			req.Body.Close() // RoundTrip must close it, also on errors
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), Timeout)
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, quiet(err)
	}
	resp.Body = &body{rc: resp.Body, left: limitOf(ctx), cancel: cancel}
	return resp, nil
}

// CloseIdleConnections lets [http.Client.CloseIdleConnections] reach the base.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// body is a response body with a cap. It ends the exchange's context when it
// is closed or fails, so the deadline's timer does not outlive it.
type body struct {
	rc     io.ReadCloser
	left   int64
	err    error // what every further Read gives
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	// One byte more than allowed tells a full body from one too large.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.rc.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), ErrTooLarge
	}
	b.left -= int64(n)
	if err != nil {
		if err != io.EOF && err != ErrTooLarge {
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
