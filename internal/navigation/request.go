// Package navigation classifies a browser's request (a navigation, a prefetch,
// a frame or a script), reads its cookies, and decides which paths a person may
// be sent back to.
//
// It knows HTTP requests and addresses. It must not know sessions or sign-ins:
// its caller decides what a cookie means, what is refused or begun, and where
// home is.
package navigation

import (
	"net/http"
	"net/url"
	"strings"
)

// maxReferer bounds the Referer of a form before it is parsed. It is as long as
// the whole header of an honest request.
const maxReferer = 32 << 10

// Is reports whether a browser opens the address as a page. Only such a request
// is sent to sign-in; prefetches and frames are not.
func Is(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && navigates(r)
}

func navigates(r *http.Request) bool {
	h := r.Header
	if isPrefetch(h) || h.Get("Upgrade") != "" {
		return false
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" { // Fetch Metadata Request Headers §2.2
		dest := h.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "" || dest == "document")
	}
	for _, accept := range h.Values("Accept") {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}

func isPrefetch(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(h.Get(name)), "prefetch") {
			return true
		}
	}
	return false
}

// MayOpenPage reports whether the request may open a page of its own: it is not
// a prefetch, and if the browser says what it does, it is a navigation of a
// whole window. Unlike [Is], it allows a client that says nothing.
func MayOpenPage(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return !isPrefetch(r.Header) && (mode == "" || mode == "navigate") && (dest == "" || dest == "document")
}

// WantsPage reports whether a person will look at the answer.
func WantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// ComesBackTo reports whether a person may be sent away from the request and
// come back later, and to which address. A navigation comes back to its own
// address. A form posted by navigation comes back, without its body, to the
// page it was on if that page is on this host; otherwise address is empty. The
// address is what the client sent: check it with [ReturnPath] before sending
// anybody there.
func ComesBackTo(r *http.Request) (address string, ok bool) {
	if Is(r) {
		return Address(r), true
	}
	if r.Method != http.MethodPost || !navigates(r) {
		return "", false
	}
	if len(r.Referer()) > maxReferer {
		return "", true
	}
	page, err := url.Parse(r.Referer())
	if err != nil || page.Host != r.Host {
		return "", true
	}
	return page.RequestURI(), true
}

// Address is the path and query as the client sent them. What an outer handler
// stripped from r.URL (http.StripPrefix) belongs to the address to return to. A
// request target that is not a path, such as "x:.evil.example", which net/http
// accepts, gives "/" (R1).
func Address(r *http.Request) string {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") && len(r.URL.Path)+len(r.URL.RawQuery) <= MaxPath {
		target = r.URL.RequestURI() // costs several times its length (G11)
	}
	if strings.HasPrefix(target, "/") {
		return target
	}
	return "/"
}
