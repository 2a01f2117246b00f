package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

const (
	// maxBackdate is how far iat may lie before the sign-in: Entra ID sets it
	// five minutes into the past. The nonce binds the token to the attempt.
	maxBackdate = 5 * time.Minute
	// maxSubject is the longest sub (OpenID Connect Core §2).
	maxSubject = 255
)

// IDToken is a verified ID Token. Only [Verifier.SignIn] and [Verifier.Refresh]
// make one that is not empty.
type IDToken struct{ claims claims }

// Issuer is who made the token: the configured issuer, or that of a tenant.
func (t *IDToken) Issuer() string { return t.claims.issuer }

// Subject is the person who signed in. It is never empty.
func (t *IDToken) Subject() string { return t.claims.subject }

// SID names the session at the provider (Front-Channel Logout §3). It is "" if
// the token does not.
func (t *IDToken) SID() string { return t.claims.sid }

// AuthTime is when the person authenticated. It is zero if the token does not
// say.
func (t *IDToken) AuthTime() time.Time {
	if t.claims.authTime == nil {
		return time.Time{}
	}
	return t.claims.authTime.time()
}

// Defects names the claims that make no sense and were not needed. They count
// as absent.
func (t *IDToken) Defects() []string { return t.claims.defects }

// Payload returns the claims as they were signed. Do not modify it.
func (t *IDToken) Payload() []byte { return t.claims.payload }

// SignIn is what the ID Token of a sign-in is compared with.
type SignIn struct {
	Client string        // our client id
	Nonce  string        // of this sign-in
	Began  time.Time     // when it was sent to the provider
	Aged   bool          // max_age was requested, so auth_time must be present
	MaxAge time.Duration // what was requested
	Access string        // the access token beside it, "" if none
	Code   string        // the code beside it, "" if none
	// Algorithm is the only one that the client is registered for (§3.1.3.7, 7), ""
	// for all that are accepted.
	Algorithm string
	// Front says that all of them came through the browser. Then the token has to
	// vouch for what came beside it.
	Front bool
}

// SignIn makes all the checks of OpenID Connect Core §3.1.3.7, including those
// that the libraries leave out (M3 to M6).
func (v *Verifier) SignIn(ctx context.Context, raw string, want SignIn) (*IDToken, error) {
	var t IDToken
	header, err := v.verify(ctx, raw, idTokenType, &t.claims)
	if err == nil {
		err = checkRegistered(header.Alg, want.Algorithm)
	}
	if err != nil {
		return nil, err
	}
	t.claims.dropFuture(v.config.Now())
	issuer, err := v.issuerOf(t.claims.tenant)
	if err != nil {
		return nil, err
	}
	if err := t.claims.checkSignIn(issuer, v.config.Now(), want); err != nil {
		return nil, err
	}
	switch {
	case want.Front && want.Access != "" && t.claims.atHash == "": // §3.2.2.9
		return nil, fmt.Errorf("%w: an access token came through the browser, and there is no at_hash", ErrAccessHash)
	case want.Front && want.Code != "" && t.claims.cHash == "": // §3.3.2.11
		return nil, fmt.Errorf("%w: a code came through the browser, and there is no c_hash", ErrCodeHash)
	}
	if err := t.claims.checkAccessHash(header.Alg, want.Access); err != nil {
		return nil, err
	}
	if err := t.claims.checkCodeHash(header.Alg, want.Code); err != nil {
		return nil, err
	}
	return &t, nil
}

// SamePerson compares the ID Token that came with the code with the one that came
// through the browser: they have to name the same issuer and person (OpenID
// Connect Core §3.3.3.6).
func (t *IDToken) SamePerson(front *IDToken) error {
	if t.claims.issuer != front.claims.issuer || t.claims.subject != front.claims.subject {
		return ErrOther
	}
	return nil
}

// Refresh is what the ID Token of a refresh is compared with.
type Refresh struct {
	Issuer   string    // of the sign-in
	Client   string    // our client id
	Subject  string    // who is signed in
	First    string    // the stored ID Token, "" if none
	Nonce    string    // that of the sign-in, if the stored token leaves it out
	AuthTime time.Time // that of the sign-in, zero if it said none that makes sense
	Access   string    // the access token beside it

	Algorithm string // as that of SignIn
}

// Refresh verifies an ID Token that came with a refresh. Issuer, person, audience,
// party and authentication must be the same, and the token must be newer (OpenID
// Connect Core §12.2).
func (v *Verifier) Refresh(ctx context.Context, raw string, want Refresh) (*IDToken, error) {
	var t IDToken
	header, err := v.verify(ctx, raw, idTokenType, &t.claims)
	if err == nil {
		err = checkRegistered(header.Alg, want.Algorithm)
	}
	if err != nil {
		return nil, err
	}
	if err := v.checkRefresh(&t.claims, want); err != nil {
		return nil, err
	}
	if err := t.claims.checkAccessHash(header.Alg, want.Access); err != nil {
		return nil, err
	}
	return &t, nil
}

