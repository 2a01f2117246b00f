package gatehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/strictjson"
	"example.com/gatehouse/internal/token"
	"example.com/gatehouse/internal/uncached"
)

// Via is how a request proved its identity.
type Via string

// The values of Via.
const (
	ViaSession Via = "session" // a sign-in of this browser
	ViaUMA     Via = "uma"     // a requesting party token
	ViaToken   Via = "token"   // an access token
)

// Identity is the person or client that a request is made for, as established
// by a guard of this package. Identify people by the pair (Issuer, Subject): a
// subject is unique at one issuer only, and an e-mail address may pass to
// somebody else.
//
// An Identity must not be modified once it is on a context.
type Identity struct {
	// Issuer is the provider or authorization server that vouches for the
	// identity.
	Issuer string
	// Subject is the person's identifier at the issuer. Behind RequireToken it
	// is what the token says: about a service, many servers put the id of its
	// client there (RFC 9068 §2.2), and some nothing. Behind UMAProtect it is
	// empty if the authorization server does not report it.
	Subject string
	// ClientID is the client that the token was issued to. In a session it is
	// our own client.
	ClientID string
	// Via is the kind of credential that let the request in.
	Via Via
	// AuthTime is when the person last authenticated at the provider. It is
	// zero if the provider did not report it.
	AuthTime time.Time
	// Scopes are the scopes of the access token, or of that of the session.
	Scopes []string
	// Granted are the UMA scopes that the token holds on the resource, or on
	// the first one if the Permission names several.
	Granted []string
	// Expires is when the session or token ends at the latest.
	Expires time.Time

	claims  json.RawMessage
	own     token.Claims // what SetClaim set or, with null, took away
	session *liveSession
	api     *ResourceServer // that judged the token; nil for a session
	raw     Secret          // the access token itself, for ResourceServer.HTTPClient
	proven  *proven         // with a token that is bound to a key; nil otherwise
}

// Claims decodes the claims about the person into v. For a session they come
// from the ID Token and the user info, for a token from the JWT itself or from
// introspection. As with encoding/json, fields of v without a claim keep their
// value. Unlike there, names are compared exactly: a claim "EMAIL" does not fill
// a field with the tag "email", and one without a tag has its Go name.
func (id *Identity) Claims(v any) error {
	if len(id.claims) == 0 {
		return nil
	}
	if err := strictjson.Decode(id.claims, v); err != nil {
		return fmt.Errorf("gatehouse: claims: %w", err)
	}
	return nil
}

// ClaimString returns the claim of that name if it is a string, and ""
// otherwise.
func (id *Identity) ClaimString(name string) string {
	return strictjson.String(id.claim([]string{name}))
}

// ACR returns the way in which the person authenticated, as the provider names
// it (acr in OpenID Connect Core §2, RFC 9470 §6), or "" if it did not say. It
// is read from the claims. In a session only an ID Token can have set it, or
// SetClaim.
func (id *Identity) ACR() string { return id.ClaimString("acr") }

// claim returns the claim at the end of path, which goes through objects. It is
// nil if there is none.
func (id *Identity) claim(path []string) json.RawMessage {
	at := id.claims
	for _, name := range path {
		var next json.RawMessage
		err := strictjson.Object(at, func(member string, v strictjson.Value) error {
			if member == name {
				next = json.RawMessage(v)
			}
			return nil
		})
		if err != nil || next == nil {
			return nil
		}
		at = next
	}
	return at
}

// SetClaim sets one claim. A nil value removes it. The error says that value has
// no JSON form, or one that repeats a name within an object, nests deeper than
// 31 levels or is not UTF-8. SetClaim is for RelyingPartyConfig.OnSignIn and
// OnRefresh, custom guards and tests. Do not call it on an identity that is
// already on a context.
func (id *Identity) SetClaim(name string, value any) error {
	all, err := token.ParseClaims(id.claims)
	if err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	mine, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("gatehouse: claim %q: %w", name, err)
	}
	all.Overlay(token.Claims{name: mine})
	b, err := all.Encode()
	if err != nil {
		return fmt.Errorf("gatehouse: claim %q: %w", name, err)
	}
	if id.own == nil {
		id.own = token.Claims{}
	}
	id.claims, id.own[name] = b, mine
	return nil
}

type identityKey struct{}

// IdentityFrom returns the identity that the innermost guard decided on. It
// returns nil if no guard ran, or if that guard let the request in without an
// identity (OptionalLogin, Public), whatever a guard around it decided.
func IdentityFrom(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}

