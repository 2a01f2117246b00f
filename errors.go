package gatehouse

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/lease"
	"example.com/gatehouse/internal/outbound"
)

// Error is the error type of every guard and handler of this package. Message
// and ID are for the client; Err is for the log. docs/errors.md lists every
// code.
type Error struct {
	// Code names the failure, for example "nonce_mismatch". It does not change
	// between releases. The codes that applications branch on have Code…
	// constants.
	Code string
	// Status is the HTTP status of the answer, 400 to 599. If an application's
	// own Error has status 0, it is sent as 403 when OnSignIn returned it. Any
	// other status out of range is sent as 500.
	Status int
	// Message is one fixed sentence for the person or client outside.
	Message string
	// RetryAfter, if not zero, is how long to wait before trying again.
	RetryAfter time.Duration
	// ID appears both in the answer and in the log line, so that one leads to
	// the other. It is set when the failure is answered.
	ID string
	// Err is the cause, for the log only. It never holds a secret or the body
	// of a response.
	Err error

	subject string     // whom the request was made for, "" if not known
	page    string     // the page that the person came for, "" if not known
	leave   *departure // the sign-in that leads there, if one has begun
	way     string     // what a link to the page says, "" if a sign-in leads there
}

// Error returns the code and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return "gatehouse: " + e.Code + ": " + e.Err.Error()
	}
	return "gatehouse: " + e.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error with the same code, so that
