package gatehouse

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// A callback is one transaction with these steps:
//
// 1. read: check that no parameter is repeated, open the attempt that the
//    state belongs to, see that the answer came as it was asked for, and
//    compare iss.
// 2. spend: mark the state as used on all replicas, whatever happens next.
// 3. vouch: check the ID Token that came through the browser, if one was asked
//    for, and that it vouches for what came beside it.
// 4. redeem: exchange the code for tokens, once.
// 5. verify: check that the ID Token is for us, for now and for this attempt.
// 6. identify: gather the claims and let the application refuse.
// 7. mark: read the marks. If a logout came in between, start over.
// 8. create: store the session under a new id.
// 9. settle: end the session that the browser had before, list the new one, and
//    give the application's own session a new token.
// 10. hand over: emit the event, set the cookie, and redirect.
//
// An attempt that asks for an owner's grant ends with step 5, where the grant
// is stored. If a step fails or panics, the earlier steps are undone: the
// session is ended, and the refresh token is revoked unless an older session
// may share its grant.

// callbackTimeout bounds a callback, so that it answers within 10 s even if the
// provider hangs (G5).
const callbackTimeout = 9 * time.Second

// CallbackHandler handles the provider's response at RedirectURL. It completes
// the sign-in and redirects the person to the page they came for.
//
// With ResponseMode "form_post" it takes a POST from the provider's site, which
// is bound to this browser by its state. If http.CrossOriginProtection of the
// application lies around it, this one POST needs a bypass there. With "fragment"
// it takes a POST of its own page.
func (rp *RelyingParty) CallbackHandler() http.Handler {
	wire("CallbackHandler", rp.checkMade())
	return rp.ownHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		switch r.Method {
		case http.MethodGet:
		case http.MethodPost:
			if rp.underWay(r, posted) {
				break
			}
			fallthrough
		default:
			w.Header().Set("Allow", rp.callbackMethods())
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		c := &callback{rp: rp, r: r}
		broken := c.receive()
		if broken == nil && c.came == authresponse.Query && !authresponse.Any(c.query) && rp.underWay(r, inFragment) {
			rp.fragmentPage(w)
			return
		}
		if broken == nil {
			r = c.restore()
		}
		rp.withApp(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// It continues if the browser disconnects: the code works only once (M14).
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackTimeout)
			defer cancel()
			c.w, c.r, c.broken = w, r.WithContext(ctx), broken
			if err := c.run(ctx); err != nil {
				rp.refuse(w, c.r, err)
			}
		})).ServeHTTP(w, r)
	}))
}

// callbackMethods are those of Allow.
func (rp *RelyingParty) callbackMethods() string {
	if posted(rp.asked.Mode) {
		return "GET, POST"
	}
	return http.MethodGet
}

// callback is the state of one callback.
type callback struct {
	rp       *RelyingParty
	w        http.ResponseWriter
	r        *http.Request
	query    url.Values        // the parameters of the answer, wherever they were
	came     authresponse.Mode // how they came
	broken   error             // why they cannot be read
	attempt  *attempt.Attempt
	kind     authresponse.Kind   // what the attempt asked for
	got      authresponse.Values // of the answer
	vouched  *token.IDToken      // the one that came through the browser
	who      known               // to whom the code was issued
	tokens   *backchannel.Tokens
	proof    *token.IDToken
	subject  string // who signs in, once that is proven
	record   *session.Record
	readAt   time.Time // when the marks were read
	ref      session.Ref
	location string     // where to redirect to; the step that sets it is the last
	again    *departure // to a new attempt

	// What undo has to clean up.
	bought  string // the refresh token that the code was exchanged for
	created bool   // the session is stored, or may be
	sent    bool   // the response is written, so nothing is undone
}

func (c *callback) run(ctx context.Context) (err error) {
	defer c.undo(context.WithoutCancel(ctx))
	for _, step := range []func(context.Context) error{c.read, c.spend, c.vouch, c.redeem, c.verify, c.identify, c.mark, c.create, c.settle, c.handOver} {
		if err = c.rp.provider.safely(ctx, step); err != nil || c.location != "" || c.again != nil {
			break
		}
	}
	if c.again == nil { // the new attempt has made room for itself
		c.rp.trimAttempts(c.w, c.r, 0)
	}
	if err != nil {
		return c.failed(err)
	}
	if c.again != nil {
		c.rp.depart(c.w, *c.again)
	} else {
		redirect(c.w, c.location)
	}
	c.sent = true
	c.rp.recheckApp(ctx, c.ref)
	return nil
}

