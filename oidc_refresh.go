package gatehouse

// Tested in internal/e2e/session.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/token"
)

// After a refresh the new tokens are stored first, because nothing may lose
// them. Then the person's claims become those of the new ID Token and of the
// user info, asked again. What the application set or took away at sign-in is
// kept apart in the record and lies on top. So a group that was taken away at
// the provider closes the door within the life of one access token.

// claimsWait bounds the requests for claims after a refresh. The requests that
// wait for the refresh wait for it too.
const claimsWait = 2 * time.Second

// renewClaims replaces the claims of a session whose tokens have just been
// renewed, and returns the session as it is stored then. If the claims cannot be
// had or stored, the old ones stay. If OnRefresh refuses, the session ends.
func (n *renewer) renewClaims(ctx context.Context, ref session.Ref, now session.Stored) (session.Stored, error) {
	rp, rec := n.party, now.Record
	if len(rec.Own) == 0 { // of a build that did not keep the application's claims apart
		return now, nil
	}
	if n.proof != nil && len(rec.IDToken) == 0 {
		n.oldClaims(ctx, rec, errors.New("the new ID Token does not fit into the record and was left out"))
	}
	next := *rec
	err := n.newClaims(ctx, &next)
	if refused, ok := errors.AsType[*refreshRefusal](err); ok {
		return session.Stored{}, n.endRefused(ctx, ref, rec, refused.cause)
	}
	if err == nil && bytes.Equal(next.Claims, rec.Claims) && bytes.Equal(next.Own, rec.Own) && bytes.Equal(next.Kept, rec.Kept) {
		return now, nil
	}
	var stored session.Stored
	if err == nil {
		stored, err = rp.sessions.keeper.Amend(ctx, ref, rec.Access, func(r *session.Record) {
			r.Claims, r.Own, r.Kept = next.Claims, next.Own, next.Kept
		})
	}
	if errors.Is(err, session.ErrNone) {
		return session.Stored{}, errLoginRequired.because(err)
	}
	if err != nil {
		n.oldClaims(ctx, rec, err)
		return now, nil
	}
	return stored, nil
}

// newClaims puts the claims of after the refresh into a copy of the record.
func (n *renewer) newClaims(ctx context.Context, rec *session.Record) error {
	was, err := token.ParseClaims(rec.Claims)
	if err != nil {
		return err
	}
	own, err := token.ParseClaims(rec.Own)
	if err != nil {
		return err
	}
	all, kept, err := n.signedClaims(was, own)
	if err != nil {
		return err
	}
	told, err := n.askedClaims(ctx, rec, all, was, own)
	if err != nil {
		return err
	}
	if n.proof != nil {
		n.party.tellDefects(ctx, n.proof)
	}
	all.Join(told)
	all.Overlay(own)
	if rec.Claims, err = all.Encode(); err != nil {
		return err
	}
	rec.Kept = kept
	if n.party.config.OnRefresh == nil {
		return nil
	}
	id := identityOf(rec, n.party.sessions.keeper.Ending(rec))
	id.own = own
	if err := n.party.config.OnRefresh(ctx, id); err != nil {
		if e, ok := errors.AsType[*Error](err); (!ok || e.Status < 500) && ctx.Err() == nil {
			return &refreshRefusal{err}
		}
		n.oldClaims(ctx, rec, err) // trouble of the application, and no verdict
		return nil
	}
	return keepClaims(rec, id)
}

// refreshRefusal means that OnRefresh refused.
type refreshRefusal struct{ cause error }

func (e *refreshRefusal) Error() string { return "OnRefresh refused: " + e.cause.Error() }

func (e *refreshRefusal) Unwrap() error { return e.cause }

// signedClaims returns the claims that the provider has signed: those of the
// new ID Token, or of the old one if none came. Protocol claims that the new
// one leaves out stay as they were signed first; kept has them for the record.
func (n *renewer) signedClaims(was, own token.Claims) (all token.Claims, kept []byte, err error) {
	before, err := n.signedBefore(was, own)
	if err != nil && n.proof == nil {
		return nil, nil, err
	}
	if n.proof == nil {
		return before, n.before.Kept, nil
	}
	if all, err = n.proof.Claims(); err != nil {
		return nil, nil, err
	}
	if stays := all.Keep(before); len(stays) > 0 {
		kept, err = stays.Encode()
	}
	return all, kept, err
}

// signedBefore returns the claims of the stored ID Token, with the protocol
// claims of those before it.
func (n *renewer) signedBefore(was, own token.Claims) (token.Claims, error) {
	first, err := token.ParseClaims(n.before.Kept)
	if err != nil {
		return nil, err
	}
	before, err := token.StoredClaims(string(n.before.IDToken))
	if err != nil {
		return first, err
	}
	const authTime = "auth_time"
	if _, mine := own[authTime]; !mine && !was.Has(authTime) { // it lay in the future
		delete(before, authTime)
	}
	maps.Copy(before, first) // which are there because the stored one left them out, or had nothing sensible
	return before, nil
}

