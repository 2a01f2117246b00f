package strictjson

import (
	"strconv"
	"strings"
)

// Object reads one JSON object by the rules of [Unmarshal], in one pass and
// without reflection, and calls member for each of its members, in their order.
// An error of member ends the reading and is returned. Another JSON value than
// an object is [ErrType].
//
// Rules can break after the last call of member: until Object has returned nil,
// nothing it gave is good.
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

// Value is the text of one JSON value, which [Object] has found valid.
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

// Text gives the value of a string. Any other value is [ErrType].
func (v Value) Text() (string, error) {
	if v.kind() != '"' {
		return "", ErrType
	}
	return unquote(string(v))
}

// Number gives the value of a number, rounded to what a float64 can hold. Any
// other value is [ErrType], and so is a number that is too large.
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

// Texts gives the values of an array of strings, or of one string alone. Any
// other value is [ErrType].
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
