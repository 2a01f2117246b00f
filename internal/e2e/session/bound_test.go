package session_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
)

// named makes a Sessions of that name, with a lifetime.
func named(name string, life time.Duration) func(*world.SiteOptions) {
	return func(o *world.SiteOptions) {
		o.Sessions = func(c *gatehouse.SessionsConfig) { c.Name, c.Lifetime, c.IdleTimeout = name, life, -1 }
	}
}

// A session belongs to its Sessions. The cookie of one opens no other, even if
// they share the store, the origin, the provider and the client.
func TestSessionsAreBoundToTheirName(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		s := world.NewSite(t, named("site", time.Hour))
		o := s.Options
		named("staff", time.Hour)(&o)
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(context.Context, *gatehouse.Identity) error { return &gatehouse.Error{Code: "not_staff"} }
		}
		if sealed {
			with := o.Sessions
			for i, opt := range []*world.SiteOptions{&s.Options, &o} {
				name := []string{"site", "staff"}[i]
				opt.Sessions = func(c *gatehouse.SessionsConfig) {
					with(c)
					c.Name, c.Keys = name, []gatehouse.Secret{stories.Key("k")}
				}
			}
			s.Replicas = nil
			s.AddReplica(s.Options)
		}
		s.AddReplica(o)
		const site, staff = 0, 1
		ana := s.Visitor("ana")
		ana.SignIn()
		value, siteName := ana.SessionCookie(), ana.SessionName()
		ben := s.Visitor("ben").On(staff)
		ben.Get("/notes/")
		staffName := clearedName(t, ben)
		if staffName == siteName || staffName == "" {
			t.Errorf("the cookies are called %q and %q", siteName, staffName)
		}
		thief := s.Visitor("ana").On(staff)
		thief.SetCookie(staffName, value)
		thief.WantOut(thief.Get("/notes/"))
		if a := thief.Get("/open"); a.Body.String() != "served nobody" {
			t.Errorf("sealed %v: %v", sealed, a)
		}
		thief.Post("/auth/logout", nil)
		ana.WantServed(ana.On(site).Get("/notes/")) // staff cannot end it either
		if sealed {
			continue
		}
		list, err := s.Replicas[staff].Sessions.List(t.Context(), world.SiteIssuer, "ana-1")
		if err != nil || len(list) != 0 {
			t.Errorf("staff lists %d sessions of the site, %v", len(list), err)
		}
		stories.RevokeAll(s, staff, world.SiteIssuer, "ana-1") // marks are common to a store
		ana.WantOut(ana.On(site).Get("/notes/"))
	}
}

// clearedName is the name of the session cookie: sign-out deletes it.
func clearedName(t *testing.T, b *world.Visitor) string {
	t.Helper()
	for _, c := range b.Post("/auth/logout", nil).Result().Cookies() {
		if c.MaxAge < 0 && !strings.Contains(strings.TrimPrefix(c.Name, "__Host-gh-"), "-") {
			return c.Name
		}
	}
	return ""
}

// A session's tokens are those of its Sessions too: the relying party of another
// gives none of them, although provider and client are the same.
func TestSessionTokensAreBoundToTheirName(t *testing.T) {
	var staff *gatehouse.RelyingParty
	s := world.NewSite(t, named("site", time.Hour), func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/token", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, rp := range []*gatehouse.RelyingParty{login, staff} {
					_, err := rp.Token(r.Context())
					_, errClient := rp.HTTPClient(r.Context(), "https://api.test")
					_, errClaim := rp.ClaimToken(r.Context())
					fmt.Fprintf(w, "%q %q %q %q;", gatehouse.ErrorCode(err), gatehouse.ErrorCode(errClient), gatehouse.ErrorCode(errClaim), gatehouse.ErrorCode(rp.Refused(r.Context(), "x")))
				}
			})))
		}
	})
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: s.Store, Name: "staff", Now: s.Now})
	s.Must(err)
	staff, err = gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}, RedirectURL: s.Origin + "/staff/callback", Sessions: sessions,
	})
	s.Must(err)
	ana := s.Visitor("ana")
	ana.SignIn()
	const none = `"login_required"`
	if got, want := ana.Get("/token").Body.String(), `"" "" "" "";`+none+" "+none+" "+none+" "+none+";"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The origin is part of the key as well: the same name and store at another
// origin, another session.
func TestSessionsAreBoundToTheirOrigin(t *testing.T) {
	s := world.NewSite(t, named("site", time.Hour))
	ana := s.Visitor("ana")
	ana.SignIn()
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: s.Store, Name: "site", Now: s.Now})
	s.Must(err)
	login, err := gatehouse.NewRelyingParty(s.Provider(), gatehouse.RelyingPartyConfig{
		Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}, RedirectURL: "https://wiki.test/auth/callback", Sessions: sessions,
	})
	s.Must(err)
	for _, name := range append(cookieNames(t, login), ana.SessionName()) {
		r, _ := http.NewRequest(http.MethodGet, "https://wiki.test/", nil)
		r.Header.Set("Cookie", name+"="+ana.SessionCookie())
		if id, err := login.Check(r); id != nil || gatehouse.ErrorCode(err) != gatehouse.CodeLoginRequired {
			t.Errorf("as %s at another origin: %v, %v", name, id, err)
		}
	}
	s.Must(sessions.Shutdown(t.Context()))
	ana.WantServed(ana.Get("/notes/"))
}

