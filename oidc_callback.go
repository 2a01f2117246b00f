package gatehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/backchannel"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/token"
)

// A callback is one transaction. Its steps, in their order:
//
//  1. read: each parameter once, the attempt that the state belongs to, iss.
//  2. spend: the state counts once over all replicas, whatever comes of it.
//  3. redeem: the code is sent once, and buys tokens.
//  4. verify: the ID Token is for us, now, for this attempt.
//  5. identify: the claims are gathered, and the application may refuse.
//  6. mark: the marks are read; a logout that came in between starts over.
//  7. create: the session is stored under a new id.
//  8. settle: it is listed, the session that the browser had is ended, and the
//     application's own session goes with the login.
//  9. hand over: event, cookie, and the way to where the person wanted to go.
//
// An attempt that asks for an owner's grant ends after step 4: what the code
// has bought is kept there. Where a step fails or panics, what the steps before
// have made is undone: the refresh token is revoked, the session ended.

const (
	// callbackTimeout bounds a callback, so that it answers within 10 s even when
	// the provider hangs (G5).
	callbackTimeout = 9 * time.Second
	// maxCode bounds the authorization code.
	maxCode = 8 << 10
)

// CallbackHandler takes the answer of the provider at RedirectURL, finishes the
// sign-in and sends the person to where they wanted to go.
func (rp *RelyingParty) CallbackHandler() http.Handler {
	return rp.ownHandler(rp.withApp(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			rp.refuse(w, r, errMethod.because(nil))
			return
		}
		// A browser that leaves does not undo what its code has bought (M14).
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackTimeout)
		defer cancel()
		c := &callback{rp: rp, w: w, r: r.WithContext(ctx)}
		if err := c.run(ctx); err != nil {
			rp.refuse(w, c.r, err)
		}
	})))
}

// callback is a sign-in on its way back from the provider.
type callback struct {
	rp       *RelyingParty
	w        http.ResponseWriter
	r        *http.Request
	query    url.Values
	attempt  *attempt.Attempt
	tokens   *backchannel.Tokens
	proof    *token.IDToken
	record   *session.Record
	readAt   time.Time // when the marks were read
	ref      session.Ref
	location string // where to go: set by the last step

	// What was made and nobody holds yet.
	bought  string // the refresh token that the code has bought
	created bool   // the session is stored, or may be
	sent    bool   // the answer is on its way: all is handed over
}

func (c *callback) run(ctx context.Context) error {
	defer c.undo(context.WithoutCancel(ctx))
	for _, step := range []func(context.Context) error{c.read, c.spend, c.redeem, c.verify, c.identify, c.mark, c.create, c.settle, c.handOver} {
		if err := step(ctx); err != nil {
			return err
		}
		if c.location != "" {
			break
		}
	}
	redirect(c.w, c.location)
	c.sent = true
	return nil
}

// undo ends what the callback has made and could not hand over (RL8).
func (c *callback) undo(ctx context.Context) {
	if c.sent {
		return
	}
	c.rp.revokeLater(c.bought)
	if c.created {
		c.rp.unsetCookie(c.w, c.rp.cookie)
		_, _ = c.rp.sessions.keeper.End(ctx, c.ref.Key)
	}
}

// read checks an authorization answer (OpenID Connect Core §3.1.2.7, RFC 6749
// §4.1.2, RFC 9207 §2.4).
func (c *callback) read(ctx context.Context) (err error) {
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return errResponse.because(errors.New("query is malformed"))
	}
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri"} {
		if n := len(c.query[name]); n > 1 { // RFC 6749 §3.1
			return errResponse.because(fmt.Errorf("%s occurs %d times", name, n))
		}
	}
	if c.query.Get("state") == "" {
		return errStateMissing.because(nil)
	}
	if c.attempt, err = c.rp.readAttempt(c.r, c.query.Get("state")); err != nil {
		return err
	}
	if err := c.checkIssuer(ctx); err != nil {
		return err
	}
	if code := c.query.Get("code"); !c.query.Has("error") && (code == "" || len(code) > maxCode) {
		return errResponse.because(fmt.Errorf("code of %d bytes", len(code)))
	}
	return nil
}

// checkIssuer is the defence against mix-up of RFC 9207 §2.4.
func (c *callback) checkIssuer(ctx context.Context) error {
	if c.query.Has("iss") {
		if iss := c.query.Get("iss"); iss != c.rp.provider.issuer {
			return errResponseIssuer.because(fmt.Errorf("iss is %q", clip(iss)))
		}
		return nil
	}
	md, err := c.rp.provider.Metadata(ctx)
	if err == nil && md.ResponseIssuer {
		err = errResponseIssuer.because(errors.New("iss is missing, though the provider announces it"))
	}
	return err
}

// spend marks the state used for the rest of its life: an answer counts once
// over all replicas (R9). An answer that is an error ends here.
func (c *callback) spend(ctx context.Context) error {
	switch first, err := c.rp.sessions.keeper.Spend(ctx, c.attempt.State(), c.attempt.Ends()); {
	case err != nil:
		return failure(err)
	case !first:
		return errStateUsed.because(nil)
	}
	c.rp.clearCookie(c.w, c.rp.attemptName(c.attempt.State()))
	if c.query.Has("error") {
		// The text of the error is the provider's and stays out of the page.
		return errRefusedThere.because(fmt.Errorf("error %q", clip(c.query.Get("error"))))
	}
	return nil
}

