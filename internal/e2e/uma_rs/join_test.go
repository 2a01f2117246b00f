package uma_rs_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// admin is an administrator who changes what the server has about photoz.
type admin struct {
	w   *world.World
	pat string
}

func newAdmin(w *world.World, scopes ...string) admin {
	pat, err := w.AccessToken("", "photoz", scopes...)
	w.Must(err)
	return admin{w, pat}
}

func (a admin) do(method, path, body string) map[string]any {
	a.w.T.Helper()
	req, err := http.NewRequest(method, a.w.Endpoint("resource_registration_endpoint")+path, strings.NewReader(body))
	a.w.Must(err)
	req.Header.Set("Authorization", "Bearer "+a.pat)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.w.Transport().RoundTrip(req)
	a.w.Must(err)
	raw, err := io.ReadAll(resp.Body)
	a.w.Must(err)
	a.w.Must(resp.Body.Close())
	if resp.StatusCode >= 300 {
		a.w.T.Fatalf("%s %s: %s %s", method, path, resp.Status, raw)
	}
	var out map[string]any
	if len(raw) > 0 && raw[0] == '{' {
		a.w.Must(json.Unmarshal(raw, &out))
	}
	return out
}

// scopesOf lists the scopes of a description, which are strings or objects.
func scopesOf(doc map[string]any) (list []string) {
	all, _ := doc["resource_scopes"].([]any)
	for _, s := range all {
		if object, ok := s.(map[string]any); ok {
			s = object["name"]
		}
		text, _ := s.(string)
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

// TestUMAJoin: a resource that exists under our name keeps what we do not send,
// at a server of either kind. One anonymous request must not delete what an
// administrator set up.
func TestUMAJoin(t *testing.T) {
	for name, c := range map[string]struct {
		world  func(testing.TB) *world.Photoz
		pat    []string
		extra  string
		keeps  map[string]any
		change gatehouse.Resource // what the application names
	}{
		"standard": {world.NewPhotoz, []string{"uma_protection"}, `"name#de":"Alben","policy":{"x":[1,12345678901234567890]},"type":"t"`,
			map[string]any{"name#de": "Alben", "type": "t", "policy": map[string]any{"x": []any{1.0, 12345678901234567890.0}}}, gatehouse.Resource{Type: "t", IconURI: "https://photoz/i.png"}},
		"Keycloak": {world.NewPhotozKeycloak, nil, `"displayName":"Our albums","uris":["/albums/*"],"attributes":{"k":["v"]},"ownerManagedAccess":true,"type":"t"`,
			map[string]any{"displayName": "Our albums", "uris": []any{"/albums/*"}, "attributes": map[string]any{"k": []any{"v"}}, "ownerManagedAccess": true, "type": "t"},
			gatehouse.Resource{Description: "not for Keycloak", IconURI: "https://photoz/i.png"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.world(t)
			a := newAdmin(w.World, c.pat...)
			id, _ := a.do("POST", "", `{"name":"albums","resource_scopes":["admin","view"],`+c.extra+`}`)["_id"].(string)
			w.Must(w.Share("photoz", id, "bob", "admin", "view"))
			w.Restart()
			ours := c.change
			ours.Name, ours.Scopes = "albums", []string{"view", "print"}
			ours.Exact = true // a request withdraws nothing all the same
			rs := w.ResourceServer(gatehouse.ResourceServerConfig{})
			if answer := world.Send(world.Photos(rs.UMAProtect(ours.AllOf("view"))), "GET", "/", ""); answer.Code != 401 {
				t.Fatalf("%d %s", answer.Code, answer.Body)
			}
			check := func(scopes ...string) {
				t.Helper()
				have := a.do("GET", "/"+id, "")
				if got := scopesOf(have); !slices.Equal(got, scopes) {
					t.Errorf("scopes %q, want %q", got, scopes)
				}
				for member, want := range c.keeps {
					if !equalJSON(have[member], want) {
						t.Errorf("%s is %v, want %v", member, have[member], want)
					}
				}
				if have["icon_uri"] != "https://photoz/i.png" {
					t.Errorf("what we name is not there: %v", have)
				}
			}
			check("admin", "print", "view")
			if all := w.Resources("photoz"); len(all) != 1 || !slices.Equal(slices.Sorted(slices.Values(all[0].Shares["bob"])), []string{"admin", "view"}) {
				t.Errorf("the server has %+v", all)
			}
			// More scopes there than we name is up to date.
			w.Restart()
			w.Reset()
			fewer := ours
			fewer.Scopes, fewer.Exact = []string{"view"}, false
			out, err := w.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), fewer)
			if err != nil || out.ID != id || w.Made("PUT") != 0 {
				t.Errorf("%+v, %v after %d PUT, want the same without one", out, err, w.Made("PUT"))
			}
			// Only Register with Exact withdraws, and everything else stays.
			fewer.Exact = true
			if out, err := rs.Register(t.Context(), fewer); err != nil || out.ID != id {
				t.Errorf("%+v, %v", out, err)
			}
			check("view")
			a.do("PUT", "/"+id, `{"name":"albums","resource_scopes":["view","late"],"icon_uri":"https://photoz/i.png",`+c.extra+`}`)
			if _, err := rs.Register(t.Context(), fewer); err != nil { // the same call again looks again
				t.Error(err)
			}
			check("view")
		})
	}
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// TestUMAJoinSendsBack: what is sent back is what was read, but for what the
// server says of itself.
func TestUMAJoinSendsBack(t *testing.T) {
	s := world.NewScript(t)
	s.Says("GET /res", 200, `["r-1"]`)
	s.Says("GET /res/{id}", 200, `{"_id":"r-1","user_access_policy_uri":"https://as/p","name":"albums","owner":"us","n":12345678901234567890,"gone":null,"resource_scopes":["admin",{"name":"view"}]}`)
	var sent map[string]json.RawMessage
	s.Mux.HandleFunc("PUT /res/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		w.WriteHeader(204)
	})
	out, err := s.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), gatehouse.Resource{Name: "albums", Scopes: []string{"print"}})
	if err != nil || out.ID != "r-1" || out.PolicyURI != "https://as/p" {
		t.Errorf("%+v, %v", out, err)
	}
	got := map[string]string{}
	for name, value := range sent {
		got[name] = string(value)
	}
	want := map[string]string{"name": `"albums"`, "owner": `"us"`, "n": "12345678901234567890", "resource_scopes": `["admin","view","print"]`}
	if !maps.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

