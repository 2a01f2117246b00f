package gatehouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
)

// What the token endpoint can refuse with, and that nothing of it is repeated.
func TestUMARefusals(t *testing.T) {
	words := `"error_description":"remote words"`
	tests := map[string]struct {
		answer umaAnswer
		code   string // of the *Error
		asked  int    // token requests
		sent   int    // requests to the resource server
	}{
		"request_denied":           {umaRefused(403, "request_denied", words), "uma_denied", 1, 1},
		"Keycloak not_authorized":  {umaRefused(403, "access_denied", `"error_description":"not_authorized"`), "uma_denied", 1, 1},
		"access_denied without":    {umaRefused(403, "access_denied"), "uma_denied", 1, 1},
		"access_denied odd text":   {umaRefused(403, "access_denied", `"error_description":{"a":1}`), "uma_denied", 1, 1},
		"Gluu forbidden_by_policy": {umaRefused(403, "forbidden_by_policy", words), "uma_denied", 1, 1},
		"invalid_grant":            {umaRefused(400, "invalid_grant", words), "ticket_refused", 2, 2},
		"invalid_ticket":           {umaRefused(403, "invalid_ticket"), "ticket_refused", 2, 2},
		"expired_ticket":           {umaRefused(400, "expired_ticket"), "ticket_refused", 2, 2},
		"invalid_rpt, none sent":   {umaRefused(400, "invalid_rpt"), "uma_grant_refused", 1, 1},
		"invalid_scope":            {umaRefused(400, "invalid_scope"), "uma_grant_refused", 1, 1},
		"invalid_resource":         {umaRefused(400, "invalid_resource"), "uma_grant_refused", 1, 1},
		"an unknown error":         {umaRefused(400, "remote_code"), "uma_grant_refused", 1, 1},
		"no OAuth error":           {umaAnswer{404, "<html>remote words</html>"}, "uma_grant_refused", 1, 1},
		"invalid_client":           {umaRefused(401, "invalid_client"), "client_refused", 1, 1},
		"unauthorized_client":      {umaRefused(401, "unauthorized_client"), "client_refused", 1, 1},
		"a redirect":               {umaAnswer{302, ""}, "as_unavailable", 1, 1},
		"down":                     {umaAnswer{500, "remote words"}, "as_unavailable", 1, 1},
		"too many requests":        {umaAnswer{429, "remote words"}, "as_unavailable", 1, 1},
		"HTML":                     {umaAnswer{200, "<html>remote words</html>"}, "as_unavailable", 1, 1},
		"too large":                {umaGranted("rpt1", `"x":"`+strings.Repeat("x", 2<<20)+`"`), "as_unavailable", 1, 1},
		"no access_token":          {umaAnswer{200, `{"token_type":"Bearer"}`}, "as_unavailable", 1, 1},
		"another token type":       {umaAnswer{200, `{"access_token":"rpt1","token_type":"mac"}`}, "token_type_unsupported", 1, 1},
		"no JSON in need_info":     {umaRefused(403, "need_info", `"ticket":"new-1"},{`), "uma_grant_refused", 1, 1},
		"a ticket too long":        {umaRefused(403, "need_info", `"ticket":"`+strings.Repeat("t", 16<<10+1)+`"`), "uma_grant_refused", 1, 1},
		"header injection":         {umaGranted(`rpt1\r\nX-Evil: 1`), "rpt_unusable", 1, 1},
		"two tokens":               {umaGranted(`rpt1 rpt2`), "rpt_unusable", 1, 1},
		"only padding":             {umaGranted(`==`), "rpt_unusable", 1, 1},
		"huge token":               {umaGranted(strings.Repeat("a", 16<<10+1)), "rpt_unusable", 1, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.permit = func(*http.Request, string) bool { return false }
			w.answer = func(int, url.Values) umaAnswer { return tt.answer }
			c := w.client(gatehouse.UMATransportConfig{})
			w.wantCode(c, umaPhotos, tt.code)
			if len(w.asked()) != tt.asked || len(w.tokens()) != tt.sent {
				t.Errorf("%d token requests, %d requests to the resource server", len(w.asked()), len(w.tokens()))
			}
			for _, code := range w.codes() {
				if code != tt.code {
					t.Errorf("grant event with the code %q", code)
				}
			}
		})
	}
}

