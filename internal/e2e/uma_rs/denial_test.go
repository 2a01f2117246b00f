package uma_rs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUMADenialSaysWhy: whoever reads the log learns why a token was denied,
// while the client gets the same challenge in each case.
func TestUMADenialSaysWhy(t *testing.T) {
	const now = 1777636800
	view := `"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]`
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprintf(`"s%d"`, i))
	}
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"inactive":        {`{"active":false}`, []string{"inactive", "not active"}},
		"issuer":          {`{"active":true,"iss":"https://other.example.org",` + view + `}`, []string{"issuer", "https://other.example.org"}},
		"audience":        {`{"active":true,"aud":["account"],` + view + `}`, []string{"audience", "account"}},
		"expired":         {fmt.Sprintf(`{"active":true,"exp":%d,%s}`, now-90, view), []string{"expired", "2026-05-01T11:58:30Z", "90 s ago"}},
		"not yet":         {fmt.Sprintf(`{"active":true,"nbf":%d,%s}`, now+90, view), []string{"2026-05-01T12:01:30Z", "in 90 s"}},
		"exp is no time":  {`{"active":true,"exp":"soon",` + view + `}`, []string{"inactive", "exp of the token"}},
		"nbf is no time":  {`{"active":true,"nbf":[],` + view + `}`, []string{"inactive", "nbf of the token"}},
		"bound to a key":  {`{"active":true,"cnf":{"jkt":"x"},` + view + `}`, []string{"bound", "cnf"}},
		"bound otherwise": {`{"active":true,"cnf":true,` + view + `}`, []string{"bound", "cnf"}},
		"no permissions":  {`{"active":true}`, []string{"no permissions"}},
		"one scope":       {`{"active":true,` + view + `}`, []string{"r-1", `"print" (missing)`}},
		"permission expired": {fmt.Sprintf(`{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view","print"],"exp":%d}]}`, now),
			[]string{`"view" (expired`, `"print" (expired`}},
		"another resource": {`{"active":true,"permissions":[{"resource_id":"r-2","resource_scopes":["view","print"]}]}`, []string{`"view" (missing)`}},
		"above 1000 scopes": {`{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view",` + strings.Join(many, ",") + `,"print"]}]}`,
			[]string{`"print"`, "1000 scopes"}},
		"above 1000 scopes in entries": {`{"active":true,"permissions":[{"resource_id":"r-2","resource_scopes":[` + strings.Join(many[:1000], ",") + `]},{"resource_id":"r-1","resource_scopes":["view","print"]}]}`,
			[]string{`"view"`, "1000 scopes"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("POST /look", 200, c.body)
			s.Says("POST /perm", 201, `{"ticket":"t1"}`)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view", "print")))
			answer := world.Send(h, "GET", "/", "tok")
			if answer.Code != 401 || answer.Header().Get("WWW-Authenticate") != `UMA realm="photoz", as_uri="https://as.example.org", ticket="t1"` {
				t.Errorf("%d %q", answer.Code, answer.Header())
			}
			events := s.Events()
			last := events[len(events)-1]
			if last.Name != gatehouse.EventDenial || last.Code != gatehouse.CodePermissionRequired || last.Err == nil {
				t.Fatalf("event %+v, want a denial with its reason", last)
			}
			for _, want := range c.want {
				if !strings.Contains(last.Err.Error(), want) {
					t.Errorf("the reason %q does not name %q", last.Err, want)
				}
				if strings.Contains(answer.Body.String(), want) {
					t.Errorf("the client is told %q: %s", want, answer.Body)
				}
			}
			if !strings.Contains(s.Log(), "gatehouse: denial") || strings.Contains(s.Log(), "tok\"") {
				t.Errorf("log: %s", s.Log())
			}
		})
	}
}

