package uma_rp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse/internal/e2e/world"
)

// Grant §3.3.1, §5.8: ticket, claims and tokens go only to the token endpoint
// and the resource server, in the form or header meant for them and never in an
// address.
func TestUMASecretsOnTheWire(t *testing.T) {
	w := world.NewShopScript(t)
	addresses := []string{}
	w.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
		addresses = append(addresses, r.Method+" "+r.URL.String())
		text := fmt.Sprint(r.URL, r.Header["Referer"], r.Header["Cookie"])
		for _, secret := range []string{"ticket-", "new-", world.ShopScriptIDToken, "rpt", world.ShopScriptSecret} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
		if toAS := r.URL.Host == "as.example.org"; toAS == strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && r.Header.Get("Authorization") != "" {
			t.Errorf("%s got %q", r.URL.Host, r.Header.Get("Authorization"))
		}
		return next(r), nil
	})
	w.Answer = func(n int, _ url.Values) world.ScriptAnswer {
		if n == 1 {
			return world.Refused(403, "need_info", `"ticket":"new-1"`)
		}
		return world.Granted("rpt1", `"expires_in":300`)
	}
	w.WantPicture(w.Client(world.WhenAsked(world.ForBob())), world.ShopScriptPhotos+"/albums/7")
	want := []string{"GET " + world.ShopScriptPhotos + "/albums/7", "POST https://as.example.org/odd/token-9", "POST https://as.example.org/odd/token-9", "GET " + world.ShopScriptPhotos + "/albums/7"}
	if !slices.Equal(addresses, want) {
		t.Errorf("requests %q, want %q", addresses, want)
	}
}

// TestUMABudgetRP counts the cost of a client's request: requests of its own,
// and those to the authorization server.
func TestUMABudgetRP(t *testing.T) {
	for name, wait := range map[string]bool{"at once": false, "ClaimsWhenAsked": true} {
		t.Run(name, func(t *testing.T) {
			s := world.NewPrintShop(t)
			s.Must(s.Share("alice", s.AlbumID, "bob", "view"))
			c := s.ShopConfig("bob")
			c.ClaimsWhenAsked = wait
			shop := s.Client(c)
			do := func(toSite int, want string) {
				t.Helper()
				s.Reset()
				s.WantServed(shop, "GET")
				if n := len(s.TokensAt(s.Site)); n != toSite || s.Spent() != want {
					t.Errorf("%d requests to the site, %s; want %d, %s", n, s.Spent(), toSite, want)
				}
			}
			exchanges := 1
			if wait {
				exchanges = 2 // need_info, then with claims
			}
			// Metadata of both kinds once an hour, plus the site's ticket and
			// introspection.
			do(2, fmt.Sprintf("[metadata 1 uma_metadata 1 token %d introspect 1 permission 1]", exchanges))
			do(1, "[]")
		})
	}
}
