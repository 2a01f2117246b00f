package registration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/testkit/opserver"
	"example.com/gatehouse/oxd"
)

// byOxd lets the provider register a client for oxd, and returns what the provider
// answered.
func (s *site) byOxd(redirect string) map[string]any {
	s.T.Helper()
	answer := func(r *http.Request) (m map[string]any) {
		w := httptest.NewRecorder()
		s.Server.ServeHTTP(w, r)
		s.Must(json.Unmarshal(w.Body.Bytes(), &m))
		return m
	}
	md := answer(httptest.NewRequest(http.MethodGet, s.Issuer()+"/.well-known/openid-configuration", nil))
	r := httptest.NewRequest(http.MethodPost, fmt.Sprint(md["registration_endpoint"]), strings.NewReader(fmt.Sprintf(`{"redirect_uris":[%q],"client_name":"TestSPClient","id_token_signed_response_alg":"ES256"}`, redirect)))
	r.Header.Set("Content-Type", "application/json")
	m := answer(r)
	for _, name := range []string{"client_secret", "registration_access_token"} {
		s.Mint(name, fmt.Sprint(m[name]))
	}
	s.ResetCounts()
	return m
}

// siteFiles are the forms in which oxd kept that client, by their names.
func siteFiles(m map[string]any) map[string]string {
	return map[string]string{
		"demosite.cfg": fmt.Sprintf("[oxd]\nhost = localhost\nid = 617\n[client]\nauthorization_redirect_uri = %v\nclient_id = %v\nclient_secret = %v\n"+
			"client_registration_access_token = %v\nclient_registration_client_uri = %v\n", callback, m["client_id"], m["client_secret"], m["registration_access_token"], m["registration_client_uri"]),
		"617.json": fmt.Sprintf(`{"oxd_id":"617","redirect_uri":%q,"client_id":%q,"client_secret":%q,"client_registration_access_token":%q,"client_registration_client_uri":%q,"client_secret_expires_at":0}`,
			callback, m["client_id"], m["client_secret"], m["registration_access_token"], m["registration_client_uri"]),
	}
}

// TestOxdClientIsTakenOver: a site goes on with the client that oxd registered for
// it, on all replicas, reads, changes and deletes it, and registers none.
func TestOxdClientIsTakenOver(t *testing.T) {
	for _, name := range []string{"demosite.cfg", "617.json"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, opserver.RegistrationOptions{}, 0)
			m := s.byOxd(callback)
			file, err := oxd.ParseSite([]byte(siteFiles(m)[name]))
			s.Must(err)
			takes := func(c *gatehouse.RegistrationConfig) {
				c.Metadata.RedirectURIs, c.Existing = file.Metadata.RedirectURIs, file.Existing
				c.Metadata.PostLogoutRedirectURIs = []string{"https://notes.test/auth/logout"}
			}
			o := s.Options
			o.Register = func(p *gatehouse.Provider) *gatehouse.Registration { return s.registration(p, takes) }
			s.AddReplica(o)
			s.AddReplica(o)
			for i := range 2 {
				ana := s.Visitor("ana").On(i)
				ana.SignIn()
				ana.WantServed(ana.Get("/notes/"))
			}
			s.AddReplica(s.Options) // the next release no longer knows of oxd
			ben := s.Visitor("ben").On(2)
			ben.SignIn()
			if ids := s.wantClients(1); ids[0] != m["client_id"] || s.Count(opserver.EndpointRegister) != 0 {
				t.Errorf("%v, and %d requests to the registration endpoint", ids, s.Count(opserver.EndpointRegister))
			}
			r := s.reg(2)
			if read, err := r.Read(t.Context()); err != nil || read.ClientName != "TestSPClient" {
				t.Errorf("%+v, %v", read, err)
			}
			s.Must(r.Register(t.Context())) // from here on it is called as this site calls itself
			if read, err := r.Read(t.Context()); err != nil || read.ClientName != "Notes" {
				t.Errorf("%+v, %v", read, err)
			}
			s.wantClients(1)
			raw, err := json.Marshal(s.Events())
			if err != nil || strings.Count(string(raw), `"adopted"`) != 1 || strings.Contains(string(raw), `"registered"`) {
				t.Errorf("events: %s", raw)
			}
			s.Must(r.Delete(t.Context()))
			s.wantClients(0)
			s.WantQuiet()
		})
	}
}

