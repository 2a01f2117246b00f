package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// informed is a site whose page /me asks for fresh user info and says what came.
func informed(t testing.TB, change ...func(*world.SiteOptions)) *world.Site {
	return world.NewSite(t, append(change, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/me", login.OptionalLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, err := login.UserInfo(r.Context())
				if err != nil {
					fmt.Fprint(w, "code ", gatehouse.ErrorCode(err))
					return
				}
				had := gatehouse.IdentityFrom(r.Context())
				fmt.Fprintf(w, "%s at %s: %s, had %s, nonce %q", id.Subject, id.Issuer, id.ClaimString("email"), had.ClaimString("email"), id.ClaimString("nonce"))
			})))
		}
	})...)
}

// OpenID Connect Core §5.3: fresh claims with the session's token, which is renewed
// where it is not accepted. The session keeps what it has.
func TestUserInfo(t *testing.T) {
	s := informed(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Reset()
	address := "new@example.org"
	told := func(m map[string]any) { m["email"] = address }
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), told), nil
	})
	for range 2 { // each time anew
		if got, want := ana.Get("/me").Body.String(), `ana-1 at `+world.SiteIssuer+`: `+address+`, had ana@example.org, nonce ""`; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		address = "newer@example.org"
	}
	calls := s.CallsTo("userinfo_endpoint")
	if len(calls) != 2 || s.Total() != 2 || !strings.HasPrefix(calls[0].Auth, "Bearer ") {
		t.Errorf("%d calls, %d of them for user info", s.Total(), len(calls))
	}
	s.Advance(world.Past) // the token has expired
	if got := ana.Get("/me").Body.String(); !strings.HasPrefix(got, "ana-1") || s.Refreshes() != 1 {
		t.Errorf("got %q after %d refreshes", got, s.Refreshes())
	}
	if got := s.Visitor("ben").Get("/me").Body.String(); got != "code "+gatehouse.CodeLoginRequired {
		t.Errorf("nobody: %q", got)
	}
}

// Every failure has its code, and a token that is not accepted is renewed once.
func TestUserInfoFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(refused int) (status int, body string)
		code    string
		renewed int
		asked   int
	}{
		"of another": {func(int) (int, string) { return 200, `{"sub":"eve-1","email":"x"}` }, "userinfo_subject_mismatch", 0, 1},
		"of nobody":  {func(int) (int, string) { return 200, `{"email":"x"}` }, "userinfo_subject_mismatch", 0, 1},
		"twice":      {func(int) (int, string) { return 200, `{"sub":"ana-1","sub":"ana-1"}` }, "userinfo_unavailable", 0, 1},
		"a list":     {func(int) (int, string) { return 200, `[]` }, "userinfo_unavailable", 0, 1},
		"huge":       {func(int) (int, string) { return 200, `{"sub":"ana-1","x":"` + strings.Repeat("x", 40<<10) + `"}` }, "userinfo_unavailable", 0, 1},
		"down":       {func(int) (int, string) { return 500, `` }, "userinfo_unavailable", 0, 1},
		"forbidden":  {func(int) (int, string) { return 403, `{}` }, "userinfo_refused", 0, 1},
		"refused":    {func(int) (int, string) { return 401, `{}` }, "userinfo_unavailable", 1, 3}, // the renewal asks too
		"once": {func(n int) (int, string) {
			if n == 1 {
				return 401, `{}`
			}
			return 200, `{"sub":"ana-1"}`
		}, "", 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := informed(t)
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Reset()
			n := 0
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if !strings.HasSuffix(s.Endpoint("userinfo_endpoint"), r.URL.Path) {
					return next(r), nil
				}
				n++
				status, body := c.answer(n)
				return world.Answer(r, status, body), nil
			})
			got := ana.Get("/me").Body.String()
			if c.code == "" && !strings.HasPrefix(got, "ana-1") || c.code != "" && got != "code "+c.code {
				t.Errorf("got %q", got)
			}
			if s.Refreshes() != c.renewed || n != c.asked {
				t.Errorf("%d refreshes, %d questions", s.Refreshes(), n)
			}
			ana.WantServed(ana.Get("/notes/")) // the session goes on
		})
	}
	s := informed(t)
	without(t, s, "userinfo_endpoint")
	ana := s.Visitor("ana")
	ana.SignIn()
	if got := ana.Get("/me").Body.String(); got != "code endpoint_missing" {
		t.Errorf("no user info: %q", got)
	}
}

// without takes a member out of the provider's metadata.
func without(t testing.TB, s *world.Site, member string) {
	s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		if !strings.Contains(r.URL.Path, ".well-known") {
			return next(r), nil
		}
		return world.RewriteJSON(t, next(r), func(m map[string]any) { delete(m, member) }), nil
	})
}

