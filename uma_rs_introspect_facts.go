package gatehouse

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
	"unique"

	"example.com/gatehouse/internal/strictjson"
)

// rptFacts are what introspection said of a token. They do not decide anything:
// every request is decided anew. They are never changed once made and kept.
//
// With many tokens they come from memory that no cache of the processor holds,
// so they take four whole lines of 64 bytes, and stand in the order in which a
// request reads them. The first grant ends where the second pair of lines
// begins; until is in that pair, so that the cache's look at key and until
// brings all of it at once.
type rptFacts struct {
	key     factsKey // of the cache that has them, which sets it and until
	starts  seconds
	expires seconds
	active  bool // the server said so, and the token is meant for us
	grants  []rptGrant
	room    [2]rptGrant // for grants, as many as most tokens have
	until   time.Time   // when they are forgotten

	subject  string
	clientID string
	claims   json.RawMessage // without the permissions
}

// rptGrant is one scope of one entry of permissions (UMA Federated Authorization
// §5.1.1).
type rptGrant struct {
	resource, scope string
	starts, expires seconds
}

// newFacts makes facts of nothing, which do not end.
func newFacts() *rptFacts {
	f := &rptFacts{expires: never}
	f.grants = f.room[:0]
	return f
}

// seconds is a time in seconds since 1970.
type seconds int64

const (
	// latest is the end of the year 9999: beyond it time.Time cannot be written
	// in JSON (M6).
	latest seconds = 253402300799
	// never is for what does not end.
	never = latest + 1
)

// time is the zero time for never.
func (s seconds) time() time.Time {
	if s == never {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
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
	f := newFacts()
	if string(members["active"]) != "true" { // the boolean, not a string or a number
		return f, nil
	}
	if !issuedBy(members["iss"], issuer) || !meantFor(members["aud"], audience) {
		return f, nil
	}
	var startsOK, expiresOK bool
	f.starts, startsOK = readTime(members["nbf"], 0)
	f.expires, expiresOK = readTime(members["exp"], never)
	if !startsOK || !expiresOK {
		return f, nil
	}
	f.active = true
	f.subject, f.clientID = readString(members["sub"]), shared(readString(members["client_id"]))
	f.readPermissions(members["permissions"])
	delete(members, "permissions") // they name other resources of the same owner
	delete(members, "active")
	claims, err := json.Marshal(members)
	if err != nil {
		return nil, errNotIntrospection
	}
	f.claims = claims
	return f, nil
}

// maxGrants bounds the scopes that are read of one entry, and after which no
// further entry is. Each is compared with the others; honest tokens have some
// dozens. What is left out gives no permission.
const maxGrants = 1000

// readPermissions reads the array entry by entry, so that one that makes no
// sense costs only itself.
func (f *rptFacts) readPermissions(raw json.RawMessage) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, item := range list {
		f.readPermission(item)
		if len(f.grants) >= maxGrants {
			return
		}
	}
}

// readPermission takes the names of UMA 2.0 and those that Keycloak also uses
// (rsid, scopes). An entry without a resource or without scopes grants nothing.
func (f *rptFacts) readPermission(raw json.RawMessage) {
	var members map[string]json.RawMessage
	if strictjson.Unmarshal(raw, &members) != nil {
		return
	}
	id, other := readString(members["resource_id"]), readString(members["rsid"])
	if id == "" {
		id = other
	}
	if id == "" || other != "" && other != id {
		return
	}
	scopes, has := members["resource_scopes"]
	if !has {
		scopes = members["scopes"]
	}
	starts, startsOK := readTime(members["nbf"], 0)
	expires, expiresOK := readTime(members["exp"], never)
	if !startsOK || !expiresOK {
		return
	}
	id = shared(id)
	for _, scope := range readScopes(scopes) {
		f.grants = append(f.grants, rptGrant{id, shared(scope), starts, expires})
	}
}

// readScopes reads scopes written as strings or as objects with a name (K5).
func readScopes(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	list = list[:min(len(list), maxGrants)]
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

// shared gives the one copy of a text that many tokens name: it takes memory
// once, and two of it are compared without reading them. That copy stays the one
// while somebody holds its unique.Handle, else until the next collection.
func shared(text string) string { return unique.Make(text).Value() }

func readString(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// readTime reads a number of seconds since 1970 (RFC 7662 §2.2). A member that
// is missing or null is the time absent; what is no such number is not ok.
func readTime(raw json.RawMessage, absent seconds) (t seconds, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return absent, true
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n < 0 {
		return 0, false
	}
	return seconds(min(n, float64(latest))), true
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

// live reports whether a grant counts now, as far as its own times say: nbf <=
// now < exp.
func (g *rptGrant) live(now seconds) bool { return g.starts <= now && now < g.expires }

// usable reports whether the token can open anything now: its own times win
// over those of its permissions (§5.1.1). An active token without permissions is
// an ordinary access token and opens nothing (K17).
func (f *rptFacts) usable(now seconds) bool {
	return f.active && len(f.grants) > 0 && f.starts <= now && now < f.expires
}

// holds reports whether a live grant gives scope on exactly this resource.
func (f *rptFacts) holds(resource, scope string, now seconds) bool {
	for i := range f.grants {
		g := &f.grants[i]
		if g.resource == resource && g.scope == scope && g.live(now) {
			return true
		}
	}
	return false
}

// granted returns the union of the live scopes on the resource, and when the
// first of them ends, or the token.
func (f *rptFacts) granted(resource string, now seconds) (scopes []string, until seconds) {
	until = f.expires
	for i := range f.grants {
		g := &f.grants[i]
		if g.resource != resource || !g.live(now) {
			continue
		}
		if scopes == nil {
			scopes = make([]string, 0, f.scopesOn(resource))
		}
		if !slices.Contains(scopes, g.scope) {
			scopes = append(scopes, g.scope)
		}
		until = min(until, g.expires)
	}
	return scopes, until
}

// scopesOn counts the grants on the resource.
func (f *rptFacts) scopesOn(resource string) (n int) {
	for i := range f.grants {
		if f.grants[i].resource == resource {
			n++
		}
	}
	return n
}
