package gatehouse_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// visitor is a browser with a cookie jar. It goes to one replica at a time and
// follows nothing by itself.
type visitor struct {
	s    *site
	user string
	at   int // replica
	jar  http.CookieJar
}

func (s *site) visitor(user string) *visitor {
	jar, err := cookiejar.New(nil)
	s.must(err)
	return &visitor{s: s, user: user, jar: jar}
}

// answer is what a visitor got.
type answer struct {
	*httptest.ResponseRecorder
	url *url.URL
}

func (a *answer) location() string { return a.Header().Get("Location") }

func (a *answer) String() string {
	body := a.Body.String()
	if _, text, found := strings.Cut(body, "<main>"); found {
		body, _, _ = strings.Cut(text, "</main>")
	}
	return fmt.Sprintf("%s: %d, Location %q, body %q", a.url.Path, a.Code, a.location(), body)
}

func (b *visitor) do(r *http.Request) *answer {
	b.s.t.Helper()
	at := *r.URL
	for _, c := range b.jar.Cookies(&at) {
		r.AddCookie(c)
	}
	r.URL = &url.URL{Path: at.Path, RawPath: at.RawPath, RawQuery: at.RawQuery} // as a server sees it
	r.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	if at.Host == "op.test" {
		b.s.Server.ServeHTTP(w, r)
	} else {
		b.s.replicas[b.at].mux.ServeHTTP(w, r)
		b.s.noteShown(w)
	}
	b.jar.SetCookies(&at, w.Result().Cookies())
	return &answer{w, &at}
}

func (b *visitor) request(method, target string, body io.Reader, header ...string) *http.Request {
	if strings.HasPrefix(target, "/") {
		target = b.s.origin + target
	}
	r := httptest.NewRequest(method, target, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

var navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none", "Accept", "text/html"}

// get opens a page, once; more header lines win over those of a navigation.
func (b *visitor) get(target string, header ...string) *answer {
	b.s.t.Helper()
	return b.do(b.request(http.MethodGet, target, nil, append(slices.Clone(navigation), header...)...))
}

// fetch is what a script of the page does.
func (b *visitor) fetch(method, target string, header ...string) *answer {
	b.s.t.Helper()
	h := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "*/*"}
	return b.do(b.request(method, target, nil, append(h, header...)...))
}

// post sends a form of one of our pages by navigation.
func (b *visitor) post(target string, form url.Values, header ...string) *answer {
	b.s.t.Helper()
	h := append(slices.Clone(navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", b.s.origin, "Sec-Fetch-Site", "same-origin")
	return b.do(b.request(http.MethodPost, target, strings.NewReader(form.Encode()), append(h, header...)...))
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// fillIn sends the form of a page of the provider.
func (b *visitor) fillIn(a *answer) *answer {
	b.s.t.Helper()
	action := formAction.FindStringSubmatch(a.Body.String())
	if action == nil {
		b.s.t.Fatalf("no form in %v", a)
	}
	form := url.Values{"username": {b.user}, "password": {sitePass}}
	for _, m := range formInput.FindAllStringSubmatch(a.Body.String(), -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	target, err := a.url.Parse(html.UnescapeString(action[1]))
	b.s.must(err)
	r := b.request(http.MethodPost, target.String(), strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// maxHops is more than any sign-in takes; a loop ends there.
const maxHops = 12

// follow goes where it is sent, signs in where it is asked to, and stops at the
// first answer of the site that is no redirect, or before the request for which
// stop is true.
func (b *visitor) follow(a *answer, stop func(*url.URL) bool) *answer {
	b.s.t.Helper()
	for range maxHops {
		switch {
		case a.location() != "":
			to, err := a.url.Parse(a.location())
			b.s.must(err)
			if stop != nil && stop(to) {
				return a
			}
			a = b.get(to.String())
		case a.url.Host == "op.test" && strings.Contains(a.Body.String(), `id="sign-in"`):
			a = b.fillIn(a)
		default:
			return a
		}
	}
	b.s.t.Fatalf("still redirected after %d hops: %v", maxHops, a)
	return nil
}

// visit opens a page of the site and goes where that leads.
func (b *visitor) visit(target string) *answer {
	b.s.t.Helper()
	return b.follow(b.get(target), nil)
}

// toCallback is visit up to the answer of the provider, which is returned
// unopened.
func (b *visitor) toCallback(target string) string {
	b.s.t.Helper()
	return b.answerOf(b.get(target))
}

func (b *visitor) answerOf(start *answer) string {
	b.s.t.Helper()
	a := b.follow(start, func(u *url.URL) bool { return u.Path == "/auth/callback" })
	if !strings.Contains(a.location(), "/auth/callback") {
		b.s.t.Fatalf("no callback, but %v", a)
	}
	return a.location()
}

// signIn signs the visitor in and returns the cookie of the session.
func (b *visitor) signIn() string {
	b.s.t.Helper()
	b.wantServed(b.visit("/notes/"))
	return b.sessionCookie()
}

// cookies are what the visitor would send to the site.
func (b *visitor) cookies() map[string]string {
	u, err := url.Parse(b.s.origin + "/")
	b.s.must(err)
	out := map[string]string{}
	for _, c := range b.jar.Cookies(u) {
		out[c.Name] = c.Value
	}
	return out
}

// attempts are the names of the cookies of sign-ins under way.
func (b *visitor) attempts() (names []string) {
	for name, value := range b.cookies() {
		if !strings.Contains(value, ".") && !strings.HasSuffix(name, ".out") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *visitor) sessionName() string {
	for name, value := range b.cookies() {
		if strings.Count(value, ".") == 2 {
			return name
		}
	}
	return ""
}

func (b *visitor) sessionCookie() string { return b.cookies()[b.sessionName()] }

func (b *visitor) setCookie(name, value string) {
	u, err := url.Parse(b.s.origin + "/")
	b.s.must(err)
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: u.Scheme == "https"}})
}

// wantServed checks that the handler ran for the visitor.
func (b *visitor) wantServed(a *answer) {
	b.s.t.Helper()
	if want := "served " + b.user + "-1 by session"; a.Code != http.StatusOK || a.Body.String() != want {
		b.s.t.Fatalf("got %v; want %q", a, want)
	}
}

// wantOut checks that the visitor is sent to sign-in.
func (b *visitor) wantOut(a *answer) {
	b.s.t.Helper()
	if a.Code != http.StatusSeeOther || !strings.HasPrefix(a.location(), b.s.endpoint["authorization_endpoint"]+"?") {
		b.s.t.Fatalf("got %v; want a redirect to sign-in", a)
	}
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		b.s.t.Errorf("Cache-Control %q on a redirect to sign-in, want no-store", got)
	}
}
