package house_test

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The documents whose tables these tests check.
const (
	errorsDoc   = "docs/errors.md"
	limitsDoc   = "docs/limits.md"
	coverageDoc = "docs/spec-coverage.md"
	threatsDoc  = "docs/threat-model.md"
)

// rules is how many rules the threat model has: R1 to R16.
const rules = 16

// A docTable is one table of a Markdown document.
type docTable struct {
	head []string
	rows []docRow
}

// A docRow is one row of a table.
type docRow struct {
	where string // file and line
	cells []string
}

// docTables finds the tables of a document. It also reports errors in their
// form: a row with an empty cell, or with more or fewer cells than the header.
func (tr *tree) docTables(t *testing.T, name string) (tables []docTable, problems []string) {
	t.Helper()
	if !slices.Contains(tr.files, name) {
		return nil, []string{"there is no " + name}
	}
	inside := false
	eachLine(tr.read(t, name), func(n int, line string) {
		if !strings.HasPrefix(line, "|") {
			inside = false
			return
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !inside:
			tables, inside = append(tables, docTable{head: cells}), true
			return
		case strings.Trim(line, "|-: ") == "":
			return // the line below the header
		}
		last := &tables[len(tables)-1]
		row := docRow{where: fmt.Sprintf("%s:%d", name, n), cells: cells}
		if len(cells) != len(last.head) || slices.Contains(cells, "") {
			problems = append(problems, row.where+": the row has an empty cell, or not as many as the head")
			return
		}
		last.rows = append(last.rows, row)
	})
	return tables, problems
}

// column returns the index of the column of that name, or -1 if there is none.
func (d docTable) column(name string) int { return slices.Index(d.head, name) }

var codeWord = regexp.MustCompile("`([^`]+)`")

// spans returns the code spans of a cell.
func spans(cell string) []string {
	var out []string
	for _, m := range codeWord.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// compareRows compares a document with the source, both under the same keys.
// found holds the places in the source.
func compareRows(doc, what string, rows map[string][]docRow, found map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(found)) {
		switch n := len(rows[key]); {
		case n == 0:
			out = append(out, fmt.Sprintf("%s: %s %s has no row in %s", found[key], what, key, doc))
		case n > 1:
			out = append(out, fmt.Sprintf("%s: %s %s has %d rows", rows[key][1].where, what, key, n))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if found[key] == "" {
			out = append(out, fmt.Sprintf("%s: %s %s is not in the source", rows[key][0].where, what, key))
		}
	}
	return out
}

// rootFiles are the files of the root package except tests.
func (tr *tree) rootFiles(t *testing.T) []goFile {
	return tr.goFiles(t, func(name string) bool { return path.Dir(name) == "." && !strings.HasSuffix(name, "_test.go") })
}

func TestCoverageDoc(t *testing.T) { hold(t, specCoverage) }

// specCoverage checks spec-coverage.md: every requirement names the place that
// meets it and a test, and all of them exist.
func specCoverage(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, coverageDoc)
	held := 0
	for _, table := range tables {
		if table.head[0] == "Section" && table.column("Where") > 0 && table.column("Tests") > 0 {
			held++
		}
	}
	if held == 0 {
		out = append(out, coverageDoc+" has no table with Section, Where and Tests")
	}
	return append(out, tr.references(t, tables)...)
}

func TestThreatsDoc(t *testing.T) { hold(t, threats) }

// caseName matches a test whose name has the id of a case:
// TestCB3_StateFromAnotherBrowser.
var caseName = regexp.MustCompile(`^Test([A-Z]{2}[0-9]+)_`)

// threats checks threat-model.md. Each rule has one row. Each case in the name
// of a test has one row, which names such a test. Everything that the rows name
// exists.
func threats(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, threatsDoc)
	ruleRows, caseRows := map[string][]docRow{}, map[string][]docRow{}
	for _, table := range tables {
		for _, row := range table.rows {
			switch id := row.cells[0]; table.head[0] {
			case "Rule":
				ruleRows[id] = append(ruleRows[id], row)
			case "Case":
				caseRows[id] = append(caseRows[id], row)
				if at := table.column("Tests"); at < 0 || !strings.Contains(row.cells[at], "Test"+id+"_") {
					out = append(out, fmt.Sprintf("%s: the row names no test Test%s_…", row.where, id))
				}
			}
		}
	}
	wantRules, wantCases := map[string]string{}, map[string]string{}
	for i := range rules {
		wantRules[fmt.Sprintf("R%d", i+1)] = "internal/testkit/house/docs_test.go"
	}
	for dir, names := range tr.testNames(t) {
		for name := range names {
			if m := caseName.FindStringSubmatch(name); m != nil {
				wantCases[m[1]] = dir + "." + name
			}
		}
	}
	out = append(out, compareRows(threatsDoc, "rule", ruleRows, wantRules)...)
	out = append(out, compareRows(threatsDoc, "case", caseRows, wantCases)...)
	return append(out, tr.references(t, tables)...)
}

