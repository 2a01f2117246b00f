package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func acrValues(t testing.TB, a *world.Page) string {
	t.Helper()
	return strings.Join(world.QueryOf(t, a.Location())["acr_values"], "|")
}

// A page that wants a stronger sign-in asks for it, and looks at what came back.
// Pages beside it do not.
func TestWithACR(t *testing.T) {
	s := guarded(t, gatehouse.ACR("2", "urn:example:gold"), gatehouse.Scopes("admin"), gatehouse.MaxAge(time.Hour))
	ana := s.Visitor("ana")
	ana.SignIn()
	a := ana.Get("/strict")
	ana.WantOut(a)
	if q := world.QueryOf(t, a.Location()); acrValues(t, a) != "2 urn:example:gold" || q.Get("max_age") != "3600" || !strings.Contains(q.Get("scope"), "admin") {
		t.Errorf("asked with %v", q)
	}
	ana.WantServed(ana.Follow(a, nil))
	ana.WantServed(ana.Get("/strict"))
	ben := s.Visitor("ben") // who is not signed in is asked for it at once
	a = ben.Get("/strict")
	if got := acrValues(t, a); got != "2 urn:example:gold" {
		t.Errorf("acr_values %q", got)
	}
	ben.WantServed(ben.Follow(a, nil))
	carl := s.Visitor("ana")
	if got := acrValues(t, carl.Get("/notes/")); got != "" {
		t.Errorf("another page asks for acr_values %q", got)
	}
	s.ResetCounts()
	if a := carl.Fetch(http.MethodGet, "/strict"); a.Code != http.StatusUnauthorized || s.Count(opserver.EndpointAuthorize) != 0 {
		t.Errorf("a script got %v", a)
	}
}

// Several ACR are met by what is in all of them, in the order of the first.
// AuthParams of the application give way.
func TestWithSeveralACR(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.AuthParams = url.Values{"acr_values": {"1"}, "ui_locales": {"de"}}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			gold := login.With(gatehouse.ACR("3", "2", "1"))
			mux.Handle("/strict", gold.With(gatehouse.ACR("2", "3")).RequireLogin(world.WhoAmI))
		}
	})
	ana := s.Visitor("ana")
	if got := acrValues(t, ana.Get("/notes/")); got != "1" {
		t.Errorf("acr_values %q of AuthParams", got)
	}
	a := ana.Get("/strict")
	if got := acrValues(t, a); got != "3 2" || world.QueryOf(t, a.Location()).Get("ui_locales") != "de" {
		t.Errorf("asked with %s", a.Location())
	}
	ana.WantServed(ana.Follow(a, nil))
}

// A provider that ignores acr_values, or does not say how the person
// authenticated, is asked once. Then it is a refusal for a minute.
func TestWithACRIgnored(t *testing.T) {
	for name, acr := range map[string]any{"weaker": "1", "missing": nil, "no text": 2, "a list": []string{"2"}, "longer": "2 ", "empty": "", "null": "null"} {
		t.Run(name, func(t *testing.T) {
			s := guarded(t, gatehouse.ACR("2"))
			s.Retoken(t, func(_, claims map[string]any) {
				claims["acr"] = acr
				if acr == nil {
					delete(claims, "acr")
				}
			})
			ana := s.Visitor("ana")
			s.WantRefusal(ana.Visit("/strict"), http.StatusForbidden)
			if s.LastCode() != "forbidden" || s.Logged("acr 2") == 0 {
				t.Errorf("code %q, and the log does not name the requirement", s.LastCode())
			}
			s.WantRefusal(ana.Get("/strict"), http.StatusForbidden)
			ana.WantServed(ana.Get("/notes/"))
			s.Advance(61 * time.Second)
			s.SetWire(nil)
			ana.WantServed(ana.Visit("/strict"))
		})
	}
}

// Only what the provider signed says how the person authenticated: user info
// does not (OpenID Connect Core §2).
func TestWithACRInUserInfo(t *testing.T) {
	s := guarded(t, gatehouse.ACR("gold"))
	s.Must(s.AddUser("eve", world.SitePass, map[string]any{"sub": "eve-1", "acr": "gold", "ACR": "gold"}))
	eve := s.Visitor("eve")
	s.WantRefusal(eve.Visit("/strict"), http.StatusForbidden)
}

// Two guards around one page that want different values do not ask in turn for
// ever.
func TestWithACRInACR(t *testing.T) {
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			inner := login.With(gatehouse.ACR("2")).RequireLogin(world.WhoAmI)
			mux.Handle("/strict", login.With(gatehouse.ACR("1")).RequireLogin(inner))
			middle := login.With(gatehouse.ACR("1", "2"), gatehouse.Scopes("admin")).RequireLogin(inner)
			mux.Handle("/meets", login.With(gatehouse.ACR("2", "1")).RequireLogin(middle))
		}
	})
	asked := ""
	s.Retoken(t, func(_, claims map[string]any) { claims["acr"] = asked })
	ana := s.Visitor("ana")
	a := ana.Get("/strict")
	for range 10 {
		if a.Location() == "" {
			break
		}
		asked = acrValues(t, a)
		ana.Get(ana.AnswerOf(a))
		a = ana.Get("/strict")
	}
	s.WantRefusal(a, http.StatusForbidden)
	if got := s.Count(opserver.EndpointAuthorize); got > 4 {
		t.Errorf("%d authorization requests", got)
	}
	s.SetWire(nil)
	ben := s.Visitor("ben")
	ben.WantServed(ben.Visit("/meets"))
}

// An attempt that starts over asks for the same, also at a long address. Values
// too long for the cookie are asked for all the same.
func TestWithACRStartsOver(t *testing.T) {
	long := "https://refeds.example/profile/" + strings.Repeat("x", 400)
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/strict", login.With(gatehouse.ACR("2", "urn:example:gold")).RequireLogin(world.WhoAmI))
			mux.Handle("/long", login.With(gatehouse.ACR(long, "2")).RequireLogin(world.WhoAmI))
		}
	})
	for _, path := range []string{"/strict", "/strict?q=" + strings.Repeat("x", 1900)} {
		ana := s.Visitor("ana")
		again := ana.Get(answerWith(t, ana.ToCallback(path), "temporarily_unavailable"))
		if got := acrValues(t, again); got != "2 urn:example:gold" {
			t.Errorf("the new start asks for %q", got)
		}
		ana.WantServed(ana.Follow(again, nil))
	}
	ana := s.Visitor("ana")
	a := ana.Get("/long?q=" + strings.Repeat("x", 1500))
	if got := acrValues(t, a); got != long+" 2" {
		t.Errorf("acr_values %q", got)
	}
	ana.WantServed(ana.Follow(a, nil))
}

// What an ID Token said of the authentication stays after a refresh whose ID
// Token does not say it, and goes with one that says less.
func TestACRAfterARefresh(t *testing.T) {
	for _, weaker := range []bool{false, true} {
		s := guarded(t, gatehouse.ACR("2"))
		ana := s.Visitor("ana")
		ana.WantServed(ana.Visit("/strict"))
		s.Retoken(t, func(_, claims map[string]any) {
			if claims["acr"] = "1"; !weaker {
				delete(claims, "acr")
			}
		})
		s.Advance(10 * time.Minute)
		ana.Get("/notes/")
		if s.Refreshes() != 1 {
			t.Fatalf("%d refreshes", s.Refreshes())
		}
		if a := ana.Get("/strict"); (a.Code == http.StatusOK) == weaker {
			t.Errorf("weaker %v: got %v", weaker, a)
		}
	}
}
