package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/token"
)

// newRecord returns the login record for a completed attempt.
func (rp *RelyingParty) newRecord(a *attempt.Attempt, proof *token.IDToken, claims []byte, t *backchannel.Tokens) *session.Record {
	now := rp.sessions.now()
	rec := &session.Record{
		Issuer: rp.provider.issuer, Subject: proof.Subject(), ClientID: rp.client.ID, SID: proof.SID(),
		Begin: a.Begin, Seen: now, AuthTime: proof.AuthTime(), Claims: claims, Scope: t.Scope,
		Access: session.Token(t.Access), Expires: t.Expires, Requested: t.Requested,
		Refresh: session.Token(t.Refresh), IDToken: session.Token(t.IDToken),
		Marks: session.MarksOf(rp.provider.issuer, proof.Subject(), proof.SID()),
	}
	if !t.HasScope { // RFC 6749 §5.1: if omitted, it is the scope requested
		rec.Scope = strings.Join(rp.scopesOf(a), " ")
	}
	if len(a.Asked) > 0 {
		rec.Asked, rec.AskedAt = a.Asked, now
	}
	return rec
}

// gatherClaims combines the claims of the ID Token with the user info (OpenID
// Connect Core §5.3). The ID Token is signed, so its claims take precedence.
func (rp *RelyingParty) gatherClaims(ctx context.Context, proof *token.IDToken, access string) ([]byte, error) {
	md, err := rp.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if rp.config.SkipUserInfo || md.UserInfoEndpoint == "" {
		return proof.Payload(), nil
	}
	told, err := rp.provider.userInfo(ctx, md.UserInfoEndpoint, access, proof.Subject())
	if err != nil {
		return nil, err
	}
	return mergeClaims(proof.Payload(), told)
}

// maxUserInfo caps a user info response, in bytes. It has to fit into a login
// record.
const maxUserInfo = 32 << 10

// userInfo fetches the claims of the person with that subject from the user
// info endpoint (OpenID Connect Core §5.3.1). It does not use go-oidc, which
// matches member names case-insensitively, accepts duplicates, and verifies
// signed responses with its own keys (docs/design.md). Signed responses are
// not supported yet.
func (p *Provider) userInfo(ctx context.Context, endpoint, access, subject string) (map[string]json.RawMessage, error) {
	ctx = outbound.WithLimit(ctx, maxUserInfo)
	a, err := p.channel.AsBearer(ctx, http.MethodGet, endpoint, access, backchannel.Body{}) // the token is never sent in the query (RP-U1)
	if err != nil {
		return nil, errUserInfo.because(err)
	}
	if a.Status != http.StatusOK {
		return nil, errUserInfo.because(fmt.Errorf("user info endpoint answered %d", a.Status))
	}
	var claims map[string]json.RawMessage
	if strictjson.Unmarshal(a.Body, &claims) != nil {
		return nil, errUserInfo.because(errors.New("user info is not strict JSON"))
	}
	var sub string
	if json.Unmarshal(claims["sub"], &sub) != nil || sub != subject { // §5.3.2: the claims must not be used if sub differs
		return nil, errUserInfoSub.because(nil)
	}
	return claims, nil
}

// mergeClaims combines two sets of claims; the signed ones take precedence.
// Values are copied as raw JSON, so numbers keep their precision.
func mergeClaims(signed []byte, told map[string]json.RawMessage) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(signed, &all); err != nil {
		return nil, errIDTokenMalformed.because(errors.New("claims are not a JSON object"))
	}
	for name, value := range told {
		if _, ok := all[name]; !ok {
			all[name] = value
		}
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return nil, errUserInfo.because(errors.New("user info cannot be stored"))
	}
	return merged, nil
}
