package navigation

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxShown is how much of a host may be shown, in bytes. Longer ones are not
// names.
const maxShown = 100

// WhereFrom says for the log where a request says that it comes from, and to
// which scheme and host it came. Behind a proxy that changes Host or ends TLS,
// the two differ although the page is ours.
func WhereFrom(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	site := "absent"
	switch said := r.Header.Get("Sec-Fetch-Site"); said {
	case "same-origin", "same-site", "cross-site", "none":
		site = said
	case "":
	default:
		site = fmt.Sprintf("other (%d bytes)", len(said))
	}
	return fmt.Sprintf("Origin is %s, Sec-Fetch-Site is %s, and the request came to %s", origin(r.Header.Get("Origin")), site, shown(scheme, r.Host))
}

// origin returns scheme and host of an Origin header, and nothing else that a
// stranger may write there.
func origin(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "absent"
	case raw == "null":
		return raw
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Sprintf("unreadable (%d bytes)", len(raw))
	}
	return shown(u.Scheme, u.Host)
}

func shown(scheme, host string) string {
	if len(host) > maxShown {
		return fmt.Sprintf("%s://(%d bytes)", scheme, len(host))
	}
	return fmt.Sprintf("%s://%s", scheme, host)
}

// AskedHost returns the host that the browser asked, as far as the request
// shows it. A proxy that changes Host names the one of its client first (RFC
// 7239 §5.3). Anybody may claim any name, so this is for the log.
func AskedHost(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	return cmp.Or(strings.TrimSpace(first), forwarded(r, "host"), r.Host)
}

// SaysHTTPS reports whether the browser asked by https, as far as the request
// shows it. A proxy that ends TLS names the scheme of its client first (RFC
// 7239 §5.4).
func SaysHTTPS(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https") || strings.EqualFold(forwarded(r, "proto"), "https")
}

// forwarded returns the parameter of that name in the first element of
// Forwarded, or "".
func forwarded(r *http.Request, parameter string) string {
	first, _, _ := strings.Cut(r.Header.Get("Forwarded"), ",")
	for pair := range strings.SplitSeq(first, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, parameter) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}
