package world

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
	"sync"
)

// Visitor is a browser with a cookie jar. It talks to one replica at a time and
// does not follow redirects by itself.
type Visitor struct {
	Site *Site
	User string
	At   int // replica
	Jar  http.CookieJar

	none *sync.Map // by name, whether another site's form brings a cookie along
}

// Visitor is a new browser of a person.
func (s *Site) Visitor(user string) *Visitor {
	jar, err := cookiejar.New(nil)
	s.Must(err)
	return &Visitor{Site: s, User: user, Jar: jar, none: &sync.Map{}}
}

// On is the same browser at another replica.
func (b *Visitor) On(at int) *Visitor {
	v := *b
	v.At = at
	return &v
}

// Together sends n requests at once, spread over the replicas.
func (b *Visitor) Together(n, replicas int, target string) (answers []*Page) {
	done := make(chan *Page)
	for i := range n {
		go func() { done <- b.On(i % replicas).Get(target) }()
	}
	for range n {
		answers = append(answers, <-done)
	}
	return answers
}

// Page is an answer that a visitor got.
type Page struct {
	*httptest.ResponseRecorder
	URL *url.URL
}

// Location is where the answer redirects to.
func (a *Page) Location() string { return a.Header().Get("Location") }

func (a *Page) String() string {
	body := a.Body.String()
	if _, text, found := strings.Cut(body, "<main>"); found {
		body, _, _ = strings.Cut(text, "</main>")
	}
	return fmt.Sprintf("%s: %d, Location %q, body %q", a.URL.Path, a.Code, a.Location(), body)
}

// Do sends a request of the test's own, with the cookies of the browser.
func (b *Visitor) Do(r *http.Request) *Page {
	b.Site.T.Helper()
	return b.send(r, func(string) bool { return true })
}

// send is Do with some of the cookies.
func (b *Visitor) send(r *http.Request, goes func(name string) bool) *Page {
	b.Site.T.Helper()
	at := *r.URL
	for _, c := range b.Jar.Cookies(&at) {
		if goes(c.Name) {
			r.AddCookie(c)
		}
	}
	r.URL = &url.URL{Path: at.Path, RawPath: at.RawPath, RawQuery: at.RawQuery} // as a server sees it
	r.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	if at.Host == providerHost {
		b.Site.Server.ServeHTTP(w, r)
		b.noteBrought(w)
	} else {
		b.Site.mux(b.At).ServeHTTP(w, r)
		b.Site.NoteShown(w)
	}
	for _, c := range w.Result().Cookies() {
		b.none.Store(c.Name, c.SameSite == http.SameSiteNoneMode && c.Secure)
	}
	b.Jar.SetCookies(&at, w.Result().Cookies())
	return &Page{w, &at}
}

// noteBrought remembers the secrets that the provider sends through the browser.
func (b *Visitor) noteBrought(w *httptest.ResponseRecorder) {
	_, params, _ := strings.Cut(strings.ReplaceAll(w.Header().Get("Location"), "#", "?"), "?")
	brought, _ := url.ParseQuery(params)
	for _, m := range formInput.FindAllStringSubmatch(w.Body.String(), -1) {
		brought.Add(m[1], html.UnescapeString(m[2]))
	}
	for _, name := range []string{"code", "access_token", "id_token"} {
		b.Site.Mint(name, brought.Get(name))
	}
}

