package uma_rs_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

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
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(rules))
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
		if w.Code != c.want || (w.Code == 200) != (world.Served(w) || c.method == "HEAD") {
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
	protect := s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /u/{person}/": one.AllOf("view")})
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
	world.Send(mux, "GET", "/u/alice/7", "tok")
	if !ran {
		t.Error("the handler did not run")
	}
}

// TestUMANeedFuncErrors: the function's error is the answer, never a ticket.
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
		"undeclared scope": {func(*http.Request) (gatehouse.Permission, error) { return world.Albums.AllOf("fly"), nil }, 500, "permission_invalid"},
		"status that is not an error": {func(*http.Request) (gatehouse.Permission, error) {
			return gatehouse.Permission{}, &gatehouse.Error{Code: "odd", Status: 200}
		}, 500, "odd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(c.need))
			w := world.Send(h, "GET", "/", "tok")
			if w.Code != c.want || !strings.Contains(w.Body.String(), `"error":"`+c.code+`"`) || strings.Contains(w.Body.String(), "password") {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.want, c.code)
			}
			if got := s.Saw(""); len(got) != 0 {
				t.Errorf("the server was asked: %q", got)
			}
			if (w.Code == 503) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		})
	}
}

func TestUMAWiringPanics(t *testing.T) {
	s := open(t)
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
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
		"undeclared":         {gatehouse.Rules{"GET /": world.Albums.AllOf("fly")}, []string{`"GET /"`, `"albums"`, `"fly"`, "view, add, delete, all"}},
		"undeclared in Ask":  {world.Albums.AllOf("view").Ask("view", "fly"), []string{`"fly"`}},
		"no scopes":          {world.Albums.AllOf(), []string{"no scope"}},
		"no scopes of any":   {world.Albums.AnyOf(), []string{"no scope"}},
		"empty scope":        {one.AllOf(""), []string{"empty"}},
		"Ask cannot meet":    {world.Albums.AllOf("view", "add").Ask("view"), []string{"Ask", `"add"`}},
		"Ask outside of any": {world.Albums.AnyOf("view", "add").Ask("delete"), []string{"Ask"}},
		"Ask nothing":        {world.Albums.AllOf("view").Ask(), []string{"Ask", `"view"`}},
		"Ask after And":      {world.Albums.AllOf("view").And(one.AllOf("view")).Ask("view"), []string{"before And"}},
		"Public mixed":       {world.Albums.AllOf("view").And(gatehouse.Public()), []string{"Public"}},
		"mixed with Public":  {gatehouse.Public().And(world.Albums.AllOf("view")), []string{"Public"}},
		"two owners":         {world.Albums.AllOf("view").And(films.AllOf("view")), []string{"two owners", `"alice"`}},
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

// TestUMARulesAreFrozen: changing the values that the rules were made from
// changes nothing.
func TestUMARulesAreFrozen(t *testing.T) {
	s := open(t)
	need := []string{"delete"}
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf(need...)))
	need[0] = "view"
	if w := world.Send(h, "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("%d %s, want the scope of the wiring to be needed", w.Code, w.Body)
	}
}

// TestUMASeveralResources: And needs every one, and the ticket names each
// resource once with its scopes merged (K8).
func TestUMASeveralResources(t *testing.T) {
	s := open(t)
	two := gatehouse.Resource{ID: "r-2"}
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
	if w := world.Send(world.Photos(rs.UMAProtect(one.AllOf("view").And(one.AnyOf("print", "x")))), "GET", "/", "tok"); !world.Served(w) {
		t.Errorf("both on one resource: %d %s", w.Code, w.Body)
	}
	if w := world.Send(world.Photos(rs.UMAProtect(one.AllOf("view").And(two.AllOf("view"), one.AllOf("print", "view")))), "GET", "/", "tok"); w.Code != 401 {
		t.Errorf("a second resource that the token lacks: %d %s", w.Code, w.Body)
	}
	want := `POST /perm [{"resource_id":"r-1","resource_scopes":["view","print"]},{"resource_id":"r-2","resource_scopes":["view"]}]`
	if got := s.Saw("POST /perm"); len(got) != 1 || got[0] != want {
		t.Errorf("permission request\n%s\nwant\n%s", got, want)
	}
}

// TestUR6_DeniedByDefault: what has no rule is closed.
func TestUR6_DeniedByDefault(t *testing.T) {
	t.Run("no resource", func(t *testing.T) {
		w := world.NewPhotoz(t)
		h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
		token := w.RPT(h, "GET", "/albums/", "photoz", "view", "add", "delete", "all")
		w.Reset()
		for _, target := range []string{"/films/", "/", "/albums", "/healthz/x"} {
			if answer := world.Send(h, "GET", target, token); answer.Code != 403 || world.Served(answer) {
				t.Errorf("%s: %d %s", target, answer.Code, answer.Body)
			}
		}
		if n := w.Total(); n != 0 {
			t.Errorf("the server was asked %d times about something that is not a resource", n)
		}
	})
	for name, need := range map[string]gatehouse.Permission{
		"a resource without scopes": gatehouse.Resource{Name: "bare"}.AllOf(), "no scopes": world.Albums.AllOf(), "none of no scopes": one.AnyOf(), "nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return need, nil })))
			for _, token := range []string{"", "tok"} {
				if answer := world.Send(h, "GET", "/", token); answer.Code != 500 || world.Served(answer) {
					t.Errorf("%d %s", answer.Code, answer.Body)
				}
			}
			if got := s.Saw(""); len(got) != 0 {
				t.Errorf("the server was asked: %q", got)
			}
		})
	}
	for _, fault := range []opserver.Fault{opserver.PermissionWithoutScopes, opserver.ScopesAtTopLevel, opserver.PermissionExpired, opserver.PermissionNotYetValid} {
		t.Run(string(fault), func(t *testing.T) {
			w := world.NewPhotoz(t)
			h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{CacheTTL: -1}).UMAProtect(world.AlbumRules()))
			token := w.RPT(h, "GET", "/albums/", "photoz", "view")
			if answer := world.Send(h, "GET", "/albums/", token); !world.Served(answer) {
				t.Fatalf("without the fault: %d %s", answer.Code, answer.Body)
			}
			w.Must(w.SetFault(fault, true))
			w.WantTicket(world.Send(h, "GET", "/albums/", token))
		})
	}
	t.Run("nobody was let in", func(t *testing.T) {
		w := world.NewPhotoz(t)
		h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
		ticket := w.WantTicket(world.Send(h, "GET", "/albums/", ""))
		body, status := w.AsShop("token_endpoint", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {ticket}})
		if status < 400 || body["access_token"] != nil {
			t.Errorf("without claims: %d %v", status, body)
		}
		for _, user := range []string{"alice", "bob"} {
			if rpt, status := w.Exchange(w.WantTicket(world.Send(h, "GET", "/albums/", "")), user); rpt != "" || status < 400 {
				t.Errorf("%s: status %d", user, status)
			}
		}
	})
}
