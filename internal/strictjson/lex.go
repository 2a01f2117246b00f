package strictjson

import "unicode/utf8"

// lexer reads the tokens of a document: strings, numbers, brackets.
type lexer struct {
	s string
	i int // the next byte
}

// text returns a string with its quotes, as it is written.
func (l *lexer) text() (string, error) {
	begin, ascii := l.i, true
	if !l.take('"') {
		return "", ErrSyntax
	}
	for l.i < len(l.s) {
		switch c := l.s[l.i]; {
		case c == '"':
			l.i++
			literal := l.s[begin:l.i]
			if !ascii && !utf8.ValidString(literal) { // RFC 8259 §8.1
				return "", ErrSyntax
			}
			return literal, nil
		case c == '\\':
			if !l.escape() {
				return "", ErrSyntax
			}
		case c < ' ':
			return "", ErrSyntax
		default:
			ascii = ascii && c < utf8.RuneSelf
			l.i++
		}
	}
	return "", ErrSyntax
}

// escape skips a backslash and the rest of its escape (RFC 8259 §7).
func (l *lexer) escape() bool {
	l.i++
	c := l.peek()
	l.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if !hex(l.peek()) {
				return false
			}
			l.i++
		}
		return true
	}
	return false
}

func hex(c byte) bool { return digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func digit(c byte) bool { return '0' <= c && c <= '9' }

// number skips a number (RFC 8259 §6).
func (l *lexer) number() error {
	l.take('-')
	if !l.take('0') && !l.digits() {
		return ErrSyntax
	}
	if l.take('.') && !l.digits() {
		return ErrSyntax
	}
	if l.take('e') || l.take('E') {
		if !l.take('+') {
			l.take('-')
		}
		if !l.digits() {
			return ErrSyntax
		}
	}
	return nil
}

// digits skips digits, and reports whether there were any.
func (l *lexer) digits() bool {
	begin := l.i
	for digit(l.peek()) {
		l.i++
	}
	return l.i > begin
}

func (l *lexer) word(w string) error {
	if len(l.s)-l.i < len(w) || l.s[l.i:l.i+len(w)] != w {
		return ErrSyntax
	}
	l.i += len(w)
	return nil
}

// peek returns the next byte. At the end it returns 0, which no document has
// outside a string.
func (l *lexer) peek() byte {
	if l.i < len(l.s) {
		return l.s[l.i]
	}
	return 0
}

// take skips the next byte if it is c.
func (l *lexer) take(c byte) bool {
	if l.peek() != c {
		return false
	}
	l.i++
	return true
}

func (l *lexer) space() {
	for l.i < len(l.s) {
		switch l.s[l.i] {
		case ' ', '\n', '\t', '\r':
			l.i++
		default:
			return
		}
	}
}