// errors.Is(err, &gatehouse.Error{Code: gatehouse.CodeLoginRequired}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// ErrorCode returns the code of the first *Error in err's chain, or "" if
// there is none.
func ErrorCode(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// about returns an error that says whose request failed, for the log. The
// *Error in err's chain may belong to the application, so it is copied.
func about(subject string, err error) error {
	e := *asError(err, errInternal)
	if e.subject == "" {
		e.subject = subject
	}
	return &e
}

// also returns an error with one more cause.
func also(err, cause error) error {
	e := *asError(err, errInternal)
	if e.Err != nil {
		cause = fmt.Errorf("%w; %w", e.Err, cause)
	}
	e.Err = cause
	return &e
}

// subjectOf returns whose request failed with err, or "".
func subjectOf(err error) string {
	e, ok := errors.AsType[*Error](err)
	for ok && e.subject == "" {
		e, ok = errors.AsType[*Error](e.Err)
	}
	if !ok {
		return ""
	}
	return e.subject
}

// answered returns a copy of e for the answer to one request, with an ID and a
// valid error status.
func (e *Error) answered() *Error {
	c := *e
	c.ID = rand.Text()[:answerIDLength]
	if c.Status < 400 || c.Status > 599 {
		c.Status = http.StatusInternalServerError
	}
	return &c
}

// answerIDLength gives ids of 60 bits, enough to find one line in a log.
const answerIDLength = 12

// The codes that applications branch on. docs/errors.md lists all codes.
const (
	CodeLoginRequired       = "login_required"       // nobody is signed in, or the session has ended
	CodeStepUpRequired      = "step_up_required"     // signing in once more would help
	CodeForbidden           = "forbidden"            // known, but not allowed
	CodeCrossOrigin         = "cross_origin"         // an unsafe request from another site
	CodeProviderRefused     = "provider_refused"     // the provider did not sign the person in
	CodeInteractionRequired = "interaction_required" // a silent sign-in needs the person
	CodeProviderUnavailable = "provider_unavailable" // the provider cannot be reached
	CodeStoreUnavailable    = "store_unavailable"    // the session store cannot be reached
	CodeNoToken             = "no_token"             // the session has no valid access token
	CodeTokenEnded          = "token_ended"          // the access token has ended, and only signing in again gives another
	CodeTokenUnavailable    = "token_unavailable"    // the access token has expired and cannot be renewed now
	CodeTokenRequired       = "token_required"       // the request has no access token
	CodeTokenInvalid        = "token_invalid"        // the access token of the request is no good
	CodePermissionRequired  = "permission_required"  // the request lacks a permission of the owner
	CodeTicketUnavailable   = "ticket_unavailable"   // no permission ticket can be obtained now
	CodeOwnerGrantMissing   = "owner_grant_missing"  // the owner must sign in and agree
	CodeUMADenied           = "uma_denied"           // the owner or a policy said no
	CodeRPTTicketRequired   = "rpt_ticket_required"  // no permission token is kept, and there is no ticket to redeem
	CodeUntrustedAS         = "untrusted_as"         // a challenge names another authorization server
	CodeASUnavailable       = "as_unavailable"       // the authorization server cannot be reached
	CodeShuttingDown        = "shutting_down"        // a connection of Live ends because the process does
)

// kind is one row of the table of failures.
type kind struct {
	code    string
	status  int
	message string
}

// because returns an Error of this kind with the given cause.
func (k kind) because(cause error) *Error {
	e := &Error{Code: k.code, Status: k.status, Message: k.message, Err: cause}
	if k.status == 503 {
		e.retryIn(defaultRetryAfter)
	}
	return e
}

// after is like because and also sets RetryAfter, to at least one second.
func (k kind) after(d time.Duration, cause error) *Error {
	e := k.because(cause)
	e.retryIn(d)
	return e
}

// retryIn sets RetryAfter, to at least one second. It does not for a mistake,
// which waiting does not mend.
func (e *Error) retryIn(d time.Duration) {
	if !isMistake(e.Code) {
		e.RetryAfter = max(d, time.Second)
	}
}

// saying returns the kind with another sentence, for a case of which more is
// known. The code stays, because applications branch on it.
func (k kind) saying(message string) kind {
	k.message = message
	return k
}

// asError returns the *Error in err's chain, or else the one that classify
// makes of it. Any other error becomes an Error of the kind otherwise.
func asError(err error, otherwise kind) *Error {
	if e, ok := errors.AsType[*Error](classify(err)); ok {
		return e
	}
	return otherwise.because(err)
}

// classify translates an engine's error to the *Error it stands for. It
// returns other errors unchanged, because only the caller knows what, for
// example, a *backchannel.Refusal means for the request it made.
func classify(err error) error {
	if wait, ok := errors.AsType[*lease.WaitError](err); ok {
		e := *asError(wait.Unwrap(), errProviderUnavailable)
		e.retryIn(wait.For)
		return &e
	}
	if pause, ok := errors.AsType[*backchannel.Paused](err); ok {
		e := *asError(pause.Unwrap(), errProviderUnavailable)
		left := pause.Left
		if trouble, ok := errors.AsType[*backchannel.Trouble](err); ok {
			left = max(left, trouble.RetryAfter)
		}
		e.retryIn(left)
		return &e
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if trouble, ok := errors.AsType[*backchannel.Trouble](err); ok {
		e := outage(err).because(err)
		if trouble.RetryAfter > 0 {
			e.retryIn(trouble.RetryAfter)
		}
		return e
	}
	for _, f := range engineFailures {
		switch {
		case err == f.is: // the bare sentinel adds nothing to the code
			return f.kind.because(nil)
		case errors.Is(err, f.is):
			return f.kind.because(err)
		}
	}
	if p, ok := errors.AsType[*flight.PanicError](err); ok { // our bug, never a peer's failure
		return errInternal.because(p)
	}
	return err
}

// outage returns the kind of a failure to get an answer that can be used. What
// somebody has to mend first is no outage: a certificate that is not trusted, a
// server without TLS, an address with nothing there, a client that is refused.
func outage(err error) kind {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errCertificate
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return errCertificate
	}
	switch {
	case errors.Is(err, backchannel.ErrCaller):
		return errClientRefused
	case errors.Is(err, backchannel.ErrMissing):
		return errEndpoint
	}
	return errProviderUnavailable
}

// late returns the error of who gave up waiting for what others wait for too,
// with the address that is asked for it. Other errors are returned unchanged.
func late(err error, what, address string) error {
	if _, ok := errors.AsType[*Error](err); ok || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("no %s in time from %s: %w", what, outbound.Address(address), err)
}

// mistake returns the *Error in err's chain if it is something that somebody
// has to mend at the provider or in our registration there, or nil.
func mistake(err error) *Error {
	e, ok := errors.AsType[*Error](classify(err))
	if !ok || e.Status != http.StatusServiceUnavailable || !isMistake(e.Code) {
		return nil
	}
	return e
}

// tokenFailure returns the *Error for a token that was not verified. Failing
// to fetch the keys says nothing about the token: the provider is unavailable,
// or its keys cannot be used.
func tokenFailure(err error) *Error {
	missing, ok := errors.AsType[*keyset.UnavailableError](err)
	switch {
	case !ok:
		return asError(err, errProviderUnavailable)
	case missing.Unusable():
		return errKeys.because(missing)
	}
	if e := mistake(missing.Err); e != nil { // of the metadata that names the keys
		return e
	}
	return outage(err).after(missing.RetryAfter, missing)
}

// failure returns an engine's error as an *Error. It returns nil for nil.
func failure(err error) error {
	if err == nil {
		return nil
	}
	return asError(err, errInternal)
}

// notMade is the error of a zero value, such as new(Sessions), whose method is
// called.
func notMade(part string) error {
	return errInternal.because(fmt.Errorf("the %s was not made by New%[1]s", part))
}
