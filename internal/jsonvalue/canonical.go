package jsonvalue

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Canonical returns a text of the JSON value raw that two values share exactly
// if they are equal: numbers by value, objects whatever the order of their
// members. It reports false for null, for a number beyond the bounds, and for
// what is no JSON, because they equal nothing.
func Canonical(raw json.RawMessage) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return "", false
	}
	var b strings.Builder
	if !canonical(&b, value) {
		return "", false
	}
	return b.String(), true
}

func canonical(b *strings.Builder, value any) bool {
	switch v := value.(type) {
	case json.Number:
		n, ok := parse(string(v))
		if n.negative {
			b.WriteByte('-')
		}
		b.WriteString(n.digits + "e" + strconv.Itoa(n.exponent))
		return ok
	case string:
		b.WriteString(strconv.Quote(v))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case []any:
		b.WriteByte('[')
		for _, e := range v {
			if !canonical(b, e) {
				return false
			}
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		b.WriteByte('{')
		for _, name := range names {
			b.WriteString(strconv.Quote(name) + ":")
			if !canonical(b, v[name]) {
				return false
			}
			b.WriteByte(',')
		}
		b.WriteByte('}')
	default: // null
		return false
	}
	return true
}
