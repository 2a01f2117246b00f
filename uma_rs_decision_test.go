package gatehouse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/gatehouse"
)

// scripted is an authorization server that says on the wire what a test tells
// it: for answers that our own server never gives.
type scripted struct {
	t        testing.TB
	provider *gatehouse.Provider
	mux      *http.ServeMux

	mu    sync.Mutex
	now   time.Time
	calls []string // "POST /perm body"
}

const scriptedIssuer = "https://as.example.org"

// newScripted makes a server with a token endpoint; extra are more members of
// its metadata.
func newScripted(t testing.TB, extra ...string) *scripted {
	s := &scripted{t: t, mux: http.NewServeMux(), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	md := fmt.Sprintf(`{"issuer":%[1]q,"token_endpoint":"%[1]s/token","introspection_endpoint":"%[1]s/look",
		"permission_endpoint":"%[1]s/perm","resource_registration_endpoint":"%[1]s/res"%[2]s}`, scriptedIssuer, strings.Join(extra, ""))
	s.says("GET /.well-known/", 200, md)
	p, err := gatehouse.NewProvider(scriptedIssuer, &gatehouse.ProviderConfig{Transport: s, Now: s.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.provider = p
	n := 0
	s.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"pat%d","token_type":"Bearer"}`, n)
	})
	return s
}

func (s *scripted) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// says makes the server answer a pattern with a status and a body.
func (s *scripted) says(pattern string, status int, body string) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// RoundTrip serves the request in process.
func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	target := r.URL.Path
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	s.calls = append(s.calls, strings.TrimSpace(r.Method+" "+target+" "+string(body)))
	s.mu.Unlock()
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w.Result(), nil
}

// saw returns the calls that begin with prefix.
func (s *scripted) saw(prefix string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if strings.HasPrefix(c, prefix) {
			list = append(list, c)
		}
	}
	return list
}

func (s *scripted) resourceServer(c gatehouse.ResourceServerConfig) *gatehouse.ResourceServer {
	s.t.Helper()
	c.Client = rsClient
	rs, err := gatehouse.NewResourceServer(s.provider, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return rs
}

// one is a resource that the server knows by its id.
var one = gatehouse.Resource{ID: "r-1"}

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
		{"entry begins in a second", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"nbf":%d}`, both, now+1)), false},
		{"entry with exp as a string", entry(fmt.Sprintf(`{"resource_id":"r-1",%s,"exp":"%d"}`, both, now+60)), false},
		{"entry with exp beyond all", entry(`{"resource_id":"r-1",` + both + `,"exp":1e300}`), true},
		{"token expired, entry not", fmt.Sprintf(`{"active":true,"exp":%d,"permissions":[{"resource_id":"r-1",%s,"exp":%d}]}`, now, both, now+60), false},
		{"token not yet, entry already", fmt.Sprintf(`{"active":true,"nbf":%d,"permissions":[{"resource_id":"r-1",%s,"nbf":%d}]}`, now+1, both, now-60), false},
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
		{"our issuer", `{"active":true,"iss":"` + scriptedIssuer + `","permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"UR14 another issuer", `{"active":true,"iss":"https://as.example.org/","permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"issuer of another type", `{"active":true,"iss":7,"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"aud is our client", `{"active":true,"aud":"photoz","permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"aud holds our audience", `{"active":true,"aud":["x","https://api.example.org"],"permissions":[{"resource_id":"r-1",` + both + `}]}`, true},
		{"aud of another", `{"active":true,"aud":["x"],"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
		{"aud empty", `{"active":true,"aud":[],"permissions":[{"resource_id":"r-1",` + both + `}]}`, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newScripted(t)
			s.says("POST /look", 200, c.body)
			s.says("POST /perm", 201, `{"ticket":"t1"}`)
			h := photos(s.resourceServer(gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org"}}).UMAProtect(one.AllOf("view", "print")))
			answer := send(h, "GET", "/", "tok")
			if served(answer) != c.open {
				t.Errorf("served %v, want %v: %d %s", served(answer), c.open, answer.Code, answer.Body)
			}
			if !c.open && (answer.Code != 401 || !strings.Contains(answer.Header().Get("WWW-Authenticate"), `ticket="t1"`)) {
				t.Errorf("answer %d %q, want a new ticket", answer.Code, answer.Header())
			}
		})
	}
}

// TestUMAIntrospectionGarbage: what is no introspection answer decides nothing.
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
		"active in another case":  {200, `{"ACTIVE":true,` + good + `}`},
		"an id twice in an entry": {200, `{"active":true,"permissions":[{"resource_id":"r-2","resource_id":"r-1","resource_scopes":["view"]}]}`},
		"more after the object":   {200, `{` + good + `}{}`},
		"status 302":              {302, `{` + good + `}`},
		"status 404":              {404, `{` + good + `}`},
		"status 201":              {201, `{` + good + `}`},
		"status 500":              {500, `{` + good + `}`},
		"permissions past 256 KB": {200, `{` + good + `,"x":"` + strings.Repeat("x", 256<<10) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t)
			s.says("POST /look", c.status, c.body)
			h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
			wantTrouble(t, send(h, "GET", "/", "tok"))
		})
	}
}

