package middlewaretest

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The limits of RFC 6265bis §5.6, which Chromium uses.
const (
	mostNameValue = 4096 // bytes of name and value; a longer line is ignored
	mostAttribute = 1024 // bytes of an attribute's value; a longer attribute is ignored
	mostCookieAge = 400 * 24 * time.Hour
)

// setCookie is a Set-Cookie line as it was sent. RFC 6265bis §5.6.
type setCookie struct {
	name, value      string
	domain, path     string // as given; path is "" if it does not begin with a slash
	hasDomain        bool
	expires          time.Time // zero for a session cookie
	secure, httpOnly bool
	sameSite         http.SameSite // 0 or http.SameSiteDefaultMode if not given
}

// parseSetCookie reads a line. It reports whether a browser would process it
// further.
func parseSetCookie(line string, now time.Time) (c setCookie, ok bool) {
	pair, rest, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	if !found {
		name, value = "", pair
	}
	c.name, c.value = trimBlank(name), trimBlank(value)
	if c.name+c.value == "" || len(c.name)+len(c.value) > mostNameValue || hasControl(c.name+c.value) {
		return c, false
	}
	var expires, age string // of two attributes with the same name the later one counts
	for part := range strings.SplitSeq(rest, ";") {
		key, v, _ := strings.Cut(part, "=")
		key, v = strings.ToLower(trimBlank(key)), trimBlank(v)
		if hasControl(key + v) {
			return c, false
		}
		switch {
		case len(v) > mostAttribute:
		case key == "expires":
			expires = v
		case key == "max-age":
			age = v
		default:
			c.attribute(key, v)
		}
	}
	if at, ok := cookieDate(expires); ok {
		c.expires = earlier(at, now.Add(mostCookieAge))
	}
	if seconds, ok := maxAge(age); ok { // takes precedence
		c.expires = earlier(now.Add(seconds), now.Add(mostCookieAge))
	}
	return c, true
}

func trimBlank(s string) string { return strings.Trim(s, " \t") }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// attribute reads one attribute that is not about time.
func (c *setCookie) attribute(key, value string) {
	switch key {
	case "domain":
		c.domain, c.hasDomain = strings.ToLower(strings.TrimPrefix(value, ".")), value != ""
	case "path":
		c.path = ""
		if strings.HasPrefix(value, "/") {
			c.path = value
		}
	case "secure":
		c.secure = true
	case "httponly":
		c.httpOnly = true
	case "samesite":
		c.sameSite = http.SameSiteDefaultMode
		switch strings.ToLower(value) {
		case "strict":
			c.sameSite = http.SameSiteStrictMode
		case "lax":
			c.sameSite = http.SameSiteLaxMode
		case "none":
			c.sameSite = http.SameSiteNoneMode
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// maxAge reads Max-Age. Zero or less means the past. RFC 6265bis §5.6.2.
func maxAge(value string) (time.Duration, bool) {
	n, err := strconv.ParseInt(value, 10, 64) // on overflow at either end of its range
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, false
	case n <= 0:
		return -time.Second, true
	}
	return time.Duration(min(n, int64(mostCookieAge/time.Second))) * time.Second, true
}

// cookieDate reads Expires as RFC 6265bis §5.1.1 says: the parts may be in any
// order, with anything between them.
func cookieDate(value string) (time.Time, bool) {
	var clock []int
	day, month, year := 0, 0, -1
	for _, word := range strings.FieldsFunc(value, isDateDelimiter) {
		n, digits := leadingNumber(word)
		switch {
		case clock == nil && len(timeOfDay(word)) == 3:
			clock = timeOfDay(word)
		case day == 0 && (digits == 1 || digits == 2):
			day = n
		case month == 0 && monthOf(word) != 0:
			month = monthOf(word)
		case year < 0 && digits >= 2 && digits <= 4:
			year = n
		}
	}
	switch {
	case year >= 70 && year <= 99:
		year += 1900
	case year >= 0 && year <= 69:
		year += 2000
	}
	if clock == nil || day < 1 || day > 31 || month == 0 || year < 1601 || clock[0] > 23 || clock[1] > 59 || clock[2] > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, clock[0], clock[1], clock[2], 0, time.UTC), true
}

func isDateDelimiter(r rune) bool {
	return r == '\t' || r >= 0x20 && r <= 0x2f || r >= 0x3b && r <= 0x40 || r >= 0x5b && r <= 0x60 || r >= 0x7b && r <= 0x7e
}

// leadingNumber returns the number that a word begins with, and how many digits
// it has.
func leadingNumber(word string) (n, digits int) {
	for digits < len(word) && word[digits] >= '0' && word[digits] <= '9' && digits < 6 {
		n = n*10 + int(word[digits]-'0')
		digits++
	}
	return n, digits
}

// timeOfDay reads hh:mm:ss. It returns nil if the word is not a time.
func timeOfDay(word string) []int {
	var out []int
	for part := range strings.SplitSeq(word, ":") {
		n, digits := leadingNumber(part)
		if digits < 1 || digits > 2 || len(out) < 2 && digits != len(part) {
			return nil
		}
		out = append(out, n)
	}
	return out
}

func monthOf(word string) int {
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	if len(word) < 3 {
		return 0
	}
	at := strings.Index(names, strings.ToLower(word[:3]))
	if at < 0 || at%3 != 0 {
		return 0
	}
	return at/3 + 1
}

// defaultPath is the directory of an address. RFC 6265bis §5.1.4.
func defaultPath(u *url.URL) string {
	p := u.EscapedPath()
	last := strings.LastIndexByte(p, '/')
	if last <= 0 {
		return "/"
	}
	return p[:last]
}
