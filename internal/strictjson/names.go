package strictjson

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
)

// name is a member name within one object of the document.
type name struct {
	object int // ordinal of the object
	text   string
}

// names is a set of names. The first few are compared one by one, which is
// faster than a map for the twenty or so names in a token.
type names struct {
	few  [32]name
	n    int
	many map[name]struct{} // those for which few has no room
}

// add adds n and reports whether it was new.
func (s *names) add(n name) bool {
	if slices.Contains(s.few[:s.n], n) {
		return false
	}
	if s.n < len(s.few) {
		s.few[s.n] = n
		s.n++
		return true
	}
	if _, twice := s.many[n]; twice {
		return false
	}
	if s.many == nil {
		s.many = make(map[name]struct{}, len(s.few))
	}
	s.many[n] = struct{}{}
	return true
}

// unquote returns the value of a valid string literal.
func unquote(lit string) (string, error) {
	text := lit[1 : len(lit)-1]
	if strings.IndexByte(text, '\\') < 0 {
		return text, nil
	}
	var unescaped string // a separate variable, so that only it goes to the heap
	if json.Unmarshal([]byte(lit), &unescaped) != nil {
		return "", ErrSyntax
	}
	return unescaped, nil
}

// Fold returns a form that is the same for all names that a reader without
// regard to case treats as equal, such as encoding/json. Only a caller that
// joins documents of different trust needs it.
func Fold(text string) string {
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return strings.Map(foldRune, text)
		}
	}
	return text
}

func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	// The smallest rune of the orbit stands for all of it. It may be ASCII:
	// U+212A KELVIN SIGN folds to k.
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf {
		return foldRune(least)
	}
	return least
}
