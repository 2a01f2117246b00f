package uma_rs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/challenge"
	"example.com/gatehouse/internal/e2e/world"
)

// TestUR1_ChallengeNamesResourceAndScopes: without a token the answer is 401
// with a ticket for this resource and only the scopes that the method needs.
func TestUR1_ChallengeNamesResourceAndScopes(t *testing.T) {
	w := world.NewPhotoz(t)
	wire := &world.WireLog{}
	w.SetWire(wire.Pass)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{Audience: []string{"https://api.example.org/v1"}}).UMAProtect(world.AlbumRules()))

	for _, c := range []struct{ method, scopes string }{
		{"GET", `["view"]`}, {"HEAD", `["view"]`}, {"POST", `["add"]`}, {"DELETE", `["view","delete"]`},
	} {
		answer := world.Send(h, c.method, "/albums/", "")
		w.WantTicket(answer)
		if got := answer.Header().Get("WWW-Authenticate"); !strings.Contains(got, `realm="api.example.org"`) {
			t.Errorf("%s: challenge %q lacks the realm", c.method, got)
		}
		for _, scope := range world.Albums.Scopes {
			if strings.Contains(answer.Body.String(), scope) {
				t.Errorf("%s: the body reveals the scope %q: %s", c.method, scope, answer.Body)
			}
		}
		sent := wire.To("POST", pathOf(t, w.Endpoint("permission_endpoint")))
		id := w.Resources("photoz")[0].ID
		want := fmt.Sprintf(`[{"resource_id":%q,"resource_scopes":%s}]`, id, c.scopes)
		if last := sent[len(sent)-1].Body; last != want {
			t.Errorf("%s: permission request %s, want %s", c.method, last, want)
		}
	}
}

// TestUR2_WeakTokenGetsNewTicket: a live token for another scope or resource
// gets a new ticket, and the handler does not run.
func TestUR2_WeakTokenGetsNewTicket(t *testing.T) {
	w := world.NewPhotoz(t)
	other := gatehouse.Resource{Name: "films", Scopes: []string{"view"}}
	rules := world.AlbumRules()
	rules["GET /films/"] = other.AllOf("view")
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(rules))

	first := w.WantTicket(world.Send(h, "GET", "/albums/", ""))
	w.Must(w.Share("photoz", w.Resources("photoz")[0].ID, "bob", "view"))
	token, _ := w.Exchange(first, "bob")
	if answer := world.Send(h, "GET", "/albums/", token); answer.Code != 200 || answer.Body.String() != `served via uma sub "bob" granted [view]` {
		t.Fatalf("with the permission: %d %s", answer.Code, answer.Body)
	}
	tickets := []string{first}
	for _, c := range []struct{ name, method, target, token string }{
		{"wrong scope", "DELETE", "/albums/", token},
		{"wrong scope of any", "POST", "/albums/", token},
		{"wrong resource", "GET", "/films/", token},
		{"unknown token", "GET", "/albums/", "junk"},
		{"other scheme", "GET", "/albums/", ""},
	} {
		ticket := w.WantTicket(world.Send(h, c.method, c.target, c.token))
		if slices.Contains(tickets, ticket) {
			t.Errorf("%s: a ticket was issued twice", c.name)
		}
		tickets = append(tickets, ticket)
	}
	if codes := w.EventsOf(gatehouse.EventTicket); len(codes) != 2 || codes[0] != "" || codes[1] != "" {
		t.Errorf("ticket events %q, want one without a code for each request without a token", codes)
	}
	if codes := w.EventsOf(gatehouse.EventDenial); len(codes) != 4 {
		t.Errorf("denied events %v, want one for each token that was not enough", codes)
	}
	w.WantSilence(nil, append(tickets, token)...)
}

// Grant §3.2.1: the challenge has the scheme UMA with as_uri and ticket. It is
// the same without a token and with a bad one, and no body or header
// distinguishes the two.
func TestUMAChallengesDoNotDiffer(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	weak := w.RPT(h, "GET", "/albums/", "photoz", "view")
	shape := func(token string) string {
		answer := world.Send(h, "DELETE", "/albums/", token)
		ticket := w.WantTicket(answer)
		var body map[string]any
		w.Must(json.Unmarshal(answer.Body.Bytes(), &body))
		delete(body, "id") // of the log line
		header := answer.Header().Clone()
		header.Set("WWW-Authenticate", strings.ReplaceAll(header.Get("WWW-Authenticate"), ticket, "T"))
		header.Del("Content-Length")
		return fmt.Sprint(header, body)
	}
	want := shape("")
	for name, token := range map[string]string{"junk": "junk", "too weak": weak} {
		if got := shape(token); got != want {
			t.Errorf("%s: %s\nno token: %s", name, got, want)
		}
	}
}

// TestUMATicketQuoting: a ticket is quoted as RFC 9110 §5.6.4 says.
func TestUMATicketQuoting(t *testing.T) {
	s := world.NewScript(t)
	s.Says("POST /perm", 200, `{"ticket":"a\"b\\c, ticket=\"d"}`)
	h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{Realm: `my "api"`}).UMAProtect(one.AllOf("view")))
	want := `UMA realm="my \"api\"", as_uri="https://as.example.org", ticket="a\"b\\c, ticket=\"d"`
	if got := world.Send(h, "GET", "/", "").Header().Get("WWW-Authenticate"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestUMATicketGarbage: an answer without a valid ticket gives no ticket.
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
		"403 forever":        {403, `{"error":"invalid_bearer_token"}`},
		"404":                {404, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewScript(t)
			s.Says("POST /perm", c.status, c.body)
			h := world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(one.AllOf("view")))
			answer := world.Send(h, "GET", "/", "")
			world.WantUnreachable(t, answer)
			if n := len(s.Saw("POST /perm")); n > 2 {
				t.Errorf("%d permission requests, want at most 2", n)
			}
			if n := len(s.Saw("POST /token")); n > 2 {
				t.Errorf("%d PAT requests, want at most 2", n)
			}
			if answer.Header().Get("Set-Cookie") != "" {
				t.Error("a header was injected")
			}
		})
	}
}

