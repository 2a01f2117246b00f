package gatehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/inbound"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// RelyingParty signs people in at one provider and guards pages for them. It
// is safe for concurrent use.
type RelyingParty struct {
	provider *Provider
	sessions *Sessions
	client   Client
	config   RelyingPartyConfig
	redirect *url.URL
	asked    authresponse.Kind // what the provider is asked to answer with
	need     []Requirement
	asks     AuthRequest // of With
	usual    signInAsks  // of a sign-in of which nobody wants more
	cross    *http.CrossOriginProtection
	paths    *ownPaths
	gather   *gatherers
	hosts    *navigation.Hosts
	refused  *refusals
	bodies   *inbound.Bodies
	others   []*RelyingParty // whose sessions count, if this stands for them (Logins)

	elsewhere []claimsProvider // whose claims count besides those of provider

	scopes []string // of most sessions: what is asked for without a requirement
	scope  string   // the same as one text

	home          string // what the keys of our sessions are bound to
	cookie        string // name of the session cookie
	attemptPrefix string // prefix of the names of attempt cookies
	logoutCookie  string // name of the cookie of a pending logout
	binding       string // context that sealed cookies are bound to
	secure        bool   // cookies are Secure and have the __Host- prefix
}

// NewRelyingParty returns a RelyingParty that signs people in at p. It does no
// I/O. Its error lists every problem of the config.
func NewRelyingParty(p *Provider, c RelyingPartyConfig) (*RelyingParty, error) {
	redirect, cross, err := c.complete(p)
	if err != nil {
		return nil, err
	}
	rp := &RelyingParty{provider: p, client: c.Client, redirect: redirect, config: c, cross: cross, sessions: c.Sessions, paths: newOwnPaths(redirect, &c), gather: &gatherers{}, hosts: &navigation.Hosts{}, refused: &refusals{}, bodies: &inbound.Bodies{}, asked: askedKind(&c), elsewhere: newClaimsProviders(c.ClaimsProviders)}
	if rp.usual, err = rp.asksFor(rp.asks); err != nil {
		return nil, err
	}
	rp.scopes = rp.scopesOf("")
	rp.scope = strings.Join(rp.scopes, " ")
	rp.nameCookies()
	if err := rp.sessions.attach(rp); err != nil { // another one was attached meanwhile
		var wrong problems
		wrong.wrap("Sessions", err)
		return nil, wrong.in("NewRelyingParty")
	}
	rp.tellAsked()
	rp.tellClaimsProviders()
	return rp, nil
}

// Sessions returns RelyingPartyConfig.Sessions, or the in-memory Sessions that
// NewRelyingParty made if that is nil.
func (rp *RelyingParty) Sessions() *Sessions { return rp.sessions }

// Shutdown ends the contexts of Live, and waits until the work that requests left
// behind is done, or until ctx is done. It includes the work of the Sessions, the
// OwnerGrants, the Provider and the ClaimsProviders. Stop serving requests before calling it, or see
// Live.
func (rp *RelyingParty) Shutdown(ctx context.Context) error {
	if rp.checkMade() != nil {
		return nil // it has started nothing
	}
	rp.endLive()
	parts := []interface{ Shutdown(context.Context) error }{rp.sessions, rp.config.OwnerGrants, rp.client.prover, rp.provider}
	for _, p := range rp.elsewhere {
		parts = append(parts, p.Provider)
	}
	return errors.Join(rp.bodies.Wait(ctx), Shutdown(ctx, parts...))
}

// With returns a guard that additionally asks for the requirements. It shares
// everything else with rp and does not change rp. With panics if a requirement
// cannot work, such as the zero Requirement.
func (rp *RelyingParty) With(requirements ...Requirement) *RelyingParty {
	wire("With", rp.checkMade())
	for _, q := range requirements {
		wire("With", rp.checkRequirement(q))
	}
	derived := *rp
	derived.need = slices.Clip(slices.Clone(rp.need))
	for _, q := range requirements {
		if q.ask != nil {
			derived.asks = derived.asks.join(*q.ask)
		}
		if q.met != nil || q.step.grant {
			derived.need = append(derived.need, q)
		}
	}
	var err error
	derived.usual, err = rp.asksFor(derived.asks)
	wire("With", err)
	wire("With", checkNeed(derived.need))
	return &derived
}

