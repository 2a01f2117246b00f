package signin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// The provider's error code is in the log, also of an answer that is refused
// for something else. Free text and values of the sign-in are not. The
// description is in a line at DEBUG only, without them.
func TestProviderErrorInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(q url.Values) // of a callback with error=access_denied
		code        string             // of the refusal
		word        string             // of the provider's error in the log
		description string             // in the log
	}{
		"believed":        {func(q url.Values) { q.Set("error_description", "Not today") }, "provider_refused", "access_denied", "Not today"},
		"without iss":     {func(q url.Values) { q.Del("iss") }, "issuer_mismatch", "access_denied", ""},
		"another iss":     {func(q url.Values) { q.Set("iss", "https://op2.test/"+q.Get("state")) }, "issuer_mismatch", "access_denied", ""},
		"without state":   {func(q url.Values) { q.Del("state") }, "state_missing", "access_denied", ""},
		"another state":   {func(q url.Values) { q.Set("state", q.Get("state")[:8]+"AAAAAAAAAAAAAA") }, "state_unknown", "access_denied", ""},
		"twice":           {func(q url.Values) { q.Add("error", "access_denied") }, "response_malformed", "access_denied", ""},
		"with a code too": {func(q url.Values) { q.Set("code", "c") }, "provider_refused", "access_denied", ""},
		"40 bytes":        {func(q url.Values) { q.Set("error", strings.Repeat("a", 40)) }, "provider_refused", strings.Repeat("a", 40), ""},
		"41 bytes":        {func(q url.Values) { q.Set("error", strings.Repeat("a", 41)) }, "provider_refused", "other (41 bytes)", ""},
		"a sentence":      {func(q url.Values) { q.Set("error", "no such <b>user</b>") }, "provider_refused", "other (19 bytes)", ""},
		"the state":       {func(q url.Values) { q.Set("error", q.Get("state")) }, "provider_refused", "other (", ""},
		"a code": {func(q url.Values) { q.Set("code", "opensesame"); q.Set("error", "bad_opensesame") },
			"provider_refused", "other (14 bytes)", ""},
		"a description with values": {func(q url.Values) {
			q.Set("code", "opensesame")
			q.Set("error_description", "code opensesame of "+q.Get("state")+" and "+url.QueryEscape(world.SiteSecret)+" is bad")
		}, "provider_refused", "access_denied", "code [redacted] of [redacted] and [redacted] is bad"},
		"our request":           {func(q url.Values) { q.Set("error", "invalid_scope") }, "request_refused", "invalid_scope", ""},
		"our client":            {func(q url.Values) { q.Set("error", "unauthorized_client") }, "request_refused", "unauthorized_client", ""},
		"nothing":               {func(q url.Values) { q.Set("error", "") }, "provider_refused", "error without a code", ""},
		"a word of a parameter": {func(q url.Values) { q.Set("error", "login_required") }, "provider_refused", "login_required", ""},
		"a parameter":           {func(q url.Values) { q.Set("error", "unknown_photo_site") }, "provider_refused", "other (18 bytes)", ""},
		"the client":            {func(q url.Values) { q.Set("error", "notes") }, "provider_refused", "other (5 bytes)", ""},
		"a scope":               {func(q url.Values) { q.Set("error", "no_profile_scope") }, "provider_refused", "other (16 bytes)", ""},
		"the person": {func(q url.Values) {
			q.Set("error", "ana_of_the_house_is_locked")
			q.Set("error_description", "ana_of_the_house is locked")
		}, "provider_refused", "other (26 bytes)", "[redacted] is locked"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Party = func(c *gatehouse.RelyingPartyConfig) {
					c.AuthParams = url.Values{"prompt": {"login consent"}, "tenant": {"photo_site"}, "login_hint": {"ana_of_the_house"}}
				}
			})
			ana := s.Visitor("ana")
			state := ""
			callback := world.WithQuery(t, ana.ToCallback("/notes/"), func(q url.Values) {
				s.Mint("code", q.Get("code"))
				state = q.Get("state")
				q.Del("code")
				q.Set("error", "access_denied")
				c.change(q)
			})
			ana.Get(callback)
			if s.LastCode() != c.code {
				t.Fatalf("code %q, want %q", s.LastCode(), c.code)
			}
			if s.Logged(state) != 0 || s.Logged("opensesame") != 0 {
				t.Errorf("the log has a value of the sign-in: %s", s.Log())
			}
			lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
			if !strings.Contains(lines[0], "code="+c.code) || !strings.Contains(lines[0], "path=/auth/callback ") || !strings.Contains(lines[0], c.word) {
				t.Errorf("the log lacks %q: %s", c.word, lines[0])
			}
			switch {
			case c.description == "":
				if len(lines) != 1 {
					t.Errorf("more than one line: %q", lines)
				}
			case len(lines) != 2 || !strings.Contains(lines[1], "level=DEBUG") || !strings.Contains(lines[1], c.description):
				t.Errorf("no line at DEBUG with %q: %q", c.description, lines)
			}
		})
	}
}

