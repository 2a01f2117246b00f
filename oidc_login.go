package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/seal"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

const (
	// maxAttempts bounds the attempt cookies of one browser together, at all
	// relying parties of a Sessions, in bytes of the Cookie header. With the
	// rest of a header they stay below the 8 KiB of common proxies. Eight with
	// ordinary paths fit whole, and two dozen without their paths.
	maxAttempts = 6 << 10
	// maxAttemptsSeen bounds how many attempt cookies of one request are
	// looked at: as many cookies as browsers keep for one host.
	maxAttemptsSeen = 180

	// pageLife is how much longer than the attempt its cookie lives, so that
	// "Try again" still leads to the page after a long break.
	pageLife = 50 * time.Minute

	// digestSize is the length of the digests that recognise a session or a
	// set of requirements. It is enough to tell them apart, but not for
	// security.
	digestSize = 8
)

// LoginHandler starts a sign-in on GET, or on POST from our own pages.
// Afterwards the person returns to the path in the parameter "return_to" of the
// address or of the form. An absolute address of this site works too.
// Prefetches and frames do not start a sign-in; they get 403.
//
// It is also the initiate_login_uri, at which another site starts a sign-in with
// GET or POST (OpenID Connect Core §4): iss must be our provider's issuer, or the
// answer is 400; login_hint is passed on unless the application has one of its
// own; and target_link_uri is where the person goes afterwards, in the place of
// return_to and checked like it. No other parameter reaches the provider. With
// ResponseMode "form_post", a POST of another site is redirected here once more,
// with the same parameters, because it has no cookies.
func (rp *RelyingParty) LoginHandler() http.Handler {
	wire("LoginHandler", rp.checkMade())
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := rp.startLogin(w, r)
		if err != nil {
			rp.refuse(w, r, err)
			return
		}
		rp.depart(w, d)
	}))
}

// AuthURL starts a sign-in and returns the address at the provider to redirect
// to. It sets the attempt's cookie on w, and marks the response "Cache-Control:
// no-store" and "Vary: Cookie". After sign-in the person returns to the path
// returnTo, or to HomeURL if returnTo is neither a path nor an absolute address
// of this site, or longer than 2,000 bytes. For HEAD and for a prefetch, it
// returns an error and starts nothing. Errors are *Error, such as
// "provider_unavailable" (503); Refuse answers them.
func (rp *RelyingParty) AuthURL(w http.ResponseWriter, r *http.Request, returnTo string) (string, error) {
	if err := rp.checkMade(); err != nil {
		return "", errInternal.because(err)
	}
	if err := rp.mayStart(w, r); err != nil {
		return "", err
	}
	d, err := rp.start(w, r, returnTo, "")
	if err != nil {
		return "", err
	}
	return d.address(), nil
}

// start begins a sign-in, with the login_hint of a third-party start.
func (rp *RelyingParty) start(w http.ResponseWriter, r *http.Request, returnTo, hint string) (departure, error) {
	a := rp.newAttempt(r, returnTo)
	if err := rp.ask(r, a, hint); err != nil {
		return departure{}, err
	}
	return rp.begin(w, r, a)
}

// newAttempt returns an attempt that asks for everything this guard requires
// and a sign-in can provide. The owner's grant is requested later, once it is
// known who has signed in.
func (rp *RelyingParty) newAttempt(r *http.Request, returnTo string) *attempt.Attempt {
	a := attempt.New(rp.sessions.now())
	a.From, a.Asked, a.ReturnTo = rp.sessionDigest(r), rp.needDigest(), rp.wayBack(r, returnTo)
	for _, q := range rp.need {
		if q.step.aged {
			a.AskAge(q.step.maxAge)
		}
		a.AskScopes(q.step.scopes...)
	}
	acr, _ := acrOf(rp.need)
	a.ACR = strings.Join(acr, " ")
	return a
}