// Plausible makes the checks of [Verifier.Refresh] on an ID Token whose
// signature cannot be checked now. It says nothing about who made the token, so
// nothing from it may be stored.
func (v *Verifier) Plausible(raw string, want Refresh) error {
	var c claims
	if err := c.readUnverified(raw); err != nil {
		return err
	}
	return v.checkRefresh(&c, want)
}

func (v *Verifier) checkRefresh(c *claims, want Refresh) error {
	c.dropFuture(v.config.Now())
	issuer, err := v.issuerOf(c.tenant)
	switch {
	case err != nil:
		return err
	case v.config.Tenants != nil && issuer != want.Issuer: // §12.2: another tenant of ours is another issuer
		return fmt.Errorf("%w: it is of the tenant %q, and that of the sign-in was of %.*q", ErrIssuer, c.tenant, maxQuoted, want.Issuer)
	}
	return c.checkRefresh(issuer, v.config.Now(), want)
}

// idTokenType rejects the types of other tokens. ID Tokens have "JWT" or none.
func idTokenType(typ string) bool { return typ == "" || typ == "JWT" || typ == "jwt" }

// checkSignIn checks the claims. The numbers are those of §3.1.3.7.
func (c *claims) checkSignIn(issuer string, now time.Time, want SignIn) error {
	if err := c.checkParties(issuer, want.Client); err != nil {
		return err
	}
	switch {
	case c.nonce == nil: // 11
		return fmt.Errorf("%w: the token has no nonce", ErrNonce)
	case want.Nonce == "" || !hmac.Equal([]byte(*c.nonce), []byte(want.Nonce)):
		return fmt.Errorf("%w: the nonce is not the one of this sign-in", ErrNonce)
	}
	if err := c.checkTimes(now, want.Began); err != nil {
		return err
	}
	switch {
	case want.Aged && slices.Contains(c.defects, "auth_time"):
		return fmt.Errorf("%w: max_age was requested, but auth_time is no time, or one in the future", ErrAuthTime)
	case want.Aged && c.authTime == nil: // 13
		return fmt.Errorf("%w: max_age was requested, but auth_time is missing", ErrAuthTime)
	case want.Aged && c.authTime.time().Before(want.Began.Add(-want.MaxAge-ClockSkew-time.Second)):
		return fmt.Errorf("%w: auth_time is %s, more than max_age of %v before the sign-in began at %s", ErrAuthTime, c.authTime, want.MaxAge, stamp(want.Began))
	}
	return nil
}

// checkRefresh compares the claims with those of the sign-in. It compares
// nonce and auth_time only if they are present.
func (c *claims) checkRefresh(issuer string, now time.Time, want Refresh) error {
	if err := c.checkParties(issuer, want.Client); err != nil {
		return err
	}
	if c.subject != want.Subject { // §12.2
		return fmt.Errorf("%w: sub is another person", ErrSubject)
	}
	var first claims
	if first.readUnverified(want.First) == nil {
		if err := c.checkSuccession(&first, now); err != nil {
			return err
		}
	} else {
		first = claims{} // there is nothing to compare with
	}
	if first.nonce == nil && want.Nonce != "" { // of the token before it
		first.nonce = &want.Nonce
	}
	switch {
	case c.nonce != nil && first.nonce != nil && *c.nonce != *first.nonce:
		return fmt.Errorf("%w: nonce differs from that of the sign-in", ErrNonce)
	case c.authTime != nil && !want.AuthTime.IsZero() && !c.authTime.time().Equal(want.AuthTime):
		return fmt.Errorf("%w: auth_time is %s, and that of the sign-in was %s", ErrAuthTime, c.authTime, stamp(want.AuthTime))
	}
	return c.checkTimes(now, time.Time{})
}

// checkSuccession compares the claims with those of the stored ID Token. iat
// counts whole seconds, so a token that was made just now may be of the same one.
func (c *claims) checkSuccession(first *claims, now time.Time) error {
	switch {
	case !sameTexts(c.audience, first.audience):
		return fmt.Errorf("%w: aud is %.*q, and was %.*q", ErrAudience, maxQuoted, strings.Join(c.audience, " "), maxQuoted, strings.Join(first.audience, " "))
	case (c.party == nil) != (first.party == nil): // otherwise both are our client
		return fmt.Errorf("%w: one of the ID Tokens has azp, the other has not", ErrAudience)
	case c.issued == nil || first.issued == nil:
		return nil // checkTimes refuses the first case
	case c.issued.time().Before(first.issued.time()):
		return fmt.Errorf("%w: iat is %s, and that of the token before was %s", ErrClockSkew, c.issued, first.issued)
	case c.issued.time().Equal(first.issued.time()) && c.issued.time().Before(now.Add(-ClockSkew-time.Second)):
		return fmt.Errorf("%w: iat is %s, as in the token before", ErrClockSkew, c.issued)
	}
	return nil
}