// TestUMAHugeIntrospectionIsNamed: an answer above the limit is refused with
// the limit in the log.
func TestUMAHugeIntrospectionIsNamed(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /look", 200, `{"active":true,"x":"`+strings.Repeat("x", 256<<10)+`"}`)
	world.WantTrouble(t, world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", "tok"))
	if s.LastCode() != "introspection_unavailable" || !strings.Contains(s.Log(), "larger than 256 KiB") {
		t.Errorf("%s: %s", s.LastCode(), s.Log())
	}
}

// TestUMARepeatedNameIsNamed: an answer that repeats a name decides nothing, and
// the log says which name, unless it is the token.
func TestUMARepeatedNameIsNamed(t *testing.T) {
	for _, c := range []struct{ pattern, body, token, want string }{
		{"POST /look", `{"active":true,"active":false}`, "tok", `"active"`},
		{"POST /look", `{"active":true,"permissions":[{"resource_id":"r-1","resource_id":"r-2"}]}`, "tok", `"resource_id"`},
		{"POST /look", `{"active":true,"my_token":1,"my_token":2}`, "my_token", "repeats a member name"},
		{"POST /perm", `{"ticket":"t1","ticket":"t2"}`, "", `"ticket"`},
	} {
		s := world.NewScript(t)
		s.Says(c.pattern, 200, c.body)
		answer := world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", c.token)
		log := strings.ReplaceAll(s.Log(), `\"`, `"`)
		if world.Served(answer) || !strings.Contains(log, c.want) || strings.Contains(log, "my_token") {
			t.Errorf("%s: the log lacks %s: %s", c.body, c.want, log)
		}
	}
}

// TestUMAEchoIsNotLogged: whatever member of an answer repeats the token, no line
// holds it, also if it could be an error code.
func TestUMAEchoIsNotLogged(t *testing.T) {
	for _, token := range []string{"canary_of_the_secret", "Canary-0123456789-abcdefgh"} {
		for _, c := range []struct {
			pattern string
			status  int
			body    string
		}{
			{"POST /look", 400, `{"error":"%s","error_description":"bad %s"}`},
			{"POST /look", 401, `{"error":"%s"}`}, // asked once more with the PAT
			{"POST /look", 200, `{"active":true,"iss":"%s"}`},
			{"POST /look", 200, `{"active":true,"aud":["x","%s"]}`},
			{"POST /look", 200, `{"active":"%s"}`},
			{"POST /look", 200, `{"%s":1,"%s":2}`},
			{"POST /look", 200, `%s`},
		} {
			s := world.NewScript(t)
			s.Says(c.pattern, c.status, strings.ReplaceAll(c.body, "%s", token))
			s.Says("POST /perm", 201, `{"ticket":"t1"}`)
			answer := world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", token)
			if world.Served(answer) || !strings.Contains(s.Log(), "code=") || strings.Contains(s.Log()+answer.Body.String(), token) {
				t.Errorf("%d %s: %s", c.status, c.body, s.Log())
			}
		}
	}
}

// TestUMAMistakes: what somebody has to mend at the authorization server, or in
// our registration there, has a code of its own in log and body, at ERROR and
// without Retry-After. The protocol's answer stays.
func TestUMAMistakes(t *testing.T) {
	type says struct {
		pattern string
		status  int
		body    string
	}
	for name, c := range map[string]struct {
		says  says
		token string
		code  string
		cause []string
	}{
		"introspection, wrong secret":   {says{"POST /look", 401, `{"error":"invalid_client"}`}, "tok", "client_refused", []string{"invalid_client", "https://as.example.org/look"}},
		"introspection, not for us":     {says{"POST /look", 403, ``}, "tok", "client_refused", []string{"403", "/look"}},
		"introspection, nothing there":  {says{"POST /look", 404, `<html>`}, "tok", "endpoint_missing", []string{"404", "/look"}},
		"introspection, another method": {says{"POST /look", 405, ``}, "tok", "endpoint_missing", []string{"405"}},
		"permission, wrong PAT scope":   {says{"POST /perm", 403, `{"error":"invalid_scope"}`}, "", "ticket_misconfigured", []string{"client_refused", "invalid_scope", "/perm, with a bearer token"}},
		"permission, PAT refused":       {says{"POST /perm", 401, `{"error":"invalid_token"}`}, "", "ticket_misconfigured", []string{"client_refused", "invalid_token", "with a bearer token"}},
		"introspection, moved":          {says{"POST /look", 308, ``}, "tok", "endpoint_missing", []string{"308", "/look"}},
		"permission, moved":             {says{"POST /perm", 301, ``}, "", "ticket_misconfigured", []string{"endpoint_missing", "301", "/perm"}},
		"permission, moved for a while": {says{"POST /perm", 307, ``}, "", "ticket_unavailable", []string{"307", "/perm"}},
		"permission, a page":            {says{"POST /perm", 200, `<html>`}, "", "ticket_unavailable", []string{"https://as.example.org/perm"}},
		"PAT, moved":                    {says{"POST as.example.org/token", 308, ``}, "", "ticket_misconfigured", []string{"endpoint_missing", "308", "/token"}},
		"permission, nothing there":     {says{"POST /perm", 404, ``}, "", "ticket_misconfigured", []string{"endpoint_missing", "/perm"}},
		"PAT, scope not allowed":        {says{"POST as.example.org/token", 400, `{"error":"invalid_scope"}`}, "", "ticket_misconfigured", []string{"client_refused", "invalid_scope", "/token"}},
		"PAT, wrong secret":             {says{"POST as.example.org/token", 401, `{"error":"invalid_client"}`}, "", "ticket_misconfigured", []string{"client_refused", "client_secret_basic and a secret"}},
		"PAT, nothing there":            {says{"POST as.example.org/token", 404, `not here`}, "", "ticket_misconfigured", []string{"endpoint_missing", "/token"}},
		"permission, trouble":           {says{"POST /perm", 503, ``}, "", "ticket_unavailable", []string{"503"}},
		"permission, too many":          {says{"POST /perm", 429, ``}, "", "ticket_unavailable", []string{"429"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says(c.says.pattern, c.says.status, c.says.body)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
			answer := world.Send(h, "GET", "/", c.token)
			if c.token != "" {
				world.WantMistake(t, answer, c.code)
			} else {
				world.WantUnreachable(t, answer)
			}
			codes := append(s.EventsOf(gatehouse.EventTicket), s.EventsOf(gatehouse.EventRefusal)...)
			if len(codes) != 1 || codes[0] != c.code || answer.Header().Get("Retry-After") != "" || !strings.Contains(answer.Body.String(), `"`+c.code+`"`) {
				t.Errorf("codes %q, Retry-After %q: %s", codes, answer.Header().Get("Retry-After"), answer.Body)
			}
			level := "level=ERROR"
			if c.code == "ticket_unavailable" {
				level = "level=WARN"
			}
			line := "" // of the refusal; that of the token request may come later
			for l := range strings.Lines(s.Log()) {
				if strings.Contains(l, "code="+c.code+" ") {
					line = l
				}
			}
			for _, want := range append(c.cause, level, "id=", "method=GET", "path=/") {
				if !strings.Contains(line, want) {
					t.Errorf("the line lacks %q: %s", want, s.Log())
				}
			}
		})
	}
}

// TestUMADescriptionInTheLog: what the server says about a refused call stands
// in a line of its own at DEBUG, without values.
func TestUMADescriptionInTheLog(t *testing.T) {
	for pattern, token := range map[string]string{"POST /perm": "", "POST /look": "opensesame-1234"} {
		s := world.NewScript(t)
		s.Says(pattern, 400, `{"error":"invalid_scope","error_description":"no such scope as view, opensesame-1234"}`)
		world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view"))), "GET", "/", token)
		lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
		last := lines[len(lines)-1]
		if !strings.Contains(last, "level=DEBUG") || !strings.Contains(last, "no such scope as view") || token != "" && strings.Contains(last, token) {
			t.Errorf("%s: %s", pattern, s.Log())
		}
	}
}

// TestUMALineNamesThePerson: a refusal after the token is known names whose it
// is, whatever the refusal is about.
func TestUMALineNamesThePerson(t *testing.T) {
	upstream := gatehouse.IdentityHeaders(map[string]func(*gatehouse.Identity) string{"X-User": func(*gatehouse.Identity) string { return " " }})
	for code, c := range map[string]struct {
		config gatehouse.ResourceServerConfig
		need   gatehouse.Need
		header string
	}{
		"identity_header_refused": {need: one.AllOf("view")},
		"permission_required":     {need: one.AllOf("print")},
		"not_a_navigation":        {need: one.AllOf("print"), header: "prefetch"},
		"resource_ids_unavailable": {gatehouse.ResourceServerConfig{ResourceIDs: noIDs{}},
			gatehouse.Resource{Name: "album", Scopes: []string{"view"}}.AllOf("view"), ""},
	} {
		t.Run(code, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("POST /look", 200, `{"active":true,"sub":"bob-1","permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`)
			s.Says("POST /perm", 201, `{"ticket":"t1"}`)
			r := httptest.NewRequest("GET", "/x", nil)
			r.Header.Set("Authorization", "Bearer tok")
			r.Header.Set("Sec-Purpose", c.header)
			s.ResourceServer(c.config).UMAProtect(c.need)(upstream(http.NotFoundHandler())).ServeHTTP(httptest.NewRecorder(), r)
			events := s.Events()
			if last := events[len(events)-1]; last.Code != code || last.Subject != "bob-1" || last.ID == "" || last.Path != "/x" {
				t.Errorf("event %+v, want %s of bob-1", last, code)
			}
		})
	}
}

