package uma_rs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/middlewaretest"
)

// keycloak speaks UMA as Keycloak 26.7.3 was seen to do
// (internal/testkit/umacases, K1 to K17), with one answer per deviation.
// interop uses the real one.
type keycloak struct {
	*world.Script
	resources map[string]map[string]any // by id
	clientPAT string
	posted    []map[string]any
	pats      int
	conflicts int // this many registrations are refused as if the name were taken
}

func newKeycloak(t testing.TB) *keycloak {
	k := &keycloak{
		Script:    world.NewScript(t),
		resources: map[string]map[string]any{},
	}
	k.Mux = http.NewServeMux()
	k.Says("GET /.well-known/", 200, `{"issuer":"https://as.example.org","token_endpoint":"https://as.example.org/token","introspection_endpoint":"https://as.example.org/look",
		"permission_endpoint":"https://as.example.org/perm","resource_registration_endpoint":"https://as.example.org/res","policy_endpoint":"https://as.example.org/policy",
		"scopes_supported":["openid","profile","offline_access"]}`)
	k.Mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("scope") != "" { // K1: a PAT depends on a role, not on a scope
			k.says400(w, 400, "invalid_scope")
			return
		}
		k.pats++
		k.clientPAT = fmt.Sprint("pat-", k.pats)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":300}`, k.clientPAT)
	})
	k.Mux.HandleFunc("/res", k.pat(k.collection))
	k.Mux.HandleFunc("/res/{id}", k.pat(k.resource))
	k.Mux.HandleFunc("POST /perm", k.pat(k.permission))
	k.Mux.HandleFunc("POST /look", k.introspect)
	return k
}

