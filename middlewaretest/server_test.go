package middlewaretest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// notes is a service with sign-in, as in the documentation.
func notes(t *testing.T, op *middlewaretest.Server) string {
	t.Helper()
	return middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client:      op.AddClient(base + "/auth/callback"),
			RedirectURL: base + "/auth/callback",
			Scopes:      []string{"profile", "email"},
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/callback", login.CallbackHandler())
		mux.Handle("/auth/logout", login.LogoutHandler())
		mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := gatehouse.IdentityFrom(r.Context())
			_, _ = io.WriteString(w, "notes of "+id.Subject+" "+id.ClaimString("email"))
		})))
		return mux
	})
}

func body(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSignIn(t *testing.T) {
	for _, path := range []string{"", "/realms/demo", "/", "/realms/demo/"} {
		t.Run("issuer path "+path, func(t *testing.T) {
			op := middlewaretest.NewServerAt(t, path)
			op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
			site := notes(t, op)
			ana := op.Browser(t, "ana")
			resp, err := ana.Get(site + "/notes/7")
			if got := body(t, resp, err); got != "notes of ana ana@example.org" || resp.Request.URL.String() != site+"/notes/7" {
				t.Fatalf("%d at %s: %s", resp.StatusCode, resp.Request.URL, got)
			}
			if len(ana.Cookies(site)) == 0 {
				t.Error("the browser has no cookie")
			}
			if n := op.Count("token"); n != 1 || op.CountToken("authorization_code") != 1 || op.Count("uma_metadata") != 0 {
				t.Errorf("%d token requests, %d of uma2-configuration", n, op.Count("uma_metadata"))
			}
			resp, err = op.Browser(t, "").Get(site + "/notes/")
			if got := body(t, resp, err); !strings.HasPrefix(resp.Request.URL.String(), op.Issuer()) || !strings.Contains(got, "Sign in") {
				t.Errorf("the visit ends at %s without a user", resp.Request.URL)
			}
			if v := op.Violations(); len(v) != 0 {
				t.Errorf("violations %q", v)
			}
		})
	}
}

func TestBreakAndMend(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", nil)
	site := notes(t, op)
	for _, fault := range []middlewaretest.Fault{middlewaretest.WrongNonce, middlewaretest.WrongIssuer, middlewaretest.WrongState, middlewaretest.TokenEndpointDown} {
		op.Break(fault)
		resp, err := op.Browser(t, "ana").Get(site + "/notes/")
		if got := body(t, resp, err); strings.Contains(got, "notes of") {
			t.Errorf("%s: %d %s", fault, resp.StatusCode, got)
		}
		op.Mend()
		resp, err = op.Browser(t, "ana").Get(site + "/notes/")
		if got := body(t, resp, err); got != "notes of ana " {
			t.Errorf("after %s: %d %s", fault, resp.StatusCode, got)
		}
	}
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("violations %q", v)
	}
}

func TestStopAndStart(t *testing.T) {
	op := middlewaretest.NewServer(t)
	at := op.Issuer() + "/.well-known/openid-configuration"
	b := op.Browser(t, "")
	op.Stop()
	op.Stop()
	if _, err := b.Get(at); err == nil {
		t.Error("a stopped server answers")
	}
	op.Start()
	op.Start()
	resp, err := b.Get(at)
	if got := body(t, resp, err); !strings.Contains(got, `"issuer":"`+op.Issuer()+`"`) {
		t.Errorf("after the start: %s", got)
	}
}

func TestHangEndsWithTheTest(t *testing.T) {
	var op *middlewaretest.Server
	done := make(chan error, 1)
	t.Run("inner", func(t *testing.T) {
		op = middlewaretest.NewServer(t)
		arrived := make(chan struct{})
		op.OnRequest("jwks", func(*http.Request) { close(arrived) })
		op.BreakAt(middlewaretest.AuthorizationServerHangs, "jwks")
		var md struct {
			JWKS string `json:"jwks_uri"`
		}
		resp, err := op.Browser(t, "").Get(op.Issuer() + "/.well-known/openid-configuration")
		if err := json.Unmarshal([]byte(body(t, resp, err)), &md); err != nil {
			t.Fatal(err)
		}
		go func() {
			resp, err := http.Get(md.JWKS)
			if err == nil {
				err = resp.Body.Close()
			}
			done <- err
		}()
		<-arrived
	})
	<-done // answered or cut: it does not hang
}

func TestClock(t *testing.T) {
	before := time.Now().Truncate(time.Second)
	op := middlewaretest.NewServer(t)
	start := op.Clock().Now()
	if start.Before(before) || start.After(time.Now()) {
		t.Errorf("the clock starts at %v, which is not now", start)
	}
	op.AddUser("ana", nil)
	c := op.AddClient("http://rp.test/cb")
	tok := op.AccessToken("ana", c, "openid")
	if n := userInfo(t, op, tok); n != http.StatusOK {
		t.Fatalf("user info %d", n)
	}
	op.Clock().Advance(5 * time.Minute)
	if op.Clock().Now().Sub(start) != 5*time.Minute {
		t.Error("the clock moves by itself")
	}
	if n := userInfo(t, op, tok); n != http.StatusUnauthorized {
		t.Errorf("expired token: user info %d", n)
	}
}

