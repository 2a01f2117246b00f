package gatehouse_test

import (
	"bufio"
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
	"example.com/gatehouse/internal/testkit/returntargets"
)

// longestTarget is what still goes into a query three times. A query of more than
// 16 KiB is refused as a whole.
const longestTarget = 5 << 10

// targetsPerSite is how many targets are tried at one site, which in the end looks
// for each of its secrets in all that it has said.
const targetsPerSite = 40

// RT4: wherever somebody can say where to go, nothing leads away. The module
// interop has a WHATWG parser judge the same.
func TestRT4_ReturnTargets(t *testing.T) {
	t.Parallel()
	spellings := targetSpellings()
	for i, part := range slices.Collect(slices.Chunk(spellings, targetsPerSite)) {
		t.Run(fmt.Sprint("part ", i), func(t *testing.T) {
			t.Parallel()
			ana := newSite(t).visitor("ana")
			for _, target := range part {
				if len(url.QueryEscape(target)) > longestTarget {
					ana.isRefused(target)
					continue
				}
				ana.triesAsAddress(target)
				ana.triesAsParameter(target)
			}
		})
	}
}

// A target as one of the site's own settings is refused, or it is of this site.
func TestRT4_ConfiguredTargets(t *testing.T) {
	provider, err := gatehouse.NewProvider(siteIssuer, nil)
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
			c := gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(siteSecret)},
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

// staysHere reports whether a browser that is sent to location stays on the site,
// whichever way it reads addresses: one slash, no second one of either kind after
// it, and nothing that a browser drops or takes for a slash.
func staysHere(location string) bool {
	return strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") &&
		!strings.ContainsFunc(location, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' })
}

// triesAsParameter goes through a whole sign-in that shall come back to target,
// and through a sign-out that shall go on to it.
func (b *visitor) triesAsParameter(target string) {
	b.s.t.Helper()
	value := url.QueryEscape(target)
	b.comesBack(b.get("/auth/login?return_to="+value), fmt.Sprintf("return_to %.300q", target))
	query := "post_logout_redirect_uri=" + value + "&return_to=" + value + "&redirect_uri=" + value
	out := b.post("/auth/logout?"+query, mustQuery(b.s.t, query))
	b.leaves(out, fmt.Sprintf("sign-out with %.300q", target))
	back := b.get("/auth/logout?state=" + queryOf(b.s.t, out.location()).Get("state") + "&" + query)
	if back.Code != http.StatusOK || back.location() != "" || !linksStay(back) {
		b.s.t.Errorf("back from the provider with %.300q: %v", target, back)
	}
}

// isRefused tries a target that is longer than what is read.
func (b *visitor) isRefused(target string) {
	b.s.t.Helper()
	for len(target) < 16<<10 {
		target += target
	}
	for _, a := range []*answer{b.get("/auth/login?return_to=" + url.QueryEscape(target)), b.post("/auth/logout?return_to="+url.QueryEscape(target), nil)} {
		if a.Code < 400 || a.Code >= 500 || a.location() != "" {
			b.s.t.Errorf("%.100q of %d bytes: %d, leads to %q", target, len(target), a.Code, a.location())
		}
	}
}

// triesAsAddress asks the handlers for the target itself, as a server reads it off
// the wire, with no router before them that would clean it.
func (b *visitor) triesAsAddress(target string) {
	b.s.t.Helper()
	login := b.s.replicas[0].login
	start := b.sends(http.MethodGet, target, login.RequireLogin(whoAmI), navigation...)
	if start == nil {
		return // no server takes that for a request
	}
	what := fmt.Sprintf("a request for %.300q", target)
	b.comesBack(start, what)
	if page := b.sends(http.MethodGet, target, login.LogoutHandler(), navigation...); page.Code != http.StatusOK || !linksStay(page) {
		b.s.t.Errorf("%s: the page that asks: %v", what, page)
	}
	b.leaves(b.sends(http.MethodPost, target, login.LogoutHandler(), "Sec-Fetch-Site", "same-origin"), what)
	again := b.sends(http.MethodPost, target, login.LogoutHandler(), "Sec-Fetch-Site", "same-origin")
	if again.Code != http.StatusSeeOther || !staysHere(again.location()) {
		b.s.t.Errorf("%s: a sign-out without a session answers %d and leads to %q", what, again.Code, again.location())
	}
}

// comesBack goes on with a sign-in that has begun, and looks where it ends.
func (b *visitor) comesBack(start *answer, what string) {
	b.s.t.Helper()
	if start.Code != http.StatusSeeOther {
		b.s.t.Fatalf("%s: the sign-in does not start: %v", what, start)
	}
	if end := b.get(b.answerOf(start)); end.Code != http.StatusSeeOther || !staysHere(end.location()) {
		b.s.t.Fatalf("%s: the sign-in ends with %d and leads to %q", what, end.Code, end.location())
	}
}

// leaves looks at a sign-out: it goes to the provider, which is told to send the
// browser back here.
func (b *visitor) leaves(out *answer, what string) {
	b.s.t.Helper()
	if out.Code != http.StatusSeeOther || !strings.HasPrefix(out.location(), b.s.endpoint["end_session_endpoint"]+"?") {
		b.s.t.Fatalf("%s: sign-out: %v", what, out)
	}
	back := queryOf(b.s.t, out.location()).Get("post_logout_redirect_uri")
	if path, ok := strings.CutPrefix(back, b.s.origin); !ok || !strings.HasPrefix(path, "/") {
		b.s.t.Errorf("%s: the provider is asked to send the browser to %q", what, back)
	}
}

// sends sends a request for the target with the cookies of the site. It returns
// nil if net/http does not take that for a request; it takes more than RFC 9112
// §3.2 has, such as "x:.evil.example".
func (b *visitor) sends(method, target string, h http.Handler, header ...string) *answer {
	b.s.t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: notes.test\r\n\r\n")))
	if err != nil {
		return nil
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	home := mustParse(b.s.t, b.s.origin+"/")
	for _, c := range b.jar.Cookies(home) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b.s.noteShown(w)
	b.jar.SetCookies(home, w.Result().Cookies())
	return &answer{w, home}
}

var pageAddress = regexp.MustCompile(`(?:href|action|src)="([^"]*)"`)

// linksStay reports whether a page has links, and all of them lead to this site.
func linksStay(page *answer) bool {
	found := pageAddress.FindAllStringSubmatch(page.Body.String(), -1)
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
