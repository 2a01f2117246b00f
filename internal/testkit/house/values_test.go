package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestErrorsDoc(t *testing.T) { hold(t, errorCodes) }

// errorCodes checks the tables headed "Code": each code of a kind{code, status,
// message} in the root package has one row, with its status.
func errorCodes(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, errorsDoc)
	rows, status := map[string][]docRow{}, map[string]string{}
	for _, table := range tables {
		if table.head[0] != "Code" {
			continue
		}
		for _, row := range table.rows {
			code := strings.Trim(row.cells[0], "`")
			rows[code] = append(rows[code], row)
			status[code] = row.cells[1]
		}
	}
	found, named := map[string]string{}, map[string]string{}
	for _, f := range tr.rootFiles(t) {
		for _, c := range f.constants() {
			if lit, ok := c.value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				named[c.name], _ = strconv.Unquote(lit.Value)
			}
		}
	}
	for _, f := range tr.rootFiles(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || baseType(lit.Type) == nil || baseType(lit.Type).Name != "kind" {
				return true
			}
			at := fmt.Sprintf("%s:%d", f.name, f.line(n.Pos()))
			code, want, ok := kindOf(lit, named)
			if !ok {
				out = append(out, at+": write a kind as {\"code\", 400, message}, so that it can be listed")
				return true
			}
			if before := found[code]; before != "" {
				out = append(out, fmt.Sprintf("%s: code %s stands at %s too: no two errors share a code", at, code, before))
			}
			found[code] = at
			if has, ok := status[code]; ok && has != want {
				out = append(out, fmt.Sprintf("%s: code %s has the status %s, %s says %s", at, code, want, errorsDoc, has))
			}
			return true
		})
	}
	return append(out, compareRows(errorsDoc, "code", rows, found)...)
}

// kindOf reads kind{"code", 400, message}. The code may be a constant.
func kindOf(lit *ast.CompositeLit, named map[string]string) (code, status string, ok bool) {
	if len(lit.Elts) != 3 {
		return "", "", false
	}
	second, ok := lit.Elts[1].(*ast.BasicLit)
	if !ok {
		return "", "", false
	}
	switch first := lit.Elts[0].(type) {
	case *ast.BasicLit:
		code, err := strconv.Unquote(first.Value)
		return code, second.Value, err == nil
	case *ast.Ident:
		return named[first.Name], second.Value, named[first.Name] != ""
	}
	return "", "", false
}

func TestEventsDoc(t *testing.T) { hold(t, eventNames) }

// eventNames checks the table headed "Event": it has one row for each constant
// Event….
func eventNames(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, errorsDoc)
	rows := map[string][]docRow{}
	for _, table := range tables {
		if table.head[0] != "Event" {
			continue
		}
		for _, row := range table.rows {
			name := strings.Trim(row.cells[0], "`")
			rows[name] = append(rows[name], row)
		}
	}
	found := map[string]string{}
	for _, f := range tr.rootFiles(t) {
		for _, c := range f.constants() {
			lit, ok := c.value.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || !strings.HasPrefix(c.name, "Event") {
				continue
			}
			if name, err := strconv.Unquote(lit.Value); err == nil {
				found[name] = c.at
			}
		}
	}
	return append(out, compareRows(errorsDoc, "event", rows, found)...)
}

// A constant is one constant of a file. One inside a function is named
// "function.constant".
type constant struct {
	name, at string
	value    ast.Expr
	source   string // the value as written
}

// constants lists the constants that have a value of their own.
func (f goFile) constants() []constant {
	var out []constant
	inside := "" // the function being walked
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if fn, ok := n.(*ast.FuncDecl); ok {
			inside = fn.Name.Name + "."
		}
		d, ok := n.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			return true
		}
		if slices.Contains(f.ast.Decls, ast.Decl(d)) {
			inside = ""
		}
		for _, spec := range d.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for i, e := range v.Values {
				var b bytes.Buffer
				if err := printer.Fprint(&b, f.fset, e); err != nil {
					continue
				}
				at := fmt.Sprintf("%s:%d", f.name, f.line(v.Pos()))
				out = append(out, constant{inside + v.Names[i].Name, at, e, b.String()})
			}
		}
		return true
	})
	return out
}

