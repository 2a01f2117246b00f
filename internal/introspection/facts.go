// Package introspection holds what an authorization server said about a token:
// the facts in an introspection answer (RFC 7662 §2.2, with the permissions of
// UMA Federated Authorization §5.1.1), and a bounded memory of them.
//
// It decides nothing. It must not know what a request needs, what a ticket is,
// or how a server is asked: the caller passes a function for that.
package introspection

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unique"

	"example.com/gatehouse/internal/confirmation"
	"example.com/gatehouse/internal/strictjson"
)

// Facts are what introspection said about a token. They decide nothing: every
// request is judged again. Do not change them once they are remembered.
type Facts struct {
	Active   bool   // the server says it is active, and it is meant for us
	Refused  Reason // why it is not active
	Cut      bool   // the answer has more than [MaxGrants] scopes, and the rest was not read
	Starts   Seconds
	Expires  Seconds
	Grants   []Grant
	Subject  string
	ClientID string
	// Claims are the members of the answer without the permissions. If the
	// token is another issuer's or not meant for us, Claims is what the answer
	// says instead, shortened. If a time is bad, it is the name of its member.
	Claims json.RawMessage
	// Access is what an ordinary access token says. It is nil for a requesting
	// party token, which has permissions instead.
	Access *Access
}

// Access is what the server said about an ordinary access token.
type Access struct {
	Scopes   []string
	AuthTime Seconds // when the person authenticated, 0 if the server does not say
	Audience []string
	// Thumbprint is that of the key to which the token is bound, "" if it is
	// bound to none. Unproven is why nobody can prove to what it is bound (RFC
	// 7800 §3.1).
	Thumbprint string
	Unproven   error
}

// Reason says why a token counts as inactive.
type Reason uint8

// The values of Reason.
const (
	Inactive      Reason = iota // the server says so
	OtherIssuer                 // iss is not ours
	OtherAudience               // aud does not name us
	BadTimes                    // exp or nbf is not a time
	Bound                       // a requesting party token with cnf: nothing proves it there
	OtherKind                   // not an access token, such as a refresh token
)

// Names are the members of an answer in which a server puts what has a usual
// name elsewhere. The zero value is the usual names.
type Names struct {
	// Subjects are the members that may hold the subject; the first that is
	// there does. Without any it is sub.
	Subjects []string
	// Scopes is the member with the scopes. "" means scope, or scp if there is
	// no scope.
	Scopes string
}

// Grant is one scope of one entry in permissions (UMA Federated Authorization
// §5.1.1).
type Grant struct {
	Resource, Scope string
	Starts, Expires Seconds
}

// Seconds is a time in seconds since 1970.
type Seconds int64

const (
	// latest is the end of the year 9999. Beyond it, time.Time cannot be
	// written as JSON (M6).
	latest Seconds = 253402300799
	// Never is the expiry of a token or grant that does not expire.
	Never = latest + 1
	// leeway is how far ahead of us the clock of a server may be. It is that
	// of ID Tokens (package token, ClockSkew). Without it, a server that is a
	// second ahead would have every fresh token refused. Starts includes it;
	// an expiry gets none.
	leeway Seconds = 60
)

