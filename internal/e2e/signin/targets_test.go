package signin_test

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/returntargets"
)

// longestTarget is the length that still fits into a query three times. A query
// of more than 16 KiB is refused as a whole.
const longestTarget = 5 << 10

// targetsPerSite is how many targets are tried at one site. At the end each
// site searches all of its output for each of its secrets.
const targetsPerSite = 40

var everySpelling = flag.Bool("spellings", false, "go through whole sign-ins with each target in all its spellings, not in one")

// RT4: wherever somebody can name a target, none leads away. Each target goes
// through whole sign-ins in one of its spellings, the spellings taking turns;
// with -spellings in all of them, as internal/navigation judges them each time.
// The module interop lets a WHATWG parser judge the same targets.
func TestRT4_ReturnTargets(t *testing.T) {
	t.Parallel()
	var spellings []string
	for i, target := range returntargets.All() {
		of := returntargets.Spellings(target)
		if !*everySpelling {
			at := i % len(of)
			of = of[at : at+1]
		}
		spellings = append(spellings, of...)
	}
	slices.Sort(spellings)
	spellings = slices.Compact(spellings)
	for i, part := range slices.Collect(slices.Chunk(spellings, targetsPerSite)) {
		t.Run(fmt.Sprint("part ", i), func(t *testing.T) {
			t.Parallel()
			ana := world.NewSite(t).Visitor("ana")
			for _, target := range part {
				if len(url.QueryEscape(target)) > longestTarget {
					isRefused(ana, target)
					continue
				}
				triesAsAddress(ana, target)
				triesAsParameter(ana, target)
			}
		})
	}
}

// A target used as one of the site's own settings is refused, or it belongs to
// this site.
func TestRT4_ConfiguredTargets(t *testing.T) {
	provider, err := gatehouse.NewProvider(world.SiteIssuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for _, target := range targetSpellings() {
		for name, set := range map[string]func(*gatehouse.RelyingPartyConfig){
			"LoggedOutURL": func(c *gatehouse.RelyingPartyConfig) { c.LoggedOutURL = target },
			"HomeURL":      func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = target },
			"LoginURL":     func(c *gatehouse.RelyingPartyConfig) { c.LoginURL = target },
		} {
			c := gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)},
				RedirectURL: "https://notes.test/auth/callback", LogoutURL: "https://notes.test/auth/logout"}
			set(&c)
			login, err := gatehouse.NewRelyingParty(provider, c)
			if err != nil {
				continue
			}
			taken++
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "https://notes.test/auth/logout", nil)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			login.LogoutHandler().ServeHTTP(w, r)
			if location := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !staysHere(location) {
				t.Errorf("%s %q: sign-out answers %d and leads to %q", name, target, w.Code, location)
			}
			if name != "LoginURL" && target != "" && !staysHere(target) {
				t.Errorf("%s %q is accepted", name, target)
			}
		}
	}
	if taken == 0 {
		t.Error("no setting was taken")
	}
}

