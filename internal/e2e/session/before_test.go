package session_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// People stay signed in when a new build is deployed: the store and the cookies
// of the build of November 2026 work with this one, both with a configured key
// and with one kept in the store.
func TestSessionsOfTheBuildBefore(t *testing.T) {
	text, err := os.ReadFile("../../session/testdata/2026-11.json")
	if err != nil {
		t.Fatal(err)
	}
	type dump struct {
		Session string            `json:"session_cookie"`
		Leased  string            `json:"leased_cookie"`
		Ended   string            `json:"ended_cookie"`
		Store   map[string][]byte `json:"store"`
	}
	var all struct{ Plain, Sealed dump }
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dump
		keys []gatehouse.Secret
	}{
		"plain":  {all.Plain, nil},
		"sealed": {all.Sealed, []gatehouse.Secret{gatehouse.NewSecret("golden key of thirty-two bytes ok")}},
	} {
		t.Run(name, func(t *testing.T) {
			const issuer, callback = "https://id.example.org", "https://notes.example.org/auth/callback"
			w := world.New(t, issuer)
			w.Must(w.AddClient(opserver.Client{ID: "notes", Secret: "secret of the notes", RedirectURIs: []string{callback}}))
			store := gatehouse.NewMemoryStore(w.Now)
			for key, value := range c.Store {
				w.Must(store.CommitCtx(t.Context(), key, value, w.Now().Add(time.Hour)))
			}
			sessions, err := gatehouse.NewSessions(gatehouse.SessionsConfig{Name: "golden", Keys: c.keys, Store: store, Now: w.Now})
			w.Must(err)
			login, err := gatehouse.NewRelyingParty(w.Provider(), gatehouse.RelyingPartyConfig{
				Client: gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("secret of the notes")}, RedirectURL: callback, Sessions: sessions,
			})
			w.Must(err)
			page := login.OptionalLogin(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				id := gatehouse.IdentityFrom(r.Context())
				if id == nil {
					fmt.Fprint(rw, "nobody")
					return
				}
				token, err := login.Token(r.Context())
				fmt.Fprintf(rw, "%s of %s by %s, %s, token %v %v", id.Subject, id.Issuer, id.Via, id.ClaimString("email"), token.AccessToken, err)
			}))
			const ana = "ana of https://id.example.org by session, ana@example.org, token access <nil>"
			for what, one := range map[string]struct{ cookie, want string }{
				"live": {c.Session, ana}, "being refreshed": {c.Leased, ana}, "ended": {c.Ended, "nobody"},
			} {
				rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://notes.example.org/", nil)
				r.Header.Set("Cookie", one.cookie)
				page.ServeHTTP(rec, r)
				if got := rec.Body.String(); rec.Code != http.StatusOK || got != one.want {
					t.Errorf("%s: %d %q, want %q", what, rec.Code, got, one.want)
				}
			}
			list, err := sessions.List(t.Context(), issuer, "ana")
			w.Must(err)
			if len(list) != 1 || !list[0].Began.Equal(world.Start) { // the others were written without the index
				t.Errorf("the list has %+v, want the live session", list)
			}
			w.Must(sessions.Shutdown(t.Context()))
			if got := w.Total(); got != 0 {
				t.Errorf("%d requests to the provider", got)
			}
		})
	}
}