// leavingSite is a site whose handler /leave signs out by hand and whose page /bye
// is where the provider comes back to.
func leavingSite(t testing.TB, o gatehouse.LogoutRequest, change ...func(*world.SiteOptions)) *world.Site {
	return world.NewSite(t, append([]func(*world.SiteOptions){func(so *world.SiteOptions) {
		so.Client = func(c *opserver.Client) {
			c.PostLogoutRedirectURIs = []string{"https://notes.test/auth/logout", "https://notes.test/bye?from=op"}
		}
		so.Party = func(c *gatehouse.RelyingPartyConfig) { c.LogoutURL = "https://notes.test/auth/logout" }
		so.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.HandleFunc("/leave", func(w http.ResponseWriter, r *http.Request) {
				location, err := login.LogoutURL(w, r, o)
				if err != nil {
					login.Refuse(w, r, err)
					return
				}
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusSeeOther)
			})
			mux.HandleFunc("/bye", func(w http.ResponseWriter, r *http.Request) {
				state, err := login.LogoutState(w, r)
				fmt.Fprintf(w, "bye %q %s", state, gatehouse.ErrorCode(err))
			})
		}
	}}, change...)...)
}

var bye = gatehouse.LogoutRequest{ReturnTo: "https://notes.test/bye?from=op", State: "cart 7 & é"}

// RP-L1 by hand: the session ends here and there, its token is revoked, and the
// state comes back to the application's handler, where it is checked.
func TestLogoutURL(t *testing.T) {
	for _, o := range []gatehouse.LogoutRequest{bye, {ReturnTo: bye.ReturnTo}} {
		s := leavingSite(t, o)
		ana := s.Visitor("ana")
		ana.SignIn()
		a := ana.Post("/leave", nil)
		q := world.QueryOf(t, a.Location())
		if !strings.HasPrefix(a.Location(), s.Endpoint("end_session_endpoint")) || q.Get("post_logout_redirect_uri") != bye.ReturnTo || q.Get("client_id") != "notes" || q.Get("id_token_hint") == "" {
			t.Fatalf("sent to %v", a)
		}
		if o.State != "" && q.Get("state") != o.State || len(q.Get("state")) < 10 || a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("state %q, %v", q.Get("state"), a.Header())
		}
		s.WantNoSession("ana-1") // before the browser has gone anywhere
		back := ana.Follow(a, nil)
		if got, want := back.Body.String(), fmt.Sprintf("bye %q ", o.State); got != want || back.URL.Query().Get("from") != "op" {
			t.Errorf("came back to %s: %q, want %q", back.URL, got, want)
		}
		if got := ana.Get(back.URL.RequestURI()).Body.String(); got != `bye "" state_unknown` { // the state counts once
			t.Errorf("again: %q", got)
		}
		ana.WantOut(ana.Get("/notes/"))
		if a := ana.Get(ana.Get("/notes/").Location()); !strings.Contains(a.Body.String(), `id="sign-in"`) {
			t.Error("the session at the provider goes on")
		}
		s.Shutdown(0)
		if len(s.RevokedTokens()) != 1 {
			t.Errorf("revoked %d tokens", len(s.RevokedTokens()))
		}
	}
}

