package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/authrequest"
	"example.com/gatehouse/internal/token"
)

// Ask returns a Requirement that makes the sign-ins of its guard ask for more. It
// lets in everybody who is signed in, however they did that, with one exception: an
// essential claim with values has to be among the claims of the session, or a page
// signs the person in once more to ask for it. If several Ask meet, the last one
// counts for each field, claims count name by name, and the shortest MaxAge
// counts. Ask panics if no provider could understand what it says.
func Ask(a AuthRequest) Requirement {
	a = a.clone()
	asking, err := a.over(nil)
	wire("Ask", err)
	q := Requirement{name: "ask", ask: &a}
	if essential := asking.Essential; len(essential) > 0 {
		q.name = "claims " + asking.Params.Get("claims")
		q.step = stepUp{helps: true, claims: true}
		q.met = func(_ *http.Request, id *Identity, _ time.Time) (bool, error) {
			return essential.Met(func(name string) json.RawMessage { return id.claim([]string{name}) }), nil
		}
	}
	return q
}

// checkAsk reports what this relying party could never check.
func (rp *RelyingParty) checkAsk(asking authrequest.Asking) error {
	if asking.Essential.NeedsUserInfo() {
		return rp.config.noUserInfo()
	}
	return nil
}

// signInAsks is what a sign-in asks for besides what the protocol needs.
type signInAsks struct {
	authrequest.Asking
	kept string // by its attempt: the parameters, or "" for those of the configuration
}

// asksFor reads what the application wants over its configuration. The error says
// what could not be sent or never be checked.
func (rp *RelyingParty) asksFor(want AuthRequest) (a signInAsks, err error) {
	if a.Asking, err = want.over(rp.config.AuthParams); err != nil {
		return a, err
	}
	if params := a.Params.Encode(); params != rp.config.AuthParams.Encode() {
		a.kept = params
	}
	return a, rp.checkAsk(a.Asking)
}

// ask makes an attempt ask for what its guard and the application want besides.
// hint is the login_hint of a third-party start.
func (rp *RelyingParty) ask(r *http.Request, a *attempt.Attempt, hint string) error {
	want, asks := rp.asks, rp.usual
	if hint != "" || rp.config.AuthRequest != nil {
		want = rp.asks.clone()
		if want.LoginHint == "" && !rp.config.AuthParams.Has("login_hint") {
			want.LoginHint = hint
		}
		if rp.config.AuthRequest != nil {
			if err := rp.provider.safely(r.Context(), func(context.Context) error { return rp.config.AuthRequest(r, &want) }); err != nil {
				return asError(err, errAuthRequestHook)
			}
		}
		var err error
		if asks, err = rp.asksFor(want); err != nil {
			return errAuthRequest.because(fmt.Errorf("AuthRequest: %w", err))
		}
	}
	a.Params = asks.kept
	if want.MaxAge != 0 && !a.Grant {
		a.AskAge(want.MaxAge)
	}
	note(a, asks.Asking)
	return nil
}

// note writes into an attempt what has to be checked when its answer comes.
func note(a *attempt.Attempt, asking authrequest.Asking) {
	if a.Grant {
		return
	}
	if asking.Fresh { // auth_time is required only with max_age (Core §3.1.2.1)
		a.AskAge(0)
	}
	a.Silent, a.Essential = asking.Silent, asking.Essential.Encode()
}

// params returns the parameters that an attempt adds to its request: those that
// were asked for, or of the configuration if it started over without a memory of
// more.
func (rp *RelyingParty) params(a *attempt.Attempt) (url.Values, error) {
	asking := rp.usual.Asking
	if a.Params != rp.usual.kept || a.Silent && a.Params == "" {
		var err error
		if asking, err = rp.askedBefore(a); err != nil {
			return nil, err
		}
	}
	if a.Grant {
		return asking.ForGrant(), nil
	}
	note(a, asking)
	return asking.Params, nil
}

// askedBefore reads what an attempt keeps, of a guard or a configuration that may have
// been another.
func (rp *RelyingParty) askedBefore(a *attempt.Attempt) (authrequest.Asking, error) {
	params := rp.config.AuthParams
	if a.Params != "" {
		var err error
		if params, err = url.ParseQuery(a.Params); err != nil {
			return authrequest.Asking{}, errInternal.because(err)
		}
	}
	if a.Silent && a.Params == "" {
		params = authrequest.Silenced(params)
	}
	asking, err := authrequest.Read(params)
	if err != nil {
		return authrequest.Asking{}, errAuthRequest.because(err)
	}
	return asking, nil
}

// checkEssential compares claims of one source with what the attempt asked for.
func (c *callback) checkEssential(userInfo bool, claims token.Claims) error {
	if c.attempt.Essential == "" {
		return nil
	}
	wanted, err := authrequest.Decode(c.attempt.Essential)
	if err != nil {
		return errInternal.because(err)
	}
	if err := wanted.Check(userInfo, func(name string) json.RawMessage { return claims[name] }); err != nil {
		return errClaims.because(err)
	}
	return nil
}

// asked returns the parameters that the attempt is known to have sent.
func (c *callback) asked() url.Values {
	if c.attempt == nil || c.attempt.Params == "" {
		return c.rp.config.AuthParams
	}
	params, _ := url.ParseQuery(c.attempt.Params)
	return params
}
