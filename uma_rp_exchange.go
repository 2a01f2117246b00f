package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/flight"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/rptcache"
)

// exchangeTime bounds one exchange: metadata or claims, and two token requests
// if claims are pushed.
const exchangeTime = 3 * outbound.Timeout

// idTokenFormat is the claim token format of an ID Token (UMA Grant §3.3.1).
const idTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// exchange redeems one ticket. If the server asks for claims, they are pushed
// with the new ticket of its response. Only the latest ticket is ever used.
type exchange struct {
	t             *UMATransport
	key           rptcache.Key
	method, path  string
	request       rptcache.Request
	ticket        string // the latest
	used          string // the token that was challenged
	own           string // the token that the call obtained before, if it owes nothing to earlier ones
	bare          bool   // offers no token
	silent        bool   // pushes no claims
	budget        int    // allowed number of token requests
	sent          int
	rpt           string // the token to upgrade
	pushed        bool
	unasked       bool     // pushed claims before the server asked for them
	refusedFormat bool     // of these claims
	spent         []string // tickets that were sent
	// since is when the client was chosen that sends the tickets, if it registers
	// itself: those that the server gives it belong to it (RFC 6749 §5.2).
	since time.Time
}

// retry is why a new ticket may help.
type retry string

const (
	retryTicket  retry = "the ticket was refused"
	retryUpgrade retry = "the upgrade was refused"
	retryFormat  retry = "the format of the claims was refused"
)

// errWithOldToken says in the log what a refusal is about.
var errWithOldToken = errors.New("this was an upgrade of a token from before, and is tried once more without it if there are tickets left")

// outcome is the result of an exchange, for all callers that waited for it.
type outcome struct {
	by      *exchange
	request rptcache.Request
	sent    int    // token requests
	token   string // set if err is nil
	err     error
	again   retry // "" if a new ticket would not help
}

// run makes the exchange and stores the token. The exchange ends with the
// context run. The context asker is that of the request that started it;
// only its values are used.
func (x *exchange) run(run, asker context.Context) *outcome {
	// Claims needs the values to find its session, and the event to find its
	// trace.
	values, cancel := context.WithTimeout(context.WithoutCancel(flight.Of(run, asker)), exchangeTime)
	defer cancel()
	tokens := x.t.tokens
	w := tokens.Begin(x.key)
	defer w.End()

	o := &outcome{by: x, request: x.request}
	if !x.bare {
		x.rpt = tokens.Upgradable(x.key, x.path, x.used)
	}
	answer, err := x.obtain(run, values)
	o.sent, o.again = x.sent, x.again(err)
	if o.again == retryUpgrade && ErrorCode(err) != "" { // what follows may end well
		err = also(err, errWithOldToken)
	}
	o.err = err
	switch code := ErrorCode(err); {
	case err == nil:
		// Unless the response says upgraded, the new token is what this request
		// needs and the old one what others need (UMA Grant §3.3.5).
		o.token = answer.Access
		upgrades := ""
		if answer.Upgraded {
			upgrades = x.rpt
		}
		w.Put(answer.Access, answer.Expires, upgrades)
	case code == errRPTRefused.code || code == errRPTUnusable.code && x.rpt != "":
		tokens.Drop(x.key, x.rpt)
	case o.again == retryUpgrade:
		tokens.Rest(x.key, x.rpt)
	case code == errUMADenied.code:
		w.Deny(x.request)
	}
	x.t.report(values, err)
	return o
}

// again returns why a new ticket may help after err. Servers judge an upgrade
// by more than the ticket: Keycloak refuses it unless it may grant everything
// (K19). What a request gets must not depend on what was requested before.
func (x *exchange) again(err error) retry {
	code := ErrorCode(err)
	offered := x.rpt != "" && x.rpt != x.own // a token from before this call
	switch {
	case err == nil:
	case x.refusedFormat && !(offered && code == errGrantRefused.code): // else perhaps the token, not the format
		return retryFormat
	case offered:
		submitted, _ := errors.AsType[*SubmittedError](err)
		if code == errUMADenied.code || code == errGrantRefused.code || code == errTicketRefused.code ||
			code == errRPTRefused.code || code == errRPTUnusable.code || submitted != nil && submitted.Ticket.IsZero() {
			return retryUpgrade
		}
	case code == errTicketRefused.code:
		return retryTicket
	case code == errRPTRefused.code:
		return retryUpgrade
	}
	return ""
}