// noIDs is a store that is down.
type noIDs struct{}

func (noIDs) ID(context.Context, string, string, string) (string, error) {
	return "", errors.New("down")
}

func (noIDs) PutIfAbsent(context.Context, string, string, string, string) (string, error) {
	return "", errors.New("down")
}

func (noIDs) Drop(context.Context, string, string, string, string) error { return errors.New("down") }

// TestUMANoRuleNamesTheRequest: the log says which method and path no rule
// covers, without the query.
func TestUMANoRuleNamesTheRequest(t *testing.T) {
	s := world.NewScript(t)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(gatehouse.Rules{"GET /albums/": one.AllOf("view")}))
	if answer := world.Send(h, "DELETE", "/albums/7%20x?secret=1", ""); answer.Code != http.StatusForbidden {
		t.Fatal(answer.Code)
	}
	events := s.Events()
	if text := events[len(events)-1].Err.Error(); events[len(events)-1].Code != "no_rule" || !strings.Contains(text, `DELETE "/albums/7%20x"`) || strings.Contains(text, "secret") {
		t.Errorf("%s", text)
	}
}

// TestUMAOwnerNotConnected: if the owner has not agreed, log and body say so.
// The Warning stays, and the client's helper tells it from an outage.
func TestUMAOwnerNotConnected(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{PAT: w.Grants(nil)}).UMAProtect(album7.AllOf("view")))
	answer := world.Send(h, "GET", "/", "")
	world.WantUnreachable(t, answer)
	if codes := w.EventsOf(gatehouse.EventTicket); len(codes) != 1 || codes[0] != gatehouse.CodeOwnerGrantMissing || !strings.Contains(answer.Body.String(), `"owner_grant_missing"`) {
		t.Errorf("%q: %s", codes, answer.Body)
	}
	body := answer.Body.String()
	resp := answer.Result()
	if gatehouse.IsUMAUnreachable(resp) {
		t.Error("the helper takes it for an outage")
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		t.Errorf("after the helper the body is %q, want %q", got, body)
	}

	// The same if only the owner's PAT could look the token up.
	rs, err := gatehouse.NewResourceServer(w.Process(), gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "photoz", Auth: gatehouse.AuthNone}, PAT: noPAT{}})
	w.Must(err)
	answer = world.Send(world.Photos(rs.UMAProtect(album7.AllOf("view"))), "GET", "/", "some-token")
	world.WantUnreachable(t, answer)
	if codes := w.EventsOf(gatehouse.EventTicket); len(codes) != 2 || codes[1] != gatehouse.CodeOwnerGrantMissing || gatehouse.IsUMAUnreachable(answer.Result()) {
		t.Errorf("with a token: %q: %s", codes, answer.Body)
	}

	// Where there is no body to say so, or another one, the headers do.
	for name, c := range map[string]struct {
		method string
		config gatehouse.ResourceServerConfig
	}{
		"HEAD":            {"HEAD", gatehouse.ResourceServerConfig{PAT: noPAT{}}},
		"an ErrorHandler": {"GET", gatehouse.ResourceServerConfig{PAT: noPAT{}, ErrorHandler: func(http.ResponseWriter, *http.Request, *gatehouse.Error) {}}},
	} {
		answer := world.Send(world.Photos(w.ResourceServer(c.config).UMAProtect(album7.AllOf("view"))), c.method, "/", "")
		world.WantUnreachable(t, answer)
		answer.Body.Reset()
		if gatehouse.IsUMAUnreachable(answer.Result()) {
			t.Errorf("%s: the helper takes it for an outage: %q", name, answer.Header())
		}
	}

	w.SetDown(true)
	down := world.Send(world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules())), "GET", "/albums/", "")
	world.WantUnreachable(t, down)
	if codes := w.EventsOf(gatehouse.EventTicket); codes[len(codes)-1] != gatehouse.CodeTicketUnavailable || !gatehouse.IsUMAUnreachable(down.Result()) {
		t.Errorf("server down: %q", codes)
	}
}

// noPAT knows no owner.
type noPAT struct{}

func (noPAT) PAT(context.Context, string, gatehouse.Secret) (gatehouse.Secret, error) {
	return gatehouse.Secret{}, &gatehouse.Error{Code: gatehouse.CodeOwnerGrantMissing, Status: http.StatusForbidden}
}
