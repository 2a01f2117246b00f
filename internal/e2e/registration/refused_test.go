package registration_test

import (
	"context"
	"net/http"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// everyGrant lets a client do all that this package can do.
func everyGrant(c *gatehouse.RegistrationConfig) {
	c.Metadata.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials", world.UMAGrant}
}

// sent counts the calls to an endpoint, of a grant if that is not "".
func (s *site) sent(member, grant string) (n int) {
	for _, c := range s.CallsTo(member) {
		if grant == "" || c.Form.Get("grant_type") == grant {
			n++
		}
	}
	return n
}

// api makes the resource server of a replica.
func (s *site) api(at int) *gatehouse.ResourceServer {
	s.T.Helper()
	r := s.Replicas[at]
	api, err := gatehouse.NewResourceServer(r.Provider, gatehouse.ResourceServerConfig{Client: r.Client, Audience: []string{"https://api.test"}})
	s.Must(err)
	s.T.Cleanup(func() { s.Must(api.Shutdown(context.Background())) })
	return api
}

// asksAPI sends an opaque token of ana to an API, which has to ask about it.
func (s *site) asksAPI(h http.Handler) int {
	s.T.Helper()
	token, err := s.AccessTokenFor("ana", s.Registered()[0], []string{"https://api.test"}, "openid")
	s.Must(err)
	s.Mint("access token", token)
	return world.Send(h, http.MethodGet, "/things", token).Code
}

// TestRenewedElsewhere: another replica has renewed the secret, and this one does
// not know it yet. Whatever it sends as the client is refused once, is sent once
// more with the new secret, and succeeds.
func TestRenewedElsewhere(t *testing.T) {
	const token, introspection, revocation = "token_endpoint", "introspection_endpoint", "revocation_endpoint"
	for name, c := range map[string]struct {
		member, grant string
		prepare       func(*site) (call func() bool)
	}{
		"code": {token, "authorization_code", func(s *site) func() bool {
			v := s.Visitor("ben")
			back := v.AnswerOf(v.Get("/notes/"))
			return func() bool { return v.Get(back).Code == http.StatusSeeOther }
		}},
		"refresh": {token, "refresh_token", func(s *site) func() bool {
			ana := s.Visitor("ana")
			ana.SignIn()
			s.Advance(world.Past)
			s.Must(s.reg(0).Register(t.Context())) // an idle replica would look first, and one in use looks behind a request
			return func() bool { return ana.Get("/notes/").Code == http.StatusOK }
		}},
		"introspection": {introspection, "", func(s *site) func() bool {
			h := s.api(0).RequireToken(world.WhoAmI)
			return func() bool { return s.asksAPI(h) == http.StatusOK }
		}},
		"revocation": {revocation, "", func(s *site) func() bool {
			ana := s.Visitor("ana")
			ana.SignIn()
			return func() bool {
				ana.Post("/auth/logout", nil)
				s.ShutdownAll()
				return len(s.EventsOf(gatehouse.EventTrouble)) == 0
			}
		}},
		"token of the application": {token, "client_credentials", func(s *site) func() bool {
			own, err := s.Replicas[0].Provider.ClientCredentials(s.Replicas[0].Client)
			s.Must(err)
			return func() bool {
				got, err := own.TokenFor(t.Context())
				if err == nil {
					s.Mint("access token", got.AccessToken)
				}
				return err == nil
			}
		}},
		"token of the protection API": {token, "client_credentials", func(s *site) func() bool {
			api := s.api(0)
			return func() bool { _, err := api.Register(t.Context(), world.Albums); return err == nil }
		}},
		"UMA": {token, world.UMAGrant, func(s *site) func() bool {
			api, shop := s.albums(), s.shop(0)
			s.T.Cleanup(func() { s.Must(api.Shutdown(context.Background())) })
			return func() bool {
				resp, err := shop.Get("https://photos.test/albums/")
				return err == nil && resp.StatusCode == http.StatusOK
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{RenewOnRead: true, RotateToken: true}, 2, everyGrant)
			s.Must(s.reg(0).Register(t.Context()))
			call := c.prepare(s)
			if _, err := s.reg(1).Read(t.Context()); err != nil { // which renews the secret
				t.Fatal(err)
			}
			before := s.sent(c.member, c.grant)
			if !call() {
				t.Errorf("it failed:\n%s", s.Log())
			}
			if n := s.sent(c.member, c.grant) - before; n != 2 {
				t.Errorf("%d requests, want one that is refused and one that is not", n)
			}
			s.wantClients(1)
			s.WantQuiet()
		})
	}
}

// albums serves a resource of the site's own, which ana may see. Its client is
// another one, that does not register itself.
func (s *site) albums() *gatehouse.ResourceServer {
	s.T.Helper()
	api, err := gatehouse.NewResourceServer(s.Provider(), gatehouse.ResourceServerConfig{Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret(world.SiteSecret)}})
	s.Must(err)
	album, err := api.Register(s.T.Context(), world.Albums)
	s.Must(err)
	s.album = album.ID
	s.Must(s.Share("notes", album.ID, "ana", "view"))
	s.Serve("https://photos.test", world.Photos(api.UMAProtect(world.AlbumRules())))
	return api
}

// shop is the UMA client of a replica, which acts for ana.
func (s *site) shop(at int) *http.Client {
	s.T.Helper()
	r := s.Replicas[at]
	tr, err := gatehouse.NewUMATransport(r.Provider, gatehouse.UMATransportConfig{
		Client: r.Client, Base: s.Transport(), Party: func(context.Context) string { return "ana" },
		Claims: func(ctx context.Context) (gatehouse.ClaimToken, error) {
			id, err := r.Client.Registration.ID(ctx)
			if err != nil {
				return gatehouse.ClaimToken{}, err
			}
			token, err := s.IDToken("ana", id)
			return gatehouse.ClaimToken{Token: gatehouse.NewSecret(token)}, err
		},
	})
	s.Must(err)
	s.T.Cleanup(func() { s.Must(tr.Shutdown(context.Background())) })
	return &http.Client{Transport: tr}
}

// TestRefusedForGood: the provider does not know the client any more. Another is
// registered at once, which repeats what is of no client in particular. A client
// that signs is no exception.
func TestRefusedForGood(t *testing.T) {
	for name, signs := range map[string]bool{"secret": false, "key": true} {
		t.Run(name, func(t *testing.T) {
			s := newProving(t, signs, everyGrant)
			h := s.api(0).RequireToken(world.WhoAmI)
			s.Must(s.reg(0).Register(t.Context()))
			if got := s.asksAPI(h); got != http.StatusOK {
				t.Fatalf("%d\n%s", got, s.Log())
			}
			id := s.wantClients(1)[0]
			token, err := s.AccessTokenFor("ana", id, []string{"https://api.test"}, "openid")
			s.Must(err)
			s.Mint("access token", token)
			s.Advance(secondTry)
			s.Forget(id)
			before := len(s.CallsTo("introspection_endpoint"))
			if got := world.Send(h, http.MethodGet, "/things", token).Code; got != http.StatusOK {
				t.Errorf("%d\n%s", got, s.Log())
			}
			if n := len(s.CallsTo("introspection_endpoint")) - before; n != 2 || s.sent("token_endpoint", "client_credentials") != 0 {
				t.Errorf("%d introspections, %d tokens of the protection API", n, s.sent("token_endpoint", "client_credentials"))
			}
			if next := s.wantClients(1)[0]; next == id {
				t.Error("the client is still there")
			}
			if got := s.asksAPI(h); got != http.StatusOK {
				t.Errorf("%d\n%s", got, s.Log())
			}
		})
	}
}
