package gatehouse

// Tested in internal/e2e/session, internal/e2e/signin.

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/navigation"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// nameCookies derives the cookies' names. Cookies ignore ports, hence the hash in
// the name (decision 6). __Host- ties a cookie to this host, to
// Secure and to the whole path.
func (rp *RelyingParty) nameCookies() {
	prefix := "__Host-gh-"
	rp.secure = true
	if rp.redirect.Scheme == "http" && outbound.IsLoopback(rp.redirect.Hostname()) {
		prefix, rp.secure = "gh-", false
	}
	const hashLen = 8
	mine := storekey.Of("gatehouse/cookie", rp.provider.issuer, rp.client.ID, rp.config.RedirectURL)
	session := mine
	if rp.sessions.named {
		session = storekey.Of("gatehouse/shared cookie", rp.sessions.name, rp.redirect.Scheme+"://"+rp.redirect.Host)
	}
	rp.cookie = prefix + session[:hashLen]
	rp.attemptPrefix = prefix + mine[:hashLen] + "-"
	rp.logoutCookie = prefix + mine[:hashLen] + ".out"
	rp.binding = mine + " "
}

// sessionRef reads the session cookie of a request. It reports whether there is
// one that can name a login.
func (rp *RelyingParty) sessionRef(r *http.Request) (session.Ref, bool) {
	value, found := navigation.Cookie(r, rp.cookie)
	if !found {
		return session.Ref{}, false
	}
	return session.ParseRef(value)
}

// setCookie sets a cookie of ours. Lax, because Strict loses the cookie on the
// page after the callback (M26).
func (rp *RelyingParty) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: max(int(life/time.Second), 1),
		Secure: rp.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// clearCookie takes a cookie away: same name, path and flags, in the past.
func (rp *RelyingParty) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Path: "/", MaxAge: -1, Expires: time.Unix(1, 0),
		Secure: rp.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// unsetCookie takes back what setCookie has put on an answer not yet sent.
func (rp *RelyingParty) unsetCookie(w http.ResponseWriter, name string) {
	h := w.Header()
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, name+"=") })
}

// returnPath is the path to go to after sign-in: the wish if it is one of this
// site that a GET may safely open, otherwise HomeURL (R1, RT6).
func (rp *RelyingParty) returnPath(wish string) string {
	c := &rp.config
	target, ok := navigation.ReturnPath(wish, c.RedirectURL, c.LoginURL, c.LogoutURL, c.LoggedOutURL)
	if !ok {
		return c.HomeURL
	}
	return target
}
