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

// UMAProtect returns middleware that lets a request pass only with the
// permission that need names, held by a requesting party token (UMA 2.0).
// Without it, the request gets 401 with a permission ticket. A request that no
// rule covers gets 403, and the authorization server is not asked. The next
// handler gets the request unchanged except for the Identity on its context.
//
// UMAProtect checks need at once. It panics on conflicting patterns,
// undeclared scopes and other mistakes that can be seen without a request. The
// middleware panics if its handler is nil.
//
// OPTIONS needs a rule like any other method, so put CORS middleware outside.
// It should expose the header WWW-Authenticate, or scripts cannot see the
// ticket.
//
// A path with an encoded slash, an encoded dot segment, a backslash, a
// semicolon or a NUL is refused with 400, because different layers interpret
// it differently.
func (rs *ResourceServer) UMAProtect(need Need) func(http.Handler) http.Handler {
	g, err := rs.newGuard(need)
	wire("UMAProtect", err)
	return protect("UMAProtect", g)
}

// UMAGuard returns the guard of UMAProtect, for Either and for custom
// middleware. Its Check may introspect the token at the authorization server,
// and its Refuse requests a ticket there. UMAGuard panics like UMAProtect.
func (rs *ResourceServer) UMAGuard(need Need) Guard {
	g, err := rs.newGuard(need)
	wire("UMAGuard", err)
	return g
}

// newGuard returns the guard, or an error that says why need cannot work.
func (rs *ResourceServer) newGuard(need Need) (*umaGuard, error) {
	if err := rs.checkUMA(); err != nil {
		return nil, err
	}
	if need == nil {
		return nil, errors.New("the Need is nil: give Rules, a Permission or a NeedFunc")
	}
	f, err := need.wire()
	if err != nil {
		return nil, err
	}
	return &umaGuard{rs: rs, need: f}, nil
}

// checkUMA reports what is missing for UMA.
func (rs *ResourceServer) checkUMA() error {
	if err := rs.isMade(); err != nil {
		return err
	}
	if !rs.client.given() {
		return errors.New("UMA needs ResourceServerConfig.Client, which asks for permission tickets")
	}
	return nil
}

type umaGuard struct {
	rs   *ResourceServer
	need needFunc
}

// umaRefusal is in the error chain of a request that lacks a permission. It
// holds what Refuse needs to ask for a ticket.
type umaRefusal struct {
	need     Permission
	deadline time.Time            // of the request's budget; zero if it has not begun
	facts    *introspection.Facts // about the token, nil without one
	key      introspection.Key    // key of the facts
	lack     error                // what the token lacks, for the log
	cause    error                // why no ticket can be requested, nil if one can
}

func (e *umaRefusal) Error() string {
	switch {
	case e.cause != nil:
		return e.cause.Error()
	case e.lack != nil:
		return e.lack.Error()
	}
	return "the request has no token"
}

func (e *umaRefusal) Unwrap() error { return e.cause }

// upgrades implements upgrader.
func (g *umaGuard) upgrades() []string { return g.rs.allowed }

// Check implements Guard.
func (g *umaGuard) Check(r *http.Request) (id *Identity, err error) {
	defer func() {
		if p := recover(); p != nil { // of a NeedFunc or a PATSource, for example
			id, err = nil, g.rs.provider.panicIn(r.Context(), p)
		}
	}()
	return g.check(r)
}

func (g *umaGuard) check(r *http.Request) (*Identity, error) {
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
	// The common case is kept cheap: the budget's timer starts only if the
	// server has to be asked, and the syntax of a token with known facts was
	// checked before.
	ctx, owner := r.Context(), need.owner()
	key := g.rs.factsKey(token, owner)
	f := g.rs.facts.Known(key, g.rs.provider.now())
	if f == nil && !bearer.Valid(token) {
		return nil, errBearer.because(bearer.ErrCharacters)
	}
	if f == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.rs.budget)
		defer cancel()
		if f, err = g.rs.factsOf(ctx, key, token, owner); ErrorCode(err) == CodeOwnerGrantMissing {
			return nil, errPermission.because(&umaRefusal{need: need, cause: err})
		} else if err != nil {
			return nil, err
		}
	}
	id, lack, err := g.rs.judge(ctx, f, need)
	if id != nil {
		return id, nil
	}
	if code := ErrorCode(err); code == errResourceIDs.code {
		return nil, about(f.Subject, err)
	}
	deadline, _ := ctx.Deadline()
	return nil, errPermission.because(&umaRefusal{need: need, facts: f, key: key, deadline: deadline, lack: lack, cause: err})
}

// judge decides whether the facts of a token meet the need now. If they do
// not, it returns no identity but what the token lacks. The last error means
// that it could not decide.
func (rs *ResourceServer) judge(ctx context.Context, f *introspection.Facts, need Permission) (id *Identity, lack, err error) {
	now := introspection.Seconds(rs.provider.now().Unix())
	if !f.Usable(now) {
		return nil, errors.New(f.Why(now)), nil
	}
	id = &Identity{Issuer: rs.provider.issuer, Via: ViaUMA, Subject: f.Subject, ClientID: f.ClientID, claims: f.Claims, api: rs}
	expires := f.Expires
	for i := range need.clauses {
		c := &need.clauses[i]
		resource, err := rs.resourceID(ctx, c.resource)
		if err != nil {
			return nil, nil, err
		}
		if !c.met(f, resource, now) {
			return nil, c.lacks(f, resource, now), nil
		}
		granted, until := f.Granted(resource, now)
		if i == 0 {
			id.Granted = granted
		}
		expires = min(expires, until)
	}
	id.Expires = expires.Time()
	return id, nil, nil
}

// met reports whether the token holds the scopes that the clause needs on the
// resource.
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

// lacks says which scopes of the clause the token does not hold, and why.
func (c *clause) lacks(f *introspection.Facts, resource string, now introspection.Seconds) error {
	var missing []string
	for _, s := range c.scopes {
		if !f.Holds(resource, s, now) {
			missing = append(missing, fmt.Sprintf("%q (%s)", s, f.WhyNot(resource, s, now)))
		}
	}
	kind := "lacks"
	if c.anyOf {
		kind = "has none of"
	}
	return fmt.Errorf("permission: on the resource %s, id %q, the token %s %s", c.resource.label(), resource, kind, strings.Join(missing, ", "))
}

// maxPath bounds the path of a request that needs a permission, in bytes. The
// cost of a decision is a multiple of the path's length (G11).
const maxPath = 16 << 10

// checkPath refuses a path that one layer may read as part of a name and
// another as a boundary (CVE-2026-15573, CVE-2026-74909). Such a path is
// refused and never repaired.
func checkPath(u *url.URL) error {
	if max(len(u.Path), len(u.RawPath)) > maxPath {
		return fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	if i := strings.IndexAny(u.Path, ";\\\x00"); i >= 0 {
		return fmt.Errorf("the path has the character %q", u.Path[i])
	}
	if u.RawPath == "" {
		return nil // only what has to be encoded is encoded
	}
	raw := strings.ReplaceAll(strings.ToLower(u.RawPath), "%2e", ".")
	if strings.Contains(raw, "%2f") {
		return errors.New("the path has an encoded slash")
	}
	// The mux redirects paths with literal dot segments, and so refuses them.
	if len(raw) < len(u.RawPath) && slices.ContainsFunc(strings.Split(raw, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return errors.New("the path has an encoded dot segment")
	}
	return nil
}
