package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/outbound"
)

// tokenTransport sends an access token to named origins, and to no others.
type tokenTransport struct {
	base    http.RoundTripper // nil means http.DefaultTransport
	origins map[string]bool
	// token returns the token for a request, and another one after refused
	// was called with the first. refused is nil if there is no other.
	token   func(ctx context.Context) (string, error)
	refused func(ctx context.Context, token string) error
}

// newTokenTransport checks the origins.
func newTokenTransport(base http.RoundTripper, origins []string) (*tokenTransport, problems) {
	t := &tokenTransport{base: base, origins: map[string]bool{}}
	var wrong problems
	for _, o := range origins {
		u, err := outbound.CheckURL(o, false)
		if err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			err = errors.New("it has more than scheme, host and port")
		}
		if err != nil {
			wrong.add("origins", "%q: %w", clip(o), err)
			continue
		}
		t.origins[outbound.Origin(u)] = true
	}
	if len(origins) == 0 {
		wrong.add("origins", "none: the token would never be sent")
	}
	return t, wrong
}

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.trusts(r) {
		return t.send(r, "")
	}
	token, err := t.token(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	resp, err := t.send(r, token)
	if err != nil || t.refused == nil || !refusesToken(resp) {
		return resp, err
	}
	again, ok := repeatable(r)
	if !ok || t.refused(r.Context(), token) != nil {
		return resp, nil
	}
	next, err := t.token(r.Context())
	if err != nil || next == token {
		return resp, nil
	}
	// This is best effort: a body that cannot be drained only costs the
	// connection.
	_, _ = io.CopyN(io.Discard, resp.Body, maxUnwanted)
	resp.Body.Close()
	return t.send(again, next)
}

// maxUnwanted is how much of the body of a 401 is read to keep the connection.
const maxUnwanted = 4 << 10

// trusts reports whether the token may go along: the request is for a named
// origin, and no other origin has led to it.
func (t *tokenTransport) trusts(r *http.Request) bool {
	for {
		if !t.origins[outbound.Origin(r.URL)] {
			return false
		}
		if r.Response == nil {
			return true
		}
		if r = r.Response.Request; r == nil {
			return false
		}
	}
}

// send sends a request with the token, or without one if it is "".
func (t *tokenTransport) send(r *http.Request, token string) (*http.Response, error) {
	sent := r
	if token != "" {
		sent = r.Clone(r.Context())
		sent.Header.Set("Authorization", "Bearer "+token) // RFC 6750 §2.1
	}
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(sent)
	if resp != nil {
		resp.Request = r // without the token; trusts needs it after a redirect
	}
	return resp, err
}

// refusesToken reports whether an API answered that the token is no longer
// good (RFC 6750 §3.1).
func refusesToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	return slices.ContainsFunc(resp.Header.Values("WWW-Authenticate"), func(line string) bool { // one that cannot be read hides no other
		challenges, err := challenge.Parse([]string{line})
		return err == nil && slices.ContainsFunc(challenges, func(c challenge.Challenge) bool {
			return strings.EqualFold(c.Scheme, "Bearer") && c.Params["error"] == "invalid_token"
		})
	})
}

// repeatable returns a copy of a request that was sent, to be sent again.
func repeatable(r *http.Request) (*http.Request, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, false
	}
	again := r.Clone(r.Context())
	again.Body = body
	return again, true
}
