package registration_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
)

// TestRegisteredResponseTypes: a client that registers itself for another response
// type needs no more than that type: the grant types follow from it. The provider
// is strict about both.
func TestRegisteredResponseTypes(t *testing.T) {
	for _, c := range []struct {
		registered, asked string
		grants            []string
	}{
		{"", "", []string{"authorization_code", "refresh_token"}},
		{"id_token", "id_token", []string{"implicit"}},
		{"id_token token", "token id_token", []string{"implicit"}},
		{"code id_token", "code id_token", []string{"authorization_code", "refresh_token", "implicit"}},
		{"id_token code", "code id_token", []string{"authorization_code", "refresh_token", "implicit"}},
	} {
		for _, mode := range []string{"", "form_post"} {
			t.Run(fmt.Sprintf("%s as %s %s", c.asked, c.registered, mode), func(t *testing.T) {
				s := newSite(t, opserver.RegistrationOptions{}, 0, func(rc *gatehouse.RegistrationConfig) {
					if c.registered != "" {
						rc.Metadata.ResponseTypes = []string{c.registered}
					}
				})
				s.Options.Party = func(pc *gatehouse.RelyingPartyConfig) { pc.ResponseType, pc.ResponseMode = c.asked, mode }
				s.AddReplica(s.Options)
				s.Visitor("ana").SignIn()
				m, err := s.reg(0).Read(t.Context())
				if err != nil || !slices.Equal(m.GrantTypes, c.grants) {
					t.Errorf("grant types %q, %v; want %q", m.GrantTypes, err, c.grants)
				}
				s.WantQuiet()
			})
		}
	}
}

// TestServiceRegisters: a service that signs nobody in registers without redirect
// URIs and response types, and gets a token of its own.
func TestServiceRegisters(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	for name, types := range map[string][]string{"left out": nil, "empty": {}} {
		p := s.Provider()
		r := s.registration(p, func(c *gatehouse.RegistrationConfig) {
			c.Name = name
			c.Metadata = gatehouse.ClientMetadata{ClientName: "Backup", GrantTypes: []string{"client_credentials"}, ResponseTypes: types}
		})
		own, err := p.ClientCredentials(gatehouse.Client{Registration: r})
		s.Must(err)
		token, err := own.TokenFor(t.Context())
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, s.Log())
		}
		s.Mint("access token", token.AccessToken)
		s.Must(gatehouse.Shutdown(context.Background(), own, r))
	}
	s.wantClients(2)
	s.WantQuiet()
}
