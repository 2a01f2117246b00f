package jsonvalue_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"example.com/gatehouse/internal/jsonvalue"
)

type role string
type level int8

func TestAny(t *testing.T) {
	forty := strings.Repeat("9", 40)
	for _, c := range []struct {
		claim string
		value any
		want  bool
	}{
		{`"a"`, "a", true}, {`"a"`, role("a"), true}, {`"A"`, "a", false}, {`["b","a"]`, "a", true}, {`[["a"]]`, "a", false},
		{`true`, true, true}, {`"true"`, true, false}, {`true`, "true", false}, {`1`, true, false}, {`"1"`, 1, false}, {`1`, "1", false},
		{`null`, "", false}, {`[null]`, 0, false}, {`[]`, "a", false}, {`{}`, "a", false},
		{`7`, 7, true}, {`7`, int8(7), true}, {`7`, int16(7), true}, {`7`, int32(7), true}, {`7`, int64(7), true}, {`7`, level(7), true},
		{`7`, uint(7), true}, {`7`, uint8(7), true}, {`7`, uint16(7), true}, {`7`, uint32(7), true}, {`7`, uint64(7), true},
		{`7`, float32(7), true}, {`7`, 7.0, true}, {`7`, json.Number("7"), true}, {`7.0`, 7, true}, {`70e-1`, 7, true}, {`0.7E+1`, 7, true},
		{`7`, -7, false}, {`-7`, -7, true}, {`-0`, 0, true}, {`0.0e9`, 0, true}, {`0.1`, float32(0.1), true}, {`0.1`, 0.1, true}, {`0.2`, 0.1, false},
		{`9007199254740993`, int64(9007199254740993), true}, {`9007199254740993`, int64(9007199254740992), false},
		{`9007199254740993`, float64(9007199254740992), false}, {`9007199254740993`, json.Number("9007199254740992"), false},
		{`18446744073709551615`, uint64(math.MaxUint64), true}, {`-9223372036854775808`, int64(math.MinInt64), true}, {`1e21`, 1e21, true},
		{forty, json.Number(forty), true}, {forty + "9", json.Number(forty + "9"), false}, {"1" + strings.Repeat("0", 40), json.Number("1e40"), false},
		{`1e99`, 1e99, true}, {`1e100`, 1e100, false}, {`1e-100`, json.Number("1e-100"), false}, {`1e099`, 1e99, false},
		{`[[1,"a"]]`, []any{1, "a"}, true}, {`[[1,"a"]]`, []any{1}, false}, {`{"a":1}`, map[string]any{"a": 1.0}, true}, {`{"A":1}`, map[string]any{"a": 1}, false},
	} {
		v, err := jsonvalue.Of(c.value)
		if err != nil {
			t.Errorf("%T %v: %v", c.value, c.value, err)
			continue
		}
		if got := jsonvalue.Any(json.RawMessage(c.claim), []any{v}); got != c.want {
			t.Errorf("%s and %T %v: %v, want %v", c.claim, c.value, c.value, got, c.want)
		}
	}
}

func TestNeverEqual(t *testing.T) {
	n := 7
	for _, v := range []any{
		nil, &n, []string{"a"}, []int{1}, map[string]string{}, struct{}{}, func() {}, make(chan int), 1i, math.NaN(), math.Inf(1),
		json.Number(""), json.Number("x"), json.Number("true"), json.Number("1 "), json.Number("\n1"), json.Number("0x1"), json.Number("01"), json.Number("+1"), json.RawMessage("1"), []any{nil}, map[string]any{"a": &n},
	} {
		if _, err := jsonvalue.Of(v); err == nil {
			t.Errorf("%T is accepted", v)
		}
	}
}
