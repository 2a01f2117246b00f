package backchannel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

var (
	// ErrTokenType means that the server issued a token of a type that we
	// cannot use (RFC 6749 §5.1).
	ErrTokenType = errors.New("a token type other than the one that was asked for")
	// ErrEndpoint means that an endpoint is not a URL. Nothing was sent.
	ErrEndpoint = errors.New("an endpoint is not a URL")

	// ErrCaller means that the server refused the credentials of the call, or
	// what they may do. Somebody has to mend the registration.
	ErrCaller = errors.New("the server refuses who calls")
	// ErrUnproven means that the server refuses the proof of the client's key,
	// also with the nonce that it gave (RFC 9449 §5, §8). It is ErrCaller too.
	ErrUnproven = fmt.Errorf("the proof of its key: %w", ErrCaller)
	// ErrMissing means that the server has nothing at the address of an
	// endpoint. Somebody has to mend the address.
	ErrMissing = errors.New("there is nothing at the endpoint")
)

// Refusal is an answer by which the server refused the request (RFC 6749 §5.2).
// Asking again does not help.
type Refusal struct {
	Status int    // 4xx, but not 429
	Code   string // the OAuth error as sent, shortened; "" if the body had none
	body   []byte // for Members; never shown
	told   told
}

// Error returns the endpoint, the status, the code, and how the client
// authenticated.
func (e *Refusal) Error() string { return e.told.Error() }

// Unwrap returns ErrCaller, ErrUnproven, ErrMissing or nil.
func (e *Refusal) Unwrap() error { return e.told.blames }

// Detail returns the error description, redacted, for debugging only.
func (e *Refusal) Detail() string { return e.told.Detail() }

// Members decodes the JSON body of the refusal. Names are case-sensitive and
// must be unique (M5).
func (e *Refusal) Members(v any) error { return strictjson.Unmarshal(e.body, v) }

// told is what a server told about an error: where, with which status, and the
// members error and error_description of its body.
type told struct {
	text   string
	said   *outbound.Said
	blames error // ErrCaller, ErrUnproven, ErrMissing or nil
}

func (e *told) Error() string { return e.text }

func (e *told) Unwrap() error { return e.blames }

// Detail implements outbound.Detailed.
func (e *told) Detail() string { return e.said.Detail() }

// call is what the error about a refused call may say, and what it may not.
type call struct {
	address string
	sent    string      // how the call was authenticated
	client  string      // our id there, "" if the call did not send it
	form    url.Values  // what it sent; nil if that was no form
	secret  string      // with which it was authenticated
	refused bool        // the answer is about the credentials, whatever its code
	header  http.Header // of the answer
	empty   bool        // the answer has no body
}

// tell reads the members of an error object (RFC 6749 §5.2). The text begins
// with head, which names the call.
func (c call) tell(head string, status int, object map[string]json.RawMessage) (code string, t told) {
	secrets := append(secretsIn(c.form, c.secret), secretsOf(object)...)
	code = strictjson.String(object["error"])
	said := outbound.NewSaid(code, strictjson.String(object["error_description"]), secrets...).Apart(publicIn(c.form, c.client)...)
	text := fmt.Sprintf("%s %d", head, status)
	if word := said.Word(); word != "" {
		text += " " + word
	}
	text += " from " + outbound.Address(c.address)
	kind := mediaType(c.header)
	switch {
	case status >= 300 && status < 400:
		text += ", a redirect, which is not followed"
	case object != nil, c.empty && kind == "no type":
	case kind == "application/json":
		text += ", not one JSON object"
	default:
		text += fmt.Sprintf(", as %q", typeWithout(kind, secrets))
	}
	blames := blame(status, code)
	if c.refused && !errors.Is(blames, ErrCaller) {
		blames = ErrCaller
	}
	if c.sent != "" && (errors.Is(blames, ErrCaller) || code == "invalid_request") { // some servers say that of credentials too
		text += ", with " + c.sent
	}
	return outbound.Clip(code), told{text, said, blames}
}

// secretsOf returns the values of an answer that no error may repeat.
func secretsOf(object map[string]json.RawMessage) (secrets []string) {
	for _, name := range []string{"code", "state", "ticket", "token", "access_token", "refresh_token", "id_token", "rpt", "pct", "client_secret", "registration_access_token"} {
		if value := strictjson.String(object[name]); value != "" {
			secrets = append(secrets, value)
		}
	}
	return secrets
}

// blame says what an answer is about, if it is the credentials of the call (RFC
// 6749 §5.2, RFC 6750 §3.1) or its address. A 403 with a code of UMA is neither,
// nor is a 404 with a code, which a server of OAuth has sent. What has moved for
// good is not at its address either: no redirect is followed.
func blame(status int, code string) error {
	switch {
	case code == codeNonce, code == "invalid_dpop_proof":
		return ErrUnproven
	case status == http.StatusMovedPermanently, status == http.StatusPermanentRedirect:
		return ErrMissing
	case status == http.StatusUnauthorized || status == http.StatusForbidden && code == "",
		slices.Contains([]string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "insufficient_scope"}, code):
		return ErrCaller
	case code != "":
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusGone:
		return ErrMissing
	}
	return nil
}

// Trouble is a call that the server neither granted nor refused. There was no
// answer, or the answer cannot be used, or it says only that the server is in
// trouble (5xx, 429, a redirect).
type Trouble struct {
	// RetryAfter is how long the server asked to be left alone, or 0.
	RetryAfter time.Duration

	read     []byte // of an answer that was too long
	answered bool   // by a status that says that the call had no effect, see tells
	cause    error
}

// Error says where and why. It leaves out the address's query and the body.
func (e *Trouble) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *Trouble) Unwrap() error { return e.cause }

// Read returns the begin of an answer that was too long, or nil. No error shows
// it.
func (e *Trouble) Read() []byte { return e.read }

// tells reports whether a status tells what became of a call. It does not if
// somebody else answers because the server's own answer did not come: a gateway
// (502 and 504, RFC 9110 §15.6.3, §15.6.5), or a network of caches, whose own
// statuses begin at 520.
func tells(status int) bool {
	return status != http.StatusBadGateway && status != http.StatusGatewayTimeout && status < 520
}

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
