package interop_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/middlewaretest"
)

// Bob is asked on the page of the authorization server, in a real browser with
// its rules about cookies and forms, and comes back to the page with the
// permission. No server that runs here but the kit's has such a page (K16).
func TestClaimsPageInChromium(t *testing.T) {
	t.Parallel()
	op := middlewaretest.NewServer(t)
	op.AddUser("alice", nil)
	op.AddUser("bob", nil)
	var api *gatehouse.ResourceServer
	photos := middlewaretest.NewApp(t, func(base string) http.Handler {
		var err error
		api, err = gatehouse.NewResourceServer(op.Provider(), gatehouse.ResourceServerConfig{Client: op.AddClient(base + "/auth/callback")})
		if err != nil {
			t.Fatal(err)
		}
		album := gatehouse.Resource{Name: "album 7", Scopes: []string{"view"}}
		if _, err := api.Register(t.Context(), album); err != nil {
			t.Fatal(err)
		}
		return api.UMAProtect(gatehouse.Rules{"GET /albums/7": album.AllOf("view")})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	})
	owner := op.As("client-1")
	owner.Share("album 7", "bob", "view")
	owner.NeedClaims("album 7", middlewaretest.NeededClaim{Name: "purpose", Label: "What are the pictures for?"},
		middlewaretest.NeededClaim{Name: "code", Label: "The code of your device", Step: 1})
	shop := middlewaretest.NewApp(t, func(base string) http.Handler {
		client := op.AddClient(base + "/auth/callback")
		op.SetClaimsRedirect(client, base+"/auth/claims")
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{Client: client, RedirectURL: base + "/auth/callback"})
		if err != nil {
			t.Fatal(err)
		}
		transport, err := gatehouse.NewUMATransport(op.Provider(), gatehouse.UMATransportConfig{Client: client, Login: login})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/print", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, photos+"/albums/7", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := (&http.Client{Transport: transport}).Do(ask)
			if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
				login.ClaimsRedirect(w, r, need, "")
				return
			}
			if err != nil {
				http.Error(w, gatehouse.ErrorCode(err), http.StatusBadGateway)
				return
			}
			_ = resp.Body.Close()
			fmt.Fprintf(w, "printed with %s", resp.Status)
		})))
		return mux
	})

	browser, hand := servers.StartChromium(t), mouse{}
	browser.Open(t, shop+"/print?album=7")
	hand.set(t, browser, choice, "bob", true)
	hand.write(t, browser, "Password", "password of bob")
	hand.press(t, browser, "Sign in")
	browser.WaitText(t, "What are the pictures for?")
	servers.Axe(t, browser)
	browser.Screenshot(t, "claims")
	hand.write(t, browser, "What are the pictures for?", "a calendar")
	hand.press(t, browser, "Go on")
	browser.WaitText(t, "The code of your device") // a second round
	hand.write(t, browser, "The code of your device", "123456")
	hand.press(t, browser, "Go on")
	browser.WaitText(t, "printed with 200 OK")
	browser.WaitFor(t, shop+"/print?album=7")
	if v := op.Violations(); len(v) != 0 || op.Count("claims") != 2 {
		t.Errorf("%d visits, violations %q", op.Count("claims"), v)
	}
}
