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
)

// Via says how a request proved who it is for.
type Via string

// The ways an Identity comes about.
const (
	ViaSession Via = "session" // a sign-in of this browser
	ViaUMA     Via = "uma"     // a requesting party token
)

// Identity is who a request is for, as a guard of this package established it.
// Key people by the pair (Issuer, Subject): a subject alone is unique at one
// issuer only, and an e-mail address may pass to somebody else.
//
// An Identity is read-only once it is on a context.
type Identity struct {
	// Issuer is the provider or authorization server that vouches for it.
	Issuer string
	// Subject is the person's identifier at the issuer. Behind UMAProtect it is
	// empty when the authorization server does not tell it.
	Subject string
	// ClientID is the client the token was issued to; in a session it is ours.
	ClientID string
	// Via says which kind of guard let the request in.
	Via Via
	// AuthTime is when the person last authenticated at the provider; zero when
	// the provider did not say.
	AuthTime time.Time
	// Scopes are the scopes granted to the session's access token.
	Scopes []string
	// Granted are the UMA scopes that the permission gives on the resource.
	Granted []string
	// Expires is when the session or token ends at the latest.
	Expires time.Time

	claims  json.RawMessage
	session *liveSession
}

// Claims decodes the claims about the person into v: those of the ID Token and
// the user info of a session, what introspection said of a token. Like
// encoding/json it leaves fields alone for which there is no claim.
func (id *Identity) Claims(v any) error {
	if len(id.claims) == 0 {
		return nil
	}
	if err := json.Unmarshal(id.claims, v); err != nil {
		return fmt.Errorf("gatehouse: claims: %w", err)
	}
	return nil
}

// ClaimString returns the claim of that name if it is a string, otherwise "".
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

// SetClaim sets one claim, for RelyingPartyConfig.OnSignIn, for custom guards
// and for tests. A nil value takes the claim away. Do not call it on an
// identity that is on a context already.
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

// IdentityFrom returns the identity that a guard put on ctx, nil when none ran
// or when the guard let the request in without one (OptionalLogin, Public).
func IdentityFrom(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}

// WithIdentity returns a context that carries id, for tests and custom guards.
func WithIdentity(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// Guard decides whether a request may pass, and answers it if not. It is two
// halves: Check decides and writes nothing; Refuse writes the answer to the
// error that Check gave for the same request. Guards are safe for concurrent
// use.
type Guard interface {
	// Check returns who the request is for, or why it may not pass. A nil
	// identity with a nil error lets the request pass as nobody.
	Check(r *http.Request) (*Identity, error)
	// Refuse answers a request that Check refused with err.
	Refuse(w http.ResponseWriter, r *http.Request, err error)
}

// Require makes the middleware of a guard: the next handler runs only when the
// guard let the request in, with the identity on its context. It panics without a
// guard, and so does the middleware without a handler.
func Require(g Guard) func(http.Handler) http.Handler {
	wire("Require", checkGuard(g))
	return protect("Require", g)
}

// protect is Require for a guard that was checked. caller is whom the application
// called.
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

// wire panics where the application put its parts together in a way that cannot
// work. It shows when the program starts, not at the first request.
func wire(caller string, err error) {
	if err != nil {
		panic("gatehouse: " + caller + ": " + err.Error())
	}
}

// madeGuard is a guard of this package that only its constructor can make.
type madeGuard interface{ checkMade() error }

func checkGuard(g Guard) error {
	switch g := g.(type) {
	case nil:
		return errors.New("the guard is nil")
	case madeGuard:
		return g.checkMade()
	}
	return nil
}

func checkHandler(h http.Handler) error {
	if f, ok := h.(http.HandlerFunc); h == nil || ok && f == nil {
		return errors.New("the handler is nil")
	}
	return nil
}

// decide asks the guard, and lets it answer the request that may not pass.
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

// serveAs runs next for id. What depends on a session is not for caches
// (OAuth 2.0 Security BCP §4.3). The handler may say otherwise by a
// Cache-Control of its own: it knows what it serves, we do not.
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

// optional lets everybody pass whom the relying party does not know.
type optional struct{ *RelyingParty }

// Check implements Guard.
func (o optional) Check(r *http.Request) (*Identity, error) {
	id, err := o.RelyingParty.Check(r)
	if e, ok := errors.AsType[*Error](err); err == nil || ok && e.Status >= 500 {
		return id, err
	}
	return nil, nil
}

// anonymous marks the answer to nobody in particular: with a session it would
// be another one (CK8).
func anonymous(h http.Header) {
	varyCookie(h)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private")
	}
}

// perBrowser marks an answer that sets or depends on a session: it is kept
// nowhere (CK8).
func perBrowser(h http.Header) {
	varyCookie(h)
	h.Set("Cache-Control", "no-store")
}

func varyCookie(h http.Header) {
	if !slices.Contains(h["Vary"], "Cookie") {
		h.Add("Vary", "Cookie")
	}
}

// Either is the guard of a page for its owner that is also an API for
// everybody whom the owner let in. A request with an Authorization header is
// judged by api alone. Otherwise the session decides; where it does not let
// in, a navigation without a session is sent to sign-in, one with a session
// gets 403, and everything else gets the challenge of api. It panics where one of
// them is nil.
func Either(page, api Guard) Guard {
	wire("Either, page", checkGuard(page))
	wire("Either, api", checkGuard(api))
	return &either{page: page, api: api}
}

type either struct{ page, api Guard }

// eitherRefusal remembers which half has to answer.
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
	default: // another site's request, a store in trouble: never a challenge
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
	varyCookie(w.Header()) // with a session the answer would be another one
	if half, ok := err.(eitherRefusal); ok {
		half.by.Refuse(w, r, half.error)
		return
	}
	e.api.Refuse(w, r, err)
}
