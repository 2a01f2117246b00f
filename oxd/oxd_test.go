package oxd_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/oxd"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

const (
	view = "http://photoz.example.com/dev/actions/view"
	add  = "http://photoz.example.com/dev/actions/add"
	all  = "http://photoz.example.com/dev/actions/all"
)

// TestOverview reads the document from oxd's overview in each form in which it
// could be passed, and makes every request that it mentions.
func TestOverview(t *testing.T) {
	command := string(read(t, "overview.json"))
	params := command[strings.Index(command, `"params": `)+len(`"params": `) : strings.LastIndex(command, "}")]
	list := params[strings.Index(params, "[") : strings.LastIndex(params, "]")+1]
	for form, doc := range map[string]string{
		"command": command, "params": params, "resources": `{"resources": ` + list + `}`, "array": list,
	} {
		t.Run(form, func(t *testing.T) {
			rules, notes, err := oxd.ParseProtection([]byte(doc), oxd.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"GET /document", "GET /photo", "POST /photo", "PUT /photo"}
			if got := slices.Sorted(maps.Keys(rules)); !slices.Equal(got, want) {
				t.Errorf("rules %q, want %q", got, want)
			}
			if got := strings.Contains(strings.Join(notes, "\n"), "oxd_id"); got != (form == "command" || form == "params") {
				t.Errorf("notes %q", notes)
			}
			wantOverview(t, rules)
		})
	}
}

func wantOverview(t *testing.T, rules gatehouse.Rules) {
	t.Helper()
	h, as := protect(t, rules)
	for _, c := range []struct {
		method, path, resource string
		scopes, ask            []string
	}{
		{"GET", "/photo", "[GET] /photo", []string{view}, []string{view}},
		{"HEAD", "/photo", "[GET] /photo", []string{view}, []string{view}},
		{"PUT", "/photo", "[PUT, POST] /photo", []string{all, add}, []string{add}},
		{"POST", "/photo", "[PUT, POST] /photo", []string{all, add}, []string{add}},
		{"GET", "/document", "[GET] /document", []string{view}, []string{view}},
	} {
		wantRule(t, h, as, c.method, c.path, c.resource, c.scopes, c.ask)
	}
	for _, c := range [][2]string{
		{"DELETE", "/photo"}, {"POST", "/document"}, {"GET", "/Photo"}, {"GET", "/photo/"}, {"GET", "/photo/1"},
		{"GET", "/photography"}, {"GET", "/"}, {"get", "/photo"}, {"OPTIONS", "/photo"}, {"GET", "/users/alice/album/photo"},
	} {
		if w := send(h, c[0], c[1], as.tokenFor("[GET] /photo", view, add, all)); w.Code != 403 || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s %s: %d, want 403 without a ticket", c[0], c[1], w.Code)
		}
	}
	if got := as.scopes["[PUT, POST] /photo"]; !slices.Equal(got, []string{all, add}) {
		t.Errorf("registered with %q", got)
	}
}

