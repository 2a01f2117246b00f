package navigation

import (
	"net/url"
	"path"
	"strings"
)

// MaxPath bounds a path to return to, in bytes.
const MaxPath = 256

// ReturnPath returns the wish as a path that a person may be sent back to. It
// must be a path of this site, by [LocalPath], and not one of handlers, which a
// GET must not open (RT6). Empty handlers do not count.
func ReturnPath(wish string, handlers ...string) (string, bool) {
	target, ok := LocalPath(wish)
	if !ok {
		return "", false
	}
	for _, h := range handlers {
		if h != "" && servedPath(target) == servedPath(h) {
			return "", false
		}
	}
	return target, true
}

// servedPath is the path of an address as a router sees it, decoded and
// cleaned. Nobody is sent back to one of our own handlers, however it is
// spelled.
func servedPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return path.Clean("/" + u.Path)
}

// LocalPath returns raw as a path of this site with its query, re-serialised
// from what was parsed. It returns false for anything that a browser might read
// as another origin, now or after decoding, and for anything longer than
// [MaxPath].
func LocalPath(raw string) (string, bool) {
	if len(raw) > MaxPath || !strings.HasPrefix(raw, "/") || hasUnsafe(raw) {
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
	return out, len(out) <= MaxPath
}

// hasUnsafe reports whether the text contains what browsers and parsers
// disagree about: a second slash at the start, backslashes, control characters
// or non-ASCII spaces.
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
