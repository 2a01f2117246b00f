package house_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestHomesOfTests(t *testing.T) { hold(t, homesOfTests) }

// testedIn is the line below the package clause of a file that is tested
// elsewhere.
var testedIn = regexp.MustCompile(`^// Tested in (.+)\.$`)

// homesOfTests: each x.go of the root that declares something has x_test.go, or
// names the packages that test it in the line below its package clause.
func homesOfTests(t *testing.T, tr *tree) []string {
	var out []string
	tested := map[string]bool{} // directories with tests
	for _, name := range tr.files {
		if strings.HasSuffix(name, "_test.go") {
			tested[path.Dir(name)] = true
		}
	}
	for _, f := range tr.goFiles(t, func(name string) bool { return path.Dir(name) == "." }) {
		declares := slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
			imports, ok := d.(*ast.GenDecl)
			return !ok || imports.Tok != token.IMPORT
		})
		if f.test || !declares {
			continue
		}
		lines := strings.Split(tr.read(t, f.name), "\n")[f.line(f.ast.Name.End()):]
		said := testedIn.FindStringSubmatch(strings.TrimSpace(strings.Join(lines[:min(2, len(lines))], "")))
		switch {
		case said != nil:
			for _, dir := range strings.Split(said[1], ", ") {
				if !tested[dir] {
					out = append(out, fmt.Sprintf("%s: tested in %s, which has no tests", f.name, dir))
				}
			}
		case !slices.Contains(tr.files, strings.TrimSuffix(f.name, ".go")+"_test.go"):
			out = append(out, fmt.Sprintf("%s has no %s_test.go, and no line \"// Tested in internal/e2e/….\" below its package clause", f.name, strings.TrimSuffix(f.name, ".go")))
		}
	}
	return out
}

func TestNoClocks(t *testing.T) { hold(t, noClocks) }

// timed is the one package that may judge by time, because only the modules of
// the stores use it, which have real servers.
const timed = "internal/testkit/trouble"

// noClocks: no test that "go test ./..." runs judges by elapsed time, processor
// time or allocation counts. It would fail on another machine or a busy one, so
// all of that lives in bench. In a bubble of testing/synctest time is exact. What
// serves tests alone must not judge for them.
func noClocks(t *testing.T, tr *tree) []string {
	var out []string
	for _, f := range tr.goFiles(t, tr.inRootModule()) {
		if slices.Contains(imports(t, f), modulePath+"/"+timed) {
			out = append(out, f.name+": imports "+timed+", which judges by time and is for the modules of the stores")
		}
		if path.Dir(f.name) == timed || f.ast.Name.Name == "main" || !f.test && !strings.HasPrefix(f.name, "internal/e2e/") && !strings.HasPrefix(f.name, "internal/testkit/") {
			continue
		}
		found := calls(f, "testing.AllocsPerRun", "runtime.ReadMemStats", "debug.ReadGCStats", "metrics.Read", "syscall.Getrusage", "testing.Benchmark", "Elapsed")
		if !slices.Contains(imports(t, f), "testing/synctest") {
			found = append(found, calls(f, "time.Since")...)
			found = append(found, stopwatches(f)...)
		}
		for _, call := range found {
			out = append(out, call+": what judges by time or allocations belongs to bench; a promise of time is tested in testing/synctest")
		}
	}
	return out
}

// stopwatches finds where f measures with the clock of the machine, as in
// time.Now().Sub(begin), or in end.Sub(begin) if one of the two is time.Now().
func stopwatches(f goFile) []string {
	now := map[string]bool{} // variables that hold time.Now()
	isNow := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return now[e.Name]
		case *ast.CallExpr:
			sel, ok := e.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Now" {
				return false
			}
			x, ok := sel.X.(*ast.Ident)
			return ok && x.Name == "time"
		}
		return false
	}
	var out []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if id, ok := to.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) {
					now[id.Name] = isNow(n.Rhs[i])
				}
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if ok && sel.Sel.Name == "Sub" && len(n.Args) == 1 && (isNow(sel.X) || isNow(n.Args[0])) {
				out = append(out, fmt.Sprintf("%s:%d: Sub of time.Now", f.name, f.line(n.Pos())))
			}
		}
		return true
	})
	return out
}
