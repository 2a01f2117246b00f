package gatehouse

// Tested in internal/e2e/session.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"example.com/gatehouse/internal/inbound"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/swap"
	"example.com/gatehouse/internal/token"
)

// backchannelTimeout bounds the judgement of one logout token, between the reading of
// the request and the store, which has a limit of its own. A fetch of keys takes at
// most 5 s. Providers wait for some seconds.
const backchannelTimeout = 7 * time.Second

// BackchannelLogoutHandler takes the provider's logout tokens (OpenID Connect
// Back-Channel Logout 1.0). Register its address at the provider as
// backchannel_logout_uri. The provider calls it, not a browser, so it must be
// reachable from there.
//
// A token with a sid ends the sessions of that session at the provider, and, if it
// has a sub too, those of the person for which the provider named no session. One
// with a sub alone ends all of the person's sessions at this issuer. They have ended
// on every replica before the answer is sent, those of every Sessions on the
// same store included. A sign-in that is under way does not survive; one that
// begins later does, even if the same token comes once more.
//
// It takes one POST of at most 64 KiB as application/x-www-form-urlencoded, within
// 5 seconds, with exactly one logout_token that is at most two minutes old.
//
// The answer is 200, or 400 if the token is not valid or the logout could not be
// carried out (§2.8). Its body is then JSON with the members error,
// error_description and id. No ErrorHandler is asked, because the specification
// says what providers understand. Nothing is revoked at the provider, which has
// ended the session itself (§2.7), and OwnerGrants stay. The data that
// SessionsConfig.App has for a browser is cleared at the next sign-in there.
func (rp *RelyingParty) BackchannelLogoutHandler() http.Handler {
	wire("BackchannelLogoutHandler", rp.checkMade())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended := false
		defer func() {
			switch { // the logger or the Events hook has panicked, and they have no say in it (RL8)
			case recover() == nil:
			case ended:
				w.WriteHeader(http.StatusOK)
			default:
				writeJSON(w, http.StatusBadRequest, logoutError{Error: logoutRefused, Description: logoutAgain})
			}
		}()
		w.Header().Set("Cache-Control", noStore) // §2.8
		r = rp.bodies.Bound(w, r, maxForm, bodyTimeout)
		if r.Method != http.MethodPost { // §2.5
			w.Header().Set("Allow", http.MethodPost)
			rp.refuseLogout(w, r, http.StatusMethodNotAllowed, errMethod.because(nil))
			return
		}
		ctx := context.WithoutCancel(r.Context()) // a provider that hangs up wants the logout all the same
		err := rp.provider.safely(ctx, func(ctx context.Context) error {
			proof, err := rp.logoutByToken(ctx, r)
			if err != nil {
				return err
			}
			ended = true
			rp.provider.emit(ctx, Event{Name: EventLogout, Code: logoutBackchannel, Subject: proof.Subject(), ClientID: rp.client.told()})
			return nil
		})
		if !ended {
			rp.refuseLogout(w, r, http.StatusBadRequest, err)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// logoutByToken verifies the logout token of a request and ends what it names.
func (rp *RelyingParty) logoutByToken(ctx context.Context, r *http.Request) (*token.LogoutToken, error) {
	raw, err := readLogoutToken(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, backchannelTimeout)
	defer cancel()
	proof, err := rp.verifyLogout(ctx, raw)
	if err != nil {
		return nil, err
	}
	err = rp.sessions.keeper.LogoutToken(ctx, session.Logout{
		Issuer: proof.Issuer(), Subject: proof.Subject(), SID: proof.SID(), ID: proof.ID(), IssuedAt: proof.Issued(),
	})
	if err != nil {
		return nil, about(proof.Subject(), logoutFailure(err))
	}
	return proof, nil
}

// verifyLogout verifies a logout token for the client, or for an older one of a
// registration, whose sessions are ours too. Who we are needs no secret here. So
// one that has ended keeps nobody signed in, and nothing is registered because of
// a token, which anybody may send.
func (rp *RelyingParty) verifyLogout(ctx context.Context, raw string) (proof *token.LogoutToken, err error) {
	for _, again := range []bool{false, true} {
		ids, e := rp.client.lasts(ctx, again)
		if e != nil {
			return nil, e
		}
		for _, id := range ids {
			proof, err = rp.judgeLogout(ctx, raw, id)
			switch {
			case err == nil:
				return proof, nil
			case !errors.Is(err, token.ErrAudience):
				return nil, logoutFailure(err)
			}
		}
	}
	if err == nil {
		err = fmt.Errorf("%w: no client is registered", token.ErrAudience)
	}
	return nil, logoutFailure(err)
}

// judgeLogout verifies a logout token for one client. A page would not wait for so
// long, but providers seldom send a logout twice: while there are no metadata or
// no keys, it waits as long as ctx allows, also for the fetch after one that failed.
func (rp *RelyingParty) judgeLogout(ctx context.Context, raw, id string) (*token.LogoutToken, error) {
	alg, _ := rp.client.signing(id)
	deadline, _ := ctx.Deadline()
	for {
		proof, err := rp.provider.tokens.Logout(ctx, raw, id, alg)
		missing, keys := errors.AsType[*keyset.UnavailableError](err)
		switch {
		case judged(err) || ctx.Err() != nil || tokenFailure(err).RetryAfter == 0: // waiting does not help
			return proof, err
		case rp.provider.openid.Known() == nil:
			if _, e := rp.provider.awaitMetadata(ctx); e != nil {
				return nil, err
			}
		case !keys || time.Until(deadline) <= missing.RetryAfter || swap.Pause(ctx, missing.RetryAfter) != nil:
			return nil, err
		}
	}
}

// readLogoutToken returns the one logout_token of a form (§2.5). Other fields
// are ignored.
func readLogoutToken(r *http.Request) (string, error) {
	if r.ContentLength > maxForm {
		return "", errBodyTooLarge.because(fmt.Errorf("body of %d bytes", r.ContentLength))
	}
	raw, err := inbound.Field(r, "logout_token")
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil:
		return raw, nil
	case tooLarge:
		return "", errBodyTooLarge.because(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", errBodySlow.because(err)
	}
	return "", errLogoutRequest.because(err)
}

// logoutFailure returns the *Error for a logout token that was not accepted, or
// could not be.
func logoutFailure(err error) error {
	if judged(err) {
		return errLogoutToken.because(err)
	}
	return tokenFailure(err)
}

// judged reports whether it is known what a logout token is worth.
func judged(err error) bool {
	return err == nil || slices.ContainsFunc(append(token.Reasons(), session.ErrStale, session.ErrNameless), func(reason error) bool { return errors.Is(err, reason) })
}

// logoutError is the body of a refused logout request (§2.8).
type logoutError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	ID          string `json:"id,omitempty"`
}

// logoutRefused is the error of each: RFC 6749 §5.2 knows no other that fits.
// logoutAgain is what it says if something is wrong with us.
const (
	logoutRefused = "invalid_request"
	logoutAgain   = "The logout could not be carried out right now. Please send it again."
)

// refuseLogout answers a request that has ended nothing. What is wrong with us is
// 400 too.
func (rp *RelyingParty) refuseLogout(w http.ResponseWriter, r *http.Request, status int, err error) {
	e := asError(err, errInternal).answered()
	rp.provider.emitFor(r, Event{Name: EventRefusal, Code: e.Code, ID: e.ID, Subject: subjectOf(err), ClientID: rp.client.told(), Err: e.Err})
	description := e.Message
	if e.Status >= http.StatusInternalServerError {
		description = logoutAgain
	}
	writeJSON(w, status, logoutError{logoutRefused, description, e.ID})
}
