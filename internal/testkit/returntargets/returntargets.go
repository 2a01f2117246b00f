// Package returntargets makes the return targets with which somebody may try to
// have a sign-in or a sign-out send the browser to another site. Tests only.
//
// The targets are put together from shapes: what stands in front of a host name,
// the host name, what follows; spellings of schemes that run a script; names that
// look like the site's own; bytes that a header or a parser may stumble over.
// Where a target leads when a browser gets it as it is does not matter here: some
// stay on the site.
package returntargets

import "net/url"

// Own is the host name of the site that is under attack, as targets pretend to
// be of it.
const Own = "notes.test"

// Evil is the end of every host name that targets lead to, in its plain spelling.
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

// Spellings returns the ways in which a target is worth trying as the value of a
// parameter: as it is, encoded once more by the person who sends it, and decoded
// once more by somebody on the way.
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

// add takes those of the targets that are new.
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