// The first ticket is refused, a fresh one is good.
func TestUMAFreshStart(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(n int, _ url.Values) umaAnswer {
		if n == 1 {
			return umaRefused(400, "invalid_grant")
		}
		return umaGranted("rpt1")
	}
	w.wantPicture(w.client(gatehouse.UMATransportConfig{}), umaPhotos)
	if got := w.tokens(); !slices.Equal(got, []string{"", "", "rpt1"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// Janssen: an rpt that it no longer knows (J9). Once more without it, with a
// ticket of a request without it.
func TestUMAInvalidRPT(t *testing.T) {
	w := newUMAWorld(t)
	w.permit = func(_ *http.Request, token string) bool { return token == "rpt1" }
	c := w.client(gatehouse.UMATransportConfig{})
	w.wantPicture(c, umaPhotos)
	w.permit = func(_ *http.Request, token string) bool { return token == "rpt3" }
	w.answer = func(n int, form url.Values) umaAnswer {
		if form.Has("rpt") {
			return umaRefused(400, "invalid_rpt")
		}
		return umaGranted(fmt.Sprintf("rpt%d", n))
	}
	w.wantPicture(c, umaPhotos)
	if got := w.tokens()[2:]; !slices.Equal(got, []string{"rpt1", "", "rpt3"}) || len(w.asked()) != 3 {
		t.Errorf("the resource server saw %q, %d token requests", got, len(w.asked()))
	}
}

// A token that is too weak is offered for an upgrade (UMA Grant §3.3.5).
func TestUMAUpgrade(t *testing.T) {
	for name, upgraded := range map[string]string{"new token": "rpt2", "same token (Gluu)": "rpt1"} {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = func(n int, form url.Values) umaAnswer {
				if n == 1 {
					return umaGranted("rpt1")
				}
				return umaGranted(upgraded, `"upgraded":true`)
			}
			w.permit = func(r *http.Request, token string) bool {
				return token != "" && (r.Method == "GET" || token == upgraded && len(w.asked()) > 1)
			}
			c := w.client(gatehouse.UMATransportConfig{})
			w.wantPicture(c, umaPhotos)
			r, _ := http.NewRequest("DELETE", umaPhotos, nil)
			resp, err := c.Do(r)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("DELETE: %v", err)
			}
			w.wantPicture(c, umaPhotos)
			if got := w.asked(); len(got) != 2 || got[0].Has("rpt") || got[1].Get("rpt") != "rpt1" {
				t.Errorf("asked %v", got)
			}
			if got := w.tokens(); !slices.Equal(got, []string{"", "rpt1", "rpt1", upgraded, upgraded}) {
				t.Errorf("the resource server saw %q", got)
			}
		})
	}
}

// A token that is never enough does not make a loop.
func TestUMATooManyRounds(t *testing.T) {
	more := func(n int, form url.Values) umaAnswer { return umaGranted(fmt.Sprintf("rpt%d", n)) }
	askThenGrant := func(n int, form url.Values) umaAnswer {
		if !form.Has("claim_token") {
			return umaRefused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n))
		}
		return umaGranted(fmt.Sprintf("rpt%d", n))
	}
	askLater := func(n int, form url.Values) umaAnswer {
		if n == 1 {
			return umaGranted("rpt1")
		}
		return askThenGrant(n, form)
	}
	tests := map[string]struct {
		rounds int
		answer func(int, url.Values) umaAnswer
		asked  int
		sent   int
	}{
		"three by default":     {0, more, 3, 4},
		"one":                  {1, more, 1, 2},
		"never more than 8":    {100, more, 3, 4},
		"8 with pushed claims": {100, askThenGrant, 4, 3},
		"none left to push":    {100, askLater, 4, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.permit = func(*http.Request, string) bool { return false }
			w.answer = tt.answer
			config := umaBob()
			config.MaxRounds = tt.rounds
			w.wantCode(w.client(config), umaPhotos, "too_many_rounds")
			asked, sent := len(w.asked()), len(w.tokens())
			if asked != tt.asked || sent != tt.sent || asked+sent > 8 {
				t.Errorf("%d token requests, %d requests to the resource server", asked, sent)
			}
		})
	}
}

const umaIDTokenFormat = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"

