package returntargets

import (
	"slices"
	"strings"
	"testing"
)

func TestAll(t *testing.T) {
	all := All()
	if len(all) < 1400 {
		t.Errorf("%d targets, want 1,400 at least", len(all))
	}
	seen := map[string]bool{}
	for _, target := range all {
		if seen[target] {
			t.Errorf("%q is there twice", target)
		}
		seen[target] = true
	}
	if !slices.Equal(all, All()) {
		t.Error("the second list differs")
	}
	t.Logf("%d targets", len(all))
	// One target for each shape that is known to have caused an open redirect.
	for _, target := range []string{
		"//evil.example", `/\evil.example`, `\/evil.example`, "/%2fevil.example", "/%5cevil.example", "%2f%5cevil.example", "/%252fevil.example", "/\t/evil.example", "/%09/evil.example", "/\n/evil.example",
		"/%0d%0a/evil.example", "/\u00a0/evil.example", "\ufeff//evil.example", "/\u2215evil.example", "//notes.test@evil.example", `https://google.fr\.notes.test`, "https://evil-notes.test", "/..//evil.example",
		"/\uff0e//evil.example", "//evil.example:80", "//[::1]", "hTtPs://evil.example", "javascript:alert(1)", "data:,x", "/#//evil.example", "/\r\nSet-Cookie: a=b", "https:evil.example", "",
	} {
		if !seen[target] {
			t.Errorf("%q is missing", target)
		}
	}
}

func TestSpellings(t *testing.T) {
	for target, want := range map[string]string{
		"/%2fevil": "/%2fevil %2F%252fevil //evil",
		"//evil":   "//evil %2F%2Fevil",
		"/%zz":     "/%zz %2F%25zz",
		"x":        "x",
	} {
		if got := strings.Join(Spellings(target), " "); got != want {
			t.Errorf("spellings of %q: %s, want %s", target, got, want)
		}
	}
}

// The oracle is checked with shapes that deceived other software.
func TestBrowserHost(t *testing.T) {
	for location, want := range map[string]string{
		"/notes": "notes.test", "": "notes.test", "?x=//y": "notes.test", "/a/../b": "notes.test",
		"//evil.example/x": "evil.example", `/\evil.example`: "evil.example", "/\t/evil.example": "evil.example", " //evil.example": "evil.example",
		"///evil.example": "evil.example", "//me@evil.example": "evil.example", "/..//evil.example": "evil.example", "/a/%2E%2e//evil.example": "evil.example",
		"https://evil.example": "(https)", "javascript:x": "(javascript)",
	} {
		if got := BrowserHost(location); got != want {
			t.Errorf("%q leads to %q, want %q", location, got, want)
		}
	}
}
