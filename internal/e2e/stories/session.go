package stories

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

func OnEveryReplica(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.On(world.ReplicaB).Get("/notes/"))
	ana.WantServed(ana.On(world.ReplicaB).Get("/open"))
}

// SE1, F9, F21: an id that the visitor brings never becomes the session's.
func SE1Fixation(t *testing.T, on On) {
	s := world.NewSite(t, on)
	probe := s.Visitor("ana")
	probe.SignIn()
	name := probe.SessionName()
	parts := strings.Split(probe.SessionCookie(), ".")
	chosen := strings.Repeat("A", 43)
	for _, planted := range []string{chosen, chosen + "." + parts[1] + "." + parts[2], "x", ""} {
		ana := s.Visitor("ana")
		ana.SetCookie(name, planted)
		ana.WantOut(ana.Get("/notes/"))
		ana.SignIn()
		if got := ana.SessionCookie(); got == planted || strings.HasPrefix(got, chosen) {
			t.Errorf("the planted value %q became the session", planted)
		}
		thief := s.Visitor("ana")
		thief.SetCookie(name, planted)
		thief.WantOut(thief.Get("/notes/"))
	}
}

// ASVS 7.2.4: signing in again changes the id and ends the old one.
func SE1NewIDAtEachSignIn(t *testing.T, on On) {
	s := world.NewSite(t, on)
	ana, old := s.Visitor("ana"), s.Visitor("ana")
	first := ana.SignIn()
	ana.Visit("/auth/login")
	second := ana.SessionCookie()
	if first == second {
		t.Fatal("the id stayed the same over a sign-in")
	}
	old.SetCookie(ana.SessionName(), first)
	old.WantOut(old.Get("/notes/"))
	ana.WantServed(ana.Get("/notes/"))
	// The same person's tokens may belong to one grant at the provider.
	// Revoking the old ones would then end the new session too (RFC 7009 §2.1).
	s.Shutdown(0)
	if got := s.RevokedTokens(); len(got) != 0 {
		t.Errorf("%d tokens were revoked at a sign-in of the same person", len(got))
	}
}

// SE3: the second person in one browser replaces the first.
func SE3AnotherPersonSignsIn(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas)
	b := s.Visitor("ana")
	cookie := b.SignIn()
	name := b.SessionName()
	s.EndSessions("ana") // at the provider: the next sign-in asks who it is
	b.User = "ben"
	b.Visit("/auth/login")
	b.WantServed(b.On(world.ReplicaB).Get("/notes/"))
	thief := s.Visitor("ana")
	thief.SetCookie(name, cookie)
	thief.WantOut(thief.On(world.ReplicaB).Get("/notes/"))
	s.Shutdown(world.ReplicaA)
	if got := s.Count(opserver.EndpointRevoke); got != 1 {
		t.Errorf("%d revocations, want that of ana's refresh token", got)
	}
	if got := s.EventsOf(gatehouse.EventLogout); len(got) != 1 || got[0] == "" {
		t.Errorf("logout events %q, want one with a code", got)
	}
	list, err := s.Replicas[world.ReplicaB].Sessions.List(context.Background(), world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 0 {
		t.Errorf("ana has %d sessions, err %v", len(list), err)
	}
}

// SE3 for the application's data: nothing from the first person's session is
// readable in the second's, on either replica.
func SE3NothingPassesOn(t *testing.T, on On) {
	var saw []string
	s := world.NewSite(t, on, world.TwoReplicas, func(o *world.SiteOptions) {
		o.Party = func(c *gatehouse.RelyingPartyConfig) {
			c.OnSignIn = func(_ context.Context, id *gatehouse.Identity) error {
				if id.Subject == "ana-1" {
					return id.SetClaim("cart", "of-ana")
				}
				return nil
			}
		}
		o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
			mux.Handle("/all", login.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				var all map[string]any
				if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
					t.Error(err)
				}
				token, err := login.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				saw = append(saw, world.JSON(t, all), token.AccessToken)
			})))
		}
	})
	b := s.Visitor("ana")
	b.SignIn()
	b.Get("/all")
	anas := saw
	saw = nil
	s.EndSessions("ana")
	b.User = "ben"
	b.Visit("/auth/login")
	for at := range s.Replicas {
		b.On(at).Get("/all")
	}
	if len(anas) != 2 || len(saw) != 4 {
		t.Fatalf("%d and %d answers", len(anas), len(saw))
	}
	for _, got := range saw {
		if strings.Contains(got, "ana") || got == anas[1] {
			t.Error("ben's session has something of ana's")
		}
	}
}

