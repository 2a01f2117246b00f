package gatehouse

// Tested in internal/e2e/signin.

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

const (
	// logoutLife is how long a logout at the provider may take until it
	// returns.
	logoutLife = 10 * time.Minute
	// maxHint is the length of the longest ID Token that is sent as a hint.
	// Many servers limit addresses to 8 KiB, and client_id is sent in any
	// case.
	maxHint = 4 << 10
	// revokeTimeout bounds the revocation of a token after sign-out.
	revokeTimeout = 2 * time.Second
)

// LogoutHandler signs the person out of this browser. POST ends the session
// here and then redirects to the provider to end the session there
// (RP-Initiated Logout §2). Sessions on other devices continue. GET is where
// the provider redirects back to; it shows a page and ends nothing. A POST
// from another site is refused, and so is one without Sec-Fetch-Site and
// Origin.
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
		return errCrossOrigin.because(nil)
	}
	if err := rp.checkOrigin(r); err != nil {
		return err
	}
	var rec *session.Record
	if ref, ok := rp.sessionRef(r); ok {
		var err error
		if rec, err = rp.sessions.keeper.End(r.Context(), ref.Key); err != nil {
			return failure(err)
		}
	}
	if err := rp.destroyApp(r.Context()); err != nil {
		return err
	}
	rp.clearAll(w, r)
	if rec == nil {
		redirect(w, rp.afterLogout(r))
		return nil
	}
	owner := rp.sessions.partyOf(rec)
	if owner == nil { // the relying party of the record is not in this process
		redirect(w, rp.afterLogout(r))
		return nil
	}
	owner.ended(r.Context(), rec, "")
	redirect(w, owner.endSession(w, r, rec))
	return nil
}

// ended emits the logout event and revokes the refresh token. Only the relying
// party of the session may do that, because no other provider may see the
// token.
func (rp *RelyingParty) ended(ctx context.Context, rec *session.Record, code string) {
	rp.revokeLater(string(rec.Refresh))
	rp.provider.emit(ctx, Event{Name: EventLogout, Code: code, Subject: rec.Subject, ClientID: rec.ClientID})
}

// replaceOld ends the session that the browser had before, no matter whose it
// was, and returns it. It revokes the refresh token only if the person or the
// provider has changed. Otherwise the old token may belong to the same grant
// as the new one, and servers may end the whole grant (RFC 7009 §2.1).
func (rp *RelyingParty) replaceOld(ctx context.Context, r *http.Request, next *session.Record) (*session.Record, error) {
	ref, ok := rp.sessionRef(r)
	if !ok {
		return nil, nil
	}
	old, err := rp.sessions.keeper.End(ctx, ref.Key)
	if errors.Is(err, session.ErrUnreadable) { // sealed with an unknown key; it must not block this sign-in
		return nil, nil
	}
	if err != nil || old == nil {
		return nil, failure(err)
	}
	if old.Issuer == next.Issuer && old.ClientID == next.ClientID && old.Subject == next.Subject {
		old.Refresh = nil
	}
	if owner := rp.sessions.partyOf(old); owner != nil {
		owner.ended(ctx, old, "replaced")
	}
	return old, nil
}

// clearAll deletes the session cookie and those of pending sign-ins.
func (rp *RelyingParty) clearAll(w http.ResponseWriter, r *http.Request) {
	rp.clearCookie(w, rp.cookie)
	seen := 0
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, rp.attemptPrefix) && seen < maxAttemptsSeen {
			rp.clearCookie(w, c.Name)
			seen++
		}
	}
}

// endSession returns the address that ends the session at the provider
// (RP-Initiated Logout §2). If the provider has none or cannot be reached, it
// returns the page after sign-out, because the session here has already ended.
func (rp *RelyingParty) endSession(w http.ResponseWriter, r *http.Request, rec *session.Record) string {
	md, err := rp.provider.Metadata(r.Context())
	if err != nil || md.EndSessionEndpoint == "" {
		return rp.afterLogout(r)
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return rp.afterLogout(r)
	}
	state := rand.Text()
	rp.setCookie(w, rp.logoutCookie, state, logoutLife)
	q := u.Query()
	q.Set("client_id", rp.client.ID)
	q.Set("post_logout_redirect_uri", rp.logoutURL(r))
	q.Set("state", state)
	if len(rec.IDToken) > 0 && len(rec.IDToken) <= maxHint {
		q.Set("id_token_hint", string(rec.IDToken))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// logoutURL returns the address of LogoutHandler that the provider redirects
// back to.
func (rp *RelyingParty) logoutURL(r *http.Request) string {
	if rp.config.LogoutURL != "" {
		return rp.config.LogoutURL
	}
	path, _, _ := strings.Cut(navigation.Address(r), "?")
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

// loggedOut handles GET, to which the provider redirects back. The state only
// decides whether to redirect to LoggedOutURL; it triggers nothing else
// (RP-L2).
func (rp *RelyingParty) loggedOut(w http.ResponseWriter, r *http.Request) error {
	known := false
	if value, found := navigation.Cookie(r, rp.logoutCookie); found {
		rp.clearCookie(w, rp.logoutCookie)
		known = hmac.Equal([]byte(value), []byte(r.URL.Query().Get("state")))
	}
	_, err := rp.load(r)
	switch {
	case err == nil:
		rp.writePage(w, http.StatusOK, page{
			Title: "You are signed in", Message: "Do you want to sign out?",
			Action: rp.ownPath(r), Button: "Sign out", Link: rp.config.HomeURL, Label: "Stay signed in",
		})
		return nil
	case !errors.Is(err, session.ErrNone):
		return err
	case known && rp.config.LoggedOutURL != "":
		redirect(w, rp.config.LoggedOutURL)
		return nil
	}
	rp.writePage(w, http.StatusOK, page{
		Title: "You are signed out", Message: "You can close this window.", Link: rp.config.HomeURL, Label: "Continue",
	})
	return nil
}

// revokeLater revokes a refresh token at the provider in the background (RFC
// 7009). A failure is only reported as an event. Sessions.Shutdown waits for
// it.
func (rp *RelyingParty) revokeLater(refresh string) {
	if refresh == "" {
		return
	}
	rp.sessions.chores.Start(storekey.Of("gatehouse/revoke", refresh), revokeTimeout, func(ctx context.Context) (struct{}, error) {
		err := rp.provider.revoke(ctx, rp.client, refresh, "refresh_token")
		if err != nil {
			rp.provider.emit(ctx, Event{Name: EventTrouble, Code: troubleRevocation, ClientID: rp.client.ID, Err: err})
		}
		return struct{}{}, err
	})
}