// TestUMATicketGarbage: what is no ticket is no ticket.
func TestUMATicketGarbage(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"no ticket":          {201, `{}`},
		"empty ticket":       {201, `{"ticket":""}`},
		"ticket a number":    {201, `{"ticket":7}`},
		"ticket twice":       {201, `{"ticket":"a","ticket":"b"}`},
		"line break":         {201, `{"ticket":"a\r\nSet-Cookie: x=y"}`},
		"control byte":       {201, `{"ticket":"a\u0001"}`},
		"not ASCII":          {201, `{"ticket":"ä"}`},
		"too long":           {201, `{"ticket":"` + strings.Repeat("x", 8<<10+1) + `"}`},
		"200 without ticket": {200, `{}`},
		"204":                {204, ``},
		"302":                {302, `{"ticket":"a"}`},
		"502":                {502, `{"ticket":"a"}`},
		"not JSON":           {201, `<html>`},
		"foreign resource":   {400, `{"error":"invalid_resource_id"}`},
		"odd 400":            {400, `{"error":"unknown_error"}`},
		"403 for ever":       {403, `{"error":"invalid_bearer_token"}`},
		"404":                {404, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t)
			s.says("POST /perm", c.status, c.body)
			h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
			answer := send(h, "GET", "/", "")
			wantUnreachable(t, answer)
			if n := len(s.saw("POST /perm")); n > 2 {
				t.Errorf("%d permission requests, want at most 2", n)
			}
			if n := len(s.saw("POST /token")); n > 2 {
				t.Errorf("%d PAT requests, want at most 2", n)
			}
			if answer.Header().Get("Set-Cookie") != "" {
				t.Error("a header was injected")
			}
		})
	}
}

// TestUMATicketQuoting: a ticket is quoted as RFC 9110 §5.6.4 says.
func TestUMATicketQuoting(t *testing.T) {
	s := newScripted(t)
	s.says("POST /perm", 200, `{"ticket":"a\"b\\c, ticket=\"d"}`)
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{Realm: `my "api"`}).UMAProtect(one.AllOf("view")))
	want := `UMA realm="my \"api\"", as_uri="https://as.example.org", ticket="a\"b\\c, ticket=\"d"`
	if got := send(h, "GET", "/", "").Header().Get("WWW-Authenticate"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestUMAIntrospectionRequest is IN8: POST, the token in the body, our client's
// authentication; and the PAT where the server wants that (Federated
// Authorization §5).
func TestUMAIntrospectionRequest(t *testing.T) {
	good := `{"active":true,"permissions":[{"resource_id":"r-1","resource_scopes":["view"]}]}`
	t.Run("client", func(t *testing.T) {
		s := newScripted(t)
		s.mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
			// RFC 6749 §2.3.1: id and secret are form-urlencoded first.
			if id, secret, ok := r.BasicAuth(); !ok || id != "photoz" || secret != url.QueryEscape("photoz secret%") {
				t.Errorf("authenticated as %q, %v", id, ok)
			}
			fmt.Fprint(w, good)
		})
		h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		if answer := send(h, "GET", "/", "t~o/k"); !served(answer) {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		if got := s.saw("POST /look"); len(got) != 1 || got[0] != "POST /look token=t~o%2Fk&token_type_hint=access_token" {
			t.Errorf("calls %q", got)
		}
	})
	t.Run("PAT", func(t *testing.T) {
		s := newScripted(t)
		s.mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer pat1" {
				w.WriteHeader(401)
				return
			}
			fmt.Fprint(w, good)
		})
		h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		for i, token := range []string{"a", "b"} {
			if answer := send(h, "GET", "/", token); !served(answer) {
				t.Fatalf("%d %s", answer.Code, answer.Body)
			}
			// The first costs one refusal; then it is known what this server wants.
			if n, want := len(s.saw("POST /look")), []int{2, 3}[i]; n != want {
				t.Errorf("%d introspections after token %d, want %d", n, i+1, want)
			}
		}
	})
	t.Run("refused for ever", func(t *testing.T) {
		s := newScripted(t)
		s.says("POST /look", 401, `{"error":"invalid_client"}`)
		h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
		wantTrouble(t, send(h, "GET", "/", "a"))
		if n := len(s.saw("POST /look")); n > 3 {
			t.Errorf("%d introspections, want at most 3", n)
		}
	})
}

