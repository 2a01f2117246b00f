package middlewaretest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// RP-U4 with the kit: one server refers to another for claims, which that one signs
// with [middlewaretest.Server.Token]. The application lists it as a claims provider
// on loopback.
func TestRPU4_ClaimsProviderOfTheKit(t *testing.T) {
	op, bank := middlewaretest.NewServer(t), middlewaretest.NewServer(t)
	bank.SetAccessTokens(middlewaretest.AccessTokenOptions{Type: "JWT"})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer for-the-bank" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, bank.Token(t, middlewaretest.Claims{"credit_rating": "good", "aud": nil}))
	}))
	t.Cleanup(endpoint.Close)
	op.AddUser("ana", middlewaretest.Claims{
		"name":         "Ana",
		"_claim_names": map[string]any{"credit_rating": "1", "account": "2"},
		"_claim_sources": map[string]any{
			"1": map[string]any{"endpoint": endpoint.URL + "/claims", "access_token": "for-the-bank"},
			"2": map[string]any{"JWT": bank.Token(t, middlewaretest.Claims{"account": "IS14", "aud": nil})},
		},
	})
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback", Scopes: []string{"profile"},
			ClaimsProviders: []gatehouse.ClaimsProvider{{
				Provider: bank.Provider(), Origins: []string{endpoint.URL},
				InnerNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, InsecureInnerAddresses: true,
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/loans/", login.With(gatehouse.Claim("credit_rating", "good")).RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var all map[string]any
			if err := gatehouse.IdentityFrom(r.Context()).Claims(&all); err != nil {
				t.Error(err)
			}
			_ = json.NewEncoder(w).Encode(all)
		})))
		return mux
	})
	resp, err := op.Browser(t, "ana").Get(url + "/loans/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil || got["credit_rating"] != "good" || got["account"] != "IS14" || got["_claim_names"] != nil || got["name"] != "Ana" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
