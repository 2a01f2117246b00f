package middlewaretest

import (
	"net/http"
	"net/url"
)

// Page is a page that a browser shows. Requests of its links, forms, scripts,
// pictures and frames come from the page's origin. With a page of another site
// they show what an attacker can do.
type Page struct {
	b      *Browser
	origin string
}

// On returns the page at an address, without visiting it.
func (b *Browser) On(page string) *Page { return &Page{b: b, origin: originOf(page)} }

// Open follows a link.
func (p *Page) Open(address string) (*http.Response, error) {
	return p.b.visit(&hop{kind: document, method: http.MethodGet, url: address, initiator: p.origin})
}

// Submit submits a form by POST.
func (p *Page) Submit(address string, v url.Values) (*http.Response, error) {
	return p.b.visit(&hop{kind: document, method: http.MethodPost, url: address, initiator: p.origin,
		body: []byte(v.Encode()), contentType: "application/x-www-form-urlencoded"})
}

// Fetch makes a request by a script, with credentials. It returns the answer
// whether or not a script could read it. A redirect to an origin other than the
// page's is an error.
func (p *Page) Fetch(address string) (*http.Response, error) {
	return p.b.visit(&hop{kind: script, method: http.MethodGet, url: address, initiator: p.origin})
}

// Load loads a picture.
func (p *Page) Load(address string) (*http.Response, error) {
	return p.b.visit(&hop{kind: picture, method: http.MethodGet, url: address, initiator: p.origin})
}

// Frame loads a frame. Nobody signs in there.
func (p *Page) Frame(address string) (*http.Response, error) {
	return p.b.visit(&hop{kind: frame, method: http.MethodGet, url: address, initiator: p.origin})
}

// Prefetch loads a page that the person may want next, as <link rel="prefetch">
// does.
func (p *Page) Prefetch(address string) (*http.Response, error) {
	return p.b.visit(&hop{kind: prefetch, method: http.MethodGet, url: address, initiator: p.origin})
}
