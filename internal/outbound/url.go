package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// urlError says what is wrong with a URL without quoting it.
type urlError string

func (e urlError) Error() string { return string(e) }

const (
	errURL      urlError = "not an absolute URL"
	errScheme   urlError = "URL is neither https nor http to a loopback host"
	errHost     urlError = "URL without a host"
	errPort     urlError = "URL with an impossible port"
	errUserinfo urlError = "URL with user information"
	errFragment urlError = "URL with a fragment"
)

// CheckURL parses an endpoint's URL. The URL must be absolute and https (or
// http to a loopback host, or to any host with insecureHTTP). It must have a
// host and no user information or fragment. Errors do not quote the URL.
func CheckURL(raw string, insecureHTTP bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errURL // the error of net/url quotes its input
	}
	if strings.Contains(raw, "#") { // RFC 6749 §3.1, §3.2; an empty fragment counts too
		return nil, errFragment
	}
	if err := checkURL(u, insecureHTTP); err != nil {
		return nil, err
	}
	return u, nil
}

func checkURL(u *url.URL, insecureHTTP bool) error {
	switch {
	case u == nil || u.Scheme == "" || u.Opaque != "":
		return errURL
	case u.Hostname() == "":
		return errHost
	case u.Scheme != "https" && (u.Scheme != "http" || !insecureHTTP && !IsLoopback(u.Hostname())):
		return errScheme
	case u.User != nil:
		return errUserinfo
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errPort
		}
	}
	return nil
}

// Origin is scheme, host and port of u in lower case, without the default port
// (RFC 6454 §4).
func Origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// IsLoopback reports whether host, given without a port and without brackets,
// is localhost or a name below it (RFC 6761 §6.3), in 127.0.0.0/8, or ::1. It
// does not resolve names.
func IsLoopback(host string) bool {
	if isLocalhost(host) {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Zone() == "" && !a.Is4In6() && a.IsLoopback()
}

// isLocalhost reports whether host is localhost or a name below it.
func isLocalhost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	below, found := cutSuffixFold(host, ".localhost")
	return found && below != "" && !strings.HasPrefix(below, ".") && !strings.HasSuffix(below, ".") && !strings.Contains(below, "..")
}

func cutSuffixFold(s, suffix string) (before string, found bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// WithSegment appends an id to an endpoint with exactly one slash between them
// (UMA Federated Authorization §3.2).
func WithSegment(endpoint, id string) string {
	base, query, has := strings.Cut(endpoint, "?")
	address := strings.TrimSuffix(base, "/") + "/" + url.PathEscape(id)
	if has {
		address += "?" + query
	}
	return address
}

// WithQuery appends parameters to an endpoint, which may have some already.
func WithQuery(endpoint string, q url.Values) string {
	separator := "?"
	if strings.Contains(endpoint, "?") {
		separator = "&"
	}
	return endpoint + separator + q.Encode()
}

// LastSegment returns the last segment of the path of an address, absolute or
// relative, decoded. It is "" if there is none.
func LastSegment(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	id, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	return id
}
