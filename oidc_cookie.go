package gatehouse

// Tested in internal/e2e/session, internal/e2e/signin.

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/attempt"
	"example.com/gatehouse/internal/authresponse"
	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// nameCookies derives the names of the cookies. The names hold a hash, because
// cookies do not distinguish ports (decision 6). The prefix __Host- ties a
// cookie to this host, to https and to the path "/".
func (rp *RelyingParty) nameCookies() {
	prefix := "__Host-gh-"
	rp.secure = true
	if rp.redirect.Scheme == "http" && outbound.IsLoopback(rp.redirect.Hostname()) {
		prefix, rp.secure = "gh-", false
	}
	const hashLen = 8
	mine := storekey.Of("gatehouse/cookie", rp.provider.issuer, rp.client.lasting(), rp.config.RedirectURL)
	rp.home = session.Home(rp.sessions.name, outbound.Origin(rp.redirect))
	whose := mine
	if rp.sessions.named {
		whose = rp.home
	}
	rp.cookie = prefix + storekey.Of("gatehouse/session cookie", whose)[:hashLen]
	rp.attemptPrefix = prefix + mine[:hashLen] + "-"
	rp.logoutCookie = prefix + mine[:hashLen] + ".out"
	rp.binding = mine + " "
}

// sessionRef reads the session cookie of a request. It reports whether there
// is one with the form of a reference to a login.
func (rp *RelyingParty) sessionRef(r *http.Request) (session.Ref, bool) {
	value, found := navigation.Cookie(r, rp.cookie)
	if !found {
		return session.Ref{}, false
	}
	return session.ParseRef(rp.home, value)
}

// mayBeSignedIn implements sessionGuard.
func (rp *RelyingParty) mayBeSignedIn(r *http.Request) bool {
	_, ok := rp.sessionRef(r)
	return ok
}

// setCookie sets one of our cookies. It is SameSite=Lax, because with Strict
// the browser would not send it to the page after the callback (M26).
func (rp *RelyingParty) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: max(int(life/time.Second), 1),
		Secure: rp.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// clearCookie deletes a cookie. Name, path and flags must be those it was set
// with.
func (rp *RelyingParty) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Path: "/", MaxAge: -1, Expires: time.Unix(1, 0),
		Secure: rp.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// setAttempt sets the cookie of an attempt. If the answer is posted by the
// provider's page, a cookie that is Lax would not come with it (RP-C4): it has to
// be None, and browsers take that only with Secure, on http loopback too.
func (rp *RelyingParty) setAttempt(w http.ResponseWriter, name, value string, a *attempt.Attempt, life time.Duration) {
	if kind, _ := authresponse.Unpack(a.Answer); kind.Mode != authresponse.FormPost {
		rp.setCookie(w, name, value, life)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: max(int(life/time.Second), 1),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode,
	})
}

// clearAttempt deletes the cookie of an attempt of either kind. A Secure cookie is
// deleted by a Secure one only, which browsers take from https and loopback.
func (rp *RelyingParty) clearAttempt(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Path: "/", MaxAge: -1, Expires: time.Unix(1, 0),
		Secure: rp.secure || rp.asked.Mode == authresponse.FormPost, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// unsetCookie removes a cookie of setCookie from a response that has not been
// sent yet.
func (rp *RelyingParty) unsetCookie(w http.ResponseWriter, name string) {
	h := w.Header()
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, name+"=") })
}

// clears reports whether the response already deletes the cookie.
func clears(w http.ResponseWriter, name string) bool {
	return slices.ContainsFunc(w.Header()["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, name+"=;") })
}
