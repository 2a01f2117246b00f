package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// thirdParty is a start by another site, with GET or POST.
func thirdParty(b *world.Visitor, method string, params url.Values, header ...string) *world.Page {
	h := append([]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://portal.example"}, header...)
	if method == http.MethodGet {
		return b.Get("/auth/login?"+params.Encode(), h[:2]...)
	}
	return b.Post("/auth/login", params, h...)
}

// RP-P1: another site starts a sign-in with GET or POST (OpenID Connect Core §4).
// login_hint is passed on, nothing else is, and the person gets to the target.
func TestThirdPartyStart(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		s := world.NewSite(t)
		ana := s.Visitor("ana")
		a := thirdParty(ana, method, url.Values{"iss": {world.SiteIssuer}, "login_hint": {"ana@example.org"}, "target_link_uri": {"https://notes.test/notes/7?page=2"},
			"return_to": {"/notes/other"}, "prompt": {"none"}, "acr_values": {"9"}, "scope": {"admin"}, "max_age": {"0"}, "claims": {"{}"}, "ui_locales": {"xx"}, "id_token_hint": {"x"}})
		ana.WantOut(a)
		wantAsked(t, a, map[string]string{"login_hint": "ana@example.org", "prompt": "", "acr_values": "", "scope": "openid profile email", "max_age": "", "claims": "", "ui_locales": "", "id_token_hint": "", "iss": "", "target_link_uri": ""})
		back := ana.Follow(a, nil)
		ana.WantServed(back)
		if got := back.URL.RequestURI(); got != "/notes/7?page=2" {
			t.Errorf("%s: came back to %q", method, got)
		}
	}
}

// RT9: an issuer that is not ours is 400, and nothing is fetched from anywhere. So
// is a start that says something twice.
func TestRT9_StartOfAnUnknownIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		params url.Values
		code   string
	}{
		"another":          {url.Values{"iss": {"https://evil.example"}}, "start_issuer_unknown"},
		"a slash more":     {url.Values{"iss": {world.SiteIssuer + "/"}}, "start_issuer_unknown"},
		"other case":       {url.Values{"iss": {strings.ToUpper(world.SiteIssuer)}}, "start_issuer_unknown"},
		"empty":            {url.Values{"iss": {""}}, "start_issuer_unknown"},
		"inside":           {url.Values{"iss": {"http://169.254.169.254/"}}, "start_issuer_unknown"},
		"ours and another": {url.Values{"iss": {world.SiteIssuer, "https://evil.example"}}, "start_malformed"},
		"two hints":        {url.Values{"iss": {world.SiteIssuer}, "login_hint": {"ana", "ben"}}, "start_malformed"},
		"two targets":      {url.Values{"iss": {world.SiteIssuer}, "target_link_uri": {"/a", "/b"}}, "start_malformed"},
		"a long hint":      {url.Values{"iss": {world.SiteIssuer}, "login_hint": {strings.Repeat("x", 1001)}}, "start_malformed"},
		"a control":        {url.Values{"iss": {world.SiteIssuer}, "login_hint": {"ana\r\nX: y"}}, "start_malformed"},
		"no text":          {url.Values{"iss": {world.SiteIssuer}, "login_hint": {"\xff\xfe"}}, "start_malformed"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s := world.NewSite(t)
			ana := s.Visitor("ana")
			a := thirdParty(ana, method, c.params)
			s.WantRefusal(a, http.StatusBadRequest)
			if s.LastCode() != c.code || s.Total() != 0 || len(ana.Attempts()) != 0 || strings.Contains(a.Body.String(), "evil") {
				t.Errorf("%s, %s: code %q, %d calls, %v", name, method, s.LastCode(), s.Total(), a)
			}
		}
	}
	s := world.NewSite(t)
	if s.WantRefusal(s.Visitor("ana").Get("/auth/login?login_hint=x&iss=%zz"), http.StatusBadRequest); s.LastCode() != "start_malformed" {
		t.Errorf("code %q", s.LastCode())
	}
}

// RT9: a target elsewhere is dropped, and so is one where another sign-in would
// begin or end.
func TestRT9_StartWithAForeignTarget(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.LogoutURL = "https://notes.test/auth/logout" }
	})
	for _, target := range []string{`https://google.fr\.app.test/`, "https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "https://notes.test@evil.example/", "https://notes.test.evil.example/x",
		"/auth/login?iss=" + url.QueryEscape(world.SiteIssuer), "/auth/callback?x=1", "/auth/logout", "https://notes.test:444/notes/", "http://notes.test/notes/"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			ana := s.Visitor("ana")
			callback := ana.AnswerOf(thirdParty(ana, method, url.Values{"iss": {world.SiteIssuer}, "target_link_uri": {target}}))
			if a := ana.Get(callback); a.Location() != "/" {
				t.Errorf("%s %q leads to %q", method, target, a.Location())
			}
		}
	}
}