func (rp *RelyingParty) checkRequirement(q Requirement) error {
	switch {
	case q.met == nil && !q.step.grant && q.ask == nil:
		return errors.New("the Requirement is the zero value, which requires nothing")
	case q.fresh:
		return errors.New("NotRevoked is for access tokens; a session ends with Sessions.Revoke")
	case q.step.grant && rp.config.OwnerGrants == nil:
		return errors.New("OwnerGrant needs RelyingPartyConfig.OwnerGrants")
	}
	return nil
}

// checkMade implements madeGuard.
func (rp *RelyingParty) checkMade() error {
	if rp == nil || rp.sessions == nil {
		return errors.New("the RelyingParty was not made by NewRelyingParty")
	}
	return nil
}

// RequireLogin serves next only to people who are signed in and meet the
// requirements. A navigation is sent to sign-in if that can help, and comes
// back afterwards. Any other request is refused: with 401 if nobody is signed
// in, with 403 if a requirement is not met. If signing in can help, the JSON
// body names LoginURL, and a posted form gets a page that says that it was not
// saved, with a link that signs in and opens the page of the form.
//
// Responses of next are marked "Cache-Control: no-store" and "Vary: Cookie". A
// Cache-Control that next sets itself takes precedence. RequireLogin panics if
// next is nil.
func (rp *RelyingParty) RequireLogin(next http.Handler) http.Handler {
	wire("RequireLogin", rp.checkMade())
	return protect("RequireLogin", rp)(next)
}

// OptionalLogin serves next to everybody. The identity is on the context if
// somebody is signed in and meets the requirements. It never redirects. An
// unsafe request from another site is served without an identity. If the store
// fails, the answer is 503, because nobody knows then whether the person is
// signed in.
//
// Responses without an identity are marked "Cache-Control: private", unless
// another Cache-Control is set. The others are marked as RequireLogin does.
// OptionalLogin panics if next is nil.
func (rp *RelyingParty) OptionalLogin(next http.Handler) http.Handler {
	wire("OptionalLogin", rp.checkMade())
	return protect("OptionalLogin", optional{rp})(next)
}

// upgrades implements upgrader.
func (rp *RelyingParty) upgrades() []string { return rp.config.AllowUpgrades }

// Check implements Guard. It returns the identity of the request's session. A
// request with an Upgrade is judged as an unsafe method. A caller that serves
// the request itself has to remove an Upgrade that it does not want, as
// IdentityHeaders does.
func (rp *RelyingParty) Check(r *http.Request) (id *Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			id, err = nil, rp.provider.panicIn(r.Context(), p)
		}
	}()
	if err := rp.checkMade(); err != nil {
		return nil, errInternal.because(err)
	}
	return rp.check(r)
}

func (rp *RelyingParty) check(r *http.Request) (*Identity, error) {
	if err := rp.checkOrigin(r); err != nil {
		return nil, err
	}
	live, err := rp.load(r)
	if errors.Is(err, session.ErrNone) {
		return nil, errLoginRequired.because(nil)
	}
	if err != nil {
		return nil, err
	}
	return rp.admit(r, live)
}

// admit decides whether a live session of ours may pass.
func (rp *RelyingParty) admit(r *http.Request, live *liveSession) (*Identity, error) {
	if outer := IdentityFrom(r.Context()); outer != nil && outer.session != nil && outer.session.stuck != nil && outer.session.party.sessions == rp.sessions {
		live.stuck, live.touchDue = outer.session.stuck, false // a guard around this one has waited, and said so
	}
	if err := live.renew(r.Context()); err != nil {
		return nil, about(live.who.Subject, err)
	}
	live.touch(r.Context())
	id := live.identity()
	if err := rp.meet(r, live, id); err != nil {
		return nil, about(id.Subject, err)
	}
	return id, nil
}

// checkOrigin refuses unsafe requests from other sites (decision 15). A request
// with an Upgrade counts as unsafe: a WebSocket handshake is a GET, but other
// sites can send it with our cookies.
func (rp *RelyingParty) checkOrigin(r *http.Request) error {
	judged := r
	if len(r.Header["Upgrade"]) > 0 || r.Method == http.MethodConnect {
		judged = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	}
	if err := rp.cross.Check(judged); err != nil {
		return errCrossOrigin.because(fmt.Errorf("%w: %s", err, navigation.WhereFrom(r)))
	}
	return nil
}

