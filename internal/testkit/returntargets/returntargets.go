// Package returntargets makes return targets with which somebody may try to
// make a sign-in or a sign-out send the browser to another site. It is only for
// tests.
//
// The targets are combined from shapes: what comes before a host name, the host
// name, and what follows; spellings of schemes that run a script; names that
// look like the site's own; bytes that may confuse a header or a parser. It
// does not matter here where a target leads if a browser gets it unchanged:
// some stay on the site.
package returntargets

import "net/url"

// Own is the host name of the site under attack, which targets imitate.
const Own = "notes.test"

// Evil is the end, in plain spelling, of every host name that targets lead to.
const Evil = "evil.example"

// All returns the targets, each once and always in the same order.
func All() []string {
	var all list
	all.hosts()
	all.schemes()
	all.scripts()
	all.pretenders()
	all.dots()
	all.lines()
	all.oddities()
	return all.targets
}

// Spellings returns the ways in which a target is worth trying as the value of
// a parameter: unchanged, encoded once more by the sender, and decoded once
// more by somebody on the way.
func Spellings(target string) []string {
	spellings := []string{target}
	if encoded := url.QueryEscape(target); encoded != target {
		spellings = append(spellings, encoded)
	}
	if decoded, err := url.PathUnescape(target); err == nil && decoded != target {
		spellings = append(spellings, decoded)
	}
	return spellings
}

// list collects targets.
type list struct {
	targets []string
	known   map[string]bool
}

// add adds those targets that are new.
func (l *list) add(targets ...string) {
	if l.known == nil {
		l.known = map[string]bool{}
	}
	for _, target := range targets {
		if !l.known[target] {
			l.known[target] = true
			l.targets = append(l.targets, target)
		}
	}
}
