package gatehouse_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/gatehouse"
)

// oxdData is data.json of the first document that oxd's users followed.
const oxdData = `{
  "authorization_redirect_uri": "https://c3.gluu.org/cgi-bin/oxd.py/login",
  "op_host": "https://c2.gluu.org",
  "post_logout_redirect_uri": "https://c3.gluu.org/cgi-bin/oxd.py/logout",
  "application_type": "web",
  "response_types": ["code"],
  "grant_types": ["authorization_code", "client_credentials"],
  "scope": ["openid","profile"],
  "acr_values": ["basic"],
  "client_name": "TestSPClient",
  "client_jwks_uri": "",
  "client_token_endpoint_auth_method": "",
  "client_request_uris": [""],
  "client_frontchannel_logout_uris": [""],
  "client_sector_identifier_uri": "",
  "contacts": ["mustafa@gluu.org"],
  "redirect_uris": [],
  "ui_locales": [""],
  "claims_locales": [""],
  "claims_redirect_uri": [],
  "client_id": "",
  "client_secret": "",
  "trusted_client": true
}`

func TestClientMetadataOfOxd(t *testing.T) {
	var m gatehouse.ClientMetadata
	if err := json.Unmarshal([]byte(oxdData), &m); err != nil {
		t.Fatal(err)
	}
	want := gatehouse.ClientMetadata{
		RedirectURIs: []string{"https://c3.gluu.org/cgi-bin/oxd.py/login"}, PostLogoutRedirectURIs: []string{"https://c3.gluu.org/cgi-bin/oxd.py/logout"},
		ApplicationType: "web", ResponseTypes: []string{"code"}, GrantTypes: []string{"authorization_code", "client_credentials"},
		Scopes: []string{"openid", "profile"}, DefaultACRValues: []string{"basic"}, ClientName: "TestSPClient",
		Contacts: []string{"mustafa@gluu.org"}, TrustedClient: new(true),
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("%+v", m)
	}
}

