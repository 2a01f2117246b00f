package uma_rs_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMADecision judges single introspection answers for the need view+print
// on r-1 at 2026-05-01T12:00:00Z, which is 1777636800.
func TestUMADecision(t *testing.T) {
	const now = 1777636800
	entry := func(rest string) string { return `{"active":true,"permissions":[` + rest + `]}` }
	both := `"resource_scopes":["view","print"]`
	cases := []struct {
		name, body string
		open       bool
	}{
		{"all scopes", entry(`{"resource_id":"r-1",` + both + `}`), true},
		{"more scopes", entry(`{"resource_id":"r-1","resource_scopes":["x","print","view"]}`), true},
		{"one of two scopes", entry(`{"resource_id":"r-1","resource_scopes":["view"]}`), false},
		{"UR9 halves in two live entries", entry(`{"resource_id":"r-1","resource_scopes":["view"]},{"resource_id":"r-1","resource_scopes":["print"]}`), true},
		{"UR9 the other half expired", entry(fmt.Sprintf(`{"resource_id":"r-1","resource_scopes":["view"]},{"resource_id":"r-1","resource_scopes":["print","view"],"exp":%d}`, now)), false},
		{"halves on two resources", entry(`{"resource_id":"r-1","resource_scopes":["view"]},{"resource_id":"r-2","resource_scopes":["print"]}`), false},
		{"other resource", entry(`{"resource_id":"r-2",` + both + `}`), false},
		{"id with a prefix", entry(`{"resource_id":"r-10",` + both + `}`), false},
		{"id in another case", entry(`{"resource_id":"R-1",` + both + `}`), false},
		{"scope in another case", entry(`{"resource_id":"r-1","resource_scopes":["View","Print"]}`), false},
		{"entry without scopes", entry(`{"resource_id":"r-1","resource_scopes":[]}`), false},
		{"entry with scopes missing", entry(`{"resource_id":"r-1"}`), false},
		{"scopes as one string", entry(`{"resource_id":"r-1","resource_scopes":"view print"}`), false},
		{"scope at the top only", `{"active":true,"scope":"view print","permissions":[{"resource_id":"r-1","resource_scopes":[]}]}`, false},
		{"entry lives", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"nbf":%d,"exp":%d}`, both, now, now+1)), true},
		{"entry expired this second", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"exp":%d}`, both, now)), false},
		{"entry begins in a minute, the leeway", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"nbf":%d}`, both, now+60)), true},
		{"entry begins a second later", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"nbf":%d}`, both, now+61)), false},
		{"entry with exp as a string", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"exp":"%d"}`, both, now+60)), false},
		{"entry with exp beyond all", entry(`{"resource_id":"r-1",` + both + `,"exp":1e300}`), true},
		{"token expired, entry not", fmt.Sprintf(`{"active":true,"exp":%d,"permissions":[{"resource_id":"r-1",%s,"exp":%d}]}`, now, both, now+60), false},
		{"token of a server a minute ahead", fmt.Sprintf(`{"active":true,"nbf":%d,"permissions":[{"resource_id":"r-1",%s,"nbf":%d}]}`, now+60, both, now+60), true},
		{"token not yet, entry already", fmt.Sprintf(`{"active":true,"nbf":%d,"permissions":[{"resource_id":"r-1",%s,"nbf":%d}]}`, now+61, both, now-60), false},
		{"token lives, entry expired", fmt.Sprintf(`{"active":true,"exp":%d,"permissions":[{"resource_id":"r-1",%s,"exp":%d}]}`, now+60, both, now-1), false},
		{"K17 no permissions", `{"active":true,"aud":["photoz","account"]}`, false},
		{"permissions null", `{"active":true,"permissions":null}`, false},
		{"permissions an object", `{"active":true,"permissions":{"resource_id":"r-1",` + both + `}}`, false},
		{"junk beside a good entry", entry(`7,null,"x",[],{"resource_id":5},{"resource_id":"r-1",` + both + `}`), true},
		{"K17 rsid and scopes", entry(`{"rsid":"r-1","scopes":["view","print"]}`), true},
		{"K17 both names", entry(`{"rsid":"r-1","rsname":"a","scopes":["view","print"],"resource_id":"r-1",` + both + `}`), true},
		{"two ids that differ", entry(`{"rsid":"r-2","resource_id":"r-1",` + both + `}`), false},
		{"K5 scopes as objects", entry(`{"resource_id":"r-1","resource_scopes":[{"name":"view","id":"1"},{"name":"print"}]}`), true},
		{"active false", `{"active":false,"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"IN1 active missing", `{"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"IN1 active a string", `{"active":"true","permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"IN1 active a number", `{"active":1,"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"our issuer", `{"active":true,"iss":"` + world.ScriptIssuer + `","permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"UR14 another issuer", `{"active":true,"iss":"https://as.example.org/","permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"issuer of another type", `{"active":true,"iss":7,"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"aud is our client", `{"active":true,"aud":"photoz","permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"aud holds our audience", `{"active":true,"aud":["x","https://api.example.org"],"permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"aud of another", `{"active":true,"aud":["x"],"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"aud empty", `{"active":true,"aud":[],"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("POST /look", 200, c.body)
			s.Says("POST /perm", 201, `{"ticket":"t1"}`)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}}).UMAProtect(one.AllOf("view", "print")))
			answer := world.Send(h, "GET", "/", "tok")
			if world.Served(answer) != c.open {
				t.Errorf("served %v, want %v: %d %s", world.Served(answer), c.open, answer.Code, answer.Body)
			}
			if !c.open && (answer.Code != 401 || !strings.Contains(answer.Header().Get("WWW-Authenticate"), `ticket="t1"`)) {
				t.Errorf("answer %d %q, want a new ticket", answer.Code, answer.Header())
			}
		})
	}
}

