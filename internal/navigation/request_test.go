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
		"preview":          {[]string{"X-Purpose: preview", html}, false, false, true},
		"second prefetch":  {[]string{"Sec-Purpose: x", "Sec-Purpose: prefetch", html}, false, false, true},
		"jQuery":           {[]string{"X-Requested-With: XMLHttpRequest", html}, false, false, false},
		"jQuery, modern":   {[]string{"X-Requested-With: fetch", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", html}, false, false, false},
		"library, version": {[]string{"X-Requested-With: axios/1.7.2", html}, false, false, false},
		"version alone":    {[]string{"X-Requested-With: a.1", html}, false, false, false},
		"dots alone":       {[]string{"X-Requested-With: com..app", html}, false, false, false},
		"Android app":      {[]string{"X-Requested-With: org.example.app", html}, true, true, true},
		"curl":             {[]string{"Accept: */*"}, false, true, false},
		"nothing":          {nil, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
				r := request(method, "/", c.header...)
				if navigation.Is(r) != (c.is && method == http.MethodGet) || navigation.IsForm(r) != (c.is && method == http.MethodPost) || navigation.MayOpenPage(r) != c.mayOpen || navigation.WantsPage(r) != c.wantsPage {
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

// A script says so, in one way or another. Who says nothing is none.
func TestIsScript(t *testing.T) {
	for line, want := range map[string]bool{
		"Sec-Fetch-Mode: cors": true, "Sec-Fetch-Mode: same-origin": true, "Sec-Fetch-Mode: no-cors": true, "X-Requested-With: XMLHttpRequest": true, "Accept: application/json": true,
		"Sec-Fetch-Mode: navigate": false, "Accept: text/html,application/json": false, "Accept: */*": false, "Origin: https://notes.test": false, "X-Requested-With: org.example.app": false,
	} {
		if got := navigation.IsScript(request("POST", "/", line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// A posted form comes back to the page it was on, if that is a page of this
// site.
func TestFormPage(t *testing.T) {
	for referer, want := range map[string]string{
		"https://notes.test/notes/7?a=b#c": "/notes/7?a=b#c", "http://inner:8080/notes/7?a=b#c": "/notes/7?a=b", "https://notes.test": "/",
		"https://evil.example/notes/7": "", "https://notes.test:8443/notes/7": "", "": "", "/notes": "", "https://inner:8080/%zz": "",
		"https://notes.test/" + strings.Repeat("a", 32<<10): "",
	} {
		r := request("POST", "/save", "Referer: "+referer)
		r.Host = "inner:8080"
		if got := navigation.FormPage(r, "https://notes.test"); got != want {
			t.Errorf("%.60q: %q, want %q", referer, got, want)
		}
	}
}

// Hosts remembers eight names, each once.
func TestHosts(t *testing.T) {
	var h navigation.Hosts
	for i, name := range []string{"a", "b", "a", "c", "d", "e", "f", "g", "h", "i"} {
		if got, want := h.Add(name), i != 2 && name != "i"; got != want {
			t.Errorf("%s, %d: added %v, want %v", name, i, got, want)
		}
	}
	if got := h.List(); got != "a, b, c, d, e, f, g, h" {
		t.Errorf("got %q", got)
	}
}