// returnPath returns the path to go to after sign-in. It is wish if that is a
// path, or an absolute address, of this site that a GET may safely open (R1,
// RT6), and HomeURL otherwise.
func (rp *RelyingParty) returnPath(wish string) (path string, ok bool) {
	if !strings.HasPrefix(wish, "/") {
		wish = navigation.OwnPath(wish, siteOf(rp.redirect))
	}
	target, ok := navigation.ReturnPath(wish, rp.ownAddresses()...)
	if !ok {
		return rp.config.HomeURL, false
	}
	return target, true
}

// wayBack is returnPath for a wish of this request. What is not taken is logged.
func (rp *RelyingParty) wayBack(r *http.Request, wish string) string {
	path, ok := rp.returnPath(wish)
	if !ok && wish != "" {
		rp.tellDropped(r, wish, "it is not a path of this site to which a sign-in may return")
	}
	return path
}

// begin sets the attempt's cookie and returns the authorization request (OpenID
// Connect Core §3.1.2.1).
func (rp *RelyingParty) begin(w http.ResponseWriter, r *http.Request, a *attempt.Attempt) (departure, error) {
	if err := rp.checkHeaderSize(r); err != nil { // refuse now what the callback would refuse after sign-in
		return departure{}, err
	}
	rp.noteHost(r)
	who, err := rp.provider.whoSince(r.Context(), &rp.client, a.Begin)
	if err != nil {
		return departure{}, err
	}
	md, err := rp.provider.signInMetadata(r.Context(), who, rp.config.SkipUserInfo, rp.asked)
	if err != nil {
		return departure{}, err
	}
	a.Answer, a.Beside = rp.asked.Pack(), rp.withheld(r)
	if a.Grant {
		a.Scopes = strings.Join(rp.config.OwnerGrants.scopes(r.Context()), " ")
	}
	more, err := rp.params(a)
	if err != nil {
		return departure{}, err
	}
	scopes, acr := rp.scopesOf(a.Scopes), a.ACR // all of them, whatever fits into the cookie
	if err := rp.writeAttempt(w, r, a); err != nil {
		return departure{}, err
	}
	config := oauth2.Config{
		ClientID: who.ID, RedirectURL: rp.config.RedirectURL, Scopes: scopes,
	}
	options := append(rp.responseOptions(a), oidc.Nonce(a.Nonce()))
	if a.Aged {
		options = append(options, oauth2.SetAuthURLParam("max_age", fmt.Sprint(int64(a.MaxAge/time.Second))))
	}
	if acr != "" { // what a page requires counts, and no parameter may be repeated (RFC 6749 §3.1)
		options = append(options, oauth2.SetAuthURLParam("acr_values", acr))
		more = maps.Clone(more)
		delete(more, "acr_values")
	}
	d := departure{endpoint: md.AuthorizationEndpoint, params: strings.TrimPrefix(config.AuthCodeURL(a.State(), options...), "?")}
	if len(more) > 0 { // appended, because resource may be repeated (RFC 8707 §2)
		d.params += "&" + more.Encode()
	}
	return d, nil
}

