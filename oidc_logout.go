package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

const (
	// logoutLife is how long a logout at the provider may take until it
	// returns.
	logoutLife = 10 * time.Minute
	// leaveLife is how long the address that a script gets works. The script
	// opens it at once.
	leaveLife = time.Minute
	// leaveDomain separates such addresses from other sealed values.
	leaveDomain = "gatehouse/sign-out"
	// maxHint is the length of the longest ID Token that is sent as a hint.
	// Many servers limit addresses to 8 KiB, and client_id is sent in any
	// case.
	maxHint = 4 << 10
	// replicaSkew is how far the clocks of two replicas may be apart. An attempt
	// may have expired here while its callback is still under way there.
	replicaSkew = time.Second
	// departWait is how long a sign-out waits for the address at which the provider
	// ends its session. It is longer than a page waits, because the person stays
	// signed in there otherwise, and does not know.
	departWait = 3 * time.Second
	// revokeTimeout bounds the revocation of a token after sign-out.
	revokeTimeout = 2 * time.Second
)

// LogoutHandler signs the person out of this browser. POST ends the session
// here and then redirects to the provider to end the session there
// (RP-Initiated Logout §2). The refresh token is revoked, and with it, at most
// servers, the access tokens of its grant (RFC 7009 §2.1). If there is none, the
// access token is. Nobody waits for that, and a failure is only logged. Sessions
// on other devices continue.
//
// A POST with a parameter "local" that is not empty, in the form or in the
// address, ends the session here alone. The person stays signed in at the
// provider, and nothing is revoked there: some servers end their own session
// with its tokens.
//
// GET is where the provider redirects back to. It ends nothing. A person who
// is signed in sees a page with a button that signs out. Anybody else is sent to
// LoggedOutURL, or sees a page that says that they are signed out. A state that
// LogoutURL was given goes along to LoggedOutURL, if it is that of this browser.
//
// A POST from another site is refused, and so is one without Sec-Fetch-Site and
// Origin.
//
// A script that posts gets {"logout_url":"…"} instead of a redirect, because it
// cannot follow one to the provider. The session here has ended then. The
// script should open the address, which is one of this handler, as a page
// within a minute. It redirects to the provider.
func (rp *RelyingParty) LogoutHandler() http.Handler {
	wire("LogoutHandler", rp.checkMade())
	return rp.ownHandler(rp.withApp(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		switch r.Method {
		case http.MethodPost:
			err = rp.logout(w, r)
		case http.MethodGet:
			err = rp.loggedOut(w, r)
		default:
			w.Header().Set("Allow", "GET, POST")
			err = errMethod.because(nil)
		}
		if err != nil {
			rp.refuse(w, r, err)
		}
	})))
}

// logout ends the session before it answers.
func (rp *RelyingParty) logout(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errCrossOrigin.saying(noOrigin).because(errors.New("neither Origin nor Sec-Fetch-Site"))
	}
	if err := rp.checkOrigin(r); err != nil {
		return err
	}
	local := isLocal(r)
	ended, err := rp.endHere(w, r, local)
	if err != nil {
		return err
	}
	rec, owner := rp.whereTo(r.Context(), ended)
	if owner == nil || local {
		rp.leave(w, r, rp.afterLogout(r))
		return nil
	}
	location, state := owner.endSession(r, rp, rec)
	if state == "" {
		rp.leave(w, r, location)
		return nil
	}
	owner.setCookie(w, owner.logoutCookie, state, logoutLife)
	if !navigation.IsScript(r) {
		redirect(w, location)
		return nil
	}
	// The hint must not reach a script, so it gets a sealed address.
	own, err := rp.sealLeave(r, rp.ownPath(r), leaving{Until: rp.sessions.now().Add(leaveLife), Cookie: owner.logoutCookie, State: state, Location: location})
	if err != nil { // the session has ended all the same
		own = rp.afterLogout(r)
	}
	rp.leave(w, r, own)
	return nil
}

// endHere ends the session of the request's browser, with everything that belongs
// to it here, and returns the records that ended.
func (rp *RelyingParty) endHere(w http.ResponseWriter, r *http.Request, local bool) ([]*session.Record, error) {
	code := ""
	ended, err := rp.signOut(r)
	for _, rec := range ended {
		if local {
			code = logoutLocal
			keepGrant(rec)
		}
		if owner := rp.sessions.partyOf(r.Context(), rec); owner != nil {
			owner.ended(r.Context(), rec, code)
		}
	}
	if err == nil {
		err = rp.destroyApp(r.Context(), ended)
	}
	if err != nil && len(ended) > 0 {
		return nil, about(ended[0].Subject, err)
	}
	if err != nil {
		return nil, failure(err)
	}
	rp.clearAll(w, r)
	return ended, nil
}

