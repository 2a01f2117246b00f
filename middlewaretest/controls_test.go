package middlewaretest_test

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// introspect asks about a token as a client does.
func introspect(t *testing.T, op *middlewaretest.Server, c gatehouse.Client, tok string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint(t, op, "introspection_endpoint"),
		strings.NewReader(url.Values{"token": {tok}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret.Reveal()))
	resp, err := op.Browser(t, "").Do(r)
	var out struct {
		Active bool `json:"active"`
	}
	if err := json.Unmarshal([]byte(body(t, resp, err)), &out); err != nil {
		t.Fatal(err)
	}
	return out.Active
}

func TestWhatEndsTokens(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	c := op.AddClient("http://rp.test/cb")
	fresh := func(scopes ...string) string {
		tok := op.AccessToken("ana", c, scopes...)
		if !introspect(t, op, c, tok) {
			t.Fatal("a new token is not active")
		}
		return tok
	}
	pat, plain := fresh("uma_protection"), fresh("read")
	inside(t, op).ExpirePATs()
	if introspect(t, op, c, pat) || !introspect(t, op, c, plain) {
		t.Error("ExpirePATs does not expire exactly the PATs")
	}
	inside(t, op).RevokeRPTs()
	if !introspect(t, op, c, plain) {
		t.Error("RevokeRPTs ends another token")
	}
	op.RevokeGrants("ana")
	if introspect(t, op, c, plain) {
		t.Error("RevokeGrants leaves a token active")
	}
	op.SetTokenLifetime(time.Minute)
	short := fresh("read")
	op.Clock().Advance(time.Minute)
	if introspect(t, op, c, short) {
		t.Error("SetTokenLifetime has no effect")
	}
	if n, peak := op.Count("introspect"), inside(t, op).Peak("introspect"); n == 0 || peak != 1 {
		t.Errorf("count %d, peak %d", n, peak)
	}
	op.ResetCounts()
	if op.Count("introspect") != 0 {
		t.Error("the counts are not reset")
	}
}

func TestLogoutReturnsToTheSite(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := notes(t, op)
	ana := op.Browser(t, "ana")
	resp, err := ana.Get(site + "/notes/")
	body(t, resp, err)
	resp, err = ana.PostForm(site+"/auth/logout", nil)
	body(t, resp, err)
	if op.Count("end_session") != 1 || !strings.HasPrefix(resp.Request.URL.String(), site) {
		t.Errorf("logout ends at %s", resp.Request.URL)
	}
	resp, err = ana.GetUntil(site+"/notes/", op.Issuer())
	body(t, resp, err)
	if !strings.HasPrefix(resp.Header.Get("Location"), op.Issuer()) {
		t.Errorf("signed out, but status %d", resp.StatusCode)
	}
}

func TestEndSessionsAndRotateKeys(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site, other := notes(t, op), notes(t, op)
	ana := op.Browser(t, "ana")
	resp, err := ana.Get(site + "/notes/")
	body(t, resp, err)
	must(t, inside(t, op).RotateKeys())
	op.EndSessions("ana")
	before := op.Count("pages")
	resp, err = ana.Get(other + "/notes/")
	if got := body(t, resp, err); got != "notes of ana " {
		t.Errorf("with new keys: %d %s", resp.StatusCode, got)
	}
	if op.Count("pages") == before {
		t.Error("EndSessions leaves the session at the provider open")
	}
}

// TestOnlyTheProviderGetsThePassword shows the browser a page at another origin
// that looks like the provider's.
func TestOnlyTheProviderGetsThePassword(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	var asked int
	phish := middlewaretest.NewApp(t, func(base string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			_, _ = io.WriteString(w, `<form method="post" action="`+base+`" id="sign-in"><input type="password" name="password">`)
		})
	})
	resp, err := op.Browser(t, "ana").Get(phish)
	body(t, resp, err)
	if asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

// authorizeURL is a valid request of a client that asks for the password.
func authorizeURL(t *testing.T, op *middlewaretest.Server, c gatehouse.Client, callback, state string) string {
	t.Helper()
	return endpoint(t, op, "authorization_endpoint") + "?" + url.Values{"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {callback},
		"scope": {"openid"}, "state": {state}, "nonce": {state}, "prompt": {"login"}, "code_challenge_method": {"S256"},
		"code_challenge": {(state + strings.Repeat("0", 43))[:43]}}.Encode()
}

func TestSignInLoopEnds(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	loop := middlewaretest.NewApp(t, func(base string) http.Handler {
		c := op.AddPublicClient(base + "/")
		n := ""
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n += "x"
			http.Redirect(w, r, authorizeURL(t, op, c, base+"/", n), http.StatusSeeOther)
		})
	})
	if _, err := op.Browser(t, "ana").Get(loop); err == nil || !strings.Contains(err.Error(), "again and again") {
		t.Errorf("a sign-in loop: %v", err)
	}
}

