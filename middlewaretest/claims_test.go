package middlewaretest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// The browser answers on the claims page what it was told to say, and cancels
// where it was told nothing.
func TestBrowserAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		says map[string]string
		text string
	}{
		"everything":       {map[string]string{"purpose": "a calendar", "size": "A4"}, "200 OK"},
		"not what it asks": {map[string]string{"purpose": "a calendar", "size": "A0"}, "uma_denied"},
		"too little":       {map[string]string{"purpose": "a calendar"}, "claims_not_given"},
		"nothing":          {nil, "claims_not_given"},
	} {
		t.Run(name, func(t *testing.T) {
			op := middlewaretest.NewOffline(t, "https://as.example.org")
			op.AddUser("bob", nil)
			const photos, shop = "https://photos.example.org", "https://shop.example.org"
			api, err := gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: op.AddClient(photos + "/callback")})
			if err != nil {
				t.Fatal(err)
			}
			album := gatehouse.Resource{Name: "album", Scopes: []string{"view"}}
			if _, err := api.Register(t.Context(), album); err != nil {
				t.Fatal(err)
			}
			owner := op.As("client-1")
			owner.Share("album", "bob", "view")
			owner.NeedClaims("album", middlewaretest.NeededClaim{Name: "purpose"}, middlewaretest.NeededClaim{Name: "size", Accept: []string{"A4"}})
			op.Serve(photos, api.UMAProtect(gatehouse.Rules{"GET /album": album.AllOf("view")})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))

			client := op.AddClient(shop + "/auth/callback")
			op.SetClaimsRedirect(client, shop+"/auth/claims")
			code := ""
			login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: shop + "/auth/callback",
				ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e *gatehouse.Error) { code = e.Code }})
			if err != nil {
				t.Fatal(err)
			}
			transport, err := gatehouse.NewUMATransport(op.Provider(), gatehouse.UMATransportConfig{Client: client, Login: login, Base: op.Transport()})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/auth/", login.Handler())
			mux.Handle("/print", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, photos+"/album", nil)
				must(t, err)
				resp, err := (&http.Client{Transport: transport}).Do(ask)
				if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
					login.ClaimsRedirect(w, r, need, "")
					return
				}
				if err != nil {
					code = gatehouse.ErrorCode(err)
					return
				}
				_ = resp.Body.Close()
				fmt.Fprint(w, resp.Status)
			})))
			op.Serve(shop, mux)
			bob := op.Browser(t, "bob")
			for claim, value := range tt.says {
				bob.Say(claim, value)
			}
			resp, err := bob.Get(shop + "/print")
			if got := body(t, resp, err) + code; !strings.Contains(got, tt.text) {
				t.Errorf("%d %q, want %q", resp.StatusCode, got, tt.text)
			}
			if v := op.Violations(); len(v) != 0 || op.Count("claims") != 1 {
				t.Errorf("%d visits, violations %q", op.Count("claims"), v)
			}
		})
	}
}
