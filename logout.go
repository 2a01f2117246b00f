package gatehouse

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// logoutLife is how long the way back from the provider may take.
	logoutLife = 10 * time.Minute
	// revokeTimeout bounds the revocation of a token after sign-out.
	revokeTimeout = 2 * time.Second
)

// LogoutHandler ends the session on POST, here and then at the provider
// (RP-Initiated Logout §2); other devices stay signed in. GET is the way back
// from the provider and shows a page; it changes nothing. A POST from another
// site is refused, and so is one that does not say where it comes from.
func (rp *RelyingParty) LogoutHandler() http.Handler {
	return rp.withApp(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Add("Vary", "Cookie")
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
	}))
}

// logout ends the session before it answers anything.
func (rp *RelyingParty) logout(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errCrossOrigin.because(nil)
	}
	if err := rp.checkOrigin(r); err != nil {
		return err
	}
	var rec *record
	if cookie, err := r.Cookie(rp.cookie); err == nil {
		if id, _, ok := parseCookie(cookie.Value); ok {
			if rec, err = rp.sessions.end(r.Context(), sessionKey(id)); err != nil {
				return err
			}
		}
	}
	if err := rp.destroyApp(r.Context()); err != nil {
		return err
	}
	rp.clearAll(w, r)
	if rec == nil {
		http.Redirect(w, r, rp.afterLogout(r), http.StatusSeeOther)
		return nil
	}
	rp.revokeLater(rec.refresh)
	rp.provider.emit(r.Context(), Event{Name: EventLogout, Subject: rec.subject, ClientID: rec.clientID})
	http.Redirect(w, r, rp.endSession(w, r, rec), http.StatusSeeOther)
	return nil
}

// clearAll takes away the session cookie and those of sign-ins under way.
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

// endSession is the address that ends the session at the provider (RP-Initiated
// Logout §2), or the one after sign-out when the provider has none or cannot be
// reached: we are signed out here already.
func (rp *RelyingParty) endSession(w http.ResponseWriter, r *http.Request, rec *record) string {
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
	if rec.idToken != "" {
		q.Set("id_token_hint", rec.idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// logoutURL is the address of LogoutHandler as the provider knows it.
func (rp *RelyingParty) logoutURL(r *http.Request) string {
	if rp.config.LogoutURL != "" {
		return rp.config.LogoutURL
	}
	path, _, _ := strings.Cut(addressOf(r), "?")
	return rp.redirect.Scheme + "://" + rp.redirect.Host + path
}

// afterLogout is where to go when the provider is not asked: the same handler
// by GET, which says that nobody is signed in.
func (rp *RelyingParty) afterLogout(r *http.Request) string {
	if rp.config.LoggedOutURL != "" {
		return rp.config.LoggedOutURL
	}
	u, err := url.Parse(rp.logoutURL(r))
	if err != nil {
		return rp.config.HomeURL
	}
	return u.EscapedPath()
}

// loggedOut answers the way back. The state only tells whether the configured
// page may follow; nothing else is driven by it (RP-L2).
func (rp *RelyingParty) loggedOut(w http.ResponseWriter, r *http.Request) error {
	known := false
	if cookie, err := r.Cookie(rp.logoutCookie); err == nil {
		rp.clearCookie(w, rp.logoutCookie)
		known = hmac.Equal([]byte(cookie.Value), []byte(r.URL.Query().Get("state")))
	}
	_, err := rp.load(r)
	switch {
	case err == nil:
		rp.writePage(w, http.StatusOK, page{
			Title: "You are signed in", Message: "Do you want to sign out?",
			Action: rp.afterForm(r), Button: "Sign out", Link: rp.config.HomeURL, Label: "Stay signed in",
		})
		return nil
	case err != errNotSignedIn:
		return err
	case known && rp.config.LoggedOutURL != "":
		http.Redirect(w, r, rp.config.LoggedOutURL, http.StatusSeeOther)
		return nil
	}
	rp.writePage(w, http.StatusOK, page{
		Title: "You are signed out", Message: "You can close this window.", Link: rp.config.HomeURL, Label: "Go on",
	})
	return nil
}

// afterForm is the address that the sign-out form posts to: this handler.
func (rp *RelyingParty) afterForm(r *http.Request) string {
	u, err := url.Parse(rp.logoutURL(r))
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// revokeLater revokes a refresh token at the provider (RFC 7009), best effort
// and not before the answer. Sessions.Shutdown waits for it.
func (rp *RelyingParty) revokeLater(refresh string) {
	if refresh == "" {
		return
	}
	rp.sessions.chores.Start(storeKey("gatehouse/revoke", refresh), revokeTimeout, func(ctx context.Context) (struct{}, error) {
		err := rp.provider.revoke(ctx, rp.client, refresh, "refresh_token")
		if err != nil {
			rp.provider.logger.WarnContext(ctx, "gatehouse: refresh token not revoked", "issuer", rp.provider.issuer, "error", err)
		}
		return struct{}{}, err
	})
}

// withApp runs LoadAndSave of the application's session manager around next
// when nobody did (M24).
func (rp *RelyingParty) withApp(next http.Handler) http.Handler {
	app := rp.sessions.app
	if app == nil {
		return next
	}
	wrapped := app.LoadAndSave(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rp.appLoaded(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		wrapped.ServeHTTP(w, r)
	})
}

// appLoaded asks scs whether its session is on ctx; it has no other way to tell
// than to panic.
func (rp *RelyingParty) appLoaded(ctx context.Context) (loaded bool) {
	defer func() { loaded = recover() == nil }()
	rp.sessions.app.Status(ctx)
	return true
}

// renewApp gives the application's session a new token at sign-in (R5).
func (rp *RelyingParty) renewApp(ctx context.Context) error {
	if rp.sessions.app == nil {
		return nil
	}
	if err := rp.sessions.app.RenewToken(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}

// destroyApp ends the application's session with the login.
func (rp *RelyingParty) destroyApp(ctx context.Context) error {
	if rp.sessions.app == nil {
		return nil
	}
	if err := rp.sessions.app.Destroy(ctx); err != nil {
		return errStoreUnavailable.because(err)
	}
	return nil
}
