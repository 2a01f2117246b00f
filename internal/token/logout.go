package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/strictjson"
)

// oldLogoutLife is how long a logout token without exp counts. The final
// specification recommends that exp is at most two minutes ahead (Back-Channel
// Logout §2.4), and so long providers try to deliver one.
const oldLogoutLife = 2 * time.Minute

// LogoutToken is a verified logout token (Back-Channel Logout §2.4). Only
// [Verifier.Logout] makes one that is not empty. It signs nobody in, so it is a
// type of its own.
type LogoutToken struct{ claims logoutClaims }

// Issuer is who made the token: the configured issuer, or that of a tenant.
func (t *LogoutToken) Issuer() string { return t.claims.issuer }

// Subject is whose sessions end. It is "" if the token names a session alone.
func (t *LogoutToken) Subject() string { return t.claims.subject }

// SID is which session at the provider has ended. It is "" if the token means
// all sessions of the subject.
func (t *LogoutToken) SID() string { return t.claims.sid }

// ID is the jti of the token. It is never empty.
func (t *LogoutToken) ID() string { return t.claims.id }

// Issued is when the token was made.
func (t *LogoutToken) Issued() time.Time { return t.claims.issued.time() }

// Logout makes the checks of Back-Channel Logout §2.6 on a token for client.
// algorithm is the only one that the client is registered for, "" for all that
// are accepted. Logout does not know which tokens were received before.
func (v *Verifier) Logout(ctx context.Context, raw, client, algorithm string) (*LogoutToken, error) {
	parsed, err := compact.Parse(raw, maxToken)
	if err != nil {
		return nil, unlike(raw, maxToken, err)
	}
	header := parsed.Header()
	if err := v.checkAlgorithm(ctx, header.Alg); err != nil { // step 3: as for ID Tokens
		return nil, err
	}
	if !isLogoutType(header.Typ) && !(v.config.OldLogout && isOldLogoutType(header.Typ)) { // §2.4, RFC 8725 §3.11
		return nil, fmt.Errorf("%w: typ %s, not logout+jwt", ErrKind, nameOrNone(header.Typ))
	}
	payload, err := v.config.Keys.Verify(ctx, parsed) // go-oidc would judge the claims as those of an ID Token
	switch {
	case err != nil && aboutKeys(err):
		return nil, err
	case errors.Is(err, keyset.ErrUnknownKey):
		return nil, fmt.Errorf("%w: %w: kid is %.*q", ErrSignature, err, maxQuoted, header.Kid)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	var t LogoutToken
	if err := t.claims.read(payload); err != nil {
		return nil, err
	}
	if v.config.OldLogout && t.claims.expires == nil && t.claims.issued != nil {
		end := numeric(t.claims.issued.time().Add(oldLogoutLife).Unix())
		t.claims.expires = &end
	}
	issuer, err := v.issuerOf(t.claims.tenant)
	if err != nil {
		return nil, err
	}
	if err := t.claims.check(issuer, client, v.config.Now()); err != nil {
		return nil, err
	}
	if err := checkRegistered(header.Alg, algorithm); err != nil { // step 3: only now it is known for which client it is
		return nil, err
	}
	return &t, nil
}

// isLogoutType reports whether typ declares a logout token. The case of a media
// type does not count (RFC 7515 §4.1.9).
func isLogoutType(typ string) bool {
	return strings.EqualFold(typ, "logout+jwt") || strings.EqualFold(typ, "application/logout+jwt")
}

// isOldLogoutType reports whether typ is what providers sent before the
// specification was final.
func isOldLogoutType(typ string) bool { return typ == "" || strings.EqualFold(typ, "JWT") }

// logoutClaims are the claims of a logout token.
type logoutClaims struct {
	claims
	id       string // jti
	event    bool   // "events" has the one of a logout token
	hasNonce bool   // "nonce" is there, null too
}

func (c *logoutClaims) read(payload []byte) error {
	c.payload = payload
	err := strictjson.Object(payload, func(name string, v strictjson.Value) error {
		if name == "nonce" { // null is a value too: the claim must not be there
			c.hasNonce = true
			return nil
		}
		if v.Null() {
			return nil
		}
		if err := c.set(name, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: claims are not strict JSON of the right types: %w", ErrMalformed, err)
	}
	return nil
}

func (c *logoutClaims) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "jti":
		c.id, err = v.Text()
	case "sub":
		c.subject, err = nonEmpty(v)
	case "sid": // what an ID Token may get wrong counts here
		c.sid, err = nonEmpty(v)
	case "events":
		c.event, err = hasLogoutEvent(v)
	default:
		err = c.claims.set(name, v)
	}
	return err
}

// nonEmpty is a text that names something.
func nonEmpty(v strictjson.Value) (string, error) {
	text, err := v.Text()
	if err == nil && text == "" {
		err = errors.New("it is empty")
	}
	return text, err
}

// hasLogoutEvent reports whether events is an object with the event of a logout
// token, whose value must be an object (§2.4).
func hasLogoutEvent(v strictjson.Value) (has bool, err error) {
	if !v.Object() {
		return false, strictjson.ErrType
	}
	err = strictjson.Object([]byte(v), func(name string, event strictjson.Value) error {
		if name != logoutEvent {
			return nil // events that are not understood are ignored
		}
		if !event.Object() {
			return strictjson.ErrType
		}
		has = true
		return nil
	})
	return has, err
}

// check makes steps 4 to 7 of §2.6.
func (c *logoutClaims) check(issuer, client string, now time.Time) error {
	if err := c.checkAudience(issuer, client); err != nil { // step 4: iss, aud, iat and exp as in an ID Token
		return err
	}
	if err := c.checkTimes(now, time.Time{}); err != nil {
		return err
	}
	switch {
	case c.subject == "" && c.sid == "": // step 5
		return fmt.Errorf("%w: neither sub nor sid", ErrSubject)
	case len(c.subject) > maxSubject:
		return fmt.Errorf("%w: sub has %d bytes, more than %d", ErrSubject, len(c.subject), maxSubject)
	case !c.event: // step 6
		return fmt.Errorf("%w: events does not have the one of a logout token", ErrKind)
	case c.hasNonce: // step 7
		return fmt.Errorf("%w: it has a nonce, as an ID Token has", ErrNonce)
	case c.id == "": // §2.4: step 8 needs it
		return fmt.Errorf("%w: no jti", ErrMalformed)
	}
	return nil
}