// redeem sends the code, once (OpenID Connect Core §3.1.3.1, RFC 7636 §4.5).
func (c *callback) redeem(ctx context.Context) (err error) {
	c.tokens, err = c.rp.provider.requestToken(ctx, c.rp.client, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {c.query.Get("code")},
		"redirect_uri":  {c.rp.config.RedirectURL},
		"code_verifier": {c.attempt.Verifier()},
	})
	if refusal, ok := errors.AsType[*backchannel.Refusal](err); ok {
		about := []string{"invalid_client", "unauthorized_client", "unsupported_grant_type"}
		if refusal.Status == http.StatusUnauthorized || slices.Contains(about, refusal.Code) {
			return errClientRefused.because(refusal)
		}
		return errCodeRefused.because(refusal)
	}
	if err != nil {
		return asError(err, errProviderUnavailable)
	}
	if c.tokens.IDToken == "" {
		return errIDTokenMissing.because(nil)
	}
	if len(c.attempt.From) == 0 {
		// Where the browser had a session already the token may be of the same
		// grant, which would end with it (RFC 7009 §2.1).
		c.bought = c.tokens.Refresh
	}
	return nil
}

// verify makes the checks of OpenID Connect Core §3.1.3.7. An owner's grant is
// kept here.
func (c *callback) verify(ctx context.Context) (err error) {
	a := c.attempt
	c.proof, err = c.rp.provider.tokens.SignIn(ctx, c.tokens.IDToken, token.SignIn{
		Client: c.rp.client.ID, Nonce: a.Nonce(), Began: a.Begin, Aged: a.Aged, MaxAge: a.MaxAge, Access: c.tokens.Access,
	})
	if err != nil {
		return tokenFailure(err)
	}
	if a.Grant {
		return c.keepGrant(ctx)
	}
	return nil
}

// keepGrant keeps an owner's grant. It makes no session: the person must be
// signed in already, as the same.
func (c *callback) keepGrant(ctx context.Context) error {
	grants := c.rp.config.OwnerGrants
	if grants == nil { // begun at another relying party of this client and address
		return errInternal.because(errors.New("this relying party has no OwnerGrants"))
	}
	live, err := c.rp.load(c.r)
	switch {
	case errors.Is(err, session.ErrNone):
		return errGrantSubject.because(errors.New("nobody is signed in any more"))
	case err != nil:
		return err
	case live.record().Subject != c.proof.Subject() || !bytes.Equal(c.attempt.From, c.rp.sessionDigest(c.r)):
		return errGrantSubject.because(nil)
	}
	c.location = c.rp.returnPath(c.attempt.ReturnTo)
	return grants.take(ctx, c.proof.Subject(), c.tokens)
}

// identify makes the record of the login, and asks the application before a
// session exists.
func (c *callback) identify(ctx context.Context) error {
	claims, err := c.rp.gatherClaims(ctx, c.proof, c.tokens.Access)
	if err != nil {
		return err
	}
	c.record = c.rp.newRecord(c.attempt, c.proof, claims, c.tokens)
	if c.rp.config.OnSignIn == nil {
		return nil
	}
	id := identityOf(c.record, c.rp.sessions.keeper.Ending(c.record))
	if err := c.rp.config.OnSignIn(ctx, id); err != nil {
		e := *asError(err, errOnSignIn)
		if e.Status == 0 {
			e.Status = http.StatusForbidden // the application has refused, and said no more
		}
		return &e
	}
	c.record.Claims = id.claims
	return nil
}

// mark reads the marks into the record. If a logout may have come after the
// attempt began, the sign-in begins anew in knowledge of it; the provider goes
// on with the same grant.
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
	c.location, err = c.rp.begin(c.w, c.r, next)
	return err
}

// create stores the session under a new id (R5).
func (c *callback) create(ctx context.Context) error {
	c.ref, c.created = session.NewRef(c.record.Marks), true
	return failure(c.rp.sessions.keeper.Create(ctx, c.ref, c.record, c.readAt))
}

// settle does what a new session brings with it.
func (c *callback) settle(ctx context.Context) error {
	rp := c.rp
	if err := rp.sessions.keeper.Enlist(ctx, c.ref, c.record); err != nil {
		rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleList, Subject: c.record.Subject, ClientID: c.record.ClientID, Err: err})
	}
	old, err := rp.replaceOld(ctx, c.r, c.record)
	if err != nil {
		return err
	}
	return rp.renewApp(ctx, c.record, old)
}

// handOver gives the session to the browser.
func (c *callback) handOver(ctx context.Context) error {
	rp, rec := c.rp, c.record
	rp.provider.emit(ctx, Event{Name: EventLogin, Subject: rec.Subject, ClientID: rec.ClientID})
	rp.setCookie(c.w, rp.cookie, c.ref.Cookie(), rp.sessions.keeper.Ending(rec).Sub(rp.sessions.now()))
	c.location = rp.returnPath(c.attempt.ReturnTo)
	return nil
}
