package signin_test

import (
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
		"nothing": {func(q url.Values) { q.Set("error", "") }, "provider_refused", "error without a code", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t)
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
