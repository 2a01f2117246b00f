package opserver

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"
)

// resource is a registered resource. Federated Authorization §3.1.
type resource struct {
	needs  []NeededClaim // by step
	id     string
	owner  party
	client string // the resource server that registered it
	doc    map[string]any
	scopes []string
	shares map[string][]string // what the owner granted, by person
	denied map[string][]string // what the owner took back or refused
	lost   bool
	made   time.Time
}

func (v *resource) name() string {
	if name, _ := v.doc["name"].(string); name != "" {
		return name
	}
	return v.id
}

// pat checks the PAT of a request. It returns the PAT's owner and the client
// that got it. RFC 6750 §3.1.
func (s standard) pat(r *http.Request) (party, string, *apiError) {
	value, ok := bearer(r)
	if r.URL.Query().Has("access_token") {
		s.stats.violation("PAT in the URL of %s", r.URL.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := s.st.patRefusal
	if refusal == 0 {
		refusal = http.StatusUnauthorized
	}
	if !ok {
		return party{}, "", &apiError{status: refusal, code: "invalid_token", desc: "a PAT is required", challenge: `Bearer realm="opserver"`}
	}
	t := s.st.tokens[value]
	switch {
	case t == nil || t.lost || t.rights != nil || !t.live(s.now()):
		return party{}, "", bearerError(refusal, "invalid_token", "the PAT is not valid")
	case !contains(t.scope, scopePAT):
		return party{}, "", bearerError(http.StatusForbidden, "insufficient_scope", "uma_protection is missing")
	}
	if t.grant.user != nil {
		return party{user: t.grant.user.name}, t.grant.client, nil
	}
	return party{client: t.grant.client}, t.grant.client, nil
}

// owned finds a resource by id if it belongs to the owner and client of a PAT.
// The lock is held.
func (s *Server) owned(id string, owner party, client string) *resource {
	v := s.st.resources[id]
	if v == nil || v.lost || v.owner != owner || v.client != client {
		return nil
	}
	return v
}

// serveResources creates and lists. Federated Authorization §3.2.1, §3.2.5.
func (s standard) serveResources(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	if r.Method != http.MethodPost {
		s.mu.Lock()
		ids := []string{}
		for id := range s.st.resources {
			if s.owned(id, owner, client) != nil {
				ids = append(ids, id)
			}
		}
		s.mu.Unlock()
		slices.Sort(ids)
		reply(w, http.StatusOK, ids, nil)
		return
	}
	doc, scopes, bad := readDescription(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	v := &resource{owner: owner, client: client, doc: doc, scopes: scopes,
		shares: map[string][]string{}, denied: map[string][]string{}, made: s.now()}
	s.mu.Lock()
	v.id = s.newResourceID()
	s.st.resources[v.id] = v
	location := s.prefix + pathResource + "/" + v.id
	if !s.st.relativeLocation {
		location = s.origin + location
	}
	s.mu.Unlock()
	w.Header().Set("Location", location)
	reply(w, http.StatusCreated, s.registered(v), nil)
}

// serveResource reads, replaces and deletes. Federated Authorization §3.2.2–4.
func (s standard) serveResource(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	s.mu.Lock()
	v := s.owned(r.PathValue("id"), owner, client)
	s.mu.Unlock()
	if v == nil {
		writeError(w, &apiError{status: http.StatusNotFound, code: "not_found"})
		return
	}
	switch r.Method {
	case http.MethodPut:
		doc, scopes, bad := readDescription(w, r)
		if bad == nil {
			s.mu.Lock()
			v.doc, v.scopes = doc, scopes // a replacement, not a merge
			s.mu.Unlock()
		}
		reply(w, http.StatusOK, s.registered(v), bad)
	case http.MethodDelete:
		s.mu.Lock()
		s.drop(v.id)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		s.mu.Lock()
		body := maps.Clone(v.doc)
		s.mu.Unlock()
		maps.Copy(body, s.registered(v))
		reply(w, http.StatusOK, body, nil)
	}
}

// registered is the common part of every answer about a resource.
func (s *Server) registered(v *resource) map[string]any {
	body := map[string]any{"_id": v.id}
	if v.owner.user != "" { // only people have a page to go to
		body["user_access_policy_uri"] = s.url(pathPolicy) + "/" + v.id
	}
	return body
}

// drop removes a resource and everything that depends on it. The lock is held.
func (s *Server) drop(id string) {
	delete(s.st.resources, id)
	maps.DeleteFunc(s.st.requests, func(_ string, q *Request) bool { return q.ResourceID == id })
}

// readDescription reads a resource description. It refuses repeated members and
// members of the wrong type, and keeps unknown ones.
func readDescription(w http.ResponseWriter, r *http.Request) (map[string]any, []string, *apiError) {
	var doc map[string]any
	if bad := readJSON(w, r, &doc); bad != nil {
		return nil, nil, bad
	}
	if doc == nil {
		return nil, nil, badRequest("invalid_request", "the description is not an object")
	}
	for name, value := range doc {
		base, _, _ := strings.Cut(name, "#") // name#fr and the like
		if _, text := value.(string); !text && contains([]string{"name", "description", "icon_uri", "type"}, base) {
			return nil, nil, badRequest("invalid_request", printable(name)+" is not a string")
		}
	}
	scopes, ok := stringList(doc["resource_scopes"])
	if !ok {
		return nil, nil, badRequest("invalid_request", "resource_scopes is not a list of distinct names")
	}
	delete(doc, "_id")
	delete(doc, "user_access_policy_uri")
	return doc, scopes, nil
}

// readJSON decodes a JSON body; duplicate members are an error.
func readJSON(w http.ResponseWriter, r *http.Request, into any) *apiError {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return badRequest("invalid_request", "the body must be JSON")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return badRequest("invalid_request", "the body cannot be read")
	}
	if err := strict.Unmarshal(b, into); err != nil {
		return badRequest("invalid_request", "the body is not valid JSON")
	}
	return nil
}

// stringList reads a JSON array of distinct, non-empty strings.
func stringList(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, one := range list {
		text, ok := one.(string)
		if !ok || text == "" || contains(out, text) {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}
