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
		for more := true; more; {
			if seen++; seen > maxCookies {
				return "", false
			}
			var pair string
			pair, line, more = strings.Cut(line, ";")
			for len(pair) > 0 && (pair[0] == ' ' || pair[0] == '\t') {
				pair = pair[1:]
			}
			if !strings.HasPrefix(pair, name) {
				continue
			}
			value := strings.TrimRight(pair[len(name):], " \t")
			if value == "" || value[0] == '=' {
				return strings.TrimPrefix(value, "="), true
			}
		}
	}
	return "", false
}
