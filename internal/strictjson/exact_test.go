package strictjson_test

import (
	stdjson "encoding/json"
	"reflect"
	"testing"
	"time"

	"example.com/gatehouse/internal/strictjson"
)

type base struct {
	Email string `json:"email"`
	Plain string
}

type home struct {
	City string `json:"city"`
}

type access struct {
	Roles []string `json:"roles"`
}

type claims struct {
	base
	home     `json:"home"`
	Name     string             `json:"name,omitempty"`
	N        stdjson.Number     `json:"n"`
	Raw      stdjson.RawMessage `json:"raw"`
	Born     time.Time          `json:"born"`
	Realm    *access            `json:"realm_access"`
	Resource map[string]access  `json:"resource_access"`
	List     []access           `json:"list"`
	Next     *claims            `json:"next"`
	Hidden   string             `json:"-"`
	own      string
}

// A field takes the member of exactly its name, at every depth, and else keeps
// what it has.
func TestDecodeIsExact(t *testing.T) {
	born := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]claims{
		`{"EMAIL":"x","email":"y","Email":"z"}`:                                         {base: base{Email: "y"}},
		`{"EMAIL":"x","NAME":"x","plain":"x","PLAIN":"x"}`:                              {},
		`{"Plain":"x","Name":"x","own":"x","Hidden":"x","hidden":"x","-":"d"}`:          {base: base{Plain: "x"}, own: ""},
		`{"n":9007199254740993,"N":1,"raw":{"A":1},"born":"2026-05-01T12:00:00Z"}`:      {N: "9007199254740993", Raw: stdjson.RawMessage(`{"A":1}`), Born: born},
		`{"realm_access":{"Roles":["x"],"roles":["y"]},"Realm_Access":{"roles":["z"]}}`: {Realm: &access{Roles: []string{"y"}}},
		`{"resource_access":{"Portal":{"ROLES":["x"]},"portal":{"roles":["y"]}}}`:       {Resource: map[string]access{"Portal": {}, "portal": {Roles: []string{"y"}}}},
		`{"list":[{"ROLES":["x"]},{"roles":["y"]}],"next":{"NAME":"x","next":null}}`:    {List: []access{{}, {Roles: []string{"y"}}}, Next: &claims{}},
	} {
		var got claims
		if err := strictjson.Decode([]byte(in), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	var inside any = &claims{}
	if err := strictjson.Decode([]byte(`{"NAME":"x","name":"y","home":{"CITY":"x","city":"Rome"}}`), &inside); err != nil || !reflect.DeepEqual(inside, &claims{Name: "y", home: home{"Rome"}}) {
		t.Errorf("behind an interface: %+v, %v", inside, err)
	}
	kept := claims{Name: "kept"}
	if err := strictjson.Decode([]byte(`{"NAME":"x"}`), &kept); err != nil || kept.Name != "kept" {
		t.Errorf("%+v, %v", kept, err)
	}
	var all map[string]any
	if err := strictjson.Decode([]byte(`{"A":1,"a":2}`), &all); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	var v struct{ N int }
	if err := strictjson.Decode([]byte(`{"N":"x"}`), &v); err == nil {
		t.Error("a value of the wrong type is accepted")
	}
	if err := strictjson.Decode([]byte(`{}`), nil); err == nil {
		t.Error("no target is accepted")
	}
}

type deep struct {
	X struct {
		A int `json:"a"`
	} `json:"x"`
}

type middle struct{ deep }

type shallow struct {
	X struct {
		B int `json:"b"`
	} `json:"x"`
}

type first struct {
	Same string `json:"same"`
	Twin string `json:"twin"`
}

type second struct {
	Same string `json:"same"`
	Twin string
}

type self []self

// A target of any shape: embedded structs of several depths, a name that two
// of them have, names that are no tags, and what an interface holds.
func TestDecodeIsExactInAnyShape(t *testing.T) {
	var outer struct {
		middle
		shallow
	}
	if err := strictjson.Decode([]byte(`{"x":{"b":4,"B":5,"a":3},"X":{"b":6}}`), &outer); err != nil || outer.shallow.X.B != 4 || outer.deep.X.A != 0 {
		t.Errorf("%+v, %v; want the outermost field", outer, err)
	}
	var both struct {
		*first
		second
		//lint:ignore SA5008 encoding/json does not take such a name, and neither does Decode
		Odd string `json:"o\"dd"`
		Two string `json:"two words"`
	}
	both.first = &first{}
	if err := strictjson.Decode([]byte(`{"same":"x","twin":"y","Twin":"z","Odd":"o","odd":"x","o\"dd":"x","two words":"w","Two":"x"}`), &both); err != nil ||
		both.first.Same+both.second.Same != "" || both.Odd != "o" || both.Two != "w" || both.first.Twin != "y" || both.second.Twin != "z" {
		t.Errorf("%+v %+v, %v", both, both.first, err)
	}
	held := &base{Email: "kept"}
	for name, into := range map[string]any{
		"field":   &struct{ P any }{held},
		"slice":   &[]any{held},
		"array":   &[1]any{held},
		"pointer": ptr[any](ptr[any](held)),
		"deeper":  &struct{ P any }{&[]any{held}},
		"map":     &map[string]any{"P": held},
	} {
		doc := `{"P":{"EMAIL":"x","Email":"y"}}`
		switch name {
		case "slice", "array":
			doc = `[{"EMAIL":"x","Email":"y"}]`
		case "pointer":
			doc = `{"EMAIL":"x","Email":"y"}`
		case "deeper":
			doc = `{"P":[{"EMAIL":"x","Email":"y"}]}`
		}
		if err := strictjson.Decode([]byte(doc), into); err != nil || held.Email != "kept" {
			t.Errorf("%s: %+v, %v", name, held, err)
		}
		held.Email = "kept"
	}
	var s self
	if err := strictjson.Decode([]byte(`[[],[[]]]`), &s); err != nil || len(s) != 2 {
		t.Errorf("%v, %v", s, err)
	}
	var nothing *claims
	if err := strictjson.Decode([]byte(`{}`), nothing); err == nil {
		t.Error("a nil pointer is accepted")
	}
}

func ptr[T any](v T) *T { return &v }
