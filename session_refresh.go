package gatehouse

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/session"
	signed "example.com/gatehouse/internal/token"
)

// renewer renews tokens at the provider of a relying party.
type renewer struct{ party *RelyingParty }

// finalRefusals are the errors after which a refresh token is worth nothing
// any more: RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6, which some
// providers answer a refresh with.
var finalRefusals = []string{"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}

// Renew implements session.Renewer: it sends the refresh token, once (RFC 6749
// §6).
func (n renewer) Renew(ctx context.Context, sent *session.Record) (session.Tokens, error) {
	rp := n.party
	answer, err := rp.provider.requestToken(ctx, rp.client, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {string(sent.Refresh)},
	})
	if err != nil {
		n.tell(ctx, sent, err)
		return session.Tokens{}, n.judge(err)
	}
	keep, err := n.checkIDToken(ctx, sent, answer)
	if err != nil { // another person or issuer: OpenID Connect Core §12.2
		rp.revokeLater(answer.Refresh)
		n.tell(ctx, sent, err)
		return session.Tokens{}, &session.RefusedError{Err: err}
	}
	t := session.Tokens{
		Access: answer.Access, Refresh: answer.Refresh, Expires: answer.Expires, Requested: answer.Requested,
		Scope: answer.Scope, HasScope: answer.HasScope,
	}
	if keep {
		t.IDToken = answer.IDToken
	}
	return t, nil
}

// Discard implements session.Renewer.
func (n renewer) Discard(refresh string) { n.party.revokeLater(refresh) }

// judge says what a token request without tokens means for the refresh token.
func (n renewer) judge(err error) error {
	refusal, refused := errors.AsType[*backchannel.Refusal](err)
	if refused && slices.Contains(finalRefusals, refusal.Code) || errors.Is(err, backchannel.ErrTokenType) {
		return &session.RefusedError{Err: err}
	}
	if backchannel.FateKnown(err) {
		return &session.TroubleError{Err: err, Wait: asError(err, errProviderUnavailable).RetryAfter}
	}
	return err
}

func (n renewer) tell(ctx context.Context, rec *session.Record, cause error) {
	e := asError(cause, errClientRefused)
	n.party.provider.emit(ctx, Event{Name: EventRefresh, Code: e.Code, Subject: rec.Subject, ClientID: rec.ClientID, Err: cause})
}

// checkIDToken verifies the ID Token of a refresh, if there is one: same
// issuer, person and audience (OpenID Connect Core §12.2). It reports whether
// there is one to keep. When the provider's keys cannot be had now, the answer
// is taken without it, as long as its claims name the same: the refresh token
// that came with it has replaced the one sent.
func (n renewer) checkIDToken(ctx context.Context, sent *session.Record, answer *backchannel.Tokens) (keep bool, err error) {
	if answer.IDToken == "" {
		return false, nil
	}
	tokens := n.party.provider.tokens
	want := signed.Refresh{Client: n.party.client.ID, Subject: sent.Subject, First: string(sent.IDToken), Access: answer.Access}
	_, err = tokens.Refresh(ctx, answer.IDToken, want)
	if err == nil {
		return true, nil
	}
	if e := tokenFailure(err); e.Status < 500 {
		return false, e
	}
	if tokens.Plausible(answer.IDToken, want) != nil {
		return false, errIDTokenMalformed.because(errors.New("the ID Token of a refresh names somebody else"))
	}
	return false, nil
}
