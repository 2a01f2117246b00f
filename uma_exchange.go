package gatehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/outbound"
)

const (
	// exchangeTime bounds one exchange: metadata or claims, and two requests to
	// the token endpoint, when claims are pushed.
	exchangeTime = 3 * outbound.Timeout
	// maxNewTicket is the longest ticket taken from the authorization server: as
	// much as a challenge may hold.
	maxNewTicket = 16 << 10
	// maxInterval bounds what a server says about the next look at a request
	// that waits for its owner.
	maxInterval = 24 * time.Hour
)

// Failures of the UMA client. The person behind the application gets 403 where
// permission is missing; a peer that does not keep to the protocol is 502.
var (
	errUntrustedAS         = kind{"untrusted_as", 502, "The other service relies on an authorization server that this site does not trust."}
	errAmbiguousChallenge  = kind{"ambiguous_challenge", 502, "The other service answered in a way this site does not understand."}
	errInsecureOrigin      = kind{"insecure_origin", 502, "The other service cannot be reached safely."}
	errRedirectedChallenge = kind{"redirected_challenge", 502, "The other service sent this site somewhere else for permission."}
	errUMADenied           = kind{"uma_denied", 403, "You have not been given access to this."}
	errTooManyRounds       = kind{"too_many_rounds", 403, "The access you have been given is not enough for this."}
	errPartyMissing        = kind{"uma_party_missing", 401, "You need to sign in first."}
	errClaimsUnavailable   = kind{"uma_claims_unavailable", 503, "It cannot be shown right now who is asking."}
	errClaimsRefused       = kind{"uma_claims_refused", 403, "The authorization server does not accept the proof of who is asking. Signing in again may help."}
	errTicketReused        = kind{"ticket_reused", 502, "The authorization server answered in a way this site does not understand."}
	errTicketRefused       = kind{"ticket_refused", 502, "The authorization server does not accept the permission ticket."}
	errRPTRefused          = kind{"rpt_refused", 502, "The authorization server does not accept the token it gave."}
	errRPTUnusable         = kind{"rpt_unusable", 502, "The authorization server answered in a way this site does not understand."}
	errGrantRefused        = kind{"uma_grant_refused", 502, "The authorization server refused the request of this site."}
	errBodyNotReplayable   = kind{"body_not_replayable", 503, "Please send this again."}
	errASUnavailable       = kind{"as_unavailable", 503, "The authorization server cannot be reached right now."}
)

// errDeniedBefore is the cause of a denial that was answered from memory.
var errDeniedBefore = errors.New("denied a moment ago")

// idTokenFormat is the claim token format of an ID Token (UMA Grant §3.3.1).
const idTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

// ClaimToken is what proves claims about the requesting party.
type ClaimToken struct {
	// Token is the token. The zero Secret says that there is none.
	Token Secret
	// Format is its claim_token_format. "" means an ID Token,
	// "http://openid.net/specs/openid-connect-core-1_0.html#IDToken".
	Format string
}

// NeedInfoError says that the authorization server wants to know more about the
// requesting party than could be pushed (UMA Grant §3.3.6, need_info). Send
// the person there with the ticket, or ask them to sign in.
type NeedInfoError struct {
	// Issuer is the authorization server.
	Issuer string
	// Ticket stands for the request from now on. It is good for one use.
	Ticket Secret
	// Claims are what the server wants to know, if it said so.
	Claims []RequiredClaim
	// RedirectUser is where the server wants to see the person, as an absolute
	// https (or loopback) address; "" if it did not say or said something else.
	RedirectUser string
}

// Error says what is needed, without the ticket.
func (e *NeedInfoError) Error() string {
	return fmt.Sprintf("gatehouse: need_info: the authorization server asks for %d claims", len(e.Claims))
}

// RequiredClaim is one claim that an authorization server wants to know. All of
// it is optional and comes from the server as it is.
type RequiredClaim struct {
	Name         string   `json:"name,omitempty"`               // of the claim
	FriendlyName string   `json:"friendly_name,omitempty"`      // for people
	Type         string   `json:"claim_type,omitempty"`         // of the value
	TokenFormats []string `json:"claim_token_format,omitempty"` // any of them will do
	Issuers      []string `json:"issuer,omitempty"`             // any of them will do
}

