package uma_rs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMAAmbiguousPaths: a path that layers read in two ways is refused
// before anything is decided, however it is written.
func TestUMAAmbiguousPaths(t *testing.T) {
	s := open(t)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /": one.AllOf("view"), "GET /secret/": one.AllOf("delete"), "GET /free": gatehouse.Public()}))
	for target, want := range map[string]int{
		"/secret;x=1":        400,
		"/free;x=1":          400,
		"/secret%3bx=1":      400,
		"/secret%3Bx=1":      400,
		"/a%2fb":             400,
		"/a%2Fb":             400,
		"/a%5cb":             400,
		"/a%5Cb":             400,
		"/a%00":              400,
		"/%2e%2e/free":       400,
		"/x/%2E./secret/x":   400,
		"/x/.%2e":            400,
		"/%2e/secret/x":      400,
		"/x/../secret/x":     403,
		"/%2e%2efree":        200,
		"/%73ecret/x":        400, // a router that does not decode would serve another
		"/a%73":              200,
		"/a%20b":             200,
		"/a%25b":             200,
		"/a?q=%2f;%5c":       200,
		"/free?q=%2f;":       200,
		"/%D0%B0%D0%BB":      200,
		"/a:b@c!$&'()*+,=~.": 200,
	} {
		if w := world.Send(h, "GET", target, "tok"); w.Code != want || world.Served(w) != (want == 200) {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
	if got := s.Saw("POST /perm"); len(got) != 0 {
		t.Errorf("%d tickets were asked for, want none", len(got))
	}
}

// FuzzUMAPath: whatever the path, a handler that reads it in its own way does
// not reach what another rule protects.
func FuzzUMAPath(f *testing.F) {
	for _, seed := range []string{"/open/x", "/secret/x", "/open/../secret/x", "/open;/secret", "//secret/x", "/%73ecret/x", "/open%2f..%2fsecret/x", "/secret", "/open/%2e%2e/secret/x", "*", "/\x00"} {
		f.Add(seed)
	}
	s := open(f)
	protect := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"/open/": one.AllOf("view"), "/secret/": one.AllOf("delete")})
	// Like a file server, it cleans the decoded path itself.
	h := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Split(path.Clean("/"+r.URL.Path), "/")[1])
	}))
	f.Fuzz(func(t *testing.T, target string) {
		req, err := http.NewRequest("GET", "http://api.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := req.URL.Parse(target)
		if err != nil || u.Host != "api.test" {
			return
		}
		req.URL, req.RequestURI = u, u.RequestURI()
		req.Header.Set("Authorization", "Bearer tok")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Body.String() == "secret" && w.Code == 200 {
			t.Errorf("%q reached the secret: %d %s", target, w.Code, w.Body)
		}
	})
}

// A path that is too long is refused before anything examines it (G11).
func TestUMALongPath(t *testing.T) {
	w := world.NewPhotoz(t)
	rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
	for name, need := range map[string]gatehouse.Need{"rules": world.AlbumRules(), "a permission": world.Albums.AllOf("view"), "everybody": gatehouse.Public()} {
		for length, want := range map[int]bool{16 << 10: false, 16<<10 + 1: true, 1 << 20: true} {
			r := httptest.NewRequest(http.MethodGet, "/albums/", nil)
			r.URL.Path = "/albums/" + strings.Repeat("a", length-len("/albums/"))
			answer := httptest.NewRecorder()
			world.Photos(rs.UMAProtect(need)).ServeHTTP(answer, r)
			if refused := answer.Code == http.StatusBadRequest && strings.Contains(answer.Body.String(), "path_refused"); refused != want {
				t.Errorf("%s, %d bytes: %d %s", name, length, answer.Code, answer.Body)
			}
		}
	}
}

// TestUR6_PathReadInTwoWays: whatever rule a request reaches, an inner router
// that reads the path differently serves nothing of another rule. The module
// routers shows this with chi and gorilla. This test uses the readings
// themselves.
func TestUR6_PathReadInTwoWays(t *testing.T) {
	s := open(t)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{
		"GET /a/{id}":    one.AllOf("view"),
		"GET /a/special": one.AllOf("print"),
		"GET /a/é":       one.AllOf("print"),
		"GET /a/(1)":     one.AllOf("print"),
		"GET /only":      one.AllOf("view"),
		"GET /é b/(1)":   one.AllOf("view"),
		"GET /a b/{x}":   one.AllOf("view"),
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
		"/%6fnly":              400, // another router serves something that has no rule
		"/%C3%A9%20b/(1)":      200, // it belongs to no other rule, but it has more than one spelling
		"/%C3%A9%20b/%281%29":  200,
		"/%c3%a9%20b/%281%29":  200,
		"/a%20b/(1)":           200,
		"/a%20b/%78":           200,
		"/tree/special":        200,
		"/tree/%73pecial":      400,
		"/%74ree/special":      400,
		"/tree/x?q=%73pecial":  200,
		"/a/special?x=%2e%2e/": 200,
	} {
		if w := world.Send(h, "GET", target, "tok"); w.Code != want || world.Served(w) != (want == 200) {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
}

// TestUR6_ConnectIsNotCleaned: http.ServeMux does not clean the path of
// CONNECT, but a file server does. The cleaned path must not leave the rule
// that was reached.
func TestUR6_ConnectIsNotCleaned(t *testing.T) {
	s := open(t)
	protect := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{
		"/": gatehouse.Public(), "/open/{x}/y": gatehouse.Public(), "/secret/": one.AllOf("delete"), "/{$}": one.AllOf("delete"),
	})
	h := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served ", path.Clean(r.URL.Path)) }))
	for _, method := range []string{"CONNECT", "GET", "POST"} {
		for target, want := range map[string]int{
			"/open/x": 200, "/open/": 200, "/open/x/y": 200, "/open//y": 403, "/open/../secret/x": 403, "/open/./x": 403, "//open/x": 403, "/open/..": 403, "/": 401, "//": 403,
		} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			r.Method = method
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want || world.Served(w) != (want == 200) {
				t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
			}
		}
	}
}
