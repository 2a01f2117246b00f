package servers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// A Violation is a rule of axe-core that a page breaks.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"` // minor, moderate, serious or critical
	Help   string `json:"help"`
	Nodes  []struct {
		HTML string `json:"html"`
		Why  string `json:"failureSummary"`
	} `json:"nodes"`
}

// Axe checks the accessibility of the page in the browser with all rules of
// axe-core, and returns what it found. Serious and critical violations fail the
// test.
func Axe(t testing.TB, browser *Chromium) []Violation {
	t.Helper()
	violations := axe(t, browser)
	for _, v := range violations {
		if v.Impact != "serious" && v.Impact != "critical" {
			continue
		}
		for _, node := range v.Nodes {
			t.Errorf("axe: %s: %s: %s: %s\n%s\n%s", browser.URL(), v.Impact, v.ID, v.Help, node.HTML, node.Why)
		}
	}
	return violations
}

func axe(t testing.TB, browser *Chromium) []Violation {
	t.Helper()
	dir, err := installDir()
	if err != nil {
		t.Fatalf("axe: %v", err)
	}
	node, err := installNode(t.Context(), dir)
	if err != nil {
		t.Fatalf("axe: %v", err)
	}
	source, err := os.ReadFile(filepath.Join(node, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("axe: %v", err)
	}
	// Through the debugger, so that the page's own script policy can be strict.
	browser.Run(t, "load axe-core", chromedp.Evaluate[chromedp.Void](string(source)+";undefined"))
	return Get(t, browser, "run axe-core",
		chromedp.Evaluate[[]Violation](`axe.run(document).then(result => result.violations)`, chromedp.EvalAwaitPromise))
}
