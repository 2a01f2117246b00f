package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/rptcache"
)

const (
	// maxCallRequests bounds the requests of one call, to the resource server
	// and the token endpoint together.
	maxCallRequests = 8
	// drainLimit and drainTime bound what is read of a challenge's body so that
	// the connection can be reused. Nothing in the body is needed.
	drainLimit = 64 << 10
	drainTime  = 250 * time.Millisecond
	// maxNamed is how much of a stranger's address an error names. No address
	// of an authorization server is longer.
	maxNamed = 2000
)

// UMATransport is an http.RoundTripper that obtains the permission it needs.
// If a resource server answers with a UMA challenge, it exchanges the
// permission ticket for a requesting party token at the authorization server
// and sends the request again (UMA Grant §3).
//
// It trusts only the provider's issuer. A challenge that names another
// authorization server fails before anything is sent there. Tokens are kept in
// memory for their party, the newest four for each origin. They are sent only
// to the origin they were obtained for, and only over https or to loopback.
// They do not appear in the response. A request takes the token that last
// served its path or the longest prefix of it, and otherwise the newest, unless
// that was challenged where it had served. A request that already has an
// Authorization header is passed on unchanged.
//
// A resource server decides what its ticket asks for. A hostile one can pass
// on a ticket from another resource server and so receive a token that is
// valid there. Use a UMATransport only for origins you know. A challenge after
// a redirect from another origin is not answered.
//
// Besides transport errors, RoundTrip returns *NeedInfoError, *SubmittedError
// and *Error. Use errors.As to find them, because http.Client wraps them. A
// denial is remembered and returned again for five seconds.
//
// A UMATransport is safe for concurrent use. Parallel requests for one party
// and origin share an exchange where possible.
type UMATransport struct {
	provider *Provider
	config   UMATransportConfig
	tokens   *rptcache.Cache
	flights  flight.Group[rptcache.Key, *outcome]
	drains   flight.Group[*http.Response, struct{}]
}

// NewUMATransport returns a UMATransport that obtains its tokens at p. It does
// no I/O. Its error lists every problem of the arguments.
func NewUMATransport(p *Provider, c UMATransportConfig) (*UMATransport, error) {
	if err := c.complete(p); err != nil {
		return nil, err
	}
	t := &UMATransport{provider: p, config: c, tokens: rptcache.New(p.now)}
	if c.Login != nil {
		c.Login.gather.add(p.issuer+" "+c.Client.lasting(), t)
	}
	return t, nil
}

// identityParty is the default Party. It joins issuer and subject with a
// space. An issuer contains no space, so no two people share a key. A person
// who is known from a token shares none with the same person signed in: another
// client speaks for them.
func identityParty(ctx context.Context) string {
	id := IdentityFrom(ctx)
	switch {
	case id == nil || id.Subject == "":
		return ""
	case id.Via == ViaUMA, id.Via == ViaToken:
		return string(id.Via) + " " + id.Issuer + " " + id.Subject
	}
	return id.Issuer + " " + id.Subject
}

// ForgetIdentity drops the tokens of the party that id stands for. Call it
// when a person signs out. The party is what UMATransportConfig.Party returns
// for ctx with id on it. The result of an exchange under way is not kept
// either. The tokens stay valid at the authorization server until they expire.
// A nil id does nothing.
func (t *UMATransport) ForgetIdentity(ctx context.Context, id *Identity) {
	if id != nil && t.made() {
		t.tokens.Forget(t.config.Party(WithIdentity(ctx, id)))
	}
}

// Forget is like ForgetIdentity for applications with their own parties. The
// party is a value that UMATransportConfig.Party returns.
func (t *UMATransport) Forget(_ context.Context, party string) {
	if t.made() {
		t.tokens.Forget(party)
	}
}

// made reports whether NewUMATransport made t.
func (t *UMATransport) made() bool { return t != nil && t.provider != nil }

// Shutdown waits until no exchange and no fetch of the Provider is under way,
// or until ctx is done. An exchange may outlive the request that started it by
// up to half a minute.
func (t *UMATransport) Shutdown(ctx context.Context) error {
	if !t.made() {
		return nil // it has started nothing
	}
	return errors.Join(t.flights.Wait(ctx), t.drains.Wait(ctx), t.config.Client.prover.Shutdown(ctx), t.provider.Shutdown(ctx))
}

// RoundTrip implements http.RoundTripper.
func (t *UMATransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.made() {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, notMade("UMATransport")
	}
	if r.URL == nil || hasAuthorization(r.Header) {
		return t.config.Base.RoundTrip(r)
	}
	c, err := t.newCall(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // a RoundTripper must close the body, also on errors
		}
		return nil, err
	}
	return c.run()
}

