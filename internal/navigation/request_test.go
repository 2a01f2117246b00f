package navigation_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

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
		"Android app":      {[]string{"X-Requested-With: org.example.app", html}, false, false, false},
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
		"Sec-Fetch-Mode: navigate": false, "Accept: text/html,application/json": false, "Accept: */*": false, "Origin: https://notes.test": false, "X-Requested-With: org.example.app": true,
	} {
		if got := navigation.IsScript(request("POST", "/", line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// A form is read in both encodings. What is none is not read.
func TestForm(t *testing.T) {
	const pairs, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	part := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb%\r\n--x--\r\n"
	for _, c := range []struct{ method, kind, body, want string }{
		{"POST", pairs, "a=b%25&c=;", "b%"}, {"POST", "Application/X-WWW-Form-Urlencoded ; charset=x", "x=%&a=b%", "b%"}, {"POST", parts, part, "b%"}, {"POST", strings.ToUpper("multipart/form-data") + `; Boundary="x"`, part, "b%"},
		{"PUT", pairs, "a=b", ""}, {"POST", "text/plain", "a=b", ""}, {"POST", "", "a=b", ""}, {"POST", "multipart/form-data", part, ""}, {"POST", parts, "a=b", ""}, {"POST", parts, part[:20], ""}, {"POST", pairs, "", ""},
	} {
		r := httptest.NewRequest(c.method, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		if form, err := navigation.Form(r); err != nil || form.Get("a") != c.want {
			t.Errorf("%s %q %q: %v, %v", c.method, c.kind, c.body, form, err)
		}
	}
	r := httptest.NewRequest("POST", "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	r.Header.Set("Content-Type", pairs)
	r.ContentLength = 3
	if _, err := navigation.Form(r); err == nil {
		t.Error("a body that breaks off is no error")
	}
	r.ContentLength = -1
	if form, err := navigation.Form(r); form != nil || err != nil {
		t.Errorf("unknown length: %v, %v", form, err)
	}
}

// A query is read as browsers do. Only a parameter of ours has to be well-formed.
func TestQuery(t *testing.T) {
	for raw, want := range map[string]string{"a=b;c&x=%": "b;c", "&&a=+%2B&%zz=1": " +", "a=100%&a=2": "100%", "a": "", "": ""} {
		if got, _ := navigation.Query(raw); got.Get("a") != want {
			t.Errorf("%q: %v, want %q", raw, got, want)
		}
		if _, err := navigation.Query(raw, "a"); (err != nil) != (want == "100%") {
			t.Errorf("%q of ours: %v", raw, err)
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
