package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// designDoc has the table of walls, the order of the root's rooms and the
// numbered decisions.
const designDoc = "docs/design.md"

func TestWalls(t *testing.T) { hold(t, walls) }

// walls checks the table headed "Room | What it is | Must not know" in
// docs/design.md. A package of the first column must not reach anything of the
// third, not even through other packages. `net/http` or `example.org/x` is an
// import path and everything below it, `internal/session` is one of our packages,
// `.` is the root, and a path that ends in /... means all packages below it.
// What follows the word "but" is exempt.
func walls(t *testing.T, tr *tree) []string {
	tables, out := tr.docTables(t, designDoc)
	graph := tr.graph(t)
	rows := 0
	for _, table := range tables {
		if table.column("Room") != 0 || table.column("Must not know") != 2 {
			continue
		}
		for _, row := range table.rows {
			rows++
			rooms, unknown := tr.readPackages(row.cells[0], graph)
			forbidden, more := tr.readPackages(row.cells[2], graph)
			for _, name := range append(unknown, more...) {
				out = append(out, fmt.Sprintf("%s: there is no package %s", row.where, name))
			}
			for _, room := range slices.Sorted(maps.Keys(graph)) {
				if !within(room, modulePath) || !rooms(room) {
					continue
				}
				if way := reach(graph, room, forbidden); way != nil {
					out = append(out, fmt.Sprintf("%s: %s must not know %s, but %s", row.where, ourName(room), ourName(way[len(way)-1]), strings.Join(way, " imports ")))
				}
			}
		}
	}
	if rows == 0 {
		out = append(out, designDoc+` has no table with the columns "Room", "What it is" and "Must not know"`)
	}
	return out
}

// readPackages reads a cell. It returns a filter for the packages that the cell
// names, and the names that match nothing in the graph.
func (tr *tree) readPackages(cell string, graph map[string][]string) (match func(imp string) bool, unknown []string) {
	named, exempt, _ := strings.Cut(cell, " but ")
	var in, out []func(imp string) bool
	for i, name := range slices.Concat(spans(named), spans(exempt)) {
		is := tr.packages(name)
		if i >= len(spans(named)) {
			out = append(out, is)
			continue
		}
		in = append(in, is)
		known := false
		for imp, imports := range graph {
			known = known || is(imp) || slices.ContainsFunc(imports, is)
		}
		if !known {
			unknown = append(unknown, name)
		}
	}
	any := func(list []func(string) bool, imp string) bool {
		return slices.ContainsFunc(list, func(is func(string) bool) bool { return is(imp) })
	}
	return func(imp string) bool { return any(in, imp) && !any(out, imp) }, unknown
}

// packages returns a filter for the meaning of a name in the document.
func (tr *tree) packages(name string) func(imp string) bool {
	first, _, _ := strings.Cut(name, "/")
	ours := first == "." || first == "internal" || slices.ContainsFunc(tr.files, func(f string) bool { return strings.HasPrefix(f, first+"/") })
	if !ours {
		return func(imp string) bool { return within(imp, name) }
	}
	base, below := strings.CutSuffix(name, "/...")
	full := path.Join(modulePath, base)
	return func(imp string) bool { return imp == full || below && within(imp, full) }
}

// ourName is the name of a package in messages.
func ourName(imp string) string {
	if imp == modulePath {
		return "the root"
	}
	return strings.TrimPrefix(imp, modulePath+"/")
}

// reach returns the shortest path from a package to one that it must not reach.
func reach(graph map[string][]string, from string, forbidden func(imp string) bool) []string {
	before := map[string]string{from: ""}
	for next := []string{from}; len(next) > 0; next = next[1:] {
		for _, imp := range graph[next[0]] {
			if _, seen := before[imp]; seen {
				continue
			}
			before[imp] = next[0]
			if forbidden(imp) {
				var way []string
				for at := imp; at != ""; at = before[at] {
					way = append(way, at)
				}
				slices.Reverse(way)
				return way
			}
			next = append(next, imp)
		}
	}
	return nil
}

// graph returns what each package of the root module imports outside tests, and
// what those import, down to the standard library.
func (tr *tree) graph(t *testing.T) map[string][]string {
	t.Helper()
	graph := map[string][]string{}
	for _, f := range tr.goFiles(t, tr.inRootModule()) {
		if !f.test {
			graph[importPath(f.name)] = append(graph[importPath(f.name)], imports(t, f)...)
		}
	}
	if !tr.real {
		return graph
	}
	for _, p := range goList(t, tr.dir, "-deps", "./...") {
		if !within(p.ImportPath, modulePath) { // ours are read from the source, for all systems
			graph[p.ImportPath] = p.Imports
		}
	}
	return graph
}

// A listed package is what the go command reports about it.
type listed struct {
	ImportPath string
	Imports    []string
	Export     string // file with the export data of the package
}

// goList runs the go command, which needs no network for packages that this
// test was compiled with.
func goList(t *testing.T, dir string, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Export"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
