package navigation_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse/internal/navigation"
)

// request makes a request with headers given as "Name: value, Name: value".
func request(method, target string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "https://notes.test/", nil)
	r.RequestURI = target
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// Sec-Fetch-Mode and Sec-Fetch-Dest say what a browser does; without them,
// Accept does (Fetch Metadata Request Headers §2).
func TestKinds(t *testing.T) {
	const html = "Accept: text/html,*/*;q=0.8"
	for name, c := range map[string]struct {
		header                 []string
		is, mayOpen, wantsPage bool
	}{
		"link":             {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", html}, true, true, true},
		"link, no dest":    {[]string{"Sec-Fetch-Mode: navigate"}, true, true, true},
		"old browser":      {[]string{html}, true, true, true},
		"two Accept lines": {[]string{"Accept: image/png", html}, true, true, false},
		"frame":            {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", html}, false, false, true},
		"embedded":         {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: embed", html}, false, false, true},
		"frame, old":       {[]string{"Sec-Fetch-Dest: iframe", html}, true, false, true},
		"script":           {[]string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", html}, false, false, false},
		"image":            {[]string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Accept: image/*"}, false, false, false},
		"prefetch":         {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch", html}, false, false, true},
		"prerender":        {[]string{"Sec-Fetch-Mode: navigate", "Sec-Purpose: Prefetch;prerender"}, false, false, true},
		"old prefetch":     {[]string{"Purpose: prefetch", html}, false, false, true},
		"older prefetch":   {[]string{"X-Moz: prefetch", html}, false, false, true},
		"websocket":        {[]string{"Sec-Fetch-Mode: websocket", "Upgrade: websocket"}, false, false, false},
		"upgrade":          {[]string{"Upgrade: h2c", html}, false, true, true},
		"curl":             {[]string{"Accept: */*"}, false, true, false},
		"nothing":          {nil, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
				r := request(method, "/", c.header...)
				safe := method == http.MethodGet || method == http.MethodHead
				if navigation.Is(r) != (c.is && safe) || navigation.MayOpenPage(r) != c.mayOpen || navigation.WantsPage(r) != c.wantsPage {
					t.Errorf("%s: navigation %v, may open a page %v, wants a page %v", method, navigation.Is(r), navigation.MayOpenPage(r), navigation.WantsPage(r))
				}
			}
		})
	}
}

// The address is what the client sent, whatever handlers in between have cut
// off. A target that is not a path gives "/".
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		target string
		url    url.URL
		want   string
	}{
		{"/notes/7?page=2", url.URL{Path: "/7"}, "/notes/7?page=2"},
		{"//evil.example/", url.URL{Path: "//evil.example/"}, "//evil.example/"}, // as sent: ReturnPath judges it
		{"", url.URL{Path: "/notes/ 7", RawQuery: "page=2"}, "/notes/%207?page=2"},
		{"https://notes.test/notes/7", url.URL{Scheme: "https", Host: "notes.test", Path: "/notes/7"}, "/notes/7"},
		{"*", url.URL{Path: "*"}, "/"},
		{"x:.evil.example", url.URL{Scheme: "x", Opaque: ".evil.example"}, "/"},
		{"notes.test:443", url.URL{Host: "notes.test:443"}, "/"},
		{"", url.URL{}, "/"},
		{"", url.URL{Path: "/" + strings.Repeat("a", navigation.MaxPath)}, "/"},
	} {
		r := request(http.MethodGet, c.target)
		r.URL = &c.url
		if got := navigation.Address(r); got != c.want {
			t.Errorf("target %q, URL %.40q: %q, want %q", c.target, c.url.String(), got, c.want)
		}
	}
}

// A navigation comes back to itself, and a posted form to the page it was on if
// that page is on this host. No other request is sent away.
func TestComesBackTo(t *testing.T) {
	for name, c := range map[string]struct {
		r       *http.Request
		address string
		ok      bool
	}{
		"page":                    {request("GET", "/notes/7?a=b", "Sec-Fetch-Mode: navigate"), "/notes/7?a=b", true},
		"page, HEAD":              {request("HEAD", "/notes/7", "Accept: text/html"), "/notes/7", true},
		"script":                  {request("GET", "/notes/7", "Sec-Fetch-Mode: cors"), "", false},
		"form":                    {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://notes.test/notes/7?a=b#c"), "/notes/7?a=b", true},
		"form on another page":    {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://evil.example/notes/7"), "", true},
		"form on another port":    {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://notes.test:8443/notes/7"), "", true},
		"form without Referer":    {request("POST", "/save", "Sec-Fetch-Mode: navigate"), "", true},
		"form, Referer malformed": {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://notes.test/%zz"), "", true},
		"form, Referer long":      {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://notes.test/"+strings.Repeat("a", 32<<10)), "", true},
		"form in a frame":         {request("POST", "/save", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Referer: https://notes.test/notes/7"), "", false},
		"script that posts":       {request("POST", "/save", "Sec-Fetch-Mode: cors", "Referer: https://notes.test/notes/7"), "", false},
		"another method":          {request("PUT", "/save", "Sec-Fetch-Mode: navigate", "Referer: https://notes.test/notes/7"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.Host = "notes.test"
			if address, ok := navigation.ComesBackTo(c.r); address != c.address || ok != c.ok {
				t.Errorf("%q, %v, want %q, %v", address, ok, c.address, c.ok)
			}
		})
	}
}
