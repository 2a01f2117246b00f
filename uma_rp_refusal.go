package gatehouse

// Tested in internal/e2e/uma_rp.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

const (
	// maxNewTicket is the length of the longest ticket accepted from the
	// authorization server, the same as in a challenge.
	maxNewTicket = 16 << 10
	// maxInterval bounds SubmittedError.Interval, which a server chooses.
	maxInterval = 24 * time.Hour
)

// errDeniedBefore is the cause of a denial that was remembered.
var errDeniedBefore = errors.New("denied a moment ago")

// NeedInfoError is returned if the authorization server wants to know more
// about the requesting party than could be pushed (need_info in UMA Grant
// §3.3.6). RelyingParty.ClaimsRedirect sends the person there.
type NeedInfoError struct {
	// Issuer is the authorization server.
	Issuer string
	// Ticket replaces the one that was sent. It can be used once.
	Ticket Secret
	// Claims are what the server wants to know, if it said so.
	Claims []RequiredClaim
	// RedirectUser is the address to send the person to, absolute and https
	// (or on loopback). It is "" if the server sent none or an invalid one.
	RedirectUser string

	wanted *wanted // of RelyingParty.ClaimsRedirect; nil unless a UMATransport made this
}

// Error returns how many claims are needed. It does not show the ticket.
func (e *NeedInfoError) Error() string {
	return fmt.Sprintf("gatehouse: need_info: the authorization server asks for %d claims", len(e.Claims))
}

// RequiredClaim is one claim that an authorization server asks for. All fields
// are optional and unchecked text of the server.
type RequiredClaim struct {
	Name         string   `json:"name,omitempty"`               // name of the claim
	FriendlyName string   `json:"friendly_name,omitempty"`      // name to show to people
	Type         string   `json:"claim_type,omitempty"`         // type of the value
	TokenFormats []string `json:"claim_token_format,omitempty"` // any one of them suffices
	Issuers      []string `json:"issuer,omitempty"`             // any one of them suffices
}

// SubmittedError is returned if the authorization server has asked the owner
// (request_submitted in UMA Grant §3.3.6). Nothing here waits for the owner's
// decision, so try again later.
type SubmittedError struct {
	// Issuer is the authorization server.
	Issuer string
	// Ticket replaces the one that was sent. It is zero if the server sent
	// none, as Keycloak does; then start again with the resource server.
	Ticket Secret
	// Interval is how long to wait before the next try, at least. It is 0 if
	// the server did not say, and at most 24 hours.
	Interval time.Duration
}

// Error says that the owner is being asked. It does not show the ticket.
func (e *SubmittedError) Error() string {
	return "gatehouse: request_submitted: the authorization server asks the owner"
}

// accepts reports whether the server listed this format, or no formats at all.
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

// refused turns an error response of the token endpoint into an error (UMA
// Grant §3.3.6). Keycloak (K14, K15) and Gluu (J6, J7, J9) use other codes.
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
	case "invalid_claim_token_format", "unsupported_claim_token_format", "invalid_claim_token_or_claim_token_format":
		return errClaimsRefused.because(r)
	case "invalid_client":
		return errClientRefused.because(r)
	case "":
		if r.Status == http.StatusUnauthorized {
			return errClientRefused.because(r)
		}
	case "unauthorized_client":
		if x.pushed && r.Status == 400 { // the session of the ID Token has ended (K11)
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

// refusalDescription returns the error_description. It is read only because
// Keycloak puts there what the code does not say. It is never part of an
// error.
func refusalDescription(r *backchannel.Refusal) string {
	var body struct {
		Description string `json:"error_description"`
	}
	if r.Members(&body) != nil {
		return ""
	}
	return body.Description
}

// needInfo reads a need_info response. Members of the wrong type, as in UMA 1,
// count as absent.
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
		return errTicketReused.because(errors.New("need_info has no ticket"))
	}
	e := &NeedInfoError{Issuer: x.key.Issuer, Ticket: NewSecret(ticket), Claims: readClaims(body.Claims),
		wanted: &wanted{by: x.t, key: x.key, method: x.method, path: x.path, request: x.request, silent: x.silent, since: x.since}}
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

// next reads the ticket that replaces the one sent. It must be a new one, and
// the client should check that (UMA Grant §3.3.6).
func (x *exchange) next(raw json.RawMessage) (string, error) {
	ticket := strictjson.String(raw)
	switch {
	case slices.Contains(x.spent, ticket):
		return "", errTicketReused.because(errors.New("the authorization server returned a ticket that was already redeemed"))
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
	if strictjson.Unmarshal(raw, &items) != nil {
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

// unavailable returns err as a failure of the authorization server. A more
// specific error, such as metadata of another issuer, keeps its code.
func unavailable(err error) error {
	e := asError(err, errASUnavailable)
	if e.Code == errProviderUnavailable.code {
		return errASUnavailable.after(max(e.RetryAfter, defaultRetryAfter), err)
	}
	return e
}

// refusesFormat reports whether a code may mean that the server does not take
// claims in the format in which they were pushed. UMA Grant defines no such
// code.
func refusesFormat(code string) bool {
	switch code {
	case "invalid_request", "invalid_claim_token_format", "unsupported_claim_token_format", "invalid_claim_token_or_claim_token_format":
		return true
	}
	return false
}

// concernsAll reports whether the failure would occur with any ticket of the
// party.
func concernsAll(err error) bool {
	switch ErrorCode(err) {
	case errASUnavailable.code, errMetadataInvalid.code, errMetadataIssuer.code, errMetadataMissing.code, errCertificate.code,
		errEndpoint.code, errClientAuth.code, errClientProof.code, errClientRefused.code,
		errTokenType.code, errClaimsUnavailable.code, errClaimsRefused.code:
		return true
	}
	return false
}

// IsUMAUnreachable reports whether a resource server says that it could not
// reach the authorization server to get a ticket: 403 with Warning 199 (UMA
// Grant §3.2.2). Nothing was decided, so try again later. UMATransport returns
// such a response unchanged.
//
// It returns false if a second Warning or the body says "owner_grant_missing",
// as those of a ResourceServer do: trying again helps only after the owner has
// signed in and agreed there. The body can still be read afterwards.
func IsUMAUnreachable(resp *http.Response) bool {
	unreachable := false
	for _, v := range resp.Header.Values("Warning") {
		if strings.Contains(v, ownerMissing) {
			return false
		}
		unreachable = unreachable || strings.HasPrefix(v, "199 ")
	}
	return resp.StatusCode == http.StatusForbidden && unreachable && !saysOwnerMissing(resp)
}

// maxRefusal is how much of the body of a refusal is read for its code.
// errorBody has 200 bytes.
const maxRefusal = 4 << 10

// saysOwnerMissing reads the start of the body and puts it back.
func saysOwnerMissing(resp *http.Response) bool {
	if resp.Body == nil {
		return false
	}
	start, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	rest := io.Reader(resp.Body)
	if err != nil { // the reader of the body gets it too
		rest = failingReader{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), resp.Body}
	var body errorBody
	return strictjson.Unmarshal(start, &body) == nil && body.Error == CodeOwnerGrantMissing
}

// failingReader returns its error.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