// TestClientMetadataRoundTrip: every field is written under its name and read
// again, and members without a field are kept.
func TestClientMetadataRoundTrip(t *testing.T) {
	var m gatehouse.ClientMetadata
	v := reflect.ValueOf(&m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = v.Type().Field(i).Name
		case *gatehouse.AuthMethod:
			*f = gatehouse.AuthPost
		case *[]string:
			*f = []string{v.Type().Field(i).Name, "b"}
		case **bool:
			*f = new(false)
		case **int64:
			*f = new(int64(7))
		case *json.RawMessage:
			*f = json.RawMessage(`{"keys":[]}`)
		case *map[string]json.RawMessage:
			*f = map[string]json.RawMessage{"client_name#ja": json.RawMessage(`"名"`), "urn:x": json.RawMessage(`{"a":[1]}`)}
		default:
			t.Fatalf("%s: a field of type %T", v.Type().Field(i).Name, f)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again gatehouse.ClientMetadata
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("%v\n%s\n%+v", err, text, again)
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(text, &names); err != nil || len(names) != v.NumField()-1+2 {
		t.Errorf("%d names for %d fields: %v", len(names), v.NumField(), err)
	}
	for _, name := range []string{"claims_locales", "sector_identifier_uri", "request_uris", "trusted_client", "claims_redirect_uri", "frontchannel_logout_uri", "frontchannel_logout_uris", "backchannel_logout_uri", "scope"} {
		if names[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if string(names["scope"]) != `"Scopes b"` {
		t.Errorf("scope is %s", names["scope"])
	}
}

func TestClientMetadataRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"client_logout_uris":["https://a.test/out"]}`:                                           `{"frontchannel_logout_uris":["https://a.test/out"]}`,
		`{"frontchannel_logout_uri":["https://a.test/out"]}`:                                      `{"frontchannel_logout_uri":"https://a.test/out"}`,
		`{"redirect_uris":"https://a.test/cb","authorization_redirect_uri":"https://a.test/cb"}`:  `{"redirect_uris":["https://a.test/cb"]}`,
		`{"scope":"openid  email","contacts":"a@a.test"}`:                                         `{"contacts":["a@a.test"],"scope":"openid email"}`,
		`{"client_id":null,"oxd_id":"7","x":""}`:                                                  `{}`,
		`{"client_secret":"hush"}`:                                                                "client_secret: it is no metadata: only a provider sets it",
		`{"client_secret_expires_at":1335205592410}`:                                              "client_secret_expires_at: it is no metadata: only a provider sets it",
		`{"client_registration_access_token":"hush"}`:                                             "client_registration_access_token: it is no metadata: only a provider sets it",
		`{"client_registration_client_uri":"https://op.test/hush"}`:                               "client_registration_client_uri: it is no metadata: only a provider sets it",
		`{"op_host":"https://op.test","op_discovery_path":"/x","protection_access_token":"hush"}`: `{}`,
		`{"logout_redirect_uri":"https://a.test/1","logout_redirect_uris":["https://a.test/2"],"post_logout_redirect_uri":"https://a.test/3"}`:                `{"post_logout_redirect_uris":["https://a.test/1","https://a.test/2","https://a.test/3"]}`,
		`{"redirect_uri":"https://a.test/1","redirect_uris":["https://a.test/2","https://a.test/1"]}`:                                                         `{"redirect_uris":["https://a.test/1","https://a.test/2"]}`,
		`{"client_frontchannel_logout_uri":"https://a.test/1","front_channel_logout_uris":["https://a.test/2"],"front_channel_logout_session_required":true}`: `{"frontchannel_logout_session_required":true,"frontchannel_logout_uri":"https://a.test/1","frontchannel_logout_uris":["https://a.test/2"]}`,
		`{"grant_type":["authorization_code"],"response_type":"code","scopes":["openid"],"scope":["openid","email"]}`:                                         `{"grant_types":["authorization_code"],"response_types":["code"],"scope":"openid email"}`,
		`{"client_token_endpoint_auth_signing_alg":"ES256","user_info_signed_response_alg":"RS256"}`:                                                          `{"token_endpoint_auth_signing_alg":"ES256","userinfo_signed_response_alg":"RS256"}`,
		`{"client_sector_identifier_uri":["https://a.test/1","https://a.test/2"]}`:                                                                            "client_sector_identifier_uri: it is no text",
		`{"client_name":7}`:         "client_name: it is no text",
		`{"client_name":["a","b"]}`: "client_name: it is no text",
		`{"contacts":[7]}`:          "contacts: it is no list of texts",
		`{"trusted_client":"yes"}`:  "trusted_client: it is neither true nor false",
		`{"default_max_age":1.5}`:   "default_max_age: it is no whole number",
	} {
		var m gatehouse.ClientMetadata
		err := json.Unmarshal([]byte(text), &m)
		got := ""
		if err != nil {
			got = err.Error()
		} else if raw, err := json.Marshal(m); err == nil {
			got = string(raw)
		}
		if got != want || strings.Contains(got, "hush") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestRegistrationConfig: every mistake of a configuration is named, and none
// quotes a secret.
func TestRegistrationConfig(t *testing.T) {
	p, err := gatehouse.NewProvider("https://op.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	store := gatehouse.NewMemoryRegistrationStore()
	good := gatehouse.ClientMetadata{RedirectURIs: []string{"https://a.test/cb"}}
	for want, c := range map[string]gatehouse.RegistrationConfig{
		"Store":                            {Metadata: good},
		"Metadata.RedirectURIs":            {Store: store},
		"Metadata.RedirectURIs[0]":         {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: []string{"/cb"}}},
		"Metadata.TokenEndpointAuthMethod": {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, TokenEndpointAuthMethod: "tls_client_auth"}},
		"Metadata.JWKS: it is no JWK Set":  {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, JWKS: json.RawMessage(`[1]`)}},
		"Metadata.JWKS: it has a key that is not public": {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, JWKS: json.RawMessage(
			`{"keys":[{"kty":"oct","kid":"1","k":"aHVzaA"}]}`)}},
		"Metadata.RedirectURIs: empty, but GrantTypes have implicit": {Store: store, Metadata: gatehouse.ClientMetadata{ResponseTypes: []string{"id_token"}}},
		"Metadata.JWKS":      {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, JWKSURI: "https://a.test/k", JWKS: json.RawMessage(`{}`)}},
		"InitialAccessToken": {Store: store, Metadata: good, InitialAccessToken: gatehouse.NewSecret("hush\n")},
		"Metadata.Extra":     {Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, Extra: map[string]json.RawMessage{"client_secret": json.RawMessage(`"hush"`)}}},
		"Keys[0]":            {Store: store, Metadata: good, Keys: []gatehouse.Secret{gatehouse.NewSecret("hush")}},
		"Name":               {Store: store, Metadata: good, Name: strings.Repeat("x", 300)},
	} {
		_, err := gatehouse.NewRegistration(p, c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", want, err)
		}
	}
	// One site has its keys in its metadata, and the others share an address.
	if _, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: store, Defaults: gatehouse.ClientMetadata{JWKSURI: "https://a.test/k"},
		Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs, JWKS: json.RawMessage(`{"keys":[]}`)}}); err != nil {
		t.Error(err)
	}
	if _, err := gatehouse.NewRegistration(nil, gatehouse.RegistrationConfig{Store: store, Metadata: good}); err == nil {
		t.Error("no provider")
	}
	// What several sites share is in Defaults.
	r, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: store, Defaults: good, Metadata: gatehouse.ClientMetadata{ClientName: "A"}})
	if err != nil {
		t.Fatal(err)
	}
	party := func(c gatehouse.Client, redirect string) error {
		_, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{Client: c, RedirectURL: redirect, LoginURL: "/login"})
		return err
	}
	if err := party(gatehouse.Client{Registration: r}, "https://a.test/other"); err == nil || !strings.Contains(err.Error(), "RedirectURL: ") {
		t.Error(err)
	}
	signing, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: store, Metadata: gatehouse.ClientMetadata{RedirectURIs: good.RedirectURIs,
		TokenEndpointAuthMethod: gatehouse.AuthPrivateKeyJWT, TokenEndpointAuthAlg: "ES256", JWKSURI: "https://a.test/k"}})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]gatehouse.Client{
		"": {Registration: signing, Key: ecKey(t), KeyID: "k"},
		`Client.Algorithm: "ES384", but TokenEndpointAuthAlg of the registration is "ES256"`: {Registration: signing, Key: ecKey(t), KeyID: "k", Algorithm: "ES384"},
	} {
		if err := party(c, "https://a.test/cb"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	for _, c := range []gatehouse.Client{{Registration: r, ID: "x"}, {Registration: new(gatehouse.Registration)}} {
		if err := party(c, "https://a.test/cb"); err == nil || !strings.Contains(err.Error(), "Client.Registration: ") {
			t.Error(err)
		}
	}
	var none *gatehouse.Registration
	for _, r := range []*gatehouse.Registration{none, new(gatehouse.Registration)} {
		if err := r.Register(t.Context()); gatehouse.ErrorCode(err) != "internal" {
			t.Error(err)
		}
		if _, err := r.ID(t.Context()); gatehouse.ErrorCode(err) != "internal" {
			t.Error(err)
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// FuzzClientMetadata: what is read is written and read again as the same.
func FuzzClientMetadata(f *testing.F) {
	f.Add([]byte(oxdData))
	f.Add([]byte(`{"redirect_uris":["https://a.test/cb"],"x":{"y":[1,2]},"scope":"openid","jwks":{"keys":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m, again gatehouse.ClientMetadata
		if m.UnmarshalJSON(text) != nil {
			return
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out2, err := json.Marshal(again); err != nil || !slices.Equal(out, out2) {
			t.Fatalf("%s became %s", out, out2)
		}
	})
}

// TestRegistrationFitsItsUse: what the parts of an application need has to be
// registered. What is missing is named where it is used, with what to add.
func TestRegistrationFitsItsUse(t *testing.T) {
	p, err := gatehouse.NewProvider("https://op.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, other := ecKey(t), ecKey(t)
	signer := gatehouse.Client{Key: key, KeyID: "k1"}
	keys, err := gatehouse.JWKS(signer)
	if err != nil {
		t.Fatal(err)
	}
	const back, out = "https://a.test/auth/callback", "https://a.test/auth/logout"
	signing := gatehouse.ClientMetadata{TokenEndpointAuthMethod: gatehouse.AuthPrivateKeyJWT, JWKS: keys}
	for name, c := range map[string]struct {
		registered gatehouse.ClientMetadata
		used       gatehouse.RelyingPartyConfig
		want       string // in the error, "" for none
	}{
		"code":                     {},
		"hybrid":                   {registered: gatehouse.ClientMetadata{ResponseTypes: []string{"id_token code"}}, used: gatehouse.RelyingPartyConfig{ResponseType: "code id_token"}},
		"both":                     {registered: gatehouse.ClientMetadata{ResponseTypes: []string{"code", "id_token"}}, used: gatehouse.RelyingPartyConfig{ResponseType: "id_token"}},
		"hybrid is not registered": {used: gatehouse.RelyingPartyConfig{ResponseType: "code id_token"}, want: `ResponseType: "code id_token" is none of the ResponseTypes of Client.Registration, which are ["code"]: add it there`},
		"code is not registered":   {registered: gatehouse.ClientMetadata{ResponseTypes: []string{"id_token"}}, want: `ResponseType: "code" is none of the ResponseTypes`},
		"no grant type for it": {registered: gatehouse.ClientMetadata{ResponseTypes: []string{"id_token"}, GrantTypes: []string{"authorization_code"}},
			used: gatehouse.RelyingPartyConfig{ResponseType: "id_token"}, want: "ResponseType: it needs the grant type implicit, which the GrantTypes of Client.Registration lack"},
		"nothing is sent":               {registered: gatehouse.ClientMetadata{ResponseTypes: []string{}, GrantTypes: []string{}}, used: gatehouse.RelyingPartyConfig{ResponseType: "code id_token"}},
		"sign-out":                      {registered: gatehouse.ClientMetadata{PostLogoutRedirectURIs: []string{out}}, used: gatehouse.RelyingPartyConfig{LogoutURL: out}},
		"sign-out is not registered":    {used: gatehouse.RelyingPartyConfig{LogoutURL: out}, want: "LogoutURL: "},
		"a key":                         {registered: signing, used: gatehouse.RelyingPartyConfig{Client: signer}},
		"another key of that id":        {registered: signing, used: gatehouse.RelyingPartyConfig{Client: gatehouse.Client{Key: other, KeyID: "k1"}}, want: "Client.KeyID: "},
		"another id of that key":        {registered: signing, used: gatehouse.RelyingPartyConfig{Client: gatehouse.Client{Key: key, KeyID: "k2"}}, want: "Client.KeyID: "},
		"no key, and private_key_jwt":   {registered: signing, want: "Client.Key: "},
		"a key, and no private_key_jwt": {used: gatehouse.RelyingPartyConfig{Client: signer}, want: "Client.Key: "},
	} {
		c.registered.RedirectURIs = []string{back}
		r, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: gatehouse.NewMemoryRegistrationStore(), Metadata: c.registered})
		if err != nil {
			t.Fatal(err)
		}
		c.used.RedirectURL, c.used.Client.Registration = back, r
		_, err = gatehouse.NewRelyingParty(p, c.used)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for grants, good := range map[string]bool{"": false, "authorization_code client_credentials": true} {
		m := gatehouse.ClientMetadata{RedirectURIs: []string{back}}
		if grants != "" {
			m.GrantTypes = strings.Fields(grants)
		}
		r, err := gatehouse.NewRegistration(p, gatehouse.RegistrationConfig{Store: gatehouse.NewMemoryRegistrationStore(), Metadata: m})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.ClientCredentials(gatehouse.Client{Registration: r})
		if good != (err == nil) || !good && !strings.Contains(err.Error(), "Client.Registration: it needs the grant type client_credentials") {
			t.Errorf("%q: %v", grants, err)
		}
	}
}
