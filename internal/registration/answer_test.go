package registration_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse/internal/registration"
)

func ask(t testing.TB) registration.Ask {
	t.Helper()
	a, err := newProvider(newShared(0)).Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestJudge: what is taken, and which changes are named.
func TestJudge(t *testing.T) {
	had := registration.Client{ID: "c", Secret: "s", Since: at.Add(-time.Hour), Expires: at.Add(time.Minute), Auth: "client_secret_basic", Manage: "https://as.example.org/reg/c", Token: "t", Asked: "d"}
	with := func(change func(c *registration.Client)) registration.Client { c := had; change(&c); return c }
	for _, c := range []struct {
		name, body string
		had        *registration.Client
		want       registration.Client
		changed    []string
	}{
		{"the least", `{"client_id":"c","client_secret":"s"}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"nulls", `{"client_id":"c","client_secret":"s","registration_client_uri":null,"client_secret_expires_at":null}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"an address without a token", `{"client_id":"c","client_secret":"s","registration_client_uri":"https://as.example.org/r"}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"milliseconds", `{"client_id":"c","client_secret":"s","client_secret_expires_at":1335205592410}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"changes", `{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post","scope":"openid","grant_types":["authorization_code"],"response_types":["code"],"unknown":1}`, nil,
			registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_post"}, []string{"grant_types", "scope", "token_endpoint_auth_method"}},
		{"a list of one method", `{"client_id":"c","client_secret":"s","token_endpoint_auth_method":["client_secret_basic"]}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"a list of another method", `{"client_id":"c","client_secret":"s","token_endpoint_auth_method":["client_secret_post"]}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_post"}, []string{"token_endpoint_auth_method"}},
		{"the order says nothing", `{"client_id":"c","client_secret":"s","scope":"email openid","grant_types":["refresh_token","authorization_code"]}`, nil, registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}, nil},
		{"a read that says little", `{"client_id":"c"}`, &had, had, nil},
		{"a read with a new secret", `{"client_id":"c","client_secret":"n","client_secret_expires_at":0}`, &had, with(func(c *registration.Client) { c.Secret, c.Expires, c.Since = "n", time.Time{}, at }), nil},
		{"a read with a later end", `{"client_id":"c","client_secret":"s","client_secret_expires_at":1777640460}`, &had, with(func(c *registration.Client) { c.Expires, c.Since = time.Unix(1777640460, 0).UTC(), at }), nil},
		{"a read with a new token", `{"client_id":"c","registration_access_token":"u"}`, &had, with(func(c *registration.Client) { c.Token = "u" }), nil},
	} {
		got, changed, err := ask(t).Judge([]byte(c.body), c.had, at)
		if err != nil || !reflect.DeepEqual([2]any{got, changed}, [2]any{c.want, c.changed}) {
			t.Errorf("%s: %#v, changed %q, %v", c.name, got.Since, changed, err)
		}
	}
	for _, list := range []string{`["client_secret_basic","client_secret_post"]`, `[]`, `[7]`, `[""]`, `[["client_secret_basic"]]`, `["client_secret_basic",null]`, `["made up"]`} {
		if _, _, err := ask(t).Judge([]byte(`{"client_id":"c","client_secret":"s","token_endpoint_auth_method":`+list+`}`), nil, at); !errors.Is(err, registration.ErrUnusable) {
			t.Errorf("the methods %s: %v", list, err)
		}
	}
	if _, _, err := ask(t).Judge([]byte(`{"client_id":"another"}`), &had, at); !errors.Is(err, registration.ErrUnusable) {
		t.Errorf("another client: %v", err)
	}
}

// TestJudgeProofs: what we cannot sign with cannot serve, and what signs tokens is
// kept if we asked for it.
func TestJudgeProofs(t *testing.T) {
	a := ask(t)
	a.Can = func(string) bool { return true }
	a.Suffices = func(method, secret string) bool { return method != "client_secret_jwt" || len(secret) >= 32 }
	a.Verifies = func(alg string) bool { return alg != "HS256" && alg != "none" }
	a.Members["token_endpoint_auth_signing_alg"] = json.RawMessage(`"ES256"`)
	a.Members["id_token_signed_response_alg"] = json.RawMessage(`"ES256"`)
	a.Members["userinfo_signed_response_alg"] = json.RawMessage(`"ES256"`)
	had := registration.Client{ID: "c", Secret: "s", Since: at, Signing: "RS256", Info: "RS256", Asked: a.Digest}
	other := had
	other.Asked = "before"
	for _, c := range []struct {
		body          string
		had           *registration.Client
		signing, info string
		refused       bool
	}{
		{`{"client_id":"c","client_secret":"s"}`, nil, "ES256", "ES256", false},
		{`{"client_id":"c","client_secret":"s","id_token_signed_response_alg":"RS256","userinfo_signed_response_alg":null}`, nil, "RS256", "ES256", false},
		{`{"client_id":"c","client_secret":"s","userinfo_signed_response_alg":"none"}`, nil, "ES256", "", false},
		{`{"client_id":"c","client_secret":"s","userinfo_signed_response_alg":"HS256"}`, nil, "", "", true},
		{`{"client_id":"c"}`, &had, "RS256", "RS256", false},
		{`{"client_id":"c","id_token_signed_response_alg":"ES256"}`, &had, "ES256", "RS256", false},
		{`{"client_id":"c"}`, &other, "", "", false}, // nobody knows which of them counts
		{`{"client_id":"c","token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"ES256"}`, nil, "ES256", "ES256", false},
		{`{"client_id":"c","token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"RS256"}`, nil, "", "", true},
		{`{"client_id":"c","client_secret":"s","token_endpoint_auth_signing_alg":"RS256"}`, nil, "ES256", "ES256", false}, // nothing is signed
		{`{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_jwt"}`, nil, "", "", true},
		{`{"client_id":"c","client_secret":"` + strings.Repeat("s", 32) + `","token_endpoint_auth_method":"client_secret_jwt"}`, nil, "ES256", "ES256", false},
	} {
		got, _, err := a.Judge([]byte(c.body), c.had, at)
		if refused := errors.Is(err, registration.ErrUnusable); refused != c.refused || !refused && (err != nil || got.Signing != c.signing || got.Info != c.info) {
			t.Errorf("%s: %q, %q, %v", c.body, got.Signing, got.Info, err)
		}
	}
}

// TestSalvage: what is read of an answer that is not used.
func TestSalvage(t *testing.T) {
	good := registration.Client{ID: "c", Manage: "https://as.example.org/reg/c", Token: "t"}
	for _, c := range []struct {
		name, body string
		want       registration.Client
	}{
		{"cut off", `{"client_id":"c","registration_client_uri":"https://as.example.org/reg/c","registration_access_token":"t","x":"` + strings.Repeat("y", 1000), good},
		{"cut off too early", `{"client_id":"c","registration_client_uri":"https://as.example.org/reg/c","registration_access_`, registration.Client{ID: "c"}},
		{"another origin", `{"client_id":"c","registration_client_uri":"https://evil.example.org/reg/c","registration_access_token":"t"}`, registration.Client{ID: "c"}},
		{"twice", `{"client_id":"c","registration_client_uri":"https://as.example.org/reg/c","registration_access_token":"t","registration_client_uri":"https://as.example.org/reg/d"}`, registration.Client{}},
		{"a list", `[1]`, registration.Client{}},
		{"a page", `<html>`, registration.Client{}},
		{"nothing", ``, registration.Client{}},
	} {
		if got := ask(t).Salvage([]byte(c.body)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v", c.name, got.ID)
		}
	}
}

// FuzzJudge: whatever a provider answers, a client that is taken has what it
// needs, our token goes nowhere else, and an error quotes nothing.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		`{"client_id":"c","client_secret":"s","client_secret_expires_at":0,"registration_client_uri":"https://as.example.org/reg/c","registration_access_token":"t"}`,
		`{"client_id":"c","client_secret":"s","redirect_uris":["https://evil.example.org/"]}`,
		`{"client_id":"c","client_id":"d"}`, `{"client_secret_expires_at":1e300}`, `[]`, `{"client_id":"\u0000"}`, `{"client_id":"c","registration_client_uri":"https://evil.example.org/"`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, read bool) {
		a := ask(t)
		var had *registration.Client
		if read {
			had = &registration.Client{ID: "c", Secret: "s", Since: at, Auth: "client_secret_basic"}
		}
		c, changed, err := a.Judge(body, had, at)
		if c.Manage != "" && (!a.Trusts(c.Manage) || c.Token == "") {
			t.Fatalf("a management address that is not to be trusted: %q", c.Manage)
		}
		for _, name := range changed {
			if a.Members[name] == nil {
				t.Fatalf("%q is no member of ours", name)
			}
		}
		if err != nil {
			if !errors.Is(err, registration.ErrUnusable) || c.Secret != "" {
				t.Fatal(err)
			}
			return
		}
		if c.ID == "" || c.Secret == "" && c.Auth != "none" || !a.Can(c.Auth) {
			t.Fatalf("taken: %#v", c.Auth)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		if raw, err := box(t).Encode(name, registration.Record{Clients: []registration.Client{c}}); err == nil {
			if _, err := box(t).Decode(name, raw); err != nil {
				t.Fatal(err)
			}
		}
	})
}