// A target that requires more than a sign-in asks for that afterwards. A form
// posted to a page that would ask silently begins nothing.
func TestThirdPartyStartAtAStricterPage(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/strict", login.With(gatehouse.ACR("2"), gatehouse.MaxAge(time.Hour)).RequireLogin(world.WhoAmI))
			mux.Handle("/silent", login.With(gatehouse.Ask(gatehouse.AuthRequest{Prompt: []string{"none"}})).RequireLogin(world.WhoAmI))
		}
	})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		ana := s.Visitor("ana")
		back := ana.Follow(thirdParty(ana, method, url.Values{"iss": {world.SiteIssuer}, "target_link_uri": {s.Origin + "/strict"}}), nil)
		ana.WantServed(back)
		if back.URL.Path != "/strict" {
			t.Errorf("came back to %s", back.URL)
		}
	}
	ana := s.Visitor("ana")
	a := ana.Post("/silent", url.Values{"text": {"new"}})
	if s.WantRefusal(a, http.StatusUnauthorized); len(ana.Attempts()) != 0 || !strings.Contains(a.Body.String(), "was not saved") {
		t.Errorf("a form began a sign-in, or lost its text: %v", a)
	}
}

// A start by another site is a page of its own: neither a frame nor a script or a
// prefetch may cause it. Without iss a POST of another site stays what it was, and
// a login_hint is a stranger's.
func TestThirdPartyStartIsANavigation(t *testing.T) {
	s := world.NewSite(t)
	ours := url.Values{"iss": {world.SiteIssuer}, "login_hint": {"ana"}}
	for name, header := range map[string][]string{
		"frame": {"Sec-Fetch-Dest", "iframe"}, "script": {"Sec-Fetch-Mode", "no-cors"}, "prefetch": {"Sec-Purpose", "prefetch"}, "image": {"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			ana := s.Visitor("ana")
			var a *world.Page
			if method == http.MethodGet {
				a = ana.Get("/auth/login?"+ours.Encode(), header...)
			} else {
				a = thirdParty(ana, method, ours, header...)
			}
			s.WantRefusal(a, http.StatusForbidden)
			if len(ana.Attempts()) != 0 {
				t.Errorf("%s of a %s began a sign-in", method, name)
			}
		}
	}
	ana := s.Visitor("ana")
	s.WantRefusal(thirdParty(ana, http.MethodPost, url.Values{"login_hint": {"ana"}, "target_link_uri": {"/notes/"}}), http.StatusForbidden)
	if s.LastCode() != gatehouse.CodeCrossOrigin {
		t.Errorf("code %q", s.LastCode())
	}
	wantAsked(t, ana.Get("/auth/login?login_hint=eve&target_link_uri=/notes/7"), map[string]string{"login_hint": ""})
}

// A login_hint of the application counts, not a stranger's. The function sees the
// stranger's and may drop it. Neither shows in a log.
func TestThirdPartyHint(t *testing.T) {
	hint := "stranger-hint-4711@example.org"
	ours := url.Values{"iss": {world.SiteIssuer}, "login_hint": {hint}}
	for name, c := range map[string]struct {
		change func(c *gatehouse.RelyingPartyConfig)
		want   string
	}{
		"nobody else": {func(*gatehouse.RelyingPartyConfig) {}, hint},
		"AuthParams":  {func(c *gatehouse.RelyingPartyConfig) { c.AuthParams = url.Values{"login_hint": {"kiosk"}} }, "kiosk"},
		"dropped": {func(c *gatehouse.RelyingPartyConfig) {
			c.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error {
				if a.LoginHint == hint {
					a.LoginHint = ""
				}
				return nil
			}
		}, ""},
	} {
		s := world.NewSite(t, func(o *world.SiteOptions) { o.Party = c.change })
		ana := s.Visitor("ana")
		a := thirdParty(ana, http.MethodGet, ours)
		wantAsked(t, a, map[string]string{"login_hint": c.want})
		state := world.QueryOf(t, a.Location()).Get("state")
		ana.Get("/auth/callback?" + url.Values{"error": {"access_denied"}, "error_description": {"nobody is called " + hint}, "state": {state}, "iss": {world.SiteIssuer}}.Encode())
		if c.want == hint && s.Logged(hint) != 0 {
			t.Errorf("%s: the log has the hint:\n%s", name, s.Log())
		}
	}
}
