package uma_rs_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/fstest"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// CK8: an answer for which a token was judged is not stored and varies with the
// token, whatever the handler does. A public answer depends on no token.
func TestCK8_JudgedToken(t *testing.T) {
	s := open(t)
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
	rules := gatehouse.Rules{"GET /{$}": one.AllOf("view"), "GET /public": gatehouse.Public(), "GET /files/": one.AllOf("view"), "GET /delete": one.AllOf("delete")}
	files := http.FileServerFS(fstest.MapFS{"site.css": {Data: []byte("x")}})
	h := rs.UMAProtect(rules)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			world.WhoAmI(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	for _, c := range []struct {
		path, token string
		status      int
		control     []string
		vary        []string
	}{
		{"/", "tok", 200, []string{"no-store"}, []string{"Authorization"}},
		{"/files/none", "tok", 404, []string{"no-store"}, []string{"Authorization"}},
		{"/delete", "tok", 401, []string{"no-store"}, []string{"Authorization"}},
		{"/", "", 401, []string{"no-store"}, []string{"Authorization"}},
		{"/public", "", 404, nil, nil},
	} {
		w := world.Send(h, http.MethodGet, c.path, c.token)
		if w.Code != c.status || !slices.Equal(w.Header()["Cache-Control"], c.control) || !slices.Equal(w.Header()["Vary"], c.vary) {
			t.Errorf("%s with %q: %d, Cache-Control %q, Vary %q; want %v", c.path, c.token, w.Code, w.Header()["Cache-Control"], w.Header()["Vary"], c)
		}
	}
}

// A prefetch spends no ticket, and its answer is not stored. With a good token
// it is served.
func TestPrefetchSpendsNoTicket(t *testing.T) {
	s := open(t)
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
	h := rs.UMAProtect(gatehouse.Rules{"GET /{$}": one.AllOf("view"), "GET /delete": one.AllOf("delete")})(world.WhoAmI)
	load := func(path, token string) *httptest.ResponseRecorder {
		early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Sec-Purpose", "prefetch;prerender")
			h.ServeHTTP(w, r)
		})
		return world.Send(early, http.MethodGet, path, token)
	}
	for path, token := range map[string]string{"/": "", "/delete": "tok"} {
		w := load(path, token)
		if w.Code != http.StatusForbidden || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("WWW-Authenticate") != "" || len(s.Saw("POST /perm")) != 0 {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
	}
	if w := load("/", "tok"); w.Code != http.StatusOK {
		t.Errorf("with a token: %d", w.Code)
	}
}