func (k *keycloak) says400(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q}`, code)
}

// pat implements K1: a bad PAT gets 403, never 401, and there is no challenge.
func (k *keycloak) pat(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+k.clientPAT {
			k.says400(w, 403, "invalid_bearer_token")
			return
		}
		h(w, r)
	}
}

func (k *keycloak) collection(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" { // K7: the list has everybody's unless filtered by exact name and owner
		if r.FormValue("exactName") != "true" || r.FormValue("owner") != "photoz" || r.FormValue("max") != "-1" {
			k.says400(w, 500, "a list of everybody's")
			return
		}
		ids := []string{}
		for id, doc := range k.resources {
			if doc["name"] == r.FormValue("name") {
				ids = append(ids, id)
			}
		}
		_ = json.NewEncoder(w).Encode(ids)
		return
	}
	doc, ok := k.describes(w, r)
	if !ok {
		return
	}
	if k.conflicts > 0 {
		k.conflicts--
		k.says400(w, 409, "invalid_request")
		return
	}
	for _, have := range k.resources {
		if have["name"] == doc["name"] { // K4: names are unique
			k.says400(w, 409, "invalid_request")
			return
		}
	}
	id := fmt.Sprintf("kc-%d", len(k.posted))
	k.resources[id] = doc
	w.WriteHeader(201) // K2: no Location
	_ = json.NewEncoder(w).Encode(k.answer(id, map[string]any{"id": "uuid-of-photoz", "name": "photoz"}))
}

// describes implements K5: an unknown member, even description, gives 400.
func (k *keycloak) describes(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	body, _ := io.ReadAll(r.Body)
	var doc map[string]any
	_ = json.Unmarshal(body, &doc)
	for name := range doc {
		if !slices.Contains([]string{"name", "type", "icon_uri", "resource_scopes", "ownerManagedAccess", "owner", "uris"}, name) {
			k.says400(w, 400, "Unrecognized field "+name)
			return nil, false
		}
	}
	k.posted = append(k.posted, doc)
	return doc, true
}

// answer implements K5: scopes are objects, and there is an owner.
func (k *keycloak) answer(id string, owner map[string]any) map[string]any {
	out := map[string]any{"_id": id, "owner": owner, "uris": []string{}, "attributes": map[string]any{}}
	for name, value := range k.resources[id] {
		out[name] = value
	}
	var scopes []map[string]string
	list, _ := out["resource_scopes"].([]any)
	for _, s := range list {
		scopes = append(scopes, map[string]string{"name": fmt.Sprint(s)})
	}
	out["resource_scopes"] = scopes
	return out
}

func (k *keycloak) resource(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if k.resources[id] == nil {
		w.WriteHeader(404)
		return
	}
	switch r.Method {
	case "GET":
		_ = json.NewEncoder(w).Encode(k.answer(id, map[string]any{"id": "uuid-of-photoz"}))
	case "PUT":
		if doc, ok := k.describes(w, r); ok {
			k.resources[id] = doc
			w.WriteHeader(204) // K3: no body
		}
	case "DELETE":
		delete(k.resources, id)
		w.WriteHeader(204)
	}
}

// permission implements K8: only an array is accepted.
func (k *keycloak) permission(w http.ResponseWriter, r *http.Request) {
	var list []map[string]any
	if json.NewDecoder(r.Body).Decode(&list) != nil {
		k.says400(w, 400, "unknown_error")
		return
	}
	for _, p := range list {
		if k.resources[fmt.Sprint(p["resource_id"])] == nil {
			k.says400(w, 400, "invalid_resource_id") // K9: an unknown resource
			return
		}
	}
	w.WriteHeader(201)
	// K10: the ticket is a JWT of more than half a kilobyte.
	fmt.Fprintf(w, `{"ticket":"%s.e30.sig"}`, strings.Repeat("x", 600))
}

// introspect implements K17: client authentication, and the hint selects the
// UMA form.
func (k *keycloak) introspect(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := r.BasicAuth(); !ok {
		k.says400(w, 401, "invalid_client")
		return
	}
	if r.FormValue("token_type_hint") != "requesting_party_token" || r.FormValue("token") == "plain" {
		fmt.Fprint(w, `{"active":true,"sub":"bob","client_id":"printshop","username":"bob","aud":["photoz","account"]}`)
		return
	}
	fmt.Fprintf(w, `{"exp":1777637100,"iat":1777636800,"jti":"j","aud":"photoz","typ":"Bearer","acr":"1","active":true,
		"permissions":[{"scopes":["view"],"rsid":"kc-1","rsname":"albums","resource_id":"kc-1","resource_scopes":["view"]}]}`)
}

func TestUMAResourceServerKeycloak(t *testing.T) {
	k := newKeycloak(t)
	rs := k.ResourceServer(gatehouse.ResourceServerConfig{})
	r := world.Albums
	r.Description, r.Type = "not for Keycloak", "t"
	h := world.Photos(rs.UMAProtect(gatehouse.Rules{"GET /": r.AllOf("view"), "DELETE /": r.AllOf("delete")}))

	answer := world.Send(h, "GET", "/", "")
	if answer.Code != 401 || len(k.resources) != 1 {
		t.Fatalf("challenge: %d %s, resources %v, calls %q", answer.Code, answer.Body, k.resources, k.Saw(""))
	}
	if _, has := k.posted[0]["ownerManagedAccess"]; has {
		t.Error("the service's own resource is managed by an owner")
	}
	if answer := world.Send(h, "GET", "/", "rpt"); answer.Body.String() != `served via uma sub "" granted [view]` {
		t.Errorf("with an RPT: %d %s", answer.Code, answer.Body)
	}
	if answer := world.Send(h, "DELETE", "/", "rpt"); answer.Code != 401 {
		t.Errorf("too weak: %d", answer.Code)
	}
	if answer := world.Send(h, "GET", "/", "plain"); answer.Code != 401 {
		t.Errorf("an ordinary token with us in aud: %d %s", answer.Code, answer.Body)
	}
	for _, c := range k.Saw("POST /look") {
		if !strings.Contains(c, "token_type_hint=requesting_party_token") {
			t.Errorf("introspection without the hint: %s", c)
		}
	}

	// The PAT is lost: 403, and it is renewed once.
	k.clientPAT = "another"
	if answer := world.Send(h, "GET", "/", ""); answer.Code != 401 || k.pats != 2 {
		t.Errorf("PAT lost: %d after %d PATs", answer.Code, k.pats)
	}
	// Our memory is lost: the name is taken, so the resource is found and taken
	// over.
	changed := r
	changed.Scopes = append(slices.Clone(r.Scopes), "print")
	again := k.ResourceServer(gatehouse.ResourceServerConfig{})
	out, err := again.Register(t.Context(), changed)
	if err != nil || out.ID != "kc-1" || len(k.resources) != 1 || len(k.Saw("PUT /res/kc-1")) != 1 {
		t.Errorf("after the loss of ids: %+v, %v, resources %v", out, err, k.resources)
	}
	puts := len(k.Saw("PUT /res"))
	if out, err := k.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), changed); err != nil || out.ID != "kc-1" || len(k.Saw("PUT /res")) != puts {
		t.Errorf("nothing changed: %+v, %v, %d PUTs more", out, err, len(k.Saw("PUT /res"))-puts)
	}
	// The resource is lost there: it is registered again, once.
	delete(k.resources, "kc-1")
	if answer := world.Send(h, "GET", "/", ""); answer.Code != 401 || len(k.resources) != 1 {
		t.Errorf("resource lost: %d, resources %v", answer.Code, k.resources)
	}
	if err := rs.Deregister(t.Context(), r); err != nil || len(k.resources) != 0 {
		t.Errorf("Deregister: %v, resources %v", err, k.resources)
	}
}

// TestUMAKeycloakFalseConflict: Keycloak answers 409 to some of those who are
// the first to use a scope at the same time. They ask again, a bounded number
// of times.
func TestUMAKeycloakFalseConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it waits in between
		for conflicts, ok := range map[int]bool{1: true, 4: true, 5: false} {
			k := newKeycloak(t)
			k.conflicts = conflicts
			out, err := k.ResourceServer(gatehouse.ResourceServerConfig{}).Register(t.Context(), world.Albums)
			if (err == nil) != ok || (out.ID != "") != ok || len(k.Saw("POST /res")) != min(conflicts+1, 5) {
				t.Errorf("%d conflicts: %+v, %v after %d requests", conflicts, out, err, len(k.Saw("POST /res")))
			}
		}
	})
}

// servicePATForAll is a PATSource that uses the service's PAT for people.
type servicePATForAll struct{ k *keycloak }

func (s servicePATForAll) PAT(_ context.Context, _ string, _ gatehouse.Secret) (gatehouse.Secret, error) {
	s.k.clientPAT = "pat-x"
	return gatehouse.NewSecret("pat-x"), nil
}

// TestUMAKeycloakOwner tests K6: with the service's PAT the service becomes the
// owner of a person's resource, whatever the request says. That is an error.
func TestUMAKeycloakOwner(t *testing.T) {
	k := newKeycloak(t)
	rs := k.ResourceServer(gatehouse.ResourceServerConfig{PAT: servicePATForAll{k}})
	out, err := rs.Register(t.Context(), gatehouse.Resource{Owner: "alice", Name: "album 7", Scopes: []string{"view"}})
	if gatehouse.ErrorCode(err) != "registration_failed" || len(k.resources) != 0 {
		t.Errorf("%+v, %v, resources %v; want an error and nothing left behind", out, err, k.resources)
	}
	if k.posted[0]["ownerManagedAccess"] != true {
		t.Errorf("posted %v, want ownerManagedAccess for a person's resource", k.posted[0])
	}
}

// TestUMAKeycloakNamesByCase: Keycloak distinguishes names by case but searches
// regardless of case. A resource server that has lost its memory takes over its
// own resource, and deregisters only that one.
func TestUMAKeycloakNamesByCase(t *testing.T) {
	op := middlewaretest.NewKeycloak(t)
	c := op.AddClient()
	upper, lower := gatehouse.Resource{Name: "Album", Scopes: []string{"view"}}, gatehouse.Resource{Name: "album", Scopes: []string{"view"}}
	fresh := func() *gatehouse.ResourceServer {
		rs, err := gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rs.Shutdown(context.Background()) })
		return rs
	}
	first := fresh()
	ids := map[string]string{}
	for _, r := range []gatehouse.Resource{upper, lower} {
		made, err := first.Register(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		ids[r.Name] = made.ID
	}
	for _, r := range []gatehouse.Resource{upper, lower} {
		again, err := fresh().Register(t.Context(), r)
		if err != nil || again.ID != ids[r.Name] {
			t.Errorf("%s after a restart: %q, %v; want %q", r.Name, again.ID, err, ids[r.Name])
		}
	}
	if err := fresh().Deregister(t.Context(), lower); err != nil {
		t.Error(err)
	}
	if got := op.As(c.ID).Resources(); len(got) != 1 || got[0] != "Album" {
		t.Errorf("left are %q", got)
	}
}

// TestUMAKeycloakLongTicket tests K25: a ticket of more than 4,000 characters is
// passed on, but the log says that Keycloak will ignore it. Other servers take
// it up to 4 KiB without a word.
func TestUMAKeycloakLongTicket(t *testing.T) {
	for name, c := range map[string]struct {
		policy string // only a Keycloak has this endpoint
		length int
		want   string
	}{
		"Keycloak, 4000":   {`,"policy_endpoint":"https://as.example.org/policy"`, 4000, ""},
		"Keycloak, 4001":   {`,"policy_endpoint":"https://as.example.org/policy"`, 4001, "Keycloak ignores"},
		"standard, 4001":   {"", 4001, ""},
		"standard, beyond": {"", 4097, "too long for proxies"},
	} {
		s := world.NewScript(t, c.policy)
		s.Says("POST /perm", 201, `{"ticket":"`+strings.Repeat("x", c.length)+`"}`)
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		if a := world.Send(h, "GET", "/", ""); a.Code != 401 {
			t.Errorf("%s: %d", name, a.Code)
		}
		codes := s.EventsOf(gatehouse.EventTrouble)
		if (len(codes) > 0) != (c.want != "") || !strings.Contains(s.Log(), c.want) {
			t.Errorf("%s: %q in %s, want %q", name, codes, s.Log(), c.want)
		}
	}
}
