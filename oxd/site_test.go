package oxd_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/gatehouse"
	"example.com/gatehouse/oxd"
)

// parsed reads a site. Nothing that it says shows a secret.
func parsed(t testing.TB, file string) *oxd.Site {
	t.Helper()
	site, err := oxd.ParseSite([]byte(file))
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	if said := fmt.Sprintf("%+v %#v %+v", *site, *site, site.Existing); strings.Contains(said, "hush") {
		t.Errorf("a secret shows: %s", said)
	}
	return site
}

// TestSiteOfPython: a configuration of oxd-python, with what setup_client wrote
// back.
func TestSiteOfPython(t *testing.T) {
	site := parsed(t, string(read(t, "demosite.cfg")))
	want := gatehouse.ClientMetadata{
		RedirectURIs:           []string{"https://client.example.com/CodeState"},
		PostLogoutRedirectURIs: []string{"https://client.example.com"},
		FrontchannelLogoutURIs: []string{"https://client.example.com/logout", "https://client.example.com/user/logout"},
		Scopes:                 []string{"openid", "profile", "email"},
		GrantTypes:             []string{"authorization_code", "client_credentials"},
		DefaultACRValues:       []string{"basic"},
		ClientName:             "World's Simplest Web App: 100% Python",
		TrustedClient:          new(true),
	}
	if !reflect.DeepEqual(site.Metadata, want) {
		t.Errorf("%+v\nwant\n%+v", site.Metadata, want)
	}
	const id = "@!5856.8A6C.09D4.C454!0001!655A"
	if site.OPHost != "https://op.example.com" || site.Client.ID != id || site.Client.Secret.Reveal() != "hush-secret-50%" {
		t.Errorf("%q, %q", site.OPHost, site.Client.ID)
	}
	e := site.Existing
	if e == nil || e.ID != id || e.Secret.Reveal() != "hush-secret-50%" || e.ManagementToken.Reveal() != "hush-token" ||
		e.ManagementURL != "https://op.example.com/oxauth/restv1/register?client_id="+id || !e.SecretExpires.IsZero() {
		t.Errorf("%+v", e)
	}
	notes := strings.Join(site.Notes, "\n")
	for _, name := range []string{"[oxd]", "oxd_id", "protection_access_token", "dynamic_registration", "colour", "base"} {
		if !strings.Contains(notes, name+" has no effect: ") {
			t.Errorf("no note about %s:\n%s", name, notes)
		}
	}
	if len(site.Notes) != 6 {
		t.Errorf("%d notes:\n%s", len(site.Notes), notes)
	}
}

// TestSiteOfTheDocument: the minimal configuration of oxd-python's documentation,
// as it is printed there. Its client is in oxd's own files.
func TestSiteOfTheDocument(t *testing.T) {
	const minimal = `
    [oxd]
    host = localhost
    port = 8099
    id = 6F9619FF

    [client]
    op_host = https://op.example.com
    authorization_redirect_uri = https://client.example.com/CodeState
    post_logout_redirect_uri = https://client.example.com
    client_logout_uris = https://client.example.com/logout
    scope = openid,profile,email
`
	for form, file := range map[string]string{"as printed": minimal, "set out": strings.ReplaceAll(minimal, "\n    ", "\n"), "of Windows": "\ufeff" + strings.ReplaceAll(minimal, "\n    ", "\r\n")} {
		site := parsed(t, file)
		want := gatehouse.ClientMetadata{
			RedirectURIs: []string{"https://client.example.com/CodeState"}, PostLogoutRedirectURIs: []string{"https://client.example.com"},
			FrontchannelLogoutURIs: []string{"https://client.example.com/logout"}, Scopes: []string{"openid", "profile", "email"},
		}
		if !reflect.DeepEqual(site.Metadata, want) || site.Client.ID != "" || site.Existing != nil || !strings.Contains(strings.Join(site.Notes, "\n"), "conf/<oxd_id>.json") {
			t.Errorf("%s: %+v", form, site)
		}
	}
}

