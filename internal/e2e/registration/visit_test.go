package registration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/middlewaretest"
)

// TestClaimsVisitAcrossTheChange: a person is at the authorization server, which
// asks them for claims, while a new client takes over. Their tickets belong to the
// client that asked, in every visit, and that one redeems them.
func TestClaimsVisitAcrossTheChange(t *testing.T) {
	for _, visits := range []int{1, 2} {
		t.Run(fmt.Sprint(visits, " visits"), func(t *testing.T) {
			const back, page = "https://notes.test/auth/claims", "https://notes.test/print"
			s := newSite(t, opserver.RegistrationOptions{SecretLife: 20 * time.Minute}, 0, everyGrant)
			api := s.albums()
			defer func() { s.Must(api.Shutdown(context.Background())) }()
			asked := []opserver.NeededClaim{{Name: "purpose", Accept: []string{"a calendar"}}, {Name: "size", Accept: []string{"A3"}, Step: 1}}
			s.Must(s.NeedClaims("notes", s.album, asked[:visits]...))
			o := s.Options
			o.Mount = func(mux *http.ServeMux, login *gatehouse.RelyingParty) {
				mux.Handle("/auth/claims", login.ClaimsRedirectHandler())
				mux.Handle("/print", login.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.print(w, r, login) })))
			}
			r := s.AddReplica(o)
			tr, err := gatehouse.NewUMATransport(r.Provider, gatehouse.UMATransportConfig{Client: r.Client, Base: s.Transport(), Login: r.Login})
			s.Must(err)
			t.Cleanup(func() { s.Must(tr.Shutdown(context.Background())) })
			s.shopper = &http.Client{Transport: tr}
			s.Serve("https://notes.test", r.Mux)

			s.Kit.AddUser("cleo", middlewaretest.Claims{})
			s.Must(s.Share("notes", s.album, "cleo", "view"))
			cleo := s.Kit.Browser(t, "cleo")
			cleo.Say("purpose", "a calendar")
			cleo.Say("size", "A3")
			s.Must(r.Client.Registration.Register(t.Context()))
			first := s.wantClients(1)[0]
			s.Must(s.SetClaimsRedirectURIs(first, back))
			s.Advance(16 * time.Minute) // the secret is due
			s.Visitor("ben").SignIn()
			s.Must(s.reg(0).Shutdown(t.Context()))
			for _, id := range s.wantClients(2) {
				s.Must(s.SetClaimsRedirectURIs(id, back))
			}
			until := func(address, end string) string {
				t.Helper()
				resp, err := cleo.GetUntil(address, end)
				s.Must(err)
				location := resp.Header.Get("Location")
				if !strings.HasPrefix(location, end) {
					t.Fatalf("%s: %d\n%s", resp.Request.URL, resp.StatusCode, s.Log())
				}
				return location
			}
			at := page // at the first client, which begins sign-ins for 45 s more
			for range visits {
				at = until(until(at, s.Endpoint("claims_interaction_endpoint")), back)
				s.Advance(time.Minute)
			}
			resp, err := cleo.Get(at)
			s.Must(err)
			text, err := io.ReadAll(resp.Body)
			s.Must(err)
			if resp.StatusCode != http.StatusOK || string(text) != "printed" {
				t.Errorf("%d %s\n%s", resp.StatusCode, text, s.Log())
			}
			var by []string
			for _, call := range s.CallsTo("token_endpoint") {
				if call.Form.Get("grant_type") == world.UMAGrant {
					by = append(by, s.by(call))
				}
			}
			if by = slices.Compact(by); len(by) != 1 || by[0] != first {
				t.Errorf("tickets were redeemed by %q, want %q", by, first)
			}
		})
	}
}

// print is a page that needs the pictures.
func (s *site) print(w http.ResponseWriter, r *http.Request, login *gatehouse.RelyingParty) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://photos.test/albums/", nil)
	s.Must(err)
	resp, err := s.shopper.Do(q)
	if need, ok := errors.AsType[*gatehouse.NeedInfoError](err); ok {
		login.ClaimsRedirect(w, r, need, "")
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	fmt.Fprint(w, strings.Repeat("printed", resp.StatusCode/http.StatusOK))
}