// wantRule makes requests without a token, with each scope, and with a foreign
// scope.
func wantRule(t *testing.T, h http.Handler, as *anAS, method, path, resource string, scopes, ask []string) {
	t.Helper()
	what := method + " " + path
	w := send(h, method, path, "")
	if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "UMA ") {
		t.Fatalf("%s without a token: %d %q", what, w.Code, w.Header())
	}
	if len(as.asked) != 1 || as.asked[0].ID != as.ids[resource] || !sameSet(as.asked[0].Scopes, ask) {
		t.Errorf("%s: asked for %v, want %q on %s of %v", what, as.asked, ask, resource, as.ids)
	}
	for _, s := range scopes {
		if w := send(h, method, path, as.tokenFor(resource, s)); w.Code != 200 {
			t.Errorf("%s with %q: %d", what, s, w.Code)
		}
		if w := send(h, method, path, as.tokenFor("", s)); w.Code != 401 {
			t.Errorf("%s with %q on another resource: %d", what, s, w.Code)
		}
	}
	if w := send(h, method, path, as.tokenFor(resource, "foreign "+strings.Join(scopes, ""))); w.Code != 401 {
		t.Errorf("%s with a foreign scope: %d", what, w.Code)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// TestSharedResource: a resource shared by one path gets the scopes of all its
// conditions.
func TestSharedResource(t *testing.T) {
	var calls []string
	rules, _, err := oxd.ParseProtection(read(t, "overview.json"), oxd.Options{
		Resource: func(path string, methods []string) gatehouse.Resource {
			calls = append(calls, path+" "+strings.Join(methods, " "))
			methods[0] = "changed" // without effect
			return gatehouse.Resource{Name: path, Type: "photos"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/photo GET", "/photo PUT POST", "/document GET"}; !slices.Equal(calls, want) {
		t.Errorf("asked for the resources of %q, want %q", calls, want)
	}
	h, as := protect(t, rules)
	wantRule(t, h, as, "GET", "/photo", "/photo", []string{view}, []string{view})
	wantRule(t, h, as, "PUT", "/photo", "/photo", []string{all, add}, []string{add})
	if got := as.scopes["/photo"]; !slices.Equal(got, []string{view, all, add}) {
		t.Errorf("registered with %q", got)
	}
}

// TestResourceByID: a resource given by its id at the authorization server is
// not registered.
func TestResourceByID(t *testing.T) {
	rules, _, err := oxd.ParseProtection([]byte(`[{"path":"/a/","conditions":[{"httpMethods":["GET"],"scopes":["x"]}]}]`), oxd.Options{
		Resource: func(string, []string) gatehouse.Resource { return gatehouse.Resource{ID: "r-7"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	h, as := protect(t, rules)
	if w := send(h, "GET", "/a/", ""); w.Code != 401 || len(as.ids) != 0 || as.asked[0].ID != "r-7" {
		t.Errorf("%d, registered %v, asked for %v", w.Code, as.ids, as.asked)
	}
	if w := send(h, "GET", "/a/b", ""); w.Code != 403 {
		t.Errorf("below the path: %d", w.Code)
	}
}

func TestNotes(t *testing.T) {
	const condition = `"conditions":[{"httpMethods":["GET","HEAD"],"scopes":["x"],"ticketScopes":[],"scope_expression":null}]`
	doc := `{"oxd_id":"s3cret-id","protection_access_token":"s3cret","overwrite":true,"resources":[
		{"path":"/","iat":1,"exp":2,` + condition + `},{"path":"/a*",` + condition + `}]}`
	_, notes, err := oxd.ParseProtection([]byte(doc), oxd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(notes, "\n")
	for _, want := range []string{
		"403", "not protected", "their case", "nothing below it", "exp and nbf",
		"oxd_id has no effect", "protection_access_token has no effect and is a secret", "overwrite has no effect",
		"resources[0].iat has", "resources[0].exp has", "resources[1].path the * stands",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no note contains %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "s3cret") || strings.Contains(text, "GET answers") {
		t.Errorf("notes:\n%s", text)
	}
	_, notes, err = oxd.ParseProtection([]byte(strings.ReplaceAll(doc, `,"HEAD"`, "")), oxd.Options{})
	if err != nil || !slices.ContainsFunc(notes, func(s string) bool { return strings.HasPrefix(s, "GET answers for HEAD too") }) {
		t.Errorf("%v: no note on HEAD in %q", err, notes)
	}
}

// TestProblems: each error names the place.
func TestProblems(t *testing.T) {
	resources := func(path, condition string) string {
		return fmt.Sprintf(`{"resources":[{"path":"/ok","conditions":[{"httpMethods":["GET"],"scopes":["x"]}]},{"path":%q,"conditions":[%s]}]}`, path, condition)
	}
	condition := func(c string) string { return resources("/a", c) }
	const good = `{"httpMethods":["GET"],"scopes":["x"]}`
	long := strings.Repeat("x", 501)
	for _, c := range []struct{ doc, want string }{
		{``, "line 1, byte 1: no JSON"},
		{"{\n  \"command\":\"uma_rs_protect\", <- REQUIRED\n}", "line 2, byte 31: no JSON; comments"},
		{`[] []`, "line 1, byte 4: no JSON"},
		{"[\"\xff\"]", "not one JSON value in UTF-8"},
		{`[1e999]`, "number out of range"},
		{strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested too deeply"},
		{`{"a":1,"a":1,"b":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "a: the member occurs twice"},
		{strings.Repeat(" ", 1<<20) + "[]", "more than 1048576 bytes"},
		{`"x"`, "the document: is a string, not an object"},
		{`{}`, "resources: is missing"},
		{`{"resources":null}`, "resources: is missing"},
		{`{"resources":{}}`, "resources: is an object, not an array"},
		{`{"resources":[]}`, "resources: the list of resources is empty"},
		{`{"command":"uma_rs_check_access","params":{"resources":[{}]}}`, `command: must be "uma_rs_protect"`},
		{`{"params":{"resources":[{}]}}`, `command: must be`},
		{`{"command":"uma_rs_protect"}`, "params: is missing"},
		{`{"command":"uma_rs_protect","params":{"oxd_id":7}}`, "params.oxd_id: is a number, not a string"},
		{`{"command":"uma_rs_protect","params":{}}`, "params.resources: is missing"},
		{`{"command":"uma_rs_protect","params":{},"resources":[]}`, "resources: does not belong beside"},
		{`{"overwrite":"yes"}`, "overwrite: is a string, not true or false"},
		{`{"Resources":[]}`, "Resources: is not known; known here: command"},
		{`{"a b":1}`, `"a b": is not known`},
		{`{"` + long + `":1}`, strings.Repeat("x", 100) + "…: is not known"},
		{`{"resources":[],"RESOURCES":[]}`, "RESOURCES: the member occurs twice"},
		{`{"resources":[{"path":"/a","path":"/b"}]}`, "resources[0].path: the member occurs twice"},
		{`[7]`, "[0]: is a number, not an object"},
		{`[{"conditions":[` + good + `]}]`, "[0]: path is missing"},
		{`[{"path":7,"conditions":[` + good + `]}]`, "[0].path: is a number"},
		{`[{"path":"/a"}]`, "[0]: conditions is missing"},
		{`[{"path":"/a","conditions":[]}]`, "[0].conditions: the list is empty"},
		{`[{"path":"/a","conditions":{}}]`, "[0].conditions: is an object, not an array"},
		{`[{"path":"/a","exp":"1","conditions":[` + good + `]}]`, "[0].exp: is a string, not a number"},
		{resources("photo", good), `resources[1].path: "photo" must begin with a slash`},
		{resources("", good), `resources[1].path: "" must begin`},
		{resources("/u/{id}", good), `resources[1].path: "/u/{id}" has braces`},
		{resources("/a?b=c", good), "has a query"},
		{resources("/a%20b", good), "percent sign"},
		{resources("/a;b", good), "has a character that is refused"},
		{resources(`/a\b`, good), "has a character that is refused"},
		{`[{"path":"/\u0000","conditions":[` + good + `]}]`, "has a character that is refused"},
		{`[{"path":"/\ud800","conditions":[` + good + `]}]`, "has a character that is refused"},
		{resources("/a/../b", good), "dot segment"},
		{resources("/a/.", good), "dot segment"},
		{resources("/a//b", good), "empty one"},
		{resources("//", good), "empty one"},
		{resources("/"+long, good), "longer than 500 bytes"},
		{condition(`{"scopes":["x"]}`), "resources[1].conditions[0]: httpMethods is missing"},
		{condition(`{"httpMethods":["GET"]}`), "resources[1].conditions[0]: scopes is missing"},
		{condition(`{"httpMethods":["GET"],"scopes":null}`), "resources[1].conditions[0]: scopes is missing"},
		{condition(`{"httpMethods":["GET"],"scopes":[]}`), "resources[1].conditions[0].scopes: the list is empty"},
		{condition(`{"httpMethods":["GET"],"scopes":["x",""]}`), "resources[1].conditions[0].scopes[1]: is empty"},
		{condition(`{"httpMethods":["GET"],"scopes":["x","y","x"]}`), `resources[1].conditions[0].scopes[2]: "x" occurs twice`},
		{condition(`{"httpMethods":["GET"],"scopes":["` + long + `"]}`), "longer than 500 bytes"},
		{condition(`{"httpMethods":["GET"],"scopes":[` + strings.Repeat(`"x",`, 100) + `"x"]}`), "more than 100 entries"},
		{condition(`{"httpMethods":"GET","scopes":["x"]}`), "resources[1].conditions[0].httpMethods: is a string, not an array"},
		{condition(`{"httpMethods":["GET","PUT",7],"scopes":["x"]}`), "resources[1].conditions[0].httpMethods[2]: is a number"},
		{condition(`{"httpMethods":["GET","put"],"scopes":["x"]}`), `resources[1].conditions[0].httpMethods[1]: "put" is not an HTTP method in capital letters`},
		{condition(`{"httpMethods":["GET /b"],"scopes":["x"]}`), "is not an HTTP method"},
		{condition(`{"httpMethods":["` + strings.Repeat("A", 300) + `","` + strings.Repeat("B", 300) + `"],"scopes":["x"]}`), "httpMethods: has more than 500 bytes"},
		{condition(good + `,` + good), "resources[1].conditions[1].httpMethods[0]: GET of this path stands at resources[1].conditions[0].httpMethods[0] already"},
		{resources("/ok", good), "resources[1].conditions[0].httpMethods[0]: GET of this path stands at resources[0].conditions[0].httpMethods[0] already"},
		{resources("/OK", good), "whatever their case"},
		{condition(`{"httpMethods":["GET","GET"],"scopes":["x"]}`), "httpMethods[1]: \"GET\" occurs twice"},
		{condition(`{"httpMethods":["GET"],"scopes":["x"],"ticketScopes":["x","y"]}`), `resources[1].conditions[0].ticketScopes[1]: "y" is none of the condition's scopes`},
		{condition(`{"httpMethods":["GET"],"scopes":["x"],"ticketScopes":"x"}`), "ticketScopes: is a string, not an array"},
		{condition(`{"httpMethods":["GET"],"scopes":["x"],"scope_expression":{"rule":{"and":[{"var":0}]},"data":["x"]}}`), "resources[1].conditions[0].scope_expression: scope_expression is not supported"},
		{condition(`{"httpMethods":["GET"],"scope_expression":{}}`), "scope_expression is not supported"},
		{condition(`{"httpMethods":["GET"],"scopes":["x"],"ticket_scopes":["x"]}`), "resources[1].conditions[0].ticket_scopes: is not known"},
	} {
		rules, notes, err := oxd.ParseProtection([]byte(c.doc), oxd.Options{})
		if err == nil || rules != nil || notes != nil || !strings.HasPrefix(err.Error(), "oxd: protection document: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200s:\nerror %v\nwant  %s", c.doc, err, c.want)
		}
	}
}

// TestAllProblemsAtOnce: one error lists all problems, up to a limit.
func TestAllProblemsAtOnce(t *testing.T) {
	_, _, err := oxd.ParseProtection(read(t, "wrong.json"), oxd.Options{})
	if err == nil {
		t.Fatal("no error")
	}
	want := string(read(t, "wrong.txt"))
	if got := err.Error() + "\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, _, err = oxd.ParseProtection([]byte("["+strings.Repeat("1,", 1000)+"1]"), oxd.Options{})
	if err == nil || strings.Count(err.Error(), "\n") != 20 || !strings.HasSuffix(err.Error(), "\nand 981 more") {
		t.Errorf("error %v", err)
	}
}
