// Package mutation removes single lines of the library, one at a time, and sees
// whether the tests notice. Which line stands for which rule, and which tests
// have to fail without it, is told in docs/mutations.md; run is the program.
package mutation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// A Mutation is a change of one file that some tests have to notice.
type Mutation struct {
	Rule  string // that the removed text upholds: "R1"
	Title string // of the section, for people
	File  string // below the root of the module
	Old   string // whole lines, found once in the file
	New   string // stands in their place; "" for nothing
	Tests []Test
	Line  int // of the document
}

// Test is a test function of a package, both below the root of the module.
type Test struct {
	Dir, Name string
}

func (t Test) String() string {
	if t.Dir == "." {
		return t.Name
	}
	return t.Dir + "." + t.Name
}

var (
	section = regexp.MustCompile(`^### (R[0-9]+): (.+)$`)
	spans   = regexp.MustCompile("`([^`]+)`")
)

// Parse reads the document: under a heading "### R1: what it says" stand, any
// number of times, a line with the file and the tests in backquotes,
//
//	`callback.go`: `TestA`, `internal/keyset.TestB`
//
// and a block of kind diff with the lines removed and those put in their place.
func Parse(doc io.Reader) ([]Mutation, error) {
	var all []Mutation
	var rule, title string
	var current *Mutation
	var inBlock bool
	var errs []error
	lines := bufio.NewScanner(doc)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		switch {
		case !inBlock && strings.HasPrefix(text, "```diff"):
			if inBlock = true; current == nil {
				errs = append(errs, fmt.Errorf("line %d: a diff without a line that names file and tests", n))
				current = &Mutation{}
			}
		case inBlock && strings.HasPrefix(text, "```"):
			if current.Old == "" {
				errs = append(errs, fmt.Errorf("line %d: the diff removes nothing", n))
			}
			all = append(all, *current)
			inBlock, current = false, nil
		case inBlock:
			errs = append(errs, current.add(n, text))
		case section.MatchString(text):
			m := section.FindStringSubmatch(text)
			rule, title = m[1], m[2]
		case strings.HasPrefix(text, "`") && rule != "":
			m, err := head(n, text)
			m.Rule, m.Title = rule, title
			current = &m
			errs = append(errs, err)
		}
	}
	if inBlock {
		errs = append(errs, errors.New("the last diff has no end"))
	}
	return all, errors.Join(append(errs, lines.Err())...)
}

// head reads the line before a diff.
func head(n int, text string) (Mutation, error) {
	m := Mutation{Line: n}
	for i, s := range spans.FindAllStringSubmatch(text, -1) {
		if i == 0 {
			m.File = s[1]
			continue
		}
		dir, name := ".", s[1]
		if at := strings.LastIndex(name, "."); at >= 0 {
			dir, name = name[:at], name[at+1:]
		}
		m.Tests = append(m.Tests, Test{dir, name})
	}
	if path.Ext(m.File) != ".go" || !fs.ValidPath(m.File) || len(m.Tests) == 0 {
		return m, fmt.Errorf("line %d: want `file.go`: `TestName`", n)
	}
	return m, nil
}

// add takes a line of a diff.
func (m *Mutation) add(n int, text string) error {
	switch {
	case strings.HasPrefix(text, "-"):
		if m.New != "" {
			return fmt.Errorf("line %d: one diff changes one place", n)
		}
		m.Old += text[1:] + "\n"
	case strings.HasPrefix(text, "+"):
		m.New += text[1:] + "\n"
	default:
		return fmt.Errorf("line %d: want a line with - or +", n)
	}
	return nil
}

// Apply changes the text of the file.
func (m *Mutation) Apply(text string) (string, error) {
	text, old := "\n"+text, "\n"+m.Old
	at := strings.Index(text, old)
	if at < 0 || strings.Contains(text[at+1:], old) {
		return "", fmt.Errorf("line %d: %s does not hold the removed lines, or holds them twice", m.Line, m.File)
	}
	return text[1:at+1] + m.New + text[at+len(old):], nil
}
