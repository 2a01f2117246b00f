// Package navigation classifies a browser's request (a navigation, a prefetch,
// a frame or a script), reads its cookies, and decides which paths a person may
// be sent back to.
//
// It knows HTTP requests and addresses. It must not know sessions or sign-ins:
// its caller decides what a cookie means, what is refused or begun, and where
// home is.
package navigation

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxReferer bounds the Referer of a form before it is parsed. It is as long as
// the whole header of an honest request.
const maxReferer = 32 << 10

// Is reports whether a browser opens the address as a page. Only such a request
// is sent to sign-in; prefetches, frames and scripts are not. HEAD opens
// nothing.
func Is(r *http.Request) bool { return r.Method == http.MethodGet && navigates(r) }

// IsForm reports whether a browser posts a form as a page.
func IsForm(r *http.Request) bool { return r.Method == http.MethodPost && navigates(r) }

func navigates(r *http.Request) bool {
	h := r.Header
	if IsPrefetch(r) || h.Get("Upgrade") != "" || byScript(h) {
		return false
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" { // Fetch Metadata Request Headers §2.2
		dest := h.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "" || dest == "document")
	}
	return accepts(h, "text/html")
}

func accepts(h http.Header, media string) bool {
	for _, accept := range h.Values("Accept") {
		if strings.Contains(accept, media) {
			return true
		}
	}
	return false
}

// IsPrefetch reports whether the browser loads the address in advance, so that
// perhaps nobody will see the answer.
func IsPrefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		for _, value := range r.Header.Values(name) {
			value = strings.ToLower(value)
			if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
				return true
			}
		}
	}
	return false
}

// byScript reports whether X-Requested-With says that a script made the
// request. The name of an app, which old Android WebViews send, counts too:
// people sign in with a browser, not inside of an app (RFC 8252 §8.12).
func byScript(h http.Header) bool {
	return slices.ContainsFunc(h.Values("X-Requested-With"), func(by string) bool { return by != "" })
}

// IsScript reports whether the request says that a script made it, not a link
// or a form. A client that says nothing is no script.
func IsScript(r *http.Request) bool {
	if byScript(r.Header) {
		return true
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode != "navigate"
	}
	return accepts(r.Header, "json") && !accepts(r.Header, "text/html")
}

// MayOpenPage reports whether the request may open a page of its own: it is not
// a prefetch, and if the browser says what it does, it is a navigation of a
// whole window. Unlike [Is], it allows a client that says nothing.
func MayOpenPage(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return !IsPrefetch(r) && !byScript(r.Header) && (mode == "" || mode == "navigate") && (dest == "" || dest == "document")
}

// WantsPage reports whether a person will look at the answer.
func WantsPage(r *http.Request) bool {
	if byScript(r.Header) {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// FormPage returns the path of the page that a posted form was on, or "" if it
// was not on a page of this site: of our origin, or of the host that was asked.
// It is what the client sent: check it with [ReturnPath] before sending anybody
// there.
func FormPage(r *http.Request, origin string) string {
	if len(r.Referer()) > maxReferer {
		return ""
	}
	if own := OwnPath(r.Referer(), origin); own != r.Referer() {
		return own
	}
	page, err := url.Parse(r.Referer())
	if err != nil || page.Host != r.Host {
		return ""
	}
	return page.RequestURI()
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

// Query reads a query as browsers do: only "&" separates parameters, and a
// value whose percent-encoding is broken stays as it is written, so that a
// foreign parameter does no harm. If it is one of ours, Query returns an error
// as well.
func Query(raw string, ours ...string) (url.Values, error) {
	values := url.Values{}
	var broken error
	for pair := range strings.SplitSeq(raw, "&") {
		name, written, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || pair == "" {
			continue
		}
		value, err := url.QueryUnescape(written)
		if err != nil {
			value = written
			if slices.Contains(ours, name) {
				broken = fmt.Errorf("%s is malformed", name)
			}
		}
		values.Add(name, value)
	}
	return values, broken
}

// Form reads the form of a POST into memory; its caller has bounded the body.
// A body of unknown length, or that is no form, is not read: no browser sends a
// form that way. The error says that the body could not be read.
func Form(r *http.Request) (url.Values, error) {
	written := r.Header.Get("Content-Type")
	kind, _, _ := strings.Cut(strings.ToLower(written), ";")
	kind = strings.TrimSpace(kind)
	const pairs, parts = "application/x-www-form-urlencoded", "multipart/form-data"
	if r.Method != http.MethodPost || r.ContentLength <= 0 || kind != pairs && kind != parts {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body)) // for whoever reads it next
	if kind == pairs {
		values, _ := Query(string(body))
		return values, nil
	}
	_, params, _ := mime.ParseMediaType(written)
	form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(int64(len(body)))
	if err != nil { // not a form after all
		return nil, nil
	}
	return form.Value, nil
}

// Origin returns an origin in the form in which two of them can be compared.
func Origin(scheme, host string) string {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	return scheme + "://" + strings.TrimSuffix(host, defaultPorts[scheme])
}