// obtain redeems the ticket. If the server asks for claims, obtain pushes them
// with the next ticket.
func (x *exchange) obtain(ctx, values context.Context) (*backchannel.Tokens, error) {
	md, err := x.t.provider.clientMetadata(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	form := x.form(md)
	if err := x.pushFirst(values, form, md); err != nil {
		return nil, err
	}
	who, err := x.client(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	for {
		if x.sent >= x.budget {
			return nil, errTooManyRounds.because(fmt.Errorf("%d requests were not enough", maxCallRequests))
		}
		form.Set("ticket", x.ticket)
		x.spent = append(x.spent, x.ticket)
		x.sent++
		answer, err := x.t.provider.requestTokenAs(ctx, who, form)
		if err == nil {
			return answer, usableRPT(answer)
		}
		refusal, ok := err.(*backchannel.Refusal)
		if !ok {
			return nil, unavailable(err) // not repeated, because the ticket may have been used
		}
		x.refusedFormat = x.unasked && refusesFormat(refusal.Code) && x.t.provider.isStandard(md)
		err = x.refused(refusal)
		if n := len(x.ticket); n > keycloakTicket && ErrorCode(err) != "" && x.t.provider.isKeycloak(md) {
			err = also(err, fmt.Errorf("the ticket has %d characters, and Keycloak ignores one of more than %d: the resource server asks for too much at once", n, keycloakTicket))
		}
		need, ok := err.(*NeedInfoError)
		if !ok || x.pushed || x.silent || x.t.config.Claims == nil {
			return nil, err
		}
		if err := x.push(values, form, need); err != nil {
			e := *asError(err, errClaimsUnavailable)
			e.Err = fmt.Errorf("%w: %w", need, err) // the person may still go there with the ticket
			return nil, &e
		}
		if !x.pushed {
			return nil, need
		}
		x.ticket = need.Ticket.Reveal()
	}
}

// client returns who sends the tickets. A ticket from a resource server belongs to
// no client yet.
func (x *exchange) client(ctx context.Context) (known, error) {
	if x.since.IsZero() && x.t.config.Client.Registration != nil {
		x.since = x.t.provider.now()
		return x.t.provider.who(ctx, &x.t.config.Client)
	}
	return x.t.asker(ctx, x.since)
}

// pushFirst adds the claims before the server asks for them. With
// ClaimsWhenAsked it waits, but not at Keycloak, which never asks. Without them
// Keycloak would issue the client's own permission instead of the party's (K11,
// K16).
func (x *exchange) pushFirst(ctx context.Context, form url.Values, md *Metadata) error {
	if x.t.config.Claims == nil || x.silent || x.t.config.ClaimsWhenAsked && !x.t.provider.isKeycloak(md) {
		return nil
	}
	if err := x.push(ctx, form, nil); err != nil {
		return err
	}
	if !x.pushed {
		return errClaimsUnavailable.because(errors.New("Claims returned no token"))
	}
	x.unasked = true
	return nil
}

// form returns the parameters of the grant (UMA Grant §3.3.1).
func (x *exchange) form(md *Metadata) url.Values {
	form := url.Values{"grant_type": {umaGrant}}
	if len(x.t.config.Scopes) > 0 {
		form.Set("scope", strings.Join(x.t.config.Scopes, " "))
	}
	if x.rpt != "" {
		form.Set("rpt", x.rpt)
	}
	if x.t.provider.isKeycloak(md) && !x.t.config.SubmitRequest {
		form.Set("submit_request", "false") // at Keycloak absent means true (K14)
	}
	return form
}

// push adds the claim token to form and sets x.pushed, if there is a token
// with a format that need accepts. A nil need accepts any format.
func (x *exchange) push(ctx context.Context, form url.Values, need *NeedInfoError) error {
	claim, err := x.t.config.Claims(ctx)
	if err != nil {
		return asError(err, errClaimsUnavailable)
	}
	format := claim.Format
	if format == "" {
		format = idTokenFormat
	}
	if claim.Token.IsZero() || need != nil && !need.accepts(format) {
		return nil
	}
	form.Set("claim_token", claim.Token.Reveal())
	form.Set("claim_token_format", format)
	x.pushed = true
	return nil
}

// usableRPT returns an error if the token cannot be sent as a Bearer token
// (b64token in RFC 6750 §2.1), or is longer than our own resource server reads.
func usableRPT(a *backchannel.Tokens) error {
	if len(a.Access) > bearer.MaxToken {
		return errRPTUnusable.because(errors.New("the token is too long"))
	}
	if !bearer.Valid(a.Access) {
		return errRPTUnusable.because(errors.New("the token has characters that are not allowed in a Bearer token"))
	}
	return nil
}