// isLocal reports whether a sign-out is for here alone. A form that cannot be
// read does not say so.
func isLocal(r *http.Request) bool {
	form, _ := navigation.Form(r)
	if form.Get("local") != "" {
		return true
	}
	query, _ := navigation.Query(r.URL.RawQuery)
	return query.Get("local") != ""
}

// keepGrant takes the tokens out of a record that has ended, so that they are not
// revoked.
func keepGrant(rec *session.Record) { rec.Refresh, rec.Access = nil, nil }

// leave answers a sign-out with a path of this site. A script is told where to
// go, because a redirect would take it to the provider, which answers pages.
func (rp *RelyingParty) leave(w http.ResponseWriter, r *http.Request, path string) {
	if navigation.IsScript(r) {
		writeJSON(w, http.StatusOK, struct {
			LogoutURL string `json:"logout_url"`
		}{path})
		return
	}
	redirect(w, path)
}

// leaving is a sign-out at the provider that a script has begun here. It is
// good for the browser that has the cookie.
type leaving struct {
	Until         time.Time
	Cookie, State string
	Location      string
}

// sealLeave returns the address below path, that of this handler, that goes on to
// the provider.
func (rp *RelyingParty) sealLeave(r *http.Request, path string, l leaving) (string, error) {
	ring, err := rp.ring(r)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(l)
	if err != nil {
		return "", err
	}
	return path + "?go=" + ring.SealText(leaveDomain, rp.binding, plain), nil
}

// openLeave returns where the address of sealLeave goes on to, or "" if it is
// not one of this browser, or too old.
func (rp *RelyingParty) openLeave(r *http.Request) string {
	sealed := r.URL.Query().Get("go")
	if sealed == "" {
		return ""
	}
	ring, err := rp.ring(r)
	if err != nil {
		return ""
	}
	plain, err := ring.OpenText(leaveDomain, rp.binding, sealed)
	var l leaving
	if err != nil || json.Unmarshal(plain, &l) != nil || !rp.sessions.now().Before(l.Until) {
		return ""
	}
	if state, _ := navigation.Cookie(r, l.Cookie); !hmac.Equal([]byte(state), []byte(l.State)) {
		return ""
	}
	return l.Location
}

// whereTo returns the first record whose provider can be told, and the relying
// party of it, which is nil if none is in this process.
func (rp *RelyingParty) whereTo(ctx context.Context, ended []*session.Record) (*session.Record, *RelyingParty) {
	for _, rec := range ended {
		if owner := rp.sessions.partyOf(ctx, rec); owner != nil {
			return rec, owner
		}
	}
	return nil, nil
}

