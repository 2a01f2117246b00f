package gatehouse

// Tested in internal/e2e/uma_rs.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/bearer"
	"example.com/gatehouse/internal/introspection"
)

// requestBudget bounds the time that one request spends on the authorization
// server, in all: a client has its answer within 2 s, also when the server
// hangs (UR3).
const requestBudget = 1700 * time.Millisecond

// UMAProtect makes the middleware that lets a request pass only with the
// permission that need names, held by a requesting party token (UMA 2.0). A
// request without it gets a 401 with a permission ticket, one that no rule
// names gets 403, and the authorization server is not asked. The next handler
// gets the request unchanged but for the Identity on its context.
//
// Everything in need that can be checked is checked at once: UMAProtect panics
// on clashing patterns, undeclared scopes and the like, and its middleware panics
// without a handler.
//
// OPTIONS needs a rule like any other method, so CORS middleware belongs
// outside; it should expose the header WWW-Authenticate, or scripts never see
// the ticket. A raw path with an encoded slash or dot segment, a backslash, a
// semicolon or a NUL is refused with 400, because layers differ in reading it.
func (rs *ResourceServer) UMAProtect(need Need) func(http.Handler) http.Handler {
	g, err := rs.newGuard(need)
	wire("UMAProtect", err)
	return protect("UMAProtect", g)
}

// UMAGuard is the guard of UMAProtect, for Either and for hand-made
// middleware. Check may ask the authorization server about the token; Refuse
// asks it for a ticket. It panics like UMAProtect.
func (rs *ResourceServer) UMAGuard(need Need) Guard {
	g, err := rs.newGuard(need)
	wire("UMAGuard", err)
	return g
}

// newGuard makes the guard, or says why it could not work.
func (rs *ResourceServer) newGuard(need Need) (*umaGuard, error) {
	switch {
	case rs == nil || rs.provider == nil:
		return nil, errors.New("the ResourceServer was not made by NewResourceServer")
	case need == nil:
		return nil, errors.New("the Need is nil: give Rules, a Permission or a NeedFunc")
	}
	f, err := need.wire()
	if err != nil {
		return nil, err
	}
	return &umaGuard{rs: rs, need: f}, nil
}

type umaGuard struct {
	rs   *ResourceServer
	need needFunc
}

// umaRefusal is in the chain of the error of a request that lacks a permission.
// It is what Refuse needs to ask for a ticket.
type umaRefusal struct {
	need     Permission
	deadline time.Time            // of the request's budget, if it has begun
	facts    *introspection.Facts // of the token, nil without one
	key      introspection.Key    // of the facts
	cause    error                // why no ticket can be asked for, nil if it can
}

func (e *umaRefusal) Error() string {
	switch {
	case e.cause != nil:
		return e.cause.Error()
	case e.facts == nil:
		return "the request has no token"
	case !e.facts.Active:
		return "the token is not active"
	}
	return "the token does not hold the permission"
}

func (e *umaRefusal) Unwrap() error { return e.cause }

// Check implements Guard.
func (g *umaGuard) Check(r *http.Request) (*Identity, error) {
	if err := checkPath(r.URL); err != nil {
		return nil, errPath.because(err)
	}
	need, err := g.need(r)
	if err != nil {
		return nil, asError(err, errNeed)
	}
	if need.public {
		return nil, nil
	}
	token, ok, err := bearer.Unchecked(r.Header)
	if err != nil {
		return nil, errBearer.because(err)
	}
	if !ok {
		return nil, errPermission.because(&umaRefusal{need: need})
	}
	// A hot request makes no timer, since the budget begins only where the server
	// has to be asked, and does not read through a token that was valid before.
	ctx, owner := r.Context(), need.owner()
	key := g.rs.factsKey(token, owner)
	f := g.rs.facts.Known(key)
	if f == nil && !bearer.Valid(token) {
		return nil, errBearer.because(bearer.ErrMalformed)
	}
	if f == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestBudget)
		defer cancel()
		if f, err = g.rs.factsOf(ctx, key, token, owner); err != nil {
			return nil, err
		}
	}
	id, err := g.rs.judge(ctx, f, need)
	if id != nil {
		return id, nil
	}
	if code := ErrorCode(err); code == errResourceIDs.code {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return nil, errPermission.because(&umaRefusal{need: need, facts: f, key: key, deadline: deadline, cause: err})
}

// judge decides whether the facts of a token meet the need now. It returns
// neither an identity nor an error where they do not.
func (rs *ResourceServer) judge(ctx context.Context, f *introspection.Facts, need Permission) (*Identity, error) {
	now := introspection.Seconds(rs.provider.now().Unix())
	if !f.Usable(now) {
		return nil, nil
	}
	id := &Identity{Issuer: rs.provider.issuer, Via: ViaUMA, Subject: f.Subject, ClientID: f.ClientID, claims: f.Claims}
	expires := f.Expires
	for i := range need.clauses {
		c := &need.clauses[i]
		resource, err := rs.resourceID(ctx, c.resource)
		if err != nil {
			return nil, err
		}
		if !c.met(f, resource, now) {
			return nil, nil
		}
		granted, until := f.Granted(resource, now)
		if i == 0 {
			id.Granted = granted
		}
		expires = min(expires, until)
	}
	id.Expires = expires.Time()
	return id, nil
}

// met reports whether the token holds what the clause asks on the resource.
func (c *clause) met(f *introspection.Facts, resource string, now introspection.Seconds) bool {
	holds := func(scope string) bool { return f.Holds(resource, scope, now) }
	if c.anyOf {
		return slices.ContainsFunc(c.scopes, holds)
	}
	for _, s := range c.scopes {
		if !holds(s) {
			return false
		}
	}
	return len(c.scopes) > 0
}

// maxPath bounds the path of a request for which a permission is needed, in
// bytes: deciding costs some times its length (G11).
const maxPath = 16 << 10

// checkPath refuses what one layer reads as part of a name and another as a
// boundary (CVE-2026-15573, CVE-2026-74909): it is refused, never repaired.
func checkPath(u *url.URL) error {
	if max(len(u.Path), len(u.RawPath)) > maxPath {
		return fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	if i := strings.IndexAny(u.Path, ";\\\x00"); i >= 0 {
		return fmt.Errorf("the path has the character %q", u.Path[i])
	}
	if u.RawPath == "" {
		return nil // nothing is encoded that need not be
	}
	raw := strings.ReplaceAll(strings.ToLower(u.RawPath), "%2e", ".")
	if strings.Contains(raw, "%2f") {
		return errors.New("the path has an encoded slash")
	}
	// Dots that are not encoded are cleaned by the mux, which refuses them.
	if len(raw) < len(u.RawPath) && slices.ContainsFunc(strings.Split(raw, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return errors.New("the path has an encoded dot segment")
	}
	return nil
}
