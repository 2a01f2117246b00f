package gatehouse

import (
	"net/http"
	"strings"
	"testing"
)

// findCookie finds what http.Request.Cookie finds.
func TestFindCookie(t *testing.T) {
	for _, lines := range [][]string{
		nil, {""}, {"a=1"}, {"b=1; a=2; a=3"}, {"b=1", "a=2"}, {" a = 1"}, {"a=\"1\""}, {"a"}, {"a="}, {"=1"}, {";;a=1;"},
		{"a=x y; a=2"}, {"a=\x01; a=2"}, {"a=b=c"}, {"A=1"}, {"\ta=1"}, {"a\x00=1; a=2"}, {"aa=1"}, {"a=,; a=2"}, {"a=\\; a=é"},
		{strings.Repeat("b=1; ", 2900) + "a=1"},
		{strings.Repeat("a=1; ", 2900)},
	} {
		r := &http.Request{Header: http.Header{"Cookie": lines}}
		want, wantErr := r.Cookie("a")
		got, gotErr := findCookie(r, "a")
		if wantErr != gotErr || (want != nil && (got.Name != want.Name || got.Value != want.Value)) {
			t.Errorf("%.60q: %v, %v; net/http says %v, %v", lines, got, gotErr, want, wantErr)
		}
	}
	flood := &http.Request{Header: http.Header{"Cookie": {strings.Repeat("b=1; ", maxCookies) + "a=1"}}}
	if got, err := findCookie(flood, "a"); err == nil {
		t.Errorf("found %v behind %d others", got, maxCookies)
	}
	many := &http.Request{Header: http.Header{"Cookie": {strings.Repeat("a=1; ", 2900)}}}
	if n := testing.AllocsPerRun(10, func() { _, _ = findCookie(many, "a") }); n > 12 {
		t.Errorf("%v allocations for many cookies of the name", n)
	}
}