// undo ends what a failed callback has made (RL8).
func (c *callback) undo(ctx context.Context) {
	if c.sent {
		return
	}
	c.rp.revokeLater(c.who.ID, c.bought)
	if c.created {
		c.rp.unsetCookie(c.w, c.rp.cookie)
		_ = c.rp.endNow(ctx, c.ref.Key, c.record, func(context.Context, *session.Record) {}) // nobody was told of it
	}
}

// read checks the authorization response (OpenID Connect Core §3.1.2.7, RFC
// 6749 §4.1.2, RFC 9207 §2.4).
func (c *callback) read(ctx context.Context) (err error) {
	if c.broken != nil {
		return c.broken
	}
	if c.query.Get("state") == "" {
		return errStateMissing.because(nil)
	}
	if c.attempt, err = c.rp.readAttempt(c.r, c.query.Get("state")); err != nil {
		if err = c.goOn(ctx, err); errors.Is(err, attempt.ErrExpired) && c.retries() {
			return c.tooLate(ctx, err)
		}
		return err
	}
	if err := c.checkCame(); err != nil {
		return err
	}
	if c.who, err = c.rp.provider.whoSince(ctx, &c.rp.client, c.attempt.Begin); err != nil {
		return failure(err)
	}
	if err := c.checkIssuer(ctx); err != nil {
		return err
	}
	if !c.query.Has("error") {
		if c.got, err = c.kind.Take(c.query); err != nil {
			return failure(err)
		}
	}
	if !c.query.Has("error") || c.retries() { // before the state is spent, and nothing can be sent
		_, err = c.rp.provider.awaitMetadata(ctx)
	}
	return err
}

// spend marks the state as used, so that a response counts only once across all
// replicas (R9). An error response ends here.
func (c *callback) spend(ctx context.Context) error {
	switch first, err := c.rp.sessions.keeper.Spend(ctx, c.attempt.State(), c.attempt.Ends()); {
	case err != nil:
		return failure(err)
	case !first:
		return c.goOn(ctx, errStateUsed.because(nil))
	}
	c.rp.clearAttempt(c.w, c.rp.attemptName(c.attempt.State()))
	if c.retries() {
		if next, e := c.attempt.Retry(c.rp.sessions.now()); e == nil {
			return c.startOver(next)
		}
	}
	if c.query.Has("error") {
		return c.refusedThere().because(nil) // failed adds what the provider said
	}
	return nil
}

// retries reports whether the provider asks to be asked again.
func (c *callback) retries() bool { return c.query.Get("error") == "temporarily_unavailable" }

// redeem sends the code once (OpenID Connect Core §3.1.3.1, RFC 7636 §4.5).
func (c *callback) redeem(ctx context.Context) (err error) {
	if !c.kind.Code {
		c.tokens = c.brought()
		return nil
	}
	c.tokens, err = c.rp.provider.requestTokenAs(ctx, c.who, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {c.got.Code},
		"redirect_uri":  {c.rp.config.RedirectURL},
		"code_verifier": {c.attempt.Verifier()},
	})
	if refusal, ok := err.(*backchannel.Refusal); ok {
		if errors.Is(refusal, backchannel.ErrCaller) {
			return errClientRefused.because(refusal)
		}
		return errCodeRefused.because(refusal)
	}
	if err != nil {
		return asError(err, errProviderUnavailable)
	}
	if c.tokens.IDToken == "" {
		return errIDTokenMissing.because(errors.New("the token answer has no id_token"))
	}
	if len(c.attempt.From) == 0 {
		// If the browser had a session, the refresh token may belong to the
		// same grant. Revoking it would end that session too (RFC 7009 §2.1).
		c.bought = c.tokens.Refresh
	}
	return nil
}

