package introspection_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/introspection"
)

const (
	issuer = "https://as.example.org"
	noon   = introspection.Seconds(1777636800)
)

func read(t *testing.T, body string) *introspection.Facts {
	t.Helper()
	f, err := introspection.Read([]byte(body), issuer, []string{"photoz"}, introspection.Names{})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return f
}

// TestRead: what an answer says about the token itself.
func TestRead(t *testing.T) {
	const grants = `"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]`
	for body, want := range map[string]struct{ active, usable bool }{
		`{"active":true,` + grants + `}`:                                        {true, true},
		`{"active":true}`:                                                       {true, false}, // an ordinary access token
		`{"active":true,"permissions":[]}`:                                      {true, false},
		`{"active":false,` + grants + `}`:                                       {false, false},
		`{"active":"true",` + grants + `}`:                                      {false, false},
		`{"active":1,` + grants + `}`:                                           {false, false},
		`{` + grants + `}`:                                                      {false, false},
		`{"active":true,"iss":"https://as.example.org",` + grants + `}`:         {true, true},
		`{"active":true,"iss":"https://as.example.org/",` + grants + `}`:        {false, false},
		`{"active":true,"iss":null,` + grants + `}`:                             {true, true},
		`{"active":true,"aud":"photoz",` + grants + `}`:                         {true, true},
		`{"active":true,"aud":["other","photoz"],` + grants + `}`:               {true, true},
		`{"active":true,"aud":["other"],` + grants + `}`:                        {false, false},
		`{"active":true,"aud":"",` + grants + `}`:                               {false, false},
		`{"active":true,"aud":{"photoz":1},` + grants + `}`:                     {false, false},
		`{"active":true,"exp":1777636801,` + grants + `}`:                       {true, true},
		`{"active":true,"exp":1777636800,` + grants + `}`:                       {true, false},
		`{"active":true,"nbf":1777636800,` + grants + `}`:                       {true, true},
		`{"active":true,"nbf":1777636860,` + grants + `}`:                       {true, true}, // the leeway of ID Tokens
		`{"active":false,"Active":true,` + grants + `}`:                         {false, false},
		`{"active":true,"Active":false,` + grants + `}`:                         {true, true},
		`{"active":true,"nbf":1777636861,` + grants + `}`:                       {true, false},
		`{"active":true,"exp":"1777636801",` + grants + `}`:                     {false, false},
		`{"active":true,"exp":-1,` + grants + `}`:                               {false, false},
		`{"active":true,"exp":1e300,` + grants + `}`:                            {true, true},
		`{"active":true,"exp":null,"nbf":null,"aud":null,` + grants + `}`:       {true, true},
		`{"active":true,"client_id":7,"sub":["x"],"permissions":"all"}`:         {true, false},
		`{"active":true,"permissions":[{"resource_id":"r-1"}]}`:                 {true, false},
		`{"active":true,"permissions":[{"resource_scopes":["view"]}]}`:          {true, false},
		`{"active":true,"permissions":{"resource_id":"r-1","scopes":["view"]}}`: {true, false},
	} {
		f := read(t, body)
		if f.Active != want.active || f.Usable(noon) != want.usable {
			t.Errorf("%s: active %v, usable %v, want %v", body, f.Active, f.Usable(noon), want)
		}
	}
	for _, body := range []string{``, `null`, `true`, `[]`, `"active"`, `{"active":true`, `{"active":true} {}`, `{"active":false,"active":true}`,
		`{"active":true,"permissions":[{"resource_id":"r-1","resource_id":"r-2"}]}`} {
		if f, err := introspection.Read([]byte(body), issuer, nil, introspection.Names{}); !errors.Is(err, introspection.ErrMalformed) || f != nil {
			t.Errorf("%s: %v, %v", body, f, err)
		}
	}
}

// TestClaims: the claims say who the token is about, but not what else the
// owner has.
func TestClaims(t *testing.T) {
	f := read(t, `{"active":true,"sub":"ana","client_id":"printshop","email":"ana@example.org","permissions":[{"resource_id":"secret"}]}`)
	if f.Subject != "ana" || f.ClientID != "printshop" || string(f.Claims) != `{"client_id":"printshop","email":"ana@example.org","sub":"ana"}` {
		t.Errorf("%q %q %s", f.Subject, f.ClientID, f.Claims)
	}
}