func TestUMANeedInfo(t *testing.T) {
	idToken := `"required_claims":[{"name":"email","friendly_name":"your address","claim_type":"string","claim_token_format":["urn:saml","` +
		umaIDTokenFormat + `"],"issuer":["https://idp.example.org"]}]`
	need := func(more ...string) umaAnswer {
		return umaRefused(403, "need_info", append([]string{`"ticket":"new-1"`}, more...)...)
	}
	saml := func(context.Context) (gatehouse.ClaimToken, error) {
		return gatehouse.ClaimToken{Token: gatehouse.NewSecret("saml"), Format: "urn:saml"}, nil
	}
	none := func(context.Context) (gatehouse.ClaimToken, error) { return gatehouse.ClaimToken{}, nil }
	full := gatehouse.RequiredClaim{Name: "email", FriendlyName: "your address", Type: "string",
		TokenFormats: []string{"urn:saml", umaIDTokenFormat}, Issuers: []string{"https://idp.example.org"}}
	tests := map[string]struct {
		claims func(context.Context) (gatehouse.ClaimToken, error)
		answer umaAnswer
		pushed string                  // format; "" for not pushed
		want   gatehouse.NeedInfoError // when not pushed
	}{
		"pushed":              {umaBob().Claims, need(idToken), umaIDTokenFormat, gatehouse.NeedInfoError{}},
		"pushed, none listed": {umaBob().Claims, need(`"redirect_user":"https://as.example.org/claims"`), umaIDTokenFormat, gatehouse.NeedInfoError{}},
		"another format":      {saml, need(idToken), "urn:saml", gatehouse.NeedInfoError{}},
		"format not listed":   {saml, need(`"required_claims":[{"claim_token_format":["` + umaIDTokenFormat + `"]}]`), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{{TokenFormats: []string{umaIDTokenFormat}}}}},
		"no Claims":           {nil, need(idToken), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{full}}},
		"nothing to push":     {none, need(idToken), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{full}}},
		"redirect_user":       {nil, need(`"redirect_user":"https://as.example.org/claims?x=1"`), "", gatehouse.NeedInfoError{RedirectUser: "https://as.example.org/claims?x=1"}},
		"Gluu's address":      {nil, need(`"redirect_user":"https://as.example.org/claims&client_id=1"`), "", gatehouse.NeedInfoError{RedirectUser: "https://as.example.org/claims&client_id=1"}},
		"redirect_user http":  {nil, need(`"redirect_user":"http://as.example.org/claims"`), "", gatehouse.NeedInfoError{}},
		"a script":            {nil, need(`"redirect_user":"javascript:alert(1)"`), "", gatehouse.NeedInfoError{}},
		"UMA 1's boolean":     {nil, need(`"redirect_user":true`), "", gatehouse.NeedInfoError{}},
		"claims of odd types": {nil, need(`"required_claims":[{"name":7,"issuer":"https://idp","claim_token_format":{}}]`), "", gatehouse.NeedInfoError{Claims: []gatehouse.RequiredClaim{{Issuers: []string{"https://idp"}}}}},
		"claims no array":     {nil, need(`"required_claims":"email"`), "", gatehouse.NeedInfoError{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = func(n int, form url.Values) umaAnswer {
				if n == 1 {
					return tt.answer
				}
				return umaGranted("rpt1")
			}
			c := w.client(gatehouse.UMATransportConfig{Claims: tt.claims, Party: umaBob().Party})
			_, _, err := umaGet(c, umaPhotos)
			w.wantNoSecret(err)
			got := w.asked()
			if got[0].Has("claim_token") || got[0].Get("ticket") != "ticket-1" {
				t.Errorf("first: %v", got[0])
			}
			if tt.pushed != "" {
				if err != nil || len(got) != 2 || got[1].Get("claim_token_format") != tt.pushed ||
					got[1].Get("claim_token") == "" || got[1].Get("ticket") != "new-1" {
					t.Errorf("%v; asked %v", err, got)
				}
				return
			}
			e, ok := errors.AsType[*gatehouse.NeedInfoError](err)
			if !ok || len(got) != 1 {
				t.Fatalf("%v; %d token requests", err, len(got))
			}
			if e.Ticket.Reveal() != "new-1" || e.Issuer != umaIssuer || e.RedirectUser != tt.want.RedirectUser ||
				fmt.Sprint(e.Claims) != fmt.Sprint(tt.want.Claims) {
				t.Errorf("got %+v", e)
			}
			if codes := w.codes(); !slices.Equal(codes, []string{"need_info"}) {
				t.Errorf("grant events %q", codes)
			}
		})
	}
}

