package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/possession"
)

// tokenTransport sends an access token to named origins, and to no others.
type tokenTransport struct {
	base    http.RoundTripper // nil means http.DefaultTransport
	origins map[string]*replaced
	// token returns the token for a request, and another one after refused
	// was called with the first. refused is nil if there is no other.
	token   func(ctx context.Context) (string, error)
	refused func(ctx context.Context, token string) error
	// refuses reports whether a response means that the token is no longer good.
	refuses func(*http.Response) bool
	holder  *possession.Holder // of the key to which tokens are bound, or nil
	// now is nil if refused bounds itself how often a token is replaced.
	now func() time.Time
}

// replaceEvery is the least time between two tokens that one origin has refused,
// if it accepted none between them.
const replaceEvery = 30 * time.Second

// replaced is the token that came after the one that an origin refused, until the
// origin accepts it.
type replaced struct {
	mu    sync.Mutex
	token string    // guarded by mu
	at    time.Time // guarded by mu
}

// accept notes that the origin did not refuse the token.
func (o *replaced) accept(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.token == token {
		o.token = ""
	}
}

// replace notes that token came after another.
func (o *replaced) replace(token string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.token, o.at = token, now
}

// vain reports whether the token has just come after another that the origin
// refused, and the origin refuses it too.
func (o *replaced) vain(token string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.token == token && now.Before(o.at.Add(replaceEvery))
}

// newTokenTransport checks the origins.
func newTokenTransport(base http.RoundTripper, origins []string) (*tokenTransport, problems) {
	t := &tokenTransport{base: base, origins: map[string]*replaced{}, refuses: refusesToken}
	var wrong problems
	wrong.transport("transport", base)
	for _, o := range origins {
		u, err := outbound.CheckURL(o, false)
		if err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			err = errors.New("it has more than scheme, host and port")
		}
		if err == nil && strings.Contains(u.Host, "*") {
			err = errors.New("it has a wildcard; it must be one exact origin")
		}
		if err != nil {
			wrong.add("origins", "%q: %w", clip(o), err)
			continue
		}
		t.origins[outbound.Origin(u)] = new(replaced)
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
	if err != nil || t.refused == nil {
		return resp, err
	}
	origin := t.origins[outbound.Origin(r.URL)]
	if !t.refuses(resp) {
		origin.accept(token)
		return resp, nil
	}
	if t.now == nil && !hasBodyAgain(r) { // a session's tokens are not renewed for nothing
		return resp, nil
	}
	next, ok := t.another(r.Context(), origin, token)
	if !ok {
		return resp, nil
	}
	again, ok := repeatable(r)
	if !ok {
		return resp, nil
	}
	drop(resp)
	resp, err = t.send(again, next)
	if err == nil && !t.refuses(resp) {
		origin.accept(next)
	}
	return resp, err
}

// another returns another token than the one that the origin refused.
func (t *tokenTransport) another(ctx context.Context, origin *replaced, token string) (next string, ok bool) {
	if t.now != nil && origin.vain(token, t.now()) || t.refused(ctx, token) != nil {
		return "", false
	}
	next, err := t.token(ctx)
	if err != nil {
		return "", false
	}
	if t.now != nil {
		origin.replace(next, t.now())
	}
	return next, next != token // a server may give the same one again
}

// maxUnwanted is how much of the body of a 401 is read to keep the connection.
const maxUnwanted = 4 << 10

// trusts reports whether the token may go along: the request is for a named
// origin, and no other origin has led to it.
func (t *tokenTransport) trusts(r *http.Request) bool {
	for {
		if t.origins[outbound.Origin(r.URL)] == nil {
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
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	var resp *http.Response
	var err error
	switch {
	case token == "":
		resp, err = base.RoundTrip(r)
	case t.holder != nil:
		resp, err = sendBound(base, t.holder, r, token)
	default:
		sent := withHeader(r)
		sent.Header.Set("Authorization", "Bearer "+token) // RFC 6750 §2.1
		resp, err = base.RoundTrip(sent)
	}
	if resp != nil {
		resp.Request = r // without the token; trusts needs it after a redirect
	}
	return resp, err
}

// withHeader returns a copy of a request whose header may be changed.
func withHeader(r *http.Request) *http.Request {
	sent := r.Clone(r.Context())
	if sent.Header == nil {
		sent.Header = http.Header{}
	}
	return sent
}

// sendBound sends a request with a token that is bound to the key of h, and once
// more if the API demands a nonce and the body can be had again (RFC 9449 §7.1,
// §9).
func sendBound(base http.RoundTripper, h *possession.Holder, r *http.Request, token string) (resp *http.Response, err error) {
	call := possession.Call{Method: methodOf(r), Address: r.URL, Host: r.Host, Token: token}
	err = h.Do(r.Context(), call, func(proof string) (told possession.Answer, err error) {
		next := r
		if resp != nil {
			again, ok := repeatable(r)
			if !ok { // the caller gets the first answer
				return told, nil
			}
			next = again
			drop(resp)
		}
		sent := withHeader(next)
		backchannel.SetBound(sent.Header, token, proof)
		if resp, err = base.RoundTrip(sent); err != nil {
			return told, err
		}
		return possession.Answer{
			Nonces:   resp.Header[backchannel.HeaderNonce],
			Demanded: hasBodyAgain(r) && backchannel.DemandsNonce(resp.StatusCode, resp.Header),
		}, nil
	})
	if !errors.Is(err, possession.ErrProof) {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	} else if r.Body != nil {
		r.Body.Close()
	}
	return nil, failure(err)
}

// methodOf returns the method as it was sent.
func methodOf(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet // as net/http reads it
	}
	return r.Method
}

// drop ends an answer that nobody reads. This is best effort: a body that cannot
// be drained only costs the connection.
func drop(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxUnwanted)
	resp.Body.Close()
}

// refusesToken reports whether an API answered that the token is no longer
// good (RFC 6750 §3.1, RFC 9449 §7.1).
func refusesToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	return slices.ContainsFunc(resp.Header.Values("WWW-Authenticate"), func(line string) bool { // one that cannot be read hides no other
		challenges, err := challenge.Parse([]string{line})
		return err == nil && slices.ContainsFunc(challenges, func(c challenge.Challenge) bool {
			return (strings.EqualFold(c.Scheme, "Bearer") || strings.EqualFold(c.Scheme, "DPoP")) && c.Params["error"] == "invalid_token"
		})
	})
}

// mayRefuseToken is refusesToken for a token of the application itself: many APIs
// answer a bare 401. It is false if the API says that the token is good and
// something else is missing.
func mayRefuseToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	challenges, err := challenge.Parse(resp.Header.Values("WWW-Authenticate"))
	if err != nil {
		return true
	}
	return refusesToken(resp) || !slices.ContainsFunc(challenges, func(c challenge.Challenge) bool { return c.Params["error"] != "" })
}

// hasBodyAgain reports whether the body of a request can be had once more.
func hasBodyAgain(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// repeatable returns a copy of a request that was sent, to be sent again.
func repeatable(r *http.Request) (*http.Request, bool) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return r, true
	case !hasBodyAgain(r):
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
