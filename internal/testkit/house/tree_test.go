package house_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// modulePath is the module that these tests guard.
const modulePath = "example.com/gatehouse"

var update = flag.Bool("update", false, "rewrite the golden files")

// A tree is the checkout as it is on disk. The tests need no git, so they also
// run from an unpacked archive.
type tree struct {
	fs    fs.FS
	dir   string   // absolute
	real  bool     // exists on disk, so that the go command can read it
	files []string // slash-separated, relative to dir, sorted

	parsed map[string]goFile // so far; nil where files change under the tree
}

// checkout is the tree that all tests read: nearly every guard parses nearly
// every file.
var checkout *tree

// TestMain lets the heap grow, because the parsed checkout stays in it.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// A guard checks the tree and returns what is wrong with it.
type guard func(t *testing.T, tr *tree) []string

// hold fails the test with the problems that the guard finds in the checkout.
func hold(t *testing.T, g guard) {
	t.Helper()
	for _, problem := range g(t, openTree(t)) {
		t.Error(problem)
	}
}

// openTree finds the root of the module above this package.
func openTree(t *testing.T) *tree {
	t.Helper()
	if checkout != nil {
		return checkout
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	tr := newTree(t, dir, os.DirFS(dir))
	tr.real, tr.parsed = true, map[string]goFile{}
	if got := tr.goMod(t, "go.mod").module; got != modulePath {
		t.Fatalf("the module at the root is %q, want %q", got, modulePath)
	}
	checkout = tr
	return tr
}

// newTree lists the files of a checkout. It leaves out what .gitignore names
// and what tools keep for themselves.
func newTree(t *testing.T, dir string, files fs.FS) *tree {
	t.Helper()
	tr := &tree{fs: files, dir: dir}
	ignored := tr.ignored(t)
	err := fs.WalkDir(tr.fs, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == ".":
			return nil
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"), ignored(p):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			tr.files = append(tr.files, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tr.files)
	return tr
}

// ignored reads .gitignore. It understands only what we use: paths from the
// root ("/a/b/"), and name patterns ("*.out", "name/").
func (tr *tree) ignored(t *testing.T) func(p string) bool {
	t.Helper()
	var rooted, names []string
	for line := range strings.Lines(tr.read(t, ".gitignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern := strings.TrimSuffix(line, "/")
		if _, err := path.Match(pattern, ""); err != nil || strings.HasPrefix(line, "!") || strings.Contains(line, "**") {
			t.Fatalf(".gitignore: %q is more than this test understands", line)
		}
		if rest, ok := strings.CutPrefix(pattern, "/"); ok {
			rooted = append(rooted, rest)
		} else if strings.Contains(pattern, "/") {
			rooted = append(rooted, pattern)
		} else {
			names = append(names, pattern)
		}
	}
	matches := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, _ := path.Match(pattern, name)
			return ok
		})
	}
	return func(p string) bool { return matches(rooted, p) || matches(names, path.Base(p)) }
}

func (tr *tree) read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(tr.fs, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holdGolden compares lines of the checkout with a golden file, or rewrites the
// file under -update.
func holdGolden(t *testing.T, name string, lines guard) {
	t.Helper()
	tr := openTree(t)
	got := lines(t, tr)
	if *update {
		text := strings.Join(got, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(tr.dir, filepath.FromSlash(name)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := fs.ReadFile(tr.fs, name)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/testkit/house -update", err)
	}
	for _, problem := range differences(name, string(want), got) {
		t.Error(problem)
	}
	if t.Failed() {
		t.Log("if the change is meant: go test ./internal/testkit/house -update, and read the diff")
	}
}

// differences compares the text of a golden file with the current lines.
func differences(name, text string, got []string) []string {
	var out []string
	want := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range want {
		if !slices.Contains(got, line) {
			out = append(out, fmt.Sprintf("gone, but in %s: %s", name, line))
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			out = append(out, fmt.Sprintf("new, not in %s: %s", name, line))
		}
	}
	if len(out) == 0 && !slices.Equal(want, got) {
		out = append(out, name+" has the right lines in the wrong order, or twice")
	}
	return out
}

// A goFile is one parsed Go file.
type goFile struct {
	name string // relative to the root
	test bool
	fset *token.FileSet
	ast  *ast.File
}

func (f goFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// goFiles parses every Go file that keep accepts. It leaves out files that the
// go command ignores (testdata, names that begin with _ or .).
func (tr *tree) goFiles(t *testing.T, keep func(name string) bool) []goFile {
	t.Helper()
	var out []goFile
	for _, name := range tr.files {
		if !strings.HasSuffix(name, ".go") || outsideGo(name) || !keep(name) {
			continue
		}
		f, err := tr.goFile(t, name)
		if err != nil {
			t.Errorf("does not parse: %v", err)
			continue
		}
		out = append(out, f)
	}
	return out
}

// goFile parses one Go file, the checkout's only once.
func (tr *tree) goFile(t *testing.T, name string) (goFile, error) {
	t.Helper()
	if f, ok := tr.parsed[name]; ok {
		return f, nil
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, tr.read(t, name), parser.ParseComments|parser.SkipObjectResolution)
	f := goFile{name: name, test: strings.HasSuffix(name, "_test.go"), fset: fset, ast: parsed}
	if err == nil && tr.parsed != nil {
		tr.parsed[name] = f
	}
	return f, err
}

// outsideGo reports whether the go command leaves the file out of "./...".
func outsideGo(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == "testdata" || part == "vendor" || strings.HasPrefix(part, "_") || strings.HasPrefix(part, ".")
	})
}

// all keeps every file.
func all(string) bool { return true }

// inRootModule returns a filter for the files of the root module: those without
// a nearer go.mod.
func (tr *tree) inRootModule() func(name string) bool {
	var nested []string
	for _, name := range tr.files {
		if dir := path.Dir(name); path.Base(name) == "go.mod" && dir != "." {
			nested = append(nested, dir+"/")
		}
	}
	return func(name string) bool {
		return !slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(name, dir) })
	}
}

// published returns a filter for the files that users can import: the root
// module without internal packages, test files and the example.
func (tr *tree) published() func(name string) bool {
	root := tr.inRootModule()
	return func(name string) bool {
		parts := strings.Split(path.Dir(name), "/")
		return root(name) && !strings.HasSuffix(name, "_test.go") &&
			!slices.Contains(parts, "internal") && parts[0] != "example"
	}
}

// importPath is the import path of the package that the file is in.
func importPath(name string) string { return path.Join(modulePath, path.Dir(name)) }
