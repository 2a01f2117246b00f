package strictjson_test

import (
	stdjson "encoding/json"
	"errors"
	"strings"
	"testing"

	"example.com/gatehouse/internal/strictjson"
)

func TestUnmarshal(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name string
		in   string
		want error
	}{
		{"object", `{"aud":"me","n":1,"list":[{"a":1},{"a":2}],"o":{"aud":"x"}}`, nil},
		{"same name as a value", `{"aud":"aud","b":"aud"}`, nil},
		{"space", " {\"aud\" : \"me\" } \r\n", nil},
		{"brackets in strings", `{"aud":"[[{{\"]","b":"\\"}`, nil},
		{"duplicate", `{"aud":"me","aud":"me"}`, strictjson.ErrDuplicate},
		{"duplicate by escape", `{"aud":"me","\u0061ud":"me"}`, strictjson.ErrDuplicate},
		{"duplicate by surrogates", `{"\ud800":1,"\ud801":1}`, strictjson.ErrDuplicate},
		{"other case", `{"aud":"me","AUD":7}`, nil},
		{"other case by escape", `{"aud":"me","\u0041ud":7}`, nil},
		{"other case in a nested map", `{"o":{"Portal":1,"portal":2}}`, nil},
		{"kelvin sign", `{"kid":"a","` + "\u212a" + `id":"b"}`, nil},
		{"long s", `{"sub":"a","` + "\u017f" + `ub":"b"}`, nil},
		{"duplicate after other case", `{"AUD":1,"aud":"me","AUD":2}`, strictjson.ErrDuplicate},
		{"duplicate in a nested map", `{"o":{"a":1,"a":2}}`, strictjson.ErrDuplicate},
		{"duplicate in an array", `{"list":[{"a":1,"a":2}]}`, strictjson.ErrDuplicate},
		{"duplicate in an unknown member", `{"other":{"x":{"a":1,"a":2}}}`, strictjson.ErrDuplicate},
		{"duplicate in a raw member", `{"raw":{"a":1,"a":2}}`, strictjson.ErrDuplicate},
		{"duplicate after a nested object", `{"a":{"b":1},"a":1}`, strictjson.ErrDuplicate},
		{"trailing value", `{} {}`, strictjson.ErrSyntax},
		{"trailing comma", `{"aud":"me",}`, strictjson.ErrSyntax},
		{"trailing bracket", `{}}`, strictjson.ErrSyntax},
		{"empty", ``, strictjson.ErrSyntax},
		{"open", `{"aud":"me"`, strictjson.ErrSyntax},
		{"open string", `{"aud`, strictjson.ErrSyntax},
		{"bad escape in a name", `{"\x":1}`, strictjson.ErrSyntax},
		{"comment", `{/**/}`, strictjson.ErrSyntax},
		{"not utf-8", "{\"aud\":\"\xff\"}", strictjson.ErrSyntax},
		{"byte order mark", "\ufeff{}", strictjson.ErrSyntax},
		{"deep", `{"list":` + nest(strictjson.MaxDepth-1) + `}`, nil},
		{"too deep", `{"list":` + nest(strictjson.MaxDepth) + `}`, strictjson.ErrDepth},
		{"far too deep", strings.Repeat("[", 1<<20), strictjson.ErrDepth},
		{"deep and unknown", `{"other":` + nest(1000) + `}`, strictjson.ErrDepth},
		{"wrong type", `{"aud":1}`, strictjson.ErrType},
		{"number too large", `{"n":1e300}`, strictjson.ErrType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var claims struct {
				Aud  string             `json:"aud"`
				N    int64              `json:"n"`
				List []any              `json:"list"`
				O    map[string]any     `json:"o"`
				Raw  stdjson.RawMessage `json:"raw"`
			}
			if err := strictjson.Unmarshal([]byte(tt.in), &claims); !errors.Is(err, tt.want) {
				t.Errorf("struct: error %v, want %v", err, tt.want)
			}
			if errors.Is(tt.want, strictjson.ErrType) {
				return // any value fits the rest
			}
			var m map[string]any
			if err := strictjson.Unmarshal([]byte(tt.in), &m); !errors.Is(err, tt.want) {
				t.Errorf("map: error %v, want %v", err, tt.want)
			}
			var raw stdjson.RawMessage
			if err := strictjson.Unmarshal([]byte(tt.in), &raw); !errors.Is(err, tt.want) {
				t.Errorf("raw message: error %v, want %v", err, tt.want)
			}
		})
	}
}

// M5: encoding/json would read AUD as aud.
func TestNamesAreExact(t *testing.T) {
	var v struct {
		Aud string `json:"aud"`
	}
	if err := strictjson.Unmarshal([]byte(`{"AUD":"me"}`), &v); err != nil || v.Aud != "" {
		t.Errorf("aud %q, error %v", v.Aud, err)
	}
	if err := strictjson.Unmarshal([]byte(`{"aud":"me"}`), &v); err != nil || v.Aud != "me" {
		t.Errorf("aud %q, error %v", v.Aud, err)
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	for _, in := range []string{`{"SECRET with blanks":1,"SECRET with blanks":2}`, `{"n":"SECRET"}`, `{"n":SECRET}`, `{"n":123456789e99}`} {
		var v struct {
			N int `json:"n"`
		}
		err := strictjson.Unmarshal([]byte(in), &v)
		if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "123") {
			t.Errorf("%s: error %v", in, err)
		}
	}
}

func TestBadTarget(t *testing.T) {
	for _, v := range []any{nil, struct{}{}, (*int)(nil)} {
		if err := strictjson.Unmarshal([]byte(`{}`), v); err == nil {
			t.Errorf("%T: no error", v)
		}
	}
}

// Whatever is accepted must be valid for the standard library too, and a field
// is what the member of exactly its name says.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{
		`{"aud":"me","sub":"u"}`, `{"aud":"other","AUD":"me"}`, `{"a":{"b":[1,{"c":null}]}}`,
		`{"\u212aid":1,"kid":2}`, `[[[[]]]]`, `"x"`, `{}x`, `{"aud":["a","b"],"sub":""}`, "\xff", `{"`, `"\`,
		`{"Sub":"x"}`, `{"a":1e999}`, `{"sub":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m any
		if strictjson.Unmarshal(data, &m) != nil {
			return
		}
		if !stdjson.Valid(data) {
			t.Fatalf("%q accepted, but not valid", data)
		}
		type sub struct {
			Sub string `json:"sub"`
		}
		var strict sub
		if strictjson.Unmarshal(data, &strict) != nil || strict.Sub == "" {
			return
		}
		var exact map[string]any
		if err := stdjson.Unmarshal(data, &exact); err != nil || exact["sub"] != strict.Sub {
			t.Fatalf("%q: %q here, %q in a map (%v)", data, strict.Sub, exact["sub"], err)
		}
	})
}