// Request makes a request. header alternates names and values.
func (b *Visitor) Request(method, target string, body io.Reader, header ...string) *http.Request {
	if strings.HasPrefix(target, "/") {
		target = b.Site.Origin + target
	}
	target, fragment, _ := strings.Cut(target, "#") // which stays in the browser
	r := httptest.NewRequest(method, target, body)
	var err error
	r.URL.RawFragment = fragment
	r.URL.Fragment, err = url.PathUnescape(fragment)
	b.Site.Must(err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// Navigation is the header that a browser sends when it opens a page.
var Navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none", "Accept", "text/html"}

// Get opens a page, once. The given header lines override those of a
// navigation.
func (b *Visitor) Get(target string, header ...string) *Page {
	b.Site.T.Helper()
	return b.Do(b.Request(http.MethodGet, target, nil, append(slices.Clone(Navigation), header...)...))
}

// Fetch is a request of a script on the page.
func (b *Visitor) Fetch(method, target string, header ...string) *Page {
	b.Site.T.Helper()
	h := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "*/*"}
	return b.Do(b.Request(method, target, nil, append(h, header...)...))
}

// Post submits a form of one of our pages by navigation.
func (b *Visitor) Post(target string, form url.Values, header ...string) *Page {
	b.Site.T.Helper()
	h := append(slices.Clone(Navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", b.Site.Origin, "Sec-Fetch-Site", "same-origin")
	return b.Do(b.Request(http.MethodPost, target, strings.NewReader(form.Encode()), append(h, header...)...))
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	// formScripted is a form that a script submits.
	formScripted = regexp.MustCompile(`<form method="post"(?: action="([^"]*)")? id="(answer|gatehouse-answer|gatehouse-request)">`)
	formInput    = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// providerHost is the host of the provider.
const providerHost = "op.test"

// FillIn submits the form of a page of the provider.
func (b *Visitor) FillIn(a *Page) *Page {
	b.Site.T.Helper()
	action := formAction.FindStringSubmatch(a.Body.String())
	if action == nil {
		b.Site.T.Fatalf("no form in %v", a)
	}
	form := url.Values{"username": {b.User}, "password": {SitePass}}
	for _, m := range formInput.FindAllStringSubmatch(a.Body.String(), -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	target, err := a.URL.Parse(html.UnescapeString(action[1]))
	b.Site.Must(err)
	r := b.Request(http.MethodPost, target.String(), strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	return b.Do(r)
}

// MaxHops is more than any sign-in takes, so a loop ends there.
const MaxHops = 12

// Follow follows redirects and signs in when asked. It stops at the first
// answer of the site that is not a redirect, or before the request for which
// stop is true.
func (b *Visitor) Follow(a *Page, stop func(*url.URL) bool) *Page {
	b.Site.T.Helper()
	for range MaxHops {
		switch {
		case a.Location() != "":
			to, err := a.URL.Parse(a.Location())
			b.Site.Must(err)
			if stop != nil && stop(to) {
				return a
			}
			a = b.Get(to.String())
		case a.URL.Host == providerHost && strings.Contains(a.Body.String(), `id="sign-in"`):
			a = b.FillIn(a)
		case formScripted.MatchString(a.Body.String()):
			r := b.Scripted(a)
			if stop != nil && stop(r.URL) {
				return a
			}
			a = b.PostAcross(r)
		default:
			return a
		}
	}
	b.Site.T.Fatalf("still redirected after %d hops: %v", MaxHops, a)
	return nil
}

// Visit opens a page of the site and follows where it leads.
func (b *Visitor) Visit(target string) *Page {
	b.Site.T.Helper()
	return b.Follow(b.Get(target), nil)
}

// Scripted is the request that the script of a page makes: of the provider's page
// with an answer, of ours that posts a fragment, or of ours with an authorization
// request.
func (b *Visitor) Scripted(a *Page) *http.Request {
	b.Site.T.Helper()
	body := a.Body.String()
	found := formScripted.FindStringSubmatch(body)
	if found == nil {
		b.Site.T.Fatalf("no form that a script submits in %v", a)
	}
	form := url.Values{}
	for _, m := range formInput.FindAllStringSubmatch(body, -1) {
		value := html.UnescapeString(m[2])
		if found[2] == "gatehouse-answer" {
			value = a.URL.EscapedFragment()
		}
		form.Add(m[1], value)
	}
	page := *a.URL
	page.Fragment, page.RawFragment = "", ""
	target, err := page.Parse(html.UnescapeString(found[1]))
	b.Site.Must(err)
	from, site := page.Scheme+"://"+page.Host, "same-origin"
	if target.Host != page.Host {
		site = "cross-site"
	}
	return b.Request(http.MethodPost, target.String(), strings.NewReader(form.Encode()),
		append(slices.Clone(Navigation), "Content-Type", "application/x-www-form-urlencoded", "Origin", from, "Sec-Fetch-Site", site)...)
}

// PostAcross sends a form with the cookies that SameSite lets go with it.
func (b *Visitor) PostAcross(r *http.Request) *Page {
	b.Site.T.Helper()
	across := r.Header.Get("Sec-Fetch-Site") == "cross-site"
	return b.send(r, func(name string) bool {
		goes, _ := b.none.Load(name)
		return !across || goes == true
	})
}

// ToAnswer is Visit up to the provider's answer, however it comes: the address of
// the callback, with the query or the fragment, and the form that was to be
// posted there.
func (b *Visitor) ToAnswer(target string) *http.Request {
	b.Site.T.Helper()
	a := b.Follow(b.Get(target), func(u *url.URL) bool { return u.Path == "/auth/callback" })
	if a.Location() != "" {
		return b.Request(http.MethodGet, a.Location(), nil, Navigation...)
	}
	return b.Scripted(a)
}

// ToCallback is Visit up to the answer of the provider, which it returns
// unopened.
func (b *Visitor) ToCallback(target string) string {
	b.Site.T.Helper()
	return b.AnswerOf(b.Get(target))
}

// AnswerOf is ToCallback for a sign-in that has already begun.
func (b *Visitor) AnswerOf(start *Page) string {
	b.Site.T.Helper()
	a := b.Follow(start, func(u *url.URL) bool { return u.Path == "/auth/callback" })
	if !strings.Contains(a.Location(), "/auth/callback") {
		b.Site.T.Fatalf("no callback, but %v", a)
	}
	return a.Location()
}

// SignIn signs the visitor in and returns the cookie of the session.
func (b *Visitor) SignIn() string {
	b.Site.T.Helper()
	b.WantServed(b.Visit("/notes/"))
	return b.SessionCookie()
}

// Cookies are the cookies that the visitor would send to the site.
func (b *Visitor) Cookies() map[string]string {
	u, err := url.Parse(b.Site.Origin + "/")
	b.Site.Must(err)
	out := map[string]string{}
	for _, c := range b.Jar.Cookies(u) {
		out[c.Name] = c.Value
	}
	return out
}

// Attempts are the names of the cookies of sign-ins under way.
func (b *Visitor) Attempts() (names []string) {
	for name, value := range b.Cookies() {
		if !strings.Contains(value, ".") && !strings.HasSuffix(name, ".out") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// SessionName is the name of the cookie of a session, "" if there is none.
func (b *Visitor) SessionName() string {
	for name, value := range b.Cookies() {
		if strings.Count(value, ".") == 2 {
			return name
		}
	}
	return ""
}

// SessionCookie is the value of the session cookie.
func (b *Visitor) SessionCookie() string { return b.Cookies()[b.SessionName()] }

// SetCookie puts a cookie of the site into the browser.
func (b *Visitor) SetCookie(name, value string) {
	u, err := url.Parse(b.Site.Origin + "/")
	b.Site.Must(err)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: u.Scheme == "https"}})
}

// WantServed checks that the handler ran for the visitor.
func (b *Visitor) WantServed(a *Page) {
	b.Site.T.Helper()
	if want := "served " + b.User + "-1 by session"; a.Code != http.StatusOK || a.Body.String() != want {
		b.Site.T.Fatalf("got %v; want %q", a, want)
	}
}

// WantOut checks that the visitor is sent to sign-in.
func (b *Visitor) WantOut(a *Page) {
	b.Site.T.Helper()
	if a.Code != http.StatusSeeOther || !strings.HasPrefix(a.Location(), b.Site.Endpoint("authorization_endpoint")+"?") {
		b.Site.T.Fatalf("got %v; want a redirect to sign-in", a)
	}
	if got := a.Header().Get("Cache-Control"); got != "no-store" {
		b.Site.T.Errorf("Cache-Control %q on a redirect to sign-in, want no-store", got)
	}
}
