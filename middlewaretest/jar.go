package middlewaretest

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The limits of Chromium's cookie store.
const (
	mostPerSite = 180 // cookies of one site; with more, some are removed
	keptPerSite = 150 // how many are left then
	// laxPost is how long a cookie without a SameSite attribute is still sent
	// with a form from another site.
	laxPost = 2 * time.Minute
)

// jar keeps cookies as Chromium does. Where Chromium differs from RFC 6265bis
// it follows Chromium, because that is what a service meets.
type jar struct {
	now     func() time.Time
	cookies []*cookie
	created int // so far
}

// cookie is a stored cookie. RFC 6265bis §5.7.
type cookie struct {
	setCookie
	hostOnly      bool
	created, used time.Time
	order         int // of creation
}

// relation says how the site of a request relates to who makes it.
type relation int

// The relations. RFC 6265bis §5.2.
const (
	crossSite     relation = iota // a part of another site's page
	crossSitePost                 // the top-level page changes, by another site's form
	crossSitePage                 // the top-level page changes, by another site's link
	sameSite                      // no other site is involved
)

// set stores the cookies that an answer sets.
func (j *jar) set(u *url.URL, lines []string, from relation) {
	for _, line := range lines {
		if c, ok := parseSetCookie(line, j.now()); ok {
			j.store(u, c, from)
		}
	}
}

// store implements RFC 6265bis §5.7.
func (j *jar) store(u *url.URL, set setCookie, from relation) {
	j.created++
	c := &cookie{setCookie: set, created: j.now(), used: j.now(), order: j.created}
	secure := trustworthy(u)
	if !c.takeDomain(hostName(u)) || !c.prefixed() {
		return
	}
	switch {
	case c.secure && !secure:
		return
	case c.sameSite == http.SameSiteNoneMode && !c.secure:
		return
	case c.sameSite != http.SameSiteNoneMode && from == crossSite: // another site's page cannot set cookies that belong to this site only
		return
	}
	if c.path == "" {
		c.path = defaultPath(u)
	}
	if !secure && slices.ContainsFunc(j.cookies, c.hides) {
		return
	}
	j.cookies = slices.DeleteFunc(j.cookies, func(old *cookie) bool {
		if old.name != c.name || old.domain != c.domain || old.hostOnly != c.hostOnly || old.path != c.path {
			return false
		}
		if old.value == c.value {
			c.created, c.order = old.created, old.order
		}
		return true
	})
	if !c.dead(j.now()) {
		j.cookies = append(j.cookies, c)
		j.cut(c.domain)
	}
}

// takeDomain applies the Domain attribute to the cookie if the host may use it.
// There is no list of public suffixes: names of one label are refused, and all
// others are treated as somebody's.
func (c *cookie) takeDomain(host string) bool {
	if !c.hasDomain || c.domain == host && (isAddress(host) || !strings.Contains(host, ".")) {
		c.domain, c.hostOnly = host, true
		return true
	}
	return strings.Contains(c.domain, ".") && domainMatch(host, c.domain)
}

// prefixed checks what the prefix of a name promises. RFC 6265bis §4.1.3.
// Browsers ignore the case of the letters.
func (c *cookie) prefixed() bool {
	has := func(prefix string) bool {
		return len(c.name) >= len(prefix) && strings.EqualFold(c.name[:len(prefix)], prefix)
	}
	if c.name == "" { // it is sent without "=" and read as a name
		v := strings.ToLower(c.value)
		return !strings.HasPrefix(v, "__secure-") && !strings.HasPrefix(v, "__host-") && !strings.HasPrefix(v, "__http-")
	}
	switch {
	case has("__Host-"):
		return c.secure && c.path == "/" && (!c.hasDomain || isAddress(c.domain)) && (!has("__Host-Http-") || c.httpOnly)
	case has("__Http-"):
		return c.secure && c.httpOnly
	case has("__Secure-"):
		return c.secure
	}
	return true
}

