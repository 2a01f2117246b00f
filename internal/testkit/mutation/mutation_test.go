package mutation_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/mutation"
)

const root = "../../.."

// The document fits the code: each rule has its lines, each line stands where
// the document says, and each test is there. That the tests fail without the
// lines is the work of the program run.
func TestDocument(t *testing.T) {
	f, err := os.Open(filepath.Join(root, "docs", "mutations.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := mutation.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range all {
		if rules = append(rules, m.Rule); m.Title == "" {
			t.Errorf("line %d: %s has no title", m.Line, m.Rule)
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.File)))
		if err != nil {
			t.Error(err)
			continue
		}
		if changed, err := m.Apply(string(text)); err != nil || changed == string(text) {
			t.Errorf("%s: changed %v, %v", m.Rule, changed != string(text), err)
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

func TestParse(t *testing.T) {
	const good = "### R1: a rule\n\n`a.go`: `TestA`, `in/b.TestB`\n```diff\n-\tx()\n-\ty()\n+\tz()\n```\n"
	all, err := mutation.Parse(strings.NewReader(good))
	if err != nil || len(all) != 1 || all[0].Rule != "R1" || all[0].Title != "a rule" || all[0].File != "a.go" ||
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
	for what, doc := range map[string]string{
		"no tests":    "### R1: a\n`a.go`:\n```diff\n-x\n```\n",
		"no Go file":  "### R1: a\n`a.css`: `TestA`\n```diff\n-x\n```\n",
		"outside":     "### R1: a\n`../a.go`: `TestA`\n```diff\n-x\n```\n",
		"no head":     "### R1: a\n```diff\n-x\n```\n",
		"nothing":     "### R1: a\n`a.go`: `TestA`\n```diff\n+x\n```\n",
		"context":     "### R1: a\n`a.go`: `TestA`\n```diff\n-x\n y\n```\n",
		"two places":  "### R1: a\n`a.go`: `TestA`\n```diff\n-x\n+y\n-z\n```\n",
		"without end": "### R1: a\n`a.go`: `TestA`\n```diff\n-x\n",
	} {
		if all, err := mutation.Parse(strings.NewReader(doc)); err == nil {
			t.Errorf("%s: read as %+v", what, all)
		}
	}
}
