package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

const (
	// maxRetryAfter bounds the wait that a peer may ask for. A larger number is
	// a mistake or an attempt to switch us off.
	maxRetryAfter = time.Hour

	// maxDrain is how much of an unwanted body is read to keep the connection.
	maxDrain = 4 << 10
)

// ErrNotJSON means that a body is not one strict JSON object, or that its
// members do not fit the target.
var ErrNotJSON = errors.New("outbound: response is not the expected JSON object")

// StatusError is the error of an answer with a status other than 200.
type StatusError struct {
	Code       int
	RetryAfter time.Duration // 0 if the peer named no time; at most an hour
	Address    string        // that was asked, without the query
}

func (e *StatusError) Error() string {
	return "outbound: unexpected status " + strconv.Itoa(e.Code) + " from " + e.Address
}

// Lasting reports whether waiting does not help: what was asked for is not to be
// had there, or has moved for good. No redirect is followed.
func (e *StatusError) Lasting() bool {
	switch e.Code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusMovedPermanently, http.StatusPermanentRedirect:
		return true
	}
	return e.Code >= 400 && e.Code < 500
}

// GetJSON fetches rawURL with c, made by [NewClient], and decodes the JSON
// object in the answer into v with [strictjson.Unmarshal]. The body may hold at
// most limit bytes; a limit of 0 or less means [MaxBody]. The content type is
// ignored, because servers send key sets and metadata under many types.
//
// The error is a [*StatusError] for a status other than 200, [ErrTooLarge],
// [ErrNotJSON], or the redacted error of the transport.
func GetJSON(ctx context.Context, c *http.Client, rawURL string, limit int64, v any) (http.Header, error) {
	if limit <= 0 || limit > MaxBody {
		limit = MaxBody
	}
	req, err := http.NewRequestWithContext(WithLimit(ctx, limit), http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, errURL // the error of net/url quotes its input
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("outbound: %w", Redact(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// This is best effort: a body that cannot be drained only costs the
		// connection.
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		return nil, &StatusError{Code: resp.StatusCode, RetryAfter: RetryAfter(resp.Header), Address: Address(rawURL)}
	}
	// Our client already caps the body, but a caller's own client may not.
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("outbound: reading the response from %s: %w", Address(rawURL), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w from %s", &SizeError{limit}, Address(rawURL))
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return nil, fmt.Errorf("%w, but %s, from %s", ErrNotJSON, kindOf(resp.Header, data), Address(rawURL))
	}
	if err := strictjson.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%w: %w, from %s", ErrNotJSON, err, Address(rawURL))
	}
	return resp.Header, nil
}

// kindOf says what a body is that is no JSON object: a start page in place of a
// document is a common mistake.
func kindOf(h http.Header, data []byte) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case len(data) == 0:
		return "empty"
	case err != nil || strings.Trim(media, "abcdefghijklmnopqrstuvwxyz0123456789-+./") != "" || len(media) > maxWord:
		return "of no known type"
	}
	return media
}

// RetryAfter reads the header of that name (RFC 9110 §10.2.3). The header holds
// seconds or a date. A date is compared with the answer's own Date, so that the
// two clocks need not agree. RetryAfter returns 0 if the header is absent,
// unreadable or in the past.
func RetryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}