// TestSiteOfServer: what oxd-server keeps of a site, in a file or in a row.
func TestSiteOfServer(t *testing.T) {
	site := parsed(t, string(read(t, "site.json")))
	want := gatehouse.ClientMetadata{
		RedirectURIs:                      []string{"https://client.example.com/cb", "https://client.example.com/cb2"},
		PostLogoutRedirectURIs:            []string{"https://client.example.com/bye", "https://client.example.com/bye2"},
		FrontchannelLogoutURIs:            []string{"https://client.example.com/out"},
		FrontchannelLogoutSessionRequired: new(false),
		ApplicationType:                   "web", ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: gatehouse.AuthPost,
		Scopes: []string{"openid", "profile"}, UILocales: []string{"en"}, ClaimsLocales: []string{"en"},
		ClaimsRedirectURIs: []string{"https://client.example.com/claims"}, UserInfoSignedResponseAlg: "RS256", TrustedClient: new(false),
		Extra: map[string]json.RawMessage{"access_token_as_jwt": json.RawMessage("false")},
	}
	if !reflect.DeepEqual(site.Metadata, want) {
		t.Errorf("%+v\nwant\n%+v", site.Metadata, want)
	}
	if site.Client.Auth != gatehouse.AuthPost || site.Existing == nil || !site.Existing.SecretExpires.Equal(time.Unix(1540906075, 0)) {
		t.Errorf("%+v, %+v", site.Client, site.Existing)
	}
	notes := strings.Join(site.Notes, "\n")
	for _, name := range []string{"oxd_id", "id_token", "pat"} {
		if !strings.Contains(notes, name+" has no effect: ") {
			t.Errorf("no note about %s:\n%s", name, notes)
		}
	}
	if len(site.Notes) != 3 {
		t.Errorf("%d notes:\n%s", len(site.Notes), notes)
	}
}

// TestSiteTimes: a time is in seconds or in milliseconds, and what is after the year
// 9999 is never, because JSON has no such year.
func TestSiteTimes(t *testing.T) {
	for _, c := range []struct {
		said string
		want int64 // 0 for never
	}{
		{"1540906075", 1540906075}, {"1540906075123", 1540906075}, {"253402300799", 253402300799}, {"253402300800", 253402300},
		{"253402300799999", 253402300799}, {"253402300800000", 0}, {"999999999999999", 0}, {"9223372036854775807", 0}, {"0", 0}, {"null", 0},
	} {
		site := parsed(t, `{"client_id":"c","client_secret":"hush","registration_client_uri":"https://op.test/c","registration_access_token":"hush","client_secret_expires_at":`+c.said+`}`)
		if at := site.Existing.SecretExpires; at.IsZero() != (c.want == 0) || c.want != 0 && at.Unix() != c.want {
			t.Errorf("%s: %v", c.said, at)
		}
	}
}

// TestSiteForms: calls and answers with what is around them, and shared defaults.
func TestSiteForms(t *testing.T) {
	const answer = `{"client_id_issued_at": 1540819675, "client_registration_client_uri": "https://c2.gluu.org/r?client_id=c",
		"client_registration_access_token": "hush-token", "oxd_id": "617", "client_id": "c", "client_secret": "hush", "op_host": "https://c2.gluu.org", "client_secret_expires_at": 1540906075}`
	for form, file := range map[string]string{"over HTTP": answer, "over the socket": `{"status":"ok","data":` + answer + `}`} {
		site := parsed(t, file)
		if e := site.Existing; e == nil || e.ID != "c" || e.ManagementURL != "https://c2.gluu.org/r?client_id=c" || e.SecretExpires.Unix() != 1540906075 || site.OPHost != "https://c2.gluu.org" {
			t.Errorf("%s: %+v", form, site)
		}
	}
	// The answer of a provider itself, as any library kept it.
	site := parsed(t, `{"client_id":"c","client_secret":"hush","registration_client_uri":"https://op.test/c","registration_access_token":"hush","redirect_uris":["https://a.test/cb"]}`)
	if site.Existing == nil || site.Existing.ManagementURL != "https://op.test/c" || len(site.Metadata.RedirectURIs) != 1 {
		t.Errorf("%+v", site)
	}
	site = parsed(t, `{"command":"register_site","params":{"authorization_redirect_uri":"https://a.test/cb","client_id":"","x_y":[1]}}`)
	if !slices.Equal(site.Metadata.RedirectURIs, []string{"https://a.test/cb"}) || site.Client.ID != "" || string(site.Metadata.Extra["x_y"]) != "[1]" || len(site.Notes) != 0 {
		t.Errorf("%+v", site)
	}
	site = parsed(t, `{"op_host":"","authorization_redirect_uri":"","response_types":["code"],"grant_type":["authorization_code"],"acr_values":["basic"],"scope":["openid","profile"],"ui_locales":["en"],"contacts":[]}`)
	if !reflect.DeepEqual(site.Metadata, gatehouse.ClientMetadata{ResponseTypes: []string{"code"}, GrantTypes: []string{"authorization_code"}, DefaultACRValues: []string{"basic"}, Scopes: []string{"openid", "profile"}, UILocales: []string{"en"}}) {
		t.Errorf("%+v", site.Metadata)
	}
	// A client without a management address, and one with a key.
	site = parsed(t, "[client]\nclient_id = c\nclient_secret = hush\nclient_secret_expires_at = 1540906075000\n")
	if site.Client.ID != "c" || site.Existing != nil || len(site.Notes) != 2 || !strings.Contains(site.Notes[1], "2018-10-30T13:27:55Z") {
		t.Errorf("%+v", site)
	}
	site = parsed(t, `{"client_id":"c","token_endpoint_auth_method":"private_key_jwt","client_secret":"hush"}`)
	if !site.Client.Secret.IsZero() || site.Client.Auth != "" || !strings.Contains(site.Notes[0], "Client.Key") {
		t.Errorf("%+v", site)
	}
}

