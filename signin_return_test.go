package gatehouse_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// RT1, and the shapes behind F1 and F2: none of them leaves the site.
func TestRT1_ReturnTo(t *testing.T) {
	s := newSite(t)
	for _, wish := range append(hostileTargets(),
		// RT6: our own addresses, which would loop or sign out.
		"/auth/callback", "/auth/callback?code=x", "/auth/callback/", "/auth/login", "/auth/login?return_to=/notes/", "/auth/login/",
	) {
		ana := s.visitor("ana")
		start := ana.get("/auth/login?return_to=" + url.QueryEscape(wish))
		if start.Code != http.StatusSeeOther {
			t.Errorf("return_to %q: the sign-in does not start: %v", wish, start)
			continue
		}
		a := ana.get(ana.answerOf(start))
		if a.Code != http.StatusSeeOther || a.location() != "/" {
			t.Errorf("return_to %q comes back to %q, want the default", wish, a.location())
		}
	}
}

// hostileTargets are the shapes of the open redirects of others: what a browser
// takes for another origin at once, after a redirect of a server that decodes or
// cleans, or under another parser.
func hostileTargets() []string {
	list := []string{
		"", " ", "https://evil.example", "http:evil.example", "//evil.example", "///evil.example", "////evil.example/..",
		`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `/%5cevil.example`, `/%5C%5Cevil.example`,
		"/%2f%2fevil.example", "/%2fevil.example", "/%2F%5Cevil.example", "%2f%2fevil.example",
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "mailto:a@b", "evil.example", "@evil.example",
		"/\tevil", "/\t/evil.example", "\t//evil.example", "/\n/evil.example", "/\r\n/evil.example", "/%09/evil.example", "/%0a/evil.example",
		"/%0d%0aSet-Cookie:x=y", "/\x00/evil.example", "/%00/evil.example", "/\x7f", "/\u00a0/evil.example", "/\u2028/evil.example", "/\u200b/x", "/\ufeff//evil.example",
		"/.//evil.example", "/..//evil.example", "/a/..//evil.example", "/a/../../evil.example", "/./%2fevil.example", "/%2e%2e//evil.example", "/%2e/%2fevil.example",
		"https:///evil.example", "https:/evil.example", "https:evil.example", `https:\\evil.example`, "https://notes.test@evil.example/", "//notes.test@evil.example",
		`https://google.fr\.notes.test/`, "https://notes.test.evil.example/", "https://notes.test/notes/", "//notes.test/notes/", "?x=//evil.example", "#//evil.example",
		"/\\\tevil.example", "/;//evil.example/%2f..", "〱evil.example", "//evil%00.example", "/%", "/%zz", "/%u2215evil",
		"/" + strings.Repeat("a", 256), "/\xff\xfe", "/%c0%af/evil.example"[:1] + "/evil.example", "http://[::1", "https://evil.example:443/x", "//evil.example:80", "ht\ttps://evil.example",
	}
	return list
}

// Good paths come back as they were, byte for byte.
func TestReturnToGood(t *testing.T) {
	s := newSite(t)
	for _, wish := range []string{
		"/notes/", "/notes/7?page=2&q=a%20b", "/n%C3%B6te?x=%2F%2Fy", "/a;b=c/d", "/notes/?next=https://elsewhere.example/", "/%7Eana/",
		"/authors", "/auth/loginx", "/x?return_to=//evil.example", "/a%2Fb",
	} {
		ana := s.visitor("ana")
		a := ana.get(ana.answerOf(ana.get("/auth/login?return_to=" + url.QueryEscape(wish))))
		if a.location() != wish {
			t.Errorf("return_to %q comes back to %q", wish, a.location())
		}
	}
}

func TestReturnToHomeURL(t *testing.T) {
	s := newSite(t, func(o *siteOptions) {
		o.party = func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = "/start?from=sign-in" }
	})
	ana := s.visitor("ana")
	if a := ana.get(ana.answerOf(ana.get("/auth/login"))); a.location() != "/start?from=sign-in" {
		t.Errorf("came back to %q", a.location())
	}
}

// The address that a request itself asks for is never read as another origin
// when the person comes back to it. There is no mux in front that would clean it.
func TestReturnToFromRequest(t *testing.T) {
	s := newSite(t)
	guard := s.replicas[0].login.RequireLogin(whoAmI)
	for _, target := range []string{"//evil.example/", "///evil.example", `/\evil.example`, "/%5cevil.example", "/.%2e//evil.example", "/%09/evil.example", "*"} {
		ana := s.visitor("ana")
		r := httptest.NewRequest(http.MethodGet, s.origin+"/", nil)
		r.Header.Set("Accept", "text/html")
		r.URL, r.RequestURI = &url.URL{Path: target}, target
		if u, err := url.ParseRequestURI(target); err == nil {
			r.URL = u
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther {
			t.Errorf("a request for %q: status %d", target, w.Code)
			continue
		}
		home := mustParse(t, s.origin+"/")
		ana.jar.SetCookies(home, w.Result().Cookies())
		if back := ana.get(ana.answerOf(&answer{w, home})); back.location() != "/" {
			t.Errorf("a request for %q comes back to %q", target, back.location())
		}
	}
}

func mustParse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