// SubmittedError says that the owner has been asked (UMA Grant §3.3.6,
// request_submitted). Nothing waits for the answer; try again later.
type SubmittedError struct {
	// Issuer is the authorization server.
	Issuer string
	// Ticket stands for the request from now on. It is zero where the server
	// gives none, as Keycloak does: ask the resource server again.
	Ticket Secret
	// Interval is how long to wait at least before the next try; 0 if the
	// server did not say.
	Interval time.Duration
}

// Error says that the owner was asked, without the ticket.
func (e *SubmittedError) Error() string {
	return "gatehouse: request_submitted: the authorization server asks the owner"
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
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, "UMA") })
}

// exchange turns one ticket in. Claims may be pushed with the ticket that the
// first answer brings; tickets are used one at a time, the latest only.
type exchange struct {
	t       *UMATransport
	key     rptKey
	request requestKey
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
	request requestKey
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
	w := tokens.begin(x.key)
	defer tokens.end(w)

	o := &outcome{by: x, request: x.request}
	x.rpt = tokens.last(x.key)
	answer, err := x.obtain(flight, values)
	o.sent = x.sent
	switch code := ErrorCode(err); {
	case err == nil:
		// UMA Grant §3.3.5: with upgraded the old token is in the new one and
		// must go; without, the new one is what this request needs.
		o.token = answer.access
		tokens.put(w, NewSecret(answer.access), answer.expires)
	case code == errRPTRefused.code:
		tokens.drop(x.key, x.rpt)
	case code == errUMADenied.code:
		tokens.deny(w, x.request, x.t.provider.now())
	}
	o.err = err
	x.t.report(values, err)
	return o
}