// TestUMAIdentity: what the handler learns.
func TestUMAIdentity(t *testing.T) {
	s := newScripted(t)
	s.says("POST /look", 200, `{"active":true,"sub":"bob","client_id":"printshop","exp":1777637100,"email":"bob@example.org",
		"permissions":[{"resource_id":"r-1","resource_scopes":["view"],"exp":1777636860},{"resource_id":"r-2","resource_scopes":["secret"]}]}`)
	guard := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(one.AllOf("view"))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer tok")
	id, err := guard.Check(r)
	if err != nil {
		t.Fatal(err)
	}
	if id.Via != gatehouse.ViaUMA || id.Issuer != scriptedIssuer || id.Subject != "bob" || id.ClientID != "printshop" ||
		fmt.Sprint(id.Granted) != "[view]" || !id.Expires.Equal(time.Unix(1777636860, 0)) || id.ClaimString("email") != "bob@example.org" {
		t.Errorf("identity %+v", id)
	}
	var all map[string]json.RawMessage
	if err := id.Claims(&all); err != nil || all["permissions"] != nil {
		t.Errorf("claims %v, %v; want none of other resources' permissions", all, err)
	}
}

// TestUMAGuardHalves: Check writes nothing and asks for no ticket; Refuse
// answers, also in Either and by hand.
func TestUMAGuardHalves(t *testing.T) {
	s := newScripted(t)
	s.says("POST /perm", 201, `{"ticket":"t1"}`)
	guard := s.resourceServer(gatehouse.ResourceServerConfig{}).UMAGuard(one.AllOf("view"))
	r := httptest.NewRequest("GET", "/", nil)
	id, err := guard.Check(r)
	if id != nil || gatehouse.ErrorCode(err) != "permission_required" {
		t.Fatalf("Check: %v, %v", id, err)
	}
	if got := s.saw(""); len(got) != 0 {
		t.Errorf("Check made the calls %q", got)
	}
	w := httptest.NewRecorder()
	guard.Refuse(w, r, fmt.Errorf("wrapped: %w", err))
	if w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), `ticket="t1"`) {
		t.Errorf("Refuse: %d %v", w.Code, w.Header())
	}

	page := denyAll{}
	mine := gatehouse.Require(gatehouse.Either(page, guard))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	if w := send(mine, "GET", "/", ""); w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), `ticket="t1"`) {
		t.Errorf("Either: %d %v", w.Code, w.Header())
	}
}

// denyAll is a page that nobody is signed in to.
type denyAll struct{}

func (denyAll) Check(*http.Request) (*gatehouse.Identity, error) {
	return nil, &gatehouse.Error{Code: "login_required", Status: 401}
}
func (denyAll) Refuse(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(401) }

// TestUMAErrorHandler: the hook writes the body; the headers are ours.
func TestUMAErrorHandler(t *testing.T) {
	s := newScripted(t)
	s.says("POST /perm", 201, `{"ticket":"t1"}`)
	rs := s.resourceServer(gatehouse.ResourceServerConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) {
		w.WriteHeader(e.Status)
		fmt.Fprintf(w, "custom %s %v", e.Code, e.ID != "")
	}})
	h := photos(rs.UMAProtect(gatehouse.Rules{"GET /a": one.AllOf("view")}))
	w := send(h, "GET", "/a", "")
	if w.Code != 401 || w.Body.String() != "custom permission_required true" || w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := send(h, "GET", "/b", ""); w.Code != 403 || w.Body.String() != "custom no_rule true" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestUMAClientGone: a client that leaves opens nothing and leaves others alone.
func TestUMAClientGone(t *testing.T) {
	s := newScripted(t)
	h := photos(s.resourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, token := range []string{"", "tok"} {
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if served(w) || w.Code < 400 {
			t.Errorf("token %q: %d %s", token, w.Code, w.Body)
		}
	}
}