// An origin has several spellings (RFC 6454 §4), and they are one: replicas and
// relying parties that write it differently share the sessions.
func TestSessionsOfOneOriginInAnySpelling(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	for i, origin := range []string{"https://notes.test:443", "https://NOTES.test", "HTTPS://Notes.Test:443"} {
		o := s.Options
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.RedirectURL = origin + "/auth/callback" }
		s.AddReplica(o)
		ana.WantServed(ana.On(i + 1).Get("/notes/"))
		_, err := gatehouse.NewRelyingParty(s.Replicas[0].Provider, gatehouse.RelyingPartyConfig{
			Client:      gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)},
			RedirectURL: origin + "/other/callback", Sessions: s.Replicas[0].Sessions,
		})
		if err != nil {
			t.Errorf("%s on one Sessions: %v", origin, err)
		}
	}
}

// The list is one per name, issuer and subject, and works in a process without
// a relying party.
func TestSessionListWithoutARelyingParty(t *testing.T) {
	s := world.NewSite(t, named("site", time.Hour))
	ana := s.Visitor("ana")
	ana.SignIn()
	for name, want := range map[string]int{"site": 1, "": 0, "staff": 0} {
		admin, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Store: s.Store, Name: name, Now: s.Now})
		s.Must(err)
		list, err := admin.List(t.Context(), world.SiteIssuer, "ana-1")
		if err != nil || len(list) != want {
			t.Errorf("%q lists %d sessions, %v; want %d", name, len(list), err, want)
		}
		for _, info := range list {
			s.Must(admin.Revoke(t.Context(), world.SiteIssuer, "ana-1", info.ID))
		}
	}
	ana.WantOut(ana.Get("/notes/"))
}

// RevokeAll at a Sessions with a shorter lifetime ends sessions that live
// longer, and they stay ended: with no mark before, with one of a longer
// Sessions, and in whatever order they are raised and laid down.
func TestRevokeAllOfAShorterLife(t *testing.T) {
	const long, short = 0, 1
	for name, marks := range map[string][]int{
		"short alone": {short}, "long, then short": {long, short}, "short, long, short": {short, long, short},
	} {
		t.Run(name, func(t *testing.T) {
			s := world.NewSite(t, named("site", 60*24*time.Hour))
			s.SetTokenLifetime(400 * 24 * time.Hour)
			o := s.Options
			named("staff", time.Hour)(&o)
			s.AddReplica(o)
			ana := s.Visitor("ana")
			ana.SignIn()
			thief := s.Visitor("ana")
			thief.SetCookie(ana.SessionName(), ana.SessionCookie())
			for _, at := range marks {
				s.Advance(2 * time.Second)
				stories.RevokeAll(s, at, world.SiteIssuer, "ana-1")
			}
			s.Advance(2 * time.Second)
			staff := s.Visitor("ana").On(short)
			staff.SignIn()            // lays marks down for an hour
			s.Advance(48 * time.Hour) // nobody looks at the stolen one before: the first look would delete it
			if a := thief.Get("/notes/"); a.Code == http.StatusOK {
				t.Fatalf("the stolen cookie lives again: %v", a)
			}
		})
	}
}

// Somebody clicks once a minute while the token endpoint is in trouble. They
// stay signed in for as long as they click.
func TestActivityCountsDuringTrouble(t *testing.T) {
	s := world.NewSite(t, world.TwoReplicas, world.Limits(12*time.Hour, 30*time.Minute))
	ana := s.Visitor("ana")
	ana.SignIn()
	s.OnRefresh(stories.Always(503, ""))
	for i := range 120 {
		s.Advance(time.Minute)
		ana.WantServed(ana.On(i % 2).Get("/notes/"))
		s.ShutdownAll()
	}
	s.Advance(31 * time.Minute)
	ana.WantOut(ana.Get("/notes/"))
}

// access_denied in a refresh ends the session.
func TestRefreshAccessDenied(t *testing.T) {
	s := world.NewSite(t)
	ana := s.Visitor("ana")
	ana.SignIn()
	s.OnRefresh(stories.Always(400, `{"error":"access_denied"}`))
	s.Advance(world.Past)
	ana.WantOut(ana.Get("/notes/"))
	s.OnRefresh(nil)
	ana.WantOut(ana.Get("/notes/"))
	s.WantNoSession("ana-1")
}
