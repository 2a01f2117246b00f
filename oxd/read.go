package oxd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A condition is one condition of the document.
type condition struct {
	path         string
	methods      []string
	scopes       []string
	ticketScopes []string // nil if there are only scopes
}

// A reader extracts the meaning of a document.
type reader struct {
	problems   *problems
	conditions []condition
	notes      []string         // about single places
	claimed    map[claim]string // where a method of a path first appeared
}

// A claim is a method of a path. oxd compares paths without regard to case.
type claim struct{ method, path string }

// document finds the resources, whatever surrounds them.
func (r *reader) document(root *node) {
	if root.kind == array {
		r.resourceList(root)
		return
	}
	members, ok := r.object(root, "command", "params", "oxd_id", "resources", "overwrite", "protection_access_token")
	if !ok {
		return
	}
	if command := members["command"]; command != nil || members["params"] != nil {
		r.command(root, command, members["params"])
		return
	}
	r.params(root, members)
}

// command reads {"command": "uma_rs_protect", "params": {…}}.
func (r *reader) command(root, command, params *node) {
	for i, name := range root.names {
		if name != "command" && name != "params" {
			r.problems.add(root.items[i].place, "does not belong beside command and params")
		}
	}
	if command == nil || command.text != "uma_rs_protect" {
		r.problems.add("command", "must be \"uma_rs_protect\"")
	}
	if params == nil {
		r.problems.add("params", "is missing")
		return
	}
	if members, ok := r.object(params, "oxd_id", "resources", "overwrite", "protection_access_token"); ok {
		r.params(params, members)
	}
}

// params reads the parameters of uma_rs_protect.
func (r *reader) params(n *node, members map[string]*node) {
	for _, m := range []struct {
		name string
		kind kind
		note string
	}{
		{"oxd_id", text, "has no effect: the ResourceServer's Client stands for it"},
		{"protection_access_token", text, "has no effect and is a secret: take it out of the document"},
		{"overwrite", truth, "has no effect: resources are updated but never deleted, because their policies would be lost"},
	} {
		if has := members[m.name]; has != nil && r.is(has, m.kind) {
			r.note(has.place, "%s", m.note)
		}
	}
	list := members["resources"]
	if list == nil {
		r.problems.add(join(n.place, "resources"), "is missing")
		return
	}
	if r.is(list, array) {
		r.resourceList(list)
	}
}

func (r *reader) resourceList(list *node) {
	if len(list.items) == 0 {
		r.problems.add(list.place, "the list of resources is empty: nothing could ever be reached")
	}
	for _, n := range list.items {
		r.resource(n)
	}
}

func (r *reader) resource(n *node) {
	members, ok := r.object(n, "path", "conditions", "iat", "exp")
	if !ok {
		return
	}
	path := members["path"]
	switch {
	case path == nil:
		r.problems.add(n.place, "path is missing")
	case !r.is(path, text):
		path = nil
	default:
		if err := checkPath(path.text); err != nil {
			r.problems.add(path.place, "%q %w", clip(path.text), err)
		} else if strings.Contains(path.text, "*") {
			r.note(path.place, "the * stands for itself, as it did in oxd")
		}
	}
	for _, name := range []string{"iat", "exp"} {
		if m := members[name]; m != nil && r.is(m, number) {
			r.note(m.place, "has no effect: a resource that the authorization server has forgotten is registered again")
		}
	}
	conditions := members["conditions"]
	if conditions == nil {
		r.problems.add(n.place, "conditions is missing")
		return
	}
	if !r.is(conditions, array) {
		return
	}
	if len(conditions.items) == 0 {
		r.problems.add(conditions.place, "the list is empty: the path could never be reached")
	}
	for _, c := range conditions.items {
		r.condition(path, c)
	}
}