// What the server says about a refused secret names how we authenticated and
// whether a secret was sent at all, and the address.
func TestRefusedClientInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		client gatehouse.Client
		want   string
	}{
		"wrong":  {gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("not the secret")}, "client_secret_basic and a secret"},
		"post":   {gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("not the secret"), Auth: gatehouse.AuthPost}, "client_secret_post and a secret"},
		"absent": {gatehouse.Client{ID: "notes"}, "none and no secret"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) { o.Party = func(p *gatehouse.RelyingPartyConfig) { p.Client = c.client } })
			ana := s.Visitor("ana")
			a := ana.Get(ana.ToCallback("/notes/"))
			s.WantRefusal(a, 503)
			if s.LastCode() != "client_refused" || a.Header().Get("Retry-After") != "" {
				t.Errorf("code %s, Retry-After %q", s.LastCode(), a.Header().Get("Retry-After"))
			}
			for _, want := range []string{"level=ERROR", "invalid_client", c.want, " from " + s.Endpoint("token_endpoint") + ","} {
				if !strings.Contains(s.Log(), want) {
					t.Errorf("the log lacks %q: %s", want, s.Log())
				}
			}
		})
	}
}

// A misspelled issuer is no outage: the code says so, the log names the
// address that was asked last, and nobody is told to come back later.
func TestMisspelledIssuerInTheLog(t *testing.T) {
	const openid, oauth = "https://op.test/realm/.well-known/openid-configuration", "https://op.test/.well-known/oauth-authorization-server/realm"
	for status, c := range map[int]struct {
		mistake bool
		address string
	}{
		404: {true, oauth}, 403: {true, openid}, 401: {true, openid}, 400: {true, openid}, 301: {true, openid}, 308: {true, openid}, 410: {true, openid},
		302: {false, openid}, 307: {false, openid}, 408: {false, openid}, 429: {false, openid}, 500: {false, openid}, 503: {false, openid},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := world.NewSite(t)
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return world.Answer(r, status, "no such realm"), nil
			})
			a := s.Visitor("ana").Get("/auth/login")
			s.WantRefusal(a, 503)
			code, level := "provider_unavailable", "level=WARN"
			if c.mistake {
				code, level = "metadata_missing", "level=ERROR"
			}
			if s.LastCode() != code || c.mistake != (a.Header().Get("Retry-After") == "") {
				t.Errorf("code %s, Retry-After %q", s.LastCode(), a.Header().Get("Retry-After"))
			}
			for _, want := range []string{level, fmt.Sprintf("status %d from %s", status, c.address)} {
				if !strings.Contains(s.Log(), want) {
					t.Errorf("the log lacks %q: %s", want, s.Log())
				}
			}
		})
	}
}

// Keys that cannot be used are no outage either. What is wrong with them is in
// the log.
func TestUnusableKeysInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		code   string
		want   string
	}{
		"nothing there":     {404, "", "keys_unusable", "status 404 from "},
		"not for us":        {403, "", "keys_unusable", "status 403 from "},
		"a page":            {200, "<html>", "keys_unusable", "is not the expected JSON object"},
		"no array":          {200, `{"keys":{}}`, "keys_unusable", "keys is not an array"},
		"no keys":           {200, `{}`, "keys_unusable", "no usable key among its 0, from "},
		"a key of a cipher": {200, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "keys_unusable", "no usable key among its 1, from "},
		"down":              {503, "", "provider_unavailable", "status 503 from "},
		"too many":          {429, "", "provider_unavailable", "status 429 from "},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if !strings.HasSuffix(s.Endpoint("jwks_uri"), r.URL.Path) {
					return next(r), nil
				}
				return world.Answer(r, c.status, c.body), nil
			})
			ana := s.Visitor("ana")
			a := ana.Get(ana.ToCallback("/notes/"))
			s.WantRefusal(a, 503)
			mistake := c.code == "keys_unusable"
			if s.LastCode() != c.code || mistake != (a.Header().Get("Retry-After") == "") || mistake != strings.Contains(s.Log(), "level=ERROR") || !strings.Contains(s.Log(), c.want) {
				t.Errorf("code %s, Retry-After %q: %s", s.LastCode(), a.Header().Get("Retry-After"), s.Log())
			}
		})
	}
}

