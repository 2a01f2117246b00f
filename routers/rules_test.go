package routers

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// read reads a request as a server does. It returns nil if the text is not a
// request.
func read(method, target, host, header string) *http.Request {
	raw := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if header != "" {
		raw += header + "\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw + "\r\n")))
	if err != nil {
		return nil
	}
	return r
}

// seeds are methods and request targets that some enforcement point somewhere
// read differently from the application behind it.
func seeds() (out [][2]string) {
	for _, target := range []string{
		"/", "", "*", "//", "//x", "/x//", "/static", "/static/", "/st%61tic/x", "/static/..", "/admin//y", "/admin/x/y", "/admin/../x", "/%61dmin/x", "/admin%2Fx", "/(", "/%28", "/albums", "/albums/", "/albums/7", "/albums/7/", "/albums/special", "/albums/special/", "/albums//special",
		"/albums/Special", "/ALBUMS/special", "/albums/%73pecial", "/albums/speci%61l", "/albums/special%20", "/albums/special.",
		"/albums/special;x=1", "/albums/special%3Bx=1", "/albums/special%3bx", "/albums;/special", "/albums/7;/../special",
		"/albums/7/../special", "/albums/7/%2e%2e/special", "/albums/7/%2E./special", "/albums/./special", "/albums/%2e/special",
		"/albums%2Fspecial", "/albums/7%2Fphotos%2F9", "/files/private%2Fx", "/any/strict%2Fx", "/words/x%2F", "/albums/7%2F..%2Fspecial", "/albums/%2fspecial", "/albums\\special", "/albums/7%5C..%5Cspecial",
		"/albums/special%00", "/albums/%00special", "/albums/special%0a", "/albums/special%0d%0a", "/albums/special?x=/albums/7",
		"/albums/special%3Fx", "/albums/special%23", "/albums/7/photos/", "/albums/7/photos/9", "/albums/7//photos/9", "/albums//photos/9",
		"/any/strict/x", "/any/strict", "/any/strict/", "/any//strict/x", "/any/x/../strict/y", "/any/%73trict/x", "/any/x/%2e%2e/strict/y", "/open/%2E%2e/albums/special", "/files/x/.%2e/private/y", "/deep//end", "/deep/./end", "/deep/x/end",
		"/files/private/x", "/files/privat%65/x", "/files//private/x", "/files/x/../private/y", "/files/", "/files", "/files/a%0ab",
		"/words/stra%C3%9Fe", "/words/stra%c3%9fe", "/words/straße", "/words/a%20b", "/words/a+b", "/words/(1)", "/words/%281%29", "/words/(1%29",
		"/words/100%25", "/words/100%2525", "/words/caf%C3%A9%20(1)", "/words/%E0%A4%A", "/words/%ff", "/Words/x", "/words/x/",
		"/tunnel/x", "/tunnel//x", "/tunnel/../albums/special", "/tunnel/x/../../albums/special",
		"/api/v1/items/new", "/api/v1/items/7", "/api/v1/items/n%65w", "/api/v1/../v1/items/new", "/api/v1//items/new", "/api/v1/admin/../items/new",
		"/api/v1", "/api/v1/", "/api%2Fv1/items/new", "/open/x", "/open/../albums/special", "/open/..%2falbums/special", "/open/..;/albums/special",
		"http://other.test/albums/special", "http://other.test", "https://api.test//albums/special", "http:albums/special", "//api.test/albums/special",
		"api.test:443", "http://[::1]/albums/special", "http://user:pw@api.test/albums/special", "/http://api.test/albums/special",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "CONNECT", "get", "PROPFIND"} {
			out = append(out, [2]string{method, target})
		}
	}
	return out
}

// headers are those with which some stacks override the request line.
var headers = []string{
	"", "X-HTTP-Method-Override: DELETE", "X-Original-URL: /albums/special", "X-Rewrite-URL: /albums/special",
	"X-Forwarded-Prefix: /api", "X-Forwarded-Host: other.test", "X-Forwarded-Uri: /open/x", "Forwarded: host=other.test",
}

// FuzzRouters: whatever the request, no handler runs under a rule other than
// its own, and none without a rule.
func FuzzRouters(f *testing.F) {
	for i, s := range seeds() {
		f.Add(s[0], s[1], "api.test", headers[i%len(headers)])
	}
	all := sites(f)
	f.Fuzz(func(t *testing.T, method, target, host, header string) {
		for _, h := range all {
			r := read(method, target, host, header)
			if r == nil {
				return
			}
			w := httptest.NewRecorder()
			got := follow(h, w, r)
			if len(got.served) == 0 {
				continue
			}
			if len(got.served) != 1 || len(got.decided) != 1 || got.decided[0] != got.served[0] {
				t.Errorf("%s: %s %q %q served %q under %q", h.name, method, target, header, got.served, got.decided)
			}
		}
	})
}

// TestEveryRouteIsServed: what the rules let pass arrives. Otherwise the
// comparison would prove nothing.
func TestEveryRouteIsServed(t *testing.T) {
	fill := strings.NewReplacer("{$}", "", "{id}", "7", "{photo}", "9", "{x}", "x", "{rest...}", "a/b", "{word}", "x", "{host}", "h", "{top}", "t", "ß", "%C3%9F", " ", "%20")
	for _, h := range sites(t) {
		for _, rule := range h.routes {
			method, path := split(rule)
			if isSubtree(path) {
				path += "x"
			}
			if strings.HasSuffix(path, "/{$}") && path != "/{$}" && strings.Contains(h.name, "redirecting") {
				continue // redirected to the same path without the slash, so there is no such route
			}
			if method == "" {
				method = http.MethodDelete
			}
			for _, m := range methods(method, path) {
				got := follow(h, httptest.NewRecorder(), read(m, fill.Replace(path), "api.test", ""))
				if len(got.served) != 1 || got.served[0] != rule {
					t.Errorf("%s: %s %s served %q, decided on %q", h.name, m, path, got.served, got.decided)
				}
			}
		}
	}
}
