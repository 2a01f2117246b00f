package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// What a stranger's callbacks cost. With a valid attempt, which anybody can
// begin, each attempt costs one entry for the used state and one token request,
// however often its callback is repeated. Without an attempt they cost nothing.
// The entries expire.
func TestCallbackGarbageCosts(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas, world.Watched)
	s.Visitor("ben").SignIn() // both replicas know their keys
	s.Visitor("ben").On(world.ReplicaB).SignIn()
	s.Watched().Counts()
	s.ResetCounts()
	before := len(s.Watched().All())
	const attempts, repeats = 40, 3
	stranger := s.Visitor("ana")
	for i := range attempts {
		state := world.QueryOf(t, stranger.Get("/auth/login").Location()).Get("state")
		cookies := stranger.Cookies()
		garbage := "/auth/callback?" + url.Values{"state": {state}, "iss": {world.SiteIssuer}, "code": {fmt.Sprint("garbage-", i, strings.Repeat("x", 7<<10))}}.Encode()
		for n := range repeats {
			for name, value := range cookies { // as a stranger would keep them
				stranger.SetCookie(name, value)
			}
			a := stranger.On(n % 2).Get(garbage)
			s.WantRefusal(a, http.StatusBadRequest)
			if want := map[bool]string{true: "code_refused", false: "state_used"}[n == 0]; s.LastCode() != want {
				t.Fatalf("attempt %d, time %d: code %q, want %q", i, n, s.LastCode(), want)
			}
		}
		s.WantRefusal(stranger.Get(strings.Replace(garbage, "state=", "state=x", 1)), http.StatusBadRequest)
	}
	if got := s.Count(opserver.EndpointToken); got != attempts {
		t.Errorf("%d token requests for %d attempts", got, attempts)
	}
	if got := len(s.Watched().All()) - before; got != attempts {
		t.Errorf("%d entries in the store for %d attempts", got, attempts)
	}
	if reads, writes := s.Watched().Counts(); writes != attempts*repeats || reads != 0 {
		t.Errorf("%d reads and %d tries to write; want none and %d", reads, writes, attempts*repeats)
	}
	for _, expiry := range s.Watched().Keys() {
		if life := expiry.Sub(s.Now()); life < 11*time.Hour && life > 12*time.Minute {
			t.Errorf("an entry lives %v, more than the attempt", life)
		}
	}
	s.ResetCounts()
	for range attempts {
		nobody := s.Visitor("ana")
		s.WantRefusal(nobody.Get("/auth/callback?state=AAAAAAAAAAAAAAAAAAAAAA&code=c1"), http.StatusBadRequest)
	}
	if reads, writes := s.Watched().Counts(); reads+writes != 0 || s.Count(opserver.EndpointToken) != 0 {
		t.Errorf("without an attempt: %d reads, %d writes, %d token requests", reads, writes, s.Count(opserver.EndpointToken))
	}
}

// CK6: no cookie that anybody sends causes a 5xx, on a page, on a public page
// or at our own handlers. interop/cmd/bounds measures that none costs more than
// a mebibyte.
func TestCK6_HostileCookiesAreBounded(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.Get("/auth/login")
	names := []string{ana.Attempts()[0]}
	ana.SignIn()
	names = append(names, ana.SessionName())
	prefix := names[0][:strings.LastIndex(names[0], "-")+1]
	values := []string{
		"", ";", `"`, "=", "%00", strings.Repeat("A", 8<<10), "\x80\x81\xfe\xff", "bm90IGEgc2Vzc2lvbg", ana.SessionCookie() + ".", strings.Repeat("A", 43) + "." + strings.Repeat(strings.Repeat("B", 22)+".", 300),
	}
	var lines []string
	for _, name := range names {
		for _, v := range values {
			lines = append(lines, name+"="+v)
		}
	}
	many := ""
	for i := range 300 {
		many += fmt.Sprintf("%s%08d=%s; ", prefix, i, strings.Repeat("A", 80))
	}
	lines = append(lines, ";", "; ; ;", "=", "=;=", strings.Repeat("a=b; ", 2000), many, strings.Repeat(names[1]+"="+strings.Repeat("A", 43)+"; ", 300),
		strings.Repeat(names[1]+"="+strings.Repeat("A", 43)+"; ", 2999), strings.Repeat(names[0]+"="+strings.Repeat("A", 80)+"; ", 2999), strings.Repeat("a=b; ", 200_000))
	for _, path := range []string{"/notes/", "/open", "/auth/login", "/auth/logout", "/auth/callback?code=c1&state=" + strings.Repeat("A", 22)} {
		for _, line := range lines {
			a := s.Visitor("ana").Get(path, "Cookie", line)
			if a.Code >= 500 {
				t.Errorf("%s with %.60q: status %d", path, line, a.Code)
			}
			if path == "/open" && a.Body.String() != "served nobody" {
				t.Errorf("%s with %.60q: %v", path, line, a)
			}
		}
	}
}

