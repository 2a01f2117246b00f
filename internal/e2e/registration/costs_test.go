package registration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// managed counts what was sent about clients, by method, since the last Reset.
func (s *site) managed() string {
	methods := map[string]int{}
	for _, c := range s.Calls() {
		if strings.HasPrefix(c.Address, s.Endpoint("registration_endpoint")) {
			methods[c.Method]++
		}
	}
	out := []string{}
	for _, m := range []string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodDelete} {
		if methods[m] > 0 {
			out = append(out, fmt.Sprint(m, " ", methods[m]))
		}
	}
	return strings.Join(out, ", ")
}

// TestWhatItCosts counts each row of "What it costs" in docs/registration.md.
func TestWhatItCosts(t *testing.T) {
	const life = time.Hour
	for name, c := range map[string]struct {
		options opserver.RegistrationOptions
		renewal string
		clients int
	}{
		"read":             {opserver.RegistrationOptions{RenewOnRead: true}, "GET 1", 1},
		"update":           {opserver.RegistrationOptions{RenewOnUpdate: true}, "GET 1, PUT 1", 1},
		"another client":   {opserver.RegistrationOptions{}, "POST 1, GET 1, PUT 1", 2},
		"nothing but that": {opserver.RegistrationOptions{Unmanaged: true}, "POST 1", 2},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.SecretLife = life
			s := newSite(t, c.options, 2)
			want := func(what, sent string) {
				t.Helper()
				for at := range s.Replicas {
					s.Must(s.reg(at).Shutdown(t.Context()))
				}
				if got := s.managed(); got != sent {
					t.Errorf("%s: %q, want %q", what, got, sent)
				}
				s.Reset()
			}
			for at := range 2 {
				s.Visitor("ana").On(at).SignIn()
			}
			want("first need, over all replicas", "POST 1")
			s.AddReplica(s.Options)
			ana := s.Visitor("ana").On(2)
			ana.SignIn()
			want("start with a stored client", "")
			s.Advance(world.Past)
			ana.WantServed(ana.Get("/notes/"))
			ana.Post("/auth/logout", nil)
			s.ShutdownAll()
			want("request, refresh, sign-out", "")
			s.Advance(life*3/4 - world.Past)
			for at := range 3 {
				s.Visitor("ben").On(at).SignIn()
			}
			want("renewal", c.renewal)
			s.wantClients(c.clients)
			s.Advance(life * 3 / 4)
			s.Visitor("ben").SignIn()
			rest := c.renewal
			if c.clients > 1 && !c.options.Unmanaged { // the first client has ended, and is left over
				rest += ", DELETE 1"
			}
			want("renewal, with a client that is left over", rest)
			s.WantQuiet()
		})
	}
}

// TestCostsNoMoreThanConfigured: at a registered client, a sign-in, a request, a
// refresh, an API request and a sign-out cost the provider what they cost at a
// configured one, endpoint by endpoint.
func TestCostsNoMoreThanConfigured(t *testing.T) {
	story := func(s *world.Site, h http.Handler, id string) (costs []string) {
		s.Visitor("ben").SignIn() // what is fetched once
		world.Send(h, http.MethodGet, "/things", "no-such-token")
		step := func(f func()) {
			s.Reset()
			f()
			s.ShutdownAll()
			costs = append(costs, s.Spent())
		}
		ana := s.Visitor("ana")
		step(func() { ana.SignIn() })
		step(func() { ana.WantServed(ana.Get("/notes/")) })
		s.Advance(world.Past)
		step(func() { ana.WantServed(ana.Get("/notes/")) })
		step(func() {
			token, err := s.AccessTokenFor("ana", id, []string{"https://api.test"}, "openid")
			s.Must(err)
			s.Mint("access token", token)
			if a := world.Send(h, http.MethodGet, "/things", token); a.Code != http.StatusOK {
				t.Errorf("%d", a.Code)
			}
		})
		step(func() { ana.Post("/auth/logout", nil) })
		return costs
	}
	configured := world.NewSite(t)
	asking := func(s *world.Site) http.Handler {
		api, err := gatehouse.NewResourceServer(s.Replicas[0].Provider, gatehouse.ResourceServerConfig{Client: s.Replicas[0].Client, Audience: []string{"https://api.test"}})
		s.Must(err)
		t.Cleanup(func() { s.Must(api.Shutdown(context.Background())) })
		return api.RequireToken(world.WhoAmI)
	}
	want := story(configured, asking(configured), "notes")
	s := newSite(t, opserver.RegistrationOptions{}, 1)
	s.Must(s.reg(0).Register(t.Context()))
	got := story(s.Site, asking(s.Site), s.wantClients(1)[0])
	if !slices.Equal(got, want) {
		t.Errorf("registered:\n%q\nconfigured:\n%q", got, want)
	}
	if want[0] != "[authorize 2 token 1 userinfo 1 pages 1]" && !strings.Contains(want[0], "token 1 userinfo 1") {
		t.Errorf("a sign-in costs %s", want[0])
	}
}
