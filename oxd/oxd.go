// Package oxd reads what the oxd server, Gluu's daemon for OpenID Connect and
// UMA, and its client libraries kept in files: sites with their clients
// (ParseSite), and protection documents (ParseProtection). A service that moves
// away from oxd can thus keep its client and its rules.
package oxd

import (
	"slices"
	"strings"

	"example.com/gatehouse"
)

const (
	// maxDocument bounds a document in bytes. Real ones have a few KiB.
	maxDocument = 1 << 20
	// maxProblems bounds how many problems one error lists. It is more than a
	// person fixes before trying again.
	maxProblems = 20
	// maxQuoted bounds, in bytes, what an error quotes of the document.
	maxQuoted = 100
	// maxText bounds a path, a scope and the methods of a condition in bytes. A
	// name made of them is then short enough to be the name of a Resource.
	maxText = 500
	// maxList bounds the entries of httpMethods, scopes and ticketScopes.
	maxList = 100
)

// Options change how a document is read. The zero value does what oxd did.
type Options struct {
	// Resource returns the resource of a condition with that path and those
	// methods, which are in the order of the document. If Resource is nil, each
	// condition gets a resource of the service itself, named as oxd named it,
	// such as "[PUT, POST] /photo". If the ResourceServer is the same client as
	// oxd was, and the server lists resources, it then finds those that oxd
	// registered, and their policies continue to work.
	//
	// Conditions may share a resource. If it has a Name and no Scopes, it gets
	// the scopes of all conditions that share it. UMAProtect panics if anything
	// else is wrong with a resource.
	Resource func(path string, methods []string) gatehouse.Resource
}

// ParseProtection reads the input of uma_rs_protect: the command with its
// params, the params alone, an object with resources, or the array of resources
// itself. A condition becomes one rule for each of its methods. The rule needs
// any one of the condition's scopes and asks for its ticketScopes.
//
// The document is JSON in UTF-8 of at most 1 MiB, without comments. It is read
// strictly. Errors include unknown and repeated members, a method that occurs
// twice for a path, and anything that could never be reached or granted.
// scope_expression is an error too, because oxd did not follow it when it
// decided. The error names up to 20 places, such as
// resources[1].conditions[0].httpMethods[2].
//
// The notes say where the rules decide differently from oxd, and which parts of
// the document have no effect. Read them once, and write them to your log.
func ParseProtection(doc []byte, o Options) (rules gatehouse.Rules, notes []string, err error) {
	var p problems
	root, err := parse(doc)
	if err != nil {
		p.add("", "%w", err)
		return nil, nil, p.err()
	}
	r := reader{problems: &p}
	r.document(root)
	if err := p.err(); err != nil {
		return nil, nil, err
	}
	return r.rules(o), r.remarks(), nil
}

// rules makes the rules of the conditions that have no problems.
func (r *reader) rules(o Options) gatehouse.Rules {
	resources := r.resources(o)
	rules := gatehouse.Rules{}
	for i, c := range r.conditions {
		need := resources[i].AnyOf(c.scopes...)
		if c.ticketScopes != nil {
			need = need.Ask(c.ticketScopes...)
		}
		for _, method := range c.methods {
			rules[method+" "+pattern(c.path)] = need
		}
	}
	return rules
}

// resources returns the resource of each condition.
func (r *reader) resources(o Options) []gatehouse.Resource {
	type name struct{ owner, name string }
	shared := map[name][]string{}
	out := make([]gatehouse.Resource, len(r.conditions))
	for i, c := range r.conditions {
		out[i] = gatehouse.Resource{Name: "[" + strings.Join(c.methods, ", ") + "] " + c.path}
		if o.Resource != nil {
			out[i] = o.Resource(c.path, slices.Clone(c.methods))
		}
		key := name{out[i].Owner, out[i].Name}
		for _, s := range c.scopes {
			if !slices.Contains(shared[key], s) {
				shared[key] = append(shared[key], s)
			}
		}
	}
	for i, res := range out {
		if res.Name != "" && res.Scopes == nil {
			out[i].Scopes = shared[name{res.Owner, res.Name}]
		}
	}
	return out
}

// pattern returns the pattern of http.ServeMux that matches only this path.
func pattern(path string) string {
	if strings.HasSuffix(path, "/") {
		return path + "{$}"
	}
	return path
}