// call is one RoundTrip. It may send its request several times.
type call struct {
	t       *UMATransport
	r       *http.Request
	key     rptcache.Key
	method  string
	path    string
	request rptcache.Request
	first   rptcache.Choice
	sent    int    // requests to the resource server
	left    int    // requests of either kind that are still allowed
	rounds  int    // tickets redeemed
	rode    bool   // tried a token that another call obtained
	had     string // the token that this call obtained last
	own     string // the same, unless it came of a token from before
	bare    bool   // offers no token for an upgrade
	silent  bool   // pushes no claims
	refusal error  // of the upgrade
	retried map[retry]bool
}

func (t *UMATransport) newCall(r *http.Request) (*call, error) {
	party := t.config.Party(r.Context())
	if party == "" && t.config.Claims != nil {
		return nil, errPartyMissing.because(errors.New("Claims is set, but the context names no party"))
	}
	key := rptcache.Key{Party: party, Issuer: t.provider.issuer, Origin: requestOrigin(r)}
	method := cmp.Or(r.Method, http.MethodGet)
	request := rptcache.RequestOf(key, method, r.URL.RequestURI())
	if t.tokens.Denied(request) {
		return nil, errUMADenied.because(errDeniedBefore)
	}
	return &call{t: t, r: r, key: key, method: method, path: cmp.Or(r.URL.Path, "/"), request: request, left: maxCallRequests}, nil
}

// run sends the request until the response is not a UMA challenge.
func (c *call) run() (*http.Response, error) {
	if foreignHop(c.r, c.key.Origin) == nil { // another origin chose this request
		c.first = c.t.tokens.Choose(c.key, c.path)
	}
	token := c.first.Token
	for {
		resp, err := c.send(token)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized {
			c.learn(resp.StatusCode, token)
			return resp, nil
		}
		asked, err := challenge.FindUMA(resp.Header.Values("WWW-Authenticate"))
		if asked == nil && err == nil {
			c.t.tokens.Drop(c.key, token)
			return resp, nil
		}
		c.t.discard(c.r.Context(), resp)
		if err := c.trust(asked, token, err); err != nil {
			c.t.report(c.r.Context(), err)
			return nil, err
		}
		c.t.tokens.Refuse(c.key, c.method, c.path, token)
		if token, err = c.permission(asked.Ticket, token); err != nil {
			return nil, err
		}
	}
}

// learn takes from an answer what it says about the token that was sent.
func (c *call) learn(status int, token string) {
	switch {
	case token == "":
	case status == http.StatusRequestHeaderFieldsTooLarge,
		// Some servers say no more to a long header.
		status == http.StatusBadRequest && rptcache.TooLong(token):
		c.t.tokens.Drop(c.key, token)
	case status >= http.StatusBadRequest: // perhaps refused before the token was looked at
	case token == c.first.Token:
		c.t.tokens.Served(c.key, c.method, c.path, c.first)
	default:
		c.t.tokens.Served(c.key, c.method, c.path, rptcache.Choice{Token: token})
	}
}

// send sends the request once, with token if it is not empty. The response
// refers to the caller's request, which does not have the token: only servers
// may see it (UMA Grant §5.3).
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

// trust decides whether to answer the challenge to a request with this token,
// before anything is sent. A malicious resource server could name its own
// authorization server to steal our client secret and the party's claims (UMA
// Grant §5.8).
func (c *call) trust(asked *challenge.UMA, token string, unreadable error) error {
	switch first := foreignHop(c.r, c.key.Origin); {
	case unreadable != nil:
		return errAmbiguousChallenge.because(unreadable)
	case asked.Issuer != c.t.provider.issuer: // byte for byte
		return errUntrustedAS.because(fmt.Errorf("%s names the authorization server %q, and this client trusts %q",
			outbound.Origin(c.r.URL), strangersAddress(asked, token), c.t.provider.issuer))
	case c.r.URL.Scheme != "https" && !outbound.IsLoopback(c.r.URL.Hostname()):
		return errInsecureOrigin.because(fmt.Errorf("%s is not reached over https", outbound.Origin(c.r.URL)))
	case first != nil:
		return errRedirectedChallenge.because(fmt.Errorf("%s redirected to %s, which asks for permission: request it directly", outbound.Origin(first.URL), outbound.Origin(c.r.URL)))
	}
	return nil
}

// strangersAddress returns the whole address that a challenge names. A hostile
// resource server could put the token there that it received, or the ticket.
func strangersAddress(asked *challenge.UMA, token string) string {
	address := asked.Issuer
	if len(address) > maxNamed {
		address = address[:maxNamed] + "…"
	}
	for _, secret := range []string{token, asked.Ticket} {
		if secret != "" {
			address = strings.ReplaceAll(address, secret, "…")
		}
	}
	return address
}

