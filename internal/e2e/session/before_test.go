package session_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
)

// Sessions of the build of November 2026 were not bound to the name and origin
// of their Sessions. Nobody can say whose they are, so their cookies open
// nothing here, whatever name they come under. Everybody signs in once more.
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
			names := cookieNames(t, login)
			for what, cookie := range map[string]string{"live": c.Session, "being refreshed": c.Leased, "ended": c.Ended} {
				was, value, _ := strings.Cut(cookie, "=")
				if slices.Contains(names, was) {
					t.Errorf("the cookie is still called %s: an older build on another replica would replace ours", was)
				}
				for _, name := range append(names, was) {
					rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://notes.example.org/", nil)
					r.Header.Set("Cookie", name+"="+value)
					page.ServeHTTP(rec, r)
					if got := rec.Body.String(); rec.Code != http.StatusOK || got != "nobody" {
						t.Errorf("%s as %s: %d %q, want nobody", what, name, rec.Code, got)
					}
				}
			}
			list, err := sessions.List(t.Context(), issuer, "ana")
			w.Must(err)
			if len(list) != 0 {
				t.Errorf("the list has %+v, want none", list)
			}
			w.Must(sessions.Shutdown(t.Context()))
			if got := w.Total(); got != 0 {
				t.Errorf("%d requests to the provider", got)
			}
		})
	}
}

// cookieNames returns the names of the cookies that a sign-out deletes.
func cookieNames(t *testing.T, login *gatehouse.RelyingParty) (names []string) {
	t.Helper()
	rec, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "https://notes.example.org/auth/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	login.LogoutHandler().ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		t.Fatalf("sign-out deletes no cookie: %d", rec.Code)
	}
	return names
}
