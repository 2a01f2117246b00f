package interop_test

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
)

// registering makes a site whose two replicas register themselves, and remember
// that in one file.
func registering(t *testing.T, initial string, change func(*gatehouse.ClientMetadata)) (*notesSite, *[]*gatehouse.Registration) {
	t.Helper()
	notes := newNotes(t)
	var all []*gatehouse.Registration
	path := filepath.Join(t.TempDir(), "client.json")
	notes.client = func(p *gatehouse.Provider) gatehouse.Client {
		m := gatehouse.ClientMetadata{
			RedirectURIs: []string{notes.base + "/auth/callback"}, PostLogoutRedirectURIs: []string{notes.base + "/auth/logout"},
			ClientName: "Notes",
		}
		change(&m)
		r := must(gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{
			Metadata: m, Store: gatehouse.FileRegistrationStore(path), InitialAccessToken: gatehouse.NewSecret(initial)}))(t)
		all = append(all, r)
		notes.stops = append(notes.stops, r.Shutdown)
		return gatehouse.Client{Registration: r}
	}
	return notes, &all
}

// managed reads, updates and deletes the client, and registers it again.
func managed(t *testing.T, r *gatehouse.Registration, redirect string) {
	t.Helper()
	step := func(what string, f func(context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for range 2 { // the token of the registration may rotate
		m, err := r.Read(t.Context())
		if err != nil || !slices.Equal(m.RedirectURIs, []string{redirect}) || m.ClientName != "Notes" {
			t.Fatalf("read: %+v, %v", m, err)
		}
		step("update", r.Update)
	}
	first, err := r.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step("delete", r.Delete)
	if _, err := r.ID(t.Context()); gatehouse.ErrorCode(err) != "client_registration_deleted" {
		t.Errorf("after the deletion: %v", err)
	}
	if err := r.Register(t.Context()); err == nil { // where no initial access token is needed
		if next, err := r.ID(t.Context()); err != nil || next == first {
			t.Errorf("registered again: %q after %q, %v", next, first, err)
		}
		step("delete", r.Delete)
	}
}

// TestOIDCProviderRegistration: the site registers when somebody wants to sign
// in. oidc-provider gives a new registration access token at each update.
func TestOIDCProviderRegistration(t *testing.T) {
	t.Parallel()
	notes, all := registering(t, "", func(m *gatehouse.ClientMetadata) {})
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{})
	notes.open(t, op.Issuer, notes.clock, gatehouse.RelyingPartyConfig{
		Scopes: []string{"profile", "email", "offline_access"}, AuthParams: url.Values{"prompt": {"consent"}}})
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/1")
	op.SignIn(t, browser, "alice")
	notes.shows(t, browser, "Notes of User alice <alice@example.test>", "at /notes/1,")
	notes.wire.want(t, "GET openid-configuration", "POST reg", "token authorization_code", "GET jwks", "GET me")
	managed(t, (*all)[0], notes.base+"/auth/callback")
}

// TestKeycloakRegistration is the same at Keycloak, which wants an initial access
// token.
func TestKeycloakRegistration(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	notes, all := registering(t, kc.InitialToken(t, "gatehouse"), func(*gatehouse.ClientMetadata) {})
	notes.open(t, kc.Issuer("gatehouse"), &clock{}, gatehouse.RelyingPartyConfig{Scopes: []string{"profile", "email"}})
	if err := (*all)[0].Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := must((*all)[1].ID(t.Context()))(t)                // of the other replica, from the file
	notes.watch.public = append(notes.watch.public, "."+id) // Keycloak's codes end with it
	notes.wire.want(t, "GET openid-configuration", "POST realms/gatehouse/clients-registrations/openid-connect")
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/1")
	kc.SignIn(t, browser, "alice")
	notes.shows(t, browser, "<alice@example.test>", "at /notes/1,")
	notes.wire.want(t, "token authorization_code", "GET certs", "GET userinfo")
	managed(t, (*all)[0], notes.base+"/auth/callback")
}
