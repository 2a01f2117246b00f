package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// RT1, and the shapes behind F1 and F2: none of them leaves the site.
func TestRT1_ReturnTo(t *testing.T) {
	s := world.NewSite(t)
	for _, wish := range append(hostileTargets(),
		// RT6: our own addresses, which would loop or sign out.
		"/auth/callback", "/auth/callback?code=x", "/auth/callback/", "/auth/login", "/auth/login?return_to=/notes/", "/auth/login/",
	) {
		ana := s.Visitor("ana")
		start := ana.Get("/auth/login?return_to=" + url.QueryEscape(wish))
		if start.Code != http.StatusSeeOther {
			t.Errorf("return_to %q: the sign-in does not start: %v", wish, start)
			continue
		}
		a := ana.Get(ana.AnswerOf(start))
		if a.Code != http.StatusSeeOther || a.Location() != "/" {
			t.Errorf("return_to %q comes back to %q, want the default", wish, a.Location())
		}
	}
}

// hostileTargets are the shapes behind known open redirects: a browser takes
// them for another origin at once, after a redirect of a server that decodes or
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
		`https://google.fr\.notes.test/`, "https://notes.test.evil.example/", "//notes.test/notes/", "http://notes.test/notes/", "https://notes.test:8443/notes/", "?x=//evil.example", "#//evil.example",
		"/\\\tevil.example", "/;//evil.example/%2f..", "〱evil.example", "//evil%00.example", "/%", "/%zz", "/%u2215evil",
		"/" + strings.Repeat("a", 2000), "/\xff\xfe", "/%c0%af/evil.example"[:1] + "/evil.example", "http://[::1", "https://evil.example:443/x", "//evil.example:80", "ht\ttps://evil.example",
	}
	return list
}

// Good paths come back unchanged, byte for byte.
func TestReturnToGood(t *testing.T) {
	s := world.NewSite(t)
	for _, wish := range []string{
		"/notes/", "/notes/7?page=2&q=a%20b", "/n%C3%B6te?x=%2F%2Fy", "/a;b=c/d", "/notes/?next=https://elsewhere.example/", "/%7Eana/",
		"/authors", "/auth/loginx", "/x?return_to=//evil.example", "/a%2Fb",
		"/wiki/L%E2%80%99Avare", "/%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E0%A4%A6%E0%A5%80", "/%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7", "/C:%5Cusers", "/caf%E9", "/100%25", "/notes/" + strings.Repeat("%E0", 664) + "x",
	} {
		ana := s.Visitor("ana")
		a := ana.Get(ana.AnswerOf(ana.Get("/auth/login?return_to=" + url.QueryEscape(wish))))
		if a.Location() != wish {
			t.Errorf("return_to %q comes back to %q", wish, a.Location())
		}
	}
}

// The address that a person opens comes back, however it is written.
func TestReturnToOpened(t *testing.T) {
	s := world.NewSite(t)
	for _, address := range []string{
		"/notes/L%E2%80%99Avare", "/notes/%E0%A4%B9%E0%A4%BF?q=%E0%A4%B9", "/notes/%F0%9F%92%A9", "/notes/a%5Cb", "/notes/%2F", "/notes/?q=" + strings.Repeat("a", 1990), "/notes/?a;b=%",
	} {
		ana := s.Visitor("ana")
		back := ana.Visit(address)
		ana.WantServed(back)
		if got := back.URL.RequestURI(); got != address {
			t.Errorf("%.60q comes back to %.60q", address, got)
		}
	}
}

func TestReturnToHomeURL(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = "/start?from=sign-in" }
	})
	ana := s.Visitor("ana")
	if a := ana.Get(ana.AnswerOf(ana.Get("/auth/login"))); a.Location() != "/start?from=sign-in" {
		t.Errorf("came back to %q", a.Location())
	}
}

