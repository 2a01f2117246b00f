package signin_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// The state is new each time.
func TestLogoutStates(t *testing.T) {
	s := world.NewSite(t)
	states := map[string]bool{}
	for range 5 {
		ana := s.Visitor("ana")
		ana.SignIn()
		states[world.QueryOf(t, ana.Post("/auth/logout", nil).Location()).Get("state")] = true
	}
	if len(states) != 5 {
		t.Errorf("%d different states in 5 sign-outs", len(states))
	}
}

// An ID Token that many servers would not take in an address stays away, and the
// person comes back all the same. The way by a script is no longer either.
func TestLogoutWithALongHint(t *testing.T) {
	for _, size := range []int{1 << 10, 4 << 10} {
		s := world.NewSite(t)
		s.Retoken(t, func(_, claims map[string]any) { claims["photo"] = strings.Repeat("x", size) })
		for name, out := range map[string]func(*world.Visitor) *world.Page{
			"page":   func(b *world.Visitor) *world.Page { return b.Post("/auth/logout", nil) },
			"script": func(b *world.Visitor) *world.Page { return b.Get(signOutByScript(t, b)) },
		} {
			ana := s.Visitor("ana")
			ana.SignIn()
			a := out(ana)
			q := world.QueryOf(t, a.Location())
			if q.Has("id_token_hint") != (size < 4<<10) || q.Get("client_id") != "notes" || len(a.Location()) > 8<<10 {
				t.Errorf("%s, %d bytes: hint %v, client_id %q, %d bytes", name, size, q.Has("id_token_hint"), q.Get("client_id"), len(a.Location()))
			}
		}
		s.SetWire(nil)
	}
}

// RP-L2: returning with the right, a wrong or no state changes nothing and leads
// to the same page.
func TestLogoutWayBack(t *testing.T) {
	for _, page := range []string{"", "/bye"} {
		s := world.NewSite(t, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.LoggedOutURL = page }
		})
		for _, c := range []struct {
			name  string
			query func(state string) string
		}{
			{"right", func(state string) string { return "?state=" + state }},
			{"wrong", func(string) string { return "?state=AAAAAAAAAAAAAAAAAAAAAAAAAA" }},
			{"none", func(string) string { return "" }},
			{"empty", func(string) string { return "?state=" }},
			{"hostile", func(string) string {
				return "?state=%3Cscript%3E&post_logout_redirect_uri=https://evil.example&returnTo=//evil.example"
			}},
		} {
			t.Run(c.name+page, func(t *testing.T) {
				ana := s.Visitor("ana")
				ana.SignIn()
				state := world.QueryOf(t, ana.Post("/auth/logout", nil).Location()).Get("state")
				a := ana.Get("/auth/logout" + c.query(state))
				if page != "" { // LoggedOutURL serves without a state too
					if a.Code != http.StatusSeeOther || a.Location() != page {
						t.Errorf("got %v, want %s", a, page)
					}
					return
				}
				if a.Code != http.StatusOK || a.Location() != "" || strings.Contains(a.Body.String(), "script") || strings.Contains(a.Body.String(), "evil") {
					t.Errorf("got %v", a)
				}
				// A second return with the same state does not count.
				if again := ana.Get("/auth/logout?state=" + state); again.Location() != "" {
					t.Errorf("the state counts twice: %v", again)
				}
			})
		}
	}
}

// GET never signs out, wherever it comes from.
func TestLogoutGetChangesNothing(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for _, query := range []string{"", "?state=x", "?logout=1&post_logout_redirect_uri=https://evil.example"} {
		a := ana.Get("/auth/logout"+query, "Sec-Fetch-Site", "cross-site")
		if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `<form method="post" action="/auth/logout">`) {
			t.Errorf("GET %s: %v, want the page with the form", query, a)
		}
		ana.WantServed(ana.Get("/notes/"))
	}
	if ana.Follow(ana.Post("/auth/logout", nil), nil).Code != http.StatusOK { // what the form does
		t.Error("the form does not sign out")
	}
	ana.WantOut(ana.Get("/notes/"))
}

