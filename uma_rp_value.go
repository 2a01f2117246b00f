package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/rptcache"
)

// RPTRequest says for which request UMATransport.RPT obtains a token.
type RPTRequest struct {
	// URL is the address of the request. The token is for its origin, and among
	// those that are kept, its path chooses. Required.
	URL string
	// Method is that of the request. "" means GET.
	Method string
	// Challenge is the challenge with which the resource server answered, as it
	// stands in the lines of WWW-Authenticate (UMA Grant §3.2.1).
	Challenge []string
	// ASURI and Ticket are its as_uri and ticket, where there are no such lines.
	// Without a ticket RPT returns only what it has.
	ASURI  string
	Ticket Secret
	// Refused is the token with which the resource server gave the ticket, if the
	// request had one. RPT does not return it again, and offers it for an upgrade.
	Refused Secret
	// ForceNew redeems the ticket whatever is kept, and offers nothing for an
	// upgrade.
	ForceNew bool
}

// RPT returns a requesting party token as a value, for a caller that is no
// http.Client: another library, another protocol, a script. It keeps tokens
// together with RoundTrip, for the same party, origins and time, in the same
// memory, and trusts and asks whom RoundTrip does.
//
// Call it without a ticket first. If that fails with "rpt_ticket_required"
// (CodeRPTTicketRequired), send the request without a token; and whenever the
// resource server answers with a challenge, call it with that. A ticket is redeemed
// at most once, so an error ends its use: ask the resource server for another one.
// Errors are those of RoundTrip.
func (t *UMATransport) RPT(ctx context.Context, want RPTRequest) (Secret, error) {
	if !t.made() {
		return Secret{}, notMade("UMATransport")
	}
	u, err := url.Parse(want.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Secret{}, errInternal.because(errors.New("RPT: URL is not the address of a resource"))
	}
	c, err := t.newCall((&http.Request{Method: want.Method, URL: u}).WithContext(ctx))
	if err != nil {
		return Secret{}, err
	}
	c.first = t.tokens.Choose(c.key, c.path)
	used := want.Refused.Reveal()
	if kept := c.first.Token; kept != "" && kept != used && !want.ForceNew {
		return NewSecret(kept), nil
	}
	asked, err := &challenge.UMA{Issuer: want.ASURI, Ticket: want.Ticket.Reveal()}, error(nil)
	if len(want.Challenge) > 0 {
		asked, err = challenge.FindUMA(want.Challenge)
	}
	if err == nil && (asked == nil || asked.Ticket == "") {
		return Secret{}, errRPTTicket.because(nil)
	}
	if err := c.trust(asked, used, err); err != nil {
		t.report(ctx, err)
		return Secret{}, err
	}
	if used != "" {
		t.tokens.Refuse(c.key, c.method, c.path, used)
	}
	token, err := c.redeem(want, asked.Ticket)
	if err != nil {
		return Secret{}, err
	}
	t.tokens.Served(c.key, c.method, c.path, rptcache.Choice{Token: token})
	return NewSecret(token), nil
}

// redeem exchanges the ticket, and shares the exchange of another call for the same
// request, unless the token has to be new.
func (c *call) redeem(want RPTRequest, ticket string) (string, error) {
	for {
		x := &exchange{t: c.t, key: c.key, method: c.method, path: c.path, request: c.request, ticket: ticket, used: want.Refused.Reveal(),
			bare: want.ForceNew || want.Refused.IsZero(), budget: c.left}
		o, err := c.t.flights.Do(c.r.Context(), c.key, exchangeTime, func(ctx context.Context) (*outcome, error) {
			return x.run(ctx, c.r.Context()), nil
		})
		switch {
		case err != nil && c.r.Context().Err() == nil: // Claims panicked
			return "", errInternal.because(err)
		case err != nil:
			return "", err
		case o.by == x, o.request == c.request && !want.ForceNew && o.again == "":
			return o.token, o.err
		case o.err != nil && concernsAll(o.err) && o.again == "":
			return "", o.err
		}
		// The exchange was for something else, so redeem our own ticket.
	}
}