// references checks the code that tables name: at least one test in a column
// "Tests", and declarations of the source in a column "Where".
func (tr *tree) references(t *testing.T, tables []docTable) []string {
	var out []string
	tests, declared := tr.testNames(t), tr.declarations(t)
	for _, table := range tables {
		for _, row := range table.rows {
			if at := table.column("Tests"); at >= 0 {
				if len(spans(row.cells[at])) == 0 {
					out = append(out, row.where+": the row names no test")
				}
				for _, span := range spans(row.cells[at]) {
					if dir, name := tr.place(span); !tests[dir][name] {
						out = append(out, fmt.Sprintf("%s: there is no test %s", row.where, span))
					}
				}
			}
			if at := table.column("Where"); at >= 0 {
				for _, span := range spans(row.cells[at]) {
					if dir, name := tr.place(span); !declared[dir][name] {
						out = append(out, fmt.Sprintf("%s: there is no %s", row.where, span))
					}
				}
			}
		}
	}
	return out
}

// place splits "internal/seal.Ring.Open" into package and name. A name without
// a package belongs to the root package.
func (tr *tree) place(span string) (dir, name string) {
	slash := strings.LastIndexByte(span, '/') + 1
	first, rest, ok := strings.Cut(span[slash:], ".")
	dir = span[:slash] + first
	if ok && slices.ContainsFunc(tr.files, func(f string) bool { return path.Dir(f) == dir }) {
		return dir, rest
	}
	return ".", span
}

// testNames returns the tests, fuzz targets and examples by directory.
func (tr *tree) testNames(t *testing.T) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, f := range tr.goFiles(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && regexp.MustCompile(`^(Test|Fuzz|Example)([^a-z]|$)`).MatchString(fn.Name.Name) {
				add(out, path.Dir(f.name), fn.Name.Name)
			}
		}
	}
	return out
}

// declarations returns what is declared outside tests, by directory: functions,
// T.method, types, T.field, constants and variables.
func (tr *tree) declarations(t *testing.T) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, f := range tr.goFiles(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		dir := path.Dir(f.name)
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(out, dir, funcName(d))
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					addSpec(out, dir, spec)
				}
			}
		}
	}
	return out
}

func addSpec(out map[string]map[string]bool, dir string, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, id := range spec.Names {
			add(out, dir, id.Name)
		}
	case *ast.TypeSpec:
		add(out, dir, spec.Name.Name)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, id := range field.Names {
					add(out, dir, spec.Name.Name+"."+id.Name)
				}
			}
		}
	}
}

func add(out map[string]map[string]bool, dir, name string) {
	if out[dir] == nil {
		out[dir] = map[string]bool{}
	}
	out[dir][name] = true
}

// docSample is a small checkout whose documents are correct.
var docSample = map[string]string{
	".gitignore": "*.out\n",
	"go.go": "package gatehouse\n\nimport \"" + modulePath + "/internal/in\"\n\nvar errA = kind{\"a_code\", 400, \"A.\"}\n\nconst (\n\tEventA = \"a\"\n\tlife = 2 * time.Second\n\tone = iota\n)\n\n" +
		"type T struct{ F int }\n\nfunc (T) m() {\n\tconst most = 5\n}\n",
	"go_test.go":             "package gatehouse_test\n\nfunc TestCB1_A(t *testing.T) {}\n",
	"internal/in/in.go":      "package in\n\nconst Max = 1 << 10\n\nconst name = Name(\"x\")\n",
	"internal/in/in_test.go": "package in\n\nfunc FuzzA(f *testing.F) {}\n",
	errorsDoc:                "| Code | Status | Means | Do |\n|---|---|---|---|\n| `a_code` | 400 | a | b |\n\n| Event | When |\n|---|---|\n| `a` | then |\n",
	limitsDoc:                "| Constant | Value | Where | Why |\n|---|---|---|---|\n| `life` | `2 * time.Second` | `gatehouse` | a |\n| `m.most` | `5` | `gatehouse` | a |\n| `Max` | `1 << 10` (1 KiB) | `internal/in` | a |\n| `mostTries` | `3` | `middlewaretest` | a |\n",
	"middlewaretest/kit.go":  "package middlewaretest\n\nconst mostTries = 3\n\nconst rounds = 7\n",
	"internal/tool/t.go":     "package tool\n\nconst speed = 5\n", // no user of the library meets it
	coverageDoc:              "| Section | Must | Where | Tests |\n|---|---|---|---|\n| 1 | a | `T.m`, `T.F` | `TestCB1_A`, `internal/in.FuzzA` |\n",
	"cite.go":                "package gatehouse\n\n// It is so (K1 to K3, decision 1). The member B64.\n",
	designDoc:                "1. **A.** It is R1.\n",
	referencesDoc:            "| Id | What |\n|---|---|\n| K1 | a |\n| K2, K3 | a |\n",
	threatsDoc:               ruleTable() + "\n| Case | What | Tests |\n|---|---|---|\n| CB1 | a | `TestCB1_A` |\n",
}

