package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "uma.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
