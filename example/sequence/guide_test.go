package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/uma.md shows each diagram, with a text for people who cannot see it.
func TestDiagramsAreShown(t *testing.T) {
	text := guide(t)
	for _, name := range images(t, filepath.Join(docs, "img")) {
		if !regexp.MustCompile(`!\[[^\]]{20,}\]\(img/` + regexp.QuoteMeta(name) + `\)`).MatchString(text) {
			t.Errorf("docs/uma.md does not show %s with a text in its place", name)
		}
	}
}

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// The Go code of docs/uma.md comes from code that is compiled and run: all
// lines of a block are in one file, in the same order. A line of "…" leaves
// something out.
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

// trimmed returns the lines without indentation and empty lines.
func trimmed(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// follows reports whether the lines appear in the source together, except for
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

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

// The recipe for Keycloak is part of the realm that the tests of interop use.
func TestRecipeIsTheTestedRealm(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "interop", "servers", "assets", "realm-gatehouse.json"))
	if err != nil {
		t.Fatal(err)
	}
	var realm any
	if err := json.Unmarshal(text, &realm); err != nil {
		t.Fatal(err)
	}
	blocks := jsonBlock.FindAllStringSubmatch(guide(t), -1)
	if len(blocks) == 0 {
		t.Fatal("docs/uma.md has no realm")
	}
	for _, block := range blocks {
		var recipe any
		if err := json.Unmarshal([]byte(block[1]), &recipe); err != nil {
			t.Fatalf("%v in:\n%s", err, block[1])
		}
		if !partOf(recipe, realm) {
			t.Errorf("the realm of the tests does not have all of this:\n%s", block[1])
		}
	}
}

// partOf reports whether all of a JSON value is in another one.
func partOf(part, whole any) bool {
	switch part := part.(type) {
	case map[string]any:
		members, ok := whole.(map[string]any)
		for name, value := range part {
			if has, there := members[name]; !there || !partOf(value, has) {
				return false
			}
		}
		return ok
	case []any:
		items, ok := whole.([]any)
		for _, value := range part {
			if !slices.ContainsFunc(items, func(item any) bool { return partOf(value, item) }) {
				return false
			}
		}
		return ok
	}
	return part == whole
}