// RP-L3: the session ends only for a POST that is shown to come from this site.
func TestLogoutCrossSite(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.TrustedOrigins = []string{"https://partner.test"} }
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	for name, header := range map[string][]string{
		"cross-site":     {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"same-site":      {"Sec-Fetch-Site", "same-site"},
		"only Origin":    {"Origin", "https://evil.example"},
		"Origin null":    {"Origin", "null"},
		"neither header": nil,
	} {
		t.Run(name, func(t *testing.T) {
			a := ana.Do(ana.Request(http.MethodPost, "/auth/logout", nil, header...))
			s.WantRefusal(a, http.StatusForbidden)
			if len(a.Result().Cookies()) != 0 {
				t.Errorf("cookies %v with the refusal", a.Result().Cookies())
			}
			ana.WantServed(ana.Get("/notes/"))
		})
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodHead} {
		a := ana.Do(ana.Request(method, "/auth/logout", nil, "Sec-Fetch-Site", "same-origin"))
		if a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") != "GET, POST" {
			t.Errorf("%s: %v, Allow %q", method, a, a.Header().Get("Allow"))
		}
	}
	ana.WantServed(ana.Get("/notes/"))
	if a := ana.Do(ana.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://partner.test")); a.Code != http.StatusSeeOther {
		t.Errorf("a trusted origin: %v", a)
	}
	ana.WantOut(ana.Get("/notes/"))
}

// RP-L3: the local session ends, whatever the provider supports or does.
func TestLogoutWithoutProvider(t *testing.T) {
	without := func(member string) func(t *testing.T, s *world.Site) {
		return func(t *testing.T, s *world.Site) {
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				return world.RewriteJSON(t, next(r), func(m map[string]any) { delete(m, member) }), nil
			})
		}
	}
	for _, c := range []struct {
		name    string
		before  func(t *testing.T, s *world.Site)
		after   func(t *testing.T, s *world.Site)
		told    bool
		revoked int // revocation requests that reach the provider
	}{
		{"no end_session_endpoint", without("end_session_endpoint"), nil, false, 1},
		{"no revocation_endpoint", without("revocation_endpoint"), nil, true, 0},
		{"provider down", nil, func(_ *testing.T, s *world.Site) { s.SetDown(true) }, true, 0},
		{"revocation fails", nil, func(_ *testing.T, s *world.Site) { s.Break(opserver.EndpointDown, opserver.EndpointRevoke) }, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := world.NewSite(t)
			if c.before != nil {
				c.before(t, s)
			}
			ana, thief := s.Visitor("ana"), s.Visitor("ana")
			cookie := ana.SignIn()
			thief.SetCookie(ana.SessionName(), cookie)
			if c.after != nil {
				c.after(t, s)
			}
			a := ana.Post("/auth/logout", nil)
			if a.Code != http.StatusSeeOther || strings.HasPrefix(a.Location(), "https://op.test") != c.told {
				t.Errorf("got %v", a)
			}
			if !c.told {
				if page := ana.Follow(a, nil); page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "signed out") {
					t.Errorf("the local page: %v", page)
				}
			}
			s.ShutdownAll()
			if a := thief.Get("/notes/"); a.Code == http.StatusOK {
				t.Errorf("the session lives: %v", a)
			}
			if got := s.Count(opserver.EndpointRevoke); got != c.revoked {
				t.Errorf("%d revocations, want %d", got, c.revoked)
			}
		})
	}
}

// A replica that has just started waits for a slow provider, longer than a page does:
// otherwise the person would stay signed in there. It does not wait for one that hangs.
func TestLogoutAtASlowProvider(t *testing.T) {
	for _, slow := range []time.Duration{2 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := world.NewSite(t, world.TwoReplicas)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.SlowMetadata(slow)
			begin := time.Now()
			a := ana.On(world.ReplicaB).Post("/auth/logout", nil)
			told := slow < time.Minute
			if took := time.Since(begin); a.Code != http.StatusSeeOther || strings.HasPrefix(a.Location(), s.Endpoint("end_session_endpoint")) != told || took > 3*time.Second {
				t.Errorf("slow by %v: %v after %v", slow, a, took)
			}
			ana.WantOut(ana.On(world.ReplicaA).Get("/notes/"))
		})
	}
}

// LO1: nobody waits for the revocation except Shutdown.
func TestLogoutDoesNotWaitForRevocation(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	hold, asked := make(chan struct{}), make(chan struct{})
	s.OnRequest(opserver.EndpointRevoke, func(*http.Request) { close(asked); <-hold })
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther {
		t.Fatalf("got %v", a)
	}
	<-asked // it is still under way after the answer
	close(hold)
	s.ShutdownAll()
	if got := s.Count(opserver.EndpointRevoke); got != 1 {
		t.Errorf("%d revocations", got)
	}
}

