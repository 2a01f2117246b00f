package dpop

import (
	"net/url"
	"strings"
)

// Address is the address of a request, in a form in which equal ones are equal
// texts (RFC 3986 §6.2.2, §6.2.3). It has no query and no fragment.
type Address string

// String returns the address.
func (a Address) String() string { return string(a) }

// NewAddress returns the address of a path below a base. The path is as it was
// written in the request, and begins with a slash. Without one it is no address
// that anybody can name.
func NewAddress(base Base, path string) Address {
	path, _, _ = strings.Cut(path, "?")
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	return Address(base.origin + normalPath(base.prefix+path))
}

// Base is the address by which clients call an API: an origin, and what a proxy
// in front strips from every path.
type Base struct{ origin, prefix string }

// NewBase returns the base at u, which has a scheme and a host and nothing
// besides them but a path.
func NewBase(u *url.URL) Base {
	return Base{originOf(u), strings.TrimSuffix(u.EscapedPath(), "/")}
}

// String returns the base as an address.
func (b Base) String() string { return b.origin + b.prefix }

// Is reports whether htu names the address. As RFC 9449 §4.3 item 9 says, a
// query and a fragment of htu do not count.
func (a Address) Is(htu string) bool {
	if i := strings.IndexAny(htu, "?#"); i >= 0 {
		htu = htu[:i]
	}
	if htu == string(a) { // most clients write it so
		return htu != ""
	}
	u, err := url.Parse(htu)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return false
	}
	return a != "" && originOf(u)+normalPath(PathOf(htu)) == string(a)
}

// PathOf returns the path of an absolute address as it is written. url.URL writes
// one anew that has a character which must not be there, and %2F becomes a slash.
func PathOf(address string) string {
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		address = address[:i]
	}
	_, rest, _ := strings.Cut(address, "//")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/" // RFC 9110 §4.2.3
}

// originOf returns scheme and host in lower case, without the default port.
func originOf(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + strings.TrimSuffix(host, ":")
}

// normalPath writes each byte of a path in one way, and removes dot segments. An
// encoded slash stays encoded: it is another path.
func normalPath(path string) string {
	if plain(path) {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]) {
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
			if !unreserved(c) {
				writeEscape(&b, c)
				continue
			}
		} else if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%<>\\^`{|}", c) >= 0 {
			writeEscape(&b, c)
			continue
		}
		b.WriteByte(c)
	}
	return withoutDots(b.String())
}

// plain reports whether a path is in its normal form already, as nearly all are.
func plain(path string) bool {
	for i := range len(path) {
		if c := path[i]; c != '/' && !unreserved(c) || c == '.' && i > 0 && path[i-1] == '/' {
			return false
		}
	}
	return true
}

func writeEscape(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF" // RFC 3986 §6.2.2.1
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

// withoutDots removes the segments "." and ".." (RFC 3986 §5.2.4).
func withoutDots(path string) string {
	var out []string
	segments := strings.Split(path, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == ".":
		case s == "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/")
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
