package mutation_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/gatehouse/internal/testkit/mutation"
)

const root = "../../.."

// The document matches the code: each rule has its lines, each line is where
// the document says, and each test exists. The program run checks that the
// tests fail without the lines.
func TestDocument(t *testing.T) {
	f, err := os.Open(filepath.Join(root, mutation.Document))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := mutation.Parse(f, os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range all {
		rules = append(rules, m.Rule)
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.File)))
		if err != nil {
			t.Error(err)
			continue
		}
		changed, err := m.Apply(string(text))
		if err != nil || changed == string(text) {
			t.Errorf("%s: changed %v, %v", m.Name, changed != string(text), err)
			continue
		}
		if unused := unusedImports(t, changed); len(unused) > 0 {
			t.Errorf("%s does not compile: nothing uses %q", m.Name, unused)
		}
		for _, test := range m.Tests {
			if !hasTest(t, test) {
				t.Errorf("line %d: there is no %s", m.Line, test)
			}
		}
	}
	for _, rule := range strings.Fields("R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 R11 R12 R13 R14 R15 R16") {
		if !slices.Contains(rules, rule) {
			t.Errorf("%s has no line", rule)
		}
	}
}

// unusedImports returns the names of the packages that a file imports and does
// not use. It is the usual reason why a changed file does not compile.
func unusedImports(t *testing.T, text string) (unused []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "changed.go", text, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	used := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	for _, i := range f.Imports {
		at, name := strings.Trim(i.Path.Value, `"`), ""
		if name = path.Base(at); version.MatchString(name) {
			name = path.Base(path.Dir(at))
		}
		name = strings.TrimPrefix(name, "go-")
		if i.Name != nil {
			name = i.Name.Name
		}
		if name != "_" && !used[name] {
			unused = append(unused, name)
		}
	}
	return unused
}

var version = regexp.MustCompile(`^v[0-9]+$`)

func hasTest(t *testing.T, test mutation.Test) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, test.Dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(text), "\nfunc "+test.Name+"(t ")
	})
}

// rowOf returns a row of the table for R1-1.
func rowOf(file, tests string) string {
	return "| Diff | Without | File | Tests |\n|---|---|---|---|\n| [R1-1](../" + mutation.Diffs + "/R1-1.diff) | It is gone. | " + file + " | " + tests + " |\n"
}

func parse(doc string, diffs ...string) ([]mutation.Mutation, error) {
	files := fstest.MapFS{}
	for i, text := range diffs {
		files[fmt.Sprintf("R1-%d.diff", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return mutation.Parse(strings.NewReader(doc), files)
}

func TestParse(t *testing.T) {
	good := rowOf("`a.go`", "`TestA`, `in/b.TestB`")
	all, err := parse(good, "-\tx()\n-\ty()\n+\tz()\n")
	if err != nil || len(all) != 1 || all[0].Name != "R1-1" || all[0].Rule != "R1" || all[0].Title != "It is gone." || all[0].File != "a.go" ||
		!slices.Equal(all[0].Tests, []mutation.Test{{Dir: ".", Name: "TestA"}, {Dir: "in/b", Name: "TestB"}}) {
		t.Fatalf("%+v, %v", all, err)
	}
	if got, err := all[0].Apply("begin\n\tx()\n\ty()\nend\n"); err != nil || got != "begin\n\tz()\nend\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"begin\n\tx()\n", "\tx()\n\ty()\n\tx()\n\ty()\n", "f(\tx()\n\ty()\n"} {
		if got, err := all[0].Apply(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
	for what, c := range map[string]struct {
		doc   string
		diffs []string
	}{
		"no tests":       {rowOf("`a.go`", "none"), []string{"-x\n"}},
		"no Go file":     {rowOf("`a.css`", "`TestA`"), []string{"-x\n"}},
		"outside":        {rowOf("`../a.go`", "`TestA`"), []string{"-x\n"}},
		"another's diff": {strings.Replace(good, "[R1-1]", "[R1-2]", 1), []string{"-x\n", "-x\n"}},
		"twice":          {good + good, []string{"-x\n"}},
		"a cell more":    {strings.TrimSpace(good) + " x |\n", []string{"-x\n"}},
		"no diff":        {good, nil},
		"no row":         {good, []string{"-x\n", "-x\n"}},
		"nothing":        {good, []string{"+x\n"}},
		"context":        {good, []string{"-x\n y\n"}},
		"two places":     {good, []string{"-x\n+y\n-z\n"}},
		"without end":    {good, []string{"-x"}},
	} {
		if all, err := parse(c.doc, c.diffs...); err == nil {
			t.Errorf("%s: read as %+v", what, all)
		}
	}
}
