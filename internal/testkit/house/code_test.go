package house_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv != nil {
		if id := baseType(fn.Recv.List[0].Type); id != nil {
			return id.Name + "." + fn.Name.Name
		}
	}
	return fn.Name.Name
}

func TestDocComments(t *testing.T) { hold(t, docComments) }

// docComments requires a comment on everything that a user can name, and a
// package comment for each package that can be imported.
func docComments(t *testing.T, tr *tree) []string {
	var out []string
	packages := map[string]bool{}
	for _, f := range tr.goFiles(t, tr.published()) {
		pkg := importPath(f.name)
		packages[pkg] = packages[pkg] || f.ast.Doc != nil
		if f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, id := range undocumented(f, d) {
				out = append(out, fmt.Sprintf("%s:%d: %s has no doc comment", f.name, f.line(id.Pos()), id.Name))
			}
			for _, bad := range misnamed(d) {
				out = append(out, fmt.Sprintf("%s:%d: the comment of %s does not begin with its name", f.name, f.line(bad.Pos()), bad.Name))
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		if !packages[pkg] {
			out = append(out, fmt.Sprintf("package %s has no package comment", pkg))
		}
	}
	return out
}

// undocumented lists the exported names of a declaration that have no comment.
// The comment of a group covers its constants and variables.
func undocumented(f goFile, d ast.Decl) []*ast.Ident {
	var out []*ast.Ident
	missing := func(doc bool, ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() && !doc {
				out = append(out, id)
			}
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || baseType(d.Recv.List[0].Type).IsExported() {
			missing(d.Doc != nil, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				missing(d.Doc != nil || spec.Doc != nil || spec.Comment != nil, spec.Names...)
			case *ast.TypeSpec:
				missing(spec.Doc != nil || d.Doc != nil && len(d.Specs) == 1, spec.Name)
				if !spec.Name.IsExported() {
					continue
				}
				switch typ := spec.Type.(type) {
				case *ast.StructType:
					out = append(out, undocumentedMembers(f, typ.Fields)...)
				case *ast.InterfaceType:
					out = append(out, undocumentedMembers(f, typ.Methods)...)
				}
			}
		}
	}
	return out
}

// undocumentedMembers lists fields and methods without a comment. A comment
// also covers the members on the lines directly below it.
func undocumentedMembers(f goFile, list *ast.FieldList) []*ast.Ident {
	var out []*ast.Ident
	covered := -1 // the last line of a documented member
	for _, m := range list.List {
		first := f.line(m.Pos())
		if m.Doc != nil {
			first = f.line(m.Doc.Pos())
		}
		if m.Doc != nil || m.Comment != nil || first == covered+1 {
			covered = f.line(m.End())
			continue
		}
		for _, id := range m.Names {
			if id.IsExported() {
				out = append(out, id)
			}
		}
	}
	return out
}

// misnamed lists functions, methods and types whose comment does not begin with
// their name.
func misnamed(d ast.Decl) []*ast.Ident {
	begins := func(doc *ast.CommentGroup, id *ast.Ident) bool {
		if doc == nil || !id.IsExported() {
			return true
		}
		text := doc.Text()
		for _, article := range []string{"A ", "An ", "The "} {
			text = strings.TrimPrefix(text, article)
		}
		rest, ok := strings.CutPrefix(text, id.Name)
		return ok && (rest == "" || !token.IsIdentifier("x"+rest[:1])) || strings.HasPrefix(text, "Deprecated:")
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if (d.Recv == nil || baseType(d.Recv.List[0].Type).IsExported()) && !begins(d.Doc, d.Name) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var out []*ast.Ident
		for _, spec := range d.Specs {
			if spec, ok := spec.(*ast.TypeSpec); ok {
				doc := spec.Doc
				if doc == nil && len(d.Specs) == 1 {
					doc = d.Doc
				}
				if !begins(doc, spec.Name) {
					out = append(out, spec.Name)
				}
			}
		}
		return out
	}
	return nil
}

func TestNoMarks(t *testing.T) { hold(t, noMarks) }

// noMarks rejects marks that say "later", and tests that can pass without
// running.
func noMarks(t *testing.T, tr *tree) []string {
	var out []string
	// The marks are written in parts, or this file would find itself.
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	sources := []string{".go", ".sh", ".js", ".mjs", ".cjs", ".css", ".html", ".sql", ".md", "/run"}
	for _, name := range tr.files {
		if !slices.ContainsFunc(sources, func(end string) bool { return strings.HasSuffix(name, end) }) || strings.Contains(name, "testdata/") {
			continue
		}
		n := 0
		for line := range strings.Lines(tr.read(t, name)) {
			n++
			if m := mark.FindString(line); m != "" {
				out = append(out, fmt.Sprintf("%s:%d: %s: do it now, or document what is missing", name, n, m))
			}
		}
	}
	for _, f := range tr.goFiles(t, all) {
		if !slices.Contains(imports(t, f), "testing") {
			continue
		}
		for _, call := range calls(f, "Skip", "Skipf", "SkipNow") {
			out = append(out, fmt.Sprintf("%s: a test is skipped: let it fail with the reason, or take it out", call))
		}
	}
	return out
}

func TestNoHiddenInputs(t *testing.T) { hold(t, noHiddenInputs) }

// noHiddenInputs: a library takes what it needs as arguments. Main programs and
// the real-server module may read their environment and wait.
func noHiddenInputs(t *testing.T, tr *tree) []string {
	var out []string
	for _, f := range tr.goFiles(t, tr.inRootModule()) {
		if path.Dir(f.name) != timed && !slices.Contains(imports(t, f), "testing/synctest") { // there a sleep moves a fake clock
			for _, call := range calls(f, "time.Sleep") {
				out = append(out, fmt.Sprintf("%s: wait for the event, inject the clock, or use testing/synctest", call))
			}
		}
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		for _, call := range calls(f, "os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv") {
			out = append(out, fmt.Sprintf("%s: a library reads no environment", call))
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, fmt.Sprintf("%s:%d: init: a library does nothing at import", f.name, f.line(fn.Pos())))
			}
		}
	}
	return out
}

// calls finds where f uses one of the names, each "pkg.Func" or "Method".
func calls(f goFile, names ...string) []string {
	var out []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		full := sel.Sel.Name
		if x, ok := sel.X.(*ast.Ident); ok {
			full = x.Name + "." + full
		}
		if slices.Contains(names, full) || slices.Contains(names, sel.Sel.Name) {
			out = append(out, fmt.Sprintf("%s:%d: %s", f.name, f.line(sel.Pos()), full))
		}
		return true
	})
	return out
}
