package gatehouse

// Tested in internal/e2e/signin.

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"example.com/gatehouse/internal/inbound"
	"example.com/gatehouse/internal/uncached"
)

// Limits on the body of a request to one of our own handlers. The largest are an
// answer with tokens that the provider's page posts, and a logout token.
const (
	// maxForm bounds the body, in bytes.
	maxForm = 64 << 10
	// bodyTimeout bounds the sending of the body. A form arrives in one packet
	// or two, and a stranger who sends slowly must not hold a connection.
	bodyTimeout = 5 * time.Second
)

// leaveBody bounds the body of a request that nobody reads. The server looks for
// its end before it sends the answer.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	new(inbound.Bodies).Bound(w, r, maxForm, bodyTimeout)
}

// handleError lets the application answer. The status is that of e unless the
// handler sends another one, so that a refusal is never sent as 200 by
// accident.
func handleError(handler func(http.ResponseWriter, *http.Request, *Error), w http.ResponseWriter, r *http.Request, e *Error) {
	own := uncached.NewStatus(w, e.Status)
	handler(own, r, e)
	own.Begin()
}

// writeErrorHeader sets the headers that every refusal has.
func writeErrorHeader(w http.ResponseWriter, e *Error) {
	w.Header().Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10)) // RFC 9110 §10.2.3
	}
}

type errorBody struct {
	Error    string `json:"error"`
	Message  string `json:"message"`
	ID       string `json:"id,omitempty"`
	LoginURL string `json:"login_url,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// defaultRetryAfter is the Retry-After of a 503 if nobody knows when the
// outage will end.
const defaultRetryAfter = 5 * time.Second

// refuseAlone answers a request that no guard of this package answers for.
func refuseAlone(w http.ResponseWriter, r *http.Request, err error) {
	defer lastAnswer(w)
	e := asError(err, errInternal).answered()
	logAlone(r, e)
	writeErrorHeader(w, e)
	writeJSON(w, e.Status, errorBody{Error: e.Code, Message: e.Message, ID: e.ID})
}