// permission returns the token for the next try, where used is the token that
// was challenged. It is one that another call has just obtained, or else one
// for ticket. If the exchange is refused but a new ticket may help, permission
// returns no token, so that the resource server issues a new ticket.
func (c *call) permission(ticket, used string) (string, error) {
	for {
		if c.t.tokens.Denied(c.request) {
			return "", errUMADenied.because(errDeniedBefore)
		}
		if other := c.other(used); other != "" {
			c.rode = true
			return other, nil
		}
		if c.rounds == c.t.config.MaxRounds {
			if c.refusal != nil {
				return "", c.refusal // what is missing was refused before
			}
			err := errTooManyRounds.because(fmt.Errorf("permission is still missing after %d tickets", c.rounds))
			c.t.report(c.r.Context(), err)
			return "", err
		}
		// Keep one request for using the token.
		x := &exchange{t: c.t, key: c.key, method: c.method, path: c.path, request: c.request, ticket: ticket, used: used,
			own: c.own, bare: c.bare, silent: c.silent, budget: c.left - 1}
		o, err := c.t.flights.Do(c.r.Context(), c.key, exchangeTime, func(ctx context.Context) (*outcome, error) {
			// An exchange may have ended after we looked above.
			if other := c.other(used); other != "" {
				return &outcome{token: other, request: c.request}, nil
			}
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
		case o.err != nil && (o.request == c.request || concernsAll(o.err)) && o.again == "":
			return "", o.err
		}
		// The exchange was for something else, so redeem our own ticket.
	}
}

// other returns a token that another call has obtained meanwhile, if this one
// has not tried such a token yet.
func (c *call) other(used string) string {
	if other := c.t.tokens.Newer(c.key, c.first); !c.rode && other != used && other != c.had {
		return other
	}
	return ""
}

// conclude evaluates the outcome of the call's own exchange. For each reason
// why a new ticket may help, it lets the call try once more.
func (c *call) conclude(o *outcome) (string, error) {
	if o.err == nil {
		c.had, c.own = o.token, o.token
		if o.by.rpt != o.by.own { // what comes of a kept token may be less than what comes of none
			c.own = ""
		}
		return o.token, nil
	}
	if o.again == "" || c.retried[o.again] || o.again != retryTicket && c.rounds == c.t.config.MaxRounds {
		return "", o.err
	}
	if c.retried == nil {
		c.retried = make(map[retry]bool)
	}
	c.retried[o.again] = true
	switch o.again {
	case retryUpgrade:
		c.bare, c.refusal = true, o.err
	case retryFormat:
		c.silent = true
	}
	return "", nil
}

// report emits the event of an exchange, or of a challenge that was not
// answered.
func (t *UMATransport) report(ctx context.Context, err error) {
	e := Event{Name: EventRPT, ClientID: t.config.Client.told()}
	switch {
	case err == nil:
	case ErrorCode(err) == "" && errors.As(err, new(*NeedInfoError)):
		e.Code = rptNeedInfo
	case errors.As(err, new(*SubmittedError)):
		e.Code = rptSubmitted
	default:
		e.Code, e.Err = ErrorCode(err), err
		if failure, ok := errors.AsType[*Error](err); ok {
			e.Err = failure.Err
		}
	}
	t.provider.emit(ctx, e)
}

// hasAuthorization reports whether the request has an Authorization header, in
// any spelling of upper and lower case.
func hasAuthorization(h http.Header) bool {
	for name := range h {
		if strings.EqualFold(name, "Authorization") {
			return true
		}
	}
	return false
}

// requestOrigin returns the origin that a request goes to (RFC 6454 §4). A
// Host header that differs from the address makes it a different origin.
func requestOrigin(r *http.Request) string {
	origin := outbound.Origin(r.URL)
	if r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host) {
		origin += " as " + strings.ToLower(r.Host)
	}
	return origin
}

// foreignHop returns a request to another origin that led to r by redirects,
// or nil if there is none.
func foreignHop(r *http.Request, origin string) *http.Request {
	for r.Response != nil && r.Response.Request != nil && r.Response.Request.URL != nil {
		if r = r.Response.Request; requestOrigin(r) != origin {
			return r
		}
	}
	return nil
}

// discard reads what there is of a challenge's body, within drainLimit and
// drainTime, so that the connection can be reused. Then it closes the body.
func (t *UMATransport) discard(ctx context.Context, resp *http.Response) {
	waiting, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	_, _ = t.drains.Do(waiting, resp, drainTime, func(ctx context.Context) (struct{}, error) {
		stop := context.AfterFunc(ctx, func() { resp.Body.Close() }) // ends a read that waits
		defer stop()
		_, _ = io.CopyN(io.Discard, resp.Body, drainLimit)
		return struct{}{}, resp.Body.Close()
	})
}
