package oxd_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/oxd"
)

// plainly is the document as the simplest reader sees it.
type plainly struct {
	Params    *plainly
	Resources []struct {
		Path       string
		Conditions []struct{ HTTPMethods, Scopes, TicketScopes []string }
	}
}

// FuzzParseProtection: no document causes a panic, and an accepted document
// becomes rules that decide as a simple reader of it would.
func FuzzParseProtection(f *testing.F) {
	f.Add(read(f, "overview.json"))
	f.Add(read(f, "wrong.json"))
	for _, s := range []string{
		`[{"path":"/","conditions":[{"httpMethods":["GET","HEAD"],"scopes":["a","b"],"ticketScopes":["b"]}]}]`,
		`[{"path":"/a/","conditions":[{"httpMethods":["PUT"],"scopes":["a"]}]},{"path":"/a","conditions":[{"httpMethods":["PUT"],"scopes":["b"]}]}]`,
		`{"overwrite":true,"resources":[{"path":"/é b/*:$(1)","iat":1,"exp":null,"conditions":[{"httpMethods":["CONNECT","OPTIONS"],"scopes":["a"],"ticketScopes":[]}]}]}`,
		`[{"path":"/\u00e9","conditions":[{"httpMethods":["X"],"scopes":["\ud800"],"scope_expression":null}]}]`,
		`[{"path":"/a","conditions":[{"httpMethods":["GET"],"scopes":["a"],"SCOPES":["b"]}]}]`,
		`{"command":"uma_rs_protect","params":{"resources":[{"path":"/%2e","conditions":[]}]}}`,
		`{"params":[`, `[[[[`, `null`, `{"resources":[{"path":"/{$}"},{"path":"/a//b"},{"path":"/../a"},{"path":"/a;b"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		rules, notes, err := oxd.ParseProtection(doc, oxd.Options{})
		if err != nil {
			if rules != nil || notes != nil || len(err.Error()) > 50_000 {
				t.Errorf("rules %v, notes %q beside an error of %d bytes", rules, notes, len(err.Error()))
			}
			return
		}
		wantAsRead(t, doc, rules)
	})
}

// wantAsRead compares the rules with what the simplest reader finds in the
// document.
func wantAsRead(t *testing.T, doc []byte, rules gatehouse.Rules) {
	t.Helper()
	var read plainly
	if err := json.Unmarshal(doc, &read); err != nil {
		if err := json.Unmarshal(doc, &read.Resources); err != nil {
			t.Fatalf("accepted, but not a document: %v", err)
		}
	}
	if read.Params != nil {
		read = *read.Params
	}
	h, as := protect(t, rules)
	said := 0
	for _, res := range read.Resources {
		for _, c := range res.Conditions {
			name := "[" + strings.Join(c.HTTPMethods, ", ") + "] " + res.Path
			ask := c.TicketScopes
			if len(ask) == 0 {
				ask = c.Scopes
			}
			for _, method := range c.HTTPMethods {
				said++
				wantRule(t, h, as, method, res.Path, name, c.Scopes, ask)
			}
			for _, method := range []string{"GET", "DELETE", "PROPFIND"} {
				if slices.Contains(c.HTTPMethods, method) || len(res.Conditions) > 1 || len(read.Resources) > 1 {
					continue
				}
				if w := send(h, method, res.Path, as.tokenFor(name, c.Scopes...)); w.Code != 403 {
					t.Errorf("%s %s, which is not in the document: %d", method, res.Path, w.Code)
				}
			}
			if w := send(h, c.HTTPMethods[0], strings.TrimSuffix(res.Path, "/")+"/below", as.tokenFor(name, c.Scopes...)); len(read.Resources) == 1 && w.Code != 403 {
				t.Errorf("below %s: %d", res.Path, w.Code)
			}
		}
	}
	if said != len(rules) {
		t.Errorf("%d rules, but the document has %d", len(rules), said)
	}
}