// sameTexts compares two sets.
func sameTexts(a, b []string) bool {
	set := func(texts []string) []string { return slices.Compact(slices.Sorted(slices.Values(texts))) }
	return slices.Equal(set(a), set(b))
}

// checkParties checks who made the token, for whom and about whom, and that it
// is an ID Token.
func (c *claims) checkParties(issuer, client string) error {
	if err := c.checkAudience(issuer, client); err != nil {
		return err
	}
	switch {
	case c.subject == "": // §2
		return fmt.Errorf("%w: sub is missing or empty", ErrSubject)
	case len(c.subject) > maxSubject:
		return fmt.Errorf("%w: sub has %d bytes, more than %d", ErrSubject, len(c.subject), maxSubject)
	case c.logout: // a logout token (Back-Channel Logout §2.4)
		return fmt.Errorf("%w: it has the event of a logout token", ErrKind)
	}
	return nil
}

// checkAudience checks who made the token and for whom.
func (c *claims) checkAudience(issuer, client string) error {
	switch {
	case c.issuer != issuer: // 2
		return fmt.Errorf("%w: iss is %.*q, not %q", ErrIssuer, maxQuoted, c.issuer, issuer)
	case client == "" || !slices.Contains(c.audience, client): // 3
		return fmt.Errorf("%w: aud is %.*q, without our client %q", ErrAudience, maxQuoted, strings.Join(c.audience, " "), client)
	case len(c.audience) > 1 && c.party == nil: // 3, 4: other audiences are trusted only if azp names us
		return fmt.Errorf("%w: aud is %.*q, and there is no azp", ErrAudience, maxQuoted, strings.Join(c.audience, " "))
	case c.party != nil && *c.party != client: // 5
		return fmt.Errorf("%w: azp is %.*q, not our client %q", ErrAudience, maxQuoted, *c.party, client)
	}
	return nil
}

// checkTimes requires a token that was made in the past and is valid now. began
// is when the sign-in started; it is zero at a refresh.
func (c *claims) checkTimes(now, began time.Time) error {
	switch {
	case c.expires == nil:
		return fmt.Errorf("%w: no exp", ErrExpired)
	case c.issued == nil:
		return fmt.Errorf("%w: no iat", ErrMalformed)
	case c.issued.time().After(now.Add(ClockSkew)): // 10
		return fmt.Errorf("%w: iat is %s, but now it is %s", ErrClockSkew, c.issued, stamp(now))
	case c.before != nil && c.before.time().After(now.Add(ClockSkew)): // RFC 7519 §4.1.5
		return fmt.Errorf("%w: nbf is %s, but now it is %s", ErrClockSkew, c.before, stamp(now))
	case !began.IsZero() && c.issued.time().Before(began.Add(-maxBackdate-ClockSkew-time.Second)):
		return fmt.Errorf("%w: iat is %s, but the sign-in began at %s", ErrClockSkew, c.issued, stamp(began))
	case !now.Before(c.expires.time().Add(ClockSkew)): // 9
		return fmt.Errorf("%w: exp is %s, but now it is %s", ErrExpired, c.expires, stamp(now))
	}
	return nil
}

// checkAccessHash compares at_hash if present (§3.1.3.8).
func (c *claims) checkAccessHash(alg, access string) error {
	if c.atHash == "" || access == "" || isHalfHash(c.atHash, alg, access) {
		return nil
	}
	return fmt.Errorf("%w: at_hash differs from the hash of the access token", ErrAccessHash)
}

// checkCodeHash compares c_hash if present (§3.3.2.10).
func (c *claims) checkCodeHash(alg, code string) error {
	if c.cHash == "" || code == "" || isHalfHash(c.cHash, alg, code) {
		return nil
	}
	return fmt.Errorf("%w: c_hash differs from the hash of the code", ErrCodeHash)
}

// isHalfHash reports whether claim is the left half of the hash of what came
// beside a token with that algorithm.
func isHalfHash(claim, alg, beside string) bool {
	var h hash.Hash
	switch alg[len(alg)-3:] {
	case "256":
		h = sha256.New()
	case "384":
		h = sha512.New384()
	default: // 512 and EdDSA with Ed25519
		h = sha512.New()
	}
	h.Write([]byte(beside))
	half := h.Sum(nil)[:h.Size()/2]
	return hmac.Equal([]byte(claim), []byte(base64.RawURLEncoding.EncodeToString(half)))
}
