package jsonvalue_test

import (
	"encoding/json"
	"strings"
	"testing"

	"example.com/gatehouse/internal/jsonvalue"
)

// Two values have one text exactly if they are equal.
func TestCanonical(t *testing.T) {
	seenText := map[string]string{}
	for _, same := range [][]string{
		{`"a"`, `"\u0061"`, ` "a" `}, {`1`, `1.0`, `10e-1`, `0.1e1`}, {`-1`, `-1.00`}, {`0`, `-0`, `0.0`}, {`true`}, {`false`}, {`"1"`}, {`"true"`}, {`""`},
		{`[1,"a"]`, `[ 1.0, "a" ]`}, {`["a",1]`}, {`[[1],"a"]`}, {`[]`}, {`{}`}, {`[[]]`}, {`{"a":1,"b":[true]}`, `{"b":[true],"a":1e0}`}, {`{"a":{"b":1}}`}, {`{"a":"b:1"}`},
		{`1e5`, `100000`}, {`"a\",\"b"`}, {`["a","b"]`}, {`["a\",\"b"]`},
	} {
		for _, raw := range same {
			text, ok := jsonvalue.Canonical(json.RawMessage(raw))
			first, _ := jsonvalue.Canonical(json.RawMessage(same[0]))
			if !ok || text != first {
				t.Errorf("%s is %q, and %s is %q", raw, text, same[0], first)
			}
			if before, taken := seenText[text]; taken && before != same[0] {
				t.Errorf("%s and %s are both %q", before, raw, text)
			}
			seenText[text] = same[0]
		}
	}
	for _, raw := range []string{`null`, `[null]`, `{"a":null}`, ``, `x`, `1e100`, strings.Repeat("1", 41)} {
		if text, ok := jsonvalue.Canonical(json.RawMessage(raw)); ok {
			t.Errorf("%s is %q", raw, text)
		}
	}
}