// TestPermissions: each entry counts by itself, in the spellings that servers
// use.
func TestBoundTokens(t *testing.T) {
	key := strings.Repeat("A", 43)
	for answer, want := range map[string]string{
		`{"active":true}`:                                                 "free",
		`{"active":true,"cnf":null}`:                                      "free",
		`{"active":true,"cnf":{"jkt":"` + key + `"}}`:                     key,
		`{"active":true,"cnf":{"x5t#S256":"a"}}`:                          "unproven",
		`{"active":true,"cnf":{}}`:                                        "unproven",
		`{"active":true,"cnf":"a"}`:                                       "unproven",
		`{"active":true,"cnf":false}`:                                     "unproven",
		`{"active":true,"token_type":"DPoP","cnf":{"jkt":"` + key + `"}}`: key,
		`{"active":true,"token_type":"DPoP"}`:                             "unproven",
		`{"active":true,"typ":"dpop","cnf":null}`:                         "unproven",
		`{"active":true,"token_type":"Bearer"}`:                           "free",
		`{"active":true,"token_type":"DPoP","permissions":[]}`:            "refused",
		`{"active":false,"cnf":{"jkt":"` + key + `"}}`:                    "inactive",
		`{"active":true,"cnf":true,"permissions":[]}`:                     "refused",
		`{"active":true,"cnf":null,"permissions":[]}`:                     "permission token",
		`{"active":true,"cnf":{},"permissions":{"a":1}}`:                  "refused",
	} {
		f, got := read(t, answer), "free"
		switch {
		case f.Refused == introspection.Bound:
			got = "refused"
		case !f.Active:
			got = "inactive"
		case f.Access == nil:
			got = "permission token"
		case f.Access.Unproven != nil:
			got = "unproven"
		case f.Access.Thumbprint != "":
			got = f.Access.Thumbprint
		}
		if got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
		if want == "refused" && (f.Usable(noon) || !strings.Contains(f.Why(noon), "bound")) {
			t.Errorf("%s: %s", answer, f.Why(noon))
		}
	}
}

func TestPermissions(t *testing.T) {
	for entry, want := range map[string]string{
		`{"resource_id":"r-1","resource_scopes":["view","add"]}`:                           "view add",
		`{"resource_id":"r-1","resource_scopes":["view","view"]}`:                          "view",
		`{"rsid":"r-1","rsname":"album","scopes":["view"]}`:                                "view",
		`{"rsid":"r-1","resource_id":"r-1","scopes":["view"]}`:                             "view",
		`{"rsid":"r-2","resource_id":"r-1","scopes":["view"]}`:                             "",
		`{"resource_id":"r-1","resource_scopes":[{"name":"view"},{"id":"x"},7,null]}`:      "view",
		`{"resource_id":"r-1","resource_scopes":["view"],"scopes":["add"]}`:                "view",
		`{"resource_id":"r-1","resource_scopes":"view"}`:                                   "",
		`{"resource_id":"r-10","resource_scopes":["view"]}`:                                "",
		`{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636801}`:                "view",
		`{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636800}`:                "",
		`{"resource_id":"r-1","resource_scopes":["view"],"nbf":1777636861}`:                "",
		`{"resource_id":"r-1","resource_scopes":["view"],"exp":"soon"}`:                    "",
		`7,null,"r-1",[["view"]],{"resource_id":"r-1","resource_scopes":["view"]}`:         "view",
		`{"resource_id":"r-1","resource_scopes":["a"]},{"rsid":"r-1","scopes":["b","a"]}`:  "a b",
		`{"resource_id":"r-1","resource_scopes":["a"]},{"rsid":"r-2","scopes":["b","a"]}`:  "a",
		`{"resource_id":"","rsid":"r-1","resource_scopes":["view"],"exp":null,"nbf":null}`: "view",
	} {
		f := read(t, `{"active":true,"permissions":[`+entry+`]}`)
		granted, _ := f.Granted("r-1", noon)
		if got := strings.Join(granted, " "); got != want {
			t.Errorf("%s: granted %q, want %q", entry, got, want)
		}
		for _, scope := range []string{"view", "add", "a", "b", "x"} {
			if got, want := f.Holds("r-1", scope, noon), strings.Contains(" "+want+" ", " "+scope+" "); got != want {
				t.Errorf("%s: holds %q: %v", entry, scope, got)
			}
		}
	}
}