// A document that repeats a name is refused, and the log says which name, unless
// that is a value that travelled.
func TestRepeatedNameInTheLog(t *testing.T) {
	const twice = `{"opensesame":1,"opensesame":2,`
	for name, c := range map[string]struct {
		member string // of the metadata that has the address; "" is the metadata itself
		body   string
		code   string
		want   string
	}{
		"metadata":               {"", `{"issuer":"https://op.test/realm","issuer":"x"}`, "metadata_invalid", `"issuer"`},
		"inside metadata":        {"", `{"mtls_endpoint_aliases":{"token_endpoint":1,"token_endpoint":2}}`, "metadata_invalid", `"token_endpoint"`},
		"keys":                   {"jwks_uri", `{"keys":[{"kty":"RSA","kid":"1","kid":"2"}]}`, "keys_unusable", `"kid"`},
		"token answer":           {"token_endpoint", `{"access_token":"a","expires_in":1,"expires_in":2}`, "provider_unavailable", `"expires_in"`},
		"token answer, our code": {"token_endpoint", twice + `"access_token":"a"}`, "provider_unavailable", "repeats a member name"},
		"token answer, a token":  {"token_endpoint", twice + `"access_token":"opensesame"}`, "provider_unavailable", "repeats a member name"},
		"user info":              {"userinfo_endpoint", `{"sub":"ana-1","groups":[],"groups":["admin"]}`, "userinfo_unavailable", `"groups"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
			address := world.SiteIssuer + "/.well-known/openid-configuration"
			if c.member != "" {
				address = s.Endpoint(c.member)
			}
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if !strings.HasSuffix(address, r.URL.Path) {
					return next(r), nil
				}
				resp := world.Answer(r, 200, c.body)
				resp.Header.Set("Content-Type", "application/json")
				return resp, nil
			})
			ana := s.Visitor("ana")
			if c.member == "" {
				ana.Get("/notes/")
			} else {
				ana.Get(world.WithQuery(t, ana.ToCallback("/notes/"), func(q url.Values) {
					if strings.Contains(name, "our code") {
						q.Set("code", "opensesame")
					}
				}))
			}
			lines := strings.Split(strings.TrimSpace(s.Log()), "\n")
			last := strings.ReplaceAll(lines[len(lines)-1], `\"`, `"`)
			if s.LastCode() != c.code || !strings.Contains(last, c.want) || strings.Contains(s.Log(), "opensesame") {
				t.Errorf("%s: the log lacks %s: %s", s.LastCode(), c.want, s.Log())
			}
		})
	}
}

// canaries are values in the two forms that count: one that looks random, and
// one that could be an error code.
var canaries = []string{"Canary-0123456789-abcdefgh", "canary_of_the_secret"}

// Whoever repeats a secret, the browser or the provider, and wherever: no line
// of the log holds it, at any level.
func TestR13_NoLineHoldsASecret(t *testing.T) {
	// answering lets an endpoint answer what f makes of the request.
	answering := func(s *world.Site, member string, status int, f func(form url.Values, auth string) map[string]any) {
		s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
			if !strings.HasSuffix(s.Endpoint(member), r.URL.Path) {
				return next(r), nil
			}
			s.Must(r.ParseForm())
			body, err := json.Marshal(f(r.PostForm, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
			return world.Answer(r, status, string(body)), err
		})
	}
	echo := func(value string) map[string]any {
		return map[string]any{"error": value, "error_description": "this is bad: " + value + " or " + url.QueryEscape(value), "hint": value}
	}
	for name, do := range map[string]func(s *world.Site, ana *world.Visitor, canary string) (secrets []string){
		"code": func(s *world.Site, ana *world.Visitor, canary string) []string {
			answering(s, "token_endpoint", 400, func(form url.Values, _ string) map[string]any { return echo(form.Get("code")) })
			ana.Get(world.WithQuery(s.T, ana.ToCallback("/notes/"), func(q url.Values) { q.Set("code", canary) }))
			return nil
		},
		"state": func(s *world.Site, ana *world.Visitor, canary string) []string {
			ana.Get("/auth/callback?error=" + canary + "&error_description=" + canary + "&code=c&state=" + canary)
			return nil
		},
		"iss": func(s *world.Site, ana *world.Visitor, canary string) []string {
			ana.Get(world.WithQuery(s.T, ana.ToCallback("/notes/"), func(q url.Values) { q.Set("iss", canary) }))
			return nil
		},
		"nonce and state of the attempt": func(s *world.Site, ana *world.Visitor, canary string) []string {
			a := ana.Get("/notes/")
			asked, err := url.Parse(a.Location())
			s.Must(err)
			nonce, state := asked.Query().Get("nonce"), asked.Query().Get("state")
			ana.Get(world.WithQuery(s.T, ana.AnswerOf(a), func(q url.Values) {
				q.Set("error", nonce)
				q.Set("error_description", "nonce "+nonce+" and state "+state[:20]+" are bad")
			}))
			return []string{nonce, state, state[:20]}
		},
		"verifier": func(s *world.Site, ana *world.Visitor, canary string) (secrets []string) {
			answering(s, "token_endpoint", 400, func(form url.Values, _ string) map[string]any {
				secrets = append(secrets, form.Get("code_verifier"), form.Get("code_verifier")[:12])
				return map[string]any{"error": form.Get("code_verifier"), "error_description": "not " + form.Get("code_verifier")[:12] + "…"}
			})
			ana.Get(ana.ToCallback("/notes/"))
			return secrets
		},
		"client secret": func(s *world.Site, ana *world.Visitor, canary string) []string {
			answering(s, "token_endpoint", 401, func(form url.Values, _ string) map[string]any { return echo(world.SiteSecret) })
			ana.Get(ana.ToCallback("/notes/"))
			return []string{world.SiteSecret, url.QueryEscape(world.SiteSecret)}
		},
		"tokens": func(s *world.Site, ana *world.Visitor, canary string) []string {
			answering(s, "token_endpoint", 200, func(url.Values, string) map[string]any {
				return map[string]any{"access_token": canary, "refresh_token": canary, "id_token": canary + "." + canary + "." + canary, "token_type": "Bearer"}
			})
			ana.Get(ana.ToCallback("/notes/"))
			return nil
		},
		"the type of a token": func(s *world.Site, ana *world.Visitor, canary string) []string {
			answering(s, "token_endpoint", 200, func(url.Values, string) map[string]any {
				return map[string]any{"access_token": canary, "token_type": canary}
			})
			ana.Get(ana.ToCallback("/notes/"))
			return nil
		},
		"tokens beside an error": func(s *world.Site, ana *world.Visitor, canary string) []string {
			answering(s, "token_endpoint", 400, func(url.Values, string) map[string]any {
				m := echo(canary)
				m["access_token"] = canary
				return m
			})
			ana.Get(ana.ToCallback("/notes/"))
			return nil
		},
		"access token at user info": func(s *world.Site, ana *world.Visitor, canary string) (secrets []string) {
			answering(s, "userinfo_endpoint", 403, func(_ url.Values, access string) map[string]any {
				secrets = append(secrets, access)
				return echo(access)
			})
			ana.Get(ana.ToCallback("/notes/"))
			return secrets
		},
		"refresh token": func(s *world.Site, ana *world.Visitor, canary string) (secrets []string) {
			ana.SignIn()
			answering(s, "token_endpoint", 400, func(form url.Values, _ string) map[string]any {
				secrets = append(secrets, form.Get("refresh_token"))
				return echo(form.Get("refresh_token"))
			})
			s.Advance(world.Past)
			ana.Get("/notes/")
			s.ShutdownAll()
			return secrets
		},
		"a token to revoke": func(s *world.Site, ana *world.Visitor, canary string) (secrets []string) {
			ana.SignIn()
			answering(s, "revocation_endpoint", 400, func(form url.Values, _ string) map[string]any {
				secrets = append(secrets, form.Get("token"))
				return echo(form.Get("token"))
			})
			ana.Post("/auth/logout", nil)
			s.ShutdownAll()
			return secrets
		},
		"cookies": func(s *world.Site, ana *world.Visitor, canary string) []string {
			session := ana.SignIn()
			ana.Get("/auth/callback?error=x&error_description=" + url.QueryEscape("the session "+session+" is bad") + "&state=" + canary)
			ana.Get("/notes/", "Cookie", "a="+canary)
			return strings.Split(session, ".")
		},
		"headers": func(s *world.Site, ana *world.Visitor, canary string) []string {
			for _, name := range []string{"Authorization", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Upgrade", "Accept", "Referer"} {
				ana.Post("/notes/", nil, name, canary)
				ana.Post("/auth/logout?state="+canary, nil, name, canary)
			}
			return nil
		},
		"queries": func(s *world.Site, ana *world.Visitor, canary string) []string {
			for _, path := range []string{"/notes/", "/auth/callback", "/auth/login", "/auth/logout"} {
				ana.Fetch("PUT", path+"?code="+canary)
				ana.Fetch("GET", path+"?code="+canary)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, canary := range canaries {
				s := world.NewSite(t)
				ana := s.Visitor("ana")
				secrets := append(do(s, ana, canary), canary)
				log := s.Log()
				if !strings.Contains(log, "code=") {
					t.Fatal("nothing was refused")
				}
				for _, secret := range secrets {
					if at := strings.Index(log, secret); secret == "" || at >= 0 {
						t.Errorf("the log holds %q: %s", secret, log)
					}
				}
			}
		})
	}
}