// TestSiteProblems: the error says where, and quotes no value.
func TestSiteProblems(t *testing.T) {
	for file, want := range map[string]string{
		"":                                     "there is no section [client]",
		"{}":                                   "it says nothing about a site",
		`{"client_id":"c",}`:                   "line 1, byte 18: no JSON",
		`{"client_id":"c","client_id":"hush"}`: `repeats a member name, "client_id"`,
		"{\"a\":" + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}": "nested too deeply",
		`{"status":"error","data":{"error":"hush"}}`:                        "the answer to a call that failed",
		`{"status":"ok","data":"hush"}`:                                     "data: it is no object",
		`{"command":"register_site","params":{},"x":1}`:                     "x: does not belong beside params",
		`{"client_id":7}`:          "client_id: it is no text",
		`{"client_id":"c"}`:        "client_secret: it is missing",
		`{"client_secret":"hush"}`: "client_id: it is missing",
		`{"client_id":"c","client_secret":"hush","client_secret_expires_at":"soon-hush"}`: "client_secret_expires_at: it is no number",
		`{"client_name":["hush",7]}`:                            "client_name: it is no text",
		strings.Repeat(" ", 1<<20) + "{}":                       "more than 1048576 bytes",
		"[client]\nclient_id = \xff":                            "it is not UTF-8",
		"client_secret = hush":                                  "line 1: it is neither a section nor within one",
		"[client\nclient_id = c":                                "line 1: it begins as a section",
		"[client]\n\nhush":                                      "line 3: it is neither a section nor an option",
		"[client]\n= hush":                                      "line 2: it is neither a section nor an option",
		"[client]\n  hush = 1\n[oxd]":                           "line 2: it is neither a section nor an option",
		"[client]\nclient_secret = hu\x00sh":                    "line 2: it has a control character",
		"[client]\ntrusted_client = hush":                       "trusted_client: it is neither true nor false",
		"[client]\nclient_secret = %(hush)s":                    "line 2: client_secret names an option that is not there",
		"[client]\na = %(b)s\nb = %(a)s":                        "line 2: a names an option that is not there, or itself",
		"[client]\na = %(hush":                                  "line 2: a has a %( without )s",
		"[client]\na = " + strings.Repeat("x", 17<<10):          "line 2: a has more than 16384 bytes",
		"[oxd]\nid = %(x)s\n[client]\nop_host = https://a.test": "line 2: id names an option",
		"[Client]\nop_host = https://a.test":                    "there is no section [client]",
	} {
		site, err := oxd.ParseSite([]byte(file))
		if err == nil || site != nil || !strings.HasPrefix(err.Error(), "oxd: site: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.100q: %v, want %s", file, err, want)
		}
	}
}

