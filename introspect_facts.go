package gatehouse

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

// rptFacts are what introspection said of a token. They do not decide anything:
// every request is decided anew. They are never changed once made.
type rptFacts struct {
	active   bool // the server said so, and the token is meant for us
	subject  string
	clientID string
	starts   time.Time // zero: at once
	expires  time.Time // zero: the server did not say
	entries  []rptPermission
	claims   json.RawMessage // without the permissions
}

// rptPermission is one entry of permissions (UMA Federated Authorization §5.1.1).
type rptPermission struct {
	resource string
	scopes   []string
	starts   time.Time
	expires  time.Time
}

var errNotIntrospection = errors.New("the answer is not an introspection answer")

// readFacts reads an introspection answer (RFC 7662 §2.2, UMA Federated
// Authorization §5.1.1). What it cannot read gives no permission; an answer
// that is no JSON object with a sound active member is an error or inactive.
func readFacts(body []byte, issuer string, audience []string) (*rptFacts, error) {
	var members map[string]json.RawMessage
	if err := strictjson.Unmarshal(body, &members); err != nil || members == nil {
		return nil, errNotIntrospection
	}
	f := &rptFacts{}
	if string(members["active"]) != "true" { // the boolean, not a string or a number
		return f, nil
	}
	if !issuedBy(members["iss"], issuer) || !meantFor(members["aud"], audience) {
		return f, nil
	}
	var startsOK, expiresOK bool
	f.starts, startsOK = readTime(members["nbf"])
	f.expires, expiresOK = readTime(members["exp"])
	if !startsOK || !expiresOK {
		return f, nil
	}
	f.active = true
	f.subject, f.clientID = readString(members["sub"]), readString(members["client_id"])
	f.entries = readPermissions(members["permissions"])
	delete(members, "permissions") // they name other resources of the same owner
	delete(members, "active")
	claims, err := json.Marshal(members)
	if err != nil {
		return nil, errNotIntrospection
	}
	f.claims = claims
	return f, nil
}

// readPermissions reads the array entry by entry, so that one that makes no
// sense costs only itself.
func readPermissions(raw json.RawMessage) []rptPermission {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	entries := make([]rptPermission, 0, len(list))
	for _, item := range list {
		if e, ok := readPermission(item); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

// readPermission takes the names of UMA 2.0 and those that Keycloak also uses
// (rsid, scopes). An entry without a resource or without scopes grants nothing.
func readPermission(raw json.RawMessage) (e rptPermission, ok bool) {
	var members map[string]json.RawMessage
	if strictjson.Unmarshal(raw, &members) != nil {
		return e, false
	}
	id, other := readString(members["resource_id"]), readString(members["rsid"])
	if id == "" {
		id = other
	}
	if id == "" || other != "" && other != id {
		return e, false
	}
	scopes, has := members["resource_scopes"]
	if !has {
		scopes = members["scopes"]
	}
	e.resource, e.scopes = id, readScopes(scopes)
	var startsOK, expiresOK bool
	e.starts, startsOK = readTime(members["nbf"])
	e.expires, expiresOK = readTime(members["exp"])
	return e, len(e.scopes) > 0 && startsOK && expiresOK
}

// readScopes reads scopes written as strings or as objects with a name (K5).
func readScopes(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	scopes := make([]string, 0, len(list))
	for _, item := range list {
		name := readString(item)
		if name == "" {
			var object map[string]json.RawMessage
			if strictjson.Unmarshal(item, &object) == nil {
				name = readString(object["name"])
			}
		}
		if name != "" && !slices.Contains(scopes, name) {
			scopes = append(scopes, name)
		}
	}
	return scopes
}

func readString(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// readTime reads a number of seconds since 1970 (RFC 7662 §2.2). A member that
// is missing or null is the zero time; what is no such number is not ok.
func readTime(raw json.RawMessage) (t time.Time, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}, true
	}
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds < 0 {
		return time.Time{}, false
	}
	// The year 9999: beyond it time.Time cannot be written in JSON (M6).
	const latest = 253402300799
	return time.Unix(int64(min(seconds, latest)), 0), true
}

// issuedBy checks iss where the server tells one; RFC 7662 leaves it optional.
func issuedBy(raw json.RawMessage, issuer string) bool {
	return absent(raw) || readString(raw) == issuer
}

// meantFor checks aud where the server tells one: a string or an array.
func meantFor(raw json.RawMessage, audience []string) bool {
	if absent(raw) {
		return true
	}
	var names []string
	if name := readString(raw); name != "" {
		names = []string{name}
	} else if json.Unmarshal(raw, &names) != nil {
		return false
	}
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(audience, n) })
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// live reports whether an entry counts now, as far as its own times say: nbf <=
// now < exp.
func (e *rptPermission) live(now time.Time) bool {
	return !now.Before(e.starts) && (e.expires.IsZero() || now.Before(e.expires))
}

// usable reports whether the token can open anything now: its own times win
// over those of its permissions (§5.1.1). An active token without permissions is
// an ordinary access token and opens nothing (K17).
func (f *rptFacts) usable(now time.Time) bool {
	return f.active && len(f.entries) > 0 && !now.Before(f.starts) &&
		(f.expires.IsZero() || now.Before(f.expires))
}

// holds reports whether a live entry gives scope on exactly this resource.
func (f *rptFacts) holds(resource, scope string, now time.Time) bool {
	for i := range f.entries {
		e := &f.entries[i]
		if e.resource == resource && e.live(now) && slices.Contains(e.scopes, scope) {
			return true
		}
	}
	return false
}

// granted returns the union of the live scopes on the resource, and when the
// first entry that gives some of them ends; zero if none does.
func (f *rptFacts) granted(resource string, now time.Time) (scopes []string, until time.Time) {
	until = f.expires
	for i := range f.entries {
		e := &f.entries[i]
		if e.resource != resource || !e.live(now) {
			continue
		}
		for _, s := range e.scopes {
			if !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
		if !e.expires.IsZero() && (until.IsZero() || e.expires.Before(until)) {
			until = e.expires
		}
	}
	return scopes, until
}
