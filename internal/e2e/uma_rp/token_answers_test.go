package uma_rp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// What the token endpoint can refuse with, and that none of it is repeated.
func TestUMARefusals(t *testing.T) {
	words := `"error_description":"remote words"`
	tests := map[string]struct {
		answer world.ScriptAnswer
		code   string // of the *Error
		asked  int    // token requests
		sent   int    // requests to the resource server
	}{
		"request_denied":           {world.Refused(403, "request_denied", words), "uma_denied", 1, 1},
		"Keycloak not_authorized":  {world.Refused(403, "access_denied", `"error_description":"not_authorized"`), "uma_denied", 1, 1},
		"access_denied without":    {world.Refused(403, "access_denied"), "uma_denied", 1, 1},
		"access_denied odd text":   {world.Refused(403, "access_denied", `"error_description":{"a":1}`), "uma_denied", 1, 1},
		"Gluu forbidden_by_policy": {world.Refused(403, "forbidden_by_policy", words), "uma_denied", 1, 1},
		"invalid_grant":            {world.Refused(400, "invalid_grant", words), "ticket_refused", 2, 2},
		"invalid_ticket":           {world.Refused(403, "invalid_ticket"), "ticket_refused", 2, 2},
		"expired_ticket":           {world.Refused(400, "expired_ticket"), "ticket_refused", 2, 2},
		"invalid_rpt, none sent":   {world.Refused(400, "invalid_rpt"), "uma_grant_refused", 1, 1},
		"invalid_scope":            {world.Refused(400, "invalid_scope"), "uma_grant_refused", 1, 1},
		"invalid_resource":         {world.Refused(400, "invalid_resource"), "uma_grant_refused", 1, 1},
		"an unknown error":         {world.Refused(400, "remote_code"), "uma_grant_refused", 1, 1},
		"no OAuth error":           {world.Raw(400, "<html>remote words</html>"), "uma_grant_refused", 1, 1},
		"nothing there":            {world.Raw(404, "<html>remote words</html>"), "endpoint_missing", 1, 1},
		"moved":                    {world.Raw(308, ""), "endpoint_missing", 1, 1},
		"401 without a word":       {world.Raw(401, ""), "client_refused", 1, 1},
		"invalid_client":           {world.Refused(401, "invalid_client"), "client_refused", 1, 1},
		"unauthorized_client":      {world.Refused(401, "unauthorized_client"), "client_refused", 1, 1},
		"a redirect":               {world.Raw(302, ""), "as_unavailable", 1, 1},
		"down":                     {world.Raw(500, "remote words"), "as_unavailable", 1, 1},
		"too many requests":        {world.Raw(429, "remote words"), "as_unavailable", 1, 1},
		"HTML":                     {world.Raw(200, "<html>remote words</html>"), "as_unavailable", 1, 1},
		"too large":                {world.Granted("rpt1", `"x":"`+strings.Repeat("x", 2<<20)+`"`), "as_unavailable", 1, 1},
		"no access_token":          {world.Raw(200, `{"token_type":"Bearer"}`), "as_unavailable", 1, 1},
		"another token type":       {world.Raw(200, `{"access_token":"rpt1","token_type":"mac"}`), "token_type_unsupported", 1, 1},
		"no JSON in need_info":     {world.Refused(403, "need_info", `"ticket":"new-1"},{`), "uma_grant_refused", 1, 1},
		"a ticket too long":        {world.Refused(403, "need_info", `"ticket":"`+strings.Repeat("t", 16<<10+1)+`"`), "uma_grant_refused", 1, 1},
		"header injection":         {world.Granted(`rpt1\r\nX-Evil: 1`), "rpt_unusable", 1, 1},
		"two tokens":               {world.Granted(`rpt1 rpt2`), "rpt_unusable", 1, 1},
		"only padding":             {world.Granted(`==`), "rpt_unusable", 1, 1},
		"huge token":               {world.Granted(strings.Repeat("a", 16<<10+1)), "rpt_unusable", 1, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Permit = func(*http.Request, string) bool { return false }
			w.Answer = func(int, url.Values) world.ScriptAnswer { return tt.answer }
			c := w.Client(gatehouse.UMATransportConfig{})
			w.WantCode(c, world.ShopScriptPhotos, tt.code)
			if len(w.Asked()) != tt.asked || len(w.Tokens()) != tt.sent {
				t.Errorf("%d token requests, %d requests to the resource server", len(w.Asked()), len(w.Tokens()))
			}
			for _, code := range w.EventsOf(gatehouse.EventRPT) {
				if code != tt.code {
					t.Errorf("grant event with the code %q", code)
				}
			}
		})
	}
}

