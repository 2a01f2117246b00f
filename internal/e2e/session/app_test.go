package session_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// A sign-in gives the application's session a new token but does not extend its
// life (M17): what it held before ends when it would have ended anyway.
func TestSessionOfTheAppKeepsItsDeadline(t *testing.T) {
	var app *scs.SessionManager
	deadline := make(chan time.Time, 1)
	ends := time.Now().Add(time.Hour).Truncate(time.Second) // scs uses the real clock
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) {
			app = scs.New()
			app.Cookie.Name = "app"
			c.App = app
		}
		o.Mount = func(mux *http.ServeMux, _ *gatehouse.RelyingParty) {
			mux.Handle("/begin", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				app.Put(r.Context(), "basket", "apples")
				app.SetDeadline(r.Context(), ends)
			})))
			mux.Handle("/ends", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				deadline <- app.Deadline(r.Context())
			})))
		}
	})
	ana := s.Visitor("ana")
	ana.Get("/begin")
	before := ana.Cookies()["app"]
	for range 2 {
		ana.Visit("/auth/login")
		if ana.Cookies()["app"] == before {
			t.Error("the application's token did not change at sign-in")
		}
		ana.Get("/ends")
		if got := <-deadline; !got.Equal(ends) {
			t.Errorf("the application's session ends at %v, want %v as before the sign-in", got, ends)
		}
	}
}

// appSite is a site with a session manager of its own: /put/ stores a value and
// /shop shows it. Both are public.
func appSite(t testing.TB, outside bool, change ...func(*world.SiteOptions)) (*world.Site, *scs.SessionManager) {
	app := scs.New()
	app.Lifetime = 24 * time.Hour
	app.Cookie.Name, app.Cookie.Secure = "app", true
	s := world.NewSite(t, append(change, func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.App = app }
		o.Mount = func(mux *http.ServeMux, _ *gatehouse.RelyingParty) {
			mux.Handle("/put/{value}", app.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				app.Put(r.Context(), "basket", r.PathValue("value"))
			})))
			mux.Handle("/shop", app.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, app.GetString(r.Context(), "basket"))
			})))
		}
	})...)
	if outside { // like an application that wraps its whole mux
		inner := s.Replicas[0].Mux
		s.Replicas[0].Mux = http.NewServeMux()
		s.Replicas[0].Mux.Handle("/", app.LoadAndSave(inner))
	}
	return s, app
}

// RP-C4: a form of the provider's site comes without the application's cookie. Its
// data is there after the sign-in all the same, under a new token, and another
// person's sign-in in that browser clears it.
func TestSessionOfTheAppByFormPost(t *testing.T) {
	for _, outside := range []bool{false, true} {
		s, app := appSite(t, outside, func(o *world.SiteOptions) {
			o.Party = func(c *gatehouse.RelyingPartyConfig) { c.ResponseMode = "form_post" }
		})
		if outside { // as docs/sign-in.md says
			app.Cookie.SameSite = http.SameSiteNoneMode
		}
		ana := s.Visitor("ana")
		ana.Get("/put/apples")
		before := ana.Cookies()["app"]
		ana.SignIn()
		if got := ana.Get("/shop").Body.String(); got != "apples" || ana.Cookies()["app"] == before {
			t.Errorf("outside %v: basket %q after sign-in", outside, got)
		}
		thief := s.Visitor("ana")
		thief.SetCookie("app", before)
		if got := thief.Get("/shop").Body.String(); got != "" {
			t.Errorf("outside %v: the token from before the sign-in opens %q", outside, got)
		}
		ana.Visit("/auth/login") // the same person once more
		if got := ana.Get("/shop").Body.String(); got != "apples" {
			t.Errorf("outside %v: basket %q after the second sign-in", outside, got)
		}
		s.EndSessions("ana")
		ana.User = "ben" // in the same browser
		ana.WantServed(ana.Visit("/auth/login?return_to=/notes/"))
		if got := ana.Get("/shop").Body.String(); got != "" {
			t.Errorf("outside %v: ben finds ana's %q", outside, got)
		}
	}
}

// After a sign-in the application's token is new and its data is kept. After
// sign-out the data is gone (decision 2: the application's session). With and
// without LoadAndSave on the outside, however the answer comes.
func TestSessionOfTheApp(t *testing.T) {
	for _, c := range []struct {
		outside bool
		mode    string
	}{{false, ""}, {true, ""}, {false, "form_post"}, {true, "form_post"}, {false, "fragment"}, {true, "fragment"}} {
		t.Run(fmt.Sprintf("LoadAndSave outside %v %s", c.outside, c.mode), func(t *testing.T) {
			s, _ := appSite(t, c.outside, func(o *world.SiteOptions) {
				o.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.ResponseMode = c.mode }
			})
			ana := s.Visitor("ana")
			ana.Get("/put/apples")
			before := ana.Cookies()["app"]
			ana.SignIn()
			after := ana.Cookies()["app"]
			if before == "" || after == "" || before == after {
				t.Errorf("the application's token did not change at sign-in (%d and %d characters)", len(before), len(after))
			}
			if got := ana.Get("/shop").Body.String(); got != "apples" {
				t.Errorf("basket %q after sign-in", got)
			}
			thief := s.Visitor("ana")
			thief.SetCookie("app", before)
			if got := thief.Get("/shop").Body.String(); got != "" {
				t.Errorf("the token from before the sign-in opens %q", got)
			}
			ana.Visit("/auth/login") // the same person once more
			if got := ana.Get("/shop").Body.String(); got != "apples" {
				t.Errorf("basket %q after the second sign-in", got)
			}
			last := ana.Cookies()["app"]
			ana.Follow(ana.Post("/auth/logout", nil), nil)
			thief.SetCookie("app", last)
			for _, b := range []*world.Visitor{ana, thief} {
				if got := b.Get("/shop").Body.String(); got != "" {
					t.Errorf("basket %q after sign-out", got)
				}
			}
		})
	}
}

