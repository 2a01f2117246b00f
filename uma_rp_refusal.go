package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// maxNewTicket is the longest ticket taken from the authorization server: as
	// much as a challenge may hold.
	maxNewTicket = 16 << 10
	// maxInterval bounds what a server says about the next look at a request
	// that waits for its owner.
	maxInterval = 24 * time.Hour
)

// errDeniedBefore is the cause of a denial that was answered from memory.
var errDeniedBefore = errors.New("denied a moment ago")

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
func (x *exchange) refused(r *backchannel.Refusal) error {
	switch r.Code {
	case "need_info":
		return x.needInfo(r)
	case "request_submitted":
		return x.submitted(r)
	case "access_denied":
		if refusalDescription(r) == "request_submitted" {
			return &SubmittedError{Issuer: x.key.Issuer}
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
		if x.pushed && r.Status == 400 { // K11: the session of the ID Token ended
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

// refusalDescription is the error_description, read only where a server says with it
// what its code does not; it goes into no error.
func refusalDescription(r *backchannel.Refusal) string {
	var body struct {
		Description string `json:"error_description"`
	}
	if r.Members(&body) != nil {
		return ""
	}
	return body.Description
}

// needInfo reads a need_info answer. Members of other types than they should
// have, as UMA 1 has them, count as absent.
func (x *exchange) needInfo(r *backchannel.Refusal) error {
	var body struct {
		Ticket       json.RawMessage `json:"ticket"`
		Claims       json.RawMessage `json:"required_claims"`
		RedirectUser json.RawMessage `json:"redirect_user"`
	}
	if err := r.Members(&body); err != nil {
		return errGrantRefused.because(r)
	}
	ticket, err := x.next(body.Ticket)
	if err != nil {
		return err
	}
	if ticket == "" {
		return errTicketReused.because(errors.New("need_info without a ticket"))
	}
	e := &NeedInfoError{Issuer: x.key.Issuer, Ticket: NewSecret(ticket), Claims: readClaims(body.Claims)}
	if to := strictjson.String(body.RedirectUser); to != "" {
		if _, err := outbound.CheckURL(to, x.t.provider.insecure); err == nil {
			e.RedirectUser = to
		}
	}
	return e
}

func (x *exchange) submitted(r *backchannel.Refusal) error {
	var body struct {
		Ticket   json.RawMessage `json:"ticket"`
		Interval json.RawMessage `json:"interval"`
	}
	if err := r.Members(&body); err != nil {
		return errGrantRefused.because(r)
	}
	ticket, err := x.next(body.Ticket)
	if err != nil {
		return err
	}
	e := &SubmittedError{Issuer: x.key.Issuer, Ticket: NewSecret(ticket)}
	var seconds float64
	if json.Unmarshal(body.Interval, &seconds) == nil && seconds > 0 {
		e.Interval = time.Duration(min(seconds, maxInterval.Seconds()) * float64(time.Second))
	}
	return e
}

// next reads the ticket that takes the place of the one sent. UMA Grant §3.3.6:
// it must be a new one, and the client should check that it is.
func (x *exchange) next(raw json.RawMessage) (string, error) {
	ticket := strictjson.String(raw)
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
			Name: strictjson.String(i.Name), FriendlyName: strictjson.String(i.FriendlyName), Type: strictjson.String(i.Type),
			TokenFormats: strictjson.Strings(i.TokenFormats), Issuers: strictjson.Strings(i.Issuers),
		})
	}
	return claims
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

// IsUMAUnreachable reports whether a resource server says that it could not
// reach the authorization server for a ticket: 403 with a Warning 199 (UMA 2.0
// Grant §3.2.2). Nothing was decided; another try later makes sense. A
// UMATransport hands such an answer on as it is.
func IsUMAUnreachable(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden && slices.ContainsFunc(resp.Header.Values("Warning"), func(v string) bool {
		return strings.HasPrefix(v, "199 ")
	})
}
