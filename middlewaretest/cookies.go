package middlewaretest

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// loopbackJar treats loopback as a secure context, as browsers do: Secure
// cookies are kept and sent there without TLS.
type loopbackJar struct{ jar *cookiejar.Jar }

func (j loopbackJar) Cookies(u *url.URL) []*http.Cookie { return j.jar.Cookies(trusted(u)) }

// SetCookies drops what a browser would not store.
func (j loopbackJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	secure := trusted(u).Scheme == "https"
	kept := make([]*http.Cookie, 0, len(cookies))
	for _, c := range cookies {
		switch {
		case c.Secure && !secure:
		case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		case strings.HasPrefix(c.Name, "__Secure-") && !c.Secure:
		case strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || c.Domain != ""): // RFC 6265bis §4.1.3.2
		default:
			kept = append(kept, c)
		}
	}
	j.jar.SetCookies(trusted(u), kept)
}

// trusted makes an http address on loopback an https one.
func trusted(u *url.URL) *url.URL {
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "http" || (u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return u
	}
	out := *u
	out.Scheme = "https"
	return &out
}
