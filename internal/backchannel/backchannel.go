// Package backchannel talks to one server behind the browser's back. It makes
// single authenticated calls (token, revocation, introspection, protection
// API), and it fetches and keeps values that many callers share (metadata,
// service tokens).
//
// It knows HTTP, how a client authenticates, and what an answer says about the
// server: that it refused (*Refusal), that it is in trouble (*Trouble), or
// neither. It must not know what a call is for: guards, sessions, resources,
// and the codes and sentences of the package above.
package backchannel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

// A Channel makes calls with one HTTP client. It sends each call once, never
// repeats a call and never follows a redirect. It is safe for concurrent use.
type Channel struct {
	client *http.Client
	now    func() time.Time
}

// New makes a Channel. The client comes from package outbound, which bounds
// every call.
func New(client *http.Client, now func() time.Time) *Channel {
	return &Channel{client: client, now: now}
}

// Answer is an answer of the server with its whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	call call // that it answers
}

// Address is where the answer came from, without the query.
func (a *Answer) Address() string { return outbound.Address(a.call.address) }

// ErrorCode is the error member of an OAuth error object (RFC 6749 §5.2), or ""
// if there is none.
func (a *Answer) ErrorCode() string {
	var body struct {
		Error string `json:"error"`
	}
	if strictjson.Unmarshal(a.Body, &body) != nil {
		return ""
	}
	return outbound.Clip(body.Error)
}

// RefusesCaller reports whether the answer is about the credentials of the call
// (RFC 6750 §3.1, RFC 7662 §2.3).
func (a *Answer) RefusesCaller() bool {
	return a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden
}

// Unexpected returns the error for an answer that cannot be used. It holds the
// OAuth error code and nothing else of the body. It wraps ErrCaller or ErrMissing
// if the answer is about that.
func (a *Answer) Unexpected(what string) *Trouble {
	_, t := a.tell(what + ": status")
	return &Trouble{answered: true, cause: &t}
}

func (a *Answer) tell(head string) (code string, t told) {
	var object map[string]json.RawMessage
	if strictjson.Unmarshal(a.Body, &object) != nil {
		object = nil
	}
	a.call.refused, a.call.header, a.call.empty = a.RefusesCaller(), a.Header, len(a.Body) == 0
	return a.call.tell(head, a.Status, object)
}

// Body is what a call sends. The zero Body sends nothing.
type Body struct {
	contentType string
	data        []byte
	form        url.Values // what data holds, if that is a form; else what of it no error may show
}

// Form is the body of an HTML form.
func Form(values url.Values) Body {
	return Body{"application/x-www-form-urlencoded", []byte(values.Encode()), values}
}

// JSON makes a JSON body from v. Errors about its answer show none of the
// secrets.
func JSON(v any, secrets ...string) (Body, error) {
	data, err := json.Marshal(v)
	return Body{contentType: "application/json", data: data, form: url.Values{"secret": secrets}}, err
}

// AsClient posts a form to an endpoint other than the token endpoint, with the
// client's credentials (RFC 7662 §2.1, RFC 7009 §2.1). The error is a *Trouble,
// ErrEndpoint or that of NewProof.
func (c *Channel) AsClient(ctx context.Context, endpoint string, who Credentials, form url.Values) (*Answer, error) {
	who, err := who.proved(ctx)
	if err != nil {
		return nil, err
	}
	header, own := http.Header{}, url.Values{}
	maps.Copy(own, form)
	who.authenticate(header, own)
	a, err := c.call(ctx, http.MethodPost, endpoint, header, Form(own))
	if err != nil {
		return nil, err
	}
	a.call.sent, a.call.client, a.call.form, a.call.secret = who.sent(), who.id, form, who.reveal()
	return a, nil
}

// AsBearer makes a call with a bearer token in the header (RFC 6750 §2.1), or
// without one if it is "". The error is a *Trouble or ErrEndpoint.
func (c *Channel) AsBearer(ctx context.Context, method, address, token string, body Body) (*Answer, error) {
	return c.asBearer(ctx, method, address, token, http.Header{}, body)
}

// JWT is AsBearer for an address that answers with a JWT.
func (c *Channel) JWT(ctx context.Context, address, token string) (*Answer, error) {
	return c.asBearer(ctx, http.MethodGet, address, token, http.Header{"Accept": {"application/jwt"}}, Body{})
}

func (c *Channel) asBearer(ctx context.Context, method, address, token string, header http.Header, body Body) (*Answer, error) {
	sent := "no token"
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
		sent = "a bearer token"
	}
	a, err := c.call(ctx, method, address, header, body)
	if err != nil {
		return nil, err
	}
	a.call.sent, a.call.form, a.call.secret = sent, body.form, token
	return a, nil
}

// Revoke tells the server that a token is no longer needed (RFC 7009 §2.1). The
// error is a *Refusal, a *Trouble, ErrEndpoint or that of NewProof.
func (c *Channel) Revoke(ctx context.Context, endpoint string, who Credentials, token, hint string) error {
	a, err := c.AsClient(ctx, endpoint, who, url.Values{"token": {token}, "token_type_hint": {hint}})
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		code, t := a.tell("revocation endpoint answered")
		return &Refusal{Status: a.Status, Code: code, body: a.Body, told: t}
	}
	return nil
}

func (c *Channel) call(ctx context.Context, method, address string, header http.Header, body Body) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body.data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.ToLower(method), ErrEndpoint) // the error of net/url quotes its input
	}
	req.Header = header
	if header.Get("Accept") == "" {
		header.Set("Accept", "application/json")
	}
	if body.contentType != "" {
		req.Header.Set("Content-Type", body.contentType)
	}
	if method == http.MethodDelete {
		// Deleting twice is deleting (RFC 9110 §9.2.2), so a server that has just
		// closed the connection gets it over another one. It is how net/http is told;
		// nothing is sent.
		req.Header["Idempotency-Key"] = nil
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, &Trouble{cause: outbound.Redact(err)}
	}
	defer resp.Body.Close()
	where := func() string { return method + " " + outbound.Address(address) }
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t := &Trouble{cause: fmt.Errorf("%s: %w", where(), err)}
		if errors.Is(err, outbound.ErrTooLarge) {
			t.read = data
		}
		return nil, t
	}
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
		return nil, &Trouble{
			RetryAfter: outbound.RetryAfter(resp.Header), answered: tells(resp.StatusCode),
			cause: fmt.Errorf("%s: status %d", where(), resp.StatusCode),
		}
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		// Following it would send the credentials elsewhere (M10).
		_, t := call{address: address}.tell(method+": status", resp.StatusCode, nil)
		return nil, &Trouble{answered: true, cause: &t}
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: data, call: call{address: address}}, nil
}

// maxMediaType is the longest media type that an error names, in bytes.
const maxMediaType = 80

// mediaType returns what an answer says it is, for an error.
func mediaType(h http.Header) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case h.Get("Content-Type") == "":
		return "no type"
	case err != nil || len(kind) > maxMediaType:
		return "an unreadable type"
	}
	return kind
}

// typeWithout returns a media type, unless it holds one of the values that
// travelled.
func typeWithout(kind string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" && strings.Contains(kind, strings.ToLower(secret)) {
			return "another type"
		}
	}
	return kind
}
