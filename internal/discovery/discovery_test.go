package discovery_test

import (
	"encoding/json"
	"slices"
	"testing"

	"example.com/gatehouse/internal/discovery"
)

// document is a document with one member m, or none if the value is "".
func document(value string, rules discovery.Rules) *discovery.Document {
	members := map[string]json.RawMessage{}
	if value != "" {
		members["m"] = json.RawMessage(value)
	}
	return discovery.New(members, rules)
}

func wantDefect(t *testing.T, d *discovery.Document, want bool) {
	t.Helper()
	if got := slices.Contains(d.Defects().Names(), "m"); got != want {
		t.Errorf("defects %v, want one of m: %t", d.Defects(), want)
	}
}

func TestEndpoint(t *testing.T) {
	any, https, insecure := discovery.Rules{}, discovery.Rules{HTTPS: true}, discovery.Rules{InsecureHTTP: true}
	for _, c := range []struct {
		value  string
		rules  discovery.Rules
		want   string
		defect bool
	}{
		{`"https://op.test/x"`, https, "https://op.test/x", false},
		{`"https://op.test/x?y=1"`, https, "https://op.test/x?y=1", false},
		{`"http://127.0.0.1/x"`, any, "http://127.0.0.1/x", false},
		{`"http://127.0.0.1/x"`, https, "", true},
		{`"http://localhost/x"`, https, "", true},
		{`"http://op.test/x"`, any, "", true},
		{`"http://op.test/x"`, insecure, "http://op.test/x", false},
		{``, https, "", false},
		{`null`, https, "", false},
		{`""`, https, "", true},
		{`false`, https, "", true},
		{`true`, https, "", true},
		{`5`, https, "", true},
		{`["https://op.test/x"]`, https, "", true},
		{`{"x":1}`, https, "", true},
		{`"/x"`, https, "", true},
		{`"//op.test/x"`, https, "", true},
		{`"op.test/x"`, https, "", true},
		{`"javascript:alert(1)"`, https, "", true},
		{`"https://u:p@op.test/x"`, https, "", true},
		{`"https://op.test/x#y"`, https, "", true},
		{`"https:///x"`, https, "", true},
	} {
		d := document(c.value, c.rules)
		if got := d.Endpoint("m"); got != c.want {
			t.Errorf("%s with %+v: %q, want %q", c.value, c.rules, got, c.want)
		}
		wantDefect(t, d, c.defect)
	}
}

// At the inner origin what we call may be http on loopback, and what browsers open
// may not.
func TestInner(t *testing.T) {
	inner := discovery.Rules{HTTPS: true, Inner: "http://127.0.0.1:8080"}
	for _, c := range []struct {
		value      string
		rules      discovery.Rules
		call, page bool
	}{
		{"http://127.0.0.1:8080/token", inner, true, false},
		{"HTTP://127.0.0.1:8080/token", inner, true, false},
		{"http://127.0.0.1:8081/token", inner, false, false},
		{"http://localhost:8080/token", inner, false, false},
		{"http://127.0.0.1:8080/token", discovery.Rules{HTTPS: true}, false, false},
		{"http://op.test/token", discovery.Rules{HTTPS: true, Inner: "http://op.test"}, false, false}, // not on loopback
		{"http://op.test/token", discovery.Rules{HTTPS: true, InsecureHTTP: true, Inner: "http://op.test"}, true, false},
		{"https://op.test/token", inner, true, true},
		{"https://127.0.0.1:8080/token", inner, true, true},
	} {
		call, page := document(`"`+c.value+`"`, c.rules), document(`"`+c.value+`"`, c.rules)
		if got := call.Endpoint("m") != ""; got != c.call {
			t.Errorf("a call of %s with %+v is taken: %t", c.value, c.rules, got)
		}
		if got := page.Page("m") != ""; got != c.page {
			t.Errorf("a page at %s with %+v is taken: %t", c.value, c.rules, got)
		}
		wantDefect(t, call, !c.call)
		wantDefect(t, page, !c.page)
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		value  string
		want   []string
		defect bool
	}{
		{`["a","b"]`, []string{"a", "b"}, false},
		{`[]`, []string{}, false},
		{``, nil, false},
		{`null`, nil, false},
		{`"openid"`, nil, true},
		{`["a",1]`, nil, true},
		{`["a",null]`, nil, true},
		{`["a",["b"]]`, nil, true},
		{`false`, nil, true},
		{`{}`, nil, true},
		{`7`, nil, true},
	} {
		d := document(c.value, discovery.Rules{})
		if got := d.List("m"); !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %q, want %q", c.value, got, c.want)
		}
		wantDefect(t, d, c.defect)
	}
}

func TestText(t *testing.T) {
	for value, want := range map[string]string{`"x"`: "x", `""`: "", ``: "", `null`: ""} {
		d := document(value, discovery.Rules{})
		if got := d.Text("m"); got != want {
			t.Errorf("%s: %q", value, got)
		}
		wantDefect(t, d, false)
	}
	for _, value := range []string{`1`, `true`, `["x"]`, `{}`} {
		d := document(value, discovery.Rules{})
		if got := d.Text("m"); got != "" {
			t.Errorf("%s: %q", value, got)
		}
		wantDefect(t, d, true)
	}
}

func TestPromised(t *testing.T) {
	for value, want := range map[string]bool{``: false, `false`: false, ` false `: false, `true`: true, `"true"`: true, `"false"`: true, `0`: true, `null`: true, `[]`: true, `{}`: true} {
		if got := document(value, discovery.Rules{}).Promised("m"); got != want {
			t.Errorf("%q: %t, want %t", value, got, want)
		}
	}
}
