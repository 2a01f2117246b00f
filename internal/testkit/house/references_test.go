package house_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// referencesDoc explains the ids that no other document explains.
const referencesDoc = "docs/references.md"

// idDocs are the documents whose tables have a row for each id: the rules and
// cases, the behaviours of relying parties, and all others.
var idDocs = []string{threatsDoc, coverageDoc, referencesDoc}

var (
	// anID matches a rule, a case, a behaviour or a fact: R1, CB3, RP-D1, M13.
	// It does not match inside a word, a path or a quotation.
	anID     = regexp.MustCompile("(?:^|[^\\w\"'`/.%+#&=-])((?:RP-)?[A-Z]{1,2}[0-9]{1,2})\\b")
	idRange  = regexp.MustCompile(`\b((?:RP-)?[A-Z]+)([0-9]+) to ((?:RP-)?[A-Z]+)([0-9]+)\b`)
	decision = regexp.MustCompile(`\b[Dd]ecisions?\s+([0-9]+)\b`)
	// numbered matches a reference by word and number that no row can explain,
	// such as a defect or an issue of that number. Steps belong to a list
	// nearby, and items to a section, so those may be cited.
	numbered = regexp.MustCompile(`(?i)(?:\b(?:defect|bug|fault|issue|task|ticket|finding|lesson|gap|fact|problem|requirement|story|case|rule|behaviou?r|point|note|promise|question|audit|review)s?|\B#|\bno\.)\s*[0-9]+\b`)
	decided  = regexp.MustCompile(`(?m)^([0-9]+)\. \*\*`)
)

// noIDs are words that look like ids.
var noIDs = map[string]string{
	"B64": "the member b64 of a header (RFC 7797)",
}

// idsIn lists the ids in a text, including those between the ends of "M3 to
// M6".
func idsIn(text string) []string {
	var out []string
	for at := 0; ; {
		m := anID.FindStringSubmatchIndex(text[at:])
		if m == nil {
			break
		}
		if id := text[at+m[2] : at+m[3]]; noIDs[id] == "" && !strings.HasPrefix(text[at+m[3]:], "-") {
			out = append(out, id)
		}
		at += m[3]
	}
	for _, m := range idRange.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[2])
		last, _ := strconv.Atoi(m[4])
		for n := first + 1; n < last && m[1] == m[3]; n++ {
			out = append(out, m[1]+strconv.Itoa(n))
		}
	}
	return out
}

// A passage is a piece of text that may cite ids: a comment of Go code, or a
// line of a document without its code.
type passage struct {
	where, text string
	comment     bool
}

// passages returns every comment and every line of a document. The changelog is
// left out because it is about the past, and a row that explains an id does not
// cite it.
func (tr *tree) passages(t *testing.T) []passage {
	t.Helper()
	var out []passage
	for _, f := range tr.goFiles(t, all) {
		for _, group := range f.ast.Comments {
			text := strings.Join(strings.Fields(group.Text()), " ")
			out = append(out, passage{fmt.Sprintf("%s:%d", f.name, f.line(group.Pos())), text, true})
		}
	}
	for _, name := range tr.files {
		if !strings.HasSuffix(name, ".md") || name == "CHANGELOG.md" {
			continue
		}
		eachLine(tr.read(t, name), func(n int, line string) {
			if slices.Contains(idDocs, name) && strings.HasPrefix(line, "|") {
				_, line, _ = strings.Cut(line[1:], "|")
			}
			out = append(out, passage{fmt.Sprintf("%s:%d", name, n), codeSpan.ReplaceAllString(line, ""), false})
		})
	}
	return out
}

func TestReferences(t *testing.T) { hold(t, citations) }

// citations: every id that a comment or a document cites exists, a comment does
// not consist of an id, and docs/references.md explains no id that nobody
// cites.
func citations(t *testing.T, tr *tree) []string {
	var out []string
	explained := map[string]string{}
	for _, name := range idDocs {
		tables, problems := tr.docTables(t, name)
		if name == referencesDoc {
			out = append(out, problems...)
		}
		for _, table := range tables {
			for _, row := range table.rows {
				for _, id := range idsIn(row.cells[0]) {
					explained[id] = row.where
				}
			}
		}
	}
	decisions := map[string]bool{}
	if slices.Contains(tr.files, designDoc) {
		for _, m := range decided.FindAllStringSubmatch(tr.read(t, designDoc), -1) {
			decisions[m[1]] = true
		}
	}
	cited := map[string]bool{}
	for _, p := range tr.passages(t) {
		for _, m := range decision.FindAllStringSubmatch(p.text, -1) {
			if !decisions[m[1]] {
				out = append(out, fmt.Sprintf("%s: there is no decision %s in %s", p.where, m[1], designDoc))
			}
		}
		if m := numbered.FindString(p.text); m != "" && (p.comment || m[0] != '#') {
			out = append(out, fmt.Sprintf("%s: no row explains %q; say why instead", p.where, m))
		}
		ids := idsIn(p.text)
		for _, id := range ids {
			if cited[id] = true; explained[id] == "" {
				out = append(out, fmt.Sprintf("%s: %s has no row in %s", p.where, id, strings.Join(idDocs, ", ")))
			}
		}
		if p.comment && len(ids) > 0 && saysNothing(p.text) {
			out = append(out, fmt.Sprintf("%s: say what %s means beside it", p.where, p.text))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(explained)) {
		if !cited[id] && strings.HasPrefix(explained[id], referencesDoc) {
			out = append(out, fmt.Sprintf("%s: nobody cites %s", explained[id], id))
		}
	}
	return out
}

// saysNothing reports whether a comment consists only of ids.
func saysNothing(text string) bool {
	return !slices.ContainsFunc(strings.Fields(text), func(word string) bool {
		word = strings.Trim(word, ",;.:()")
		return word != "" && word != "and" && word != "to" && len(idsIn(word)) == 0
	})
}
