package house_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// sample is a small checkout that every guard accepts.
var sample = map[string]string{
	".gitignore": "# servers\n/.servers/\n*.out\n",
	"go.mod": "module " + modulePath + "\n\ngo 1.26.0\n\nrequire (\n\t" +
		strings.Join(direct, " v1.0.0\n\t") + " v1.0.0\n\texample.org/deep v1.0.0 // indirect\n)\n",
	"go.go":                  "// Package gatehouse is a sample.\npackage gatehouse\n\nimport _ \"golang.org/x/oauth2/clientcredentials\"\n",
	"api.go":                 "package gatehouse\n\n// Tested in interop, internal/in.\n\n// Answer is documented.\nfunc Answer() {}\n",
	"low.go":                 "package gatehouse\n\nfunc low() { Answer() }\n",
	"low_test.go":            "package gatehouse\n",
	"internal/in/in_test.go": "package in\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nvar _, _ = time.Since, synctest.Test\n",
	"internal/in/in.go":      "package in\n\nfunc Undocumented() {}\n",
	"oxd/oxd.go":             "// Package oxd is a sample.\npackage oxd\n\nimport (\n\t_ \"golang.org/x/oauth2/jwt\"\n\n\t_ \"" + modulePath + "\"\n)\n",
	"interop/go.mod":         "module " + modulePath + "/interop\n\ngo 1.26.0\n\nrequire " + modulePath + " v0.0.0\n\nreplace " + modulePath + " => ../\n",
	"interop/interop.go":     "package interop\n\nimport _ \"example.net/driver\"\n",
	"interop/i_test.go":      "package interop\n\nimport \"time\"\n\nfunc wait() { time.Sleep(1) }\n",
	".servers/broken.go":     "ignored by .gitignore",
	"testdata/broken.go":     "ignored by the go command",
	"kit/kit.go":             "// Package kit is a sample.\npackage kit\n\nimport _ \"golang.org/x/oauth2/jwt\"\n",
	"README.md":              "# A `house`, really\n\n```go\npackage in\n…\n\"testing/synctest\"\n\"time\"\n```\n[up](docs/a.md#to-do-or-not-1) [here](#a-house-really) [web](https://example.org/x)\n",
	"docs/a.md":              "## To do, or not\n## To do, or not\n\n```\n[no](link)\n# heading\n```\n`[no](link)` <img src=\"../img/a.png\">\n\n[ref]: ../oxd\n",
	designDoc:                "| Room | What it is | Must not know |\n|---|---|---|\n| `internal/...` | engines | `./...` but `internal/...` |\n| `.` | root | `oxd`, `golang.org/x/oauth2/jwt` |\n\n### The rooms of the root\n\n1. `api*.go`: low,\n   `low.go`\n2. `go.go`: high\n",
	"img/a.png":              "\x89PNG\x00/ro" + "ot/x",
}

var guards = map[string]guard{
	"apiSize": apiSize, "docComments": docComments, "noMarks": noMarks, "noHiddenInputs": noHiddenInputs,
	"directRequirements": directRequirements, "knownImports": knownImports, "direction": direction,
	"walls": walls, "rooms": rooms, "homesOfTests": homesOfTests, "noClocks": noClocks,
	"nestedModules": nestedModules, "noMachinePaths": noMachinePaths, "goodLinks": goodLinks,
	"quotedCode": quotedCode,
}

