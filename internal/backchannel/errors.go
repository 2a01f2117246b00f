package backchannel

import (
	"errors"
	"fmt"
	"net"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

var (
	// ErrTokenType means that the server issued a token of a type that we
	// cannot use (RFC 6749 §5.1).
	ErrTokenType = errors.New("a token type other than bearer")
	// ErrEndpoint means that an endpoint is not a URL. Nothing was sent.
	ErrEndpoint = errors.New("an endpoint is not a URL")
)

// Refusal is an answer by which the server refused the request (RFC 6749 §5.2).
// Asking again does not help.
type Refusal struct {
	Status int    // 4xx, but not 429
	Code   string // the OAuth error, shortened; "" if the body had none
	where  string
	body   []byte // for Members; never shown
}

// Error returns the endpoint, the status and the code.
func (e *Refusal) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s answered %d", e.where, e.Status)
	}
	return fmt.Sprintf("%s answered %d %s", e.where, e.Status, e.Code)
}

// Members decodes the JSON body of the refusal. Names are case-sensitive and
// must be unique (M5).
func (e *Refusal) Members(v any) error { return strictjson.Unmarshal(e.body, v) }

// Trouble is a call that the server neither granted nor refused. There was no
// answer, or the answer cannot be used, or it says only that the server is in
// trouble (5xx, 429, a redirect).
type Trouble struct {
	// RetryAfter is how long the server asked to be left alone, or 0.
	RetryAfter time.Duration

	answered bool // by a status that says that the call had no effect
	cause    error
}

// Error says where and why. It leaves out the address's query and the body.
func (e *Trouble) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *Trouble) Unwrap() error { return e.cause }

// FateKnown reports whether it is known what became of the call: the server
// answered, or it was never reached. Otherwise the server may have acted on it,
// and a refresh token, for example, may be used up.
func (e *Trouble) FateKnown() bool {
	if e.answered {
		return true
	}
	op, ok := errors.AsType[*net.OpError](e.cause)
	return ok && op.Op == "dial"
}

// FateKnown reports whether it is known what became of a call that failed with
// err. Only a call that was sent can have an unknown fate.
func FateKnown(err error) bool {
	trouble, ok := errors.AsType[*Trouble](err)
	return !ok || trouble.FateKnown()
}

// Paused is the error of Get during the pause that follows a failed fetch.
type Paused struct {
	Left  time.Duration // of the pause
	cause error
}

// Error says why the last fetch failed.
func (e *Paused) Error() string { return e.cause.Error() }

// Unwrap returns the error of the last fetch.
func (e *Paused) Unwrap() error { return e.cause }
