package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/rptcache"
)

const (
	// maxCallRequests bounds what one call sends in all, to the resource server
	// and to the token endpoint, however the two play it back and forth.
	maxCallRequests = 8
	// drainLimit is what is read of a challenge's body so that its connection
	// can be used again.
	drainLimit = 64 << 10
)

// UMATransport is an http.RoundTripper that brings its own permission: where a
// resource server answers with a UMA challenge, it turns the permission ticket
// into a requesting party token at the authorization server and sends the
// request once more (UMA 2.0 Grant §3).
//
// It trusts the provider's issuer alone: a challenge that names another
// authorization server fails before anything is sent there. A token is kept in
// memory, for its party, and sent only to the origin it was obtained for, over
// https or to loopback. A request that has an Authorization header already
// passes untouched. The token does not show in the response.
//
// An origin decides what its ticket asks for. A hostile resource server can
// hand on a ticket of another one and receive a token that is good there, so
// use a UMATransport for origins you know. Challenges met after a redirect to
// another origin are not answered.
//
// Beside transport errors RoundTrip fails with *NeedInfoError, *SubmittedError
// and *Error; find them with errors.As, as http.Client wraps them. A denied
// request is answered from memory for five seconds.
//
// A UMATransport is safe for concurrent use. Parallel requests for one party
// and origin share an exchange where they can.
type UMATransport struct {
	provider *Provider
	config   UMATransportConfig
	tokens   *rptcache.Cache
	flights  flight.Group[rptcache.Key, *outcome]
}

// NewUMATransport makes a UMATransport that gets its tokens at p. It does no
// I/O. The error lists every problem of the config at once.
func NewUMATransport(p *Provider, c UMATransportConfig) (*UMATransport, error) {
	if err := c.complete(p); err != nil {
		return nil, err
	}
	return &UMATransport{provider: p, config: c, tokens: rptcache.New(p.now)}, nil
}

// identityParty keys people by issuer and subject. An issuer has no space, so
// no two people share a key.
func identityParty(ctx context.Context) string {
	id := IdentityFrom(ctx)
	if id == nil || id.Subject == "" {
		return ""
	}
	return id.Issuer + " " + id.Subject
}

// ForgetIdentity drops the tokens of the party that id stands for. Call it when a
// person signs out. The party is the one that UMATransportConfig.Party finds on
// ctx with id on it. What a running exchange brings is not kept. The tokens live
// on at the authorization server until they expire. A nil id does nothing.
func (t *UMATransport) ForgetIdentity(ctx context.Context, id *Identity) {
	if id != nil {
		t.tokens.Forget(t.config.Party(WithIdentity(ctx, id)))
	}
}

// Forget is ForgetIdentity for those who name parties themselves: party is what
// UMATransportConfig.Party returns.
func (t *UMATransport) Forget(_ context.Context, party string) { t.tokens.Forget(party) }

// Shutdown waits until no exchange and no fetch of the Provider is under way, or
// until ctx ends. An exchange outlives a request that gave up waiting for it, by
// half a minute at most.
func (t *UMATransport) Shutdown(ctx context.Context) error {
	return errors.Join(t.flights.Wait(ctx), t.provider.Shutdown(ctx))
}

// RoundTrip implements http.RoundTripper.
func (t *UMATransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || hasAuthorization(r.Header) {
		return t.config.Base.RoundTrip(r)
	}
	c, err := t.newCall(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // a RoundTripper closes the body, also on errors
		}
		return nil, err
	}
	return c.run()
}

// call is one RoundTrip: a request that is sent once or several times.
type call struct {
	t       *UMATransport
	r       *http.Request
	key     rptcache.Key
	request rptcache.Request
	sent    int             // requests to the resource server
	left    int             // requests of either kind that are still allowed
	rounds  int             // tickets turned in
	rode    bool            // tried a token that another call obtained
	retried map[string]bool // codes that had their fresh start
}

