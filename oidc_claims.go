package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/token"
)

// newRecord returns the login record for a completed attempt.
func (rp *RelyingParty) newRecord(client string, a *attempt.Attempt, proof *token.IDToken, claims []byte, t *backchannel.Tokens) *session.Record {
	now := rp.sessions.now()
	rec := &session.Record{
		Issuer: proof.Issuer(), Subject: proof.Subject(), ClientID: client, SID: proof.SID(),
		Begin: a.Begin, Seen: now, AuthTime: proof.AuthTime(), Claims: claims, Scope: t.Scope,
		Access: session.Token(t.Access), Expires: rp.expiry(t), Requested: t.Requested,
		Refresh: session.Token(t.Refresh), IDToken: session.Token(t.IDToken),
		Marks: session.MarksOf(proof.Issuer(), proof.Subject(), proof.SID()), Own: []byte("{}"),
	}
	if !t.HasScope { // RFC 6749 §5.1: if omitted, it is the scope requested
		rec.Scope = strings.Join(rp.scopesOf(a.Scopes), " ")
	}
	if len(a.Asked) > 0 {
		rec.Asked, rec.AskedAt = a.Asked, now
	}
	return rec
}

// gatherClaims combines the claims of the ID Token with the user info (OpenID
// Connect Core §5.3), and checks those that the attempt asked for with a value. The
// ID Token is signed, so its claims take precedence.
func (c *callback) gatherClaims(ctx context.Context) ([]byte, error) {
	rp, proof := c.rp, c.proof
	rp.tellDefects(ctx, proof)
	endpoint := ""
	if !rp.config.SkipUserInfo && c.tokens.Access != "" { // with the response type id_token there is none
		var err error
		if endpoint, err = rp.provider.userInfoEndpoint(ctx); err != nil {
			return nil, err
		}
	}
	all, err := proof.Claims()
	if err != nil {
		return nil, errIDTokenMalformed.because(err)
	}
	rp.bring(ctx, all, proof.Subject(), c.who.ID)
	if err := c.checkEssential(false, all); err != nil {
		return nil, err
	}
	var told token.Claims
	if endpoint != "" {
		told, err = rp.userInfo(ctx, endpoint, c.tokens.Access, proof.Subject(), c.who.ID)
		if err != nil {
			return nil, err
		}
	}
	if err := c.checkEssential(true, told); err != nil {
		return nil, err
	}
	all.Join(told)
	claims, err := all.Encode()
	if err != nil {
		return nil, errUserInfo.because(fmt.Errorf("the claims cannot be stored: %w", err))
	}
	return claims, nil
}

// tellDefects reports claims that make no sense but were not needed.
func (rp *RelyingParty) tellDefects(ctx context.Context, proof *token.IDToken) {
	if names := proof.Defects(); len(names) > 0 {
		rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleClaim, Subject: proof.Subject(), ClientID: rp.client.told(),
			Err: fmt.Errorf("claims of the ID Token that make no sense were left out: %s", strings.Join(names, ", "))})
	}
}

// maxUserInfo caps a user info response, in bytes. It has to fit into a login
// record.
const maxUserInfo = 32 << 10

// errTokenNotTaken says that the user info endpoint does not accept the access
// token.
var errTokenNotTaken = errors.New("the access token is not accepted")

// userInfo fetches the claims of the person with that subject from the user
// info endpoint (OpenID Connect Core §5.3.1). It does not use go-oidc, which
// matches member names case-insensitively, accepts duplicates, and verifies
// signed responses with its own keys (docs/design.md). client is our id, for
// which a signed response has to be made. Claims that lie elsewhere are brought.
func (rp *RelyingParty) userInfo(ctx context.Context, endpoint, access, subject, client string) (token.Claims, error) {
	p := rp.provider
	_, signed := rp.client.signing(client)
	if !bearer.Valid(access) {
		return nil, errUserInfo.because(errors.New("the access token has characters that no Authorization header can carry (RFC 6750 §2.1)"))
	}
	ctx = outbound.WithLimit(ctx, maxUserInfo)
	a, err := p.channel.AsHolder(ctx, rp.client.holder(), http.MethodGet, endpoint, access, backchannel.Body{}) // the token is never sent in the query (RP-U1)
	if err == nil && a.Status != http.StatusOK {
		err = a.Unexpected("user info")
	}
	switch {
	case a != nil && a.Status == http.StatusForbidden: // RFC 6750 §3.1, insufficient_scope
		return nil, errUserInfoAccess.because(err)
	case a != nil && a.Status == http.StatusUnauthorized: // a replica may not know the new token yet
		return nil, errUserInfo.because(fmt.Errorf("%w: %w", errTokenNotTaken, err))
	case mistake(err) != nil:
		return nil, mistake(err)
	case err != nil:
		return nil, errUserInfo.because(err)
	}
	body := a.Body
	if kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); kind == "application/jwt" { // §5.3.2
		told, err := p.tokens.UserInfo(ctx, string(body), client, subject, signed)
		if err != nil {
			return nil, userInfoFailure(err)
		}
		body = told.Payload()
	} else if signed != "" { // RP-U3: whoever leaves the signature out must not have the say
		return nil, errUserInfo.because(fmt.Errorf("user info from %s is not signed, and the client has registered for %s", outbound.Address(endpoint), signed))
	}
	var claims token.Claims
	if err := strictjson.Unmarshal(body, &claims); err != nil {
		return nil, errUserInfo.because(fmt.Errorf("user info from %s is not strict JSON: %w", outbound.Address(endpoint), strictjson.Without(err, access)))
	}
	switch sub := strictjson.String(claims["sub"]); sub { // §5.3.2: the claims must not be used if sub differs
	case subject:
	case "":
		return nil, errUserInfoSub.because(errors.New("user info has no sub, or one that is no text"))
	default:
		return nil, errUserInfoSub.because(errors.New("sub of the user info is another than that of the ID Token"))
	}
	rp.bring(ctx, claims, subject, client)
	return claims, nil
}

// userInfoFailure returns the *Error for signed user info that was not
// verified.
func userInfoFailure(err error) *Error {
	switch {
	case errors.Is(err, token.ErrSubject):
		return errUserInfoSub.because(err)
	case tokenFailure(err).Status >= 500:
		return tokenFailure(err)
	}
	return errUserInfo.because(fmt.Errorf("signed user info: %w", err))
}
