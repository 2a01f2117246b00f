package gatehouse_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// open is an authorization server whose one token may view and print r-1.
func open(t testing.TB) *scripted {
	s := newScripted(t)
	s.says("POST /look", 200, `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view","print"]}]}`)
	s.says("POST /perm", 201, `{"ticket":"t1"}`)
	return s
}

func TestUMARules(t *testing.T) {
	s := open(t)
	rules := gatehouse.Rules{
		"GET /a/{id}":         one.AllOf("view"),
		"GET /a/{id}/special": one.AllOf("delete"),
		"/any/":               one.AllOf("view"),
		"GET /exact/{$}":      one.AllOf("view"),
		"POST /a/{id}":        one.AnyOf("delete", "print"),
		"OPTIONS /a/{id}":     gatehouse.Public(),
		"GET /u/{user}/{rest...}": gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
			if r.PathValue("user") == "alice" && r.PathValue("rest") == "x/y" && r.Pattern == "GET /u/{user}/{rest...}" {
				return one.AllOf("view"), nil
			}
			return one.AllOf("delete"), nil
		}),
		"GET /tree/": gatehouse.Rules{"GET /tree/{id}": one.AllOf("view"), "GET /tree/{id}/x": one.AllOf("delete")},
	}
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(rules))
	cases := []struct {
		method, target string
		want           int
	}{
		{"GET", "/a/7", 200},
		{"HEAD", "/a/7", 200},
		{"POST", "/a/7", 200},
		{"OPTIONS", "/a/7", 200},
		{"GET", "/a/7/special", 401},
		{"GET", "/a/7?x=/a/7/special", 200},
		{"PUT", "/a/7", 403},
		{"DELETE", "/a/7", 403},
		{"get", "/a/7", 403},
		{"GET", "/a/", 403},
		{"GET", "/A/7", 403},
		{"GET", "/a/7/", 403},
		{"GET", "/b", 403},
		{"BREW", "/any/x/y", 200},
		{"GET", "/any", 403}, // the mux would redirect
		{"GET", "/exact/", 200},
		{"GET", "/exact/x", 403},
		{"GET", "/any/../b", 403},
		{"GET", "/b/../any/x", 403},
		{"GET", "//any/x", 403},
		{"GET", "/any/./x", 403},
		{"GET", "/u/alice/x/y", 200},
		{"GET", "/u/bob/x/y", 401},
		{"GET", "/tree/7", 200},
		{"GET", "/tree/7/x", 401},
		{"GET", "/tree/7/y", 403},
	}
	for _, c := range cases {
		r := httptest.NewRequest(c.method, c.target, nil)
		r.Header.Set("Authorization", "Bearer tok")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (w.Code == 200) != (served(w) || c.method == "HEAD") {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.target, w.Code, w.Body, c.want)
		}
		if w.Code >= 300 && w.Header().Get("Location") != "" {
			t.Errorf("%s %s: redirected to %s", c.method, c.target, w.Header().Get("Location"))
		}
	}
}

// TestUMARulesLeaveTheRequestAlone: the decision is made on a clone.
func TestUMARulesLeaveTheRequestAlone(t *testing.T) {
	s := open(t)
	protect := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /u/{person}/": one.AllOf("view")})
	ran := false
	mux := http.NewServeMux()
	mux.Handle("GET /u/{user}/{photo}", protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		if r.Pattern != "GET /u/{user}/{photo}" || r.PathValue("user") != "alice" || r.PathValue("photo") != "7" || r.PathValue("person") != "" {
			t.Errorf("the handler got pattern %q, user %q, photo %q, person %q", r.Pattern, r.PathValue("user"), r.PathValue("photo"), r.PathValue("person"))
		}
		if id := gatehouse.IdentityFrom(r.Context()); id == nil || id.Via != gatehouse.ViaUMA {
			t.Errorf("identity %+v", id)
		}
	})))
	send(mux, "GET", "/u/alice/7", "tok")
	if !ran {
		t.Error("the handler did not run")
	}
}