// signOut ends the session of the request's browser, and those that its sign-ins
// under way are about to make, at whatever relying party of the Sessions. It
// returns the records that ended, also beside an error. The store is changed
// before it returns, so whatever those callbacks do afterwards, their cookies
// open nothing.
func (rp *RelyingParty) signOut(r *http.Request) (ended []*session.Record, err error) {
	keeper, now := rp.sessions.keeper, rp.sessions.now()
	under, err := rp.attemptsOf(r)
	if err != nil { // a sign-in under way could not be told that this was answered
		return nil, err
	}
	if ref, ok := rp.sessionRef(r); ok { // a sign-in may have begun from it since this request was sent
		if ended, err = keeper.SignOutSession(r.Context(), ref.Key, latest(&attempt.Attempt{Begin: now})); err != nil {
			return ended, err
		}
	}
	for _, a := range under {
		if a.Attempt == nil {
			continue
		}
		until := latest(a.Attempt)
		if !now.Before(until) {
			continue
		}
		more, err := keeper.SignOutUntil(r.Context(), session.KeyOf(rp.home, a.Attempt.SessionID()), until)
		if ended = append(ended, more...); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// latest is when the session of an attempt can be created no more, on any replica.
func latest(a *attempt.Attempt) time.Time {
	return a.Latest(pageLife, callbackTimeout).Add(replicaSkew)
}

// ended emits the logout event and revokes the tokens. Only the relying party of
// the session may do that, because no other provider may see them.
func (rp *RelyingParty) ended(ctx context.Context, rec *session.Record, code string) {
	if len(rec.Refresh) > 0 {
		rp.revokeLater(rec.ClientID, string(rec.Refresh))
	} else if rec.Serves(rp.sessions.now()) {
		rp.revokeToken(rec.ClientID, string(rec.Access), "access_token")
	}
	rp.provider.emit(ctx, Event{Name: EventLogout, Code: code, Subject: rec.Subject, ClientID: rec.ClientID})
}

// replaceOld ends the session that the browser had before, no matter whose it
// was, and returns it. It revokes the refresh token only if the person, the client
// or the provider has changed. Otherwise the old token may belong to the same grant
// as the new one, and servers may end the whole grant (RFC 7009 §2.1). If the
// person has signed out of the old session since the sign-in began, it fails.
func (rp *RelyingParty) replaceOld(ctx context.Context, c *callback) (*session.Record, error) {
	ref, ok := rp.sessionRef(c.r)
	if !ok {
		return nil, nil
	}
	next := c.record
	old, err := rp.sessions.keeper.Replace(ctx, ref.Key, c.ref.Key, c.attempt.FirstBegin())
	if err != nil || old == nil {
		return nil, failure(err)
	}
	if old.Issuer == next.Issuer && old.ClientID == next.ClientID && old.Subject == next.Subject {
		keepGrant(old)
	}
	if owner := rp.sessions.partyOf(ctx, old); owner != nil {
		owner.ended(ctx, old, logoutReplaced)
	}
	return old, nil
}

// enlist adds a new session to its owner's list. A session that is missing there
// works all the same. Those that end because their owner has too many keep
// their refresh tokens, which may belong to the same grant as the new one.
func (rp *RelyingParty) enlist(ctx context.Context, ref session.Ref, rec *session.Record) {
	oldest, err := rp.sessions.keeper.Enlist(ctx, ref, rec)
	if err != nil {
		rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleList, Subject: rec.Subject, ClientID: rec.ClientID, Err: err})
	}
	for _, key := range oldest {
		_ = rp.endNow(ctx, key, rec, func(ctx context.Context, old *session.Record) {
			keepGrant(old)
			if owner := rp.sessions.partyOf(ctx, old); owner != nil {
				owner.ended(ctx, old, logoutOldest)
			}
		})
	}
}

// clearAll deletes the session cookie and those of pending sign-ins.
func (rp *RelyingParty) clearAll(w http.ResponseWriter, r *http.Request) {
	rp.clearCookie(w, rp.cookie)
	for _, c := range rp.attemptCookies(r) {
		rp.clearCookie(w, c.Name)
	}
}

// endSession returns the address that ends the session at the provider
// (RP-Initiated Logout §2), and the state in it. If the provider has none or
// cannot be reached, it returns the page after sign-out without a state,
// because the session here has already ended. The request is for the handler of
// at.
func (rp *RelyingParty) endSession(r *http.Request, at *RelyingParty, rec *session.Record) (location, state string) {
	back := rp.logoutURL(r)
	if at.paths != rp.paths && rp.config.LogoutURL == "" && rp.paths.mounted.Load() { // our provider knows our path alone
		back = siteOf(rp.redirect) + (&url.URL{Path: rp.paths.logout}).EscapedPath()
	}
	state = rand.Text()
	if location = rp.endSessionURL(r.Context(), rec, back, state, true); location == "" {
		return rp.afterLogout(r), ""
	}
	return location, state
}

