package house_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestQuotedCode(t *testing.T) { hold(t, quotedCode) }

// quoting are the documents that show only code that stands in a file, which
// the compiler, a browser or a test has seen.
var quoting = []string{"README.md", "docs/sign-in.md", "docs/uma.md", "docs/api.md", "docs/coming-from-go-raml.md", "docs/coming-from-oxd.md", "docs/coming-from-pyoidc.md", "docs/several-providers.md", "docs/registration.md", "redisstore/README.md", "pgstore/README.md", "sqlitestore/README.md"}

// quotedCode: each fenced block of code in these documents stands in a file of
// that language, in whole lines, indented or not. A line "…" leaves lines out.
func quotedCode(t *testing.T, tr *tree) []string {
	var out []string
	for _, doc := range quoting {
		if !slices.Contains(tr.files, doc) {
			continue
		}
		for _, b := range fenced(tr.read(t, doc)) {
			if b.language != "go" && b.language != "js" && b.language != "html" {
				continue
			}
			holds := func(name string) bool {
				return path.Ext(name) == "."+b.language && !outsideGo(name) && quotes(strings.Split(tr.read(t, name), "\n"), b.lines)
			}
			if len(b.lines) == 0 || !slices.ContainsFunc(tr.files, holds) {
				out = append(out, fmt.Sprintf("%s:%d: no .%s file has these lines", doc, b.line, b.language))
			}
		}
	}
	return out
}

// A block is a fenced block of a Markdown text.
type block struct {
	language string
	line     int // of the fence
	lines    []string
}

func fenced(text string) []block {
	var out []block
	inside := false
	for n, line := range strings.Split(text, "\n") {
		mark, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !inside:
			out, inside = append(out, block{language: mark, line: n + 1}), true
		case isFence:
			inside = false
		case inside:
			out[len(out)-1].lines = append(out[len(out)-1].lines, line)
		}
	}
	return out
}

// quotes reports whether the source has the lines, each part between two "…"
// without a gap, and the parts in their order.
func quotes(source, lines []string) bool {
	for _, part := range split(lines) {
		at := slices.IndexFunc(positions(len(source)-len(part)+1), func(i int) bool { return sameLines(source[i:i+len(part)], part) })
		if at < 0 {
			return false
		}
		source = source[at+len(part):]
	}
	return true
}

// split cuts lines at those that are only "…".
func split(lines []string) [][]string {
	parts := [][]string{nil}
	for _, line := range lines {
		if strings.TrimSpace(line) == "…" {
			parts = append(parts, nil)
			continue
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], line)
	}
	return parts
}

func positions(n int) []int {
	out := make([]int, max(n, 0))
	for i := range out {
		out[i] = i
	}
	return out
}

// sameLines compares lines of a source with a quotation, which may have lost
// the indentation that all its lines share.
func sameLines(source, quoted []string) bool {
	if len(quoted) == 0 {
		return true
	}
	indent, ok := strings.CutSuffix(source[0], quoted[0])
	if !ok || strings.Trim(indent, "\t ") != "" {
		return false
	}
	for i, line := range quoted {
		if source[i] != indent+line && (line != "" || source[i] != "") {
			return false
		}
	}
	return true
}
