package gatehouse

// Tested in internal/e2e/signin, internal/e2e/session.

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
)

// UserInfo asks the provider for the claims about the person whose session is on
// ctx, with the session's access token (OpenID Connect Core §5.3). The Identity
// that it returns is that of the session, with these claims and no others. The
// session keeps the claims that it has.
//
// If the provider does not accept the token, it is renewed and sent once more, as
// Refused says. One call takes ten seconds at most, and 32 KiB. Errors are *Error.
// The codes are those of Token and of Refused, "endpoint_missing" if the provider
// has no user info, "userinfo_unavailable" (503) if it cannot be had now,
// "userinfo_refused" if the token may not ask for it, and
// "userinfo_subject_mismatch" if it is about somebody else.
func (rp *RelyingParty) UserInfo(ctx context.Context) (*Identity, error) {
	live, err := rp.liveFrom(ctx)
	if err != nil {
		return nil, err
	}
	endpoint, err := rp.provider.userInfoEndpoint(ctx)
	if err == nil && endpoint == "" {
		err = errEndpoint.because(errors.New("the metadata has no userinfo_endpoint"))
	}
	if err != nil {
		return nil, failure(err)
	}
	for again := false; ; again = true {
		t, err := rp.Token(ctx)
		if err != nil {
			return nil, err
		}
		rec := live.record()
		claims, err := rp.userInfo(ctx, endpoint, t.AccessToken, rec.Subject, rec.ClientID)
		if errors.Is(err, errTokenNotTaken) && !again {
			if err := rp.Refused(ctx, t.AccessToken); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, failure(err)
		}
		encoded, err := claims.Encode()
		if err != nil {
			return nil, errUserInfo.because(err)
		}
		id := *IdentityFrom(ctx)
		id.claims, id.own = encoded, nil
		return &id, nil
	}
}

// LogoutRequest is what LogoutURL asks of the provider.
type LogoutRequest struct {
	// ReturnTo is the address that the provider redirects back to
	// (post_logout_redirect_uri): absolute, https or http on loopback, as it is
	// registered there. "" means that of LogoutHandler, which is known if LogoutURL
	// of the config is set or Handler is mounted. If the session is one of another
	// relying party with the same Sessions, it is the LogoutHandler of that one.
	ReturnTo string
	// State comes back with it, up to 512 bytes of text. LogoutState, or
	// LogoutHandler, checks that it is what this browser was sent away with. ""
	// means a random one.
	State string
}

const (
	// maxLogoutState bounds LogoutRequest.State, which travels in addresses and in
	// a cookie.
	maxLogoutState = 512
	// givenMark is before the state of an application in the cookie of a sign-out.
	givenMark = "~"
)

// LogoutURL is LogoutHandler by hand. It ends the session of the request's browser
// here, on every replica, revokes its token in the background, and returns the
// address at which the provider ends its own session and redirects back
// (RP-Initiated Logout §2). The caller redirects there. It sets cookies on w and
// marks the response "Cache-Control: no-store" and "Vary: Cookie".
//
// If nobody is signed in, or the provider has no such address or cannot be reached,
// it returns the address to come back to, with the state: the session here has
// ended in any case. A script, which must not see the ID Token in the address,
// gets one of LogoutHandler that goes on to the provider within a minute, or one
// without the ID Token if LogoutHandler is not known to be mounted.
//
// A request of another site is refused whatever its method, and so are HEAD and a
// prefetch. Browsers from before 2023 do not tell where a link was, so for them call
// it for a POST only, as LogoutHandler does. With SessionsConfig.App the handler has
// to be within its LoadAndSave. Errors are *Error, such as "store_unavailable" (503);
// the session may go on then.
func (rp *RelyingParty) LogoutURL(w http.ResponseWriter, r *http.Request, o LogoutRequest) (string, error) {
	if err := rp.checkMade(); err != nil {
		return "", errInternal.because(err)
	}
	perBrowser(w.Header())
	if r.Method == http.MethodHead || navigation.IsPrefetch(r) {
		return "", errNoNavigation.because(errors.New("HEAD or a prefetch"))
	}
	if err := rp.checkNoLink(r); err != nil {
		return "", err
	}
	back := o.ReturnTo
	if back == "" {
		back = rp.logoutAddress()
	}
	if err := rp.checkLogout(r, back, o.State); err != nil {
		return "", errLogoutURL.because(err)
	}
	ended, err := rp.endHere(w, r, false)
	if err != nil {
		return "", err
	}
	state, kept := o.State, givenMark+base64.RawURLEncoding.EncodeToString([]byte(o.State))
	if state == "" {
		state = rand.Text()
		kept = state
	}
	rec, owner := rp.whereTo(r.Context(), ended)
	by := rp
	if owner != nil && o.ReturnTo == "" && owner.logoutAddress() != "" { // its provider knows its address alone
		by, back = owner, owner.logoutAddress()
	}
	by.setCookie(w, by.logoutCookie, kept, logoutLife)
	handler := by.logoutAddress()
	script := navigation.IsScript(r)
	location := ""
	if owner != nil {
		location = owner.endSessionURL(r.Context(), rec, back, state, !script || handler != "")
	}
	if location == "" {
		return withState(back, state), nil
	}
	if script && handler != "" {
		path := navigation.Path(handler)
		own, err := by.sealLeave(r, (&url.URL{Path: path}).EscapedPath(), leaving{Until: rp.sessions.now().Add(leaveLife), Cookie: by.logoutCookie, State: kept, Location: location})
		if err != nil { // the session has ended all the same
			return withState(back, state), nil
		}
		return own, nil
	}
	return location, nil
}

