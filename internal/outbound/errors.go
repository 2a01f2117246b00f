package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
)

// maxClip is the most that an error quotes of a peer's text: enough to
// recognise it.
const maxClip = 200

// quietError replaces an error whose text may quote the peer.
type quietError struct{ err error }

func (e *quietError) Error() string { return "outbound: broken HTTP exchange" }
func (e *quietError) Unwrap() error { return e.err }

// quiet keeps errors whose text comes from this machine. It hides the text of
// all others, for example `malformed HTTP response "…"`.
func quiet(err error) error {
	var (
		op       *net.OpError
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		alert    tls.AlertError
		ours     urlError
		done     *quietError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, ErrTooLarge):
		return err
	case errors.As(err, &op), errors.As(err, &dns), errors.As(err, &cert),
		errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &alert),
		errors.As(err, &ours), errors.As(err, &done):
		return err
	}
	return &quietError{err}
}

// Redact makes an error of [http.Client] safe to log. It removes user
// information, query and fragment from the URL and hides what the peer sent,
// for example an unreadable Location. Other errors are returned unchanged.
func Redact(err error) error {
	var ue *url.Error
	if !errors.As(err, &ue) {
		return err
	}
	return &url.Error{Op: ue.Op, URL: Address(ue.URL), Err: quiet(ue.Err)}
}

// Address is what may be shown of a URL: scheme, host and path.
func Address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(unreadable URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Clip shortens a peer's text before it goes into an error.
func Clip(s string) string {
	if len(s) > maxClip {
		s = s[:maxClip] + "…"
	}
	return s
}
