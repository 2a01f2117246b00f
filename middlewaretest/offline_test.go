package middlewaretest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// A whole sign-in off the network, with an https issuer, __Host- cookies, and a
// bubble in which waiting costs nothing.
func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := middlewaretest.NewOffline(t, "https://op.example.org/realm")
		op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
		const base = "https://notes.example.org"
		login, err := gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback"})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/auth/callback", login.CallbackHandler())
		mux.Handle("/notes/", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "notes of "+gatehouse.IdentityFrom(r.Context()).Subject)
		})))
		op.Serve(base, mux)
		op.Break(middlewaretest.AuthorizationServerHangs)
		ana := op.Browser(t, "ana")
		begin := time.Now()
		if resp, err := ana.Get(base + "/notes/"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a hanging provider: %v %v", resp, err)
		}
		if took := time.Since(begin); took == 0 || took > time.Second {
			t.Errorf("answered after %v, want within a second", took)
		}
		op.Mend()
		op.Clock().Advance(time.Minute)
		resp, err := ana.Get(base + "/notes/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "notes of ana" {
			t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
		cookies := ana.Cookies(base)
		if len(cookies) != 1 || !strings.HasPrefix(cookies[0].Name, "__Host-") {
			t.Errorf("cookies %v, want one with the prefix __Host-", cookies)
		}
		op.Stop()
		op.Stop()
		if _, err := (&http.Client{Transport: op.Transport()}).Get(op.Issuer()); err == nil {
			t.Error("a stopped server answers")
		}
		op.Start()
		if v := op.Violations(); len(v) != 0 {
			t.Errorf("violations: %q", v)
		}
		if err := login.Sessions().Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An offline Keycloak server behaves like Keycloak, and a server that listens
// is also reached in memory.
func TestTransport(t *testing.T) {
	for _, op := range []*middlewaretest.Server{
		middlewaretest.NewOfflineKeycloak(t, "https://kc.example.org/realms/test"), middlewaretest.NewServer(t),
	} {
		resp, err := (&http.Client{Transport: op.Transport()}).Get(op.Issuer() + "/.well-known/uma2-configuration")
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || op.Count("uma_metadata") != 1 {
			t.Errorf("%s: %d", op.Issuer(), resp.StatusCode)
		}
		resp.Body.Close()
	}
}