// endpoint reads an address from the metadata.
func endpoint(t *testing.T, op *middlewaretest.Server, name string) string {
	t.Helper()
	var md map[string]any
	resp, err := op.Browser(t, "").Get(op.Issuer() + "/.well-known/uma2-configuration")
	if err := json.Unmarshal([]byte(body(t, resp, err)), &md); err != nil {
		t.Fatal(err)
	}
	if md[name] == nil {
		resp, err = op.Browser(t, "").Get(op.Issuer() + "/.well-known/openid-configuration")
		if err := json.Unmarshal([]byte(body(t, resp, err)), &md); err != nil {
			t.Fatal(err)
		}
	}
	at, _ := md[name].(string)
	return at
}

func userInfo(t *testing.T, op *middlewaretest.Server, tok string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint(t, op, "userinfo_endpoint"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+tok)
	resp, err := op.Browser(t, "").Do(r)
	body(t, resp, err)
	return resp.StatusCode
}

// api sends JSON with a bearer token and decodes the answer.
func api(t *testing.T, op *middlewaretest.Server, address, tok, text string) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+tok)
	r.Header.Set("Content-Type", "application/json")
	resp, err := op.Browser(t, "").Do(r)
	var out map[string]any
	if err := json.Unmarshal([]byte(body(t, resp, err)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOwner tests sharing from request to revocation over plain HTTP.
func TestOwner(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("alice", nil)
	op.AddUser("bob", middlewaretest.Claims{"email": "bob@example.org"})
	site, shop := op.AddClient("http://site.test/cb"), op.AddClient("http://shop.test/cb")
	pat := op.AccessToken("alice", site, "uma_protection")
	made := api(t, op, endpoint(t, op, "resource_registration_endpoint"), pat, `{"name":"album 7","resource_scopes":["view","print","edit"]}`)
	alice := op.As("alice")
	if got := alice.Resources(); len(got) != 1 || got[0] != "album 7" || alice.ResourceID("album 7") != made["_id"] {
		t.Fatalf("resources %q", got)
	}
	ask := func(scope string) string {
		ticket := api(t, op, endpoint(t, op, "permission_endpoint"), pat,
			`[{"resource_id":"`+alice.ResourceID("album 7")+`","resource_scopes":["`+scope+`"]}]`)["ticket"]
		v := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "ticket": {ticket.(string)},
			"claim_token": {op.IDToken("bob", shop)}, "claim_token_format": {"http://openid.net/specs/openid-connect-core-1_0.html#IDToken"}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint(t, op, "token_endpoint"), strings.NewReader(v.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(url.QueryEscape(shop.ID), url.QueryEscape(shop.Secret.Reveal()))
		resp, err := op.Browser(t, "").Do(r)
		var out map[string]any
		if err := json.Unmarshal([]byte(body(t, resp, err)), &out); err != nil {
			t.Fatal(err)
		}
		if out["error"] != nil {
			return out["error"].(string)
		}
		return "granted"
	}
	step := func(want, scope string) {
		t.Helper()
		if got := ask(scope); got != want {
			t.Errorf("%s: %s, want %s", scope, got, want)
		}
	}
	alice.Share("album 7", "bob@example.org", "view")
	step("granted", "view")
	step("request_submitted", "print")
	inbox := alice.Pending()
	if len(inbox) != 1 || inbox[0].Who != "bob" || inbox[0].Resource != "album 7" || inbox[0].Client != shop.ID {
		t.Fatalf("inbox %v", inbox)
	}
	alice.Approve(inbox[0].ID)
	step("granted", "print")
	step("request_submitted", "edit")
	if inbox = alice.Pending(); len(inbox) != 1 || !slices.Equal(inbox[0].Scopes, []string{"edit"}) {
		t.Fatalf("inbox %v", inbox)
	}
	alice.Deny(inbox[0].ID)
	step("request_denied", "edit")
	step("granted", "print")
	if inbox = alice.Pending(); len(inbox) != 0 {
		t.Errorf("inbox %v after she said no", inbox)
	}
	alice.Revoke("album 7", "bob", "print")
	step("request_denied", "print")
	step("granted", "view")
	alice.Revoke("album 7", "bob")
	step("request_denied", "view")
	op.AddUser("bob", middlewaretest.Claims{"email": "bob@example.org"}) // again: nothing changes
	step("request_denied", "view")
	alice.Forget("album 7")
	if len(alice.Resources()) != 0 {
		t.Error("a forgotten resource is listed")
	}
}

func TestWithIdentity(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := gatehouse.IdentityFrom(r.Context()); id != nil {
			_, _ = io.WriteString(w, id.Subject)
		}
	})
	for want, id := range map[string]*gatehouse.Identity{"ana": {Subject: "ana"}, "": nil} {
		site := middlewaretest.NewApp(t, func(string) http.Handler { return middlewaretest.WithIdentity(h, id) })
		resp, err := http.Get(site)
		if got := body(t, resp, err); got != want {
			t.Errorf("identity %q, want %q", got, want)
		}
		_ = resp.Body.Close()
	}
}