// The state of another sign-out, of another browser, or none is not taken.
func TestLogoutState(t *testing.T) {
	s := leavingSite(t, bye)
	ana, ben := s.Visitor("ana"), s.Visitor("ben")
	ana.SignIn()
	ana.Post("/leave", nil)
	good := "/bye?state=" + url.QueryEscape(bye.State)
	for name, c := range map[string]struct {
		b     *world.Visitor
		query string
		code  string
	}{
		"another browser": {ben, good, "state_unknown"}, "another": {ana, "/bye?state=x", "state_unknown"}, "none": {ana, "/bye", "state_missing"}, "empty": {ana, "/bye?state=", "state_missing"},
		"the cookie": {ana, "/bye?state=~" + "Y2FydA", "state_unknown"}, "twice": {ana, good + "&state=x", "state_unknown"},
	} {
		if got := c.b.Get(c.query).Body.String(); got != `bye "" `+c.code {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := ana.Get(good).Body.String(); got != fmt.Sprintf("bye %q ", bye.State) {
		t.Errorf("the right one: %q", got)
	}
	// At LogoutHandler it goes along to LoggedOutURL, if it is right.
	s = leavingSite(t, gatehouse.LogoutRequest{State: "cart 7"}, func(o *world.SiteOptions) {
		before := o.Party
		o.Party = func(c *gatehouse.RelyingPartyConfig) { before(c); c.LoggedOutURL = "/after?x=1" }
	})
	ana = s.Visitor("ana")
	ana.SignIn()
	a := ana.Follow(ana.Post("/leave", nil), func(u *url.URL) bool { return u.Path == "/after" })
	if a.Location() != "/after?state=cart+7&x=1" {
		t.Errorf("LogoutHandler leads to %q", a.Location())
	}
	ana.SignIn()
	ana.Post("/leave", nil)
	if a := ana.Get("/auth/logout?state=cart"); a.Location() != "/after?x=1" {
		t.Errorf("with another state LogoutHandler leads to %q", a.Location())
	}
}

// Where the provider cannot be told, the person comes back all the same.
func TestLogoutURLAlone(t *testing.T) {
	s := leavingSite(t, bye)
	want := "https://notes.test/bye?from=op&state=" + url.QueryEscape(bye.State)
	nobody := s.Visitor("ana")
	if a := nobody.Post("/leave", nil); a.Location() != want {
		t.Errorf("nobody is sent to %v", a)
	}
	if got := nobody.Get(want).Body.String(); got != fmt.Sprintf("bye %q ", bye.State) {
		t.Errorf("nobody: %q", got)
	}
	s = leavingSite(t, bye)
	without(t, s, "end_session_endpoint")
	ana := s.Visitor("ana")
	ana.SignIn()
	if a := ana.Post("/leave", nil); a.Location() != want {
		t.Errorf("without an endpoint: %v", a)
	}
	s.WantNoSession("ana-1")
}

// No request of another site signs anybody out, by whatever method. A script does
// not see the hint.
func TestLogoutURLOfOthers(t *testing.T) {
	s := leavingSite(t, bye)
	ana := s.Visitor("ana")
	ana.SignIn()
	for name, a := range map[string]*world.Page{
		"a link":     ana.Get("/leave", "Sec-Fetch-Site", "cross-site"),
		"an image":   ana.Get("/leave", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"),
		"a form":     ana.Post("/leave", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"),
		"a prefetch": ana.Get("/leave", "Sec-Purpose", "prefetch"),
	} {
		if a.Code != http.StatusForbidden || len(a.Result().Cookies()) != 0 {
			t.Errorf("%s: %v", name, a)
		}
	}
	ana.WantServed(ana.Get("/notes/"))
	a := ana.Fetch(http.MethodPost, "/leave")
	if !strings.HasPrefix(a.Location(), "/auth/logout?go=") {
		t.Fatalf("a script is sent to %q", a.Location())
	}
	s.WantNoSession("ana-1")
	if back := ana.Follow(ana.Get(a.Location()), nil); back.Body.String() != fmt.Sprintf("bye %q ", bye.State) {
		t.Errorf("the page of it ends at %v", back)
	}
	s = leavingSite(t, bye, func(o *world.SiteOptions) { o.Party = nil })
	ana = s.Visitor("ana")
	ana.SignIn()
	if q := world.QueryOf(t, ana.Fetch(http.MethodPost, "/leave").Location()); q.Get("client_id") != "notes" || q.Has("id_token_hint") {
		t.Errorf("a script sees %v", q)
	}
	ana.SignIn()
	if a := ana.Get("/leave"); a.Code != http.StatusSeeOther { // a link of our own
		t.Errorf("a link of this site: %v", a)
	}
}

// What the application has to mend is told before anything ends.
func TestLogoutURLRefused(t *testing.T) {
	app := scs.New()
	for name, c := range map[string]struct {
		o      gatehouse.LogoutRequest
		change func(*world.SiteOptions)
		log    string
	}{
		"relative":  {gatehouse.LogoutRequest{ReturnTo: "/bye"}, nil, "ReturnTo: "},
		"http":      {gatehouse.LogoutRequest{ReturnTo: "http://notes.test/bye"}, nil, "ReturnTo: "},
		"fragment":  {gatehouse.LogoutRequest{ReturnTo: "https://notes.test/bye#x"}, nil, "ReturnTo: "},
		"long":      {gatehouse.LogoutRequest{State: strings.Repeat("x", 513)}, nil, "State: 513 bytes"},
		"control":   {gatehouse.LogoutRequest{State: "a\nb"}, nil, "State: 3 bytes"},
		"unknown":   {gatehouse.LogoutRequest{}, func(o *world.SiteOptions) { o.Party = nil }, "ReturnTo: empty"},
		"no App in": {gatehouse.LogoutRequest{}, func(o *world.SiteOptions) { o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app } }, "LoadAndSave"},
	} {
		t.Run(name, func(t *testing.T) {
			s := leavingSite(t, c.o, func(o *world.SiteOptions) {
				if c.change != nil {
					c.change(o)
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			s.WantRefusal(ana.Post("/leave", nil), http.StatusInternalServerError)
			if s.LastCode() != "logout_url_refused" || s.Logged(c.log) == 0 {
				t.Errorf("code %q\n%s", s.LastCode(), s.Log())
			}
			ana.WantServed(ana.Get("/notes/"))
		})
	}
}

// With the application's own session manager, its data ends too.
func TestLogoutURLWithApp(t *testing.T) {
	app := scs.New()
	app.Cookie.Name, app.Lifetime = "app", 24*time.Hour
	s := leavingSite(t, bye, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
		before := o.Mount
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			inner := http.NewServeMux()
			before(inner, login)
			mux.Handle("/leave", app.LoadAndSave(inner))
			mux.Handle("/basket", app.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				had := app.GetString(r.Context(), "basket")
				app.Put(r.Context(), "basket", "apples")
				fmt.Fprint(w, had)
			})))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.Get("/basket")
	if got := ana.Get("/basket").Body.String(); got != "apples" {
		t.Fatalf("basket %q", got)
	}
	ana.Post("/leave", nil)
	if got := ana.Get("/basket").Body.String(); got != "" {
		t.Errorf("after the sign-out: basket %q", got)
	}
}