// Claims are pushed once: a server that asks for ever more gets its answer from
// a person.
func TestUMANeedInfoForever(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(n int, _ url.Values) umaAnswer {
		return umaRefused(403, "need_info", fmt.Sprintf(`"ticket":"new-%d"`, n))
	}
	_, _, err := umaGet(w.client(umaBob()), umaPhotos)
	e, ok := errors.AsType[*gatehouse.NeedInfoError](err)
	if !ok || e.Ticket.Reveal() != "new-2" || len(w.asked()) != 2 {
		t.Errorf("%v, %d token requests", err, len(w.asked()))
	}
}

// UMA Grant §3.3.6: a returned ticket must be a new one.
func TestUMATicketReused(t *testing.T) {
	tests := map[string]func(n int, form url.Values) umaAnswer{
		"need_info, the same": func(_ int, f url.Values) umaAnswer {
			return umaRefused(403, "need_info", `"ticket":"`+f.Get("ticket")+`"`)
		},
		"need_info, none":     func(int, url.Values) umaAnswer { return umaRefused(403, "need_info") },
		"need_info, a number": func(int, url.Values) umaAnswer { return umaRefused(403, "need_info", `"ticket":7`) },
		"request_submitted, the same": func(_ int, f url.Values) umaAnswer {
			return umaRefused(403, "request_submitted", `"ticket":"`+f.Get("ticket")+`"`)
		},
		"the one before": func(n int, f url.Values) umaAnswer {
			return umaRefused(403, "need_info", `"ticket":"`+map[int]string{1: "new-1", 2: "ticket-1"}[n]+`"`)
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = answer
			w.wantCode(w.client(umaBob()), umaPhotos, "ticket_reused")
			want := 1
			if name == "the one before" {
				want = 2
			}
			if len(w.tokens()) != 1 || len(w.asked()) != want {
				t.Errorf("the resource server saw %q, the authorization server %v", w.tokens(), w.asked())
			}
		})
	}
}

func TestUMASubmitted(t *testing.T) {
	tests := map[string]struct {
		answer   umaAnswer
		ticket   string
		interval time.Duration
	}{
		"with interval":    {umaRefused(403, "request_submitted", `"ticket":"new-1","interval":5`), "new-1", 5 * time.Second},
		"without interval": {umaRefused(403, "request_submitted", `"ticket":"new-1"`), "new-1", 0},
		"negative":         {umaRefused(403, "request_submitted", `"ticket":"new-1","interval":-5`), "new-1", 0},
		"text":             {umaRefused(403, "request_submitted", `"ticket":"new-1","interval":"5"`), "new-1", 0},
		"endless":          {umaRefused(403, "request_submitted", `"ticket":"new-1","interval":1e300`), "new-1", 24 * time.Hour},
		"no ticket":        {umaRefused(403, "request_submitted"), "", 0},
		"Keycloak":         {umaRefused(403, "access_denied", `"error_description":"request_submitted"`), "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = func(int, url.Values) umaAnswer { return tt.answer }
			c := w.client(gatehouse.UMATransportConfig{})
			_, _, err := umaGet(c, umaPhotos)
			e, ok := errors.AsType[*gatehouse.SubmittedError](err)
			if !ok || e.Ticket.Reveal() != tt.ticket || e.Interval != tt.interval || e.Issuer != umaIssuer {
				t.Errorf("%v: %+v", err, e)
			}
			w.wantNoSecret(err)
			if len(w.asked()) != 1 || !slices.Equal(w.codes(), []string{"request_submitted"}) {
				t.Errorf("%d token requests, grant events %q", len(w.asked()), w.codes())
			}
			// It is no denial: the next call asks again.
			umaGet(c, umaPhotos)
			if len(w.asked()) != 2 {
				t.Error("the next call did not ask")
			}
		})
	}
}

