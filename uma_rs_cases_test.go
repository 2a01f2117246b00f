package gatehouse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
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
		"/%6fnly":              400, // another router serves what has no rule
		"/%C3%A9%20b/(1)":      200, // nobody else's, and it has no one spelling
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
			if w.Code != want || served(w) != (want == 200) {
				t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
			}
		}
	}
}

// TestUR6_DeniedByDefault: what nobody has said anything about opens nothing.
func TestUR6_DeniedByDefault(t *testing.T) {
	t.Run("no resource", func(t *testing.T) {
		w := newRSWorld(t)
		h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
		token := w.rpt(h, "GET", "/albums/", "photoz", "view", "add", "delete", "all")
		w.reset()
		for _, target := range []string{"/films/", "/", "/albums", "/healthz/x"} {
			if answer := send(h, "GET", target, token); answer.Code != 403 || served(answer) {
				t.Errorf("%s: %d %s", target, answer.Code, answer.Body)
			}
		}
		if n := w.total(); n != 0 {
			t.Errorf("the server was asked %d times about what is no resource", n)
		}
	})
	for name, need := range map[string]gatehouse.Permission{
		"a resource without scopes": gatehouse.Resource{Name: "bare"}.AllOf(), "no scopes": albums.AllOf(), "none of no scopes": one.AnyOf(), "nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.NeedFunc(func(*http.Request) (gatehouse.Permission, error) { return need, nil })))
			for _, token := range []string{"", "tok"} {
				if answer := send(h, "GET", "/", token); answer.Code != 500 || served(answer) {
					t.Errorf("%d %s", answer.Code, answer.Body)
				}
			}
			if got := s.saw(""); len(got) != 0 {
				t.Errorf("the server was asked: %q", got)
			}
		})
	}
	for _, fault := range []opserver.Fault{opserver.PermissionWithoutScopes, opserver.ScopesAtTopLevel, opserver.PermissionExpired, opserver.PermissionNotYetValid} {
		t.Run(string(fault), func(t *testing.T) {
			w := newRSWorld(t)
			h := photos(w.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: -1}).UMAProtect(albumRules()))
			token := w.rpt(h, "GET", "/albums/", "photoz", "view")
			if answer := send(h, "GET", "/albums/", token); !served(answer) {
				t.Fatalf("without the fault: %d %s", answer.Code, answer.Body)
			}
			w.must(w.SetFault(fault, true))
			w.wantTicket(send(h, "GET", "/albums/", token))
		})
	}
	t.Run("nobody was let in", func(t *testing.T) {
		w := newRSWorld(t)
		h := photos(w.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(albumRules()))
		ticket := w.wantTicket(send(h, "GET", "/albums/", ""))
		body, status := w.asShop("token_endpoint", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {ticket}})
		if status < 400 || body["access_token"] != nil {
			t.Errorf("without claims: %d %v", status, body)
		}
		for _, user := range []string{"alice", "bob"} {
			if rpt, status := w.exchange(w.wantTicket(send(h, "GET", "/albums/", "")), user); rpt != "" || status < 400 {
				t.Errorf("%s: status %d", user, status)
			}
		}
	})
}

// TestUR9_UnionOfLiveEntries: what two live entries give together counts, and
// what has run out does not, from that second on.
func TestUR9_UnionOfLiveEntries(t *testing.T) {
	s := newScripted(t)
	now := s.Now().Unix()
	s.says("POST /perm", 201, `{"ticket":"t1"}`)
	s.says("POST /look", 200, fmt.Sprintf(`{"active":true,"exp":%d,"permissions":[
		{"resource_id":"r-1","resource_scopes":["view"],"exp":%d},
		{"resource_id":"r-1","resource_scopes":["print"],"exp":%d},
		{"resource_id":"r-1","resource_scopes":["view","print","delete"],"exp":%d},
		{"resource_id":"r-2","resource_scopes":["delete"]}]}`, now+100, now+8, now+4, now))
	rs := s.resourceServer(gatehouse.ResourceServerConfig{CacheTTL: 30 * time.Second})
	type step struct {
		after        time.Duration
		one, two, no bool // view alone, view and print, delete
	}
	for _, c := range []step{{0, true, true, false}, {3 * time.Second, true, true, false}, {4 * time.Second, true, false, false}, {8 * time.Second, false, false, false}} {
		s.mu.Lock()
		s.now = time.Unix(now, 0).Add(c.after)
		s.mu.Unlock()
		got := step{after: c.after}
		for need, open := range map[*bool]gatehouse.Permission{&got.one: one.AllOf("view"), &got.two: one.AllOf("view", "print"), &got.no: one.AllOf("delete")} {
			answer := send(photos(rs.UMAProtect(open)), "GET", "/", "tok")
			*need = served(answer)
			if !*need && answer.Code != 401 {
				t.Errorf("after %v: %d", c.after, answer.Code)
			}
		}
		if got != c {
			t.Errorf("after %v: %+v, want %+v", c.after, got, c)
		}
	}
	// Once at first, and once after each of the refusals but the last: the ticket
	// may have widened the token.
	if n := len(s.saw("POST /look")); n != 7 {
		t.Errorf("%d introspections, want 7: the times were not judged anew for each request", n)
	}
}