// targetSpellings are the targets in all their spellings, each once.
func targetSpellings() []string {
	var all []string
	for _, target := range returntargets.All() {
		all = append(all, returntargets.Spellings(target)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// staysHere reports whether a browser sent to location stays on the site,
// however it reads addresses. The location has one slash, no second one of
// either kind after it, and nothing that a browser drops or takes for a slash.
func staysHere(location string) bool {
	return strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") &&
		!strings.ContainsFunc(location, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' })
}

// triesAsParameter goes through a whole sign-in that is to come back to target,
// and through a sign-out that is to go on to it.
func triesAsParameter(b *world.Visitor, target string) {
	b.Site.T.Helper()
	value := url.QueryEscape(target)
	comesBack(b, b.Get("/auth/login?return_to="+value), fmt.Sprintf("return_to %.300q", target))
	query := "post_logout_redirect_uri=" + value + "&return_to=" + value + "&redirect_uri=" + value
	out := b.Post("/auth/logout?"+query, mustQuery(b.Site.T, query))
	leaves(b, out, fmt.Sprintf("sign-out with %.300q", target))
	back := b.Get("/auth/logout?state=" + world.QueryOf(b.Site.T, out.Location()).Get("state") + "&" + query)
	if back.Code != http.StatusOK || back.Location() != "" || !linksStay(back) {
		b.Site.T.Errorf("back from the provider with %.300q: %v", target, back)
	}
}

// isRefused tries a target that is longer than the limit.
func isRefused(b *world.Visitor, target string) {
	b.Site.T.Helper()
	for len(target) < 16<<10 {
		target += target
	}
	for _, a := range []*world.Page{b.Get("/auth/login?return_to=" + url.QueryEscape(target)), b.Post("/auth/logout?return_to="+url.QueryEscape(target), nil)} {
		if a.Code < 400 || a.Code >= 500 || a.Location() != "" {
			b.Site.T.Errorf("%.100q of %d bytes: %d, leads to %q", target, len(target), a.Code, a.Location())
		}
	}
}

// triesAsAddress requests the target itself from the handlers, as a server
// reads it from the wire, with no router before them that would clean it.
func triesAsAddress(b *world.Visitor, target string) {
	b.Site.T.Helper()
	login := b.Site.Replicas[0].Login
	start := sends(b, http.MethodGet, target, login.RequireLogin(world.WhoAmI), world.Navigation...)
	if start == nil {
		return // no server accepts that as a request
	}
	what := fmt.Sprintf("a request for %.300q", target)
	if start.Code == http.StatusInternalServerError && strings.HasPrefix(target, "/auth/callback") { // it would come back for ever
		return
	}
	comesBack(b, start, what)
	if page := sends(b, http.MethodGet, target, login.LogoutHandler(), world.Navigation...); page.Code != http.StatusOK || !linksStay(page) {
		b.Site.T.Errorf("%s: the page that asks: %v", what, page)
	}
	leaves(b, sends(b, http.MethodPost, target, login.LogoutHandler(), "Sec-Fetch-Site", "same-origin"), what)
	again := sends(b, http.MethodPost, target, login.LogoutHandler(), "Sec-Fetch-Site", "same-origin")
	if again.Code != http.StatusSeeOther || !staysHere(again.Location()) {
		b.Site.T.Errorf("%s: a sign-out without a session answers %d and leads to %q", what, again.Code, again.Location())
	}
}

// comesBack continues a sign-in that has begun, and checks where it ends.
func comesBack(b *world.Visitor, start *world.Page, what string) {
	b.Site.T.Helper()
	if start.Code != http.StatusSeeOther {
		b.Site.T.Fatalf("%s: the sign-in does not start: %v", what, start)
	}
	if end := b.Get(b.AnswerOf(start)); end.Code != http.StatusSeeOther || !staysHere(end.Location()) {
		b.Site.T.Fatalf("%s: the sign-in ends with %d and leads to %q", what, end.Code, end.Location())
	}
}

// leaves checks a sign-out: it goes to the provider, which is told to send the
// browser back here.
func leaves(b *world.Visitor, out *world.Page, what string) {
	b.Site.T.Helper()
	if out.Code != http.StatusSeeOther || !strings.HasPrefix(out.Location(), b.Site.Endpoint("end_session_endpoint")+"?") {
		b.Site.T.Fatalf("%s: sign-out: %v", what, out)
	}
	back := world.QueryOf(b.Site.T, out.Location()).Get("post_logout_redirect_uri")
	if path, ok := strings.CutPrefix(back, b.Site.Origin); !ok || !strings.HasPrefix(path, "/") {
		b.Site.T.Errorf("%s: the provider is asked to send the browser to %q", what, back)
	}
}

// sends sends a request for the target with the cookies of the site. It returns
// nil if net/http rejects it as a request. net/http accepts more than RFC 9112
// §3.2 allows, such as "x:.evil.example".
func sends(b *world.Visitor, method, target string, h http.Handler, header ...string) *world.Page {
	b.Site.T.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: notes.test\r\n\r\n")))
	if err != nil {
		return nil
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	home := mustParse(b.Site.T, b.Site.Origin+"/")
	for _, c := range b.Jar.Cookies(home) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b.Site.NoteShown(w)
	b.Jar.SetCookies(home, w.Result().Cookies())
	return &world.Page{ResponseRecorder: w, URL: home}
}

var pageAddress = regexp.MustCompile(`(?:href|action|src)="([^"]*)"`)

// linksStay reports whether a page has links, and all of them lead to this
// site.
func linksStay(page *world.Page) bool {
	const icon = `<link rel="icon" href="data:,">` // empty, the same on every page
	found := pageAddress.FindAllStringSubmatch(strings.Replace(page.Body.String(), icon, "", 1), -1)
	for _, address := range found {
		if !staysHere(html.UnescapeString(address[1])) {
			return false
		}
	}
	return len(found) > 0
}

func mustQuery(t testing.TB, raw string) url.Values {
	t.Helper()
	query, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	return query
}
