package gatehouse

// Tested in internal/e2e/api.

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/dpop"
	"example.com/gatehouse/internal/uncached"
)

// Refuse implements Guard. It answers with a challenge for an access token.
func (rs *ResourceServer) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if made := rs.checkMade(); made != nil {
		refuseAlone(w, r, errInternal.because(made))
		return
	}
	defer func() {
		switch p := recover(); p { // of an ErrorHandler, for example
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			defer lastAnswer(w)
			rs.refuse(w, r, rs.provider.panicIn(r.Context(), p))
		}
	}()
	rs.refuse(w, r, err)
}

func (rs *ResourceServer) refuse(w http.ResponseWriter, r *http.Request, err error) {
	uncached.Vary(w.Header(), rs.tokenHeader())
	e := asError(err, errInternal).answered()
	if params := rs.challengeOf(e); params != nil {
		headers, ferr := rs.challenges(r, params)
		if ferr != nil { // a scope that no header can carry is refused when it is wired
			e = errInternal.because(ferr).answered()
		} else {
			w.Header()["Www-Authenticate"] = headers
		}
	}
	if p := rs.proofs; p != nil && p.nonces != nil && e.Code == errProofNonce.code {
		w.Header().Set(backchannel.HeaderNonce, p.nonces.Make(rs.provider.now()))
	}
	rs.provider.emitFor(r, Event{Name: EventRefusal, Code: e.Code, ID: e.ID, Subject: subjectOf(err), ClientID: rs.client.told(), Err: e.Err})
	rs.answer(w, r, e)
}

// challenges returns one challenge for each scheme that serves. The parameters
// are those of the scheme that the request used, or of the only one.
func (rs *ResourceServer) challenges(r *http.Request, params []string) (headers []string, err error) {
	for i, scheme := range rs.schemes(bearer.IsDPoP(r.Header)) {
		all := []string{"realm", rs.realm}
		if i == 0 {
			all = append(all, params...)
		}
		if scheme == "DPoP" { // RFC 9449 §7.1
			all = append(all, "algs", strings.Join(dpop.Algorithms(), " "))
		}
		if address := metadataAddress(rs.resource); address != "" { // RFC 9728 §5.1
			all = append(all, "resource_metadata", address)
		}
		header, err := challenge.Format(scheme, all...)
		if err != nil {
			return nil, err
		}
		headers = append(headers, header)
	}
	return headers, nil
}

// challengeOf returns the parameters of the challenge besides the realm (RFC
// 6750 §3), or nil if e is no reason for one.
func (rs *ResourceServer) challengeOf(e *Error) []string {
	switch e.Code {
	case errTokenRequired.code: // §3.1: without an error code
		return []string{}
	case errBearer.code:
		return []string{"error", "invalid_request"}
	case errTokenInvalid.code:
		return []string{"error", "invalid_token"}
	case errProof.code, errProofUsed.code: // RFC 9449 §7.1
		return []string{"error", "invalid_dpop_proof"}
	case errProofNonce.code: // RFC 9449 §9
		return []string{"error", "use_dpop_nonce"}
	case errForbidden.code: // other scopes would not help
		return []string{"error", "insufficient_scope"}
	case errTokenScope.code:
		return []string{"error", "insufficient_scope", "scope", strings.Join(rs.scopes(), " ")}
	case errTokenStepUp.code:
		return rs.stepUpOf(e)
	}
	if e.Status == http.StatusUnauthorized { // of a RequirementFunc; every 401 has one (RFC 9110 §15.5.2)
		return []string{}
	}
	return nil
}

// scopes returns every scope that the route needs.
func (rs *ResourceServer) scopes() (all []string) {
	for _, q := range rs.need {
		for _, s := range q.step.scopes {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// stepUpOf says what a sign-in has to bring (RFC 9470 §3): all that the route
// needs, so that the next token is enough. The scopes are there only if one is
// missing too.
func (rs *ResourceServer) stepUpOf(e *Error) []string {
	params := []string{"error", "insufficient_user_authentication"}
	missing, ok := errors.AsType[*tokenRefusal](e)
	if !ok {
		return params
	}
	if acr, asks := acrOf(rs.need); asks {
		params = append(params, "acr_values", strings.Join(acr, " "))
	}
	age := time.Duration(-1)
	for _, q := range rs.need {
		if q.step.aged && (age < 0 || q.step.maxAge < age) {
			age = q.step.maxAge
		}
	}
	if age >= 0 {
		params = append(params, "max_age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	if slices.ContainsFunc(missing.unmet, func(q Requirement) bool { return len(q.step.scopes) > 0 }) {
		params = append(params, "scope", strings.Join(rs.scopes(), " "))
	}
	return params
}
