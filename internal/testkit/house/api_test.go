package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"slices"
	"strings"
	"testing"
)

const (
	apiGolden = "api/gatehouse.txt"

	// maxNames bounds the exported top-level names of the root package. It is
	// what one person can keep in mind and one page of godoc can show.
	maxNames = 150
)

// TestAPI compares the exported surface with its golden file, so that every
// change to it appears in a diff that somebody reads.
func TestAPI(t *testing.T) { holdGolden(t, apiGolden, api) }

// api lists the exported declarations of the packages that users can import.
func api(t *testing.T, tr *tree) []string {
	var lines []string
	for _, f := range tr.goFiles(t, tr.published()) {
		if f.ast.Name.Name == "main" {
			continue
		}
		s := surface{fset: f.fset, prefix: "pkg " + importPath(f.name) + ", "}
		for _, d := range f.ast.Decls {
			s.decl(d)
		}
		lines = append(lines, s.lines...)
	}
	slices.Sort(lines)
	return slices.Compact(lines) // one name in files for several systems
}

func TestAPISize(t *testing.T) { hold(t, apiSize) }

// apiSize counts the exported names of the root package.
func apiSize(t *testing.T, tr *tree) []string {
	var out []string
	names := map[string]bool{}
	for _, f := range tr.goFiles(t, tr.published()) {
		if importPath(f.name) != modulePath {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, id := range topLevel(d) {
				names[id.Name] = true
			}
		}
	}
	if len(names) > maxNames {
		out = append(out, fmt.Sprintf("package gatehouse exports %d names, more than %d: find the ones that need not be seen", len(names), maxNames))
	}
	return out
}

// topLevel returns the exported names that d declares in its package, except
// methods.
func topLevel(d ast.Decl) []*ast.Ident {
	var out []*ast.Ident
	add := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() {
				out = append(out, id)
			}
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				add(spec.Names...)
			case *ast.TypeSpec:
				add(spec.Name)
			}
		}
	}
	return out
}

// A surface collects the exported declarations of a file, one per line.
type surface struct {
	fset   *token.FileSet
	prefix string
	lines  []string
}

func (s *surface) add(format string, args ...any) {
	s.lines = append(s.lines, s.prefix+fmt.Sprintf(format, args...))
}

// source prints a node on one line. Parameter names are not part of the
// surface.
func (s *surface) source(n ast.Node) string {
	ast.Inspect(n, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncType); ok {
			f.Params, f.Results = unnamed(f.Params), unnamed(f.Results)
		}
		return true
	})
	var buf bytes.Buffer
	if err := (&printer.Config{Mode: printer.RawFormat}).Fprint(&buf, s.fset, n); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(buf.String()), " ")
}

// unnamed turns "a, b int" into "int, int".
func unnamed(list *ast.FieldList) *ast.FieldList {
	if list == nil {
		return nil
	}
	out := &ast.FieldList{}
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			out.List = append(out.List, &ast.Field{Type: f.Type})
		}
	}
	return out
}

func (s *surface) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		s.function(d)
	case *ast.GenDecl:
		var inherited *ast.ValueSpec // a constant without a value repeats the last one that has one
		for i, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					s.typeSpec(spec)
				}
			case *ast.ValueSpec:
				if len(spec.Values) > 0 || spec.Type != nil || d.Tok == token.VAR {
					inherited = spec
				}
				s.values(d.Tok, spec, inherited, i)
			}
		}
	}
}

func (s *surface) function(d *ast.FuncDecl) {
	if !d.Name.IsExported() {
		return
	}
	signature := strings.TrimPrefix(s.source(d.Type), "func")
	if d.Recv == nil {
		s.add("func %s%s", d.Name.Name, signature)
		return
	}
	recv := d.Recv.List[0].Type
	if id := baseType(recv); id != nil && id.IsExported() {
		s.add("method (%s) %s%s", s.source(recv), d.Name.Name, signature)
	}
}

// baseType returns T for T, *T, T[P] and pkg.T.
func baseType(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.StarExpr:
		return baseType(e.X)
	case *ast.ParenExpr:
		return baseType(e.X)
	case *ast.IndexExpr:
		return baseType(e.X)
	case *ast.IndexListExpr:
		return baseType(e.X)
	case *ast.SelectorExpr:
		return e.Sel
	}
	return nil
}

func (s *surface) values(tok token.Token, spec, from *ast.ValueSpec, iota int) {
	for i, name := range spec.Names {
		if !name.IsExported() {
			continue
		}
		line := tok.String() + " " + name.Name
		if from.Type != nil {
			line += " " + s.source(from.Type)
		}
		if i < len(from.Values) {
			// The value of a constant is a promise. Of a variable only the
			// expression that creates it is shown, because that gives the type.
			value := from.Values[i]
			if call, ok := value.(*ast.CallExpr); ok && tok == token.VAR {
				line += " = " + s.source(call.Fun) + "(…)"
			} else if lit, ok := value.(*ast.CompositeLit); ok {
				line += " = " + s.source(lit.Type) + "{…}"
			} else if tok == token.CONST {
				line += " = " + s.source(value)
				if usesIota(value) {
					line += fmt.Sprintf(" (iota %d)", iota)
				}
			}
		}
		s.add("%s", line)
	}
}

func usesIota(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == "iota" {
			found = true
		}
		return !found
	})
	return found
}

func (s *surface) typeSpec(spec *ast.TypeSpec) {
	head := "type " + spec.Name.Name
	if spec.TypeParams != nil {
		var params []string
		for _, f := range spec.TypeParams.List {
			for _, id := range f.Names {
				params = append(params, id.Name+" "+s.source(f.Type))
			}
		}
		head += "[" + strings.Join(params, ", ") + "]"
	}
	if spec.Assign.IsValid() {
		head += " ="
	}
	switch t := spec.Type.(type) {
	case *ast.StructType:
		s.add("%s struct", head)
		s.members(head+" struct", t.Fields, "unexported fields")
	case *ast.InterfaceType:
		s.add("%s interface", head)
		s.members(head+" interface", t.Methods, "unexported methods")
	default:
		s.add("%s %s", head, s.source(t))
	}
}

// members lists fields or methods, one per line. Whether there are unexported
// ones is part of the surface too: it decides who can make or implement the
// type.
func (s *surface) members(head string, list *ast.FieldList, hidden string) {
	anyHidden := false
	for _, f := range list.List {
		if len(f.Names) == 0 {
			s.add("%s, embedded %s", head, s.source(f.Type))
			continue
		}
		for _, id := range f.Names {
			if !id.IsExported() {
				anyHidden = true
				continue
			}
			typ := s.source(f.Type)
			if _, ok := f.Type.(*ast.FuncType); ok && hidden == "unexported methods" {
				typ = strings.TrimPrefix(typ, "func")
				s.add("%s, %s%s", head, id.Name, typ)
				continue
			}
			if f.Tag != nil {
				typ += " " + f.Tag.Value
			}
			s.add("%s, %s %s", head, id.Name, typ)
		}
	}
	if anyHidden {
		s.add("%s, %s", head, hidden)
	}
}