// Signing out twice, or without a session, causes no error and no event.
func TestLogoutWithoutSession(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	a := ana.Post("/auth/logout", nil)
	if a.Code != http.StatusSeeOther || strings.Contains(a.Location(), "op.test") {
		t.Errorf("got %v", a)
	}
	ana.SignIn()
	jar := ana.Cookies()
	ana.Post("/auth/logout", nil)
	for name, value := range jar {
		ana.SetCookie(name, value)
	}
	if a := ana.Post("/auth/logout", nil); a.Code != http.StatusSeeOther || strings.Contains(a.Location(), "id_token_hint") {
		t.Errorf("the second time: %v", a)
	}
	s.ShutdownAll()
	if got := s.RevokedTokens(); len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) || len(got) != 1 {
		t.Errorf("%d revocations, want 1", len(got))
	}
}

// signOutByScript posts to sign-out as a script and returns the address that it
// is told to open.
func signOutByScript(t testing.TB, b *world.Visitor, header ...string) string {
	t.Helper()
	a := b.Fetch(http.MethodPost, "/auth/logout", header...)
	var answer struct {
		LogoutURL string `json:"logout_url"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &answer); err != nil || a.Code != http.StatusOK || a.Location() != "" || a.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("got %v, %v", a, err)
	}
	if !staysHere(answer.LogoutURL) || strings.Contains(answer.LogoutURL, ".") { // an ID Token has dots
		t.Errorf("a script is told %v", a)
	}
	return answer.LogoutURL
}

// A script that signs out gets an address of ours, which redirects to the
// provider. The hint never reaches the script.
func TestLogoutByScript(t *testing.T) {
	s := world.NewSite(t)
	for _, header := range [][]string{nil, {"Sec-Fetch-Mode", "same-origin"}, {"Sec-Fetch-Mode", "", "Sec-Fetch-Dest", "", "Accept", "application/json"}, {"Sec-Fetch-Mode", "", "Sec-Fetch-Dest", "", "X-Requested-With", "XMLHttpRequest"}} {
		ana := s.Visitor("ana")
		ana.SignIn()
		address := signOutByScript(t, ana, header...)
		if ana.SessionName() != "" {
			t.Error("the session did not end")
		}
		if a := ana.Fetch(http.MethodGet, address); a.Code != http.StatusForbidden || a.Location() != "" {
			t.Errorf("a script that opens the address gets %v", a)
		}
		s.WantRefusal(ana.Get(address, "Sec-Purpose", "prefetch"), http.StatusForbidden)
		other := s.Visitor("ben").Get(address)
		if other.Location() != "" {
			t.Errorf("the address works in another browser: %v", other)
		}
		out := ana.Get(address)
		q := world.QueryOf(t, out.Location())
		if !strings.HasPrefix(out.Location(), s.Endpoint("end_session_endpoint")+"?") || world.TokenClaims(t, q.Get("id_token_hint"))["sub"] != "ana-1" || q.Get("post_logout_redirect_uri") != s.Origin+"/auth/logout" {
			t.Errorf("the address leads to %v", out)
		}
		if back := ana.Follow(out, nil); back.URL.Path != "/auth/logout" || !strings.Contains(back.Body.String(), "signed out") {
			t.Errorf("the way back ends in %v", back)
		}
	}
}

// The address is good for a minute, and only as it was given.
func TestLogoutByScriptAddress(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	address := signOutByScript(t, ana)
	for _, changed := range []string{address + "x", address[:len(address)-2], strings.Replace(address, "go=", "go=A", 1), "/auth/logout?go=", "/auth/logout?go=%"} {
		if a := ana.Get(changed); a.Location() != "" || a.Code != http.StatusOK {
			t.Errorf("%.40q leads to %v", changed, a)
		}
	}
	ana.SignIn()
	address = signOutByScript(t, ana)
	s.Advance(time.Minute)
	if a := ana.Get(address); a.Location() != "" || a.Code != http.StatusOK {
		t.Errorf("after a minute: %v", a)
	}
	// Who has signed in again is not signed out by an address.
	ben := s.Visitor("ben")
	ben.SignIn()
	address = signOutByScript(t, ben)
	ben.Visit("/auth/login?return_to=/notes/")
	if a := ben.Get(address); a.Location() != "" || !strings.Contains(a.Body.String(), "You are signed in") {
		t.Errorf("signed in again: %v", a)
	}
	// Nobody is signed in, or the provider takes no part: the page after sign-out.
	if got := signOutByScript(t, s.Visitor("ben")); got != "/auth/logout" {
		t.Errorf("nobody is told %q", got)
	}
}

// A LoggedOutURL that is the handler itself does not redirect to itself.
func TestLoggedOutURLOfTheHandler(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.LoggedOutURL = "/auth/logout" }
	})
	if a := s.Visitor("ana").Get("/auth/logout"); a.Code != http.StatusOK {
		t.Errorf("got %v", a)
	}
}

// A sign-out that says neither Origin nor Sec-Fetch-Site is told just that.
func TestLogoutWithoutOrigin(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	a := ana.Do(ana.Request(http.MethodPost, "/auth/logout", nil, "Accept", "text/html"))
	s.WantRefusal(a, http.StatusForbidden)
	if body := a.Body.String(); !strings.Contains(body, "neither Origin nor Sec-Fetch-Site") || s.LastCode() != "cross_origin" || s.Logged("neither Origin nor Sec-Fetch-Site") != 1 {
		t.Errorf("got %v, code %q", a, s.LastCode())
	}
	ana.WantServed(ana.Get("/notes/"))
}

// secondParty adds a relying party with a client of its own to a site, at /second/.
// Who signs in there sees /second/page.
func secondParty(s *world.Site) {
	s.Must(s.AddClient(opserver.Client{ID: "second", Secret: "second-secret", IDTokenAlg: "ES256",
		RedirectURIs: []string{s.Origin + "/second/callback"}, PostLogoutRedirectURIs: []string{s.Origin + "/second/logout"}}))
	r := s.Replicas[0]
	second, err := gatehouse.NewRelyingParty(r.Provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{ID: "second", Secret: gatehouse.NewSecret("second-secret")},
		RedirectURL: s.Origin + "/second/callback", Sessions: r.Sessions,
	})
	s.Must(err)
	r.Mux.Handle("/second/", second.Handler())
	r.Mux.Handle("/second/page", second.RequireLogin(world.WhoAmI))
}

// Who signed in at one relying party of a Sessions may sign out at the handler of
// another. The provider sends them back to the path that it knows.
func TestLogoutAtAnotherParty(t *testing.T) {
	s := world.NewSite(t)
	secondParty(s)
	for name, out := range map[string]func(*world.Visitor) *world.Page{
		"page":   func(b *world.Visitor) *world.Page { return b.Post("/auth/logout", nil) },
		"script": func(b *world.Visitor) *world.Page { return b.Get(signOutByScript(t, b)) },
		"own":    func(b *world.Visitor) *world.Page { return b.Post("/second/logout", nil) },
	} {
		ana := s.Visitor("ana")
		ana.WantServed(ana.Follow(ana.Get("/second/page"), nil))
		a := out(ana)
		if got := world.QueryOf(t, a.Location()).Get("post_logout_redirect_uri"); got != s.Origin+"/second/logout" {
			t.Errorf("%s: the provider is to send back to %q", name, got)
		}
		if back := ana.Follow(a, nil); back.URL.Path != "/second/logout" || !strings.Contains(back.Body.String(), "signed out") {
			t.Errorf("%s: the way back ends in %v", name, back)
		}
	}
}

// Who signs in at another relying party of a Sessions leaves the session that they
// had. Its refresh token is that of another client, and so of another grant: it is
// revoked. One of the same client may be of the same grant, and stays.
func TestSignInAtAnotherPartyRevokes(t *testing.T) {
	for next, revoked := range map[string]int{"/second/login": 1, "/auth/login": 0} {
		s := world.NewSite(t)
		secondParty(s)
		ana := s.Visitor("ana")
		ana.SignIn()
		ana.Follow(ana.Get(next), nil)
		s.ShutdownAll()
		if got := len(s.RevokedTokens()); got != revoked {
			t.Errorf("%s: %d revocations, want %d", next, got, revoked)
		}
		if got := s.EventsOf(gatehouse.EventLogout); !slices.Equal(got, []string{"replaced"}) {
			t.Errorf("%s: logout events %q", next, got)
		}
	}
}
