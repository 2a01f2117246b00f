package house_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	// maxUpward is how many pairs of files of the root may point upwards: the
	// first file is in a lower room and uses something that the second
	// declares. The number must not grow.
	maxUpward = 31
	// maxProduct and maxRootGo bound the files of the root package, without and
	// with its tests, so that one person can look through them.
	maxProduct, maxRootGo = 84, 114
)

// A room is one entry of the list "The rooms of the root" in docs/design.md.
type room struct {
	where    string
	patterns []string // of file names
}

var roomItem = regexp.MustCompile(`^[0-9]+\. `)

// rooms reads the order of the rooms, lowest first.
func (tr *tree) rooms(t *testing.T) (out []room, problems []string) {
	t.Helper()
	inside := false
	eachLine(tr.read(t, designDoc), func(n int, line string) {
		switch {
		case strings.HasPrefix(line, "#"):
			inside = strings.HasSuffix(line, "# The rooms of the root")
		case inside && roomItem.MatchString(line):
			out = append(out, room{where: fmt.Sprintf("%s:%d", designDoc, n)})
			fallthrough
		case inside && len(out) > 0 && strings.HasPrefix(line, "  "):
			last := &out[len(out)-1]
			for _, span := range spans(line) {
				if strings.HasSuffix(span, ".go") {
					last.patterns = append(last.patterns, span)
				}
			}
		}
	})
	if len(out) == 0 {
		problems = append(problems, designDoc+` has no numbered list under "The rooms of the root"`)
	}
	for _, r := range out {
		if len(r.patterns) == 0 {
			problems = append(problems, r.where+": the room has no files")
		}
	}
	return out, problems
}

// roomOf returns the number of the one room that contains the file.
func roomOf(rooms []room, file string) (int, error) {
	found := -1
	for i, r := range rooms {
		for _, pattern := range r.patterns {
			ok, err := path.Match(pattern, file)
			switch {
			case err != nil:
				return -1, fmt.Errorf("%s: pattern %s: %w", r.where, pattern, err)
			case ok && found >= 0 && found != i:
				return -1, fmt.Errorf("%s: %s is in two rooms", r.where, file)
			case ok:
				found = i
			}
		}
	}
	if found < 0 {
		return -1, fmt.Errorf("%s: %s is in no room", designDoc, file)
	}
	return found, nil
}

func TestRooms(t *testing.T) { hold(t, rooms) }

// rooms checks the order of the root's rooms: few uses point from a lower room
// to a higher one, and every file has its room.
func rooms(t *testing.T, tr *tree) []string {
	order, out := tr.rooms(t)
	used := map[string]bool{}
	product, goFiles := 0, 0
	for _, f := range tr.goFiles(t, func(name string) bool { return path.Dir(name) == "." }) {
		if goFiles++; f.test {
			continue
		}
		product++
		if _, err := roomOf(order, f.name); err != nil {
			out = append(out, err.Error())
		}
		for _, r := range order {
			for _, pattern := range r.patterns {
				ok, _ := path.Match(pattern, f.name) // roomOf reports a bad pattern
				used[pattern] = used[pattern] || ok
			}
		}
	}
	for _, r := range order {
		for _, pattern := range r.patterns {
			if !used[pattern] {
				out = append(out, fmt.Sprintf("%s: there is no file %s", r.where, pattern))
			}
		}
	}
	if product > maxProduct {
		out = append(out, fmt.Sprintf("the root has %d files besides tests, more than %d", product, maxProduct))
	}
	if goFiles > maxRootGo {
		out = append(out, fmt.Sprintf("the root has %d Go files, more than %d: stories belong to internal/e2e", goFiles, maxRootGo))
	}
	if up := tr.upward(t, order); len(up) > maxUpward {
		out = append(out, fmt.Sprintf("%d uses run up, more than %d:\n\t%s", len(up), maxUpward, strings.Join(up, "\n\t")))
	}
	return out
}

// upward lists the pairs of files in which the first is in a lower room and
// uses the second, with what it uses.
func (tr *tree) upward(t *testing.T, order []room) []string {
	t.Helper()
	var up []string
	for pair, names := range tr.uses(t) {
		from, to, _ := strings.Cut(pair, " -> ")
		low, err := roomOf(order, from)
		high, err2 := roomOf(order, to)
		if err == nil && err2 == nil && low < high {
			slices.Sort(names)
			up = append(up, fmt.Sprintf("%s: %s", pair, strings.Join(slices.Compact(names), ", ")))
		}
	}
	slices.Sort(up)
	return up
}

// uses returns the pairs "a.go -> b.go" of files of the root package in which
// the first uses a package-level name or a method that the second declares,
// with those names.
func (tr *tree) uses(t *testing.T) map[string][]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range tr.files {
		if path.Dir(name) != "." || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, tr.read(t, name), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: tr.importer(t, fset), Error: func(err error) {
		if tr.real { // the sample imports packages that do not exist
			t.Error(err)
		}
	}}
	pkg, _ := config.Check(modulePath, fset, files, info)
	out := map[string][]string{}
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg {
			continue
		}
		name := obj.Name()
		if fn, ok := obj.(*types.Func); ok {
			fn = fn.Origin()
			obj = fn
			if recv := fn.Signature().Recv(); recv != nil {
				name = types.TypeString(recv.Type(), func(*types.Package) string { return "" }) + "." + name
			}
		} else if obj.Parent() != pkg.Scope() {
			continue // a local name, or a field
		}
		from, to := fset.Position(id.Pos()).Filename, fset.Position(obj.Pos()).Filename
		if from != to {
			out[from+" -> "+to] = append(out[from+" -> "+to], name)
		}
	}
	return out
}

// importer reads the compiler's export data of the packages that the root
// imports.
func (tr *tree) importer(t *testing.T, fset *token.FileSet) types.Importer {
	t.Helper()
	if !tr.real {
		return nil
	}
	exports := map[string]string{}
	for _, p := range goList(t, tr.dir, "-deps", "-export", ".") {
		exports[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(fset, "gc", func(imp string) (io.ReadCloser, error) {
		name := exports[imp]
		if name == "" {
			return nil, fmt.Errorf("the go command names no file for %s", imp)
		}
		return os.Open(name)
	})
}