// hides reports whether a cookie without Secure, from an address without TLS,
// would take precedence over a Secure one. RFC 6265bis §5.7 item 16.
func (c *cookie) hides(old *cookie) bool {
	return old.secure && old.name == c.name && (domainMatch(c.domain, old.domain) || domainMatch(old.domain, c.domain)) && pathMatch(c.path, old.path)
}

func (c *cookie) dead(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }

// cut makes room when a site has too many cookies. It removes expired ones
// first, then those without Secure, then those that have not been sent for the
// longest time.
func (j *jar) cut(domain string) {
	now := j.now()
	j.cookies = slices.DeleteFunc(j.cookies, func(c *cookie) bool { return c.dead(now) })
	site := registrable(domain)
	var of []*cookie
	for _, c := range j.cookies {
		if registrable(c.domain) == site {
			of = append(of, c)
		}
	}
	if len(of) <= mostPerSite {
		return
	}
	slices.SortStableFunc(of, func(a, b *cookie) int {
		if a.secure != b.secure {
			if b.secure {
				return -1
			}
			return 1
		}
		return a.used.Compare(b.used)
	})
	over := of[:len(of)-keptPerSite]
	j.cookies = slices.DeleteFunc(j.cookies, func(c *cookie) bool { return slices.Contains(over, c) })
}

// get returns the cookies that go with a request, in the order of RFC 6265bis
// §5.8.3.
func (j *jar) get(u *url.URL, to relation) []*cookie {
	now, host, path := j.now(), hostName(u), u.EscapedPath()
	var out []*cookie
	for _, c := range j.cookies {
		if c.dead(now) || c.secure && !trustworthy(u) || !pathMatch(path, c.path) || !c.goes(to, now) {
			continue
		}
		if host == c.domain || !c.hostOnly && domainMatch(host, c.domain) {
			c.used = now
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *cookie) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(a.order, b.order))
	})
	return out
}

// goes applies SameSite. A cookie without it is Lax, with an exception for
// young ones.
func (c *cookie) goes(to relation, now time.Time) bool {
	switch c.sameSite {
	case http.SameSiteNoneMode:
		return true
	case http.SameSiteStrictMode:
		return to == sameSite
	case http.SameSiteLaxMode:
		return to >= crossSitePage
	}
	return to >= crossSitePage || to == crossSitePost && now.Before(c.created.Add(laxPost))
}

// cookieHeader returns the Cookie header.
func cookieHeader(cookies []*cookie) string {
	var parts []string
	for _, c := range cookies {
		if c.name == "" {
			parts = append(parts, c.value)
			continue
		}
		parts = append(parts, c.name+"="+c.value)
	}
	return strings.Join(parts, "; ")
}

// hostName is the host of an address as cookies use it: in lower case, without
// a port.
func hostName(u *url.URL) string { return strings.ToLower(u.Hostname()) }

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// domainMatch implements RFC 6265bis §5.1.3.
func domainMatch(host, domain string) bool {
	return host == domain || !isAddress(host) && strings.HasSuffix(host, "."+domain)
}

// pathMatch implements RFC 6265bis §5.1.4.
func pathMatch(path, of string) bool {
	if path == "" {
		path = "/"
	}
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || strings.HasSuffix(of, "/") || rest[0] == '/')
}

// trustworthy reports whether browsers send Secure cookies and Sec-Fetch
// headers to an address: it uses TLS or is loopback.
func trustworthy(u *url.URL) bool {
	host := hostName(u)
	if u.Scheme == "https" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// registrable is the part of a host name that one party registers: the last two
// labels. There is no list of public suffixes, so all names below co.uk count
// as one party here; use other names in tests. An IP address stands for itself.
func registrable(host string) string {
	if isAddress(host) {
		return host
	}
	labels := strings.Split(host, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

// siteOf returns what SameSite and Sec-Fetch-Site compare: the scheme and the
// registrable domain, without the port.
func siteOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + registrable(hostName(u))
}
