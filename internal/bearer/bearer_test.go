package bearer_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse/internal/bearer"
)

// token reads the header the way the resource server does.
func token(h http.Header) (string, bool, error) {
	got, ok, err := bearer.Unchecked(h)
	if ok && !bearer.Valid(got) {
		return "", false, bearer.ErrMalformed
	}
	return got, ok, err
}

func TestToken(t *testing.T) {
	long := strings.Repeat("a", bearer.MaxToken)
	tests := []struct {
		name   string
		values []string
		token  string // empty: no token
		bad    bool
	}{
		{name: "none"},
		{name: "empty", values: []string{""}},
		{name: "basic", values: []string{"Basic QWxhZGRpbjpvcGVu"}},
		{name: "bearerish", values: []string{"Bearers abc"}},
		{name: "basic, then bearer in one line", values: []string{"Basic abc, Bearer def"}},
		{name: "good", values: []string{"Bearer mF_9.B5f-4.1JqM"}, token: "mF_9.B5f-4.1JqM"},
		{name: "JW12: lower case", values: []string{"bearer x"}, token: "x"},
		{name: "JW12: upper case", values: []string{"BEARER x"}, token: "x"},
		{name: "all characters", values: []string{"Bearer aZ09-._~+/=="}, token: "aZ09-._~+/=="},
		{name: "several spaces", values: []string{"Bearer   x"}, token: "x"},
		{name: "as long as allowed", values: []string{"Bearer " + long}, token: long},
		{name: "one longer", values: []string{"Bearer " + long + "a"}, bad: true},
		{name: "JW12: two headers", values: []string{"Bearer a", "Bearer b"}, bad: true},
		{name: "two headers of other schemes", values: []string{"Basic a", "Basic b"}, bad: true},
		{name: "two headers, one bearer", values: []string{"Basic a", "Bearer b"}, bad: true},
		{name: "JW12: two in one", values: []string{"Bearer a, Bearer b"}, bad: true},
		{name: "comma", values: []string{"Bearer a,b"}, bad: true},
		{name: "comma for a space", values: []string{"Bearer,a"}, bad: true},
		{name: "scheme alone", values: []string{"Bearer"}, bad: true},
		{name: "scheme and space", values: []string{"Bearer "}, bad: true},
		{name: "tab", values: []string{"Bearer\ta"}, bad: true},
		{name: "two words", values: []string{"Bearer a b"}, bad: true},
		{name: "space behind", values: []string{"Bearer a "}, bad: true},
		{name: "parameter", values: []string{`Bearer token="a"`}, bad: true},
		{name: "padding alone", values: []string{"Bearer =="}, bad: true},
		{name: "padding inside", values: []string{"Bearer a=b"}, bad: true},
		{name: "quoted", values: []string{`Bearer "a"`}, bad: true},
		{name: "NUL", values: []string{"Bearer a\x00"}, bad: true},
		{name: "not ASCII", values: []string{"Bearer \u00e9"}, bad: true},
		{name: "line break", values: []string{"Bearer a\r\nX: y"}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := token(http.Header{"Authorization": tt.values})
			if got != tt.token || ok != (tt.token != "") || errors.Is(err, bearer.ErrMalformed) != tt.bad || (err != nil) != tt.bad {
				t.Errorf("got %.40q, %v, %v", got, ok, err)
			}
		})
	}
}

