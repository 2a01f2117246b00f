package interop_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/middlewaretest"
)

// FA1 over TCP: the provider's port is closed when the process starts and for a minute
// after. What does not need sockets is in internal/e2e/signin.
func TestFA1_OverTCP(t *testing.T) {
	op := middlewaretest.NewServer(t)
	op.AddUser("ana", middlewaretest.Claims{"email": "ana@example.org"})
	op.Stop()
	url := middlewaretest.NewApp(t, func(base string) http.Handler {
		return emailOf(must(gatehouse.NewRelyingParty(op.Provider(), gatehouse.RelyingPartyConfig{
			Client: op.AddClient(base + "/auth/callback"), RedirectURL: base + "/auth/callback", Scopes: []string{"email"}}))(t))
	})
	ana := op.Browser(t, "ana")
	get := func(path string) (int, string, http.Header) {
		t.Helper()
		resp, err := ana.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body), resp.Header
	}
	quickest := time.Hour
	for range 6 {
		begin := time.Now()
		status, body, header := get("/notes/")
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || len(ana.Cookies(url)) != 0 {
			t.Fatalf("%d with Retry-After %q and cookies %v: %s", status, header.Get("Retry-After"), ana.Cookies(url), body)
		}
		quickest = min(quickest, time.Since(begin))
		if status, _, _ := get("/"); status != http.StatusOK {
			t.Errorf("a public page: %d", status)
		}
		op.Clock().Advance(10 * time.Second)
	}
	if quickest > time.Second { // of six, because this machine may be busy
		t.Errorf("a 503 took %v", quickest)
	}
	op.Start()
	for waited := 0; ; waited++ {
		status, body, _ := get("/notes/")
		if status == http.StatusOK && strings.Contains(body, "ana@example.org") {
			break
		}
		if waited == 30 {
			t.Fatalf("30 s after the return: %d %s", status, body)
		}
		op.Clock().Advance(time.Second)
	}
	op.Stop() // stopped again: people who are signed in stay signed in
	op.Clock().Advance(10 * time.Minute)
	if status, body, _ := get("/notes/"); status != http.StatusOK || !strings.Contains(body, "ana@example.org") {
		t.Errorf("with the provider away: %d %s", status, body)
	}
	op.Start()
	if v := op.Violations(); len(v) != 0 {
		t.Errorf("the provider saw %q", v)
	}
}

// emailOf is a site that shows whose page it is.
func emailOf(login *gatehouse.RelyingParty) http.Handler {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := gatehouse.IdentityFrom(r.Context()); id != nil {
			_, _ = io.WriteString(w, id.ClaimString("email"))
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/auth/callback", login.CallbackHandler())
	mux.Handle("/notes/", login.RequireLogin(page))
	mux.Handle("/{$}", login.OptionalLogin(page))
	return mux
}
