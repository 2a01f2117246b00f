package house_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// eventFile is the only file that writes to the log.
const eventFile = "event.go"

func TestOneLogEdge(t *testing.T) { hold(t, oneLogEdge) }

// oneLogEdge: only event.go writes to a log, so that each line has the issuer
// and the hook gets the same events as the log.
func oneLogEdge(t *testing.T, tr *tree) []string {
	var out []string
	for _, f := range tr.goFiles(t, tr.inTheLibrary(t)) {
		if f.name == eventFile || strings.HasPrefix(f.name, "middlewaretest/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if ok && logs(sel) {
				out = append(out, fmt.Sprintf("%s:%d: only %s writes to the log: emit an event", f.name, f.line(call.Pos()), eventFile))
			}
			return true
		})
	}
	return out
}

// logs reports whether a call writes to a log. It does if it calls a method of
// something named logger, or a function of log or log/slog with a level in its
// name.
func logs(sel *ast.SelectorExpr) bool {
	on := ""
	switch x := sel.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	case *ast.CallExpr: // slog.Default().Warn
		if s, ok := x.Fun.(*ast.SelectorExpr); ok && logs(&ast.SelectorExpr{X: s.X, Sel: sel.Sel}) {
			return true
		}
	}
	if strings.EqualFold(on, "logger") {
		return true
	}
	if on != "log" && on != "slog" {
		return false
	}
	return slices.ContainsFunc([]string{"Debug", "Info", "Warn", "Error", "Log", "Print", "Fatal", "Panic", "Output"}, func(verb string) bool {
		return strings.HasPrefix(sel.Sel.Name, verb)
	})
}

func TestTroublesDoc(t *testing.T) { hold(t, troubles) }

// troubles checks the table headed "Trouble": it has one row for each constant
// trouble…. No error has such a code.
func troubles(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, errorsDoc)
	rows, errors := map[string][]docRow{}, map[string]bool{}
	for _, table := range tables {
		for _, row := range table.rows {
			switch code := strings.Trim(row.cells[0], "`"); table.head[0] {
			case "Trouble":
				rows[code] = append(rows[code], row)
			case "Code":
				errors[code] = true
			}
		}
	}
	found := map[string]string{}
	for _, f := range tr.rootFiles(t) {
		for _, c := range f.constants() {
			if lit, ok := c.value.(*ast.BasicLit); ok && strings.HasPrefix(c.name, "trouble") {
				if code, err := strconv.Unquote(lit.Value); err == nil {
					found[code] = c.at
				}
			}
		}
	}
	for _, code := range slices.Sorted(maps.Keys(found)) {
		if errors[code] {
			out = append(out, fmt.Sprintf("%s: %s is the code of an error, too", found[code], code))
		}
	}
	return append(out, compareRows(errorsDoc, "trouble", rows, found)...)
}

func TestLevelsDoc(t *testing.T) { hold(t, levels) }

// levels checks the table headed "Level": each code of the map levels stands in
// the row of its level, and no other code stands there.
func levels(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, errorsDoc)
	rows := map[string][]docRow{}
	for _, table := range tables {
		if table.head[0] != "Level" {
			continue
		}
		for _, row := range table.rows {
			for _, code := range spans(row.cells[len(row.cells)-1]) {
				rows[row.cells[0]+" "+code] = append(rows[row.cells[0]+" "+code], row)
			}
		}
	}
	found, named := map[string]string{}, map[string]string{}
	files := tr.rootFiles(t)
	for _, f := range files {
		for _, c := range f.constants() {
			if lit, ok := c.value.(*ast.BasicLit); ok {
				named[c.name], _ = strconv.Unquote(lit.Value)
			}
		}
	}
	for _, f := range files {
		eachValue(f, func(name string, lit *ast.CompositeLit) {
			if id := baseType(lit.Type); id != nil && id.Name == "kind" {
				named[name+".code"], _, _ = kindOf(lit, named)
			}
		})
	}
	for _, f := range files {
		eachValue(f, func(name string, lit *ast.CompositeLit) {
			if name != "levels" {
				return
			}
			for _, e := range lit.Elts {
				pair, ok := e.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				key, level := types.ExprString(pair.Key), strings.ToUpper(strings.TrimPrefix(types.ExprString(pair.Value), "slog.Level"))
				found[level+" "+named[key]] = fmt.Sprintf("%s:%d", f.name, f.line(pair.Pos()))
			}
		})
	}
	return append(out, compareRows(errorsDoc, "level", rows, found)...)
}

// eachValue calls use for each variable of a file whose value is a composite
// literal.
func eachValue(f goFile, use func(name string, lit *ast.CompositeLit)) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, e := range v.Values {
			if lit, ok := e.(*ast.CompositeLit); ok {
				use(v.Names[i].Name, lit)
			}
		}
		return true
	})
}

// TestEdgeGuardsReportProblems gives both guards something to find.
func TestEdgeGuardsReportProblems(t *testing.T) {
	const pkg = "package gatehouse\n\n"
	for _, line := range []string{
		"p.logger.WarnContext(ctx, \"x\")", "logger.Info(\"x\")", "slog.Error(\"x\")", "slog.Default().Warn(\"x\")", "log.Printf(\"x\")",
	} {
		if got := oneLogEdge(t, sampleTree(t, "b.go", pkg+"func f() { "+line+" }\n")); len(got) != 1 || !strings.Contains(got[0], "b.go:3") {
			t.Errorf("%s: %q", line, got)
		}
	}
	for _, line := range []string{"p.emit(ctx, e)", "slog.String(\"a\", \"b\")", "slog.Default()"} {
		if got := oneLogEdge(t, sampleTree(t, "b.go", pkg+"func f() { "+line+" }\n")); len(got) != 0 {
			t.Errorf("%s: %q", line, got)
		}
	}
	const doc = "| Code | Status |\n|---|---|\n| `used` | 503 |\n\n| Trouble | What |\n|---|---|\n| `used` | x |\n| `gone` | x |\n"
	const table = "| Level | Codes |\n|---|---|\n| ERROR | `a`, `b` |\n| INFO | `c` |\n"
	source := pkg + "const c = \"c\"\n\nvar errA, errB = kind{\"a\", 500, c}, kind{\"b\", 400, c}\n\n" +
		"var levels = map[string]slog.Level{errA.code: slog.LevelError, errB.code: slog.LevelInfo, c: slog.LevelInfo}\n"
	leveled := sampleTree(t, "b.go", source)
	leveled.fs.(fstest.MapFS)[errorsDoc] = &fstest.MapFile{Data: []byte(table)}
	leveled.files = append(leveled.files, errorsDoc)
	if got := levels(t, leveled); len(got) != 2 || !strings.Contains(got[0], "level INFO b has no row") || !strings.Contains(got[1], "level ERROR b is not in the source") {
		t.Errorf("%q", got)
	}
	tr := sampleTree(t, "b.go", pkg+"const (\n\ttroubleA = \"used\"\n\ttroubleB = \"new\"\n)\n")
	tr.fs.(fstest.MapFS)[errorsDoc] = &fstest.MapFile{Data: []byte(doc)}
	tr.files = append(tr.files, errorsDoc)
	got := strings.Join(troubles(t, tr), "\n")
	for _, want := range []string{"used is the code of an error", "new has no row", "gone is not in the source"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