// Time returns the zero time for Never.
func (s Seconds) Time() time.Time {
	if s == Never {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// ErrMalformed means that an answer is not an introspection answer.
var ErrMalformed = errors.New("the answer is not an introspection answer")

// Read reads an introspection answer (RFC 7662 §2.2, UMA Federated
// Authorization §5.1.1). A token of another issuer, or one that is not meant
// for audience, is treated as inactive, and so is one that is no access token.
// A nil audience accepts any. Entries that Read cannot understand give no
// permission.
func Read(body []byte, issuer string, audience []string, names Names) (*Facts, error) {
	members, err := readMembers(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	f := &Facts{Expires: Never}
	if members["active"] != "true" { // only the boolean, not a string or a number
		return f, nil
	}
	switch iss, aud := members["iss"], members["aud"]; {
	case !issuedBy(iss, issuer):
		return f.refuse(OtherIssuer, iss), nil
	case audience != nil && !meantFor(aud, audience):
		return f.refuse(OtherAudience, aud), nil
	}
	var startsOK, expiresOK bool
	f.Starts, startsOK = readStart(members["nbf"])
	f.Expires, expiresOK = readTime(members["exp"], Never)
	switch {
	case !startsOK:
		return f.refuse(BadTimes, "nbf"), nil
	case !expiresOK:
		return f.refuse(BadTimes, "exp"), nil
	}
	if (!missing(members["cnf"]) || isDPoP(members)) && !missing(members["permissions"]) {
		return f.refuse(Bound, ""), nil
	}
	if kind := otherKind(members); kind != "" && missing(members["permissions"]) {
		return f.refuse(OtherKind, kind), nil
	}
	f.Active = true
	f.Subject, f.ClientID = strings.Clone(names.subject(members)), common(text(members["client_id"])) // no part of the answer is kept
	if missing(members["permissions"]) {
		f.Access = readAccess(members, names)
	} else {
		f.readPermissions(json.RawMessage(members["permissions"]))
	}
	if f.Claims, err = members.claims(); err != nil {
		return nil, ErrMalformed
	}
	return f, nil
}

// members are those of an answer, by name.
type members map[string]strictjson.Value

func readMembers(body []byte) (members, error) {
	all := make(members, 16) // more than usual answers have
	err := strictjson.Object(body, func(name string, v strictjson.Value) error {
		all[name] = v
		return nil
	})
	return all, err
}

// claims returns the members as an object, without those that are no claims: the
// permissions name other resources of the same owner.
func (m members) claims() (json.RawMessage, error) {
	size, names := 2, make([]string, 0, len(m))
	for name, v := range m {
		if name != "permissions" && name != "active" {
			names = append(names, name)
			size += len(name) + len(v) + len(`"":,`)
		}
	}
	slices.Sort(names)
	claims := append(make([]byte, 0, size), '{')
	for _, name := range names {
		if len(claims) > 1 {
			claims = append(claims, ',')
		}
		if isPlain(name) {
			claims = append(append(append(claims, '"'), name...), '"')
		} else if quoted, err := json.Marshal(name); err == nil {
			claims = append(claims, quoted...)
		} else {
			return nil, err
		}
		claims = append(append(claims, ':'), m[name]...)
	}
	return append(claims, '}'), nil
}

// isPlain reports whether JSON writes the name as it is, as all usual ones.
func isPlain(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/") == ""
}

// text returns a string, or "" for any other value.
func text(v strictjson.Value) string {
	s, err := v.Text()
	if err != nil {
		return ""
	}
	return s
}

// texts returns an array of strings, or the single string that some servers send
// instead, unless that is empty. For anything else it returns nil.
func texts(v strictjson.Value) []string {
	all, err := v.Texts()
	if err != nil || v == `""` {
		return nil
	}
	return all
}

// otherKind returns what says that the token is no access token, or "". A server
// calls its refresh tokens and ID Tokens active too (RFC 7662 §4).
func otherKind(members members) strictjson.Value {
	for _, name := range []string{"token_type", "token_use", "typ"} { // RFC 7662 §2.2; Hydra; Keycloak
		raw := members[name]
		if missing(raw) {
			continue
		}
		switch strings.ToLower(text(raw)) {
		case "bearer", "dpop", "access", "access_token", "at+jwt", "application/at+jwt", "jwt":
		default:
			return raw
		}
	}
	return ""
}

// isDPoP reports whether the type of the token is that of one that is bound to a
// key (RFC 9449 §5, and Keycloak's typ).
func isDPoP(members members) bool {
	return strings.EqualFold(text(members["token_type"]), "DPoP") || strings.EqualFold(text(members["typ"]), "DPoP")
}

func (n *Names) subject(members members) string {
	for _, name := range n.Subjects {
		if raw := members[name]; !missing(raw) {
			return text(raw)
		}
	}
	if len(n.Subjects) > 0 {
		return ""
	}
	return text(members["sub"])
}

// scopes reads one text with spaces between the scopes (RFC 7662 §2.2), or a list
// with one in each text.
func (n *Names) scopes(members members) (scopes []string) {
	name := n.Scopes
	if name == "" {
		name = "scope"
		if missing(members[name]) {
			name = "scp"
		}
	}
	all, err := members[name].Text()
	if err != nil {
		return shared(texts(members[name]))
	}
	return shared(strings.FieldsFunc(all, func(c rune) bool { return c == ' ' }))
}

// shared returns the common copy of each string.
func shared(all []string) []string {
	for i := range all {
		all[i] = common(all[i])
	}
	return all
}

func readAccess(members members, names Names) *Access {
	a := &Access{}
	if cnf := members["cnf"]; !missing(cnf) {
		a.Thumbprint, a.Unproven = confirmation.Thumbprint(strictjson.Value(strings.Clone(string(cnf))))
	} else if isDPoP(members) {
		a.Unproven = confirmation.ErrMissing
	}
	a.Audience = shared(texts(members["aud"]))
	a.Scopes = names.scopes(members)
	if t, ok := readTime(members["auth_time"], 0); ok {
		a.AuthTime = t
	}
	return a
}

// refuse returns f with the reason why it is not active, and what the answer
// says instead.
func (f *Facts) refuse(why Reason, says strictjson.Value) *Facts {
	f.Refused, f.Claims = why, json.RawMessage(says[:min(len(says), maxSays)])
	return f
}

// maxSays bounds what is kept of a member for the log, in bytes.
const maxSays = 200

// MaxGrants bounds the scopes that are read from one entry. Once that many have
// been read in all, further entries are skipped. Each scope is compared with
// the others, and honest tokens have a few dozen. What is left out gives no
// permission.
const MaxGrants = 1000

// readPermissions reads the array entry by entry, so that an entry that makes
// no sense affects only itself.
func (f *Facts) readPermissions(raw json.RawMessage) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	for i, item := range list {
		f.readPermission(item)
		if len(f.Grants) >= MaxGrants {
			f.Cut = f.Cut || i < len(list)-1
			return
		}
	}
}

// readPermission accepts the names of UMA 2.0 and those that Keycloak uses as
// well (rsid, scopes). An entry without a resource or without scopes grants
// nothing.
func (f *Facts) readPermission(raw json.RawMessage) {
	var members map[string]json.RawMessage
	if strictjson.Unmarshal(raw, &members) != nil {
		return
	}
	id, other := strictjson.String(members["resource_id"]), strictjson.String(members["rsid"])
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
	starts, startsOK := readStart(strictjson.Value(members["nbf"]))
	expires, expiresOK := readTime(strictjson.Value(members["exp"]), Never)
	if !startsOK || !expiresOK {
		return
	}
	names, all := readScopes(scopes)
	f.Cut = f.Cut || !all
	id = common(id)
	f.Grants = slices.Grow(f.Grants, len(names))
	for _, scope := range names {
		f.Grants = append(f.Grants, Grant{id, common(scope), starts, expires})
	}
}

// common returns one shared copy of a string for all tokens that contain it.
// Two equal strings at one address compare without a look at their bytes. With
// 100,000 tokens those bytes would lie outside the processor's caches (bench,
// TestUMARatios).
func common(text string) string { return unique.Make(text).Value() }

// readScopes reads the scopes of a permission. They are strings, or objects
// with a name (K5). It reports whether it read them all.
func readScopes(raw json.RawMessage) (scopes []string, all bool) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, true
	}
	all = len(list) <= MaxGrants
	list = list[:min(len(list), MaxGrants)]
	scopes = make([]string, 0, len(list))
	for _, item := range list {
		if name := ScopeName(item); name != "" && !slices.Contains(scopes, name) {
			scopes = append(scopes, name)
		}
	}
	return scopes, all
}

