package token

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/gatehouse/internal/compact"
	"example.com/gatehouse/internal/keyset"
	"example.com/gatehouse/internal/strictjson"
)

// maxUserInfo bounds a signed user info answer before anything parses it. It
// may be larger than other tokens, because it never travels in a header.
const maxUserInfo = 64 << 10

// UserInfo is a verified user info answer (OpenID Connect Core §5.3.2). Only
// [Verifier.UserInfo] makes one that is not empty. It is no proof of a sign-in,
// so it is a type of its own.
type UserInfo struct{ payload []byte }

// Payload returns the claims as they were signed. Do not modify it.
func (u *UserInfo) Payload() []byte { return u.payload }

// UserInfo verifies a signed user info answer. Its key is one of the issuer's.
// iss, aud, exp and nbf are checked if they are present; sub must be the person
// who is signed in (§5.3.2). only is the algorithm that the client is registered
// for, "" for any.
func (v *Verifier) UserInfo(ctx context.Context, raw, client, subject, only string) (*UserInfo, error) {
	payload, said, err := v.statement(ctx, raw, maxUserInfo, only)
	if err != nil {
		return nil, err
	}
	if err := said.check(v.Owns, client, subject, v.config.Now()); err != nil {
		return nil, err
	}
	return &UserInfo{payload}, nil
}

// statement verifies the signature of what the issuer says of a person outside of
// a token, of at most limit bytes, and reads whom it is for. only is that of
// [Verifier.UserInfo].
func (v *Verifier) statement(ctx context.Context, raw string, limit int, only string) (payload []byte, said userInfoClaims, err error) {
	parsed, err := compact.Parse(raw, limit)
	if err != nil {
		return nil, said, unlike(raw, limit, err)
	}
	header := parsed.Header()
	if err := v.checkUserInfoAlgorithm(ctx, header.Alg); err != nil {
		return nil, said, err
	}
	if err := checkRegistered(header.Alg, only); err != nil {
		return nil, said, err
	}
	if header.Typ != "" && !strings.EqualFold(header.Typ, "JWT") { // RFC 8725 §3.11
		return nil, said, fmt.Errorf("%w: typ %s", ErrKind, nameOf(header.Typ))
	}
	payload, err = v.config.Keys.Verify(ctx, parsed) // go-oidc would judge the claims as those of an ID Token
	switch {
	case err != nil && aboutKeys(err):
		return nil, said, err
	case err != nil:
		return nil, said, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	err = readClaims(payload, said.set)
	return payload, said, err
}

// checkUserInfoAlgorithm accepts the asymmetric algorithms that the issuer
// announces for ID Tokens or for user info.
func (v *Verifier) checkUserInfoAlgorithm(ctx context.Context, alg string) error {
	lists := []func(context.Context) ([]string, error){v.config.Algorithms, v.config.UserInfoAlgorithms}
	none := true
	for _, list := range lists {
		if list == nil {
			continue
		}
		listed, err := list(ctx)
		if err != nil {
			return err
		}
		if keyset.Asymmetric(alg) && slices.Contains(listed, alg) {
			return nil
		}
		none = none && !slices.ContainsFunc(listed, keyset.Asymmetric)
	}
	if none && alg == oidc.RS256 {
		return nil
	}
	return fmt.Errorf("%w: alg %s", ErrAlgorithm, nameOf(alg))
}

// userInfoClaims are the claims of a user info answer that are checked. All
// others are the application's.
type userInfoClaims struct {
	issuer, subject *string
	audience        []string
	named           bool // there is an aud
	expires, before *numeric
	logout          bool
}

func (c *userInfoClaims) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "iss":
		c.issuer, err = present(v.Text())
	case "sub":
		c.subject, err = present(v.Text())
	case "aud":
		c.named = true
		c.audience, err = v.Texts()
	case "exp":
		c.expires, err = present(readNumeric(v))
	case "nbf":
		c.before, err = present(readNumeric(v))
	case "events":
		if v.Object() {
			err = strictjson.Object([]byte(v), func(name string, _ strictjson.Value) error {
				c.logout = c.logout || name == logoutEvent
				return nil
			})
		}
	}
	return err
}

func (c *userInfoClaims) check(owns func(issuer string) bool, client, subject string, now time.Time) error {
	if err := c.checkParties(owns, client); err != nil {
		return err
	}
	switch {
	case c.subject == nil || *c.subject == "":
		return fmt.Errorf("%w: no sub", ErrSubject)
	case *c.subject != subject:
		return fmt.Errorf("%w: sub is another than that of the ID Token", ErrSubject)
	}
	return c.checkTimes(now)
}

// checkParties checks who made it and for whom, as far as it says so.
func (c *userInfoClaims) checkParties(owns func(issuer string) bool, client string) error {
	switch {
	case c.logout:
		return fmt.Errorf("%w: a logout token", ErrKind)
	case c.issuer != nil && !owns(*c.issuer):
		return fmt.Errorf("%w: iss is %.*q", ErrIssuer, maxQuoted, *c.issuer)
	case c.named && (client == "" || !slices.Contains(c.audience, client)):
		return fmt.Errorf("%w: our client is not in aud", ErrAudience)
	}
	return nil
}

// checkTimes checks exp and nbf, as far as they are there.
func (c *userInfoClaims) checkTimes(now time.Time) error {
	switch {
	case c.expires != nil && !now.Before(c.expires.time().Add(ClockSkew)):
		return fmt.Errorf("%w: exp", ErrExpired)
	case c.before != nil && c.before.time().After(now.Add(ClockSkew)):
		return fmt.Errorf("%w: nbf is in the future", ErrClockSkew)
	}
	return nil
}
