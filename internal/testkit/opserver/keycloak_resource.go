package opserver

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// listedByDefault is how many ids a list has unless max is sent (K7).
const listedByDefault = 100

// serveResources creates and lists.
func (s keycloak) serveResources(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r, true)
	if bad != nil {
		writeError(w, bad)
		return
	}
	if r.Method != http.MethodPost {
		s.mu.Lock()
		body := s.list(r, owner, client)
		s.mu.Unlock()
		writeJSON(w, http.StatusOK, body)
		return
	}
	doc, scopes, bad := readKeycloakDescription(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _ := doc["name"].(string)
	id, _ := doc["_id"].(string)
	switch {
	case name == "":
		writeError(w, &apiError{status: http.StatusConflict, code: "conflict", desc: "Duplicate resource error"}) // 409 for a missing name too (K4)
		return
	case s.named(name, owner, client) != nil:
		writeError(w, &apiError{status: http.StatusConflict, code: "invalid_request", desc: "the name already exists"}) // unique for an owner (K4)
		return
	case id == "":
		id = s.newResourceID()
	}
	delete(doc, "_id")
	delete(doc, "owner")                                         // K6: whatever the request says, the owner is the PAT's
	if v := s.st.resources[id]; v != nil && v.client == client { // a chosen id that exists is overwritten, whoever owns it
		v.doc, v.scopes = doc, scopes
		writeJSON(w, http.StatusCreated, s.representation(v, true))
		return
	}
	v := &resource{id: id, owner: owner, client: client, doc: doc, scopes: scopes,
		shares: map[string][]string{}, denied: map[string][]string{}, made: s.now()}
	s.st.resources[v.id] = v
	writeJSON(w, http.StatusCreated, s.representation(v, true)) // K2: no Location
}

// serveResource reads, replaces and deletes.
func (s keycloak) serveResource(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r, true)
	if bad != nil {
		writeError(w, bad)
		return
	}
	s.mu.Lock()
	v := s.st.resources[r.PathValue("id")]
	found := v != nil && !v.lost && v.client == client
	s.mu.Unlock()
	switch {
	case !found:
		bad = &apiError{status: http.StatusNotFound, code: "not_found", desc: "Resource not found"}
	case owner.user != "" && v.owner != owner: // K6: the service itself may change everybody's
		bad = &apiError{status: http.StatusForbidden, code: "forbidden", desc: "You don't have permission to manage this resource"}
	case r.Method == http.MethodPut:
		bad = s.replace(w, r, v)
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		s.drop(v.id)
		s.mu.Unlock()
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		writeJSON(w, http.StatusOK, s.representation(v, false))
		return
	}
	if bad != nil {
		writeError(w, bad)
		return
	}
	w.WriteHeader(http.StatusNoContent) // where the specification has 200 and a body (K3)
}

