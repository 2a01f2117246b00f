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
// lets everybody in who is signed in, however that came, with one exception: an
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

// ask makes an attempt ask for what its guard and the application want besides.
// hint is the login_hint of a third-party start.
func (rp *RelyingParty) ask(r *http.Request, a *attempt.Attempt, hint string) error {
	want := rp.asks.clone()
	if want.LoginHint == "" && !rp.config.AuthParams.Has("login_hint") {
		want.LoginHint = hint
	}
	if rp.config.AuthRequest != nil {
		if err := rp.provider.safely(r.Context(), func(context.Context) error { return rp.config.AuthRequest(r, &want) }); err != nil {
			return asError(err, errAuthRequestHook)
		}
	}
	asking, err := want.over(rp.config.AuthParams)
	if err == nil {
		err = rp.checkAsk(asking)
	}
	if err != nil {
		return errAuthRequest.because(fmt.Errorf("AuthRequest: %w", err))
	}
	if params := asking.Params.Encode(); params != rp.config.AuthParams.Encode() {
		a.Params = params
	}
	if want.MaxAge != 0 && !a.Grant {
		a.AskAge(want.MaxAge)
	}
	note(a, asking)
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
	params := rp.config.AuthParams
	if a.Params != "" {
		var err error
		if params, err = url.ParseQuery(a.Params); err != nil {
			return nil, errInternal.because(err)
		}
	}
	if a.Silent && a.Params == "" {
		params = authrequest.Silenced(params)
	}
	asking, err := authrequest.Read(params)
	if err != nil {
		return nil, errAuthRequest.because(err)
	}
	if a.Grant {
		return asking.ForGrant(), nil
	}
	note(a, asking)
	return params, nil
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
