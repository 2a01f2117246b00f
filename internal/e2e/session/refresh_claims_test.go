package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/stories"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// claimed is a site whose page "/claims" shows the person's claims.
func claimed(t *testing.T, party func(*gatehouse.RelyingPartyConfig)) *world.Site {
	return world.NewSite(t, world.TwoReplicas, func(o *world.SiteOptions) {
		o.Party = party
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/claims", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var all json.RawMessage
				if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
					t.Error(err)
				}
				w.Write(all)
			})))
			mux.Handle("/staff", login.With(gatehouse.Claim("group", "staff")).RequireLogin(world.WhoAmI))
		}
	})
}

// claims returns what the page "/claims" shows.
func claims(t *testing.T, b *world.Visitor) map[string]any {
	t.Helper()
	a := b.Get("/claims")
	all := map[string]any{}
	if err := json.Unmarshal(a.Body.Bytes(), &all); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	return all
}

// wantClaims compares some claims; nil means that the claim is not there.
func wantClaims(t *testing.T, b *world.Visitor, want map[string]any) {
	t.Helper()
	all := claims(t, b)
	for name, value := range want {
		if got, ok := all[name]; !reflect.DeepEqual(got, value) || ok != (value != nil) {
			t.Errorf("%s is %v, want %v; all: %v", name, got, value, all)
		}
	}
}

// A group that was taken away closes the door at the next refresh, on every
// replica, whether the ID Token or the user info said it.
func TestRefreshTakesAGroupAway(t *testing.T) {
	for name, party := range map[string]func(*gatehouse.RelyingPartyConfig){
		"ID Token":  func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true },
		"user info": func(*gatehouse.RelyingPartyConfig) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, party)
			group := "staff"
			s.Retoken(t, func(_, claims map[string]any) {
				if claims["group"] = group; name != "ID Token" {
					delete(claims, "group")
				}
			})
			tell := func() {
				s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "group": group}))
			}
			tell()
			ana := s.Visitor("ana")
			ana.SignIn()
			ana.WantServed(ana.Get("/staff"))
			group = "guests"
			tell()
			ana.WantServed(ana.Get("/staff")) // nothing is asked before the tokens are renewed
			before := s.Count(opserver.EndpointUserInfo)
			s.Advance(world.Past)
			if a := ana.Get("/staff"); a.Code == http.StatusOK {
				t.Errorf("still staff: %v", a)
			}
			if a := ana.On(world.ReplicaB).Get("/staff"); a.Code == http.StatusOK {
				t.Errorf("still staff on the other replica: %v", a)
			}
			ana.WantServed(ana.Get("/notes/"))
			wantClaims(t, ana, map[string]any{"group": "guests", "sub": "ana-1"})
			if got := s.Count(opserver.EndpointUserInfo) - before; s.Refreshes() != 1 || name == "user info" && got != 1 || name != "user info" && got != 0 {
				t.Errorf("%d refreshes, user info asked %d times", s.Refreshes(), got)
			}
		})
	}
}

// Protocol claims that the new ID Token leaves out stay as they were signed
// first, also over several refreshes. Other claims that it leaves out are gone.
// Without a new ID Token the old one's stay.
func TestRefreshProtocolClaims(t *testing.T) {
	s := claimed(t, func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true })
	s.Retoken(t, func(_, claims map[string]any) {
		switch n := s.Refreshes(); n {
		case 0:
			claims["acr"], claims["amr"], claims["color"] = "2", []string{"otp"}, "red"
		default:
			delete(claims, "acr")
			delete(claims, "amr")
			delete(claims, "auth_time")
			delete(claims, "nonce")
			claims["size"] = n
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	first := claims(t, ana)
	for n := 1; n <= 3; n++ {
		s.Advance(world.Past)
		wantClaims(t, ana, map[string]any{
			"acr": "2", "amr": []any{"otp"}, "color": nil, "size": float64(n), "nonce": first["nonce"], "auth_time": first["auth_time"],
		})
	}
	s.OnToken(t, func(m map[string]any) { delete(m, "id_token") })
	s.Advance(world.Past)
	wantClaims(t, ana, map[string]any{"acr": "2", "size": float64(3), "nonce": first["nonce"]})
}

// What OnSignIn set or took away lies on top of the newest claims. OnRefresh may
// set it anew.
func TestRefreshKeepsTheApplicationsClaims(t *testing.T) {
	var anew atomic.Bool
	s := claimed(t, func(c *gatehouse.RelyingPartyConfig) {
		c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
			return errors.Join(id.SetClaim("role", "editor"), id.SetClaim("group", "mine"), id.SetClaim("name", nil), id.SetClaim("same", "s"))
		}
		c.OnRefresh = func(_ context.Context, id *gatehouse.Identity) error {
			if id.Subject != "ana-1" || id.ClaimString("group") != "mine" {
				t.Errorf("OnRefresh got %+v with the group %q", id, id.ClaimString("group"))
			}
			if !anew.Load() {
				return nil
			}
			return errors.Join(id.SetClaim("role", "reader"), id.SetClaim("level", 3))
		}
	})
	tell := func(city, same string) {
		s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "name": "ANA", "group": "theirs", "city": city, "same": same}))
	}
	tell("Rome", "s")
	ana := s.Visitor("ana")
	ana.SignIn()
	want := map[string]any{"role": "editor", "group": "mine", "name": nil, "city": "Rome", "same": "s"}
	wantClaims(t, ana, want)
	tell("Oslo", "other")
	s.Advance(world.Past)
	want["city"] = "Oslo"
	wantClaims(t, ana, want)
	anew.Store(true)
	s.Advance(world.Past)
	want["role"], want["level"] = "reader", float64(3)
	wantClaims(t, ana, want)
	anew.Store(false)
	s.Advance(world.Past)
	wantClaims(t, ana, want)
}