// sampleTree is the sample with some files replaced. An empty name changes
// nothing.
func sampleTree(t *testing.T, name, text string) *tree {
	t.Helper()
	files := fstest.MapFS{}
	for name, text := range sample {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	if name != "" {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return newTree(t, "/src/checkout", files)
}

// TestGuardsLetPass: the guards accept the sample.
func TestGuardsLetPass(t *testing.T) {
	for name, g := range guards {
		for _, problem := range g(t, sampleTree(t, "", "")) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// TestGuardsReportProblems changes one file of the sample at a time.
func TestGuardsReportProblems(t *testing.T) {
	const pkg = "package gatehouse\n\n"
	mod := sample["go.mod"]
	nested := sample["interop/go.mod"]
	for _, c := range []struct{ guard, file, text, want string }{
		{"quotedCode", "README.md", "```go\nfunc gone() {}\n```\n", "README.md:1: no .go file has these lines"},
		{"quotedCode", "README.md", "```go\npackage kit\n…\n// Package kit is a sample.\n```\n", "README.md:1"},
		{"quotedCode", "README.md", "```go\nimport (\n\"time\"\n```\n", "README.md:1"},
		{"quotedCode", "README.md", "```js\npackage kit\n```\n", "no .js file"},
		{"apiSize", "b.go", pkg + "const (\n" + names(maxNames) + ")\n", "exports 151 names"},
		{"docComments", "b.go", pkg + "func Bare() {}\n", "b.go:3: Bare has no doc comment"},
		{"docComments", "b.go", pkg + "// T is one.\ntype T struct {\n\tA int // yes\n\tB int\n\n\tC int\n}\n", "b.go:8: C has no"},
		{"docComments", "b.go", pkg + "// T is one.\ntype T interface {\n\tM()\n}\n", "M has no"},
		{"docComments", "b.go", pkg + "// T is one.\ntype T[P any] struct{}\n\nfunc (*T[P]) M() {}\n", "M has no"},
		{"docComments", "b.go", pkg + "const (\n\tA = 1\n)\n", "A has no"},
		{"docComments", "b.go", pkg + "// Fetches it.\nfunc Fetch() {}\n", "Fetch does not begin"},
		{"docComments", "b.go", pkg + "// A Fetcher fetches.\ntype Fetcher int\n\n// Fetchers fetch.\ntype Fetch int\n", "comment of Fetch "},
		{"docComments", "kit/kit.go", "package kit\n", "package " + modulePath + "/kit has no package comment"},
		{"noMarks", "b.go", pkg + "// TO" + "DO: later\n", "b.go:3: TO" + "DO"},
		{"noMarks", ".ci/run", "# FIX" + "ME\n", ".ci/run:1"},
		{"noMarks", "interop/b_test.go", "package interop\n\nimport \"testing\"\n\nfunc f(x testing.TB) { x.Skip" + "f(\"\") }\n", "a test is skipped"},
		{"noHiddenInputs", "b_test.go", pkg + "import \"time\"\n\nfunc f() { time.Sleep(1) }\n", "time.Sleep"},
		{"noHiddenInputs", "internal/in/b.go", "package in\n\nimport \"os\"\n\nvar f = os.Getenv\n", "reads no environment"},
		{"noHiddenInputs", "b.go", pkg + "func init() {}\n", "b.go:3: init"},
		{"directRequirements", "go.mod", mod + "require example.org/new v1.0.0\n", "go.mod requires example.org/new"},
		{"directRequirements", "go.mod", strings.Replace(mod, "oauth2 v1.0.0", "oauth2 v1.0.0 // indirect", 1), "calls golang.org/x/oauth2 indirect"},
		{"directRequirements", "go.mod", strings.Replace(mod, "golang.org/x/oauth2 v1.0.0", "", 1), "does not require golang.org/x/oauth2"},
		{"directRequirements", "go.mod", mod + "replace example.org/deep => ../deep\n", "has a replace line"},
		{"directRequirements", "go.mod", mod + "tool (\n\texample.org/deep/x\n)\n", "has a tool line"},
		{"knownImports", "b.go", pkg + "import \"C\"\n", `imports "C"`},
		{"knownImports", "b_test.go", pkg + "import _ \"golang.org/x/oauth2extra\"\n", "in no module"},
		{"direction", "internal/in/b.go", "package in\n\nimport _ \"" + modulePath + "\"\n", "the other way"},
		{"direction", "b.go", pkg + "import _ \"" + modulePath + "/oxd\"\n", "the other way"},
		{"direction", "b.go", pkg + "import _ \"net/http/httptest\"\n", "outside a test"},
		{"walls", "internal/in/b.go", "package in\n\nimport _ \"" + modulePath + "/oxd\"\n", "internal/in must not know oxd, but " + modulePath + "/internal/in imports " + modulePath + "/oxd"},
		{"walls", "b.go", pkg + "import _ \"" + modulePath + "/kit\"\n", modulePath + "/kit imports golang.org/x/oauth2/jwt"},
		{"walls", designDoc, strings.Replace(sample[designDoc], "`oxd`", "`oxe`", 1), "there is no package oxe"},
		{"walls", designDoc, "", "has no table"},
		{"rooms", "b.go", pkg, "b.go is in no room"},
		{"rooms", designDoc, strings.Replace(sample[designDoc], "`go.go`", "`go.go`, `no.go`", 1), "there is no file no.go"},
		{"rooms", designDoc, strings.Replace(sample[designDoc], "`go.go`", "`go.go`, `low.go`", 1), "low.go is in two rooms"},
		{"homesOfTests", "b.go", pkg + "var b int\n", "b.go has no b_test.go"},
		{"homesOfTests", "b.go", pkg + "// Tested in interop, oxd.\n\nvar b int\n", "tested in oxd, which has no tests"},
		{"noClocks", "b_test.go", pkg + "import _ \"" + modulePath + "/" + timed + "\"\n", "b_test.go: imports " + timed},
		{"noClocks", "b_test.go", pkg + "import \"time\"\n\nvar b = time.Since\n", "b_test.go:5: time.Since: what judges"},
		{"noClocks", "b_test.go", pkg + "import \"time\"\n\nvar b = time.Now().Sub(a)\n", "b_test.go:5: Sub of time.Now"},
		{"noClocks", "b_test.go", pkg + "import \"time\"\n\nfunc b() {\n\tbegin := time.Now()\n\tc()\n\t_ = end.Sub(begin)\n}\n", "b_test.go:8: Sub of time.Now"},
		{"noClocks", "b_test.go", pkg + "func b(b *testing.B) { _ = b.Elapsed() }\n", "Elapsed"},
		{"noClocks", "internal/testkit/b/b.go", "package b\n\nimport \"time\"\n\nvar b = time.Since\n", "internal/testkit/b/b.go:5: time.Since"},
		{"noClocks", "internal/in/in_test.go", "package in\n\nimport (\n\t\"testing\"\n\t\"testing/synctest\"\n)\n\nvar _, _ = testing.AllocsPerRun, synctest.Test\n", "testing.AllocsPerRun"},
		{"nestedModules", "go.work", "go 1.26.0\n", "go.work"},
		{"nestedModules", "interop/go.mod", strings.Replace(nested, "=> ../", "=> ../../", 1), "does not lead"},
		{"nestedModules", "interop/go.mod", strings.Replace(nested, "replace", "// replace", 1), "does not lead"},
		{"nestedModules", "interop/go.mod", strings.Replace(nested, "/interop", "/other", 1), "want " + modulePath + "/interop"},
		{"noMachinePaths", "b.txt", "see /ho" + "me/ana/x\n", "b.txt:1"},
		{"noMachinePaths", "b.txt", "\n(/ro" + "ot/x)\n", "b.txt:2"},
		{"noMachinePaths", "b.txt", "in /src/checkout/x\n", "b.txt:1"},
		{"goodLinks", "b.md", "[x](docs/b.md)\n", "b.md:1: link to docs/b.md: there is no such file"},
		{"goodLinks", "docs/b.md", "\n[x](a.md#to-do)\n", "docs/b.md:2: link to a.md#to-do: there is no such heading"},
		{"goodLinks", "docs/b.md", "![x](../../a.png \"title\")\n", "no such file"},
		{"goodLinks", "b.md", "[x]: oxd/none.go\n", "no such file"},
		{"goodLinks", "b.md", "<img src=\"img/b.png\">\n", "no such file"},
		{"goodLinks", "b.md", "[x](/oxd)\n", "is absolute"},
	} {
		got := guards[c.guard](t, sampleTree(t, c.file, c.text))
		if len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s, %s holding %q:\ngot  %q\nwant one problem with %q", c.guard, c.file, c.text, got, c.want)
		}
	}
}

// names returns n exported names, one per line, each with a value.
func names(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("\tA" + strings.Repeat("a", i+1) + " = 1\n")
	}
	return b.String()
}

// TestGoldenDifferences: what was removed, added and moved.
func TestGoldenDifferences(t *testing.T) {
	for _, c := range []struct {
		text string
		got  []string
		want string
	}{
		{"a\nb\n", []string{"a", "b"}, ""},
		{"a\nb\n", []string{"a"}, "gone, but in g: b"},
		{"a\n", []string{"a", "b"}, "new, not in g: b"},
		{"b\na\n", []string{"a", "b"}, "g has the right lines in the wrong order, or twice"},
		{"a\na\n", []string{"a"}, "g has the right lines in the wrong order, or twice"},
	} {
		if got := strings.Join(differences("g", c.text, c.got), "; "); got != c.want {
			t.Errorf("%q against %q: got %q, want %q", c.text, c.got, got, c.want)
		}
	}
}

// TestSurface prints every kind of declaration on one line.
func TestSurface(t *testing.T) {
	const src = `package gatehouse

type (
	S[K comparable, V any] struct {
		A, B int
		F    func(a, b string) (n int, err error) ` + "`json:\"f\"`" + `
		hidden int
		*E
	}
	I interface {
		M(ctx context.Context)
		private()
		scs.CtxStore
	}
	L = S[int, string]
	D func(http.Handler) http.Handler
	e struct{ X int }
)

const (
	C0 Kind = iota + 1
	C1
	c2
	Code = "x"
)

var V, W = errors.New("secret"), T{1}
var N int

func F[T any](a, b int, opts ...T) (ok bool) { return }
func (s *S[K, V]) M() {}
func (e) Hidden()     {}
func f()              {}
`
	want := []string{
		`const C0 Kind = iota + 1 (iota 0)`,
		`const C1 Kind = iota + 1 (iota 1)`,
		`const Code = "x"`,
		`func F[T any](int, int, ...T) bool`,
		`method (*S[K, V]) M()`,
		`type D func(http.Handler) http.Handler`,
		`type I interface`,
		`type I interface, M(context.Context)`,
		`type I interface, embedded scs.CtxStore`,
		`type I interface, unexported methods`,
		`type L = S[int, string]`,
		`type S[K comparable, V any] struct`,
		`type S[K comparable, V any] struct, A int`,
		`type S[K comparable, V any] struct, B int`,
		"type S[K comparable, V any] struct, F func(string, string) (int, error) `json:\"f\"`",
		`type S[K comparable, V any] struct, embedded *E`,
		`type S[K comparable, V any] struct, unexported fields`,
		`var N int`,
		`var V = errors.New(…)`,
		`var W = T{…}`,
	}
	var got []string
	for _, line := range api(t, sampleTree(t, "api.go", src)) {
		if rest, ok := strings.CutPrefix(line, "pkg "+modulePath+", "); ok {
			got = append(got, rest)
		}
	}
	for _, problem := range differences("the surface", strings.Join(want, "\n"), got) {
		t.Error(problem)
	}
	if !slices.IsSorted(got) {
		t.Error("the lines are not sorted")
	}
}

// TestUpward finds what a lower room uses of a higher one: functions and
// methods, but not what is used downwards or within a room.
func TestUpward(t *testing.T) {
	const high = "package gatehouse\n\ntype T[P any] struct{ F int }\n\nfunc (T[P]) M() { Answer() }\n\nfunc up() {}\n"
	const low = "package gatehouse\n\nfunc low(t T[int]) {\n\tup, n := t.M, t.F\n\tup()\n\t_ = n\n\tAnswer()\n}\n"
	tr := sampleTree(t, "low.go", low)
	tr.fs.(fstest.MapFS)["go.go"].Data = []byte(high)
	order, problems := tr.rooms(t)
	got := tr.upward(t, order)
	if want := []string{"low.go -> go.go: T, T[P].M"}; len(problems) > 0 || !slices.Equal(got, want) {
		t.Errorf("got %q, %q, want %q", got, problems, want)
	}
}
