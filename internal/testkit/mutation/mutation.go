// Package mutation removes lines of the library, one place at a time, and
// checks that the tests notice. docs/mutations.md says which lines uphold which
// rule, and which tests must fail without them. The diffs are in testdata, and
// the program is in run.
package mutation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

const (
	// Document and Diffs are the paths of the table and the diffs, relative to
	// the root of the module.
	Document = "docs/mutations.md"
	Diffs    = "internal/testkit/mutation/testdata"
)

// A Mutation is a change of one file that some tests must notice.
type Mutation struct {
	Name  string // "R1-2", the second for rule R1
	Rule  string // the rule that the removed text upholds: "R1"
	Title string // what is different without the text, for people
	File  string // relative to the root of the module
	Old   string // whole lines, found once in the file
	New   string // replaces them; "" for nothing
	Tests []Test
	Line  int // of the document
}

// Test is a test function of a package, with paths relative to the root of the
// module.
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
	diffLink = regexp.MustCompile(`^\[((R[0-9]+)-[0-9]+)\]\(([^)]+)\)$`)
	spans    = regexp.MustCompile("`([^`]+)`")
)

// Parse reads the table of the document. Each row links to a diff, describes
// the difference, and names the file and the tests in backquotes:
//
//	| [R1-2](../internal/testkit/mutation/testdata/R1-2.diff) | … | `callback.go` | `TestA`, `internal/keyset.TestB` |
//
// The diffs are read from their own directory, and each has one row.
func Parse(doc io.Reader, diffs fs.FS) ([]Mutation, error) {
	var all []Mutation
	var errs []error
	rows := map[string]int{}
	lines := bufio.NewScanner(doc)
	for n := 1; lines.Scan(); n++ {
		if !strings.HasPrefix(lines.Text(), "| [") {
			continue
		}
		m, err := row(lines.Text())
		if err == nil {
			err = m.read(diffs)
		}
		if m.Line = n; err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		if rows[m.Name]++; rows[m.Name] > 1 {
			errs = append(errs, fmt.Errorf("line %d: %s has a row already", n, m.Name))
		}
		all = append(all, m)
	}
	names, err := fs.Glob(diffs, "*")
	errs = append(errs, lines.Err(), err)
	for _, name := range names {
		if rows[strings.TrimSuffix(name, ".diff")] == 0 {
			errs = append(errs, fmt.Errorf("%s has no row", name))
		}
	}
	return all, errors.Join(errs...)
}

// row reads a row of the table.
func row(text string) (Mutation, error) {
	cells := strings.Split(strings.Trim(strings.TrimSpace(text), "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	if len(cells) != 4 {
		return Mutation{}, fmt.Errorf("the row has %d cells, want 4", len(cells))
	}
	link := diffLink.FindStringSubmatch(cells[0])
	if link == nil || path.Clean(path.Join(path.Dir(Document), link[3])) != path.Join(Diffs, link[1]+".diff") {
		return Mutation{}, fmt.Errorf("want a link from a name such as R1-2 to its diff in %s, not %s", Diffs, cells[0])
	}
	m := Mutation{Name: link[1], Rule: link[2], Title: cells[1]}
	if file := spans.FindStringSubmatch(cells[2]); file != nil {
		m.File = file[1]
	}
	for _, s := range spans.FindAllStringSubmatch(cells[3], -1) {
		dir, name := ".", s[1]
		if at := strings.LastIndex(name, "."); at >= 0 {
			dir, name = name[:at], name[at+1:]
		}
		m.Tests = append(m.Tests, Test{dir, name})
	}
	if path.Ext(m.File) != ".go" || !fs.ValidPath(m.File) || m.Title == "" || len(m.Tests) == 0 {
		return m, errors.New("want what is different, a `file.go` and the `TestNames`")
	}
	return m, nil
}

// read reads the lines of the diff.
func (m *Mutation) read(diffs fs.FS) error {
	text, err := fs.ReadFile(diffs, m.Name+".diff")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		switch line := string(line); {
		case strings.HasPrefix(line, "-") && m.New != "":
			return fmt.Errorf("%s.diff: one diff changes one place", m.Name)
		case strings.HasPrefix(line, "-"):
			m.Old += line[1:]
		case strings.HasPrefix(line, "+"):
			m.New += line[1:]
		default:
			return fmt.Errorf("%s.diff: want lines with - or +, not %q", m.Name, line)
		}
	}
	if m.Old == "" || !bytes.HasSuffix(text, []byte("\n")) {
		return fmt.Errorf("%s.diff: it removes nothing, or its last line has no end", m.Name)
	}
	return nil
}

// Apply makes the change in the text of the file.
func (m *Mutation) Apply(text string) (string, error) {
	text, old := "\n"+text, "\n"+m.Old
	at := strings.Index(text, old)
	if at < 0 || strings.Contains(text[at+1:], old) {
		return "", fmt.Errorf("%s:%d: %s does not hold the lines removed by %s, or holds them twice", Document, m.Line, m.File, m.Name)
	}
	return text[1:at+1] + m.New + text[at+len(old):], nil
}
