package navigation

import (
	"net/http"
	"strings"
)

// maxCookies is how many cookies of a request are looked at, as net/http does.
// Browsers keep some hundred for a site.
const maxCookies = 3000

// Cookie returns the value of the first cookie of that name, as it stands in
// the request: those of ours have no characters that need reading. The method of
// http.Request builds every cookie of the name, which for a stranger's thousands
// is over a megabyte (G11).
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
