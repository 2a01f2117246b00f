package signin_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// FA5: the clocks of site and provider.
func TestFA5_ClockSkew(t *testing.T) {
	for _, c := range []struct {
		skew time.Duration // of the provider
		code string
	}{{30 * time.Second, ""}, {-30 * time.Second, ""}, {10 * time.Minute, "clock_skew"}, {-10 * time.Minute, "clock_skew"}} {
		t.Run(c.skew.String(), func(t *testing.T) {
			s := world.NewSite(t)
			s.Retoken(t, func(_, claims map[string]any) {
				for _, name := range []string{"iat", "exp", "auth_time"} {
					seconds, _ := claims[name].(float64)
					claims[name] = seconds + c.skew.Seconds()
				}
			})
			ana := s.Visitor("ana")
			a := ana.Get(ana.ToCallback("/notes/"))
			if c.code == "" {
				if a.Code != http.StatusSeeOther {
					t.Errorf("got %v", a)
				}
				return
			}
			s.WantNo(ana, a, 1)
			if s.LastCode() != c.code || !strings.Contains(a.Body.String(), "clock") {
				t.Errorf("code %q and %v; want %q and a page that says so", s.LastCode(), a, c.code)
			}
		})
	}
}

// FA5 with the site's own clock, ahead and behind. Half a minute does no harm.
// Ten minutes give one page that says so, one event and one log line, but no
// loop.
func TestFA5_ClockOfTheSite(t *testing.T) {
	for _, skew := range []time.Duration{30 * time.Second, -30 * time.Second, 10 * time.Minute, -10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			off := func(now func() time.Time) func() time.Time { return func() time.Time { return now().Add(skew) } }
			s := world.NewSite(t, func(o *world.SiteOptions) {
				o.Replicas = 2
				o.Provider = func(c *gatehouse.ProviderConfig) { c.Now = off(c.Now) }
				o.Sessions = func(c *gatehouse.SessionsConfig) { c.Now = off(c.Now) }
			})
			ana := s.Visitor("ana")
			a := ana.Visit("/notes/")
			if skew.Abs() < time.Minute {
				ana.WantServed(a)
				ana.WantServed(ana.On(1).Get("/notes/"))
				return
			}
			s.WantRefusal(a, http.StatusBadRequest)
			if !strings.Contains(a.Body.String(), "clock") || ana.SessionName() != "" {
				t.Errorf("got %v, session %q", a, ana.SessionName())
			}
			if codes := s.EventsOf(gatehouse.EventRefusal); !slices.Equal(codes, []string{"clock_skew"}) || s.Logged("code=clock_skew") != 1 {
				t.Errorf("events %q, %d lines", codes, s.Logged("code=clock_skew"))
			}
			if n, m := s.Count(opserver.EndpointAuthorize), s.Count(opserver.EndpointToken); n != 1 || m != 1 {
				t.Errorf("%d authorization and %d token requests, want one each", n, m)
			}
		})
	}
}
