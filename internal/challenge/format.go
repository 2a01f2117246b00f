package challenge

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errPairs   = errors.New("challenge: parameters must be pairs of name and value")
	errScheme  = errors.New("challenge: the scheme is not a token")
	errControl = errors.New("challenge: a value holds a control character")
)

// Format writes one challenge with the given pairs of parameter names and
// values, in order, with all values quoted (RFC 9110 §11.2). It returns an
// error if a name is not a token or is repeated, or if a value has a control
// character: the other side could not read these back unchanged.
func Format(scheme string, params ...string) (string, error) {
	if len(params)%2 != 0 {
		return "", errPairs
	}
	if !isToken(scheme) {
		return "", errScheme
	}
	var b strings.Builder
	b.WriteString(scheme)
	for i := 0; i < len(params); i += 2 {
		name, value := params[i], params[i+1]
		if !isToken(name) {
			return "", fmt.Errorf("challenge: parameter name %q is not a token", name)
		}
		for j := 0; j < i; j += 2 {
			if strings.EqualFold(params[j], name) {
				return "", fmt.Errorf("challenge: parameter %q is repeated", name)
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		b.WriteString(name)
		b.WriteString(`="`)
		for k := range len(value) {
			c := value[k]
			if isControl(c) {
				return "", errControl
			}
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
	}
	return b.String(), nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// Printable reports whether s has only visible ASCII and spaces, so that it can
// go into a quoted string of a header (RFC 9110 §5.6.4) unchanged.
func Printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
