package strictjson_test

import (
	"encoding/json"
	"slices"
	"testing"

	"example.com/gatehouse/internal/strictjson"
)

func TestRawStrings(t *testing.T) {
	for raw, want := range map[string]struct {
		one string
		all []string
	}{
		``:            {"", nil},
		`null`:        {"", nil},
		`7`:           {"", nil},
		`{"a":"b"}`:   {"", nil},
		`""`:          {"", nil},
		`"a"`:         {"a", []string{"a"}},
		`"\u0061"`:    {"a", []string{"a"}},
		`["a","b"]`:   {"", []string{"a", "b"}},
		`["a",7]`:     {"", nil},
		`["a",["b"]]`: {"", nil},
		`[]`:          {"", nil},
	} {
		if got := strictjson.String(json.RawMessage(raw)); got != want.one {
			t.Errorf("%s: %q", raw, got)
		}
		if got := strictjson.Strings(json.RawMessage(raw)); !slices.Equal(got, want.all) {
			t.Errorf("%s: %q", raw, got)
		}
	}
}
