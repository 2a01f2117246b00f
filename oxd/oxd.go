// Package oxd reads the protection documents of the oxd server, Gluu's daemon
// for OpenID Connect and UMA, so that a service that leaves oxd keeps its rules.
package oxd

import (
	"slices"
	"strings"

	"example.com/gatehouse"
)

const (
	// maxDocument bounds a document in bytes. Real ones have a few KiB.
	maxDocument = 1 << 20
	// maxProblems bounds how many problems one error lists: more than a person
	// mends before trying again.
	maxProblems = 20
	// maxQuoted bounds in bytes what an error quotes of the document.
	maxQuoted = 100
	// maxText bounds a path, a scope and the methods of a condition in bytes, so
	// that the name made of them is taken as the name of a Resource.
	maxText = 500
	// maxList bounds the entries of httpMethods, scopes and ticketScopes.
	maxList = 100
)

// Options changes how a document is read. The zero value does what oxd did.
type Options struct {
	// Resource gives the resource that stands for a condition, of that path and
	// those methods in the order of the document. nil gives one resource of the
	// service itself for each condition, named as oxd named it, such as
	// "[PUT, POST] /photo": then a ResourceServer that is the same client as oxd
	// was finds what oxd registered, where the server lists resources, and its
	// policies go on.
	//
	// Conditions may share a resource. Where it has a Name and no Scopes it gets
	// the scopes of all conditions that share it. What is wrong with a resource
	// otherwise is found by UMAProtect, which panics.
	Resource func(path string, methods []string) gatehouse.Resource
}

// ParseProtection reads what uma_rs_protect was given: the command with its
// params, the params alone, an object with resources, or the array of resources
// itself. A condition becomes one rule for each of its methods, which needs any
// of its scopes and asks for its ticketScopes.
//
// The document is JSON of at most 1 MiB in UTF-8 without comments. It is read
// strictly: unknown and repeated members, a method that occurs twice for a path,
// and whatever could never be reached or never be granted are errors. So is
// scope_expression, whose rule oxd did not follow when it decided. The error
// names up to 20 places, such as resources[1].conditions[0].httpMethods[2].
//
// The notes say in words where the rules decide otherwise than oxd did, and what
// of the document has no effect. Read them once, and write them to your log.
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

// rules makes the rules of conditions that have no problems.
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

// resources gives the resource of each condition.
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

// pattern is the pattern of http.ServeMux for just this path.
func pattern(path string) string {
	if strings.HasSuffix(path, "/") {
		return path + "{$}"
	}
	return path
}
