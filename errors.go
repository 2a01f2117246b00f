package gatehouse

import (
	"errors"
	"time"

	"example.com/gatehouse/internal/flight"
)

// Error is what every guard and handler of this package fails with. It has two
// faces: Message and ID are for the client, Err is for the log. docs/errors.md
// lists every code.
type Error struct {
	// Code names the failure and stays the same over releases, for example
	// "nonce_mismatch".
	Code string
	// Status is the HTTP status that answers it, 400 to 599. An application's
	// own that is 0 is sent as 403 from OnSignIn; another is sent as 500.
	Status int
	// Message is one fixed sentence for the person or client outside.
	Message string
	// RetryAfter, when not zero, says when another try makes sense.
	RetryAfter time.Duration
	// ID is on the page and in the log line, so that one finds the other. It
	// is set when the failure is answered.
	ID string
	// Err is the cause. It never holds a secret or the body of an answer, but
	// it is meant for the log only.
	Err error
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

// Is reports whether target is an *Error of the same code, so that
// errors.Is(err, &gatehouse.Error{Code: "login_required"}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// ErrorCode returns the code of the *Error in err's chain, "" if there is none.
func ErrorCode(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// kind is one row of the table of failures.
type kind struct {
	code    string
	status  int
	message string
}

// because makes the failure of this kind with its cause.
func (k kind) because(cause error) *Error {
	e := &Error{Code: k.code, Status: k.status, Message: k.message, Err: cause}
	if k.status == 503 {
		e.RetryAfter = defaultRetryAfter
	}
	return e
}

// after is because with a time after which another try makes sense.
func (k kind) after(d time.Duration, cause error) *Error {
	e := k.because(cause)
	e.RetryAfter = max(d, time.Second)
	return e
}

// asError returns the *Error in err's chain, or err as one of kind otherwise. A
// panic is never the trouble of a peer.
func asError(err error, otherwise kind) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if p, ok := errors.AsType[*flight.PanicError](err); ok {
		return errInternal.because(p)
	}
	return otherwise.because(err)
}

// defaultRetryAfter is the Retry-After of a 503 whose end nobody knows.
const defaultRetryAfter = 5 * time.Second

// Failures of more than one part. What a browser or client sent wrong is 4xx;
// our trouble or a peer's is 503 (design decision 12).
var (
	errProviderUnavailable = kind{"provider_unavailable", 503, "The sign-in service cannot be reached right now."}
	errMetadataInvalid     = kind{"metadata_invalid", 503, "The sign-in service is not set up correctly."}
	errMetadataIssuer      = kind{"metadata_issuer_mismatch", 503, "The sign-in service is not set up correctly."}
	errClientRefused       = kind{"client_refused", 503, "The sign-in service does not accept this site right now."}
	errInternal            = kind{"internal", 500, "Something went wrong on our side."}

	errLoginRequired = kind{"login_required", 401, "You need to sign in first."}
	errForbidden     = kind{"forbidden", 403, "You are signed in, but not allowed to do this."}
	errCrossOrigin   = kind{"cross_origin", 403, "This request came from another site."}
	errMethod        = kind{"method_not_allowed", 405, "This address does not take that method."}
)