// The reason is one that an operator can act on.
func TestMalformedSaysWhy(t *testing.T) {
	long := strings.Repeat("a", bearer.MaxToken+1)
	own := bearer.Source{Header: "X-Token"}
	for _, c := range []struct {
		source bearer.Source
		header http.Header
		want   string
	}{
		{bearer.Source{}, http.Header{"Authorization": {"Bearer a", ""}}, "several"},
		{bearer.Source{}, http.Header{"Authorization": {"Bearer"}}, "no token"},
		{bearer.Source{}, http.Header{"Authorization": {"Bearer  "}}, "no token"},
		{bearer.Source{}, http.Header{"Authorization": {"Bearer,a"}}, "character"},
		{bearer.Source{}, http.Header{"Authorization": {"Bearer " + long}}, "more than 16384 bytes"},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP"}}, "no token"},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP\ta"}}, "character"},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP " + long}}, "more than 16384 bytes"},
		{own, http.Header{"X-Token": {"a", "a"}}, "several"},
		{own, http.Header{"X-Token": {""}}, "no token"},
		{own, http.Header{"X-Token": {long}}, "more than 16384 bytes"},
	} {
		if _, _, err := c.source.Unchecked(c.header); err == nil || !errors.Is(err, bearer.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.header, err, c.want)
		}
	}
}

// A source says under which scheme a token came, because one under DPoP needs
// more.
func TestSource(t *testing.T) {
	long := strings.Repeat("a", bearer.MaxToken)
	own := bearer.Source{Schemes: []string{"token"}}
	for _, c := range []struct {
		source bearer.Source
		header http.Header
		token  string
		came   bearer.Scheme
		bad    bool
	}{
		{bearer.Source{}, http.Header{}, "", bearer.None, false},
		{bearer.Source{}, http.Header{"Authorization": {"Bearer x"}}, "x", bearer.Bearer, false},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP x"}}, "x", bearer.DPoP, false},
		{bearer.Source{}, http.Header{"Authorization": {"dpop  x"}}, "x", bearer.DPoP, false},
		{bearer.Source{}, http.Header{"Authorization": {"DPOP " + long}}, long, bearer.DPoP, false},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP " + long + "a"}}, "", bearer.None, true},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP"}}, "", bearer.None, true},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP\tx"}}, "", bearer.None, true},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP,x"}}, "", bearer.None, true},
		{bearer.Source{}, http.Header{"Authorization": {"DPoPs x"}}, "", bearer.None, false},
		{bearer.Source{}, http.Header{"Authorization": {"DPoP x", "DPoP x"}}, "", bearer.None, true},
		{bearer.Source{}, http.Header{"Authorization": {"token x"}}, "", bearer.None, false},
		{bearer.Source{}, http.Header{"Dpop": {"a.b.c"}}, "", bearer.None, false},
		{own, http.Header{"Authorization": {"Token x"}}, "x", bearer.Bearer, false},
		{own, http.Header{"Authorization": {"DPoP x"}}, "x", bearer.DPoP, false},
		{bearer.Source{Header: "X-Token"}, http.Header{"X-Token": {"x"}, "Authorization": {"DPoP y"}}, "x", bearer.Bearer, false},
		{bearer.Source{Header: "X-Token"}, http.Header{"Authorization": {"DPoP y"}}, "", bearer.None, false},
	} {
		got, came, err := c.source.Unchecked(c.header)
		if got != c.token || came != c.came || (err != nil) != c.bad || err != nil && !errors.Is(err, bearer.ErrMalformed) {
			t.Errorf("%.60q: %.20q, %d, %v", c.header, got, came, err)
		}
	}
	for value, want := range map[string]bool{"DPoP x": true, "dpop": true, "DPoP,": true, "DPoPs x": false, "Bearer x": false, "": false} {
		if got := bearer.IsDPoP(http.Header{"Authorization": {value}}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"Bearer x", "bearer  a.b.c==", "Basic eDp5", "Bearer", "Bearer a, Bearer b", "", "Bearer \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, ok, err := token(http.Header{"Authorization": {value}})
		if ok != (got != "") || ok && err != nil {
			t.Fatalf("%q: %q, %v, %v", value, got, ok, err)
		}
		if strings.ContainsAny(got, " ,\"\t\r\n;") || ok && !strings.HasSuffix(value, " "+got) {
			t.Fatalf("%q gives the token %q", value, got)
		}
	})
}