// The data of one person never passes to the next one in the same browser,
// however the first session ended.
func TestSessionOfTheAppAndAnotherPerson(t *testing.T) {
	for name, end := range map[string]func(s *world.Site, b *world.Visitor){
		"replaced": func(*world.Site, *world.Visitor) {},
		"revoked":  func(s *world.Site, _ *world.Visitor) { stories.RevokeAll(s, 0, world.SiteIssuer, "ana-1") },
		"back channel": func(s *world.Site, _ *world.Visitor) {
			stories.LogOut(s, 0, stories.LogoutToken(s, map[string]any{"sub": "ana-1"}))
		},
		"timed out":   func(s *world.Site, _ *world.Visitor) { s.Advance(13 * time.Hour) },
		"cookie gone": func(_ *world.Site, b *world.Visitor) { b.SetCookie(b.SessionName(), "") },
		"signed out":  func(_ *world.Site, b *world.Visitor) { b.Post("/auth/logout", nil) },
		"locked out":  func(s *world.Site, b *world.Visitor) { s.RevokeGrants("ana"); s.Advance(world.Past); b.Get("/notes/") },
		"store forgot": func(s *world.Site, b *world.Visitor) {
			stories.Overwrite(s, stories.RecordKey(s.T, s, b), func([]byte) []byte { return []byte("x") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := appSite(t, false)
			b := s.Visitor("ana")
			b.SignIn()
			b.Get("/put/diary")
			end(s, b)
			s.EndSessions("ana")
			b.User = "ben"
			b.WantServed(b.Visit("/auth/login?return_to=/notes/"))
			if got := b.Get("/shop").Body.String(); got != "" {
				t.Errorf("ben finds ana's %q", got)
			}
		})
	}
}

// A refused callback does not change the application's session.
func TestSessionOfTheAppAndRefusals(t *testing.T) {
	s, _ := appSite(t, false)
	ana := s.Visitor("ana")
	ana.Get("/put/apples")
	before := ana.Cookies()["app"]
	s.WantNo(ana, ana.Get("/auth/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA"), 0)
	ana.Do(ana.Request(http.MethodPost, "/auth/logout", nil, "Sec-Fetch-Site", "cross-site"))
	if ana.Cookies()["app"] != before || ana.Get("/shop").Body.String() != "apples" {
		t.Error("a refusal changed the application's session")
	}
}

// A sign-out that was answered while a callback is under way reaches the
// application's session too, whatever token the callback gives it, before the
// nth call to either store and just before the answer arrives.
func TestSignOutBeatsACallbackInTheApp(t *testing.T) {
	for _, signedIn := range []bool{false, true} {
		last := false
		for n := 0; !last; n++ {
			s, app := appSite(t, false, world.Watched)
			store := world.Watch(gatehouse.NewMemoryStore(time.Now))
			app.Store = store
			ana := s.Visitor("ana")
			ana.Get("/put/diary")
			callback := ana.ToCallback("/notes/")
			if signedIn {
				second := ana.ToCallback("/notes/")
				ana.WantServed(ana.Visit(callback))
				callback = second
			}
			browser := s.Visitor("ana") // as it is before the callback is answered
			for name, value := range ana.Cookies() {
				browser.SetCookie(name, value)
			}
			signOut := func() {
				if out := browser.Post("/auth/logout", nil); out.Code != http.StatusSeeOther {
					t.Errorf("call %d: sign-out was answered with %v", n, out)
				}
			}
			reached := stories.Interrupt(s, n, signOut, store)
			a := ana.Get(callback)
			if last = !reached(); last {
				signOut()
				if n < 10 {
					t.Errorf("a callback made %d store calls", n)
				}
			}
			if got := ana.Get("/shop").Body.String(); got != "" {
				t.Errorf("signed in before %v, call %d: %q is in the basket after a sign-out; the callback was %v", signedIn, n, got, a)
			}
			if page := ana.Get("/notes/"); page.Code == http.StatusOK {
				t.Errorf("signed in before %v, call %d: signed in after a sign-out", signedIn, n)
			}
		}
	}
}