// FuzzParseSite: no file causes a panic. What is accepted can be used, or is
// refused by the constructor that takes it, and no note shows a secret.
func FuzzParseSite(f *testing.F) {
	f.Add(read(f, "demosite.cfg"))
	f.Add(read(f, "site.json"))
	for _, seed := range []string{
		"", "{", "[client]", "[client]\n a", "[client]\na:b\n\tc\n[DEFAULT]\na=%(a)s", "  [oxd]\n  id = 7\n  [client]\n  scope = a,,b ;c\n  REM x",
		`{"status":"ok","data":{"client_id":"c","client_secret":"s","client_secret_expires_at":1e3}}`, `{"command":1,"params":null}`,
		`{"client_id":"c","client_secret":"s","client_registration_client_uri":"https://op.test/c","client_registration_access_token":"t","redirect_uris":"https://a.test/"}`,
	} {
		f.Add([]byte(seed))
	}
	p, err := gatehouse.NewProvider("https://op.test", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		site, err := oxd.ParseSite(file)
		if err != nil {
			if site != nil || len(err.Error()) > 1000 {
				t.Fatalf("a site, or an error of %d bytes", len(err.Error()))
			}
			return
		}
		for _, note := range site.Notes {
			for _, secret := range []string{site.Client.Secret.Reveal(), managed(site).ManagementToken.Reveal()} {
				if len(secret) > 60 && strings.Contains(note, secret) {
					t.Fatalf("a note shows a secret: %s", note)
				}
			}
		}
		if (site.Existing != nil) && (site.Existing.ID != site.Client.ID || site.Client.ID == "" || site.Existing.ManagementToken.IsZero()) {
			t.Fatalf("%+v", site)
		}
		text, err := json.Marshal(site.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		var again gatehouse.ClientMetadata
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		_, _ = gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Metadata: site.Metadata, Existing: site.Existing, Store: gatehouse.NewMemoryRegistrationStore()})
	})
}

func managed(site *oxd.Site) gatehouse.ExistingClient {
	if site.Existing == nil {
		return gatehouse.ExistingClient{}
	}
	return *site.Existing
}

// TestSitesOfTheDocuments: what oxd's documents let a site say makes a registration
// and a relying party, as it stands there but for the remarks.
func TestSitesOfTheDocuments(t *testing.T) {
	for name, file := range map[string]string{
		"tutorial": `{"authorization_redirect_uri": "https://c3.gluu.org/cgi-bin/oxd.py/login", "op_host": "https://c2.gluu.org",
			"post_logout_redirect_uri": "https://c3.gluu.org/cgi-bin/oxd.py/logout", "application_type": "web", "response_types": ["code"],
			"grant_types": ["authorization_code", "client_credentials"], "scope": ["openid","profile"], "acr_values": ["basic"], "client_name": "TestSPClient",
			"client_jwks_uri": "", "client_token_endpoint_auth_method": "", "client_request_uris": [""], "client_frontchannel_logout_uris": [""],
			"client_sector_identifier_uri": "", "contacts": ["mustafa@gluu.org"], "redirect_uris": [], "ui_locales": [""], "claims_locales": [""],
			"claims_redirect_uri": [], "client_id": "", "client_secret": "", "trusted_client": true}`,
		"overview": `{"command":"register_site","params": {"authorization_redirect_uri": "https://client.example.org/cb", "redirect_uris": ["https://client.example.org/cb"],
			"op_host":"https://ce-dev.gluu.org", "post_logout_redirect_uri": "https://client.example.org/cb", "application_type":"web",
			"response_types": ["code", "id_token", "token"], "grant_types": ["authorization_code"], "scope":["openid"], "acr_values":["basic"], "client_jwks_uri":"",
			"client_token_endpoint_auth_method":"", "client_request_uris":[], "client_logout_uris":[], "client_sector_identifier_uri":[], "contacts":["yuriy@gluu.org"],
			"ui_locales":[], "claims_locales":[]}}`,
		"python": "[oxd]\nhost = localhost\nport = 8099\nid =\n[client]\nop_host = https://ophost.test\nauthorization_redirect_uri = https://client.example.com/CodeState\n" +
			"post_logout_redirect_uri = https://client.example.com\nclient_logout_uris = https://client.example.com/logout\nscope = openid,profile,email\n",
	} {
		site := parsed(t, file)
		p, err := gatehouse.NewProvider(site.OPHost, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Metadata: site.Metadata, Store: gatehouse.NewMemoryRegistrationStore()})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
			Client: gatehouse.Client{Registration: r}, RedirectURL: site.Metadata.RedirectURIs[0], Scopes: site.Metadata.Scopes,
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