// Grant §3.4: the token comes in the Authorization header (RFC 6750 §2.1). A
// token in a form, or in an address, which logs keep, does not count.
func TestUMATokenInTheHeaderOnly(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "POST", "/albums/", "photoz", "add")
	form := url.Values{"access_token": {token}}.Encode()
	if answer := world.Send(h, "POST", "/albums/", token); !world.Served(answer) {
		t.Fatalf("in the header: %d %s", answer.Code, answer.Body)
	}
	w.Reset()
	w.WantTicket(world.Send(h, "POST", "/albums/?"+form, ""))
	r := httptest.NewRequest("POST", "/albums/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	w.WantTicket(answer)
	if n := len(w.EventsOf(gatehouse.EventDenial)); n != 0 {
		t.Errorf("%d denials: a token was read that is not in the header", n)
	}
}

// TestUMA_AlternativeHeaders: a header that is not a bearer token, or has two,
// is judged first.
func TestUMA_AlternativeHeaders(t *testing.T) {
	w := world.NewPhotoz(t)
	h := world.Photos(w.ResourceServer(gatehouse.ResourceServerConfig{}).UMAProtect(world.AlbumRules()))
	token := w.RPT(h, "GET", "/albums/", "photoz", "view")
	for _, c := range []struct {
		name   string
		values []string
		want   int
	}{
		{"lower case", []string{"bearer " + token}, 200},
		{"basic", []string{"Basic Ym9iOnB3"}, 401},
		{"two", []string{"Bearer " + token, "Bearer " + token}, 400},
		{"empty", []string{"Bearer "}, 400},
		{"bad characters", []string{"Bearer a b"}, 400},
		{"list", []string{"Bearer " + token + ", Bearer x"}, 400},
	} {
		r := httptest.NewRequest("GET", "/albums/", nil)
		r.Header["Authorization"] = c.values
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.want || world.Served(rec) != (c.want == 200) {
			t.Errorf("%s: %d %s, want %d", c.name, rec.Code, rec.Body, c.want)
		}
	}
	// RFC 6750 §2.2, §2.3: a token in the query or the body is ignored.
	if rec := world.Send(h, "GET", "/albums/?access_token="+token, ""); rec.Code != 401 {
		t.Errorf("token in the query: %d, want 401", rec.Code)
	}
	if got := w.Violations(); len(got) > 0 {
		t.Errorf("the server complains: %v", got)
	}
}

// FuzzTicketAnswer: whatever the permission endpoint answers, a client gets
// exactly this ticket in one well-formed challenge, or 403 with the Warning.
func FuzzTicketAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"ticket":"016f84e8-f9b9-11e0-bd6f-0021cc6004de"}`, `{"ticket":"abc=="}`, `{"ticket":"a\"b\\c, ticket=\"d"}`, `{"ticket":"a, UMA ticket=b"}`,
		`{"ticket":"a\r\nSet-Cookie: x=y"}`, `{"ticket":"\u0000"}`, `{"ticket":"é"}`, `{"ticket":" "}`, `{"ticket":"\u007f"}`,
		`{"ticket":""}`, `{"ticket":null}`, `{"ticket":["a"]}`, `{"ticket":"a","ticket":"b"}`, `{"TICKET":"a"}`, `{"ticket":"a"}{}`, `["a"]`, `null`, ``, `<html>`,
		`{"error":"invalid_resource_id"}`, `{"ticket":"` + strings.Repeat("t", 5000) + `"}`, `{"ticket":"` + strings.Repeat("t", 9000) + `"}`,
	} {
		for _, status := range []int{200, 201, 202, 400} {
			f.Add(status, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		s := world.NewScript(t)
		s.Says("POST /perm", status, string(body))
		answer := world.Send(world.Photos(s.ResourceServer(gatehouse.ResourceServerConfig{Realm: `my "api"`}).UMAProtect(one.AllOf("view"))), "GET", "/", "")
		if answer.Code != http.StatusUnauthorized {
			world.WantUnreachable(t, answer)
			return
		}
		headers := answer.Header().Values("WWW-Authenticate")
		list, err := challenge.Parse(headers)
		if err != nil || len(headers) != 1 || len(list) != 1 || list[0].Scheme != "uma" && list[0].Scheme != "UMA" {
			t.Fatalf("challenge %q: %+v, %v", headers, list, err)
		}
		ticket := world.TextMember(body, "ticket")
		if p := list[0].Params; ticket == "" || len(p) != 3 || p["ticket"] != ticket || p["as_uri"] != world.ScriptIssuer || p["realm"] != `my "api"` {
			t.Errorf("challenge %q for %q", headers, body)
		}
		if strings.ContainsFunc(headers[0], func(c rune) bool { return c < ' ' || c > '~' }) || world.Served(answer) || status > 201 {
			t.Errorf("status %d, challenge %q, body %s", status, headers, answer.Body)
		}
	})
}
