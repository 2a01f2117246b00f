package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"example.com/gatehouse"
	"example.com/gatehouse/interop/servers"
	"example.com/gatehouse/oxd"
)

// TestOIDCProviderOxdClient: a client that somebody else has registered, as oxd did,
// is taken over from what oxd kept of it. Two replicas sign people in with it, read,
// change and delete it, and none is registered.
func TestOIDCProviderOxdClient(t *testing.T) {
	t.Parallel()
	op := servers.StartOIDCProvider(t, servers.OIDCProviderConfig{})
	notes := newNotes(t)
	asked := must(json.Marshal(map[string]any{
		"redirect_uris": []string{notes.base + "/auth/callback"}, "post_logout_redirect_uris": []string{notes.base + "/auth/logout"},
		"client_name": "Notes", "grant_types": []string{"authorization_code", "refresh_token"},
	}))(t)
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, op.Issuer+"/reg", strings.NewReader(string(asked))))(t)
	r.Header.Set("Content-Type", "application/json")
	resp := must(http.DefaultClient.Do(r))(t)
	defer resp.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	site := must(oxd.ParseSite(fmt.Appendf(nil, `[oxd]
host = localhost
port = 8099
id = 6F9619FF-8B86-D011-B42D-00CF4FC964FF

[client]
op_host = %s
authorization_redirect_uri = %s/auth/callback
post_logout_redirect_uri = %s/auth/logout
client_name = Notes
client_id = %s
client_secret = %s
client_registration_access_token = %s
client_registration_client_uri = %s
client_id_issued_at = %.0f
`, op.Issuer, notes.base, notes.base, got["client_id"], got["client_secret"], got["registration_access_token"], got["registration_client_uri"], got["client_id_issued_at"])))(t)
	if site.OPHost != op.Issuer || site.Existing == nil {
		t.Fatalf("%+v", site)
	}
	path := filepath.Join(t.TempDir(), "client.json")
	var all []*gatehouse.Registration
	notes.client = func(p *gatehouse.Provider) gatehouse.Client {
		r := must(gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{
			Metadata: site.Metadata, Existing: site.Existing, Store: gatehouse.FileRegistrationStore(path)}))(t)
		all = append(all, r)
		notes.stops = append(notes.stops, r.Shutdown)
		return gatehouse.Client{Registration: r}
	}
	notes.open(t, site.OPHost, notes.clock, gatehouse.RelyingPartyConfig{
		Scopes: []string{"profile", "email", "offline_access"}, AuthParams: url.Values{"prompt": {"consent"}}})
	browser := servers.StartChromium(t)
	browser.Open(t, notes.base+"/notes/1")
	op.SignIn(t, browser, "alice")
	notes.shows(t, browser, "Notes of User alice <alice@example.test>", "at /notes/1,")
	notes.wire.want(t, "GET openid-configuration", "token authorization_code", "GET jwks", "GET me")
	if id := must(all[1].ID(t.Context()))(t); id != got["client_id"] {
		t.Errorf("the other replica is %q, want %q", id, got["client_id"])
	}
	managed(t, all[0], notes.base+"/auth/callback")
}