// Keycloak never asks for claims and bothers the owner unless told not to
// (K11, K14, K16).
func TestUMAKeycloak(t *testing.T) {
	tests := map[string]struct {
		keycloak bool
		config   gatehouse.UMATransportConfig
		pushed   bool
		submit   string
	}{
		"standard":                {false, umaBob(), false, ""},
		"standard, PushFirst":     {false, umaWith(umaBob(), func(c *gatehouse.UMATransportConfig) { c.PushFirst = true }), true, ""},
		"Keycloak":                {true, umaBob(), true, "false"},
		"Keycloak, SubmitRequest": {true, umaWith(umaBob(), func(c *gatehouse.UMATransportConfig) { c.SubmitRequest = true }), true, ""},
		"Keycloak, for itself":    {true, gatehouse.UMATransportConfig{}, false, "false"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			c := &http.Client{Transport: w.transport(w.provider(tt.keycloak), tt.config)}
			w.wantPicture(c, umaPhotos)
			got := w.asked()
			if len(got) != 1 || got[0].Has("claim_token") != tt.pushed || got[0].Get("submit_request") != tt.submit {
				t.Errorf("asked %v", got)
			}
			if tt.pushed && (got[0].Get("claim_token") != umaIDToken || got[0].Get("claim_token_format") != umaIDTokenFormat) {
				t.Errorf("pushed %v", got[0])
			}
		})
	}
}

func umaWith(c gatehouse.UMATransportConfig, change func(*gatehouse.UMATransportConfig)) gatehouse.UMATransportConfig {
	change(&c)
	return c
}

// Without the proof that was configured nothing is sent in the client's own name.
func TestUMAClaimsFail(t *testing.T) {
	cause := &gatehouse.Error{Code: "login_required", Status: 401}
	tests := map[string]struct {
		keycloak bool
		token    string
		err      error
		answer   umaAnswer
		code     string
		asked    int
	}{
		"Keycloak, no token":      {true, "", nil, umaGranted("rpt1"), "uma_claims_unavailable", 0},
		"Keycloak, error":         {true, "", errors.New("no session"), umaGranted("rpt1"), "uma_claims_unavailable", 0},
		"Keycloak, our error":     {true, "", cause, umaGranted("rpt1"), "login_required", 0},
		"Keycloak, session ended": {true, umaIDToken, nil, umaRefused(400, "unauthorized_client"), "uma_claims_refused", 1},
		"Keycloak, expired":       {true, umaIDToken, nil, umaRefused(400, "invalid_claim_token"), "uma_claims_refused", 1},
		"Keycloak, wrong secret":  {true, umaIDToken, nil, umaRefused(401, "unauthorized_client"), "client_refused", 1},
		"standard, error":         {false, "", errors.New("no session"), umaRefused(403, "need_info", `"ticket":"new-1"`), "uma_claims_unavailable", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newUMAWorld(t)
			w.answer = func(int, url.Values) umaAnswer { return tt.answer }
			config := umaBob()
			config.Claims = func(context.Context) (gatehouse.ClaimToken, error) {
				return gatehouse.ClaimToken{Token: gatehouse.NewSecret(tt.token)}, tt.err
			}
			w.wantCode(&http.Client{Transport: w.transport(w.provider(tt.keycloak), config)}, umaPhotos, tt.code)
			if len(w.asked()) != tt.asked {
				t.Errorf("%d token requests", len(w.asked()))
			}
		})
	}
}

// Claims sees the values of the request that needs it.
func TestUMAClaimsContext(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(n int, f url.Values) umaAnswer { return umaGranted("rpt-of-" + f.Get("claim_token")) }
	tr := w.transport(w.provider(true), gatehouse.UMATransportConfig{
		Claims: func(ctx context.Context) (gatehouse.ClaimToken, error) {
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(gatehouse.IdentityFrom(ctx).Subject)}, nil
		},
	})
	for _, who := range []string{"bob", "carol"} {
		ctx := gatehouse.WithIdentity(t.Context(), &gatehouse.Identity{Issuer: umaIssuer, Subject: who})
		r, _ := http.NewRequestWithContext(ctx, "GET", umaPhotos, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(err)
		}
	}
	if got := w.tokens(); !slices.Equal(got, []string{"", "rpt-of-bob", "", "rpt-of-carol"}) {
		t.Errorf("the resource server saw %q", got)
	}
}

