package look_test

import (
	"errors"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/gatehouse"
	"example.com/gatehouse/example/internal/look"
)

func newLook(t *testing.T, c look.Config) *look.Look {
	t.Helper()
	l, err := look.New(c, fstest.MapFS{"pages/hello.html": {Data: []byte(`{{define "body"}}<h1>{{.Title}}</h1>{{end}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWrite(t *testing.T) {
	l := newLook(t, look.Config{
		Name: "Site", Theme: "photos", SignIn: "/in", SignOut: "/out", Home: "/", FormOrigins: []string{"http://id.test"},
		Aside: func(*http.Request) template.HTML { return "<h2 id=\"panel-title\">Beside</h2>" },
	})
	tests := []struct {
		user  string
		shown []string
	}{
		{"", []string{`href="/in"`, "Beside", "Skip to the panel"}},
		{"Ωmega", []string{`action="/out"`, ">Ω</span>", "Ωmega"}},
		{"<b>", []string{"&lt;b&gt;"}},
	}
	for _, test := range tests {
		w := httptest.NewRecorder()
		l.Write(w, httptest.NewRequest("GET", "/", nil), 200, "hello", look.Page{Title: "Hello", User: test.user})
		for _, want := range test.shown {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("user %q: no %q in %s", test.user, want, w.Body)
			}
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://id.test") {
			t.Errorf("Content-Security-Policy is %q", policy)
		}
	}
	w := httptest.NewRecorder()
	if l.Write(w, httptest.NewRequest("GET", "/", nil), 200, "unknown", look.Page{}); w.Code != 500 {
		t.Errorf("a page that is not there: %d", w.Code)
	}
}

func TestFailures(t *testing.T) {
	l := newLook(t, look.Config{Name: "Site", Home: "/"})
	e := &gatehouse.Error{Code: "store_unavailable", Status: 503, Message: "Not now.", ID: "ID77", Err: errors.New("dsn=secret")}
	tests := []struct {
		accept string
		err    error
		status int
		shown  []string
	}{
		{"text/html", e, 503, []string{"Not now.", "ID77", `href="/page?x=1"`}},
		{"application/json", e, 503, []string{`"error":"store_unavailable"`, `"id":"ID77"`}},
		{"text/html", errors.New("dsn=secret"), 500, []string{"on our side"}},
		{"text/html", &gatehouse.Error{Code: "x", Status: 404, Message: "No."}, 404, []string{"Nothing here"}},
	}
	for _, test := range tests {
		r := httptest.NewRequest("GET", "/page?x=1", nil)
		r.Header.Set("Accept", test.accept)
		w := httptest.NewRecorder()
		l.Fail(w, r, test.err)
		for _, want := range test.shown {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%v: no %q in %s", test.err, want, w.Body)
			}
		}
		if w.Code != test.status || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: %d %s", test.err, w.Code, w.Body)
		}
	}
}

func TestReachable(t *testing.T) {
	l := newLook(t, look.Config{Name: "Site", Home: "/"})
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, test := range []struct {
		check  func(*http.Request) error
		status int
	}{
		{nil, http.StatusTeapot},
		{func(*http.Request) error { return nil }, http.StatusTeapot},
		{func(*http.Request) error { return errors.New("down") }, http.StatusServiceUnavailable},
	} {
		w := httptest.NewRecorder()
		l.Reachable(test.check, next).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != test.status || (w.Code == 503 && w.Header().Get("Retry-After") == "") {
			t.Errorf("%d, Retry-After %q, want %d", w.Code, w.Header().Get("Retry-After"), test.status)
		}
	}
}
