package navigation

import (
	"net/http"
	"strings"
)

// maxCookies is how many cookies of a request are examined, as in net/http.
// Browsers keep a few hundred for a site.
const maxCookies = 3000

// Cookie returns the raw value of the first cookie of that name; our own values
// need no decoding. http.Request.Cookie builds every cookie of that name, which
// for a stranger's thousands of cookies takes over a megabyte (G11).
func Cookie(r *http.Request, name string) (value string, found bool) {
	seen := 0
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if seen++; seen > maxCookies {
				return "", false
			}
			if got, value, _ := strings.Cut(strings.Trim(pair, " \t"), "="); got == name {
				return value, true
			}
		}
	}
	return "", false
}