// endSessionURL returns the address that ends the session of a record at the
// provider, or "" if there is none or it cannot be learned now.
func (rp *RelyingParty) endSessionURL(ctx context.Context, rec *session.Record, back, state string, hint bool) string {
	waiting, cancel := context.WithTimeout(ctx, departWait)
	defer cancel()
	md, err := rp.provider.awaitMetadata(waiting)
	if err != nil || md.EndSessionEndpoint == "" {
		return ""
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	client, hint := rp.leavesAs(ctx, rec, hint)
	q := u.Query()
	q.Set("client_id", client)
	q.Set("post_logout_redirect_uri", back)
	q.Set("state", state)
	if hint && len(rec.IDToken) > 0 && len(rec.IDToken) <= maxHint {
		q.Set("id_token_hint", string(rec.IDToken))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// leavesAs returns the client that signs out at the provider, and whether the ID
// Token of the session may go along as a hint. It is the client of the session. If
// its secret has ended, the provider may not know it any more, and it is the one
// that begins sign-ins now. That one cannot use the hint, which is for the other
// (RP-Initiated Logout §2): then the provider asks the person.
func (rp *RelyingParty) leavesAs(ctx context.Context, rec *session.Record, hint bool) (string, bool) {
	_, err := rp.provider.whoWas(ctx, &rp.client, rec.ClientID)
	if errors.Is(err, errClientEnded) {
		if now, err := rp.provider.who(ctx, &rp.client); err == nil {
			return now.ID, false
		}
	}
	return rec.ClientID, hint
}

// logoutURL returns the address of LogoutHandler that the provider redirects
// back to.
func (rp *RelyingParty) logoutURL(r *http.Request) string {
	if rp.config.LogoutURL != "" {
		return rp.config.LogoutURL
	}
	path, _, _ := strings.Cut(rp.address(r), "?")
	return siteOf(rp.redirect) + path
}

// afterLogout returns where to go if the provider is not involved:
// LoggedOutURL, or the GET page of this handler.
func (rp *RelyingParty) afterLogout(r *http.Request) string {
	if rp.config.LoggedOutURL != "" {
		return rp.config.LoggedOutURL
	}
	return rp.ownPath(r)
}

// ownPath returns the path of this handler, or HomeURL if that path is not
// safe to redirect to.
func (rp *RelyingParty) ownPath(r *http.Request) string {
	u, err := url.Parse(rp.logoutURL(r))
	if err != nil {
		return rp.config.HomeURL
	}
	path, ok := navigation.LocalPath(u.EscapedPath())
	if !ok {
		return rp.config.HomeURL
	}
	return path
}

// loggedOut handles GET, to which the provider redirects back, with or without
// the state: it triggers nothing (RP-L2).
func (rp *RelyingParty) loggedOut(w http.ResponseWriter, r *http.Request) error {
	_, err := rp.load(r)
	if location := rp.openLeave(r); location != "" && errors.Is(err, session.ErrNone) {
		if !navigation.MayOpenPage(r) { // a script could read the hint from the address that it ends at
			return errNoNavigation.because(nil)
		}
		redirect(w, location)
		return nil
	}
	given := rp.givenState(r)
	if _, found := navigation.Cookie(r, rp.logoutCookie); found {
		rp.clearCookie(w, rp.logoutCookie)
	}
	switch {
	case err == nil:
		rp.writePage(w, http.StatusOK, page{
			Title: "You are signed in", Message: "Do you want to sign out?",
			Action: rp.ownPath(r), Button: "Sign out", Link: rp.config.HomeURL, Label: "Stay signed in",
		})
		return nil
	case !errors.Is(err, session.ErrNone):
		return err
	case rp.config.LoggedOutURL != "" && !navigation.ServedBy(rp.address(r), rp.config.LoggedOutURL):
		redirect(w, withState(rp.config.LoggedOutURL, given))
		return nil
	}
	rp.writePage(w, http.StatusOK, page{
		Title: "You are signed out", Message: "You can close this window.", Link: rp.config.HomeURL, Label: "Continue",
	})
	return nil
}

// revokeLater revokes a refresh token that was issued to the client at the
// provider, in the background (RFC 7009). A failure is only reported as an event.
// Sessions.Shutdown waits for it.
func (rp *RelyingParty) revokeLater(client, refresh string) {
	rp.revokeToken(client, refresh, "refresh_token")
}

// revokeToken is revokeLater for a token of any kind, which hint names.
func (rp *RelyingParty) revokeToken(client, token, hint string) {
	if token == "" {
		return
	}
	rp.sessions.chores.Start(storekey.Of("gatehouse/revoke", token), revokeTimeout, func(ctx context.Context) (struct{}, error) {
		who, err := rp.provider.whoWas(ctx, &rp.client, client)
		if errors.Is(err, errClientEnded) {
			return struct{}{}, nil // nobody can use its refresh token, nor revoke anything
		}
		if err == nil {
			err = rp.provider.revoke(ctx, who, token, hint)
		}
		if err != nil {
			rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleOf(err, troubleRevocation, troubleRevoker), ClientID: client, Err: err})
		}
		return struct{}{}, err
	})
}
