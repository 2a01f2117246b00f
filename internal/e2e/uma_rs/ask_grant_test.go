package uma_rs_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// An authorization for the owner's grant signs nobody in: of what its guard asks
// for, only languages, hints and parameters of the server go along, and nothing is
// checked that was not asked for.
func TestGrantAsksForNoSignIn(t *testing.T) {
	w := world.NewPhotoz(t)
	grants := w.Grants(nil)
	sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: w.Now})
	w.Must(err)
	login, err := gatehouse.NewRelyingParty(w.Provider(), gatehouse.RelyingPartyConfig{
		Client: world.PhotozClient, RedirectURL: world.PhotozOrigin + "/auth/callback", Sessions: sessions, OwnerGrants: grants,
	})
	w.Must(err)
	asks := gatehouse.Ask(gatehouse.AuthRequest{
		Prompt: []string{"login"}, UILocales: []string{"de"}, ACRValues: []string{"1"}, Params: url.Values{"hd": {"x"}},
		Claims: gatehouse.ClaimsRequest{IDToken: map[string]gatehouse.ClaimRequest{"acr": {Essential: true, Value: "1"}}},
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/agree", login.With(gatehouse.OwnerGrant(), asks).RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	w.Serve(world.PhotozOrigin, mux)
	var mu sync.Mutex
	var asked []url.Values
	w.Kit.OnRequest("authorize", func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Query())
	})
	resp, err := w.Kit.Browser(t, "alice").Get(world.PhotozOrigin + "/agree")
	w.Must(err)
	resp.Body.Close()
	w.Must(sessions.Shutdown(t.Context()))
	if resp.StatusCode != http.StatusOK || len(asked) != 2 {
		t.Fatalf("%s after %d requests", resp.Status, len(asked))
	}
	for i, want := range []map[string]string{
		{"prompt": "login", "max_age": "0", "acr_values": "1", "ui_locales": "de", "hd": "x", "claims": `{"id_token":{"acr":{"essential":true,"value":"1"}}}`},
		{"prompt": "", "max_age": "", "acr_values": "", "ui_locales": "de", "hd": "x", "claims": ""},
	} {
		for name, value := range want {
			if got := asked[i].Get(name); got != value {
				t.Errorf("request %d: %s=%q, want %q", i, name, got, value)
			}
		}
	}
}

// RP-C4: a form of the provider's site comes without the session's cookie. The
// owner's grant is stored all the same, for who asked for it and for nobody else.
func TestGrantByFormPost(t *testing.T) {
	for _, asked := range []string{"code", "code id_token"} {
		w := world.NewPhotoz(t)
		grants := w.Grants(nil)
		sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Now: w.Now})
		w.Must(err)
		login, err := gatehouse.NewRelyingParty(w.Provider(), gatehouse.RelyingPartyConfig{
			Client: world.PhotozClient, RedirectURL: world.PhotozOrigin + "/auth/callback", Sessions: sessions, OwnerGrants: grants,
			ResponseType: asked, ResponseMode: "form_post",
		})
		w.Must(err)
		mux := http.NewServeMux()
		mux.Handle("/auth/", login.Handler())
		mux.Handle("/agree", login.With(gatehouse.OwnerGrant()).RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		w.Serve(world.PhotozOrigin, mux)
		resp, err := w.Kit.Browser(t, "alice").Get(world.PhotozOrigin + "/agree")
		w.Must(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/agree" {
			t.Errorf("%s: %s at %s", asked, resp.Status, resp.Request.URL.Path)
		}
		for owner, want := range map[string]bool{"alice": true, "bob": false} {
			if has, err := grants.Has(t.Context(), owner); has != want || err != nil {
				t.Errorf("%s: %s has a grant: %v, %v", asked, owner, has, err)
			}
		}
		w.Must(sessions.Shutdown(t.Context()))
	}
}
