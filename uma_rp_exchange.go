package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

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
	t       *UMATransport
	key     rptcache.Key
	request rptcache.Request
	ticket  string // the latest
	budget  int    // allowed number of token requests
	sent    int
	rpt     string // the token to upgrade
	pushed  bool
	spent   []string // tickets that were sent
}

// outcome is the result of an exchange, for all callers that waited for it.
type outcome struct {
	by      *exchange
	request rptcache.Request
	sent    int    // token requests
	token   string // set if err is nil
	err     error
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
	x.rpt = tokens.Last(x.key)
	answer, err := x.obtain(run, values)
	o.sent = x.sent
	switch code := ErrorCode(err); {
	case err == nil:
		// If the response says upgraded, the new token replaces the old one.
		// If not, the new one is still what this request needs (UMA Grant
		// §3.3.5).
		o.token = answer.Access
		w.Put(answer.Access, answer.Expires)
	case code == errRPTRefused.code:
		tokens.Drop(x.key, x.rpt)
	case code == errUMADenied.code:
		w.Deny(x.request)
	}
	o.err = err
	x.t.report(values, err)
	return o
}

// obtain redeems the ticket. If the server asks for claims, obtain pushes them
// with the next ticket.
func (x *exchange) obtain(ctx, values context.Context) (*backchannel.Tokens, error) {
	md, err := x.t.provider.umaMetadata(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	form := x.form(md)
	// Keycloak never asks for claims. Without them it would issue the client's
	// own permission instead of the party's (K11, K16).
	if keycloak := md.isKeycloak() && x.t.config.Claims != nil; keycloak || x.t.config.PushFirst {
		if err := x.push(values, form, nil); err != nil {
			return nil, err
		}
		if keycloak && !x.pushed {
			return nil, errClaimsUnavailable.because(errors.New("Claims returned no token"))
		}
	}
	for {
		if x.sent >= x.budget {
			return nil, errTooManyRounds.because(fmt.Errorf("%d requests were not enough", maxCallRequests))
		}
		form.Set("ticket", x.ticket)
		x.spent = append(x.spent, x.ticket)
		x.sent++
		answer, err := x.t.provider.requestToken(ctx, x.t.config.Client, form)
		if err == nil {
			return answer, usableRPT(answer)
		}
		refusal, ok := err.(*backchannel.Refusal)
		if !ok {
			return nil, unavailable(err) // not repeated, because the ticket may have been used
		}
		if err = x.refused(refusal); x.pushed || x.t.config.Claims == nil {
			return nil, err
		}
		need, ok := err.(*NeedInfoError)
		if !ok {
			return nil, err
		}
		if err := x.push(values, form, need); err != nil {
			return nil, err
		}
		if !x.pushed {
			return nil, need
		}
		x.ticket = need.Ticket.Reveal()
	}
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
	if md.isKeycloak() && !x.t.config.SubmitRequest {
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
