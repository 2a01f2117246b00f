package house_test

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestNoMachinePaths(t *testing.T) { hold(t, noMachinePaths) }

// noMachinePaths: nothing in the project names the machine it was written on.
func noMachinePaths(t *testing.T, tr *tree) []string {
	var out []string
	home := regexp.MustCompile(`(^|[^\w./-])(/(?:root|home/[a-z][\w.-]*|Users/[A-Za-z][\w.-]*)/|[A-Z]:\\Users\\)`)
	var own []string
	if strings.Count(tr.dir, string(filepath.Separator)) > 1 { // in a checkout in "/app" that word would match everywhere
		own = append(own, tr.dir+string(filepath.Separator))
	}
	if dir, err := os.UserHomeDir(); err == nil && strings.Count(dir, string(filepath.Separator)) > 1 {
		own = append(own, dir+string(filepath.Separator))
	}
	for _, name := range tr.files {
		text := tr.read(t, name)
		if bytes.IndexByte([]byte(text[:min(len(text), 8000)]), 0) >= 0 || name == "internal/testkit/house/text_test.go" {
			continue // a picture, or the patterns above
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			found := home.FindString(line)
			for _, dir := range own {
				if strings.Contains(line, dir) {
					found = dir
				}
			}
			if found != "" {
				out = append(out, fmt.Sprintf("%s:%d: names a directory of one machine: %s", name, n, strings.TrimSpace(found)))
			}
		}
	}
	return out
}

func TestLinks(t *testing.T) { hold(t, goodLinks) }

// goodLinks checks every relative link of every Markdown file, including its
// anchor.
func goodLinks(t *testing.T, tr *tree) []string {
	var out []string
	for _, name := range tr.files {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, link := range links(tr.read(t, name)) {
			if err := tr.follow(t, name, link.target); err != "" {
				out = append(out, fmt.Sprintf("%s:%d: link to %s: %s", name, link.line, link.target, err))
			}
		}
	}
	return out
}

type link struct {
	target string
	line   int
}

var (
	inlineLink = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	referenced = regexp.MustCompile(`^\s{0,3}\[[^\]^]+\]:\s+<?([^\s>]+)`)
	htmlLink   = regexp.MustCompile(`(?:src|href|srcset)="([^"\s]+)"`)
	codeSpan   = regexp.MustCompile("``[^`].*?``|`[^`]*`")
)

// links returns the link targets in a Markdown text, outside code.
func links(text string) []link {
	var out []link
	eachLine(text, func(n int, line string) {
		line = codeSpan.ReplaceAllString(line, "")
		for _, re := range []*regexp.Regexp{inlineLink, referenced, htmlLink} {
			for _, m := range re.FindAllStringSubmatch(line, -1) {
				out = append(out, link{m[1], n})
			}
		}
	})
	return out
}

// eachLine calls f for the lines outside fenced code.
func eachLine(text string, f func(n int, line string)) {
	n, fence := 0, ""
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimSpace(line)
		mark := trimmed[:len(trimmed)-len(strings.TrimLeft(trimmed, "`~"))]
		switch {
		case fence == "" && len(mark) >= 3:
			fence = mark
		case fence == "":
			f(n, strings.TrimRight(line, "\r\n"))
		case trimmed == mark && strings.HasPrefix(mark, fence):
			fence = ""
		}
	}
}

// follow returns what is wrong with a link from the file, or "".
func (tr *tree) follow(t *testing.T, from, target string) string {
	t.Helper()
	if regexp.MustCompile(`^(https?:|mailto:)`).MatchString(target) {
		return ""
	}
	file, anchor, hasAnchor := strings.Cut(target, "#")
	to := from
	if file != "" {
		if strings.HasPrefix(file, "/") {
			return "is absolute"
		}
		to = path.Join(path.Dir(from), file)
	}
	isFile := slices.Contains(tr.files, to)
	isDir := to == "." || slices.ContainsFunc(tr.files, func(f string) bool { return strings.HasPrefix(f, to+"/") })
	switch {
	case !isFile && !isDir:
		return "there is no such file"
	case hasAnchor && isFile && strings.HasSuffix(to, ".md") && !slices.Contains(anchors(tr.read(t, to)), anchor):
		return "there is no such heading"
	}
	return ""
}

var (
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	named   = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns the anchors that code hosts make from the headings of a
// Markdown text.
func anchors(text string) []string {
	var out []string
	seen := map[string]int{}
	eachLine(text, func(_ int, line string) {
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			out = append(out, m[1])
		}
		m := heading.FindStringSubmatch(line)
		if m == nil {
			return
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linked.ReplaceAllString(m[1], "$1"))
		if n := seen[slug]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", slug, n))
		} else {
			out = append(out, slug)
		}
		seen[slug]++
	})
	return out
}