// WithIdentity returns a context that carries id, for tests and custom guards.
func WithIdentity(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// Guard decides whether a request may pass and answers it if not. Check makes
// the decision and writes nothing. Refuse writes the answer for an error that
// Check returned for the same request. Guards must be safe for concurrent use.
type Guard interface {
	// Check returns the identity of the request, or an error if it may not
	// pass. If both are nil, the request passes without an identity.
	Check(r *http.Request) (*Identity, error)
	// Refuse answers a request that Check refused with err.
	Refuse(w http.ResponseWriter, r *http.Request, err error)
}

// Require returns the middleware of a guard. The next handler runs only if the
// guard lets the request in, with the guard's identity on its context, or none.
//
// A request keeps its Upgrade only if that is "websocket" or a protocol that
// AllowUpgrades of the guard's config names. Otherwise the guard and the next
// handler see a request without Upgrade, because the tunnel of a reverse proxy
// would lead past every guard. Either passes what both of its guards allow.
//
// Require panics if the guard is nil, and the middleware panics if its handler
// is nil.
func Require(g Guard) func(http.Handler) http.Handler {
	wire("Require", checkGuard(g))
	return protect("Require", g)
}

// protect is Require for a guard that has been checked. The caller is the
// exported function to name in a panic.
func protect(caller string, g Guard) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		wire(caller, checkHandler(next))
		allowed := upgradesOf(g)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, protocol := navigation.Upgrade(r, allowed)
			if id, ok := decide(g, w, r); ok {
				id.tellNonce(w)
				serveAs(w, upgradable(r, protocol), next, id, markOf(g, id))
			}
		})
	}
}

// upgrader is a guard whose config has AllowUpgrades.
type upgrader interface{ upgrades() []string }

// upgradesOf returns the protocols, besides websocket, that requests may be
// upgraded to behind g.
func upgradesOf(g Guard) []string {
	if own, ok := g.(upgrader); ok {
		return own.upgrades()
	}
	return nil
}

// tokenReader is a guard that knows which header holds the token.
type tokenReader interface{ tokenHeader() string }

// tokenHeaderOf returns the name of the header in which g looks for a token.
func tokenHeaderOf(g Guard) string {
	if own, ok := g.(tokenReader); ok {
		return own.tokenHeader()
	}
	return authorization
}

const authorization = "Authorization"

type upgradeKey struct{}

// upgradable tells IdentityHeaders which protocol a guard has let pass, besides
// websocket.
func upgradable(r *http.Request, protocol string) *http.Request {
	if protocol == "" || protocol == "websocket" {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), upgradeKey{}, []string{protocol}))
}

// madeGuard is a guard of this package. Its zero value does not work, so
// checkMade reports whether a constructor made it.
type madeGuard interface{ checkMade() error }

func checkGuard(g Guard) error {
	if made, ok := g.(madeGuard); ok {
		return made.checkMade()
	}
	if isNil(g) {
		return errors.New("the guard is nil")
	}
	return nil
}

func checkHandler(h http.Handler) error {
	if isNil(h) {
		return errors.New("the handler is nil")
	}
	return nil
}

// decide calls the guard's Check. If the request may not pass, decide lets the
// guard answer it. A panic of an application's guard, which has no answer, is
// logged and answered in JSON (RL8); those of this package answer their own.
func decide(g Guard, w http.ResponseWriter, r *http.Request) (id *Identity, ok bool) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			refuseAlone(w, r, errInternal.because(panicked(p)))
		}
	}()
	id, err := g.Check(r)
	if err != nil {
		g.Refuse(w, r, err)
		return nil, false
	}
	return id, true
}

// serveAs runs next with the identity on the context. A guard that lets pass as
// nobody hides the identity of a guard around it: that one vouched for another
// question.
func serveAs(w http.ResponseWriter, r *http.Request, next http.Handler, id *Identity, mark uncached.Mark) {
	bare := id == nil && IdentityFrom(r.Context()) == nil
	if mark == (uncached.Mark{}) {
		if !bare {
			r = r.WithContext(WithIdentity(r.Context(), id))
		}
		next.ServeHTTP(w, r)
		return
	}
	if h := w.Header(); len(h) > 0 {
		if said := h.Get("Cache-Control"); mark.Control == noStore && said != "" {
			h.Set("Cache-Control", noStore)
		} else if said != "" {
			mark.Control = said // a guard or handler around this one knows better
		}
	}
	if bare {
		new(uncached.Writer).Serve(w, r, next, mark)
		return
	}
	p := &passage{context: identified{r.Context(), id}}
	p.request = *r.WithContext(&p.context)
	p.out.Serve(w, &p.request, next, mark)
}

// passage is what a guard puts around the next handler: the context with the
// identity, the writer, and the request with that context. They are one value,
// because every request that passes needs all of them.
type passage struct {
	context identified
	out     uncached.Writer
	request http.Request
}

// identified is the context with the identity. It is a type of its own, so that
// whatever prints the context does not print the request beside it (CF7).
type identified struct {
	context.Context
	id *Identity
}

// Value implements context.Context.
func (c *identified) Value(key any) any {
	switch {
	case key == (identityKey{}):
		return c.id
	case key == (provenKey{}) && c.id != nil && c.id.proven != nil:
		return c.id.proven
	}
	return c.Context.Value(key)
}

