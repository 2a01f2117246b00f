// Package navigation says what a browser's request is, a navigation, a prefetch,
// a frame or a script, which cookies it brings, and which paths a person may be
// sent back to.
//
// It knows HTTP requests and addresses. It must not know sessions or sign-ins:
// what a cookie means, what is refused or begun, and where home is, its caller
// decides.
package navigation

import (
	"net/http"
	"net/url"
	"strings"
)

// maxReferer bounds the Referer of a form before it is parsed: as much as the
// whole header of an honest request has.
const maxReferer = 32 << 10

// Is reports whether a browser opens the address as a page: the only kind of
// request that is sent to sign-in. Prefetches and frames are not.
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

// MayOpenPage reports whether the request may open a page of its own: no
// prefetch, and where the browser says what it does, a navigation of a whole
// window. A client that says nothing may, in contrast to [Is].
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

// ComesBackTo reports whether a person may be sent away from the request and come
// back later, and where to. A navigation comes back to its own address. A form
// that was posted by navigation comes back to the page it was on, its body
// dropped, if that is one of this host; address is empty if it is not. The address
// is what the client sent: ask [ReturnPath] before anybody is sent there.
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

// Address is path and query as the client sent them: what an outer handler
// stripped from r.URL (http.StripPrefix) is part of where to come back to. A
// request target that is no path, such as "x:.evil.example", which net/http
// reads, gives "/" (R1).
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