// Grant §3.3.5, RFC 6749 §5.1: members that we do not understand are ignored
// and never sent back later: no pct, and no scope that the server returned.
func TestUMAUnknownMembers(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(n int, form url.Values) world.ScriptAnswer {
		if n%2 == 1 {
			return world.Refused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n), `"remote":{"a":[1]}`, `"error_uri":"https://as.example.org/e"`)
		}
		return world.Granted(fmt.Sprintf("rpt%d", n), `"pct":"pct-1"`, `"scope":"view"`, `"refresh_token":"refresh-1"`, `"remote":{"a":[1]}`, `"expires_in":300`)
	}
	w.Permit = func(r *http.Request, token string) bool {
		return token == "rpt2" && r.Method == "GET" || token == "rpt4"
	}
	c := w.Client(world.WhenAsked(world.ForBob()))
	w.WantPicture(c, world.ShopScriptPhotos)
	r, err := http.NewRequest("DELETE", world.ShopScriptPhotos, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("DELETE: %v", err)
	}
	resp.Body.Close()
	allowed := []string{"grant_type", "ticket", "claim_token", "claim_token_format", "rpt"}
	for i, form := range w.Asked() {
		for name, values := range form {
			if !slices.Contains(allowed, name) || len(values) != 1 {
				t.Errorf("token request %d has %s=%q", i+1, name, values)
			}
			if strings.Contains(fmt.Sprint(values), "pct-1") || strings.Contains(fmt.Sprint(values), "refresh-1") {
				t.Errorf("token request %d sends in %s what no one asked for", i+1, name)
			}
		}
	}
	if got := w.Tokens(); !slices.Equal(got, []string{"", "rpt2", "rpt2", "rpt4"}) {
		t.Errorf("the resource server saw %q", got)
	}
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

// FuzzTokenAnswer: whatever the token endpoint answers to a ticket, the call
// ends, no ticket is presented twice, the resource server sees a token only if
// the answer contains it, and errors reveal no ticket.
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
		w := world.NewShopScript(t)
		w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
			if n == 1 {
				return world.Raw(status, string(body))
			}
			return world.Refused(403, "request_denied")
		}
		r, err := http.NewRequest("GET", world.ShopScriptPhotos, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.Shop(w.Told(false), world.WhenAsked(world.ForBob())).RoundTrip(r)
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

// wantSoundExchange checks what was sent after the answer. The kit itself
// complains about a ticket that is used twice.
func wantSoundExchange(t *testing.T, w *world.ShopScript, body []byte, err error) {
	t.Helper()
	for i, token := range w.Tokens() {
		// x/oauth2 ignores the case of names (M5), so any string of the answer
		// is acceptable.
		if token != "" && !slices.Contains(texts(body), token) {
			t.Errorf("request %d has the token %q after %q", i, token, body)
		}
	}
	asked := w.Asked()
	if len(asked) > 4 {
		t.Errorf("%d token requests", len(asked))
	}
	if len(asked) > 1 {
		second := asked[1].Get("ticket")
		if known := []string{"ticket-2", world.TextMember(body, "ticket")}; second == "" || !slices.Contains(known, second) {
			t.Errorf("turned in %q after %q", second, body)
		}
	}
	next := world.TextMember(body, "ticket")
	if strings.HasPrefix(next, "next-ticket") && err != nil && strings.Contains(err.Error(), next) {
		t.Errorf("the ticket shows in the error %v", err)
	}
	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
		if need.Ticket.Reveal() != next || need.RedirectUser != "" && need.RedirectUser != world.TextMember(body, "redirect_user") {
			t.Errorf("need_info %+v of %q", need, body)
		}
	}
}

// A spent ticket of unknown fate is not sent again. The next call starts
// afresh.
func TestUMAServerDown(t *testing.T) {
	w := world.NewShopScript(t)
	w.SetDown(true)
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantCode(c, world.ShopScriptPhotos, "as_unavailable")
	if len(w.Tokens()) != 1 {
		t.Errorf("%d requests to the resource server", len(w.Tokens()))
	}
	w.SetDown(false)
	w.WantPicture(c, world.ShopScriptPhotos)
	if got := w.Asked(); len(got) != 1 || got[0].Get("ticket") != "ticket-2" {
		t.Errorf("asked %v", got)
	}
}

// Metadata of another issuer is refused before the secret or a ticket is sent.
func TestUMAMetadataOfAnotherIssuer(t *testing.T) {
	w := world.NewShopScript(t)
	var paths []string
	w.ServeServer(func(rw http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.URL.Path)
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent")
		}
		fmt.Fprint(rw, `{"issuer":"https://evil.example","token_endpoint":"https://as.example.org/odd/token-9"}`)
	})
	c := &http.Client{Transport: w.Shop(w.Provider(), gatehouse.UMATransportConfig{})}
	w.WantCode(c, world.ShopScriptPhotos, "metadata_issuer_mismatch")
	if !slices.Equal(paths, []string{"GET /realm/.well-known/uma2-configuration"}) {
		t.Errorf("the authorization server was asked %q", paths)
	}
}