// OnRefresh refuses: the session ends on every replica, and its refresh token
// is revoked. Trouble of the application ends nothing.
func TestOnRefreshRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		ends bool
	}{
		"an Error":      {&gatehouse.Error{Code: "left_the_company"}, true},
		"another error": {errors.New("not here any more"), true},
		"trouble":       {&gatehouse.Error{Code: "directory_down", Status: 503}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, func(p *gatehouse.RelyingPartyConfig) {
				p.OnRefresh = func(context.Context, *gatehouse.Identity) error { return c.err }
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(world.Past)
			if !c.ends {
				ana.WantServed(ana.Get("/notes/"))
				s.ShutdownAll()
				if s.Logged("old_claims") != 1 {
					t.Error("no warning")
				}
				return
			}
			for at := range 2 {
				ana.WantOut(ana.On(at).Get("/notes/"))
			}
			s.ShutdownAll()
			s.WantNoSession("ana-1")
			if got := s.RevokedTokens(); len(got) != 1 {
				t.Errorf("revoked: %v", got)
			}
		})
	}
}

// The store fails just when OnRefresh refuses. Whoever waits is refused all the
// same, and the session ends as soon as the store works again.
func TestOnRefreshRefusesWithoutTheStore(t *testing.T) {
	for name, away := range map[string]time.Duration{"for a while": 3 * time.Second, "for long": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *world.Site
				s = world.NewSite(t, world.Watched, func(o *world.SiteOptions) {
					o.Party = func(c *gatehouse.RelyingPartyConfig) {
						c.OnRefresh = func(context.Context, *gatehouse.Identity) error {
							s.Watched().Fail(errors.New("away"), false)
							return errors.New("not here any more")
						}
					}
				})
				ana := s.Visitor("ana")
				ana.SignIn()
				s.Advance(world.Past)
				ana.WantOut(ana.Get("/notes/"))
				time.Sleep(away)
				s.Watched().Fail(nil, false)
				s.ShutdownAll()
				lost := s.Logged("end_loss")
				if away > 10*time.Second {
					if lost != 1 {
						t.Errorf("%d warnings that it goes on", lost)
					}
					return
				}
				s.WantNoSession("ana-1")
				if got := s.RevokedTokens(); len(got) != 1 || lost != 0 {
					t.Errorf("revoked: %v, %d warnings", got, lost)
				}
			})
		})
	}
}

