package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var docs = filepath.Join("..", "..", "docs")

// The diagrams are drawn from the traces as they are.
func TestDiagramsAreDrawn(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(docs, "traces"), dir); err != nil {
		t.Fatal(err)
	}
	drawn, kept := images(t, dir), images(t, filepath.Join(docs, "img"))
	if !slices.Equal(drawn, kept) {
		t.Errorf("the traces give %q, docs/img has %q", drawn, kept)
	}
	for _, name := range drawn {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(docs, "img", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/img/%s is not what its trace tells: go run ./example/sequence", name)
		}
	}
}

func images(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "uma-*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i] = filepath.Base(name)
	}
	return names
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, dir); err == nil {
		t.Error("no traces: no error")
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(`{"titel":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, dir); err == nil || !strings.Contains(err.Error(), "x.json") {
		t.Errorf("what is no trace: error %v", err)
	}
}

// docs/uma.md shows each diagram, with a text for who cannot see it.
func TestDiagramsAreShown(t *testing.T) {
	text := guide(t)
	for _, name := range images(t, filepath.Join(docs, "img")) {
		if !regexp.MustCompile(`!\[[^\]]{20,}\]\(img/` + regexp.QuoteMeta(name) + `\)`).MatchString(text) {
			t.Errorf("docs/uma.md does not show %s with a text in its place", name)
		}
	}
}

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// The Go code of docs/uma.md is taken from code that is compiled and run: each
// block stands, line by line, in one file. A line of "…" leaves something out.
func TestSnippetsAreRealCode(t *testing.T) {
	sources := sourceLines(t)
	blocks := goBlock.FindAllStringSubmatch(guide(t), -1)
	if len(blocks) == 0 {
		t.Fatal("docs/uma.md has no code")
	}
	for _, block := range blocks {
		if lines := trimmed(block[1]); !slices.ContainsFunc(sources, func(source []string) bool { return follows(lines, source) }) {
			t.Errorf("no file has these lines in this order:\n%s", block[1])
		}
	}
}

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "uma.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sourceLines are the lines of the examples in the root and of the example.
func sourceLines(t *testing.T) [][]string {
	t.Helper()
	var out [][]string
	for _, pattern := range []string{"example*_test.go", "example/*.go", "example/photos/*.go", "example/printshop/*.go"} {
		names, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, trimmed(string(text)))
		}
	}
	return out
}

// trimmed gives the lines without their indentation and without empty ones.
func trimmed(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// follows reports whether the lines stand in the source together, but for
// lines of "…".
func follows(lines, source []string) bool {
	for begin := range source {
		at, gap := begin, false
		for i, line := range lines {
			if line == "…" {
				gap = true
				continue
			}
			if gap {
				rest := slices.Index(source[at:], line)
				if rest < 0 {
					break
				}
				at += rest
			}
			if at >= len(source) || source[at] != line {
				break
			}
			at, gap = at+1, false
			if i == len(lines)-1 {
				return true
			}
		}
	}
	return false
}