// obtain sends the ticket and, when asked for claims, the next one with them.
func (x *exchange) obtain(ctx, values context.Context) (*tokenAnswer, error) {
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
		refusal, ok := err.(*tokenRefusal)
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

// accepts reports whether a listed format is this one, or none is listed.
func (e *NeedInfoError) accepts(format string) bool {
	listed := false
	for _, c := range e.Claims {
		if slices.Contains(c.TokenFormats, format) {
			return true
		}
		listed = listed || len(c.TokenFormats) > 0
	}
	return !listed
}

// refused reads an error answer of the token endpoint (UMA Grant §3.3.6; K14,
// K15 for Keycloak, J6, J7, J9 for Gluu).
func (x *exchange) refused(r *tokenRefusal) error {
	switch r.code {
	case "need_info":
		return x.needInfo(r)
	case "request_submitted":
		return x.submitted(r)
	case "access_denied":
		if r.description() == "request_submitted" {
			return &SubmittedError{Issuer: x.key.issuer}
		}
		return errUMADenied.because(r)
	case "request_denied", "forbidden_by_policy":
		return errUMADenied.because(r)
	case "invalid_grant", "invalid_ticket", "expired_ticket":
		return errTicketRefused.because(r)
	case "invalid_claim_token":
		return errClaimsRefused.because(r)
	case "invalid_client":
		return errClientRefused.because(r)
	case "unauthorized_client":
		if x.pushed && r.status == 400 { // K11: the session of the ID Token ended
			return errClaimsRefused.because(r)
		}
		return errClientRefused.because(r)
	case "invalid_rpt":
		if x.rpt != "" {
			return errRPTRefused.because(r)
		}
	}
	return errGrantRefused.because(r)
}

// description is the error_description, read only where a server says with it
// what its code does not; it goes into no error.
func (e *tokenRefusal) description() string {
	var body struct {
		Description string `json:"error_description"`
	}
	if e.members(&body) != nil {
		return ""
	}
	return body.Description
}

// needInfo reads a need_info answer. Members of other types than they should
// have, as UMA 1 has them, count as absent.
func (x *exchange) needInfo(r *tokenRefusal) error {
	var body struct {
		Ticket       json.RawMessage `json:"ticket"`
		Claims       json.RawMessage `json:"required_claims"`
		RedirectUser json.RawMessage `json:"redirect_user"`
	}
	if err := r.members(&body); err != nil {
		return errGrantRefused.because(r)
	}
	ticket, err := x.next(body.Ticket)
	if err != nil {
		return err
	}
	if ticket == "" {
		return errTicketReused.because(errors.New("need_info without a ticket"))
	}
	e := &NeedInfoError{Issuer: x.key.issuer, Ticket: NewSecret(ticket), Claims: readClaims(body.Claims)}
	if to := jsonString(body.RedirectUser); to != "" {
		if _, err := outbound.CheckURL(to, x.t.provider.insecure); err == nil {
			e.RedirectUser = to
		}
	}
	return e
}

func (x *exchange) submitted(r *tokenRefusal) error {
	var body struct {
		Ticket   json.RawMessage `json:"ticket"`
		Interval json.RawMessage `json:"interval"`
	}
	if err := r.members(&body); err != nil {
		return errGrantRefused.because(r)
	}
	ticket, err := x.next(body.Ticket)
	if err != nil {
		return err
	}
	e := &SubmittedError{Issuer: x.key.issuer, Ticket: NewSecret(ticket)}
	var seconds float64
	if json.Unmarshal(body.Interval, &seconds) == nil && seconds > 0 {
		e.Interval = time.Duration(min(seconds, maxInterval.Seconds()) * float64(time.Second))
	}
	return e
}

// next reads the ticket that takes the place of the one sent. UMA Grant §3.3.6:
// it must be a new one, and the client should check that it is.
func (x *exchange) next(raw json.RawMessage) (string, error) {
	ticket := jsonString(raw)
	switch {
	case slices.Contains(x.spent, ticket):
		return "", errTicketReused.because(errors.New("the authorization server returned a ticket that was turned in"))
	case len(ticket) > maxNewTicket:
		return "", errGrantRefused.because(errors.New("the ticket is too long"))
	}
	return ticket, nil
}

func readClaims(raw json.RawMessage) []RequiredClaim {
	var items []struct {
		Name         json.RawMessage `json:"name"`
		FriendlyName json.RawMessage `json:"friendly_name"`
		Type         json.RawMessage `json:"claim_type"`
		TokenFormats json.RawMessage `json:"claim_token_format"`
		Issuers      json.RawMessage `json:"issuer"`
	}
	if json.Unmarshal(raw, &items) != nil {
		return nil
	}
	claims := make([]RequiredClaim, 0, len(items))
	for _, i := range items {
		claims = append(claims, RequiredClaim{
			Name: jsonString(i.Name), FriendlyName: jsonString(i.FriendlyName), Type: jsonString(i.Type),
			TokenFormats: jsonStrings(i.TokenFormats), Issuers: jsonStrings(i.Issuers),
		})
	}
	return claims
}

func jsonString(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// jsonStrings reads an array of strings, or the string that some send instead.
func jsonStrings(raw json.RawMessage) []string {
	if s := jsonString(raw); s != "" {
		return []string{s}
	}
	var all []string
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

// usableRPT refuses a token that cannot be sent as a Bearer token (RFC 6750
// §2.1, b64token).
func usableRPT(a *tokenAnswer) error {
	if len(a.access) > maxRPT {
		return errRPTUnusable.because(errors.New("the token is too long"))
	}
	body := strings.TrimRight(a.access, "=")
	if body == "" || strings.ContainsFunc(body, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r))
	}) {
		return errRPTUnusable.because(errors.New("the token has characters that no Bearer token has"))
	}
	return nil
}

// unavailable is err as a failure of the authorization server. What is known
// better, such as metadata of another issuer, keeps its code.
func unavailable(err error) error {
	e := asError(err, errASUnavailable)
	if e.Code == errProviderUnavailable.code {
		return errASUnavailable.after(max(e.RetryAfter, defaultRetryAfter), err)
	}
	return e
}

// startsAfresh reports whether a new ticket may cure the failure.
func startsAfresh(err error) bool {
	code := ErrorCode(err)
	return code == errTicketRefused.code || code == errRPTRefused.code
}

// concernsAll reports whether the failure would meet any ticket of the party.
func concernsAll(err error) bool {
	switch ErrorCode(err) {
	case errASUnavailable.code, errMetadataInvalid.code, errMetadataIssuer.code, errClientRefused.code,
		errTokenType.code, errClaimsUnavailable.code, errClaimsRefused.code:
		return true
	}
	return false
}