func TestScriptsDoNotSignIn(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	at := authorizeURL(t, op, op.AddPublicClient("http://rp.test/cb"), "http://rp.test/cb", "s")
	resp, err := op.Browser(t, "ana").Fetch(at)
	if got := body(t, resp, err); !strings.Contains(got, `id="sign-in"`) || op.Count("pages") != 0 {
		t.Errorf("a script got %d %s", resp.StatusCode, got)
	}
}

// TestSignInFormIsFound checks that the kit can read the provider's page.
func TestSignInFormIsFound(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser(`o"neil & <sons>`, nil)
	b := op.Browser(t, `o"neil & <sons>`)
	at := authorizeURL(t, op, op.AddPublicClient("http://rp.test/cb"), "http://rp.test/cb", `"&<state>`)
	resp, err := b.GetUntil(at, "http://rp.test/cb")
	body(t, resp, err)
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || back.Query().Get("state") != `"&<state>` || back.Query().Get("code") == "" {
		t.Errorf("came back with %q", resp.Header.Get("Location"))
	}
}

func TestResourceNamesMustBeClear(t *testing.T) {
	op := middlewaretest.NewServer(strictTB{t})
	op.AddUser("ana", nil)
	pat := op.AccessToken("ana", op.AddClient("http://rp.test/cb"), "uma_protection")
	var id string
	for range 2 {
		id, _ = api(t, op, endpoint(t, op, "resource_registration_endpoint"), pat, `{"name":"album","resource_scopes":["view"]}`)["_id"].(string)
	}
	op.As("ana").Share(id, "bob", "view")
	defer func() {
		if _, ok := recover().(failed); !ok {
			t.Error("one of two albums with the same name is chosen")
		}
	}()
	op.As("ana").Share("album", "bob", "view")
}

// TestRPTOptions obtains a JWT with a refresh token, and a short-lived ticket.
func TestRPTOptions(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	c := op.AddClient("http://rp.test/cb")
	pat := op.AccessToken("ana", c, "uma_protection")
	id, _ := api(t, op, endpoint(t, op, "resource_registration_endpoint"), pat, `{"resource_scopes":["view"]}`)["_id"].(string)
	inside(t, op).SetRPT(opserver.RPTOptions{JWT: true, Refresh: true})
	inside(t, op).SetTicketLifetime(time.Second)
	exchange := func(wait time.Duration) map[string]any {
		ticket, _ := api(t, op, endpoint(t, op, "permission_endpoint"), pat, `{"resource_id":"`+id+`","resource_scopes":["view"]}`)["ticket"].(string)
		op.Clock().Advance(wait)
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {ticket}, "claim_token": {op.IDToken("ana", c)},
			"claim_token_format": {"http://openid.net/specs/openid-connect-core-1_0.html#IDToken"},
			"client_id":          {c.ID}, "client_secret": {c.Secret.Reveal()}}
		resp, err := http.PostForm(endpoint(t, op, "token_endpoint"), form)
		var out map[string]any
		if err := json.Unmarshal([]byte(body(t, resp, err)), &out); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return out
	}
	got := exchange(0)
	rpt, _ := got["access_token"].(string)
	if strings.Count(rpt, ".") != 2 || got["refresh_token"] == nil {
		t.Errorf("RPT %v", got)
	}
	if got = exchange(time.Second); got["error"] != "invalid_grant" {
		t.Errorf("a ticket outlives its lifetime: %v", got)
	}
}

// TestOwnersPages uses the provider's pages as a person does.
func TestOwnersPages(t *testing.T) {
	op := middlewaretest.NewServerAt(t, "/as")
	op.AddUser("ana", nil)
	pat := op.AccessToken("ana", op.AddClient("http://rp.test/cb"), "uma_protection")
	made := api(t, op, endpoint(t, op, "resource_registration_endpoint"), pat, `{"name":"album","resource_scopes":["view"]}`)
	page, _ := made["user_access_policy_uri"].(string)
	b := op.Browser(t, "ana")
	resp, err := b.Get(page)
	got := body(t, resp, err)
	if !strings.Contains(got, "Who may use album") {
		t.Fatalf("%d %s", resp.StatusCode, got)
	}
	token := regexp.MustCompile(`name="form_token" value="([^"]+)"`).FindStringSubmatch(got)[1]
	resp, err = b.PostForm(page, url.Values{"form_token": {html.UnescapeString(token)}, "person": {"bob"}, "new": {"view"}})
	if got = body(t, resp, err); !strings.Contains(got, `aria-label="bob may view" checked`) {
		t.Errorf("saved: %d %s", resp.StatusCode, got)
	}
}