// The first ticket is refused, and a new one works.
func TestUMAFreshStart(t *testing.T) {
	w := world.NewShopScript(t)
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
		if n == 1 {
			return world.Refused(400, "invalid_grant")
		}
		return world.Granted("rpt1")
	}
	w.WantPicture(w.Client(gatehouse.UMATransportConfig{}), world.ShopScriptPhotos)
	if got := w.Tokens(); !slices.Equal(got, []string{"", "", "rpt1"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// Janssen may no longer know an rpt (J9). The exchange is repeated without it,
// with a ticket from a request without it.
func TestUMAInvalidRPT(t *testing.T) {
	w := world.NewShopScript(t)
	w.Permit = func(_ *http.Request, token string) bool { return token == "rpt1" }
	c := w.Client(gatehouse.UMATransportConfig{})
	w.WantPicture(c, world.ShopScriptPhotos)
	w.Permit = func(_ *http.Request, token string) bool { return token == "rpt3" }
	w.Answer = func(n int, form url.Values) world.ScriptAnswer {
		if form.Has("rpt") {
			return world.Refused(400, "invalid_rpt")
		}
		return world.Granted(fmt.Sprintf("rpt%d", n))
	}
	w.WantPicture(c, world.ShopScriptPhotos)
	if got := w.Tokens()[2:]; !slices.Equal(got, []string{"rpt1", "", "rpt3"}) || len(w.Asked()) != 3 {
		t.Errorf("the resource server saw %q, %d token requests", got, len(w.Asked()))
	}
}

// UMA Grant §3.3.6: a returned ticket must be new.
func TestUMATicketReused(t *testing.T) {
	tests := map[string]func(n int, form url.Values) world.ScriptAnswer{
		"need_info, the same": func(_ int, f url.Values) world.ScriptAnswer {
			return world.Refused(403, "need_info", `"ticket":"`+f.Get("ticket")+`"`)
		},
		"need_info, none":     func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "need_info") },
		"need_info, a number": func(int, url.Values) world.ScriptAnswer { return world.Refused(403, "need_info", `"ticket":7`) },
		"request_submitted, the same": func(_ int, f url.Values) world.ScriptAnswer {
			return world.Refused(403, "request_submitted", `"ticket":"`+f.Get("ticket")+`"`)
		},
		"the one before": func(n int, f url.Values) world.ScriptAnswer {
			return world.Refused(403, "need_info", `"ticket":"`+map[int]string{1: "new-1", 2: "ticket-1"}[n]+`"`)
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = answer
			w.WantCode(w.Client(world.WhenAsked(world.ForBob())), world.ShopScriptPhotos, "ticket_reused")
			want := 1
			if name == "the one before" {
				want = 2
			}
			if len(w.Tokens()) != 1 || len(w.Asked()) != want {
				t.Errorf("the resource server saw %q, the authorization server %v", w.Tokens(), w.Asked())
			}
		})
	}
}

func TestUMASubmitted(t *testing.T) {
	tests := map[string]struct {
		answer   world.ScriptAnswer
		ticket   string
		interval time.Duration
	}{
		"with interval":    {world.Refused(403, "request_submitted", `"ticket":"new-1","interval":5`), "new-1", 5 * time.Second},
		"without interval": {world.Refused(403, "request_submitted", `"ticket":"new-1"`), "new-1", 0},
		"negative":         {world.Refused(403, "request_submitted", `"ticket":"new-1","interval":-5`), "new-1", 0},
		"text":             {world.Refused(403, "request_submitted", `"ticket":"new-1","interval":"5"`), "new-1", 0},
		"endless":          {world.Refused(403, "request_submitted", `"ticket":"new-1","interval":1e300`), "new-1", 24 * time.Hour},
		"no ticket":        {world.Refused(403, "request_submitted"), "", 0},
		"Keycloak":         {world.Refused(403, "access_denied", `"error_description":"request_submitted"`), "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.NewShopScript(t)
			w.Answer = func(int, url.Values) world.ScriptAnswer { return tt.answer }
			c := w.Client(gatehouse.UMATransportConfig{})
			_, _, err := world.Get(c, world.ShopScriptPhotos)
			e, ok := errors.AsType[*gatehouse.SubmittedError](err)
			if !ok || e.Ticket.Reveal() != tt.ticket || e.Interval != tt.interval || e.Issuer != world.ShopScriptIssuer {
				t.Errorf("%v: %+v", err, e)
			}
			w.WantNoSecret(err)
			if len(w.Asked()) != 1 || !slices.Equal(w.EventsOf(gatehouse.EventRPT), []string{"request_submitted"}) {
				t.Errorf("%d token requests, grant events %q", len(w.Asked()), w.EventsOf(gatehouse.EventRPT))
			}
			// It is not a denial: the next call asks again.
			world.Get(c, world.ShopScriptPhotos)
			if len(w.Asked()) != 2 {
				t.Error("the next call did not ask")
			}
		})
	}
}
