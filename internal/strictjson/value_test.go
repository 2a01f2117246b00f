package strictjson_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/gatehouse/internal/strictjson"
)

// members returns what Object finds, in order.
func members(in string) ([]string, error) {
	var found []string
	err := strictjson.Object([]byte(in), func(name string, v strictjson.Value) error {
		found = append(found, name+"="+string(v))
		return nil
	})
	return found, err
}

func TestObject(t *testing.T) {
	tests := []struct {
		in   string
		want []string
		err  error
	}{
		{`{}`, nil, nil},
		{" \t\r\n{ \"a\" : 1 , \"b\":[1, {\"a\":2} ] } ", []string{"a=1", `b=[1, {"a":2} ]`}, nil},
		{`{"a":{"a":{"b":1}},"b":null}`, []string{`a={"a":{"b":1}}`, "b=null"}, nil},
		{`{"\u0061\"":"x\ny"}`, []string{`a"="x\ny"`}, nil},
		{`{"A":1}`, []string{"A=1"}, nil}, // as written, not folded
		{`[{"a":1}]`, nil, strictjson.ErrType},
		{`"x"`, nil, strictjson.ErrType},
		{`null`, nil, strictjson.ErrType},
		{`{"a":1}{}`, []string{"a=1"}, strictjson.ErrSyntax},
		{`{"a":1,"b":{"c":1,"C":2}}`, []string{"a=1", `b={"c":1,"C":2}`}, nil},
		{`{"a":1,"a":2}`, []string{"a=1"}, strictjson.ErrDuplicate},
		{``, nil, strictjson.ErrSyntax},
	}
	for _, tt := range tests {
		got, err := members(tt.in)
		if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestObjectStops(t *testing.T) {
	calls, stop := 0, errors.New("stop")
	err := strictjson.Object([]byte(`{"a":1,"b":2}`), func(string, strictjson.Value) error { calls++; return stop })
	if calls != 1 || !errors.Is(err, stop) {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

// More names than the scanner keeps in its list, in one object and in many.
func TestManyNames(t *testing.T) {
	const n = 100
	var one, many strings.Builder
	for i := range n {
		fmt.Fprintf(&one, `"n%d":0,`, i)
		fmt.Fprintf(&many, `{"n":%d},`, i)
	}
	for i := range n {
		twice := fmt.Sprintf(`{%s"n%d":0}`, one.String(), i)
		if _, err := members(twice); !errors.Is(err, strictjson.ErrDuplicate) {
			t.Fatalf("the name %d is accepted twice: %v", i, err)
		}
	}
	got, err := members(`{` + one.String() + `"list":[` + strings.TrimSuffix(many.String(), ",") + `]}`)
	if err != nil || len(got) != n+1 {
		t.Errorf("%d members, %v", len(got), err)
	}
}

func TestValue(t *testing.T) {
	bad := []string(nil)
	tests := []struct {
		v      strictjson.Value
		text   string // "-" for none
		number float64
		texts  []string
	}{
		{`"x"`, "x", math.NaN(), []string{"x"}},
		{`""`, "", math.NaN(), []string{""}},
		{`"\u0041\n\ud83d\ude00\/"`, "A\n\U0001F600/", math.NaN(), []string{"A\n\U0001F600/"}},
		{`-12.5e1`, "-", -125, bad},
		{`0`, "-", 0, bad},
		{`1e400`, "-", math.NaN(), bad},
		{`null`, "-", math.NaN(), bad},
		{`true`, "-", math.NaN(), bad},
		{`{"a":1}`, "-", math.NaN(), bad},
		{`[]`, "-", math.NaN(), []string{}},
		{`[ "a" , "b\"" ]`, "-", math.NaN(), []string{"a", `b"`}},
		{`["a",null]`, "-", math.NaN(), bad},
		{`["a",["b"]]`, "-", math.NaN(), bad},
		{`[1]`, "-", math.NaN(), bad},
		{``, "-", math.NaN(), bad}, // the zero value
	}
	for _, tt := range tests {
		text, err := tt.v.Text()
		if tt.text == "-" != errors.Is(err, strictjson.ErrType) || err == nil && text != tt.text {
			t.Errorf("%s: text %q, %v", tt.v, text, err)
		}
		number, err := tt.v.Number()
		if math.IsNaN(tt.number) != errors.Is(err, strictjson.ErrType) || err == nil && number != tt.number {
			t.Errorf("%s: number %v, %v", tt.v, number, err)
		}
		texts, err := tt.v.Texts()
		if tt.texts == nil != errors.Is(err, strictjson.ErrType) || err == nil && !slices.Equal(texts, tt.texts) {
			t.Errorf("%s: texts %q, %v", tt.v, texts, err)
		}
		if tt.v.Null() != (tt.v == "null") || tt.v.Object() != strings.HasPrefix(string(tt.v), "{") {
			t.Errorf("%s: null %t, object %t", tt.v, tt.v.Null(), tt.v.Object())
		}
	}
}

// The scanner accepts exactly what the standard library accepts and this
// package's rules allow, and both read the same values.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0,0.5,1e-9,1E+9,01,1.,.5,-,+1,1e]}`, `{"a":"\u00zz"}`, `{"a":"\ud83d\ude00\q"}`, "{\"a\":\"\x01\"}", "{\"a\":\"\x7f\"}",
		`{"a":tru}`, `{"a":true,"b":false,"c":null}`, `{"a":nul`, `{"a" 1}`, `{"a":1 "b":2}`, `[1 2]`, `[1,]`, `{,}`, `{"a":1]`, "\x00",
		`{"aud":["a", "b"],"exp":17e8}`, `{"a":"é` + "\xc3" + `"}`, `{1:2}`, `"\`, `{"a":{}}`, `{"s":" \\","":[ ]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]strictjson.Value{}
		err := strictjson.Object(data, func(name string, v strictjson.Value) error { got[name] = v; return nil })
		if errors.Is(err, strictjson.ErrDuplicate) || errors.Is(err, strictjson.ErrDepth) {
			return // our own rules, which the library does not have
		}
		valid := stdjson.Valid(data) && utf8.Valid(data)
		if errors.Is(err, strictjson.ErrSyntax) == valid {
			t.Fatalf("%q: %v here, valid for the library: %t", data, err, valid)
		}
		if err != nil {
			return
		}
		var want map[string]stdjson.RawMessage
		if err := stdjson.Unmarshal(data, &want); err != nil || len(want) != len(got) {
			t.Fatalf("%q: %d members, %d for the library (%v)", data, len(got), len(want), err)
		}
		for name, v := range got {
			if !bytes.Equal(want[name], []byte(v)) {
				t.Fatalf("%q: %q is %q, %q for the library", data, name, v, want[name])
			}
			sameValue(t, v)
		}
	})
}

// sameValue checks that v returns what the standard library reads.
func sameValue(t *testing.T, v strictjson.Value) {
	t.Helper()
	var text *string
	if got, err := v.Text(); (stdjson.Unmarshal([]byte(v), &text) == nil && text != nil) != (err == nil) || err == nil && got != *text {
		t.Fatalf("%q: text %q, %v", v, got, err)
	}
	var number *float64
	if got, err := v.Number(); (stdjson.Unmarshal([]byte(v), &number) == nil && number != nil) != (err == nil) || err == nil && got != *number {
		t.Fatalf("%q: number %v, %v", v, got, err)
	}
	var list []string
	if got, err := v.Texts(); err == nil && !v.Null() && v[0] == '[' {
		if stdjson.Unmarshal([]byte(v), &list) != nil || !slices.Equal(got, list) {
			t.Fatalf("%q: texts %q", v, got)
		}
	}
}

// The log has to say which name an object repeats, and never a random value.
func TestRepeatedNameIsTold(t *testing.T) {
	read := func(name string) error {
		_, err := members(`{"a":{"` + name + `":1,"` + name + `":2}}`)
		return err
	}
	for name, told := range map[string]bool{
		"issuer": true, "resource_access": true, "http://schemas.openid.net/event/backchannel-logout": true, "x5t#S256": true, "Portal": true,
		"introspection_endpoint_auth_signing_alg_values_supported": true,
		"Splx10BeZQQYbYS6WxSbIA":                                   false, "SplxlOBeZQQYbYSXWxSbIA": false, "a b": false, "äöü": false, "": true, strings.Repeat("a", 81): false,
	} {
		err := read(name)
		if !errors.Is(err, strictjson.ErrDuplicate) || strings.Contains(err.Error(), strconv.Quote(name)) != told {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, secret := range []string{"opensesame", "sesame", "OpenSesame"} {
		if err := strictjson.Without(read("opensesame"), "", secret); !errors.Is(err, strictjson.ErrDuplicate) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v", err)
		}
	}
	if err := strictjson.Without(read("issuer"), "", "opensesame"); !strings.Contains(err.Error(), `"issuer"`) {
		t.Errorf("%v", err)
	}
	if err := strictjson.Without(strictjson.ErrType, "type"); err != strictjson.ErrType {
		t.Errorf("%v", err)
	}
}
