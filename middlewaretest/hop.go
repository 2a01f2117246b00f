package middlewaretest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// kind is what a request is for.
type kind int

const (
	document kind = iota // the top-level page changes
	frame
	script
	picture
	prefetch
)

// mode is Sec-Fetch-Mode. W3C Fetch Metadata §2.2.
func (k kind) mode() string {
	return [...]string{document: "navigate", frame: "navigate", script: "cors", picture: "no-cors", prefetch: "no-cors"}[k]
}

// dest is Sec-Fetch-Dest. W3C Fetch Metadata §2.1.
func (k kind) dest() string {
	return [...]string{document: "document", frame: "iframe", script: "empty", picture: "image", prefetch: "empty"}[k]
}

// accept is the Accept header.
func (k kind) accept() string {
	const page = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	return [...]string{document: page, frame: page, prefetch: page, script: "*/*",
		picture: "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"}[k]
}

// hop is one request of a visit.
type hop struct {
	ctx         context.Context // nil: the test's
	kind        kind
	method, url string
	initiator   string // the origin that makes the request; "" for the person
	chain       []string
	body        []byte
	contentType string
	header      http.Header // the caller's own, for the first request
	until       string
	goes        []string // form-action of the page whose form this is; nil for anywhere
	hidden      bool     // the page hides its origin
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow changes a hop into the one that a redirect leads to. Fetch standard,
// HTTP-redirect fetch.
func (h *hop) follow(status int, to *url.URL) error {
	if h.kind == script && originOf(to.String()) != h.initiator {
		return fmt.Errorf("middlewaretest: a script may not follow the redirect to %s", originOf(to.String()))
	}
	if err := h.mayGo(to); err != nil {
		return err
	}
	if to.Fragment == "" { // Fetch standard, "location URL": it stays
		if from, err := url.Parse(h.url); err == nil && from.Fragment != "" {
			kept := *to
			kept.Fragment, kept.RawFragment = from.Fragment, from.RawFragment
			to = &kept
		}
	}
	h.url, h.header = to.String(), nil
	keep := status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect || h.method == http.MethodGet || h.method == http.MethodHead
	if !keep && (status == http.StatusSeeOther || h.method == http.MethodPost) {
		h.method, h.body, h.contentType = http.MethodGet, nil, ""
	}
	return nil
}

// dress sets the headers that a browser sends. W3C Fetch Metadata §2; Fetch
// standard, HTTP-network-or-cache fetch.
func (h *hop) dress(r *http.Request) {
	set := func(name, value string) {
		if h.header.Get(name) == "" && value != "" {
			r.Header.Set(name, value)
		}
	}
	for name, values := range h.header {
		r.Header[name] = values
	}
	set("User-Agent", "Mozilla/5.0 (middlewaretest)")
	set("Content-Type", h.contentType)
	set("Accept", h.kind.accept())
	if trustworthy(r.URL) { // Fetch Metadata §4: other addresses do not get these headers
		set("Sec-Fetch-Mode", h.kind.mode())
		set("Sec-Fetch-Dest", h.kind.dest())
		set("Sec-Fetch-Site", h.site())
		if h.kind == document {
			set("Sec-Fetch-User", "?1")
		}
	}
	switch h.kind {
	case document, frame:
		set("Upgrade-Insecure-Requests", "1")
	case prefetch:
		set("Sec-Purpose", "prefetch")
	}
	crossScript := h.kind == script && originOf(h.url) != h.initiator
	if crossScript || h.method != http.MethodGet && h.method != http.MethodHead {
		set("Origin", h.origin())
	}
}

// origin is the value of the Origin header. It is "null" once a redirect has
// crossed origins. Fetch standard, "serializing a request origin".
func (h *hop) origin() string {
	if h.hidden {
		return "null"
	}
	for _, address := range h.chain[:len(h.chain)-1] {
		if originOf(address) != h.initiator {
			return "null"
		}
	}
	return h.initiator
}

// site relates the origin that makes the request to all addresses of the chain.
// W3C Fetch Metadata §2.3.
func (h *hop) site() string {
	if h.initiator == "" {
		return "none"
	}
	result := "same-origin"
	for _, address := range h.chain {
		switch {
		case originOf(address) == h.initiator:
		case siteOf(address) == siteOf(h.initiator):
			result = "same-site"
		default:
			return "cross-site"
		}
	}
	return result
}

// relation decides which cookies are sent. It looks at who makes the request
// and, unlike Sec-Fetch-Site, not at the addresses that led here. Chromium does
// not take redirects into account either.
func (h *hop) relation() relation {
	switch {
	case h.initiator == "" || siteOf(h.initiator) == siteOf(h.url):
		return sameSite
	case h.kind != document:
		return crossSite
	case h.method == http.MethodGet || h.method == http.MethodHead:
		return crossSitePage
	}
	return crossSitePost
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
