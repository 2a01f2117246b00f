package gatehouse_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/challenge"
)

// plainText reads a string member in the plainest way; names as they are.
func plainText(body []byte, member string) string {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil {
		return ""
	}
	s, _ := all[member].(string)
	return s
}

// texts are the string members of an object, whatever their names.
func texts(body []byte) (out []string) {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil {
		return nil
	}
	for _, v := range all {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// FuzzTicketAnswer: whatever the permission endpoint answers, a client gets just
// this ticket in one challenge of the right form, or 403 with the Warning.
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
		s := newScripted(t)
		s.says("POST /perm", status, string(body))
		answer := send(photos(s.resourceServer(gatehouse.ResourceServerConfig{Realm: `my "api"`}).UMAProtect(one.AllOf("view"))), "GET", "/", "")
		if answer.Code != http.StatusUnauthorized {
			wantUnreachable(t, answer)
			return
		}
		headers := answer.Header().Values("WWW-Authenticate")
		list, err := challenge.Parse(headers)
		if err != nil || len(headers) != 1 || len(list) != 1 || list[0].Scheme != "uma" && list[0].Scheme != "UMA" {
			t.Fatalf("challenge %q: %+v, %v", headers, list, err)
		}
		ticket := plainText(body, "ticket")
		if p := list[0].Params; ticket == "" || len(p) != 3 || p["ticket"] != ticket || p["as_uri"] != scriptedIssuer || p["realm"] != `my "api"` {
			t.Errorf("challenge %q for %q", headers, body)
		}
		if strings.ContainsFunc(headers[0], func(c rune) bool { return c < ' ' || c > '~' }) || served(answer) || status > 201 {
			t.Errorf("status %d, challenge %q, body %s", status, headers, answer.Body)
		}
	})
}

// FuzzTokenAnswer: whatever the token endpoint answers to a ticket, the call
// ends, no ticket is turned in twice, the resource server sees a token only if
// the answer has it, and errors tell no ticket.
func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"rpt-a","token_type":"Bearer","expires_in":300}`, `{"access_token":"rpt-a","token_type":"bearer","upgraded":true}`,
		`{"access_token":"rpt a","token_type":"Bearer"}`, `{"access_token":"a\r\nb","token_type":"Bearer"}`, `{"access_token":7}`, `{"access_token":"rpt-a"}`,
		`{"error":"need_info","ticket":"next-ticket-1"}`, `{"error":"need_info","ticket":"ticket-1"}`, `{"error":"need_info"}`, `{"error":"need_info","ticket":["next-ticket-1"]}`,
		`{"error":"need_info","ticket":"next-ticket-1","required_claims":[{"claim_token_format":["saml"]}],"redirect_user":"https://as.example.org/claims"}`,
		`{"error":"need_info","ticket":"next-ticket-1","redirect_user":"javascript:alert(1)","required_claims":{"a":7}}`,
		`{"error":"request_submitted","ticket":"next-ticket-1","interval":5}`, `{"error":"request_submitted","interval":-1e300}`,
		`{"error":"access_denied","error_description":"request_submitted"}`, `{"error":"request_denied"}`, `{"error":"invalid_grant"}`,
		`{"error":"need_info","error":"request_denied","ticket":"x"}`, `{"error":"need_info","tiCket":"next-ticket-1"}`, `{"error":"need_info","ticket":"a","ticket":"b"}`, `{"ERROR":"need_info"}`, `[]`, `null`, ``, `<html>`,
		`{"error":"need_info","ticket":"` + strings.Repeat("t", 17000) + `"}`,
	} {
		for _, status := range []int{200, 400, 403} {
			f.Add(status, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		w := newUMAWorld(t)
		w.answer = func(n int, _ url.Values) umaAnswer {
			if n == 1 {
				return umaAnswer{status, string(body)}
			}
			return umaRefused(403, "request_denied")
		}
		r, err := http.NewRequest("GET", umaPhotos, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.transport(w.provider(false), umaBob()).RoundTrip(r)
		if (resp == nil) == (err == nil) {
			t.Fatalf("response %v, error %v", resp, err)
		}
		if resp != nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		wantSoundExchange(t, w, body, err)
	})
}

// wantSoundExchange looks at what was sent after the answer; the kit itself
// complains about a ticket that comes twice.
func wantSoundExchange(t *testing.T, w *umaWorld, body []byte, err error) {
	t.Helper()
	for i, token := range w.tokens() {
		// x/oauth2 reads names in any case (M5): any string of the answer will do.
		if token != "" && !slices.Contains(texts(body), token) {
			t.Errorf("request %d has the token %q after %q", i, token, body)
		}
	}
	asked := w.asked()
	if len(asked) > 4 {
		t.Errorf("%d token requests", len(asked))
	}
	if len(asked) > 1 {
		second := asked[1].Get("ticket")
		if known := []string{"ticket-2", plainText(body, "ticket")}; second == "" || !slices.Contains(known, second) {
			t.Errorf("turned in %q after %q", second, body)
		}
	}
	next := plainText(body, "ticket")
	if strings.HasPrefix(next, "next-ticket") && err != nil && strings.Contains(err.Error(), next) {
		t.Errorf("the ticket shows in the error %v", err)
	}
	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
		if need.Ticket.Reveal() != next || need.RedirectUser != "" && need.RedirectUser != plainText(body, "redirect_user") {
			t.Errorf("need_info %+v of %q", need, body)
		}
	}
}