// TestUMAJoinUnreadableScopes: scopes that cannot be read cannot be sent back,
// so the resource is left as it is.
func TestUMAJoinUnreadableScopes(t *testing.T) {
	s := world.NewScript(t)
	s.Says("GET /res", 200, `["r-1"]`)
	s.Says("GET /res/{id}", 200, `{"_id":"r-1","name":"albums","resource_scopes":["view",{"id":"7"}]}`)
	s.Says("PUT /res/{id}", 204, "")
	rs := s.ResourceServer(gatehouse.ResourceServerConfig{})
	if _, err := rs.Register(t.Context(), gatehouse.Resource{Name: "albums", Scopes: []string{"print"}}); gatehouse.ErrorCode(err) != "registration_failed" || len(s.Saw("PUT")) != 0 {
		t.Errorf("%v, %q", err, s.Saw("PUT"))
	}
	if out, err := rs.Register(t.Context(), gatehouse.Resource{Name: "albums", Scopes: []string{"view"}}); err != nil || out.ID != "r-1" {
		t.Errorf("nothing to add: %+v, %v", out, err)
	}
}

// TestUMAJoinByName: a resource under our name is ours although an
// administrator gave it a type. One with another type is another resource.
func TestUMAJoinByName(t *testing.T) {
	for name, c := range map[string]struct{ ids, types, ours, want string }{
		"they set a type":       {`["r-1"]`, "x", "", "r-1"},
		"we set a type":         {`["r-1"]`, "", "t", "r-1"},
		"different types":       {`["r-1"]`, "x", "t", "new"},
		"the same type is best": {`["r-1","r-2"]`, "x", "t", "r-2"},
	} {
		s := world.NewScript(t)
		s.Says("GET /res", 200, c.ids)
		s.Says("GET /res/r-1", 200, `{"name":"albums","resource_scopes":["view"],"type":"`+c.types+`"}`)
		s.Says("GET /res/r-2", 200, `{"name":"albums","resource_scopes":["view"],"type":"`+c.ours+`"}`)
		s.Says("PUT /res/{id}", 204, "")
		s.Says("POST /res", 201, `{"_id":"new"}`)
		out, err := s.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), gatehouse.Resource{Name: "albums", Type: c.ours, Scopes: []string{"view"}})
		if err != nil || out.ID != c.want {
			t.Errorf("%s: %q, %v; want %q", name, out.ID, err, c.want)
		}
	}
}