// scopesOf returns the scopes that an attempt asks for which needs more than the
// usual ones, openid first.
func (rp *RelyingParty) scopesOf(more string) []string {
	if more == "" && rp.scopes != nil {
		return rp.scopes
	}
	scopes := []string{oidc.ScopeOpenID}
	for _, s := range slices.Concat(rp.config.Scopes, strings.Fields(more)) {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// attemptName returns the name of the cookie of the attempt with that state.
func (rp *RelyingParty) attemptName(state string) string {
	return rp.attemptPrefix + state[:8]
}

// writeAttempt sets the attempt's cookie and makes room for it.
func (rp *RelyingParty) writeAttempt(w http.ResponseWriter, r *http.Request, a *attempt.Attempt) error {
	ring, err := rp.ring(r)
	if err != nil {
		return err
	}
	name, wish := rp.attemptName(a.State()), a.ReturnTo
	value := a.Seal(ring, rp.binding+name)
	if a.ReturnTo != wish {
		rp.tellDropped(r, wish, "it does not fit into a cookie")
	}
	rp.trimAttempts(w, r, attempt.Sealed{Name: name, Value: value}.Size())
	rp.setAttempt(w, name, value, a, attempt.Life+pageLife)
	return nil
}

// readAttempt opens the attempt that state belongs to. Its cookie is bound to
// this relying party and to the cookie's name (RFC 9700 §4.7). If the attempt
// has expired, readAttempt returns it along with the error, for the page that
// the person came for.
func (rp *RelyingParty) readAttempt(r *http.Request, state string) (*attempt.Attempt, error) {
	if !attempt.ValidState(state) {
		return nil, errStateUnknown.because(errors.New("state is not one of ours"))
	}
	name := rp.attemptName(state)
	value, found := navigation.Cookie(r, name)
	if !found {
		return nil, errStateUnknown.because(errors.New("no attempt cookie for this state"))
	}
	a, err := rp.openAttempt(r, rp.binding+name, value)
	if err != nil {
		return nil, err
	}
	if err := a.Check(state, rp.sessions.now()); !errors.Is(err, attempt.ErrUnknown) {
		return a, err
	}
	return nil, errStateUnknown.because(errors.New("state does not belong to the attempt"))
}

func (rp *RelyingParty) openAttempt(r *http.Request, binding, value string) (*attempt.Attempt, error) {
	ring, err := rp.ring(r)
	if err != nil {
		return nil, err
	}
	a, err := attempt.Open(ring, binding, value)
	if errors.Is(err, seal.ErrUnknownKey) {
		if again, ok := rp.sessions.keeper.Reread(r.Context()); ok {
			a, err = attempt.Open(again, binding, value)
		}
	}
	return a, err
}

// ring returns the keys that seal cookies, and reports once that the key in the
// store was garbage.
func (rp *RelyingParty) ring(r *http.Request) (*seal.Ring, error) {
	ring, err := rp.sessions.keeper.Ring(r.Context())
	if err != nil {
		return nil, asError(err, errStoreUnavailable)
	}
	if rp.sessions.keeper.ReplacedKey() {
		rp.provider.emit(r.Context(), Event{Name: EventTrouble, Code: troubleGarbage, ClientID: rp.client.told(),
			Err: errors.New("what the store held as the key of sign-ins under way was no key; a new one took its place")})
	}
	return ring, nil
}

// attemptCookies returns the attempts that the request carries, unopened: those
// of every relying party of the Sessions, because a browser sends them all.
func (rp *RelyingParty) attemptCookies(r *http.Request) (have []attempt.Sealed) {
	doors := rp.sessions.allDoors()
	for _, c := range r.Cookies() {
		i := slices.IndexFunc(doors, func(door *RelyingParty) bool { return strings.HasPrefix(c.Name, door.attemptPrefix) })
		if i >= 0 && len(have) < maxAttemptsSeen {
			have = append(have, attempt.Sealed{Name: c.Name, Value: c.Value, Binding: doors[i].binding + c.Name})
		}
	}
	return have
}

// sizes is what attempts take in a Cookie header together, in bytes.
func sizes(have []attempt.Sealed) (n int) {
	for _, c := range have {
		n += c.Size()
	}
	return n
}

// attemptsOf returns the attempts that the request carries. The error is that
// of reading the keys.
func (rp *RelyingParty) attemptsOf(r *http.Request) ([]attempt.Sealed, error) {
	have := rp.attemptCookies(r)
	return have, rp.openAll(r, have)
}

// openAll opens those attempts that are ours.
func (rp *RelyingParty) openAll(r *http.Request, have []attempt.Sealed) error {
	if len(have) == 0 {
		return nil
	}
	if _, err := rp.ring(r); err != nil {
		return err
	}
	for i, c := range have {
		have[i].Attempt, _ = rp.openAttempt(r, c.Binding, c.Value)
	}
	return nil
}

// trimAttempts keeps the attempts of a browser within maxAttempts, of which
// more bytes are spoken for already. The oldest lose their return path, and then
// they go.
func (rp *RelyingParty) trimAttempts(w http.ResponseWriter, r *http.Request, more int) {
	have := slices.DeleteFunc(rp.attemptCookies(r), func(c attempt.Sealed) bool { return clears(w, c.Name) })
	if more+sizes(have) <= maxAttempts || rp.openAll(r, have) != nil { // without the keys nothing can be told apart
		return
	}
	ring, err := rp.ring(r)
	if err != nil {
		return
	}
	changed, gone := attempt.Fit(ring, have, maxAttempts-more)
	rp.tellTrimmed(r, changed, gone)
	for _, c := range gone {
		rp.unsetCookie(w, c.Name)
		rp.clearAttempt(w, c.Name)
	}
	for _, c := range changed {
		rp.unsetCookie(w, c.Name)
		rp.setAttempt(w, c.Name, c.Value, c.Attempt, c.Attempt.Ends().Add(pageLife).Sub(rp.sessions.now()))
	}
}

// sessionDigest returns a digest of the id in the request's session cookie, or
// nil if there is none.
func (rp *RelyingParty) sessionDigest(r *http.Request) []byte {
	ref, ok := rp.sessionRef(r)
	if !ok {
		return nil
	}
	return digest("session", ref.ID)
}

func digest(parts ...string) []byte {
	return []byte(storekey.Of("gatehouse/digest", parts...)[:digestSize])
}

// checkIssuer compares iss, which prevents mix-up attacks (RFC 9207 §2.4).
func (c *callback) checkIssuer(ctx context.Context) error {
	if c.query.Has("iss") {
		if iss := c.query.Get("iss"); !c.rp.provider.tokens.Owns(iss) {
			return errResponseIssuer.because(fmt.Errorf("iss is %s, not %s", outbound.Quote(iss, c.secrets()...), c.rp.provider.issuer))
		}
		return nil
	}
	// The ID Token of the answer names the issuer too, and is verified before anything
	// is sent (RP-C5). oidc-provider then sends no iss beside it.
	if c.kind.IDToken && c.query.Has("id_token") && !c.query.Has("error") {
		return nil
	}
	md, err := c.rp.provider.awaitMetadata(ctx)
	if err == nil && md.ResponseIssuer {
		err = errResponseIssuer.because(errors.New("iss is missing, but the provider announces that it sends it"))
	}
	return err
}

// tooLate gives an attempt that has expired its one new start, if the provider
// asks for it: one whose page was open for too long often says so only then.
func (c *callback) tooLate(ctx context.Context, refusal error) error {
	now := c.rp.sessions.now()
	next, err := c.attempt.Retry(now)
	if err != nil || !now.Before(c.attempt.Ends().Add(pageLife)) { // a sign-out may be forgotten by now
		return refusal
	}
	if err := c.checkCame(); err != nil {
		return err
	}
	if err := c.checkIssuer(ctx); err != nil {
		return err
	}
	if _, err := c.rp.provider.awaitMetadata(ctx); err != nil {
		return err
	}
	next.From = c.rp.sessionDigest(c.r)
	c.rp.clearAttempt(c.w, c.rp.attemptName(c.attempt.State()))
	return c.startOver(next)
}

// startOver puts the next attempt in the place of this one.
func (c *callback) startOver(next *attempt.Attempt) error {
	d, err := c.rp.begin(c.w, c.r, next)
	if err == nil {
		c.again = &d
	}
	return err
}

// goOn answers a response that was used before: the back button, a reload, or a
// provider that answers twice. Somebody who is signed in goes on to the page that
// they came for. Anybody else is refused.
func (c *callback) goOn(ctx context.Context, refusal error) error {
	state := c.query.Get("state")
	if !attempt.ValidState(state) {
		return refusal
	}
	if _, err := c.rp.load(c.r); errors.Is(err, session.ErrNone) {
		return refusal
	} else if err != nil { // nobody knows whether they are signed in (R10)
		return err
	}
	switch used, err := c.rp.sessions.keeper.Spent(ctx, state); {
	case err != nil:
		return failure(err)
	case !used:
		return refusal
	}
	c.location = c.rp.config.HomeURL
	if c.attempt != nil {
		c.location, _ = c.rp.returnPath(c.attempt.ReturnTo)
		c.rp.clearAttempt(c.w, c.rp.attemptName(state))
	}
	return nil
}
