// Package resource holds what is said about a protected resource: the
// description that we send (UMA Federated Authorization §3.1), what the server
// says about the resource, and the two joined.
//
// It must not know how a server is asked, or which request needs the resource.
package resource

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"

	"example.com/gatehouse/internal/introspection"
	"example.com/gatehouse/internal/outbound"
	"example.com/gatehouse/internal/strictjson"
)

// ErrScopes means that the server has scopes that cannot be read, and so cannot
// be sent back.
var ErrScopes = errors.New("the server has scopes of the resource that cannot be read, so the resource is left as it is")

// Description is a resource as it is sent to the server.
type Description struct {
	Name        string   `json:"name"`
	Type        string   `json:"type,omitempty"`
	Description string   `json:"description,omitempty"`
	IconURI     string   `json:"icon_uri,omitempty"`
	Scopes      []string `json:"resource_scopes"`
	// OwnerManaged exists only at Keycloak. Without it, the owner cannot share
	// the resource.
	OwnerManaged bool `json:"ownerManagedAccess,omitempty"`
}

// Remote is a resource as the server describes it.
type Remote struct {
	Description
	ID     string
	Policy string // address of the page where the owner decides, "" if there is none
	Owner  string // owner.name at Keycloak, "" elsewhere

	whole   bool                       // Scopes are all that it has
	members map[string]json.RawMessage // of the answer
}

// Read reads an answer about a resource. It returns nil if the answer is not
// the expected JSON object. Members of another type than expected count as
// missing.
func Read(body []byte) *Remote {
	var members map[string]json.RawMessage
	if strictjson.Unmarshal(body, &members) != nil || members == nil {
		return nil
	}
	m := &Remote{ID: strictjson.String(members["_id"]), members: members, Description: Description{
		Name: strictjson.String(members["name"]), Type: strictjson.String(members["type"]),
		Description: strictjson.String(members["description"]), IconURI: strictjson.String(members["icon_uri"]),
		OwnerManaged: string(members["ownerManagedAccess"]) == "true",
	}}
	m.Scopes, m.whole = readScopes(members["resource_scopes"])
	if uri := strictjson.String(members["user_access_policy_uri"]); uri != "" {
		if u, err := url.Parse(uri); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && outbound.IsLoopback(u.Hostname())) {
			m.Policy = uri
		}
	}
	var owner map[string]json.RawMessage
	if strictjson.Unmarshal(members["owner"], &owner) == nil {
		m.Owner = strictjson.String(owner["name"])
	}
	return m
}

// Why says why Read returned nil.
func Why(body []byte) error {
	var members map[string]json.RawMessage
	if err := strictjson.Unmarshal(body, &members); err != nil {
		return err
	}
	return strictjson.ErrType
}

// readScopes reads scopes, which are strings, or objects with a name (K5). It
// reports whether it could read them all.
func readScopes(raw json.RawMessage) (scopes []string, whole bool) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, len(raw) == 0
	}
	whole = true
	seen := make(map[string]bool, len(list))
	for _, item := range list {
		name := introspection.ScopeName(item)
		if whole = whole && name != ""; name == "" || seen[name] {
			continue
		}
		seen[name] = true
		scopes = append(scopes, name)
	}
	return scopes, whole
}

// Holds reports whether the server has everything that d names. Unless exact,
// it may have more scopes.
func (m *Remote) Holds(d Description, exact bool) bool {
	same := func(have, want string) bool { return want == "" || have == want }
	return m.Name == d.Name && same(m.Type, d.Type) && same(m.Description.Description, d.Description) && same(m.IconURI, d.IconURI) &&
		(m.OwnerManaged || !d.OwnerManaged) && len(without(d.Scopes, m.Scopes)) == 0 &&
		(!exact || m.whole && len(without(m.Scopes, d.Scopes)) == 0)
}

// Joined returns the description to write: what the server has, with what d
// names. An update replaces everything, so what is left out is lost, and what
// people decided about a scope with it (K3, K26). Unless exact, the scopes are
// added to those that are there. The error is ErrScopes.
func (m *Remote) Joined(d Description, exact, keycloak bool) (map[string]json.RawMessage, error) {
	if !exact {
		if !m.whole {
			return nil, ErrScopes
		}
		d.Scopes = append(slices.Clone(m.Scopes), without(d.Scopes, m.Scopes)...)
	}
	ours, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var named map[string]json.RawMessage
	if err := json.Unmarshal(ours, &named); err != nil {
		return nil, err
	}
	joined := maps.Clone(m.members)
	maps.DeleteFunc(joined, func(name string, value json.RawMessage) bool { return serversOwn(name, value, keycloak) })
	maps.Copy(joined, named)
	return joined, nil
}

// serversOwn reports whether a member is what the server says of itself, or
// says nothing.
func serversOwn(name string, value json.RawMessage, keycloak bool) bool {
	switch name {
	case "_id", "user_access_policy_uri":
		return true
	case "owner", "scopes": // scopes are resource_scopes once more (K5)
		return keycloak
	case "attributes": // Keycloak adds an empty one
		return keycloak && string(value) == "{}"
	}
	return string(value) == "null"
}

// without returns the elements of list that are not in other.
func without(list, other []string) []string {
	in := make(map[string]bool, len(other))
	for _, s := range other {
		in[s] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return in[s] })
}
