package gatehouse

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/session"
	"example.com/gatehouse/internal/storekey"
)

// maxReturnPath bounds the path to return to after sign-in.
const maxReturnPath = 256

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
	value, found := sentCookie(r, rp.cookie)
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
	target, ok := localPath(wish)
	if !ok {
		return rp.config.HomeURL
	}
	for _, o := range []string{rp.config.RedirectURL, rp.config.LoginURL, rp.config.LogoutURL, rp.config.LoggedOutURL} {
		if o != "" && servedPath(target) == servedPath(o) {
			return rp.config.HomeURL
		}
	}
	return target
}

// servedPath is the path of an address as a router sees it, which decodes and
// cleans: however our own handlers are spelled, nobody is sent to them.
func servedPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return path.Clean("/" + u.Path)
}

// localPath returns raw as a path of this site with its query, re-serialised
// from what was parsed, or false: for anything that a browser might read as
// another origin, now or after decoding, and for anything too long.
func localPath(raw string) (string, bool) {
	if len(raw) > maxReturnPath || !strings.HasPrefix(raw, "/") || hasUnsafe(raw) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || hasUnsafe(u.Path) {
		return "", false
	}
	clean := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	out := clean.EscapedPath()
	if strings.HasPrefix(out, "//") || !strings.HasPrefix(out, "/") || dotted(u.Path) {
		return "", false
	}
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out, len(out) <= maxReturnPath
}

// hasUnsafe finds what browsers and parsers disagree about: a second slash in
// front, backslashes, control and non-ASCII space characters.
func hasUnsafe(s string) bool {
	if strings.HasPrefix(s, "//") {
		return true
	}
	return strings.ContainsFunc(s, func(c rune) bool {
		return c == '\\' || c < ' ' || c == 0x7f || c == 0xfffd || (c >= 0x80 && c <= 0xa0) || (c >= 0x2000 && c <= 0x206f) || c == 0x3000 || c == 0xfeff
	})
}

// dotted reports whether path has a dot segment, which a browser would remove.
func dotted(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}