// ScopeName reads one scope, which is a string or an object with a name. It
// returns "" for anything else.
func ScopeName(raw json.RawMessage) string {
	if name := strictjson.String(raw); name != "" {
		return name
	}
	var object map[string]json.RawMessage
	if strictjson.Unmarshal(raw, &object) != nil {
		return ""
	}
	return strictjson.String(object["name"])
}

// readStart reads an nbf and allows for the server's clock.
func readStart(raw strictjson.Value) (t Seconds, ok bool) {
	t, ok = readTime(raw, 0)
	return t - leeway, ok
}

// readTime reads a number of seconds since 1970 (RFC 7662 §2.2). A missing or
// null member gives absent. Any other value is not ok.
func readTime(raw strictjson.Value, absent Seconds) (t Seconds, ok bool) {
	if missing(raw) {
		return absent, true
	}
	n, err := raw.Number()
	if err != nil || n < 0 {
		return 0, false
	}
	return Seconds(min(n, float64(latest))), true
}

// issuedBy checks iss if the server sends one; RFC 7662 leaves it optional.
func issuedBy(raw strictjson.Value, issuer string) bool {
	return missing(raw) || text(raw) == issuer
}

// meantFor checks aud if the server sends one, as a string or an array.
func meantFor(raw strictjson.Value, audience []string) bool {
	return missing(raw) || slices.ContainsFunc(texts(raw), func(n string) bool { return slices.Contains(audience, n) })
}

func missing(raw strictjson.Value) bool { return raw == "" || raw.Null() }

// live reports whether a grant counts now by its own times: nbf <= now < exp,
// with the leeway at nbf.
func (g *Grant) live(now Seconds) bool { return g.Starts <= now && now < g.Expires }

// Usable reports whether the token can open anything now. Its own times
// override those of its permissions (§5.1.1). An active token without
// permissions is an ordinary access token and opens nothing (K17).
func (f *Facts) Usable(now Seconds) bool {
	return f.Active && len(f.Grants) > 0 && f.Starts <= now && now < f.Expires
}

// Holds reports whether a live grant gives scope on exactly this resource.
func (f *Facts) Holds(resource, scope string, now Seconds) bool {
	for i := range f.Grants {
		g := &f.Grants[i]
		if g.Resource == resource && g.Scope == scope && g.live(now) {
			return true
		}
	}
	return false
}

// Granted returns all live scopes on the resource, and when the first of them,
// or the token, expires.
func (f *Facts) Granted(resource string, now Seconds) (scopes []string, until Seconds) {
	until = f.Expires
	for i := range f.Grants {
		g := &f.Grants[i]
		if g.Resource != resource || !g.live(now) {
			continue
		}
		if scopes == nil {
			scopes = make([]string, 0, f.scopesOn(resource))
		}
		if !slices.Contains(scopes, g.Scope) {
			scopes = append(scopes, g.Scope)
		}
		until = min(until, g.Expires)
	}
	return scopes, until
}

// scopesOn counts the grants on the resource.
func (f *Facts) scopesOn(resource string) (n int) {
	for i := range f.Grants {
		if f.Grants[i].Resource == resource {
			n++
		}
	}
	return n
}
