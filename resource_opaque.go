package gatehouse

// Tested in internal/e2e/api.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/token"
)

// NotRevoked requires that the authorization server calls the access token
// active now. It is asked at each request (RFC 7662), also about a token that is
// a JWT, and no earlier answer counts. It is for routes where the seconds matter
// for which other routes still accept a token that was revoked. The
// ResourceServer needs ResourceServerConfig.Client. On a page NotRevoked panics
// at wiring: end the session with Sessions.Revoke.
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

// askAboutAccess returns the identity of an access token that is no JWT and is
// not remembered. What the server says is remembered for CacheTTL, and one call
// serves all who wait.
func (rs *ResourceServer) askAboutAccess(ctx context.Context, raw string, key introspection.Key) (*Identity, error) {
	if rs.fresh() {
		return rs.askNow(ctx, raw, key)
	}
	within, cancel := context.WithTimeout(ctx, rs.budget)
	defer cancel()
	f, err := rs.opaque.Get(within, key, rs.introspectionTime(), func(ctx context.Context) (*introspection.Facts, error) {
		return rs.inPlace(rs.opaque.WasActive(key), func() (*introspection.Facts, error) { return rs.introspect(ctx, raw, "", hintAccess) })
	})
	if err != nil {
		return nil, unanswered(err)
	}
	return rs.identityOf(f, raw)
}

// askNow asks the server and joins no call that began before.
func (rs *ResourceServer) askNow(ctx context.Context, raw string, key introspection.Key) (*Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, rs.introspectionTime())
	defer cancel()
	f, err := rs.inPlace(rs.opaque.WasActive(key), func() (*introspection.Facts, error) {
		return rs.introspect(ctx, raw, "", hintAccess)
	})
	if err != nil {
		return nil, unanswered(err)
	}
	return rs.identityOf(f, raw)
}

// identityOf judges what the server said about an access token.
func (rs *ResourceServer) identityOf(f *introspection.Facts, raw string) (*Identity, error) {
	now := introspection.Seconds(rs.provider.now().Unix())
	if !f.Opens(now) {
		return nil, errTokenInvalid.because(errors.New(f.WhyShut(now)))
	}
	a := f.Access
	switch {
	case a.Bound:
		return nil, errTokenInvalid.because(token.ErrBound)
	case !rs.rules.AnyAudience && !slices.ContainsFunc(a.Audience, func(name string) bool { return slices.Contains(rs.rules.Audience, name) }):
		return nil, errTokenInvalid.because(fmt.Errorf("audience: the token is meant for %q, not for one of %q", a.Audience, rs.rules.Audience))
	}
	id := rs.identity(raw, a.Scopes)
	id.Subject, id.ClientID, id.Expires, id.claims = f.Subject, f.ClientID, f.Expires.Time(), f.Claims
	if a.AuthTime != 0 && a.AuthTime <= now+introspection.Seconds(token.ClockSkew/time.Second) {
		id.AuthTime = a.AuthTime.Time()
	}
	return id, nil
}
