package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/confirmation"
	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/token"
)

// NotRevoked requires that the authorization server calls the access token
// active now. It is asked at each request (RFC 7662), also about a token that is
// a JWT, whose own aud counts if the answer has none. No earlier answer counts.
// Other routes accept a token that was revoked for CacheTTL more, or, if it is a
// JWT, until it expires. With panics if the ResourceServer has no
// ResourceServerConfig.Client. On a page NotRevoked panics at wiring: end the
// session with Sessions.Revoke.
func NotRevoked() Requirement {
	return Requirement{
		name: "not revoked", fresh: true,
		met: func(*http.Request, *Identity, time.Time) (bool, error) { return true, nil }, // it is asked before
	}
}

// fresh reports whether the server has to be asked now.
func (rs *ResourceServer) fresh() bool {
	return slices.ContainsFunc(rs.need, func(q Requirement) bool { return q.fresh })
}

// opaqueIdentity returns the identity of an access token about which the server
// said f. It is judged at the time now.
func (rs *ResourceServer) opaqueIdentity(r *http.Request, f *introspection.Facts, raw string, came bearer.Scheme, now time.Time) (*Identity, error) {
	if err := rs.judgeAccess(f, now); err != nil {
		return nil, err
	}
	made, err := rs.prove(r, raw, came, f.Access.Thumbprint)
	if err == nil {
		err = rs.spend(r.Context(), made)
	}
	if err != nil {
		return nil, about(f.Subject, err)
	}
	id := rs.identityOf(f, raw, now)
	id.proven = made
	return id, nil
}

// askAboutAccess returns what the server says about an access token that is no
// JWT and is not remembered. It is remembered for CacheTTL, and one call serves
// all who wait.
func (rs *ResourceServer) askAboutAccess(ctx context.Context, raw string, key introspection.Key) (*introspection.Facts, error) {
	if rs.fresh() {
		asked := rs.provider.now()
		f, err := rs.askNow(ctx, raw, rs.opaque.WasActive(key))
		if err == nil {
			rs.opaque.Told(key, f, asked)
		}
		return f, err
	}
	within, cancel := context.WithTimeout(ctx, rs.budget)
	defer cancel()
	f, err := rs.opaque.Get(within, key, rs.introspectionTime(), func(ctx context.Context) (*introspection.Facts, error) {
		return rs.inPlace(rs.opaque.WasActive(key), func() (*introspection.Facts, error) { return rs.introspect(ctx, raw, "", hintAccess) })
	})
	if err != nil {
		return nil, unanswered(err)
	}
	return f, nil
}

// confirm asks the server about a JWT that was verified. It must not contradict
// the token about its key. What the answer leaves out (RFC 7662 §2.2), the token
// has said. Strangers cannot make up such a token, so it needs no place.
func (rs *ResourceServer) confirm(ctx context.Context, raw, thumbprint string) error {
	f, err := rs.askNow(ctx, raw, true)
	if err == nil && f.Active && f.Access != nil {
		if len(f.Access.Audience) == 0 {
			f.Access.Audience = rs.rules.Audience
		}
		if errors.Is(f.Access.Unproven, confirmation.ErrMissing) && thumbprint != "" {
			f.Access.Unproven = nil
		}
	}
	if err == nil {
		err = rs.judgeAccess(f, rs.provider.now())
	}
	if err == nil && f.Access.Thumbprint != "" && f.Access.Thumbprint != thumbprint {
		err = errTokenInvalid.because(fmt.Errorf("%w: %w", token.ErrBound, errOtherKey))
	}
	return err
}

// askNow asks the server and joins no call that began before.
func (rs *ResourceServer) askNow(ctx context.Context, raw string, known bool) (*introspection.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, rs.introspectionTime())
	defer cancel()
	f, err := rs.inPlace(known, func() (*introspection.Facts, error) {
		return rs.introspect(ctx, raw, "", hintAccess)
	})
	if err != nil {
		return nil, unanswered(err)
	}
	return f, nil
}

// judgeAccess judges what the server said about an access token, but not the
// proof that belongs to it.
func (rs *ResourceServer) judgeAccess(f *introspection.Facts, now time.Time) error {
	if at := introspection.Seconds(now.Unix()); !f.Opens(at) {
		return errTokenInvalid.because(errors.New(f.WhyShut(at)))
	}
	a := f.Access
	switch {
	case a.Unproven != nil:
		return errTokenInvalid.because(fmt.Errorf("%w: %w", token.ErrBound, a.Unproven))
	case !rs.rules.AnyAudience && len(a.Audience) == 0:
		return errTokenInvalid.because(errors.New("audience: the server names none, which only InsecureAnyAudience accepts"))
	case !rs.rules.AnyAudience && !slices.ContainsFunc(a.Audience, func(name string) bool { return slices.Contains(rs.rules.Audience, name) }):
		return errTokenInvalid.because(fmt.Errorf("audience: the token is meant for %q, not for one of Audience: %q", a.Audience, rs.rules.Audience))
	}
	return nil
}

// identityOf returns the identity of an access token that was judged good.
func (rs *ResourceServer) identityOf(f *introspection.Facts, raw string, now time.Time) *Identity {
	a := f.Access
	id := rs.identity(raw, a.Scopes)
	id.Subject, id.ClientID, id.Expires, id.claims = f.Subject, f.ClientID, f.Expires.Time(), f.Claims
	if a.AuthTime != 0 && a.AuthTime <= introspection.Seconds(now.Add(token.ClockSkew).Unix()) {
		id.AuthTime = a.AuthTime.Time()
	}
	return id
}