// The requested address itself is never read as another origin when the person
// comes back to it. There is no mux in front that would clean it.
func TestReturnToFromRequest(t *testing.T) {
	s := world.NewSite(t)
	guard := s.Replicas[0].Login.RequireLogin(world.WhoAmI)
	for _, target := range []string{"//evil.example/", "///evil.example", `/\evil.example`, "/%5cevil.example", "/.%2e//evil.example", "/%09/evil.example", "*"} {
		ana := s.Visitor("ana")
		r := httptest.NewRequest(http.MethodGet, s.Origin+"/", nil)
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
		home := mustParse(t, s.Origin+"/")
		ana.Jar.SetCookies(home, w.Result().Cookies())
		if back := ana.Get(ana.AnswerOf(&world.Page{ResponseRecorder: w, URL: home})); back.Location() != "/" {
			t.Errorf("a request for %q comes back to %q", target, back.Location())
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

// An absolute address of our own origin is taken, from the address and from a
// form. What is not taken is logged, without its query.
func TestReturnToAbsolute(t *testing.T) {
	s := world.NewSite(t)
	for wish, want := range map[string]string{
		s.Origin + "/notes/7?a=b": "/notes/7?a=b", "HTTPS://NOTES.TEST/notes/": "/notes/", "https://notes.test:443/x": "/x", s.Origin: "/", "/notes/7": "/notes/7",
		"https://evil.example/?secret": "/", "https://evil.example/#id_token=secret": "/", "/a/../b#secret?x": "/", "https://notes.test.evil.example/": "/", s.Origin + "//evil.example/": "/", s.Origin + "/auth/logout?x": "/auth/logout?x", s.Origin + "/auth/login": "/",
	} {
		for how, start := range map[string]func(*world.Visitor) *world.Page{
			"address": func(b *world.Visitor) *world.Page {
				return b.Get("/auth/login?;x=%zz&return_to=" + url.QueryEscape(wish) + "&y=%")
			},
			"form": func(b *world.Visitor) *world.Page {
				return b.Post("/auth/login?return_to=/other", url.Values{"return_to": {wish}})
			},
			"form in another spelling": func(b *world.Visitor) *world.Page {
				return b.Post("/auth/login", url.Values{"return_to": {wish}}, "Content-Type", "Application/X-WWW-Form-URLencoded; charset=UTF-8")
			},
			"form in parts": func(b *world.Visitor) *world.Page {
				body := "--x\r\nContent-Disposition: form-data; name=\"return_to\"\r\n\r\n" + wish + "\r\n--x--\r\n"
				return b.Do(b.Request(http.MethodPost, "/auth/login?return_to=/other", strings.NewReader(body), append(slices.Clone(world.Navigation),
					"Content-Type", "multipart/form-data; boundary=x", "Sec-Fetch-Site", "same-origin")...))
			},
		} {
			ana := s.Visitor("ana")
			before := s.Logged("dropped_return_path")
			back := ana.Get(ana.AnswerOf(start(ana)))
			if back.Location() != want {
				t.Errorf("%s %q comes back to %q, want %q", how, wish, back.Location(), want)
			}
			if dropped := s.Logged("dropped_return_path") - before; (dropped == 1) != (want == "/" && wish != s.Origin) {
				t.Errorf("%s %q: %d lines", how, wish, dropped)
			}
		}
	}
	if s.Logged("secret") != 0 {
		t.Error("the log has the query or the fragment of a return path")
	}
}

// A return path that cannot be read is logged too, and so is the page of a form
// to which nobody may be sent back.
func TestReturnToUnreadable(t *testing.T) {
	s := world.NewSite(t)
	for name, start := range map[string]func(*world.Visitor) *world.Page{
		"address": func(b *world.Visitor) *world.Page { return b.Get("/auth/login?return_to=/notes/100%&x=y") },
		"form": func(b *world.Visitor) *world.Page {
			return b.Do(b.Request(http.MethodPost, "/auth/login", strings.NewReader("return_to=%zz"), append(slices.Clone(world.Navigation),
				"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")...))
		},
		"page of a form": func(b *world.Visitor) *world.Page {
			return b.Get(linkOf(t, b.Post("/notes/save", nil, "Referer", s.Origin+"/notes/%2e%2e/x")))
		},
	} {
		ana := s.Visitor("ana")
		before := s.Logged("dropped_return_path")
		if back := ana.Get(ana.AnswerOf(start(ana))); back.Location() != "/" || s.Logged("dropped_return_path") != before+1 {
			t.Errorf("%s: comes back to %q, %d lines", name, back.Location(), s.Logged("dropped_return_path")-before)
		}
	}
	// Parts that are none are no form.
	ana := s.Visitor("ana")
	a := ana.Post("/auth/login?return_to=/notes/", url.Values{"return_to": {"/x"}}, "Content-Type", "multipart/form-data; boundary=x")
	if back := ana.Get(ana.AnswerOf(a)); back.Location() != "/notes/" {
		t.Errorf("broken parts: comes back to %q", back.Location())
	}
}