// TestWhatFeaturesCost counts the rows of "What it costs the provider" in
// docs/sign-in.md: what the site asks the provider besides what the browser opens
// there, once the metadata and the keys are known.
func TestWhatFeaturesCost(t *testing.T) {
	mounted := func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
		mux.Handle("/info", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := login.UserInfo(r.Context()); err != nil {
				t.Error(err)
			}
		})))
		mux.Handle("/out", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := login.LogoutURL(w, r, gatehouse.LogoutRequest{ReturnTo: "https://notes.test/auth/logout"}); err != nil {
				t.Error(err)
			}
		})))
	}
	signIn := func(b *world.Visitor) { b.SignIn() }
	signedIn := func(then func(*world.Visitor)) func(*world.Visitor) {
		return func(b *world.Visitor) {
			b.SignIn()
			b.Site.Reset()
			then(b)
		}
	}
	for name, c := range map[string]struct {
		party func(*gatehouse.RelyingPartyConfig)
		act   func(*world.Visitor)
		want  string
	}{
		"code":               {nil, signIn, "token 1, userinfo 1"},
		"code, SkipUserInfo": {func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true }, signIn, "token 1"},
		"code, form_post":    {func(c *gatehouse.RelyingPartyConfig) { c.ResponseMode = "form_post" }, signIn, "token 1, userinfo 1"},
		"code id_token":      {func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "code id_token" }, signIn, "token 1, userinfo 1"},
		"id_token token":     {func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "id_token token" }, signIn, "userinfo 1"},
		"id_token":           {func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "id_token" }, signIn, ""},
		"a request by POST":  {func(c *gatehouse.RelyingPartyConfig) { c.AuthorizeByPOST = true }, signIn, "token 1, userinfo 1"},
		"more is asked for": {func(c *gatehouse.RelyingPartyConfig) {
			c.AuthRequest = func(_ *http.Request, a *gatehouse.AuthRequest) error {
				a.MaxAge, a.ACRValues, a.UILocales = time.Hour, []string{"1"}, []string{"de"}
				return nil
			}
		}, signIn, "token 1, userinfo 1"},
		"another site starts it": {nil, func(b *world.Visitor) {
			b.WantServed(b.Follow(thirdParty(b, http.MethodGet, url.Values{"iss": {world.SiteIssuer}, "target_link_uri": {"https://notes.test/notes/"}}), nil))
		}, "token 1, userinfo 1"},
		"another site, another issuer": {nil, func(b *world.Visitor) { thirdParty(b, http.MethodGet, url.Values{"iss": {"https://evil.test"}}) }, ""},
		"a request of a session":       {nil, signedIn(func(b *world.Visitor) { b.WantServed(b.Get("/notes/")) }), ""},
		"a refresh": {nil, signedIn(func(b *world.Visitor) {
			b.Site.Advance(world.Past)
			b.WantServed(b.Get("/notes/"))
		}), "token 1, userinfo 1"},
		"UserInfo by hand":  {nil, signedIn(func(b *world.Visitor) { b.Get("/info") }), "userinfo 1"},
		"LogoutURL by hand": {nil, signedIn(func(b *world.Visitor) { b.Post("/out", nil) }), "revoke 1"},
		"the logout button": {nil, signedIn(func(b *world.Visitor) { b.Post("/auth/logout", nil) }), "revoke 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, func(o *world.SiteOptions) { o.Party, o.Mount = c.party, mounted })
			s.Visitor("ben").SignIn()
			s.Reset()
			c.act(s.Visitor("ana"))
			s.ShutdownAll()
			var spent []string
			for _, e := range opserver.Endpoints() {
				if n := s.Count(e); n > 0 && e != opserver.EndpointAuthorize && e != opserver.EndpointPages && e != opserver.EndpointEndSession {
					spent = append(spent, fmt.Sprint(e, " ", n))
				}
			}
			if got := strings.Join(spent, ", "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if v := s.Violations(); len(v) != 0 {
				t.Error(v)
			}
		})
	}
}