// checkNoLink is checkOrigin for a request that a page of another site must not
// cause, not even by a link.
func (rp *RelyingParty) checkNoLink(r *http.Request) error {
	return rp.checkOrigin(&http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL})
}

// refusal lists the unmet requirements, the scopes that the session has, and
// what its sign-in had to meet if that was just now. From them Refuse learns what
// a sign-in must ask for.
type refusal struct {
	unmet  []Requirement
	scopes []string
	asked  []byte
}

func (e *refusal) Error() string { return "unmet: " + requirementNames(e.unmet) }

func requirementNames(list []Requirement) string {
	names := make([]string, 0, len(list))
	for _, q := range list {
		names = append(names, q.name)
	}
	return strings.Join(names, ", ")
}

// stepUpWithin limits step-up to one sign-in. If a requirement is still not
// met within this time after signing in for it, the answer is 403.
const stepUpWithin = time.Minute

// meet checks the requirements, at every request.
func (rp *RelyingParty) meet(r *http.Request, live *liveSession, id *Identity) error {
	if len(rp.need) == 0 {
		return nil
	}
	var unmet []Requirement
	helps := true
	now := rp.sessions.now()
	digest, asked := rp.needDigest(), live.asked
	// again means that this session has just signed in to meet these
	// requirements.
	again := len(digest) > 0 && bytes.HasPrefix(asked, digest)
	if again {
		// The provider has checked max_age by its own clock, and the redirect
		// back took time. For this minute we rely on its decision.
		now = now.Add(-token.ClockSkew - stepUpWithin)
	}
	for _, q := range rp.need {
		ok, err := rp.isMet(r, q, id, now)
		if err != nil {
			return asError(err, errRequirement)
		}
		if !ok {
			unmet = append(unmet, q)
			helps = helps && q.step.helps
		}
	}
	if len(unmet) == 0 {
		return nil
	}
	if oneAtATime(unmet) && askedBefore(asked, digest) {
		again = true
	}
	if !helps || again && !onlyGrant(unmet) {
		return errForbidden.because(&refusal{unmet: unmet})
	}
	return errStepUp.because(&refusal{unmet, id.Scopes, asked})
}

// maxAsked bounds the digests in Asked: the guards that may lie around one
// another, each with an ACR, without a loop between them.
const maxAsked = 4

// oneAtATime reports whether a sign-in that meets the requirements may undo what
// the one before it met: a session has one acr, and the claims that were asked for
// last.
func oneAtATime(unmet []Requirement) bool {
	return slices.ContainsFunc(unmet, func(q Requirement) bool { return len(q.step.acr) > 0 || q.step.claims })
}

// askedBefore reports whether one of the sign-ins that just followed one another
// had to meet the requirements of that digest. Two guards that want different
// values of acr, or different claims, would send a browser back and forth.
func askedBefore(asked, digest []byte) bool {
	for d := range slices.Chunk(asked, digestSize) {
		if bytes.Equal(d, digest) {
			return true
		}
	}
	return false
}

func (rp *RelyingParty) isMet(r *http.Request, q Requirement, id *Identity, now time.Time) (ok bool, err error) {
	defer func() {
		if p := recover(); p != nil { // the line about it names the person
			ok, err = false, rp.provider.panicIn(r.Context(), p)
		}
	}()
	if q.step.grant {
		return rp.config.OwnerGrants.Has(r.Context(), id.Subject)
	}
	return q.met(r, id, now)
}

// needDigest returns a digest of what this guard asks of a sign-in. A session
// keeps it to recognise the same guard.
func (rp *RelyingParty) needDigest() []byte {
	if len(rp.need) == 0 {
		return nil
	}
	names := make([]string, 0, len(rp.need))
	for _, q := range rp.need {
		names = append(names, q.name)
	}
	return digest(names...)
}

// onlyGrant reports whether only the owner's grant is missing. It can be
// requested without signing in again.
func onlyGrant(unmet []Requirement) bool {
	return len(unmet) > 0 && !slices.ContainsFunc(unmet, func(q Requirement) bool { return !q.step.grant })
}