// checkLogout reports what the application has to mend. Nothing has ended yet.
func (rp *RelyingParty) checkLogout(r *http.Request, back, state string) error {
	if back == "" {
		return errors.New("ReturnTo: empty, and the address of LogoutHandler is not known")
	}
	if _, err := outbound.CheckURL(back, false); err != nil {
		return fmt.Errorf("ReturnTo: %w", err)
	}
	if len(state) > maxLogoutState || !utf8.ValidString(state) || strings.ContainsFunc(state, unicode.IsControl) {
		return fmt.Errorf("%s: %d bytes that are no text of at most %d bytes", "State", len(state), maxLogoutState)
	}
	if rp.sessions.app != nil && !rp.appLoaded(r.Context()) {
		return errors.New("SessionsConfig.App: the handler is not within its LoadAndSave")
	}
	return nil
}

// logoutAddress returns the address of LogoutHandler, or "" if it is not known to
// be mounted.
func (rp *RelyingParty) logoutAddress() string {
	switch {
	case rp.config.LogoutURL != "":
		return rp.config.LogoutURL
	case rp.paths.mounted.Load():
		return siteOf(rp.redirect) + (&url.URL{Path: rp.paths.logout}).EscapedPath()
	}
	return ""
}

// LogoutState checks the state of a request with which the provider redirects back
// after LogoutURL, for a handler of the application at LogoutRequest.ReturnTo. It
// returns LogoutRequest.State, or "" if that was empty, and deletes the cookie. The
// error has the code "state_missing" or "state_unknown" (400): this browser was not
// sent away with that state, or more than ten minutes ago. Cookies of this site do
// not reach another one, so there the application compares the state itself.
func (rp *RelyingParty) LogoutState(w http.ResponseWriter, r *http.Request) (string, error) {
	if err := rp.checkMade(); err != nil {
		return "", errInternal.because(err)
	}
	perBrowser(w.Header())
	query, _ := navigation.Query(r.URL.RawQuery)
	if query.Get("state") == "" {
		return "", errStateMissing.because(nil)
	}
	given, ok := rp.matchState(r, query)
	if !ok {
		return "", errStateUnknown.because(errors.New("no sign-out of this browser has this state"))
	}
	rp.clearCookie(w, rp.logoutCookie)
	return given, nil
}

// matchState compares the state of an answer to a sign-out with the cookie. It
// returns what the application gave.
func (rp *RelyingParty) matchState(r *http.Request, query url.Values) (given string, ok bool) {
	kept, found := navigation.Cookie(r, rp.logoutCookie)
	if !found || kept == "" || len(query["state"]) != 1 {
		return "", false
	}
	state := query.Get("state")
	want, isGiven := strings.CutPrefix(kept, givenMark)
	if isGiven {
		b, err := base64.RawURLEncoding.Strict().DecodeString(want)
		if err != nil {
			return "", false
		}
		want, given = string(b), string(b)
	}
	return given, hmac.Equal([]byte(want), []byte(state))
}

// givenState returns the state that the application gave, if it comes back in the
// request.
func (rp *RelyingParty) givenState(r *http.Request) string {
	if len(r.URL.RawQuery) > maxQuery {
		return ""
	}
	query, _ := navigation.Query(r.URL.RawQuery)
	if given, ok := rp.matchState(r, query); ok {
		return given
	}
	return ""
}

// withState adds a state to an address, unless it is empty.
func withState(address, state string) string {
	if state == "" {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	q := u.Query()
	q.Set("state", state)
	u.RawQuery = q.Encode()
	return u.String()
}