func ruleTable() string {
	out := "| Rule | Where | Tests |\n|---|---|---|\n"
	for i := range rules {
		out += fmt.Sprintf("| R%d | `errA` | `TestCB1_A` |\n", i+1)
	}
	return out
}

var docGuards = map[string]guard{
	"errorCodes": errorCodes, "eventNames": eventNames, "limits": limits, "specCoverage": specCoverage, "threats": threats,
	"citations": citations,
}

// docTree is docSample with old replaced by new in one file.
func docTree(t *testing.T, name, old, new string) *tree {
	t.Helper()
	files := fstest.MapFS{}
	for n, text := range docSample {
		if n == name {
			if !strings.Contains(text, old) {
				t.Fatalf("%s does not hold %q", name, old)
			}
			text = strings.Replace(text, old, new, 1)
		}
		files[n] = &fstest.MapFile{Data: []byte(text)}
	}
	return newTree(t, "/src/checkout", files)
}

// TestDocsLetPass: the guards of the documents accept the sample.
func TestDocsLetPass(t *testing.T) {
	for name, g := range docGuards {
		for _, problem := range g(t, docTree(t, "", "", "")) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// TestDocsReportProblems changes one place of the sample at a time.
func TestDocsReportProblems(t *testing.T) {
	for _, c := range []struct{ guard, file, old, new, want string }{
		{"errorCodes", "go.go", "a_code", "b_code", "b_code has no row"},
		{"errorCodes", "go.go", "400", "401", "status 401"},
		{"errorCodes", "go.go", `"a_code", 400`, `code: "a_code", status: 400`, "so that it can be listed"},
		{"errorCodes", errorsDoc, "| `a_code` | 400 | a | b |\n", "", "a_code has no row"},
		{"errorCodes", errorsDoc, "| `a_code` | 400 | a | b |\n", "| `a_code` | 400 | a | b |\n| `a_code` | 400 | a | b |\n", "2 rows"},
		{"errorCodes", errorsDoc, "| a | b |", "| a | |", "empty cell"},
		{"eventNames", "go.go", `EventA = "a"`, `EventA = "b"`, "event b has no row"},
		{"eventNames", errorsDoc, "| `a` |", "| `c` |", "event c is not in the source"},
		{"limits", "go.go", "2 * time.Second", "3 * time.Second", "is `3 * time.Second`"},
		{"limits", "go.go", "life =", "live =", "gatehouse.live has no row"},
		{"limits", "go.go", "const most", "const least", "m.least has no row"},
		{"limits", limitsDoc, "internal/in", "internal/on", "internal/on.Max is not in the source"},
		{"limits", "middlewaretest/kit.go", "mostTries", "mostFaults", "middlewaretest.mostFaults has no row"},
		{"limits", "internal/in/in.go", "1 << 10", "1 << 20", "is `1 << 20`"},
		{"specCoverage", coverageDoc, "`TestCB1_A`", "`TestCB2_A`", "there is no test TestCB2_A"},
		{"specCoverage", coverageDoc, "in.FuzzA", "in.FuzzB", "there is no test internal/in.FuzzB"},
		{"specCoverage", coverageDoc, "`TestCB1_A`, `internal/in.FuzzA`", "none", "names no test"},
		{"specCoverage", coverageDoc, "T.m", "T.n", "there is no T.n"},
		{"specCoverage", coverageDoc, "| Section |", "| Place |", "has no table"},
		{"threats", threatsDoc, "| R7 |", "| R17 |", "rule R7 has no row"},
		{"threats", threatsDoc, "| CB1 |", "| CB2 |", "case CB1 has no row"},
		{"threats", threatsDoc, "| a | `TestCB1_A` |", "| a | `internal/in.FuzzA` |", "names no test TestCB1_"},
		{"threats", "go.go", "errA", "errB", "there is no errA"},
		{"citations", "cite.go", "so (K1", "so (J1, K1", "J1 has no row"},
		{"citations", "cite.go", "so (K1", "so (defect 5, K1", `no row explains "defect 5"`},
		{"citations", "cite.go", "decision 1", "#12", `no row explains "#12"`},
		{"citations", "cite.go", "K3", "K4", "K4 has no row"},
		{"citations", "cite.go", "K1 to K3", "K1, K2", "nobody cites K3"},
		{"citations", "cite.go", "decision 1", "decision\n// 2", "there is no decision 2"},
		{"citations", "cite.go", "It is so (K1 to K3, decision 1). The member B64.", "K1 to K3.", "say what K1 to K3. means"},
		{"citations", designDoc, "It is R1", "It is R1 (Finding 3)", `no row explains "Finding 3"`},
		{"citations", designDoc, "It is R1", "It is RP-D1", "RP-D1 has no row"},
		{"citations", referencesDoc, "K2, K3", "K2", "K3 has no row"},
	} {
		got := docGuards[c.guard](t, docTree(t, c.file, c.old, c.new))
		if !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%s, %q for %q in %s: got %q, want a problem with %q", c.guard, c.new, c.old, c.file, got, c.want)
		}
	}
}
