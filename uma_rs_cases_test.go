package gatehouse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"

	"example.com/gatehouse"
)

// TestUR6_PathReadInTwoWays: whatever rule a request reaches, a router behind
// that reads the path otherwise serves nothing of another rule. The module
// routers shows it with chi and gorilla; here are the readings themselves.
func TestUR6_PathReadInTwoWays(t *testing.T) {
	s := open(t)
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{
		"GET /a/{id}":    one.AllOf("view"),
		"GET /a/special": one.AllOf("print"),
		"GET /a/é":       one.AllOf("print"),
		"GET /a/(1)":     one.AllOf("print"),
		"GET /only":      one.AllOf("view"),
		"GET /tree/": gatehouse.Rules{
			"GET /tree/{id}":    one.AllOf("view"),
			"GET /tree/special": one.AllOf("print"),
		},
	}))
	for target, want := range map[string]int{
		"/a/special":           200,
		"/a/%73pecial":         400, // chi serves /a/{id}
		"/a/speci%61l":         400,
		"/a/%C3%A9":            200,
		"/a/%c3%a9":            400, // the same in another spelling
		"/a/(1)":               200, // as a browser writes it
		"/a/%281%29":           400,
		"/a/x%20(1)":           200, // the same rule however it is read
		"/a/%c3%a9t%c3%a9":     200,
		"/a/%78":               200,
		"/only":                200,
		"/%6fnly":              400, // another router serves what has no rule
		"/tree/special":        200,
		"/tree/%73pecial":      400,
		"/%74ree/special":      400,
		"/tree/x?q=%73pecial":  200,
		"/a/special?x=%2e%2e/": 200,
	} {
		if w := send(h, "GET", target, "tok"); w.Code != want || served(w) != (want == 200) {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
}

// TestUR6_ConnectIsNotCleaned: http.ServeMux does not clean the path of CONNECT,
// and a file server does: it must not come out of the rule that was reached.
func TestUR6_ConnectIsNotCleaned(t *testing.T) {
	s := open(t)
	protect := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{
		"/open/": gatehouse.Public(), "/open/{x}/y": gatehouse.Public(), "/secret/": one.AllOf("delete"),
	})
	h := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served ", path.Clean(r.URL.Path)) }))
	for _, method := range []string{"CONNECT", "GET", "POST"} {
		for target, want := range map[string]int{
			"/open/x": 200, "/open/": 200, "/open/x/y": 200, "/open//y": 403, "/open/../secret/x": 403, "/open/./x": 403, "//open/x": 403, "/open/..": 403,
		} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			r.Method = method
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want || served(w) != (want == 200) {
				t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
			}
		}
	}
}