func (t *UMATransport) newCall(r *http.Request) (*call, error) {
	party := t.config.Party(r.Context())
	if party == "" && t.config.Claims != nil {
		return nil, errPartyMissing.because(errors.New("Claims is set, but the context names no party"))
	}
	key := rptcache.Key{Party: party, Issuer: t.provider.issuer, Origin: requestOrigin(r)}
	request := rptcache.RequestOf(key, cmp.Or(r.Method, http.MethodGet), r.URL.RequestURI())
	if t.tokens.Denied(request) {
		return nil, errUMADenied.because(errDeniedBefore)
	}
	return &call{t: t, r: r, key: key, request: request, left: maxCallRequests, retried: make(map[string]bool)}, nil
}

// run sends the request until something other than a UMA challenge comes back.
func (c *call) run() (*http.Response, error) {
	token := ""
	if foreignHop(c.r, c.key.Origin) == nil { // another origin chose this request
		token = c.t.tokens.Usable(c.key)
	}
	for {
		resp, err := c.send(token)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized {
			return resp, nil
		}
		challenge, err := readUMAChallenge(resp.Header.Values("WWW-Authenticate"))
		if challenge == nil && err == nil {
			c.t.tokens.Drop(c.key, token)
			return resp, nil
		}
		discard(resp.Body)
		if err := c.trust(challenge, err); err != nil {
			c.t.report(c.r.Context(), err)
			return nil, err
		}
		c.t.tokens.Refuse(c.key, token)
		if token, err = c.permission(challenge.ticket, token); err != nil {
			return nil, err
		}
	}
}

// send sends the request once, with token if there is one. The response shows
// the request as the caller made it, without the token: it is for the servers
// only (UMA Grant §5.3).
func (c *call) send(token string) (*http.Response, error) {
	out := c.r.Clone(c.r.Context())
	if c.sent > 0 && c.r.Body != nil && c.r.Body != http.NoBody {
		if c.r.GetBody == nil {
			return nil, errBodyNotReplayable.after(0, errors.New("the request has no GetBody; the next try succeeds"))
		}
		body, err := c.r.GetBody()
		if err != nil {
			return nil, errBodyNotReplayable.after(0, fmt.Errorf("GetBody: %w", err))
		}
		out.Body = body
	}
	if token != "" {
		if out.Header == nil {
			out.Header = make(http.Header)
		}
		out.Header.Set("Authorization", "Bearer "+token) // RFC 6750 §2.1
	}
	c.sent++
	c.left--
	resp, err := c.t.config.Base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	resp.Request = c.r
	return resp, nil
}

// trust decides, before anything is sent, whether the challenge may be
// answered. The resource server is a stranger: it could name a server of its
// own to harvest our secret and the party's claims (UMA Grant §5.8).
func (c *call) trust(challenge *umaChallenge, unreadable error) error {
	switch first := foreignHop(c.r, c.key.Origin); {
	case unreadable != nil:
		return errAmbiguousChallenge.because(unreadable)
	case challenge.issuer != c.t.provider.issuer: // byte for byte
		return errUntrustedAS.because(fmt.Errorf("%s names the authorization server at %q", c.r.URL.Host, hostOf(challenge.issuer)))
	case c.r.URL.Scheme != "https" && !outbound.IsLoopback(c.r.URL.Hostname()):
		return errInsecureOrigin.because(fmt.Errorf("%s is not reached over https", c.r.URL.Host))
	case first != nil:
		return errRedirectedChallenge.because(fmt.Errorf("%s redirected to %s, which asks for permission: request it directly", first.URL.Host, c.r.URL.Host))
	}
	return nil
}

// permission returns the token for the next try: one that another call has just
// obtained, else one for ticket. After a refusal that a new ticket may cure it
// returns what is left, so that the resource server is asked for one. used is
// the token that was challenged.
func (c *call) permission(ticket, used string) (string, error) {
	for {
		if c.t.tokens.Denied(c.request) {
			return "", errUMADenied.because(errDeniedBefore)
		}
		if other := c.t.tokens.Usable(c.key); !c.rode && other != "" && other != used {
			c.rode = true
			return other, nil
		}
		if c.rounds == c.t.config.MaxRounds {
			err := errTooManyRounds.because(fmt.Errorf("%d tickets were not enough", c.rounds))
			c.t.report(c.r.Context(), err)
			return "", err
		}
		// All that is left but the request that uses the token.
		x := &exchange{t: c.t, key: c.key, request: c.request, ticket: ticket, budget: c.left - 1}
		o, err := c.t.flights.Do(c.r.Context(), c.key, exchangeTime, func(ctx context.Context) (*outcome, error) {
			return x.run(ctx, c.r.Context()), nil
		})
		switch {
		case err != nil && c.r.Context().Err() == nil: // Claims panicked
			return "", errInternal.because(err)
		case err != nil:
			return "", err
		case o.by == x:
			c.rounds++
			c.left -= o.sent
			return c.conclude(o)
		case o.err == nil && !c.rode:
			c.rode = true
			return o.token, nil
		case o.err != nil && (o.request == c.request || concernsAll(o.err)) && !startsAfresh(o.err):
			return "", o.err
		}
		// The exchange was for something else: turn in our own ticket.
	}
}