// TestOxdClientWithoutManagement: a client that was registered by hand is a Client
// as it stands.
func TestOxdClientWithoutManagement(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	m := s.byOxd(callback)
	file, err := oxd.ParseSite(fmt.Appendf(nil, "[client]\nop_host = %s\nauthorization_redirect_uri = %s\nclient_id = %v\nclient_secret = %v\n", s.Issuer(), callback, m["client_id"], m["client_secret"]))
	s.Must(err)
	if file.OPHost != s.Issuer() || file.Existing != nil {
		t.Errorf("%+v", file)
	}
	o := s.Options
	o.Register = nil
	o.Party = func(c *gatehouse.RelyingPartyConfig) {
		c.Client, c.RedirectURL = file.Client, file.Metadata.RedirectURIs[0]
	}
	s.AddReplica(o)
	ana := s.Visitor("ana")
	ana.SignIn()
	ana.WantServed(ana.Get("/notes/"))
	if s.Count(opserver.EndpointRegister) != 0 {
		t.Error("it was registered")
	}
}

// TestExistingOfAnotherOrigin: the registration token goes nowhere else, nobody
// gets in, and the log says why.
func TestExistingOfAnotherOrigin(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	m := s.byOxd(callback)
	m["registration_client_uri"] = "https://evil.test/" + fmt.Sprint(m["client_id"])
	file, err := oxd.ParseSite([]byte(siteFiles(m)["617.json"]))
	s.Must(err)
	o := s.Options
	o.Register = func(p *gatehouse.Provider) *gatehouse.Registration {
		return s.registration(p, func(c *gatehouse.RegistrationConfig) { c.Existing = file.Existing })
	}
	s.AddReplica(o)
	s.WantRefusal(s.Visitor("ana").Get("/notes/"), http.StatusServiceUnavailable)
	if s.LastCode() != "client_registration_unusable" || !strings.Contains(s.Log(), "another origin") {
		t.Errorf("%s\n%s", s.LastCode(), s.Log())
	}
	if ids := s.wantClients(1); !slices.Contains(ids, fmt.Sprint(m["client_id"])) || s.Count(opserver.EndpointRegister) != 0 {
		t.Errorf("%v", ids)
	}
}

// TestExistingConfig: every mistake is named, and none quotes a secret.
func TestExistingConfig(t *testing.T) {
	s := newSite(t, opserver.RegistrationOptions{}, 0)
	hush := gatehouse.NewSecret("hush")
	good := gatehouse.ExistingClient{ID: "c", Secret: hush, SecretExpires: time.Now(), ManagementURL: "https://op.test/c", ManagementToken: hush}
	for want, change := range map[string]func(*gatehouse.RegistrationConfig){
		"":                                func(*gatehouse.RegistrationConfig) {},
		"Existing.ID: empty":              func(c *gatehouse.RegistrationConfig) { c.Existing.ID = "" },
		"Existing.ID: it is no text":      func(c *gatehouse.RegistrationConfig) { c.Existing.ID = "a\nb" },
		"Existing.Secret: empty":          func(c *gatehouse.RegistrationConfig) { c.Existing.Secret = gatehouse.Secret{} },
		"Existing.Secret: it is no text":  func(c *gatehouse.RegistrationConfig) { c.Existing.Secret = gatehouse.NewSecret("hush\x00") },
		"Existing.ManagementToken: empty": func(c *gatehouse.RegistrationConfig) { c.Existing.ManagementToken = gatehouse.Secret{} },
		"Existing.ManagementToken: it is": func(c *gatehouse.RegistrationConfig) {
			c.Existing.ManagementToken = gatehouse.NewSecret(strings.Repeat("hush", 2000))
		},
		"Existing.ManagementURL: not an":    func(c *gatehouse.RegistrationConfig) { c.Existing.ManagementURL = "" },
		"Existing.ManagementURL: URL is ne": func(c *gatehouse.RegistrationConfig) { c.Existing.ManagementURL = "http://op.test/c" },
	} {
		c, existing := s.config(), good
		c.Existing = &existing
		change(&c)
		_, err := gatehouse.NewRegistration(s.Provider(), c)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%v, want %q", err, want)
		}
		if said := fmt.Sprintf("%+v %#v", existing, c); strings.Contains(said, "hush") {
			t.Error(said)
		}
	}
	c, public := s.config(), good
	public.Secret = gatehouse.Secret{}
	c.Existing, c.Metadata.TokenEndpointAuthMethod = &public, gatehouse.AuthNone
	if _, err := gatehouse.NewRegistration(s.Provider(), c); err != nil {
		t.Error(err)
	}
}