// TestUMAIntrospectionGarbage: an answer that is not an introspection answer
// decides nothing.
func TestUMAIntrospectionGarbage(t *testing.T) {
	good := `"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]`
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"empty":                   {200, ""},
		"not JSON":                {200, "active"},
		"an array":                {200, "[true]"},
		"null":                    {200, "null"},
		"active twice":            {200, `{"active":false,` + good + `}`},
		"an id twice in an entry": {200, `{"active":true,"permissions":[{"resource_id":"r-2","resource_id":"r-1","resource_scopes":["view"]}]}`},
		"more after the object":   {200, `{` + good + `}{}`},
		"status 302":              {302, `{` + good + `}`},
		"status 404":              {404, `{` + good + `}`},
		"status 201":              {201, `{` + good + `}`},
		"status 500":              {500, `{` + good + `}`},
		"permissions past 256 KB": {200, `{` + good + `,"x":"` + strings.Repeat("x", 256<<10) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("POST /look", c.status, c.body)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
			if answer := world.Send(h, "GET", "/", "tok"); c.status == 404 { // somebody has to mend the address
				world.WantMistake(t, answer, "endpoint_missing")
			} else {
				world.WantTrouble(t, answer)
			}
		})
	}
}

// TestUMAIntrospectionRequest tests IN8: POST, the token in the body, our
// client's authentication, and the PAT if the server wants that (Federated
// Authorization §5).
func TestUMAIntrospectionRequest(t *testing.T) {
	good := `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
	t.Run("client", func(t *testing.T) {
		s := world.NewScript(t)
		s.Mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
			// RFC 6749 §2.3.1: id and secret are form-urlencoded first.
			if id, secret, ok := r.BasicAuth(); !ok || id != "photoz" || secret != url.QueryEscape("photoz secret%") {
				t.Errorf("authenticated as %q, %v", id, ok)
			}
			fmt.Fprint(w, good)
		})
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		if answer := world.Send(h, "GET", "/", "t~o/k"); !world.Served(answer) {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		if got := s.Saw("POST /look"); len(got) != 1 || got[0] != "POST /look token=t~o%2Fk&token_type_hint=access_token" {
			t.Errorf("calls %q", got)
		}
	})
	t.Run("PAT", func(t *testing.T) {
		s := world.NewScript(t)
		s.Mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer pat1" {
				w.WriteHeader(401)
				return
			}
			fmt.Fprint(w, good)
		})
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		for i, token := range []string{"a", "b"} {
			if answer := world.Send(h, "GET", "/", token); !world.Served(answer) {
				t.Fatalf("%d %s", answer.Code, answer.Body)
			}
			// The first request costs one refusal. After that it is known what
			// this server wants.
			if n, want := len(s.Saw("POST /look")), []int{2, 3}[i]; n != want {
				t.Errorf("%d introspections after token %d, want %d", n, i+1, want)
			}
		}
	})
	t.Run("refused forever", func(t *testing.T) {
		s := world.NewScript(t)
		s.Says("POST /look", 401, `{"error":"invalid_client"}`)
		h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		world.WantMistake(t, world.Send(h, "GET", "/", "a"), "client_refused")
		if n := len(s.Saw("POST /look")); n > 3 {
			t.Errorf("%d introspections, want at most 3", n)
		}
	})
}

// TestIN1_ActiveMeansTrue: a token that the server does not clearly call active
// now is refused with a new ticket, and the handler does not run.
func TestIN1_ActiveMeansTrue(t *testing.T) {
	const now = 1777636800
	rest := `"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
	for body, open := range map[string]bool{
		`{"active":true,` + rest:                              true,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now+1) + rest: true,
		`{"active":false,` + rest:                             false,
		`{"active":false}`:                                    false,
		`{` + rest:                                            false,
		`{}`:                                                  false,
		`{"active":"true",` + rest:                            false,
		`{"active":1,` + rest:                                 false,
		`{"active":null,` + rest:                              false,
		`{"active":[true],` + rest:                            false,
		`{"Active":true,` + rest:                              false,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now) + rest:                 false,
		fmt.Sprintf(`{"active":true,"exp":%d,`, now-3600) + rest:            false,
		fmt.Sprintf(`{"active":true,"exp":"%d",`, now+3600) + rest:          false,
		fmt.Sprintf(`{"active":true,"nbf":%d,`, now+61) + rest:              false,
		fmt.Sprintf(`{"active":true,"nbf":%d,`, now+60) + rest:              true, // the leeway of ID Tokens
		`{"active":true,"exp":0,` + rest:                                    false,
		`{"active":true,"exp":-1,` + rest:                                   false,
		fmt.Sprintf(`{"active":true,"exp":%d.5,`, now-1) + rest:             false,
		`{"active":true,"exp":null,` + rest:                                 true, // the server did not say
		`{"active":true,"iss":"https://other.example.org",` + rest:          false,
		`{"active":true,"aud":["somebody else"],` + rest:                    false,
		fmt.Sprintf(`{"active":true,"iat":%d,`, now+86400) + rest:           true, // RFC 7662 §2.2 gives iat no such meaning
		`{"active":true,"scope":"view","token_type":"Bearer"}`:              false,
		`{"active":true,"permissions":{"r-1":["view"]}}`:                    false,
		`{"active":true,"scope":"view","permissions":[]}`:                   false,
		`{"active":true,"permissions":[{"resource_id":"r-1"}]}`:             false,
		`{"active":true,"permissions":[{"resource_scopes":["view"]` + `}]}`: false,
	} {
		s := world.NewScript(t)
		s.Says("POST /look", 200, body)
		s.Says("POST /perm", 201, `{"ticket":"t1"}`)
		answer := world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", "tok")
		if world.Served(answer) != open {
			t.Errorf("%s: %d %s", body, answer.Code, answer.Body)
		}
		if !open && (answer.Code != 401 || !strings.Contains(answer.Header().Get("WWW-Authenticate"), `ticket="t1"`)) {
			t.Errorf("%s: %d %v, want a ticket", body, answer.Code, answer.Header())
		}
	}
}

