package gatehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"example.com/gatehouse/internal/navigation"
)

// Via is how a request proved its identity.
type Via string

// The values of Via.
const (
	ViaSession Via = "session" // a sign-in of this browser
	ViaUMA     Via = "uma"     // a requesting party token
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
	// Subject is the person's identifier at the issuer. Behind UMAProtect it
	// is empty if the authorization server does not report it.
	Subject string
	// ClientID is the client that the token was issued to. In a session it is
	// our own client.
	ClientID string
	// Via is the kind of credential that let the request in.
	Via Via
	// AuthTime is when the person last authenticated at the provider. It is
	// zero if the provider did not report it.
	AuthTime time.Time
	// Scopes are the scopes granted to the session's access token.
	Scopes []string
	// Granted are the UMA scopes that the token holds on the resource, or on
	// the first one if the Permission names several.
	Granted []string
	// Expires is when the session or token ends at the latest.
	Expires time.Time

	claims  json.RawMessage
	session *liveSession
}

// Claims decodes the claims about the person into v. For a session they come
// from the ID Token and the user info, for a token from introspection. As with
// encoding/json, fields of v without a claim keep their value.
func (id *Identity) Claims(v any) error {
	if len(id.claims) == 0 {
		return nil
	}
	if err := json.Unmarshal(id.claims, v); err != nil {
		return fmt.Errorf("gatehouse: claims: %w", err)
	}
	return nil
}

// ClaimString returns the claim of that name if it is a string, and ""
// otherwise.
func (id *Identity) ClaimString(name string) string {
	s, _ := id.claim(name).(string)
	return s
}

func (id *Identity) claim(name string) any {
	var all map[string]any
	if json.Unmarshal(id.claims, &all) != nil {
		return nil
	}
	return all[name]
}

// SetClaim sets one claim. A nil value removes it. SetClaim is for
// RelyingPartyConfig.OnSignIn, custom guards and tests. Do not call it on an
// identity that is already on a context.
func (id *Identity) SetClaim(name string, value any) error {
	all := map[string]json.RawMessage{}
	if len(id.claims) > 0 {
		if err := json.Unmarshal(id.claims, &all); err != nil {
			return fmt.Errorf("gatehouse: claims: %w", err)
		}
	}
	if value == nil {
		delete(all, name)
	} else {
		b, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("gatehouse: claim %q: %w", name, err)
		}
		all[name] = b
	}
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("gatehouse: claims: %w", err)
	}
	id.claims = b
	return nil
}

type identityKey struct{}

// IdentityFrom returns the identity that a guard put on ctx. It returns nil if
// no guard ran, or if the guard let the request in without an identity
// (OptionalLogin, Public).
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
// guard lets the request in, with the identity on its context. Require panics
// if the guard is nil, and the middleware panics if its handler is nil.
func Require(g Guard) func(http.Handler) http.Handler {
	wire("Require", checkGuard(g))
	return protect("Require", g)
}

// protect is Require for a guard that has been checked. The caller is the
// exported function to name in a panic.
func protect(caller string, g Guard) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		wire(caller, checkHandler(next))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id, ok := decide(g, w, r); ok {
				serveAs(w, r, next, id)
			}
		})
	}
}

// wire panics if err is not nil. It reports mistakes in putting the parts
// together when the program starts, not at the first request.
func wire(caller string, err error) {
	if err != nil {
		panic("gatehouse: " + caller + ": " + err.Error())
	}
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

// isNil also finds a nil function or pointer in the interface, whose first
// request would cut the connection.
func isNil(part any) bool {
	v := reflect.ValueOf(part)
	return part == nil || (v.Kind() == reflect.Func || v.Kind() == reflect.Pointer) && v.IsNil()
}

// panicAnswerer is a guard that answers panics of its own parts.
type panicAnswerer interface {
	panicked(w http.ResponseWriter, r *http.Request, p any)
}

// decide calls the guard's Check. If the request may not pass, decide lets the
// guard answer it.
func decide(g Guard, w http.ResponseWriter, r *http.Request) (id *Identity, ok bool) {
	if own, is := g.(panicAnswerer); is {
		defer func() {
			if p := recover(); p != nil {
				own.panicked(w, r, p)
			}
		}()
	}
	id, err := g.Check(r)
	if err != nil {
		g.Refuse(w, r, err)
		return nil, false
	}
	return id, true
}

// serveAs runs next with the identity on the context. A response that depends
// on a session must not be cached (OAuth 2.0 Security BCP §4.3). The handler
// may still set its own Cache-Control, because only it knows what it serves.
func serveAs(w http.ResponseWriter, r *http.Request, next http.Handler, id *Identity) {
	if id == nil {
		next.ServeHTTP(w, r)
		return
	}
	if id.Via == ViaSession {
		perBrowser(w.Header())
	}
	next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), id)))
}

// optional is a guard that also lets a request pass if the relying party
// refuses it, but not if the check itself failed.
type optional struct{ *RelyingParty }

// Check implements Guard.
func (o optional) Check(r *http.Request) (*Identity, error) {
	if _, ok := o.sessionRef(r); !ok {
		return nil, nil
	}
	id, err := o.RelyingParty.Check(r)
	if e, ok := errors.AsType[*Error](err); ok && e.Status < 500 {
		return nil, nil
	}
	return id, err
}

// anonymous marks a response to a request without an identity as private,
// because the same address gives another response with a session (CK8).
func anonymous(h http.Header) {
	varyCookie(h)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private")
	}
}

// perBrowser marks a response that sets or depends on a session, so that no
// cache stores it (CK8).
func perBrowser(h http.Header) {
	varyCookie(h)
	h["Cache-Control"] = []string{"no-store"}
}

func varyCookie(h http.Header) {
	if vary := h["Vary"]; !slices.Contains(vary, "Cookie") {
		h["Vary"] = append(vary, "Cookie")
	}
}

// Either combines two guards for one handler: page for its owner's browser,
// and api for everybody the owner shared it with.
//
// A request with an Authorization header is checked by api only. For any other
// request the session decides. If the session does not let the request in, a
// navigation is sent to sign-in, or gets 403 if somebody is signed in. Every
// other request gets the challenge of api. Requests from other sites and
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
	if len(r.Header.Values("Authorization")) > 0 {
		return judge(e.api, r)
	}
	id, err := e.page.Check(r)
	if err == nil {
		return id, nil
	}
	switch ErrorCode(err) {
	case errLoginRequired.code:
		if navigation.Is(r) {
			return nil, eitherRefusal{e.page, err}
		}
	case errForbidden.code, errStepUp.code:
		if navigation.Is(r) {
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

func (e *either) panicked(w http.ResponseWriter, r *http.Request, p any) {
	if own, is := e.page.(panicAnswerer); is {
		own.panicked(w, r, p)
		return
	}
	panic(p)
}

// Refuse implements Guard.
func (e *either) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	varyCookie(w.Header()) // the response would differ with another session cookie
	if half, ok := err.(eitherRefusal); ok {
		half.by.Refuse(w, r, half.error)
		return
	}
	e.api.Refuse(w, r, err)
}