// askedClaims returns the user info and brings what lies elsewhere into it and into
// all. The sources of an old ID Token are not asked again: its claims stay.
func (n *renewer) askedClaims(ctx context.Context, rec *session.Record, all, was, own token.Claims) (token.Claims, error) {
	ctx, cancel := context.WithTimeout(ctx, claimsWait)
	defer cancel()
	rp, before := n.party, maps.Clone(was)
	told, err := n.toldClaims(ctx, rec, was, own)
	if err != nil {
		return nil, err
	}
	if n.proof != nil {
		rp.bring(ctx, all, rec.Subject, rec.ClientID)
	}
	rp.recall(all, before, own)
	rp.recall(told, before, own)
	return told, nil
}

// toldClaims asks for the user info once more. If that fails, what it said last
// stays. If it is about somebody else, nothing of it may be used (OpenID Connect
// Core §5.3.2).
func (n *renewer) toldClaims(ctx context.Context, rec *session.Record, was, own token.Claims) (token.Claims, error) {
	rp := n.party
	if rp.config.SkipUserInfo {
		return nil, nil
	}
	endpoint, err := rp.provider.userInfoEndpoint(ctx)
	if err == nil && endpoint == "" {
		return nil, nil
	}
	var told token.Claims
	if err == nil {
		told, err = rp.userInfo(ctx, endpoint, string(rec.Access), rec.Subject, rec.ClientID)
	}
	if err == nil {
		return told, nil
	}
	n.oldClaims(ctx, rec, err)
	if ErrorCode(err) == errUserInfoSub.code {
		return nil, nil
	}
	signed, err := token.StoredClaims(string(n.before.IDToken))
	if err != nil {
		return nil, err
	}
	elsewhere, err := signed.Elsewhere()
	if err != nil || len(rp.elsewhere) == 0 {
		elsewhere = nil
	}
	// What the user info said last: what neither an ID Token, itself or through
	// others, nor the application has said.
	maps.DeleteFunc(was, func(name string, _ json.RawMessage) bool {
		_, mine := own[name]
		return mine || signed.Has(name) || elsewhere.Has(name) || token.IsProtocolClaim(name)
	})
	return was, nil
}

// oldClaims reports that claims of the session are older than its tokens.
func (n *renewer) oldClaims(ctx context.Context, rec *session.Record, cause error) {
	n.party.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleClaims, Subject: rec.Subject, ClientID: rec.ClientID, Err: cause})
}

// endRefused ends a session that the application no longer wants. If the store
// fails, whoever waits for the refresh is refused all the same, and the end is
// tried again behind them: nobody asks OnRefresh again for as long as the new
// token serves.
func (n *renewer) endRefused(ctx context.Context, ref session.Ref, rec *session.Record, cause error) error {
	rp := n.party
	n.tell(ctx, rec, asError(cause, errOnRefresh))
	err := rp.endNow(context.WithoutCancel(ctx), ref.Key, rec, func(ctx context.Context, ended *session.Record) { rp.ended(ctx, ended, "") })
	return errLoginRequired.because(errors.Join(cause, err))
}

// endNow ends a session and tells what ended. If the store fails, it returns the
// error and goes on behind the request; Sessions.Shutdown waits for that.
func (rp *RelyingParty) endNow(ctx context.Context, key string, rec *session.Record, tell func(context.Context, *session.Record)) error {
	ended, err := rp.sessions.keeper.End(ctx, key)
	if ended != nil {
		tell(ctx, ended)
	}
	if err == nil {
		return nil
	}
	rp.sessions.chores.Start(storekey.Of("gatehouse/end", key), session.EndFor, func(ctx context.Context) (struct{}, error) {
		ended, err := rp.sessions.keeper.EndAnyway(ctx, key)
		if ended != nil {
			tell(ctx, ended)
		}
		if err != nil {
			rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleEnd, Subject: rec.Subject, ClientID: rec.ClientID, Err: err})
		}
		return struct{}{}, err
	})
	return err
}

// keepClaims puts the claims of an identity into its record, with those apart
// that the application set.
func keepClaims(rec *session.Record, id *Identity) error {
	own := []byte("{}")
	if id.own != nil {
		var err error
		if own, err = id.own.Encode(); err != nil {
			return errInternal.because(err)
		}
	}
	rec.Claims, rec.Own = id.claims, own
	return nil
}