// TestIN8_IntrospectionWire: the form of the request, and that an unusable
// answer gives 503 after at most one renewal of the credentials.
func TestIN8_IntrospectionWire(t *testing.T) {
	const marker = "MARKER-of-the-body"
	page := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	good := `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}],"x":"` + marker + `"}`
	for name, answer := range map[string]http.HandlerFunc{
		"401":        page(401, "application/json", `{"error":"invalid_client","error_description":"`+marker+`"}`),
		"a page":     page(200, "text/html", "<html>"+marker),
		"2 MiB":      page(200, "application/json", strings.Repeat(" ", 2<<20)+good),
		"2 MiB more": page(200, "application/json", good+strings.Repeat(" ", 2<<20)),
		"500":        page(500, "application/json", good),
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			var alarm strings.Builder
			s.Mux.HandleFunc("/look", func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.PostFormValue("token") != "tok-secret" || r.Header.Get("Authorization") == "" {
					t.Errorf("%s %s, token in the body %v", r.Method, r.URL, r.PostFormValue("token") != "")
				}
				answer(w, r)
			})
			rs := s.ResourceServer(gatehouse.ResourceServerConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
				fmt.Fprintf(&alarm, "%+v", e.Err)
				w.WriteHeader(e.Status)
			}})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer tok-secret")
			w := httptest.NewRecorder()
			world.Photos(rs.UMAProtect(one.AllOf("view"))).ServeHTTP(w, r)
			if name == "401" {
				if w.Code != 503 || w.Header().Get("Retry-After") != "" || s.LastCode() != "client_refused" {
					t.Errorf("%d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), s.LastCode())
				}
			} else {
				world.WantTrouble(t, w)
			}
			if n := len(s.Saw("POST /look")); n > 3 {
				t.Errorf("%d introspections", n)
			}
			if n := len(s.Saw("POST /token")); n > 2 {
				t.Errorf("%d token requests, want the PAT and one renewal at most", n)
			}
			if alarm.Len() == 0 || strings.Contains(alarm.String(), marker) || strings.Contains(alarm.String(), "tok-secret") {
				t.Errorf("the alarm says %q", alarm.String())
			}
			for _, c := range s.Saw("") {
				if verb, rest, _ := strings.Cut(c, " "); strings.Contains(strings.SplitN(rest, " ", 2)[0], "tok-secret") {
					t.Errorf("%s: the token is in the address %s", verb, rest)
				}
			}
		})
	}
}