const noStore = "no-store"

// markOf returns what caches have to know about the response behind g. A
// response that depends on a session or a token must not be cached (OAuth 2.0
// Security BCP §4.3). The handler may still set its own Cache-Control, because
// only it knows what it serves.
func markOf(g Guard, id *Identity) uncached.Mark {
	var m uncached.Mark
	if id != nil && id.Via == ViaSession {
		m = uncached.Mark{Control: noStore, Cookie: true}
	}
	if id != nil && (id.Via == ViaUMA || id.Via == ViaToken) {
		m = uncached.Mark{Control: noStore, Token: tokenHeaderOf(g)}
	}
	switch g.(type) {
	case *either: // the cookie decides, whoever lets the request pass
		m.Control, m.Cookie = noStore, true
	case optionalToken: // the same address gives another response with a token
		if id == nil {
			m = uncached.Mark{Control: "private", Token: tokenHeaderOf(g)}
		}
	case optional:
		if id == nil { // the same address gives another response with a session (CK8)
			m = uncached.Mark{Control: "private", Cookie: true}
		}
	}
	return m
}

// optional is a guard that also lets a request pass if the guard of sessions
// refuses it, but not if the check itself failed.
type optional struct{ sessionGuard }

// sessionGuard is a guard that lets in people who are signed in.
type sessionGuard interface {
	Guard
	upgrader
	// mayBeSignedIn reports whether the request has the cookie of a session.
	mayBeSignedIn(r *http.Request) bool
}

// Check implements Guard.
func (o optional) Check(r *http.Request) (*Identity, error) {
	if !o.mayBeSignedIn(r) {
		return nil, nil
	}
	id, err := o.sessionGuard.Check(r)
	if e, ok := errors.AsType[*Error](err); ok && e.Status < 500 {
		return nil, nil
	}
	return id, err
}

// perBrowser marks a response that sets or depends on a session, so that no
// cache stores it (CK8).
func perBrowser(h http.Header) {
	uncached.Vary(h, "Cookie")
	h.Set("Cache-Control", noStore)
}

// Either combines two guards for one handler: page for its owner's browser,
// and api for everybody the owner shared it with.
//
// A request with an Authorization header, or the TokenHeader of api, is checked by
// api only. For any other request the session decides. If the session does not let the request in, a
// navigation is sent to sign-in, or gets 403 if somebody is signed in. A form
// gets the page of RequireLogin, and a prefetch gets no ticket. Every other
// request gets the challenge of api. Requests from other sites and
// failures are answered by page.
//
// Either panics if a guard is nil.
func Either(page, api Guard) Guard {
	wire("Either, page", checkGuard(page))
	wire("Either, api", checkGuard(api))
	return &either{page: page, api: api}
}

type either struct{ page, api Guard }

// eitherRefusal is an error with the guard that has to answer it.
type eitherRefusal struct {
	by Guard
	error
}

func (e eitherRefusal) Unwrap() error { return e.error }

// Check implements Guard.
func (e *either) Check(r *http.Request) (*Identity, error) {
	if len(r.Header[tokenHeaderOf(e.api)]) > 0 {
		return judge(e.api, r)
	}
	id, err := e.page.Check(r)
	if err == nil {
		return id, nil
	}
	switch ErrorCode(err) {
	case errLoginRequired.code:
		if navigation.Is(r) || navigation.IsForm(r) || navigation.IsPrefetch(r) {
			return nil, eitherRefusal{e.page, err}
		}
	case errForbidden.code, errStepUp.code:
		if navigation.Is(r) || navigation.IsForm(r) || navigation.IsPrefetch(r) {
			return nil, eitherRefusal{e.page, errForbidden.because(err)}
		}
	default: // a request from another site, or a store that fails, never gets a challenge
		return nil, eitherRefusal{e.page, err}
	}
	return judge(e.api, r)
}

func judge(g Guard, r *http.Request) (*Identity, error) {
	id, err := g.Check(r)
	if err != nil {
		return nil, eitherRefusal{g, err}
	}
	return id, nil
}

// tokenHeader implements tokenReader.
func (e *either) tokenHeader() string { return tokenHeaderOf(e.api) }

// upgrades implements upgrader: which half lets the request pass is not known
// before both are asked.
func (e *either) upgrades() []string {
	api := upgradesOf(e.api)
	return slices.DeleteFunc(slices.Clone(upgradesOf(e.page)), func(p string) bool { return !slices.Contains(api, p) })
}

// Refuse implements Guard.
func (e *either) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	uncached.Vary(w.Header(), "Cookie") // the response would differ with another session cookie
	if half, ok := err.(eitherRefusal); ok {
		half.by.Refuse(w, r, half.error)
		return
	}
	e.api.Refuse(w, r, err)
}