// A denial is remembered for five seconds, for this request of this party only.
func TestUMADenialIsRemembered(t *testing.T) {
	w := newUMAWorld(t)
	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
	party := "bob"
	tr := w.transport(w.provider(false), gatehouse.UMATransportConfig{Party: func(context.Context) string { return party }})
	c := &http.Client{Transport: tr}
	w.wantCode(c, umaPhotos+"/a?b=1", "uma_denied")
	w.advance(5*time.Second - 1)
	w.wantCode(c, umaPhotos+"/a?b=1", "uma_denied")
	if len(w.asked()) != 1 || len(w.tokens()) != 1 {
		t.Fatalf("%d token requests, %d requests in all", len(w.asked()), len(w.tokens()))
	}
	w.answer = func(n int, _ url.Values) umaAnswer { return umaGranted(fmt.Sprintf("rpt%d", n)) }
	w.wantPicture(c, umaPhotos+"/a?b=2")
	if resp, err := c.Post(umaPhotos+"/a?b=1", "", nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("another method: %v", err)
	}
	party = "carol"
	w.wantPicture(c, umaPhotos+"/a?b=1")
	party = "bob"
	w.wantCode(c, umaPhotos+"/a?b=1", "uma_denied")
	w.advance(1)
	w.wantPicture(c, umaPhotos+"/a?b=1")

	w.answer = func(int, url.Values) umaAnswer { return umaRefused(403, "request_denied") }
	w.permit = func(*http.Request, string) bool { return false }
	w.wantCode(c, umaPhotos+"/c", "uma_denied")
	tr.Forget(t.Context(), "bob")
	w.permit = func(*http.Request, string) bool { return true }
	w.wantPicture(c, umaPhotos+"/c")
}

// The resource server could not get a ticket: its word stands.
func TestUMAServerUnreachableFromThere(t *testing.T) {
	w := newUMAWorld(t)
	w.wire["photos.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, umaSeen{})
		w.mu.Unlock()
		rw.Header().Set("Warning", `199 - "UMA Authorization Server Unreachable"`)
		rw.WriteHeader(403)
		fmt.Fprint(rw, "as it is")
	})
	status, body, err := umaGet(w.client(gatehouse.UMATransportConfig{}), umaPhotos)
	if status != 403 || body != "as it is" || err != nil || len(w.tokens()) != 1 || len(w.asked()) != 0 {
		t.Errorf("%d %q %v", status, body, err)
	}
	for _, c := range []struct {
		status  int
		warning string
		want    bool
	}{{403, `199 - "UMA Authorization Server Unreachable"`, true}, {403, "", false}, {403, `110 - "Stale"`, false}, {503, `199 - "x"`, false}, {401, `199 - "x"`, false}} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Warning": {c.warning}}}
		if got := gatehouse.IsUMAUnreachable(resp); got != c.want {
			t.Errorf("%d %q: %v", c.status, c.warning, got)
		}
	}
}

// A spent ticket of unknown fate is not sent again; the next call starts afresh.
func TestUMAServerDown(t *testing.T) {
	w := newUMAWorld(t)
	as := w.wire["as.example.org"]
	delete(w.wire, "as.example.org")
	c := w.client(gatehouse.UMATransportConfig{})
	w.wantCode(c, umaPhotos, "as_unavailable")
	if len(w.tokens()) != 1 {
		t.Errorf("%d requests to the resource server", len(w.tokens()))
	}
	w.wire["as.example.org"] = as
	w.wantPicture(c, umaPhotos)
	if got := w.asked(); len(got) != 1 || got[0].Get("ticket") != "ticket-2" {
		t.Errorf("asked %v", got)
	}
}

// Metadata of another issuer is refused before the secret or a ticket leaves.
func TestUMAMetadataOfAnotherIssuer(t *testing.T) {
	w := newUMAWorld(t)
	var paths []string
	w.wire["as.example.org"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.URL.Path)
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent")
		}
		fmt.Fprint(rw, `{"issuer":"https://evil.example","token_endpoint":"https://as.example.org/odd/token-9"}`)
	})
	p, err := gatehouse.NewProvider(umaIssuer, &gatehouse.ProviderConfig{Transport: w.wire, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: w.transport(p, gatehouse.UMATransportConfig{})}
	w.wantCode(c, umaPhotos, "metadata_issuer_mismatch")
	if !slices.Equal(paths, []string{"GET /realm/.well-known/uma2-configuration"}) {
		t.Errorf("the authorization server was asked %q", paths)
	}
}
