package interop_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/middlewaretest"
)

// TestOIDCProviderClaimsElsewhere: oidc-provider refers to a bank for two claims,
// one that comes along and one that is fetched with the token that it names.
func TestOIDCProviderClaimsElsewhere(t *testing.T) {
	t.Parallel()
	bank := middlewaretest.NewServer(t)
	bank.SetAccessTokens(middlewaretest.AccessTokenOptions{Type: "JWT"})
	var fetched atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-for-the-bank" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		fetched.Add(1)
		fmt.Fprint(w, bank.Token(t, middlewaretest.Claims{"credit_rating": "good", "aud": nil}))
	}))
	t.Cleanup(endpoint.Close)
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{Elsewhere: map[string]any{
		"_claim_names": map[string]string{"credit_rating": "fetched", "account": "along"},
		"_claim_sources": map[string]any{
			"fetched": map[string]string{"endpoint": endpoint.URL + "/claims", "access_token": "token-for-the-bank"},
			"along":   map[string]string{"JWT": bank.Token(t, middlewaretest.Claims{"account": "IS14", "aud": nil})},
		},
	}})
	notes, _ := registering(t, "", func(*gatehouse.ClientMetadata) {})
	notes.watch.note("token of a source", "token-for-the-bank")
	var got atomic.Pointer[map[string]any]
	notes.open(t, op.Issuer, notes.clock, gatehouse.RelyingPartyConfig{
		Scopes: []string{"profile", "email"},
		OnSignIn: func(_ context.Context, id *gatehouse.Identity) error {
			all := map[string]any{}
			got.Store(&all)
			return id.Claims(&all)
		},
		ClaimsProviders: []gatehouse.ClaimsProvider{{
			Provider: bank.Provider(), Origins: []string{endpoint.URL},
			InnerNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, InsecureInnerAddresses: true,
		}},
	})
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/1")
	op.SignIn(t, browser, "alice")
	notes.shows(t, browser, "Notes of User alice <alice@example.test>", "at /notes/1,")
	if all := *got.Load(); all["credit_rating"] != "good" || all["account"] != "IS14" || all["sub"] != "alice" || all["_claim_names"] != nil || all["_claim_sources"] != nil {
		t.Errorf("claims %v", all)
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("%d requests to the bank", n)
	}
}
