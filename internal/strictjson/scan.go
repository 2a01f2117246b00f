package strictjson

import (
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4/json"
)

// name is a member name within one object of the document.
type name struct {
	object int // ordinal of the object
	text   string
}

// scan walks over the strings and brackets of a document and checks depth and
// names. It does not check the grammar: for every valid document it sees all
// names, and the decoder refuses the rest afterwards.
//
// The decoder looks for duplicates only in what it decodes. It misses them
// inside unknown members and raw messages, and it has no bound on depth.
func scan(s string) error {
	var (
		seen    map[name]struct{}
		open    [MaxDepth]int // ordinals of the open objects, 0 for an array
		depth   int
		objects int
	)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			if depth == MaxDepth {
				return ErrDepth
			}
			open[depth] = 0
			if s[i] == '{' {
				objects++
				open[depth] = objects
			}
			depth++
		case '}', ']':
			if depth == 0 {
				return ErrSyntax
			}
			depth--
		case '"':
			end := stringEnd(s, i)
			if end < 0 {
				return ErrSyntax
			}
			lit := s[i : end+1]
			i = end
			if depth == 0 || open[depth-1] == 0 || !colonFollows(s, end+1) {
				continue
			}
			text, err := fold(lit)
			if err != nil {
				return err
			}
			n := name{open[depth-1], text}
			if _, dup := seen[n]; dup {
				return ErrDuplicate
			}
			if seen == nil {
				seen = make(map[name]struct{}, 16)
			}
			seen[n] = struct{}{}
		}
	}
	return nil
}

// stringEnd gives the index of the quote that ends the string begun at i, or -1.
func stringEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return -1
}

// colonFollows reports whether the next byte that is not white space is a
// colon, which in a valid document marks the string before it as a name.
func colonFollows(s string, i int) bool {
	rest := strings.TrimLeft(s[i:], " \t\r\n")
	return rest != "" && rest[0] == ':'
}

// fold gives the form of a name, a quoted literal, that all names share which
// encoding/json takes for equal.
func fold(lit string) (string, error) {
	text := lit[1 : len(lit)-1]
	if strings.Contains(text, `\`) {
		if json.Unmarshal([]byte(lit), &text) != nil {
			return "", ErrSyntax
		}
	}
	return strings.Map(foldRune, text), nil
}

func foldRune(r rune) rune {
	if r < 0x80 {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	// The smallest rune of the orbit stands for all of it; it can be ASCII:
	// U+212A KELVIN SIGN folds to k.
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < 0x80 {
		return foldRune(least)
	}
	return least
}
