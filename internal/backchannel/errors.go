package backchannel

import (
	"errors"
	"fmt"
	"net"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

var (
	// ErrTokenType is the error of tokens of a type that we cannot use (RFC 6749
	// §5.1).
	ErrTokenType = errors.New("a token type other than bearer")
	// ErrEndpoint is the error of an endpoint that is not a URL. Nothing was
	// sent.
	ErrEndpoint = errors.New("an endpoint is not a URL")
)

// Refusal is an answer by which the server said no (RFC 6749 §5.2): what was
// asked is known to be refused, and asking again does not help.
type Refusal struct {
	Status int    // 4xx, but not 429
	Code   string // the OAuth error, shortened; "" when the body was none
	where  string
	body   []byte // for Members; never shown
}

// Error names the endpoint, the status and the code.
func (e *Refusal) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s answered %d", e.where, e.Status)
	}
	return fmt.Sprintf("%s answered %d %s", e.where, e.Status, e.Code)
}

// Members decodes the JSON body of the refusal: names count as they are, and
// once (M5).
func (e *Refusal) Members(v any) error { return strictjson.Unmarshal(e.body, v) }

// Trouble is a call that the server neither granted nor refused: there was no
// answer, or one that says only that the server is in trouble (5xx, 429, a
// redirect), or one that cannot be used.
type Trouble struct {
	// RetryAfter is how long the server asked to be left alone, 0 if it did not.
	RetryAfter time.Duration

	answered bool // by a status that says that the call had no effect
	cause    error
}

// Error says where and why, without the address's query and the body.
func (e *Trouble) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *Trouble) Unwrap() error { return e.cause }

// FateKnown reports whether it is known what became of what was sent: the
// server answered, or it was never reached. Otherwise it may have been acted
// on; a refresh token, for example, may be used up.
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

// Paused is the error of asking for what could not be fetched a moment ago,
// before the pause after a failure is over.
type Paused struct {
	Left  time.Duration // of the pause
	cause error
}

// Error says why the last fetch failed.
func (e *Paused) Error() string { return e.cause.Error() }

// Unwrap returns the error of the last fetch.
func (e *Paused) Unwrap() error { return e.cause }