// condition reads a condition of a path. It is nil if the document has none.
func (r *reader) condition(path, n *node) {
	members, ok := r.object(n, "httpMethods", "scopes", "ticketScopes", "scope_expression")
	if !ok {
		return
	}
	var c condition
	if expression := members["scope_expression"]; expression != nil {
		r.problems.add(expression.place, "scope_expression is not supported: oxd let in whoever held any one of its data, "+
			"whatever its rule says; write scopes, of which any is enough, or a rule by hand with AllOf")
	} else {
		c.scopes = r.strings(n, members["scopes"], "scopes")
	}
	c.methods = r.strings(n, members["httpMethods"], "httpMethods")
	if len(strings.Join(c.methods, ", ")) > maxText {
		r.problems.add(members["httpMethods"].place, "has more than %d bytes", maxText)
	}
	if list := members["ticketScopes"]; list != nil && !(list.kind == array && len(list.items) == 0) { // oxd treats [] as none
		c.ticketScopes = r.strings(n, list, "ticketScopes")
		for i, s := range c.ticketScopes {
			if c.scopes != nil && !slices.Contains(c.scopes, s) {
				r.problems.add(list.items[i].place, "%q is none of the condition's scopes: it is not registered, so no ticket can ask for it", clip(s))
			}
		}
	}
	for i, m := range c.methods {
		at := members["httpMethods"].items[i].place
		if m == "" || strings.ContainsFunc(m, func(c rune) bool { return c < 'A' || c > 'Z' }) {
			r.problems.add(at, "%q is not an HTTP method in capital letters: methods differ by case (RFC 9110 §9.1)", clip(m))
		} else if path != nil {
			r.claim(m, path.text, at)
		}
	}
	if path != nil {
		c.path = path.text
		r.conditions = append(r.conditions, c)
	}
}

// claim rejects a method that occurs twice for a path. oxd let one of the two
// win, and which one varied by version.
func (r *reader) claim(method, path, at string) {
	if r.claimed == nil {
		r.claimed = map[claim]string{}
	}
	key := claim{method, strings.ToLower(path)}
	if first, ok := r.claimed[key]; ok {
		r.problems.add(at, "%s of this path stands at %s already; to oxd paths were the same whatever their case", method, first)
		return
	}
	r.claimed[key] = at
}

// object returns the members of an object by name. Members that are null count
// as missing, as in oxd.
func (r *reader) object(n *node, known ...string) (map[string]*node, bool) {
	if !r.is(n, object) {
		return nil, false
	}
	members := map[string]*node{}
	for i, name := range n.names {
		switch {
		case !slices.Contains(known, name):
			r.problems.add(n.items[i].place, "is not known; known here: %s", strings.Join(known, ", "))
		case n.items[i].kind != null:
			members[name] = n.items[i]
		}
	}
	return members, true
}

// strings reads a list that must have at least one entry, all distinct and not
// empty.
func (r *reader) strings(parent, list *node, name string) []string {
	if list == nil {
		r.problems.add(parent.place, "%s is missing", name)
		return nil
	}
	if !r.is(list, array) {
		return nil
	}
	switch {
	case len(list.items) == 0:
		r.problems.add(list.place, "the list is empty")
		return nil
	case len(list.items) > maxList:
		r.problems.add(list.place, "has more than %d entries", maxList)
		return nil
	}
	out := make([]string, len(list.items))
	seen := map[string]bool{}
	for i, item := range list.items {
		if !r.is(item, text) {
			continue
		}
		switch {
		case item.text == "" || len(item.text) > maxText:
			r.problems.add(item.place, "is empty or longer than %d bytes", maxText)
		case seen[item.text]:
			r.problems.add(item.place, "%q occurs twice", clip(item.text))
		}
		out[i], seen[item.text] = item.text, true
	}
	return out
}

// is reports whether the value has the right type.
func (r *reader) is(n *node, want kind) bool {
	if n.kind != want {
		r.problems.add(cmp.Or(n.place, "the document"), "is %s, not %s", n.kind, want)
	}
	return n.kind == want
}

// checkPath rejects what no request can reach, and what looks like more than
// the one path that it was to oxd.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New("must begin with a slash")
	case len(path) > maxText:
		return fmt.Errorf("is longer than %d bytes", maxText)
	case strings.ContainsAny(path, "{}"):
		return errors.New("has braces: oxd has no wildcards; write a rule by hand")
	case strings.ContainsAny(path, "?#"):
		return errors.New("has a query or fragment: rules are about paths")
	case strings.Contains(path, "%"):
		return errors.New("has a percent sign: write the path as it reads when decoded")
	case strings.ContainsAny(path, ";\\\ufffd") || strings.ContainsFunc(path, unicode.IsControl):
		return errors.New("has a character that is refused in requests")
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return errors.New("has a dot segment or an empty one: requests for it are not served")
		}
	}
	return nil
}
