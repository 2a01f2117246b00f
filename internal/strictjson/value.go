package strictjson

import (
	"strconv"
	"strings"
)

// Object reads one JSON object by the rules of [Unmarshal], in one pass and
// without reflection. It calls member for each member in order. An error of
// member ends the reading and is returned. For a JSON value other than an
// object it returns [ErrType].
//
// A violation may come after the last call of member: nothing may be trusted
// until Object has returned nil.
func Object(data []byte, member func(name string, v Value) error) error {
	d := scanner{lexer: lexer{s: string(data)}, member: member}
	if err := d.document(); err != nil {
		return err
	}
	if !Value(strings.TrimLeft(d.s, " \t\r\n")).Object() {
		return ErrType
	}
	return nil
}

// Value is the text of one JSON value that [Object] has found valid.
type Value string

// kind is the first byte.
func (v Value) kind() byte {
	if v == "" {
		return 0
	}
	return v[0]
}

// Null reports whether the value is null.
func (v Value) Null() bool { return v.kind() == 'n' }

// Object reports whether the value is an object.
func (v Value) Object() bool { return v.kind() == '{' }

// Text returns the value of a string. For any other value it returns [ErrType].
func (v Value) Text() (string, error) {
	if v.kind() != '"' {
		return "", ErrType
	}
	return unquote(string(v))
}

// Number returns the value of a number, rounded to a float64. For any other
// value, or a number that is too large, it returns [ErrType].
func (v Value) Number() (float64, error) {
	if c := v.kind(); c != '-' && !digit(c) {
		return 0, ErrType
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0, ErrType
	}
	return f, nil
}

// Texts returns the values of an array of strings, or of a single string. For
// any other value it returns [ErrType].
func (v Value) Texts() ([]string, error) {
	if v.kind() == '"' {
		text, err := v.Text()
		return []string{text}, err
	}
	l := lexer{s: string(v)}
	if !l.take('[') {
		return nil, ErrType
	}
	var texts []string
	for l.space(); !l.take(']'); l.space() {
		literal, err := l.text()
		if err != nil {
			return nil, ErrType
		}
		text, err := unquote(literal)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
		if l.space(); l.take(',') {
			l.space()
		}
	}
	return texts, nil
}
