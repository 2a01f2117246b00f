package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/rptcache"
)

const (
	// exchangeTime bounds one exchange: metadata or claims, and two requests to
	// the token endpoint, when claims are pushed.
	exchangeTime = 3 * outbound.Timeout
	// maxRPT is the longest token that is kept: what a resource server of ours
	// reads from an Authorization header.
	maxRPT = 16 << 10
)

// idTokenFormat is the claim token format of an ID Token (UMA Grant §3.3.1).
const idTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// exchange turns one ticket in. Claims may be pushed with the ticket that the
// first answer brings; tickets are used one at a time, the latest only.
type exchange struct {
	t       *UMATransport
	key     rptcache.Key
	request rptcache.Request
	ticket  string // the latest
	budget  int    // how many token requests are allowed
	sent    int
	rpt     string // offered for an upgrade
	pushed  bool
	spent   []string // tickets that were sent
}

// outcome is how an exchange went, for everybody who waited for it.
type outcome struct {
	by      *exchange
	request rptcache.Request
	sent    int    // token requests
	token   string // set without err
	err     error
}

// run makes the exchange and keeps what it brings. flight is the life of the
// exchange, asker the request it began with, of which only the values count.
func (x *exchange) run(flight, asker context.Context) *outcome {
	// Claims finds its session among the values, the event its trace.
	values, cancel := context.WithTimeout(context.WithoutCancel(asker), exchangeTime)
	defer cancel()
	tokens := x.t.tokens
	w := tokens.Begin(x.key)
	defer w.End()

	o := &outcome{by: x, request: x.request}
	x.rpt = tokens.Last(x.key)
	answer, err := x.obtain(flight, values)
	o.sent = x.sent
	switch code := ErrorCode(err); {
	case err == nil:
		// UMA Grant §3.3.5: with upgraded the old token is in the new one and
		// must go; without, the new one is what this request needs.
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

// obtain sends the ticket and, when asked for claims, the next one with them.
func (x *exchange) obtain(ctx, values context.Context) (*backchannel.Tokens, error) {
	md, err := x.t.provider.umaMetadata(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	form := x.form(md)
	// A Keycloak never asks: without claims we would get our own permission
	// instead of the party's (K11, K16).
	if keycloak := md.isKeycloak() && x.t.config.Claims != nil; keycloak || x.t.config.PushFirst {
		if err := x.push(values, form, nil); err != nil {
			return nil, err
		}
		if keycloak && !x.pushed {
			return nil, errClaimsUnavailable.because(errors.New("Claims gave no token"))
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
			return nil, unavailable(err) // never repeated: the ticket may be spent
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

// form makes the parameters of the grant (UMA Grant §3.3.1).
func (x *exchange) form(md *Metadata) url.Values {
	form := url.Values{"grant_type": {umaGrant}}
	if len(x.t.config.Scopes) > 0 {
		form.Set("scope", strings.Join(x.t.config.Scopes, " "))
	}
	if x.rpt != "" {
		form.Set("rpt", x.rpt)
	}
	if md.isKeycloak() && !x.t.config.SubmitRequest {
		form.Set("submit_request", "false") // K14: absent means true
	}
	return form
}

// push adds the claim token to form if there is one of a format that need
// accepts, and notes that it did.
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

// usableRPT refuses a token that cannot be sent as a Bearer token (RFC 6750
// §2.1, b64token).
func usableRPT(a *backchannel.Tokens) error {
	if len(a.Access) > maxRPT {
		return errRPTUnusable.because(errors.New("the token is too long"))
	}
	body := strings.TrimRight(a.Access, "=")
	if body == "" || strings.ContainsFunc(body, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
	}) {
		return errRPTUnusable.because(errors.New("the token has characters that no Bearer token has"))
	}
	return nil
}