// SE4: the absolute limit holds despite one request a minute.
func SE4AbsoluteLimit(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas, world.Limits(10*time.Minute, 5*time.Minute))
	s.SetTokenLifetime(time.Hour)
	ana := s.Visitor("ana")
	ana.SignIn()
	for minute := range 10 {
		ana.WantServed(ana.On(minute % 2).Get("/notes/"))
		s.Advance(time.Minute)
	}
	ana.WantOut(ana.On(world.ReplicaA).Get("/notes/"))
	ana.WantOut(ana.On(world.ReplicaB).Get("/notes/"))
}

// SE4: an unused session ends earlier. It ends to the second if it is never
// used, and at most a tenth early if it is.
func SE4IdleLimit(t *testing.T, on On) {
	for _, c := range []struct {
		wait time.Duration
		live bool
	}{{30*time.Minute - time.Second, true}, {30 * time.Minute, false}, {11 * time.Hour, false}} {
		s := world.NewSite(t, on, world.TwoReplicas)
		s.SetTokenLifetime(24 * time.Hour)
		ana := s.Visitor("ana")
		ana.SignIn()
		s.Advance(c.wait)
		a := ana.On(world.ReplicaB).Get("/notes/")
		if c.live {
			ana.WantServed(a)
			s.Advance(27*time.Minute - time.Second) // from here on, less a tenth at most
			ana.WantServed(ana.Get("/notes/"))
			continue
		}
		ana.WantOut(a)
	}
}

// SE8: no key in the store reveals a cookie. With configured keys no value
// reveals a token.
func SE8StoreHoldsNoSecrets(t *testing.T, on On) {
	for _, sealed := range []bool{true, false} {
		s := world.NewSite(t, on, world.Watched, func(o *world.SiteOptions) {
			if sealed {
				Keys("k")(o)
			}
		})
		ana := s.Visitor("ana")
		cookie := ana.SignIn()
		ctx := context.Background()
		tokens := 0
		for _, k := range s.Watched().All() {
			if raw, err := base64.RawURLEncoding.DecodeString(k); err != nil || len(raw) != sha256.Size {
				t.Errorf("key %q is not base64url of 32 bytes", k)
			}
			if strings.Contains(cookie, k) {
				t.Errorf("key %q is in the cookie", k)
			}
			value, _, err := s.Store.FindCtx(ctx, k)
			s.Must(err)
			if len(value) > 60_000 {
				t.Errorf("a value of %d bytes", len(value))
			}
			for secret, kind := range s.Secrets() {
				if kind == "cookie" && strings.Count(secret, ".") == 0 && len(secret) != 43 {
					continue // names of marks
				}
				if !bytes.Contains(value, []byte(secret)) {
					continue
				}
				if tokens++; sealed || !strings.Contains(kind, "token") && kind != "credentials" {
					t.Errorf("sealed %v: a %s is in a value", sealed, kind)
				}
			}
		}
		if !sealed && tokens == 0 {
			t.Error("no token in any plain value: the test looks in the wrong place")
		}
	}
}

func SessionsList(t *testing.T, on On) {
	s := world.NewSite(t, on, world.TwoReplicas)
	ctx := context.Background()
	phone, laptop := s.Visitor("ana"), s.Visitor("ana")
	begin := s.Now()
	phone.SignIn()
	s.Advance(10 * time.Minute)
	laptop.SignIn()
	sessions := s.Replicas[world.ReplicaB].Sessions
	list, err := sessions.List(ctx, world.SiteIssuer, "ana-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, err %v", len(list), err)
	}
	if !list[0].Began.After(list[1].Began) || !list[1].Began.Equal(begin) || !list[1].Ends.Equal(begin.Add(12*time.Hour)) {
		t.Errorf("sessions %+v, want the newest first", list)
	}
	for _, one := range list {
		if strings.Contains(phone.SessionCookie()+laptop.SessionCookie(), one.ID) {
			t.Error("the id in the list is in the cookie")
		}
	}
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ben-1", list[1].ID)) // not his
	s.Must(sessions.Revoke(ctx, "https://other.test", "ana-1", list[1].ID))
	phone.WantServed(phone.Get("/notes/"))
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[1].ID))
	phone.WantOut(phone.Get("/notes/"))
	laptop.WantServed(laptop.Get("/notes/"))
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", list[1].ID)) // a session that is gone is not an error
	s.Must(sessions.Revoke(ctx, world.SiteIssuer, "ana-1", "nothing"))
	if list, err = sessions.List(ctx, world.SiteIssuer, "ana-1"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions, err %v", len(list), err)
	}
	RevokeAll(s, world.ReplicaA, world.SiteIssuer, "ana-1")
	if list, err = sessions.List(ctx, world.SiteIssuer, "ana-1"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions after RevokeAll, err %v", len(list), err)
	}
	if list, err = sessions.List(ctx, world.SiteIssuer, "nobody"); err != nil || len(list) != 0 {
		t.Errorf("%d sessions of an unknown person, err %v", len(list), err)
	}
}