// isQuantity reports whether a constant's value is a number or a duration that
// somebody chose. Enumerations by iota and strings are not.
func isQuantity(e ast.Expr) bool {
	if usesIota(e) {
		return false
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind != token.STRING
	case *ast.BinaryExpr:
		return isQuantity(e.X) && isQuantity(e.Y)
	case *ast.ParenExpr:
		return isQuantity(e.X)
	case *ast.UnaryExpr:
		return isQuantity(e.X)
	case *ast.Ident, *ast.SelectorExpr:
		return true
	case *ast.CallExpr: // a conversion of a number, but not of another constant
		if len(e.Args) != 1 {
			return false
		}
		_, name := e.Args[0].(*ast.Ident)
		_, selected := e.Args[0].(*ast.SelectorExpr)
		return !name && !selected && isQuantity(e.Args[0])
	}
	return false
}

func TestLimitsDoc(t *testing.T) { hold(t, limits) }

// kitLimit matches the names of the test kit's limits. Its other numbers belong
// to test cases.
var kitLimit = regexp.MustCompile(`^(most|kept)[A-Z]|(?i:limit|bound|patience)$`)

// stores are the modules that users import besides.
var stores = []string{"redisstore", "pgstore", "sqlitestore"}

// limits checks the tables headed "Constant". Every numeric constant of the
// root package, of oxd and of the stores, and of our packages that they import,
// has one row with its value as the source writes it. A new limit thus cannot be left out because of its
// name. Of middlewaretest only the constants named as limits count.
func limits(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, limitsDoc)
	rows, values := map[string][]docRow{}, map[string]string{}
	for _, table := range tables {
		where, value := table.column("Where"), table.column("Value")
		if table.head[0] != "Constant" || where < 0 || value < 0 {
			continue
		}
		for _, row := range table.rows {
			key := strings.Trim(row.cells[where], "`") + "." + strings.Trim(row.cells[0], "`")
			rows[key] = append(rows[key], row)
			values[key] = row.cells[value]
		}
	}
	found := map[string]string{}
	for _, f := range tr.goFiles(t, tr.inTheLibrary(t, stores...)) {
		pkg := path.Dir(f.name)
		if pkg == "." {
			pkg = "gatehouse"
		}
		for _, c := range f.constants() {
			if !isQuantity(c.value) || pkg == "middlewaretest" && !kitLimit.MatchString(c.name) {
				continue
			}
			key := pkg + "." + c.name
			found[key] = c.at
			if has, ok := values[key]; ok && !strings.HasPrefix(has, "`"+c.source+"`") {
				out = append(out, fmt.Sprintf("%s: %s is `%s`, %s says %s", c.at, key, c.source, limitsDoc, has))
			}
		}
	}
	return append(out, compareRows(limitsDoc, "constant", rows, found)...)
}

// inTheLibrary returns a filter for the files of the root package, of oxd, of
// those in more, and of our packages that they import.
func (tr *tree) inTheLibrary(t *testing.T, more ...string) func(name string) bool {
	needs := map[string][]string{} // directory → our directories that it imports
	for _, f := range tr.goFiles(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		for _, i := range imports(t, f) {
			if dir, ok := strings.CutPrefix(i, modulePath+"/"); ok {
				needs[path.Dir(f.name)] = append(needs[path.Dir(f.name)], dir)
			}
		}
	}
	linked := map[string]bool{"middlewaretest": true}
	for next := append([]string{".", "oxd"}, more...); len(next) > 0; next = next[1:] {
		if !linked[next[0]] {
			linked[next[0]] = true
			next = append(next, needs[next[0]]...)
		}
	}
	return func(name string) bool { return !strings.HasSuffix(name, "_test.go") && linked[path.Dir(name)] }
}