// renewer implements session.Renewer for a relying party.
type renewer struct {
	party   *RelyingParty
	refused bool            // an API did not accept the access token
	before  *session.Record // as it was when the refresh token was sent
	proof   *token.IDToken  // the new ID Token, nil if none came or none could be verified
}

// finalRefusals are the error codes that mean the refresh token no longer
// works. They are from RFC 6749 §5.2 and, because some providers send those
// for a refresh too, RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
var finalRefusals = []string{"invalid_grant", "interaction_required", "access_denied", "login_required", "consent_required", "account_selection_required"}

// Renew implements session.Renewer. It sends the refresh token once (RFC 6749
// §6).
func (n *renewer) Renew(ctx context.Context, sent *session.Record) (session.Tokens, error) {
	rp := n.party
	before := *sent
	n.before, n.proof = &before, nil
	who, err := rp.provider.whoWas(ctx, &rp.client, sent.ClientID)
	if err != nil {
		n.tell(ctx, sent, err)
		return session.Tokens{}, n.judge(err)
	}
	answer, err := rp.provider.requestTokenAs(ctx, who, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {string(sent.Refresh)},
	})
	if err != nil {
		n.tell(ctx, sent, err)
		return session.Tokens{}, n.judge(err)
	}
	n.proof, err = n.checkIDToken(ctx, sent, answer)
	if err != nil { // another person or issuer (OpenID Connect Core §12.2)
		rp.revokeLater(sent.ClientID, answer.Refresh)
		n.tell(ctx, sent, err)
		return session.Tokens{}, &session.RefusedError{Err: err}
	}
	t := session.Tokens{
		Access: answer.Access, Refresh: answer.Refresh, Expires: rp.expiry(answer), Requested: answer.Requested,
		Scope: answer.Scope, HasScope: answer.HasScope,
	}
	if n.proof != nil {
		t.IDToken = answer.IDToken
	}
	if n.refused {
		t.Refused = rp.sessions.now()
	}
	return t, nil
}

// Discard implements session.Renewer.
func (n *renewer) Discard(refresh string) { n.party.revokeLater(n.before.ClientID, refresh) }

// judge decides what a failed token request means for the refresh token.
func (n *renewer) judge(err error) error {
	if final(err) || errors.Is(err, backchannel.ErrTokenType) || errors.Is(err, errClientEnded) {
		return &session.RefusedError{Spent: refusesGrant(err), Err: err}
	}
	e := asError(err, errClientRefused)
	if !backchannel.FateKnown(err) {
		return &session.TroubleError{Err: err, Wait: e.RetryAfter, Unknown: true}
	}
	return &session.TroubleError{Err: e, Wait: e.RetryAfter}
}

// final reports whether the server has ended the grant.
func final(err error) bool {
	refusal, ok := errors.AsType[*backchannel.Refusal](err)
	return ok && slices.Contains(finalRefusals, refusal.Code)
}

func (n *renewer) tell(ctx context.Context, rec *session.Record, cause error) {
	e := asError(cause, errClientRefused)
	if final(cause) { // it happens to honest people every day
		e = errLoginRequired.because(cause)
	}
	n.party.provider.emit(ctx, Event{Name: EventRefresh, Code: e.Code, Subject: rec.Subject, ClientID: rec.ClientID, Err: cause})
}

// checkIDToken verifies the ID Token of a refresh, if there is one: it must
// have the same issuer, person and audience (OpenID Connect Core §12.2). It
// returns the token, or nil if there is none to keep.
//
// If the provider's keys cannot be fetched now, or the ID Token is too long, the
// tokens are accepted without it, as long as its claims match: the refresh token
// we sent may already have been replaced by the new one.
func (n *renewer) checkIDToken(ctx context.Context, sent *session.Record, answer *backchannel.Tokens) (*token.IDToken, error) {
	if answer.IDToken == "" {
		return nil, nil
	}
	tokens := n.party.provider.tokens
	want := token.Refresh{Issuer: sent.Issuer, Client: sent.ClientID, Subject: sent.Subject, First: string(sent.IDToken), AuthTime: sent.AuthTime, Access: answer.Access}
	want.Algorithm, _ = n.party.client.signing(sent.ClientID)
	if kept, err := token.ParseClaims(sent.Kept); err == nil {
		want.Nonce = strictjson.String(kept["nonce"])
	}
	proof, err := tokens.Refresh(ctx, answer.IDToken, want)
	if err == nil {
		return proof, nil
	}
	if e := tokenFailure(err); e.Status < 500 && !token.TooLong(err) {
		return nil, e
	}
	if tokens.Plausible(answer.IDToken, want) != nil {
		return nil, errIDTokenMalformed.because(errors.New("the ID Token of a refresh names somebody else"))
	}
	n.oldClaims(ctx, sent, err)
	return nil, nil
}
