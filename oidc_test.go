package gatehouse_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/returntargets"
)

// FuzzRequest checks that no request to a guarded page or to the login, logout
// and callback handlers panics or gets 500, and that every Location points to
// the site or the provider.
func FuzzRequest(f *testing.F) {
	rp, _, _ := fuzzParty(f)
	handlers := []http.Handler{
		rp.RequireLogin(http.NotFoundHandler()), rp.LoginHandler(), rp.LogoutHandler(), rp.CallbackHandler(),
		gatehouse.Require(gatehouse.Either(rp, rp))(http.NotFoundHandler()),
	}
	f.Add(uint8(0), "GET", "/notes/", "return_to=//evil.example", "https://evil.example/", "navigate", "document")
	f.Add(uint8(1), "GET", "/login", "return_to=%2F%2Fevil.example", "", "navigate", "iframe")
	f.Add(uint8(2), "POST", "//evil.example", "", "https://notes.test/", "", "")
	f.Add(uint8(2), "GET", `/\evil.example`, "state=x", "null", "cors", "empty")
	f.Add(uint8(4), "PUT", "/%2f%2fevil.example", "", "", "websocket", "")
	f.Fuzz(func(t *testing.T, which uint8, method, path, query, from, mode, dest string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: path + "?" + query,
			Host: "notes.test", Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		for name, v := range map[string]string{"Origin": from, "Referer": from, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Accept": "text/html"} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		if mode == "" && from == "" {
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		w := httptest.NewRecorder()
		handlers[int(which)%len(handlers)].ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("status %d", w.Code)
		}
		location := w.Header().Get("Location")
		if location == "" || strings.HasPrefix(location, "https://op.test/az?") {
			return
		}
		if host := returntargets.BrowserHost(location); host != "notes.test" {
			t.Errorf("sent to %q at %q", location, host)
		}
	})
}