// conclude reads the outcome of the call's own exchange. Each refusal that a
// fresh ticket may cure gets one.
func (c *call) conclude(o *outcome) (string, error) {
	if o.err == nil {
		return o.token, nil
	}
	code := ErrorCode(o.err)
	if !startsAfresh(o.err) || c.retried[code] {
		return "", o.err
	}
	c.retried[code] = true
	return c.t.tokens.Usable(c.key), nil
}

// report tells of an exchange that did not come about or how one went.
func (t *UMATransport) report(ctx context.Context, err error) {
	e := Event{Name: EventRPT, ClientID: t.config.Client.ID}
	switch {
	case err == nil:
	case errors.As(err, new(*NeedInfoError)):
		e.Code = "need_info"
	case errors.As(err, new(*SubmittedError)):
		e.Code = "request_submitted"
	default:
		e.Code, e.Err = ErrorCode(err), err
		if failure, ok := errors.AsType[*Error](err); ok {
			e.Err = failure.Err
		}
	}
	t.provider.emit(ctx, e)
}

// umaChallenge is what a resource server says with 401 (UMA Grant §3.2.1).
type umaChallenge struct{ issuer, ticket string }

// readUMAChallenge finds the one UMA challenge among the values of
// WWW-Authenticate. It returns nil without an error when there is none.
func readUMAChallenge(values []string) (*umaChallenge, error) {
	all, err := challenge.Parse(values)
	if err != nil {
		if !slices.ContainsFunc(values, mentionsUMA) {
			return nil, nil // for somebody else to read
		}
		return nil, err
	}
	var found *umaChallenge
	for _, c := range all {
		if !strings.EqualFold(c.Scheme, "UMA") {
			continue
		}
		if found != nil {
			return nil, errors.New("two UMA challenges")
		}
		found = &umaChallenge{issuer: c.Params["as_uri"], ticket: c.Params["ticket"]}
	}
	switch {
	case found == nil:
		return nil, nil
	case found.issuer == "":
		return nil, errors.New("a UMA challenge without as_uri")
	case found.ticket == "":
		return nil, errors.New("a UMA challenge without ticket")
	}
	return found, nil
}

// mentionsUMA reports whether an unreadable header value may hold a UMA
// challenge: the scheme's name as a word of its own.
func mentionsUMA(value string) bool {
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		if strings.EqualFold(word, "UMA") {
			return true
		}
	}
	return false
}

// hasAuthorization reports whether the caller brings credentials, in whatever
// case it wrote the name.
func hasAuthorization(h http.Header) bool {
	for name := range h {
		if strings.EqualFold(name, "Authorization") {
			return true
		}
	}
	return false
}

// requestOrigin is the origin that a request goes to. A Host that differs from
// the address makes it another one.
func requestOrigin(r *http.Request) string {
	origin := outbound.Origin(r.URL)
	if r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host) {
		origin += " as " + strings.ToLower(r.Host)
	}
	return origin
}

// foreignHop is a request to another origin among those that led to r by
// redirects, nil if there is none.
func foreignHop(r *http.Request, origin string) *http.Request {
	for r.Response != nil && r.Response.Request != nil && r.Response.Request.URL != nil {
		if r = r.Response.Request; requestOrigin(r) != origin {
			return r
		}
	}
	return nil
}

// hostOf is what may be shown of an address a stranger sent.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return clip(u.Host)
}

// discard reads a little of body, so that the connection can be used again, and
// closes it.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, drainLimit)
	body.Close()
}
