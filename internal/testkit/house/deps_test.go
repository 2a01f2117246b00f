package house_test

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const depsGolden = "internal/testkit/house/testdata/deps.txt"

// direct are the modules that the root may require, and no others. -update does
// not change this list.
var direct = []string{
	"github.com/alexedwards/scs/v2",
	"github.com/coreos/go-oidc/v3",
	"github.com/go-jose/go-jose/v4",
	"golang.org/x/oauth2",
}

// A goMod is the part of a go.mod file that these tests check.
type goMod struct {
	module   string
	direct   []string
	indirect []string
	replace  map[string]string
	other    []string // the remaining directives, by keyword
}

// goMod reads a go.mod file in the form that "go mod tidy" writes.
func (tr *tree) goMod(t *testing.T, name string) goMod {
	t.Helper()
	m := goMod{replace: map[string]string{}}
	block := ""
	for line := range strings.Lines(tr.read(t, name)) {
		code, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(code)
		switch {
		case len(words) == 0:
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		m.directive(words, strings.TrimSpace(comment) == "indirect")
	}
	return m
}

func (m *goMod) directive(words []string, indirect bool) {
	switch {
	case words[0] == "module" && len(words) == 2:
		m.module = strings.Trim(words[1], `"`)
	case words[0] == "require" && len(words) == 3 && indirect:
		m.indirect = append(m.indirect, words[1])
	case words[0] == "require" && len(words) == 3:
		m.direct = append(m.direct, words[1])
	case words[0] == "replace" && slices.Contains(words, "=>"):
		i := slices.Index(words, "=>")
		m.replace[words[1]] = strings.Join(words[i+1:], " ")
	default:
		m.other = append(m.other, words[0])
	}
}

func TestDirectRequirements(t *testing.T) { hold(t, directRequirements) }

// directRequirements: there are four libraries, and a new one is refused by
// default.
func directRequirements(t *testing.T, tr *tree) []string {
	var out []string
	m := tr.goMod(t, "go.mod")
	for _, name := range m.direct {
		if !slices.Contains(direct, name) {
			out = append(out, fmt.Sprintf("go.mod requires %s: the root has four requirements and takes no other (CONTRIBUTING.md)", name))
		}
	}
	for _, name := range direct {
		switch {
		case slices.Contains(m.indirect, name):
			out = append(out, fmt.Sprintf("go.mod calls %s indirect: use it in the root module, then run go mod tidy", name))
		case !slices.Contains(m.direct, name):
			out = append(out, fmt.Sprintf("go.mod does not require %s", name))
		}
	}
	for _, word := range []string{"replace", "exclude", "tool", "toolchain"} {
		if slices.Contains(m.other, word) || word == "replace" && len(m.replace) > 0 {
			out = append(out, fmt.Sprintf("go.mod has a %s line: users of the module would not get it, or not want it", word))
		}
	}
	return out
}

func TestRequirements(t *testing.T) { holdGolden(t, depsGolden, requirements) }

// requirements lists everything that go.mod brings in. Since Go 1.17, go.mod
// names every module that our builds can need, including indirect ones.
func requirements(t *testing.T, tr *tree) []string {
	m := tr.goMod(t, "go.mod")
	lines := slices.Concat(m.direct, m.indirect)
	slices.Sort(lines)
	return lines
}

func TestImports(t *testing.T) { hold(t, knownImports) }

// knownImports checks every import of the root module, including tests and the
// example. They may import the standard library, the four libraries and what
// those need, but not cgo or unsafe.
func knownImports(t *testing.T, tr *tree) []string {
	var out []string
	m := tr.goMod(t, "go.mod")
	known := slices.Concat(m.direct, m.indirect, []string{modulePath})
	for _, f := range tr.goFiles(t, tr.inRootModule()) {
		for _, imp := range imports(t, f) {
			switch {
			case imp == "C" || imp == "unsafe":
				out = append(out, fmt.Sprintf("%s imports %q", f.name, imp))
			case standard(imp):
			case !slices.ContainsFunc(known, func(mod string) bool { return within(imp, mod) }):
				out = append(out, fmt.Sprintf("%s imports %s, which is in no module that go.mod names", f.name, imp))
			}
		}
	}
	return out
}

func TestDirection(t *testing.T) { hold(t, direction) }

// direction checks the one way in which our packages may depend on each other:
// internal <- root <- oxd, middlewaretest <- example, the world of
// internal/e2e. Tests may import anything.
func direction(t *testing.T, tr *tree) []string {
	var out []string
	for _, f := range tr.goFiles(t, tr.inRootModule()) {
		if f.test {
			continue
		}
		from := layer(importPath(f.name))
		for _, imp := range imports(t, f) {
			if within(imp, modulePath) && layer(imp) > from {
				out = append(out, fmt.Sprintf("%s imports %s: dependencies point the other way", f.name, imp))
			}
			// The kit, testkit and the world of internal/e2e are for tests, and
			// the example has no tests in it. What is linked into a service
			// thus contains no test code.
			if (imp == "testing" || strings.HasPrefix(imp, "testing/") || imp == "net/http/httptest") &&
				!within(importPath(f.name), modulePath+"/middlewaretest") && !within(importPath(f.name), modulePath+"/internal/e2e") && !within(importPath(f.name), modulePath+"/internal/testkit") {
				out = append(out, fmt.Sprintf("%s imports %s outside a test", f.name, imp))
			}
		}
	}
	return out
}

// layer numbers our packages from the innermost outwards.
func layer(imp string) int {
	rest := strings.TrimPrefix(strings.TrimPrefix(imp, modulePath), "/")
	first, _, _ := strings.Cut(rest, "/")
	if within(rest, "internal/e2e") {
		return 3
	}
	switch first {
	case "internal":
		return 0
	case "":
		return 1
	case "example", "cmd":
		return 3
	}
	return 2
}

func TestNestedModules(t *testing.T) { hold(t, nestedModules) }

// nestedModules: nested modules build against the checkout that contains them,
// and no go.work changes what a build means.
func nestedModules(t *testing.T, tr *tree) []string {
	var out []string
	for _, name := range tr.files {
		dir := path.Dir(name)
		switch path.Base(name) {
		case "go.work", "go.work.sum":
			out = append(out, fmt.Sprintf("%s: a workspace file belongs to a person, not to the project", name))
		case "go.mod":
			m := tr.goMod(t, name)
			if dir == "." {
				continue
			}
			if want := path.Join(modulePath, dir); m.module != want {
				out = append(out, fmt.Sprintf("%s: module %s, want %s", name, m.module, want))
			}
			for _, mod := range slices.Concat(m.direct, m.indirect) {
				if !within(mod, modulePath) {
					continue
				}
				want := path.Join(dir, m.replace[mod])
				if target := path.Join(strings.TrimPrefix(strings.TrimPrefix(mod, modulePath), "/"), "."); want != target || m.replace[mod] == "" {
					out = append(out, fmt.Sprintf("%s: replace %s => %q does not lead to its directory", name, mod, m.replace[mod]))
				}
			}
		}
	}
	return out
}

func imports(t *testing.T, f goFile) []string {
	t.Helper()
	var out []string
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: import %s: %v", f.name, spec.Path.Value, err)
		}
		out = append(out, p)
	}
	return out
}

// standard reports whether the import path belongs to the standard library: its
// first element has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// within reports whether the package is in the module (or below the package).
func within(imp, mod string) bool {
	rest, ok := strings.CutPrefix(imp, mod)
	return ok && (rest == "" || rest[0] == '/')
}