// verify makes the checks of OpenID Connect Core §3.1.3.7. If the attempt
// asked for an owner's grant, verify stores it.
func (c *callback) verify(ctx context.Context) (err error) {
	if c.proof, err = c.proven(ctx); err != nil {
		return err
	}
	if err := c.checkTenant(c.proof); err != nil {
		return err
	}
	c.subject = c.proof.Subject()
	if c.attempt.Grant {
		return c.keepGrant(ctx)
	}
	return nil
}

// wanted is what every ID Token of this sign-in is compared with.
func (c *callback) wanted() token.SignIn {
	a := c.attempt
	alg, _ := c.rp.client.signing(c.who.ID)
	return token.SignIn{Client: c.who.ID, Nonce: a.Nonce(), Began: a.Begin, Aged: a.Aged, MaxAge: a.MaxAge, Algorithm: alg}
}

// keepGrant stores an owner's grant. It creates no session: the same person
// must be signed in already.
func (c *callback) keepGrant(ctx context.Context) error {
	grants := c.rp.config.OwnerGrants
	if grants == nil { // started by another relying party with the same client and address
		return errInternal.because(errors.New("this relying party has no OwnerGrants"))
	}
	live, err := c.rp.load(c.r)
	switch {
	case errors.Is(err, session.ErrNone):
		return errGrantSubject.because(errors.New("nobody is signed in now"))
	case err != nil:
		return err
	case live.who.Subject != c.proof.Subject():
		return errGrantSubject.because(errors.New("the session is another person's"))
	case !bytes.Equal(c.attempt.From, c.rp.sessionDigest(c.r)):
		return errGrantSubject.because(errors.New("the session is another than the one in which the grant was asked for"))
	}
	c.location, _ = c.rp.returnPath(c.attempt.ReturnTo)
	return grants.take(ctx, c.proof.Subject(), c.who.ID, c.tokens)
}

// identify builds the login record and runs OnSignIn before a session exists.
func (c *callback) identify(ctx context.Context) error {
	claims, err := c.gatherClaims(ctx)
	if err != nil {
		return err
	}
	c.record = c.rp.newRecord(c.who.ID, c.attempt, c.proof, claims, c.tokens)
	if c.rp.config.OnSignIn == nil {
		return nil
	}
	id := identityOf(c.record, c.rp.sessions.keeper.Ending(c.record))
	if err := c.rp.config.OnSignIn(ctx, id); err != nil {
		e := *asError(err, errOnSignIn)
		e.Status = cmp.Or(e.Status, http.StatusForbidden) // it may refuse without choosing one
		return &e
	}
	return keepClaims(c.record, id)
}

// mark reads the marks into the record. If a logout may have come after the
// attempt began, the sign-in starts over with the current marks. The tokens
// are not revoked, because the provider continues with the same grant.
func (c *callback) mark(ctx context.Context) error {
	c.readAt = c.rp.sessions.now()
	again, err := c.rp.sessions.keeper.ReadMarks(ctx, c.record, c.attempt.Begin, func(m session.Mark) bool { return c.attempt.Carries(attempt.Mark(m)) })
	if err != nil || !again {
		return failure(err)
	}
	next, err := c.attempt.Again(c.rp.sessions.now(), attempt.Mark(c.record.Marks[0]), attempt.Mark(c.record.Marks[1]))
	if err != nil {
		return failure(err)
	}
	return c.startOver(next)
}

// create stores the session under a new id, against session fixation (R5).
func (c *callback) create(ctx context.Context) error {
	c.ref, c.created = session.NewRef(c.rp.home, c.attempt.SessionID(), c.record.Marks), true
	return failure(c.rp.sessions.keeper.Create(ctx, c.ref, c.record, c.readAt))
}

// handOver gives the session to the browser.
func (c *callback) handOver(ctx context.Context) error {
	rp, rec := c.rp, c.record
	rp.provider.emit(ctx, Event{Name: EventLogin, Subject: rec.Subject, ClientID: rec.ClientID})
	rp.setCookie(c.w, rp.cookie, c.ref.Cookie(), rp.sessions.keeper.Ending(rec).Sub(rp.sessions.now()))
	c.location, _ = rp.returnPath(c.attempt.ReturnTo)
	return nil
}