// If the user info fails after a refresh, what it said last stays. If it is
// about somebody else, none of it is used. The tokens are kept in any case.
func TestRefreshUserInfoInTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		fault opserver.Fault
		args  []string
		city  any
	}{
		"refused":       {opserver.UserInfoRefused, nil, "Rome"},
		"down":          {opserver.EndpointDown, []string{opserver.EndpointUserInfo}, "Rome"},
		"somebody else": {opserver.UserInfoWrongSubject, nil, nil},
		"nobody":        {opserver.UserInfoMissingSubject, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, nil)
			s.Retoken(t, func(_, claims map[string]any) {
				claims["size"] = s.Refreshes()
				delete(claims, "city") // the user info alone says it
			})
			s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "city": "Rome"}))
			ana := s.Visitor("ana")
			ana.SignIn()
			wantClaims(t, ana, map[string]any{"city": "Rome", "size": float64(0)})
			s.Break(c.fault, c.args...)
			s.Advance(world.Past)
			wantClaims(t, ana, map[string]any{"city": c.city, "size": float64(1)})
			s.ShutdownAll()
			if s.Refreshes() != 1 || s.Logged("old_claims") != 1 {
				t.Errorf("%d refreshes, %d warnings; want one of each", s.Refreshes(), s.Logged("old_claims"))
			}
			s.Mend(c.fault)
			s.Advance(world.Past)
			wantClaims(t, ana, map[string]any{"city": "Rome", "size": float64(2)})
		})
	}
}

// The keys of the new ID Token cannot be fetched. The tokens are kept, and a
// warning says that the claims are older, until the next refresh.
func TestRefreshWithoutTheKeys(t *testing.T) {
	s := claimed(t, func(c *gatehouse.RelyingPartyConfig) { c.SkipUserInfo = true })
	ana := s.Visitor("ana")
	ana.SignIn()
	before := claims(t, ana)
	s.RotateKeys()
	s.Break(opserver.EndpointDown, opserver.EndpointJWKS)
	s.Advance(world.Past)
	wantClaims(t, ana, map[string]any{"iat": before["iat"]})
	s.ShutdownAll()
	if s.Refreshes() != 1 || s.Logged("old_claims") != 1 {
		t.Errorf("%d refreshes, %d warnings; want one of each", s.Refreshes(), s.Logged("old_claims"))
	}
	s.Mend(opserver.EndpointDown)
	s.Advance(world.Past)
	if now := claims(t, ana); now["iat"] == before["iat"] || s.Logged("old_claims") != 1 {
		t.Errorf("after another refresh: iat %v, was %v; %d warnings", now["iat"], before["iat"], s.Logged("old_claims"))
	}
}

// Claims that do not fit leave the old ones and a warning. The new tokens are
// stored all the same.
func TestRefreshClaimsTooLarge(t *testing.T) {
	s := claimed(t, func(c *gatehouse.RelyingPartyConfig) {
		c.OnRefresh = func(_ context.Context, id *gatehouse.Identity) error {
			return id.SetClaim("huge", strings.Repeat("x", 70_000))
		}
	})
	ana := s.Visitor("ana")
	ana.SignIn()
	s.Advance(world.Past)
	wantClaims(t, ana, map[string]any{"sub": "ana-1", "huge": nil})
	s.ShutdownAll()
	if s.Refreshes() != 1 || s.Logged("old_claims") != 1 {
		t.Errorf("%d refreshes, %d warnings; want one of each", s.Refreshes(), s.Logged("old_claims"))
	}
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	if s.Refreshes() != 1 {
		t.Error("the new tokens were lost")
	}
}

// An ID Token that does not fit beside the claims costs no other token, and the
// claims that it takes away are gone, whatever later refreshes bring.
func TestRefreshIDTokenTooLarge(t *testing.T) {
	s := claimed(t, func(c *gatehouse.RelyingPartyConfig) {
		c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
			return id.SetClaim("mine", strings.Repeat("m", 13_000))
		}
	})
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "told": strings.Repeat("t", 30_000)}))
	sign := func(_, claims map[string]any) {
		delete(claims, "told")
		if claims["group"], claims["acr"] = "staff", "2"; s.Refreshes() == 1 {
			claims["group"], claims["more"] = "guests", strings.Repeat("i", 10_000)
		}
	}
	s.Retoken(t, sign)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/staff"))
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/notes/"))
	s.ShutdownAll()
	if s.Refreshes() != 1 || s.Logged("old_claims") == 0 {
		t.Fatalf("%d refreshes, %d warnings", s.Refreshes(), s.Logged("old_claims"))
	}
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	group := claims(t, ana)["group"]
	s.OnToken(t, func(m map[string]any) { delete(m, "id_token") })
	s.Advance(world.Past)
	ana.WantServed(ana.Get("/notes/"))
	if got := claims(t, ana)["group"]; s.Refreshes() != 2 || got != group {
		t.Errorf("%d refreshes; the group was %v and is %v", s.Refreshes(), group, got)
	}
	s.Retoken(t, sign)
	s.Advance(world.Past)
	wantClaims(t, ana, map[string]any{"group": "staff", "acr": "2", "more": nil})
}

