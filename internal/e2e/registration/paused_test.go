package registration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/oxd"
)

// TestMethodInAList: a provider that says how the client authenticates in a list of
// one, as Glewlwyd does, has said it.
func TestMethodInAList(t *testing.T) {
	listed := func(a map[string]any) { a["token_endpoint_auth_method"] = []any{a["token_endpoint_auth_method"]} }
	s := newSite(t, opserver.RegistrationOptions{Answer: listed}, 1)
	s.Must(s.reg(0).Register(t.Context()))
	if m, err := s.reg(0).Read(t.Context()); err != nil || m.TokenEndpointAuthMethod != gatehouse.AuthBasic {
		t.Errorf("%+v, %v", m, err)
	}
	s.Visitor("ana").SignIn()
	s.wantClients(1)
	s.WantQuiet()
}

// TestDeleteAfterARefusedRead: a read that was refused, that brought something
// unusable, or that met trouble makes everybody wait before the provider is asked
// again. A client is deleted all the same, and at once.
func TestDeleteAfterARefusedRead(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"401":  {http.StatusUnauthorized, `{"error":"invalid_token"}`},
		"403":  {http.StatusForbidden, `{"error":"insufficient_scope"}`},
		"500":  {http.StatusInternalServerError, ""},
		"page": {http.StatusOK, "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{}, 2)
			s.Must(s.reg(0).Register(t.Context()))
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/reg-") {
					return next(r), nil
				}
				resp := world.Answer(r, answer.status, answer.body)
				resp.Header.Set("Retry-After", "3600")
				return resp, nil
			})
			for range 2 {
				if _, err := s.reg(0).Read(t.Context()); err == nil {
					t.Error("the read ended well")
				}
			}
			if err := s.reg(1).Delete(t.Context()); err != nil {
				t.Error(err)
			}
			s.wantClients(0)
			s.Must(s.reg(0).Register(t.Context())) // nothing is left of the pause
			s.wantClients(1)
		})
	}
}

// TestExistingDuringAPause: registering was refused for an hour. Who then names a
// client that the provider has already need not wait: nothing is registered.
func TestExistingDuringAPause(t *testing.T) {
	for name, busy := range map[string]bool{"refused": false, "asked to wait": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{}, 0)
			m := s.byOxd(callback)
			s.SetWire(func(r *http.Request, next func(*http.Request) *http.Response) (*http.Response, error) {
				if r.Method != http.MethodPost || r.URL.String() != s.Endpoint("registration_endpoint") {
					return next(r), nil
				}
				if busy {
					resp := world.Answer(r, http.StatusServiceUnavailable, "")
					resp.Header.Set("Retry-After", "3600")
					return resp, nil
				}
				return world.Answer(r, http.StatusForbidden, `{"error":"access_denied"}`), nil
			})
			s.AddReplica(s.Options)
			s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
			s.Must(s.reg(0).Shutdown(t.Context()))
			file, err := oxd.ParseSite([]byte(siteFiles(m)["617.json"]))
			s.Must(err)
			o := s.Options
			o.Register = func(p *gatehouse.Provider) *gatehouse.Registration {
				return s.registration(p, func(c *gatehouse.RegistrationConfig) { c.Existing = file.Existing })
			}
			s.AddReplica(o)
			ana := s.Visitor("ana").On(1)
			ana.SignIn()
			ana.WantServed(ana.Get("/notes/"))
			s.Advance(20 * time.Second)
			s.Visitor("ben").On(0).SignIn() // the replica that was refused looks into the store
			if ids := s.wantClients(1); ids[0] != m["client_id"] {
				t.Errorf("%v, want %v", ids, m["client_id"])
			}
		})
	}
}
