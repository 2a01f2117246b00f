package interop_test

import (
	"strings"
	"testing"

	"example.com/gatehouse/interop/servers"
)

// atIssuer starts the example with -issuer and these arguments, at addresses
// that are known in advance, with two people to use it.
func atIssuer(t *testing.T, photos, shop, issuer string, args ...string) *story {
	t.Helper()
	args = append([]string{"-photos", photos, "-printshop", shop, "-issuer", issuer}, args...)
	s := &story{example: startExample(t, args...), hand: insisting{}, look: true}
	s.alice = servers.StartChromium(t)
	s.bob = s.alice.Another(t)
	return s
}

// createAlbum makes Alice, whose list is empty, create an album.
func (s *story) createAlbum(t *testing.T, name, title string) {
	t.Helper()
	s.page(t, s.alice, name+"-albums", s.photos+"/albums", "There is no album yet.")
	s.hand.write(t, s.alice, "Title", title)
	s.hand.press(t, s.alice, "Create album")
	s.page(t, s.alice, name+"-album", s.photos+"/u/", title, "Nobody has printed it yet.")
	s.album = s.alice.URL()
}

// order makes Bob, who is at the shop's first page, fetch the album.
func (s *story) order(t *testing.T, name string) {
	t.Helper()
	s.page(t, s.bob, name+"-shop", s.shop+"/", "Order prints")
	s.hand.write(t, s.bob, "Address of the album", s.album)
	s.hand.press(t, s.bob, "Fetch the album")
	s.page(t, s.bob, name+"-asked", s.shop+"/order", "The owner has been asked", s.album)
}

// People sign in at an OpenID provider without UMA. The embedded server accepts
// its ID Tokens as claims.
func TestExampleAtOIDCProvider(t *testing.T) {
	t.Parallel()
	photos, shop := freePort(t), freePort(t)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Clients: []servers.OIDCProviderClient{{
		ID: "example", Secret: "example-secret",
		RedirectURIs:           []string{"http://" + photos + "/auth/callback", "http://" + shop + "/auth/callback"},
		PostLogoutRedirectURIs: []string{"http://" + photos + "/auth/logout", "http://" + shop + "/auth/logout"},
	}}})
	s := atIssuer(t, photos, shop, op.Issuer, "-client-id", "example", "-client-secret", "example-secret")
	if s.elsewhere != op.Issuer || s.server == op.Issuer {
		t.Fatalf("the example says %+v", s.example)
	}
	s.alice.Open(t, s.photos+"/")
	s.page(t, s.alice, "issuer-home", s.photos+"/", "People sign in at "+op.Issuer, "embedded authorization server "+s.server)
	s.hand.press(t, s.alice, "Sign in")
	op.SignIn(t, s.alice, "alice-elsewhere")
	s.page(t, s.alice, "issuer-connect", s.photos+"/albums", "First, connect your account for sharing")
	s.hand.press(t, s.alice, "Connect")
	s.signIn(t, s.alice, "alice")
	s.createAlbum(t, "issuer", "Winter")

	s.bob.Open(t, s.shop+"/")
	s.hand.press(t, s.bob, "Sign in to order")
	op.SignIn(t, s.bob, "bob-elsewhere")
	s.order(t, "issuer")
	s.hand.press(t, s.alice, "Who asks me?")
	s.page(t, s.alice, "issuer-inbox", s.server, "bob-elsewhere", "Winter")
	s.hand.press(t, s.alice, "Approve")
	s.hand.press(t, s.bob, "Try again")
	s.page(t, s.bob, "issuer-shown", s.shop+"/order", "Winter", "lets you view this album")

	s.hand.press(t, s.bob, "Sign out")
	op.SignOut(t, s.bob)
	s.page(t, s.bob, "issuer-signed-out", s.shop+"/", "Sign in to order")
}

// With Keycloak, UMA moves there too. There is no embedded server.
func TestExampleAtKeycloak(t *testing.T) {
	t.Parallel()
	kc := shared.Keycloak(t)
	s := atIssuer(t, "127.0.0.1:0", "127.0.0.1:0", kc.Issuer("gatehouse"), "-client-id", "photoz", "-client-secret", "photoz-secret",
		"-printshop-client-id", "printshop", "-printshop-client-secret", "printshop-secret")
	if s.server != kc.Issuer("gatehouse") {
		t.Fatalf("the example says %+v", s.example)
	}
	s.alice.Open(t, s.photos+"/")
	s.page(t, s.alice, "keycloak-home", s.photos+"/", "which is the authorization server too")
	s.hand.press(t, s.alice, "Sign in")
	kc.SignIn(t, s.alice, "alice")
	s.createAlbum(t, "keycloak", "Spring at Keycloak")

	s.bob.Open(t, s.shop+"/")
	s.hand.press(t, s.bob, "Sign in to order")
	kc.SignIn(t, s.bob, "bob")
	s.order(t, "keycloak")
	// The button leads to Keycloak's own page, where Alice shares.
	s.hand.press(t, s.alice, "Share…")
	asked := kc.Accept(t, s.alice, "Spring at Keycloak", func() {
		s.hand.press(t, s.bob, "Try again")
		s.page(t, s.bob, "keycloak-asked-again", s.shop+"/order", "The owner has been asked", s.album)
	})
	if !strings.Contains(asked, "Bob") || !strings.Contains(asked, "view") {
		t.Errorf("the account console says that this was asked: %q", asked)
	}
	s.hand.press(t, s.bob, "Try again")
	s.page(t, s.bob, "keycloak-shown", s.shop+"/order", "Spring at Keycloak", "lets you view this album")
	s.alice.Open(t, s.album)
	s.hand.press(t, s.alice, "Remove album")
	s.page(t, s.alice, "keycloak-removed", s.photos+"/albums", "There is no album yet.")
	for _, person := range []struct {
		browser *servers.Chromium
		base    string
	}{{s.alice, s.photos}, {s.bob, s.shop}} {
		s.hand.press(t, person.browser, "Sign out")
		s.page(t, person.browser, "keycloak-signed-out", person.base+"/", "Sign in")
	}
}