// An ID Token that is longer than any that is read leaves the old claims and a
// warning, and no token is lost, unless it is about somebody else.
func TestRefreshIDTokenTooLong(t *testing.T) {
	for name, sub := range map[string]string{"the same person": "ana-1", "somebody else": "ben-1"} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, nil)
			s.Retoken(t, func(_, claims map[string]any) {
				if claims["group"] = "staff"; s.Refreshes() > 0 {
					claims["group"], claims["sub"], claims["more"] = "guests", sub, strings.Repeat("m", 50_000)
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(world.Past)
			if sub != "ana-1" {
				ana.WantOut(ana.Get("/notes/"))
				return
			}
			wantClaims(t, ana, map[string]any{"group": "staff", "email": "ana@example.org", "more": nil})
			if s.Refreshes() != 1 || s.Logged("old_claims") != 1 {
				t.Errorf("%d refreshes, %d warnings; want one of each", s.Refreshes(), s.Logged("old_claims"))
			}
			s.Advance(world.Past)
			ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
		})
	}
}

// A claim of an ID Token that made no sense is absent, also after a refresh:
// the first one's does not come back, and costs the session nothing.
func TestRefreshOfDefectiveClaims(t *testing.T) {
	for name, c := range map[string]struct {
		claim         string
		first, second any  // nil: the ID Token leaves it out
		none          bool // the refresh brings no ID Token
		want          any
	}{
		"sid, then left out":            {"sid", 7, nil, false, nil},
		"sid, no new token":             {"sid", 7, nil, true, nil},
		"sid, then a good one":          {"sid", 7, "s2", false, "s2"},
		"sid, good first":               {"sid", "s1", 7, false, "s1"},
		"auth_time a text, left out":    {"auth_time", "x", nil, false, nil},
		"auth_time a text, no token":    {"auth_time", "x", nil, true, nil},
		"auth_time ahead, left out":     {"auth_time", 4102444800, nil, false, nil},
		"auth_time ahead, no token":     {"auth_time", 4102444800, nil, true, nil},
		"auth_time ahead, then true":    {"auth_time", 4102444800, 1_700_000_000, false, 1.7e9},
		"auth_time true, then ahead":    {"auth_time", 1_700_000_000, 4102444800, false, 1.7e9},
		"auth_time true, then negative": {"auth_time", 1_700_000_000, -5, false, 1.7e9},
	} {
		t.Run(name, func(t *testing.T) {
			s := claimed(t, func(p *gatehouse.RelyingPartyConfig) { p.SkipUserInfo = true })
			s.Retoken(t, func(_, claims map[string]any) {
				delete(claims, c.claim)
				value := c.first
				if s.Refreshes() > 0 {
					value = c.second
				}
				if value != nil {
					claims[c.claim] = value
				}
			})
			ana := s.Visitor("ana")
			ana.SignIn()
			if c.none {
				s.OnToken(t, func(m map[string]any) { delete(m, "id_token") })
			}
			for range 2 {
				s.Advance(world.Past)
				wantClaims(t, ana, map[string]any{c.claim: c.want})
			}
			if s.Refreshes() != 2 {
				t.Errorf("%d refreshes", s.Refreshes())
			}
		})
	}
}

// A record of a build that did not keep the application's claims apart keeps
// its claims until the next sign-in, because nobody can say whose they are.
func TestRefreshOfARecordOfBefore(t *testing.T) {
	s := claimed(t, nil)
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "city": "Rome"}))
	ana := s.Visitor("ana")
	ana.SignIn()
	own := []byte("\x1d\x02{}") // field 29
	stories.Overwrite(s, stories.RecordKey(t, s, ana), func(b []byte) []byte {
		if bytes.Count(b, own) != 1 {
			t.Fatalf("%d fields with the application's claims", bytes.Count(b, own))
		}
		return bytes.Replace(b, own, nil, 1)
	})
	s.Must(s.AddUser("ana", world.SitePass, map[string]any{"sub": "ana-1", "email": "ana@example.org", "city": "Oslo"}))
	s.Advance(world.Past)
	wantClaims(t, ana, map[string]any{"city": "Rome"})
	if s.Refreshes() != 1 {
		t.Errorf("%d refreshes", s.Refreshes())
	}
	fresh := s.Visitor("ana")
	fresh.SignIn()
	wantClaims(t, fresh, map[string]any{"city": "Oslo"})
}