// TestUMA_B3_AmbiguousPaths: what layers read in two ways is refused before
// anything is decided, however it is written.
func TestUMA_B3_AmbiguousPaths(t *testing.T) {
	s := open(t)
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /": one.AllOf("view"), "GET /secret/": one.AllOf("delete"), "GET /free": gatehouse.Public()}))
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
		if w := send(h, "GET", target, "tok"); w.Code != want || served(w) != (want == 200) {
			t.Errorf("%s: %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
	if got := s.saw("POST /perm"); len(got) != 0 {
		t.Errorf("%d tickets were asked for, want none", len(got))
	}
}

// FuzzUMAPath: whatever the path, a handler that reads it in its own way does
// not come to what another rule protects.
func FuzzUMAPath(f *testing.F) {
	for _, seed := range []string{"/open/x", "/secret/x", "/open/../secret/x", "/open;/secret", "//secret/x", "/%73ecret/x", "/open%2f..%2fsecret/x", "/secret", "/open/%2e%2e/secret/x", "*", "/\x00"} {
		f.Add(seed)
	}
	s := open(f)
	protect := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"/open/": one.AllOf("view"), "/secret/": one.AllOf("delete")})
	// Like a file server it cleans the decoded path by itself.
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

// TestUMANeedFuncErrors: the function's error is the answer, and never a ticket.
func TestUMANeedFuncErrors(t *testing.T) {
	cases := map[string]struct {
		need gatehouse.NeedFunc
		want int
		code string
	}{
		"not found": {func(*http.Request) (gatehouse.Permission, error) {
			return gatehouse.Permission{}, &gatehouse.Error{Code: "no_such_photo", Status: 404, Message: "There is no such photo."}
		}, 404, "no_such_photo"},
		"database": {func(*http.Request) (gatehouse.Permission, error) {
			return gatehouse.Permission{}, errors.New("pq: password of user photoz is wrong")
		}, 503, "permission_unknown"},
		"zero permission":  {func(*http.Request) (gatehouse.Permission, error) { return gatehouse.Permission{}, nil }, 500, "permission_invalid"},
		"undeclared scope": {func(*http.Request) (gatehouse.Permission, error) { return albums.AllOf("fly"), nil }, 500, "permission_invalid"},
		"status of an error that is none": {func(*http.Request) (gatehouse.Permission, error) {
			return gatehouse.Permission{}, &gatehouse.Error{Code: "odd", Status: 200}
		}, 500, "odd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(c.need))
			w := send(h, "GET", "/", "tok")
			if w.Code != c.want || !strings.Contains(w.Body.String(), `"error":"`+c.code+`"`) || strings.Contains(w.Body.String(), "password") {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.want, c.code)
			}
			if got := s.saw(""); len(got) != 0 {
				t.Errorf("the server was asked: %q", got)
			}
			if (w.Code == 503) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		})
	}
}

// TestUMAOwnerPasses: a NeedFunc may make a request public for the owner, whom
// a guard outside has established.
func TestUMAOwnerPasses(t *testing.T) {
	s := open(t)
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.NeedFunc(func(r *http.Request) (gatehouse.Permission, error) {
		if id := gatehouse.IdentityFrom(r.Context()); id != nil && id.Subject == "alice" {
			return gatehouse.Public(), nil
		}
		return one.AllOf("delete"), nil
	})))
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(gatehouse.WithIdentity(r.Context(), &gatehouse.Identity{Subject: "alice", Via: gatehouse.ViaSession})))
	if w.Code != 200 || w.Body.String() != `served via session sub "alice" granted []` {
		t.Errorf("alice: %d %s", w.Code, w.Body)
	}
	if w := send(h, "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("a stranger: %d", w.Code)
	}
}

func TestUMAWiringPanics(t *testing.T) {
	s := open(t)
	rs := s.resourceServer(gatehouse.ResourceServerConfig{})
	films := gatehouse.Resource{Owner: "alice", Name: "films", Scopes: []string{"view"}}
	cases := map[string]struct {
		need gatehouse.Need
		want []string // parts of the message
	}{
		"nil":                {nil, []string{"Rules"}},
		"nil function":       {gatehouse.NeedFunc(nil), []string{"NeedFunc is nil"}},
		"no rules":           {gatehouse.Rules{}, []string{"empty"}},
		"clash":              {gatehouse.Rules{"GET /a/{x}": one.AllOf("view"), "GET /{y}/b": one.AllOf("view")}, []string{"conflicts", "GET /a/{x}", "GET /{y}/b", "/a/b"}},
		"host":               {gatehouse.Rules{"api.example.org/a": one.AllOf("view")}, []string{`"api.example.org/a"`, "host", "GET /albums/{id}"}},
		"host with method":   {gatehouse.Rules{"GET api.example.org/a": one.AllOf("view")}, []string{"host"}},
		"no path":            {gatehouse.Rules{"GET": one.AllOf("view")}, []string{`"GET"`, "path"}},
		"bad pattern":        {gatehouse.Rules{"GET /{": one.AllOf("view")}, []string{`"GET /{"`}},
		"rule nil":           {gatehouse.Rules{"GET /": nil}, []string{`"GET /"`, "nil"}},
		"zero permission":    {gatehouse.Rules{"GET /": gatehouse.Permission{}}, []string{`"GET /"`, "empty", "Public()"}},
		"undeclared":         {gatehouse.Rules{"GET /": albums.AllOf("fly")}, []string{`"GET /"`, `"albums"`, `"fly"`, "view, add, delete, all"}},
		"undeclared in Ask":  {albums.AllOf("view").Ask("view", "fly"), []string{`"fly"`}},
		"no scopes":          {albums.AllOf(), []string{"no scope"}},
		"no scopes of any":   {albums.AnyOf(), []string{"no scope"}},
		"empty scope":        {one.AllOf(""), []string{"empty"}},
		"Ask cannot meet":    {albums.AllOf("view", "add").Ask("view"), []string{"Ask", `"add"`}},
		"Ask outside of any": {albums.AnyOf("view", "add").Ask("delete"), []string{"Ask"}},
		"Ask nothing":        {albums.AllOf("view").Ask(), []string{"Ask", `"view"`}},
		"Ask after And":      {albums.AllOf("view").And(one.AllOf("view")).Ask("view"), []string{"before And"}},
		"Public mixed":       {albums.AllOf("view").And(gatehouse.Public()), []string{"Public"}},
		"mixed with Public":  {gatehouse.Public().And(albums.AllOf("view")), []string{"Public"}},
		"two owners":         {albums.AllOf("view").And(films.AllOf("view")), []string{"two owners", `"alice"`}},
		"no name":            {gatehouse.Resource{Scopes: []string{"view"}}.AllOf("view"), []string{"neither Name nor ID"}},
		"no declared scopes": {gatehouse.Resource{Name: "x"}.AllOf("view"), []string{"no Scopes"}},
		"scopes twice":       {gatehouse.Resource{Name: "x", Scopes: []string{"a", "a"}}.AllOf("a"), []string{"twice"}},
		"id with a path":     {gatehouse.Resource{ID: ".."}.AllOf("a"), []string{"ID"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			defer func() {
				text := fmt.Sprint(recover())
				for _, part := range append(c.want, "gatehouse: ") {
					if !strings.Contains(text, part) {
						t.Errorf("panic %q lacks %q", text, part)
					}
				}
			}()
			rs.UMAGuard(c.need)
		})
	}
}

