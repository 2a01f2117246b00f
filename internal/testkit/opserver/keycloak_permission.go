package opserver

import (
	"encoding/json"
	"net/http"
	"slices"
)

// servePermission implements K8 and K9: only an array, with resources of any
// owners.
func (s keycloak) servePermission(w http.ResponseWriter, r *http.Request) {
	owner, client, bad := s.pat(r, false)
	if bad != nil {
		writeError(w, bad)
		return
	}
	raw, bad := readKeycloakJSON(w, r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	var list []map[string]json.RawMessage
	if len(raw) > 0 && json.Unmarshal(raw, &list) != nil {
		writeError(w, unparsed())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, bad := s.readAsked(list, owner, client)
	if bad != nil {
		writeError(w, bad)
		return
	}
	value, _ := bearer(r)
	pat := s.st.tokens[value]
	now := s.now()
	held := heldTicket{Permissions: asked, ID: newSecret(), Audience: s.issuer, Subject: client, Client: client, Issued: now.Unix(),
		Expires: min(pat.exp.Unix(), now.Add(s.st.ticketLife).Unix())} // K10: it ends with the PAT at the latest
	if pat.grant.user != nil {
		held.Subject = pat.grant.user.subject
	}
	ticket, err := s.signTicket(held)
	if err != nil {
		writeError(w, &apiError{status: http.StatusInternalServerError, code: "unknown_error"})
		return
	}
	writeJSON(w, http.StatusCreated, map[string]any{"ticket": ticket})
}

// readAsked reads the entries of a permission request. The lock is held.
func (s keycloak) readAsked(list []map[string]json.RawMessage, owner party, client string) ([]heldPermission, *apiError) {
	if len(list) == 0 {
		return nil, badRequest("invalid_permission_request", "Invalid permission request.")
	}
	var out []heldPermission
	for _, entry := range list {
		for member := range entry {
			if !contains([]string{"resource_id", "resource_scopes", "claims"}, member) {
				return nil, unrecognized("PermissionRequest", member)
			}
		}
		var id *string
		var scopes []string
		if entry["resource_id"] != nil && json.Unmarshal(entry["resource_id"], &id) != nil ||
			entry["resource_scopes"] != nil && json.Unmarshal(entry["resource_scopes"], &scopes) != nil {
			return nil, unparsed()
		}
		p, bad := s.asked(id, union(nil, scopes), owner, client)
		if bad != nil {
			return nil, bad
		}
		out = append(out, p)
	}
	return out, nil
}

// asked checks one entry. It names the resource by id, or by its name among the
// owner's, or it has only scopes, which some resource must have. The lock is
// held.
func (s keycloak) asked(id *string, scopes []string, owner party, client string) (heldPermission, *apiError) {
	if id == nil {
		if len(scopes) == 0 {
			return heldPermission{}, badRequest("invalid_resource_id", "Resource id or name not provided.")
		}
		for _, scope := range scopes {
			if len(s.having([]string{scope}, client)) == 0 {
				return heldPermission{}, badRequest("invalid_scope", "Scope ["+printable(scope)+"] is invalid")
			}
		}
		return heldPermission{Scopes: scopes}, nil
	}
	v := s.st.resources[*id]
	if v == nil || v.lost || v.client != client {
		v = s.named(*id, owner, client)
	}
	if v == nil {
		return heldPermission{}, badRequest("invalid_resource_id", "Resource set with id ["+printable(*id)+"] does not exists in this server.")
	}
	for _, scope := range scopes {
		if !contains(v.scopes, scope) {
			return heldPermission{}, badRequest("invalid_scope", "Scope ["+printable(scope)+"] is invalid")
		}
	}
	return heldPermission{Resource: v.id, Scopes: scopes}, nil
}

// having lists the resources of a resource server that have all the scopes. The
// lock is held.
func (s keycloak) having(scopes []string, client string) []*resource {
	var out []*resource
	for _, v := range s.st.resources {
		if !v.lost && v.client == client && len(without(scopes, v.scopes)) == 0 {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *resource) int {
		if a.name() < b.name() {
			return -1
		}
		return 1
	})
	return out
}