// TestGrantedUntil: the scopes count until the first of them, or the token,
// expires.
func TestGrantedUntil(t *testing.T) {
	const entries = `"permissions":[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636900},{"resource_id":"r-1","resource_scopes":["add"],"exp":1777636850},{"resource_id":"r-2","resource_scopes":["add"],"exp":1777636810}]`
	for exp, want := range map[string]introspection.Seconds{`1777637000`: noon + 50, `1777636820`: noon + 20, `null`: noon + 50} {
		if _, until := read(t, `{"active":true,"exp":`+exp+`,`+entries+`}`).Granted("r-1", noon); until != want {
			t.Errorf("exp %s: until %d, want %d", exp, until, want)
		}
	}
	_, until := read(t, `{"active":true}`).Granted("r-1", noon)
	if until != introspection.Never || !until.Time().IsZero() {
		t.Errorf("without any expiry: %d, %v", until, until.Time())
	}
	if at := (noon + 1).Time(); at.Unix() != int64(noon)+1 {
		t.Error(at)
	}
	far := read(t, `{"active":true,"exp":1e300}`).Expires.Time()
	if _, err := far.MarshalJSON(); err != nil || far.IsZero() {
		t.Errorf("%v cannot be written: %v", far, err)
	}
}

// TestGrantsAreBounded: an answer may hold very many scopes, in one entry or in
// many. Those beyond the limit give no permission, and those before it do.
func TestGrantsAreBounded(t *testing.T) {
	const maxGrants = 1000
	scopes := func(from, n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"s%d"`, from+i)
		}
		return strings.Join(all, ",")
	}
	one := fmt.Sprintf(`{"resource_id":"r","resource_scopes":[%s]}`, scopes(0, 36_000))
	var many []string
	for i := range 5_000 {
		many = append(many, fmt.Sprintf(`{"resource_id":"r","resource_scopes":[%s]}`, scopes(i, 1)))
	}
	for name, permissions := range map[string]string{"one entry": one, "many entries": strings.Join(many, ",")} {
		f := read(t, `{"active":true,"permissions":[`+permissions+`]}`)
		if len(f.Grants) != maxGrants {
			t.Errorf("%s: %d grants, want %d", name, len(f.Grants), maxGrants)
		}
		if !f.Holds("r", "s0", 0) || f.Holds("r", fmt.Sprint("s", maxGrants), 0) {
			t.Errorf("%s: the first scopes do not count, or later ones do", name)
		}
	}
	f := read(t, `{"active":true,"permissions":[{"resource_id":"r","resource_scopes":["a"]},`+one+`]}`)
	if len(f.Grants) > 2*maxGrants {
		t.Errorf("%d grants of two entries", len(f.Grants))
	}
}

// FuzzReadFacts: whatever a server answers, nothing panics, and a scope is held
// only if the answer, read by other means, says so.
func FuzzReadFacts(f *testing.F) {
	entries := []string{
		`[{"resource_id":"r-1","resource_scopes":["view"]}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636801,"nbf":1777636800,"iat":1777636800}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636799}]`,
		`[{"rsid":"r-1","rsname":"a","scopes":["view"],"resource_id":"r-1","resource_scopes":[{"name":"view"}]}]`,
		`[{"resource_id":"r-1","resource_scopes":[]},{"resource_id":"r-1"},7,null,"r-1",[["view"]]]`,
		`[{"resource_id":["r-1"],"resource_scopes":{"view":true}}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":1e300}]`,
		`[{"resource_id":"r-1","resource_scopes":["view"],"exp":-1}]`,
		`{"resource_id":"r-1","resource_scopes":["view"]}`, `null`, `"view"`, ``,
	}
	for _, e := range entries {
		f.Add([]byte(`{"active":true,"aud":["photoz"],"permissions":` + e + `}`))
		f.Add([]byte(`{"active":"true","iss":"x","exp":"1","permissions":` + e + `}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		facts, err := introspection.Read(body, issuer, []string{"photoz"}, introspection.Names{})
		if err != nil || !facts.Usable(noon) || !facts.Holds("r-1", "view", noon) {
			return
		}
		if granted, _ := facts.Granted("r-1", noon); len(granted) == 0 {
			t.Error("the scope is held, but not granted")
		}
		if !says(body, noon.Time()) {
			t.Errorf("a permission that the answer does not contain: %s", body)
		}
	})
}

// says reads the answer in the plainest way and looks for the permission.
func says(body []byte, now time.Time) bool {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil || all["active"] != true {
		return false
	}
	list, _ := all["permissions"].([]any)
	for _, one := range list {
		entry, _ := one.(map[string]any)
		if entry["resource_id"] != "r-1" && entry["rsid"] != "r-1" {
			continue
		}
		if exp, ok := entry["exp"].(float64); ok && exp <= float64(now.Unix()) {
			continue
		}
		for _, name := range []string{"resource_scopes", "scopes"} {
			scopes, _ := entry[name].([]any)
			for _, s := range scopes {
				object, _ := s.(map[string]any)
				if s == "view" || object["name"] == "view" {
					return true
				}
			}
		}
	}
	return false
}
