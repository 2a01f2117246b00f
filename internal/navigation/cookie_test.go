package navigation_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse/internal/navigation"
)

// Cookie finds what http.Request.Cookie finds, for values like ours.
func TestSentCookie(t *testing.T) {
	for _, lines := range [][]string{
		nil, {""}, {"a=1"}, {"b=1; a=2; a=3"}, {"b=1", "a=2"}, {" a=1"}, {"a="}, {"a"}, {"=1"}, {";;a=1;"}, {"a=b=c"}, {"A=1"},
		{"\ta=1 "}, {"aa=1"}, {"a=x.y_z-0"},
		{strings.Repeat("b=1; ", 2900) + "a=1"},
		{strings.Repeat("a=1; ", 2900)},
	} {
		r := &http.Request{Header: http.Header{"Cookie": lines}}
		want, err := r.Cookie("a")
		got, found := navigation.Cookie(r, "a")
		if found != (err == nil) || found && got != want.Value {
			t.Errorf("%.60q: %q, %v; net/http says %v, %v", lines, got, found, want, err)
		}
	}
	const maxCookies = 3000
	flood := &http.Request{Header: http.Header{"Cookie": {strings.Repeat("b=1; ", maxCookies) + "a=1"}}}
	if got, found := navigation.Cookie(flood, "a"); found {
		t.Errorf("found %q after %d others", got, maxCookies)
	}
}