// replace implements K3 and K26: members that are left out are reset, except
// attributes, and the owner stays. What was decided about a scope that is left
// out is lost for good.
func (s keycloak) replace(w http.ResponseWriter, r *http.Request, v *resource) *apiError {
	doc, scopes, bad := readKeycloakDescription(w, r)
	if bad != nil {
		return bad
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _ := doc["name"].(string)
	if name == "" {
		return &apiError{status: http.StatusInternalServerError, code: "unknown_error"}
	}
	if other := s.named(name, v.owner, v.client); other != nil && other != v {
		return &apiError{status: http.StatusConflict, code: "conflict", desc: "Duplicate resource error"}
	}
	delete(doc, "_id")
	delete(doc, "owner")
	if kept, had := v.doc["attributes"]; had && doc["attributes"] == nil {
		doc["attributes"] = kept
	}
	v.doc, v.scopes = doc, scopes
	for _, decided := range []map[string][]string{v.shares, v.denied} {
		for who, had := range decided {
			decided[who] = slices.DeleteFunc(slices.Clone(had), func(scope string) bool { return !contains(scopes, scope) })
		}
		maps.DeleteFunc(decided, func(_ string, left []string) bool { return len(left) == 0 })
	}
	return nil
}

// named finds a resource by its exact name, which is unique for an owner (K4).
// The lock is held.
func (s keycloak) named(name string, owner party, client string) *resource {
	for _, v := range s.st.resources {
		if !v.lost && v.client == client && v.owner == owner && v.doc["name"] == name {
			return v
		}
	}
	return nil
}

// list implements K7. The lock is held.
func (s keycloak) list(r *http.Request, owner party, client string) any {
	q := r.URL.Query()
	var found []*resource
	for _, v := range s.st.resources {
		if !v.lost && v.client == client && (owner.user == "" || v.owner == owner) && s.matches(v, q.Get) {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b *resource) int { return strings.Compare(a.name()+a.id, b.name()+b.id) })
	first, err := strconv.Atoi(q.Get("first"))
	if err != nil || first < 0 {
		first = 0
	}
	most, err := strconv.Atoi(q.Get("max"))
	if err != nil {
		most = listedByDefault
	}
	found = found[min(first, len(found)):]
	if most >= 0 { // -1 removes the cap
		found = found[:min(most, len(found))]
	}
	out := []any{}
	for _, v := range found {
		if q.Get("deep") == "true" {
			out = append(out, s.representation(v, true))
		} else {
			out = append(out, v.id)
		}
	}
	return out
}

// matches applies the filters of a list. A name matches anywhere in the names
// unless exactName is sent, and always regardless of case. An empty filter is
// ignored. The lock is held.
func (s keycloak) matches(v *resource, filter func(string) string) bool {
	name, want := strings.ToLower(v.name()), strings.ToLower(filter("name"))
	if want != "" && name != want && (filter("exactName") == "true" || !strings.Contains(name, want)) {
		return false
	}
	id, called := s.ownerOf(v)
	if want := filter("owner"); want != "" && want != id && want != called {
		return false
	}
	if want := filter("scope"); want != "" && !contains(v.scopes, want) {
		return false
	}
	uris, _ := v.doc["uris"].([]any)
	if want := filter("uri"); want != "" && !slices.Contains(uris, any(want)) {
		return false
	}
	kind, _ := v.doc["type"].(string)
	return (filter("_id") == "" || filter("_id") == v.id) && (filter("type") == "" || filter("type") == kind)
}

// ownerOf returns the id and name of an owner. The lock is held.
func (s keycloak) ownerOf(v *resource) (id, name string) {
	if u := s.st.users[v.owner.user]; u != nil {
		return u.subject, u.name
	}
	return v.owner.client, v.owner.client
}

// representation implements K5: scopes are objects and the owner is included.
// The answer to a registration also has ids and the owner's name. The lock is
// held.
func (s keycloak) representation(v *resource, full bool) map[string]any {
	out := maps.Clone(v.doc)
	id, name := s.ownerOf(v)
	owner := map[string]any{"id": id}
	scopes := []map[string]any{}
	for _, one := range v.scopes {
		scope := map[string]any{"name": one}
		if full {
			scope["id"] = "scope-" + one
		}
		scopes = append(scopes, scope)
	}
	if full {
		owner["name"] = name
	} else if out["attributes"] == nil {
		out["attributes"] = map[string]any{}
	}
	managed, _ := v.doc["ownerManagedAccess"].(bool)
	if out["uris"] == nil {
		out["uris"] = []string{}
	}
	out["_id"], out["owner"], out["ownerManagedAccess"], out["resource_scopes"], out["scopes"] = v.id, owner, managed, scopes, scopes
	return out
}

// readKeycloakDescription reads a resource description. It refuses unknown
// members, including description (K5).
func readKeycloakDescription(w http.ResponseWriter, r *http.Request) (map[string]any, []string, *apiError) {
	raw, bad := readKeycloakJSON(w, r)
	if bad != nil {
		return nil, nil, bad
	}
	if !json.Valid(raw) {
		return nil, nil, badRequest("invalid_request", "Cannot parse the JSON")
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil || doc == nil {
		return nil, nil, unparsed()
	}
	known := map[string]string{"_id": "text", "name": "text", "displayName": "text", "type": "text", "icon_uri": "text", "uri": "text",
		"uris": "list", "resource_scopes": "list", "scopes": "list", "owner": "", "ownerManagedAccess": "", "attributes": ""}
	for _, member := range slices.Sorted(maps.Keys(doc)) {
		kind, ok := known[member]
		if !ok {
			return nil, nil, unrecognized("UmaResourceRepresentation", member)
		}
		_, isText := doc[member].(string)
		_, isList := doc[member].([]any)
		if kind == "text" && !isText || kind == "list" && !isList {
			return nil, nil, unparsed()
		}
	}
	list, _ := doc["resource_scopes"].([]any)
	if list == nil {
		list, _ = doc["scopes"].([]any)
	}
	scopes, ok := scopeNames(list)
	if !ok {
		return nil, nil, unparsed()
	}
	return doc, scopes, nil
}

// scopeNames reads scopes given as names or as objects with a name. Duplicates
// count once.
func scopeNames(list []any) ([]string, bool) {
	out := []string{}
	for _, one := range list {
		if object, ok := one.(map[string]any); ok {
			one = object["name"]
		}
		name, ok := one.(string)
		if !ok || name == "" {
			return nil, false
		}
		out = union(out, []string{name})
	}
	return out, true
}

// readKeycloakJSON reads a body. If a member is repeated, the last one counts.
func readKeycloakJSON(w http.ResponseWriter, r *http.Request) ([]byte, *apiError) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return nil, &apiError{status: http.StatusUnsupportedMediaType, code: "The content-type header value did not match the value in @Consumes"}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, badRequest("invalid_request", "the body cannot be read")
	}
	return bytes.TrimSpace(b), nil
}

func unparsed() *apiError { return badRequest("unknown_error", "Cannot parse the JSON") }

// unrecognized puts the reason in the code itself (K5, K8).
func unrecognized(kind, member string) *apiError {
	return badRequest("Invalid json representation for "+kind+`. Unrecognized field "`+printable(member)+`".`, "")
}