// TestUMARulesAreFrozen: changing what the rules were made of changes nothing.
func TestUMARulesAreFrozen(t *testing.T) {
	s := open(t)
	need := []string{"delete"}
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf(need...)))
	need[0] = "view"
	if w := send(h, "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("%d %s, want the scope of the wiring to be needed", w.Code, w.Body)
	}
}

// TestUMASeveralResources: And needs every one, and the ticket names each
// resource once with its scopes merged (K8).
func TestUMASeveralResources(t *testing.T) {
	s := open(t)
	two := gatehouse.Resource{ID: "r-2"}
	rs := s.resourceServer(gatehouse.ResourceServerConfig{})
	if w := send(photos(rs.UMAProtect(one.AllOf("view").And(one.AnyOf("print", "x")))), "GET", "/", "tok"); !served(w) {
		t.Errorf("both on one resource: %d %s", w.Code, w.Body)
	}
	if w := send(photos(rs.UMAProtect(one.AllOf("view").And(two.AllOf("view"), one.AllOf("print", "view")))), "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("a second resource that the token lacks: %d %s", w.Code, w.Body)
	}
	want := `POST /perm [{"resource_id":"r-1","resource_scopes":["view","print"]},{"resource_id":"r-2","resource_scopes":["view"]}]`
	if got := s.saw("POST /perm"); len(got) != 1 || got[0] != want {
		t.Errorf("permission request\n%s\nwant\n%s", got, want)
	}
}

func TestResourceServerConfig(t *testing.T) {
	s := newScripted(t)
	_, err := gatehouse.NewResourceServer(nil, gatehouse.ResourceServerConfig{Audience: []string{""}, Realm: "a\nb", CacheTTL: 31e9})
	for _, field := range []string{"Provider", "Client.ID", "Audience", "Realm", "CacheTTL"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	for _, c := range []struct {
		config gatehouse.ResourceServerConfig
		realm  string
	}{
		{gatehouse.ResourceServerConfig{}, "photoz"},
		{gatehouse.ResourceServerConfig{Audience: []string{"photos-api"}}, "photoz"},
		{gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org:8443/x"}}, "api.example.org:8443"},
		{gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}, Realm: "my"}, "my"},
	} {
		s := newScripted(t)
		s.says("POST /perm", 201, `{"ticket":"t"}`)
		w := send(photos(s.resourceServer(c.config).UMAProtect(one.AllOf("view"))), "GET", "/", "")
		if got := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, `UMA realm="`+c.realm+`", `) {
			t.Errorf("%+v: challenge %q, want the realm %q", c.config, got, c.realm)
		}
	}
	if got := s.saw(""); len(got) != 0 {
		t.Errorf("the constructor made the calls %q", got)
	}
}

// A path that is too long is refused before anything looks at it (G11).
func TestUMALongPath(t *testing.T) {
	w := newRSWorld(t)
	rs := w.resourceServer(gatehouse.ResourceServerConfig{})
	for name, need := range map[string]gatehouse.Need{"rules": albumRules(), "a permission": albums.AllOf("view"), "everybody": gatehouse.Public()} {
		for length, want := range map[int]bool{16 << 10: false, 16<<10 + 1: true, 1 << 20: true} {
			r := httptest.NewRequest(http.MethodGet, "/albums/", nil)
			r.URL.Path = "/albums/" + strings.Repeat("a", length-len("/albums/"))
			answer := httptest.NewRecorder()
			photos(rs.UMAProtect(need)).ServeHTTP(answer, r)
			if refused := answer.Code == http.StatusBadRequest && strings.Contains(answer.Body.String(), "path_refused"); refused != want {
				t.Errorf("%s, %d bytes: %d %s", name, length, answer.Code, answer.Body)
			}
		}
	}
}
