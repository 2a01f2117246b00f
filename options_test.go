package gatehouse_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/gatehouse"
	"example.com/gatehouse/internal/e2e/world"
)

// goodProvider returns a provider that needs no network.
func goodProvider(t testing.TB) *gatehouse.Provider {
	t.Helper()
	p, err := gatehouse.NewProvider("https://id.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// party changes a valid config and tries it.
func party(p *gatehouse.Provider, change func(c *gatehouse.RelyingPartyConfig)) error {
	c := gatehouse.RelyingPartyConfig{Client: gatehouse.Client{ID: "notes"}, RedirectURL: "https://notes.example.org/auth/callback"}
	change(&c)
	_, err := gatehouse.NewRelyingParty(p, c)
	return err
}

func provider(issuer string, c gatehouse.ProviderConfig) error {
	_, err := gatehouse.NewProvider(issuer, &c)
	return err
}

func sessions(c gatehouse.SessionsConfig) error {
	_, err := gatehouse.NewSessions(c)
	return err
}

// key returns a valid key.
var key = gatehouse.NewSecret("a key of thirty-two bytes, or so")

// A constructor refuses an invalid config. Its error names every field that is
// wrong, all at once, so that one start of the program finds them all, and shows
// no secret (CF1).
func TestCF1_ConstructorsNameTheField(t *testing.T) {
	p, secret := goodProvider(t), gatehouse.NewSecret("the-client-secret")
	set := func(change func(c *gatehouse.RelyingPartyConfig)) error { return party(p, change) }
	server := func(c gatehouse.ResourceServerConfig) error {
		_, err := gatehouse.NewResourceServer(p, c)
		return err
	}
	redirect := func(u string) error { return set(func(c *gatehouse.RelyingPartyConfig) { c.RedirectURL = u }) }
	client := func(c gatehouse.Client) error { return set(func(rc *gatehouse.RelyingPartyConfig) { rc.Client = c }) }
	_, noProvider := gatehouse.NewRelyingParty(nil, gatehouse.RelyingPartyConfig{})
	_, emptyServer := gatehouse.NewResourceServer(nil, gatehouse.ResourceServerConfig{})
	_, badServer := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{
		Client: gatehouse.Client{ID: "n"}, Audience: []string{"a", ""}, Realm: "a\nb", CacheTTL: time.Minute,
	})
	_, emptyTransport := gatehouse.NewUMATransport(nil, gatehouse.UMATransportConfig{MaxRounds: -1})
	_, badTransport := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{
		Client: gatehouse.Client{ID: "n"}, ClaimsWhenAsked: true, Scopes: []string{"a b"},
	})
	_, emptyGrants := gatehouse.NewOwnerGrants(nil, gatehouse.OwnerGrantsConfig{})
	_, badGrants := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{
		Client: gatehouse.Client{ID: "n"}, Keys: []gatehouse.Secret{gatehouse.NewSecret("short")},
	})
	shared, err := gatehouse.NewSessions(gatehouse.SessionsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	onShared := func(u string) error {
		return set(func(c *gatehouse.RelyingPartyConfig) { c.Sessions, c.RedirectURL = shared, u })
	}
	if err := onShared("https://notes.example.org/auth/callback"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		err   error
		wants []string
	}{
		{"response type", set(func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "token" }), []string{"ResponseType", `"token" is not one of`}},
		{"response type none", set(func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "none" }), []string{"ResponseType"}},
		{"code and token", set(func(c *gatehouse.RelyingPartyConfig) { c.ResponseType = "code token" }), []string{"ResponseType"}},
		{"response mode", set(func(c *gatehouse.RelyingPartyConfig) { c.ResponseMode = "web_message" }), []string{"ResponseMode", "form_post"}},
		{"token in the query", set(func(c *gatehouse.RelyingPartyConfig) { c.ResponseType, c.ResponseMode = "id_token", "query" }), []string{"ResponseMode", "query cannot carry an ID Token"}},
		{"issuer empty", provider("", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer http", provider("http://id.example.org", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer no URL", provider("id.example.org", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer query", provider("https://id.example.org?x=1", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer empty query", provider("https://id.example.org?", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer fragment", provider("https://id.example.org/#x", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer password", provider("https://u:the-password@id.example.org", gatehouse.ProviderConfig{}), []string{"issuer"}},
		{"issuer name, no keys", provider("itsyouonline", gatehouse.ProviderConfig{}), []string{"issuer", "Keys, KeysFile, JWKSURI or Metadata"}},
		{"issuer no URL, with keys", provider("id.example.org/realm", gatehouse.ProviderConfig{KeysFile: "k"}), []string{"issuer", "https://"}},
		{"issuer http, with keys", provider("HTTP://id.example.org", gatehouse.ProviderConfig{KeysFile: "k"}), []string{"issuer"}},
		{"issuer with a space", provider("its you", gatehouse.ProviderConfig{KeysFile: "k"}), []string{"issuer", "space"}},
		{"two sources of keys", provider("https://id.example.org", gatehouse.ProviderConfig{KeysFile: "k", JWKSURI: "https://id.example.org/k"}), []string{"Keys", "KeysFile and JWKSURI"}},
		{"three sources of keys", provider("https://id.example.org", gatehouse.ProviderConfig{KeysFile: "k", Keys: []jose.JSONWebKey{{}}}), []string{"Keys", "KeysFile and JWKSURI"}},
		{"keys http", provider("https://id.example.org", gatehouse.ProviderConfig{JWKSURI: "http://u:the-password@id.example.org/k"}), []string{"JWKSURI"}},
		{"keys of no use", provider("https://id.example.org", gatehouse.ProviderConfig{Keys: []jose.JSONWebKey{{}, {Key: []byte("the-secret-of-an-HMAC")}}}), []string{"Keys"}},
		{"no keys", provider("https://id.example.org", gatehouse.ProviderConfig{Keys: []jose.JSONWebKey{}}), []string{"Keys"}},
		{"HS256", provider("https://id.example.org", gatehouse.ProviderConfig{SigningAlgorithms: []string{"RS256", "HS256"}}), []string{"SigningAlgorithms", "HS256"}},
		{"none", provider("https://id.example.org", gatehouse.ProviderConfig{SigningAlgorithms: []string{"none"}}), []string{"SigningAlgorithms"}},
		{"endpoint http", provider("https://id.example.org", gatehouse.ProviderConfig{Metadata: &gatehouse.Metadata{
			TokenEndpoint: "http://id.example.org/t", JWKSURI: "https://u:the-password@id.example.org/k"}}), []string{"Metadata", "token_endpoint", "jwks_uri"}},
		{"metadata http", provider("https://id.example.org", gatehouse.ProviderConfig{MetadataURL: "http://id.example.org/m"}), []string{"MetadataURL"}},
		{"metadata password", provider("https://id.example.org", gatehouse.ProviderConfig{MetadataURL: "https://u:the-password@id.example.org/m"}), []string{"MetadataURL"}},
		{"metadata path", provider("https://id.example.org", gatehouse.ProviderConfig{MetadataURL: "/m"}), []string{"MetadataURL"}},
		{"metadata twice", provider("https://id.example.org", gatehouse.ProviderConfig{MetadataURL: "https://id.example.org/m", Metadata: &gatehouse.Metadata{}}), []string{"MetadataURL"}},
		{"metadata of another issuer", provider("https://id.example.org", gatehouse.ProviderConfig{Metadata: &gatehouse.Metadata{Issuer: "https://id.example.org/"}}), []string{"Metadata"}},
		{"metadata of another name", provider("itsyouonline", gatehouse.ProviderConfig{Metadata: &gatehouse.Metadata{Issuer: "https://itsyou.online"}}), []string{"Metadata"}},
		{"template without tenants", provider("https://login.example.org/{tenantid}/v2.0", gatehouse.ProviderConfig{MetadataURL: "https://login.example.org/m"}), []string{"Tenants"}},
		{"tenants without a template", provider("https://login.example.org/v2.0", gatehouse.ProviderConfig{Tenants: []string{"a"}}), []string{"Tenants"}},
		{"template without metadata", provider("https://login.example.org/{tenantid}/v2.0", gatehouse.ProviderConfig{Tenants: []string{"a"}}), []string{"issuer"}},
		{"template of another name", provider("https://login.example.org/{tenant}/v2.0", tenants("a")), []string{"issuer"}},
		{"template twice", provider("https://login.example.org/{tenantid}/{tenantid}", tenants("a")), []string{"issuer"}},
		{"template as the host", provider("https://{tenantid}/v2.0", tenants("a")), []string{"issuer"}},
		{"template in a host", provider("https://{tenantid}.example.org/v2.0", tenants("a")), []string{"issuer"}},
		{"template in a segment", provider("https://login.example.org/x-{tenantid}/v2.0", tenants("a")), []string{"issuer"}},
		{"template before a segment", provider("https://login.example.org/{tenantid}x", tenants("a")), []string{"issuer"}},
		{"tenants that are none", provider("https://login.example.org/{tenantid}/v2.0", tenants("", "A", "contoso.example", "a/b", "..", "a", "a", strings.Repeat("a", 65))),
			[]string{"Tenants[0]", "Tenants[1]", "Tenants[2]", "Tenants[3]", "Tenants[4]", "Tenants[6]", "Tenants[7]"}},
		{"UMA with tenants", tenantsFor(func(p *gatehouse.Provider, c gatehouse.Client) error {
			_, err := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: c})
			return err
		}), []string{"provider"}},
		{"grants with tenants", tenantsFor(func(p *gatehouse.Provider, c gatehouse.Client) error {
			_, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: c})
			return err
		}), []string{"provider"}},
		{"introspection with tenants", tenantsFor(func(p *gatehouse.Provider, c gatehouse.Client) error {
			_, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Audience: []string{"a"}, Client: c})
			return err
		}), []string{"provider"}},
		{"finder of nothing", finder(gatehouse.FinderConfig{}, nil, new(gatehouse.Provider)), []string{"providers[0]", "providers[1]"}},
		{"finder of one twice", finder(gatehouse.FinderConfig{}, goodProvider(t), goodProvider(t)), []string{"providers[1]"}},
		{"inner networks alone", finder(gatehouse.FinderConfig{InnerNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}), []string{"InsecureInnerAddresses"}},
		{"inner networks of nothing", finder(gatehouse.FinderConfig{InnerNetworks: []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.0/104")}, InsecureInnerAddresses: true}), []string{"InnerNetworks[0]", "InnerNetworks[1]"}},
		{"transport of a finder alone", finder(gatehouse.FinderConfig{Transport: http.DefaultTransport}), []string{"InsecureInnerAddresses"}},
		{"inner addresses of nothing", finder(gatehouse.FinderConfig{InsecureInnerAddresses: true}), []string{"InsecureInnerAddresses"}},
		{"transport with authorities", finder(gatehouse.FinderConfig{Transport: http.DefaultTransport, RootCAs: x509.NewCertPool(), InsecureInnerAddresses: true}), []string{"Transport"}},
		{"finder without transport", finder(gatehouse.FinderConfig{Transport: (*http.Transport)(nil), InsecureInnerAddresses: true}), []string{"Transport"}},
		{"provider, all at once", provider("", gatehouse.ProviderConfig{Keys: []jose.JSONWebKey{}, SigningAlgorithms: []string{"x"}}), []string{"issuer", "Keys", "SigningAlgorithms"}},

		{"party of nothing", noProvider, []string{"provider", "Client.ID", "RedirectURL"}},
		{"client id", client(gatehouse.Client{Secret: secret}), []string{"Client.ID"}},
		{"secret missing", client(gatehouse.Client{ID: "n", Auth: gatehouse.AuthPost}), []string{"Client.Secret"}},
		{"secret too many", client(gatehouse.Client{ID: "n", Auth: gatehouse.AuthNone, Secret: secret}), []string{"Client.Auth"}},
		{"method unknown", client(gatehouse.Client{ID: "n", Auth: "tls", Secret: secret}), []string{"Client.Auth", "tls"}},
		{"redirect empty", redirect(""), []string{"RedirectURL"}},
		{"redirect http", redirect("http://notes.example.org/cb"), []string{"RedirectURL"}},
		{"redirect path", redirect("/cb"), []string{"RedirectURL"}},
		{"redirect wildcard", redirect("https://*.example.org/cb"), []string{"RedirectURL"}},
		{"redirect wildcard path", redirect("https://notes.example.org/*"), []string{"RedirectURL"}},
		{"redirect fragment", redirect("https://notes.example.org/cb#x"), []string{"RedirectURL"}},
		{"redirect password", redirect("https://u:the-password@notes.example.org/cb"), []string{"RedirectURL"}},
		{"redirect like loopback", redirect("http://127.0.0.1.example.org/cb"), []string{"RedirectURL"}},
		{"redirect like localhost", redirect("http://localhost.example.org/cb"), []string{"RedirectURL"}},
		{"scope of two", set(func(c *gatehouse.RelyingPartyConfig) { c.Scopes = []string{"profile email"} }), []string{"Scopes"}},
		{"login elsewhere", set(func(c *gatehouse.RelyingPartyConfig) { c.LoginURL = "https://evil.example/" }), []string{"LoginURL"}},
		{"home elsewhere", set(func(c *gatehouse.RelyingPartyConfig) { c.HomeURL = "//evil.example" }), []string{"HomeURL"}},
		{"logged out elsewhere", set(func(c *gatehouse.RelyingPartyConfig) { c.LoggedOutURL = `/\evil.example` }), []string{"LoggedOutURL"}},
		{"logout path", set(func(c *gatehouse.RelyingPartyConfig) { c.LogoutURL = "/bye" }), []string{"LogoutURL"}},
		{"home begins", set(func(c *gatehouse.RelyingPartyConfig) { c.HomeURL, c.LoginURL = "/in/?x", "/%69n" }), []string{"HomeURL"}},
		{"home begins unsaid", set(func(c *gatehouse.RelyingPartyConfig) { c.PathPrefix, c.LoginURL = "/app", "/app" }), []string{"HomeURL"}},
		{"host of letters", redirect("https://b\u00fccher.example/cb"), []string{"RedirectURL"}},
		{"trusted nonsense", set(func(c *gatehouse.RelyingPartyConfig) { c.TrustedOrigins = []string{"example.org/x"} }), []string{"TrustedOrigins"}},
		{"two origins", onShared("https://other.example.org/cb"), []string{"Sessions"}},
		{"two origins and more", set(func(c *gatehouse.RelyingPartyConfig) {
			c.Sessions, c.RedirectURL, c.HomeURL = shared, "https://other.example.org/cb", "x"
		}), []string{"Sessions", "HomeURL"}},
		{"party, all at once", set(func(c *gatehouse.RelyingPartyConfig) {
			*c = gatehouse.RelyingPartyConfig{Client: gatehouse.Client{Auth: "x"}, Scopes: []string{""}, HomeURL: "x", LoginURL: "x",
				LoggedOutURL: "x", LogoutURL: "x", TrustedOrigins: []string{"x"}, AuthParams: url.Values{"state": {"x"}}}
		}), []string{"Client.ID", "Client.Auth", "RedirectURL", "Scopes", "HomeURL", "LoginURL", "LoggedOutURL", "LogoutURL", "TrustedOrigins", "AuthParams"}},

		{"key short", sessions(gatehouse.SessionsConfig{Keys: []gatehouse.Secret{key, gatehouse.NewSecret("the-key-of-31-bytes-which-is-sh")}}), []string{"Keys[1]"}},
		{"key zero", sessions(gatehouse.SessionsConfig{Keys: []gatehouse.Secret{{}}}), []string{"Keys[0]"}},
		{"key twice", sessions(gatehouse.SessionsConfig{Keys: []gatehouse.Secret{key, key}}), []string{"Keys"}},
		{"life negative", sessions(gatehouse.SessionsConfig{Lifetime: -time.Hour}), []string{"Lifetime"}},
		{"life too long", sessions(gatehouse.SessionsConfig{Lifetime: 401 * 24 * time.Hour}), []string{"Lifetime"}},
		{"idle too short", sessions(gatehouse.SessionsConfig{IdleTimeout: time.Second}), []string{"IdleTimeout"}},
		{"sessions, all at once", sessions(gatehouse.SessionsConfig{Lifetime: -1, Keys: []gatehouse.Secret{{}, {}}}), []string{"Lifetime", "Keys[0]", "Keys[1]"}},

		{"resource server of nothing", emptyServer, []string{"provider", "Audience"}},
		{"resource server, all at once", badServer, []string{"Audience[1]", "Realm", "CacheTTL"}},
		{"an audience that no realm can have", server(gatehouse.ResourceServerConfig{Audience: []string{"a\x00"}}), []string{"Realm"}},
		{"UMA without a client", server(gatehouse.ResourceServerConfig{Audience: []string{"a"}, ResourceIDs: struct{ gatehouse.ResourceIDs }{}}), []string{"Client.ID"}},
		{"no transport", server(gatehouse.ResourceServerConfig{Audience: []string{"a"}, APITransport: (*http.Transport)(nil)}), []string{"APITransport"}},
		{"party without transport", set(func(c *gatehouse.RelyingPartyConfig) { c.APITransport = (*http.Transport)(nil) }), []string{"APITransport"}},
		{"transport of nothing", emptyTransport, []string{"provider", "Client.ID", "MaxRounds"}},
		{"transport, all at once", badTransport, []string{"ClaimsWhenAsked", "Scopes", `"a b" is not one scope`}},
		{"grants of nothing", emptyGrants, []string{"provider", "Client.ID"}},
		{"grants with a short key", badGrants, []string{"Keys[0]", "5 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.err == nil {
				t.Fatal("it is accepted")
			}
			text := c.err.Error()
			if !strings.HasPrefix(text, "gatehouse: ") || strings.Count(text, "gatehouse: ") != 1 {
				t.Errorf("%q does not begin with gatehouse: once", text)
			}
			for _, want := range c.wants {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not name %s", text, want)
				}
			}
			_, list, _ := strings.Cut(strings.TrimPrefix(text, "gatehouse: "), ": ") // what follows the name of the constructor
			for line := range strings.SplitSeq(list, "\n") {
				field, reason, ok := strings.Cut(line, ": ")
				if !ok || reason == "" || !slices.Contains(c.wants, field) {
					t.Errorf("%q is not \"Field: reason\" of one of %q", line, c.wants)
				}
			}
			for _, never := range []string{"the-password", "the-client-secret", "the-key-of"} {
				if strings.Contains(text, never) {
					t.Errorf("%q shows %s", text, never)
				}
			}
		})
	}
}

// finder is the error of NewFinder.
func finder(c gatehouse.FinderConfig, providers ...*gatehouse.Provider) error {
	_, err := gatehouse.NewFinder(c, providers...)
	return err
}

// tenants is a config for a template.
func tenants(all ...string) gatehouse.ProviderConfig {
	return gatehouse.ProviderConfig{MetadataURL: "https://login.example.org/m", Tenants: all}
}

// tenantsFor makes something at a provider with tenants.
func tenantsFor(makes func(*gatehouse.Provider, gatehouse.Client) error) error {
	c := tenants("a")
	p, err := gatehouse.NewProvider("https://login.example.org/{tenantid}/v2.0", &c)
	if err != nil {
		panic(err)
	}
	return makes(p, gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("the-client-secret")})
}

// A constructor refuses a part that is nil or that its own constructor did not
// make, and grants of another issuer or client.
func TestConstructorsRefuseParts(t *testing.T) {
	p, client := goodProvider(t), gatehouse.Client{ID: "notes", Secret: gatehouse.NewSecret("the-client-secret")}
	other, err := gatehouse.NewProvider("https://other.example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	grants := func(p *gatehouse.Provider, c gatehouse.Client) *gatehouse.OwnerGrants {
		g, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: c})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	login := func(p *gatehouse.Provider, s *gatehouse.Sessions, g *gatehouse.OwnerGrants) error {
		_, err := gatehouse.NewRelyingParty(p, gatehouse.RelyingPartyConfig{
			Client: client, RedirectURL: "https://notes.example.org/callback", Sessions: s, OwnerGrants: g,
		})
		return err
	}
	api := func(p *gatehouse.Provider, pats gatehouse.PATSource) error {
		_, err := gatehouse.NewResourceServer(p, gatehouse.ResourceServerConfig{Client: client, PAT: pats})
		return err
	}
	transport := func(p *gatehouse.Provider) error {
		_, err := gatehouse.NewUMATransport(p, gatehouse.UMATransportConfig{Client: client})
		return err
	}
	owners := func(p *gatehouse.Provider) error {
		_, err := gatehouse.NewOwnerGrants(p, gatehouse.OwnerGrantsConfig{Client: client})
		return err
	}
	const none, zero, noGrants = "provider: nil", "provider: it was not made by NewProvider", "it was not made by NewOwnerGrants"
	const ofIssuer = `it is of the issuer "https://other.example.org", not of "https://id.example.org"`
	for _, c := range []struct {
		constructor string
		err         error
		want        string
	}{
		{"NewRelyingParty", login(nil, nil, nil), none},
		{"NewRelyingParty", login(&gatehouse.Provider{}, nil, nil), zero},
		{"NewRelyingParty", login(p, &gatehouse.Sessions{}, nil), "Sessions: it was not made by NewSessions"},
		{"NewRelyingParty", login(p, nil, &gatehouse.OwnerGrants{}), "OwnerGrants: " + noGrants},
		{"NewRelyingParty", login(p, nil, grants(other, client)), "OwnerGrants: " + ofIssuer},
		{"NewRelyingParty", login(p, nil, grants(p, gatehouse.Client{ID: "mail"})), `OwnerGrants: it is of the client "mail", not of "notes"`},
		{"NewRelyingParty", login(&gatehouse.Provider{}, &gatehouse.Sessions{}, &gatehouse.OwnerGrants{}),
			zero + "\nOwnerGrants: " + noGrants + "\nSessions: it was not made by NewSessions"},
		{"NewRelyingParty", login(nil, nil, grants(p, client)), none},
		{"NewResourceServer", api(nil, nil), none},
		{"NewResourceServer", api(&gatehouse.Provider{}, nil), zero},
		{"NewResourceServer", api(p, (*gatehouse.OwnerGrants)(nil)), "PAT: " + noGrants},
		{"NewResourceServer", api(p, &gatehouse.OwnerGrants{}), "PAT: " + noGrants},
		{"NewResourceServer", api(p, grants(other, client)), "PAT: " + ofIssuer},
		{"NewResourceServer", api(p, grants(p, gatehouse.Client{ID: "mail"})), `PAT: it is of the client "mail", not of "notes"`},
		{"NewUMATransport", transport(nil), none},
		{"NewUMATransport", transport(&gatehouse.Provider{}), zero},
		{"NewOwnerGrants", owners(nil), none},
		{"NewOwnerGrants", owners(&gatehouse.Provider{}), zero},
	} {
		if want := "gatehouse: " + c.constructor + ": " + c.want; c.err == nil || c.err.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", c.err, want)
		}
	}
	if err := errors.Join(login(p, nil, grants(p, client)), api(p, grants(p, client))); err != nil {
		t.Errorf("parts that fit: %v", err)
	}
}

func TestGoodConfigs(t *testing.T) {
	p := goodProvider(t)
	for _, issuer := range []string{"https://id.example.org", "https://id.example.org/", "https://id.example.org/realms/a", "http://127.0.0.1:8080", "http://localhost:8080/x", "http://[::1]:80"} {
		if err := provider(issuer, gatehouse.ProviderConfig{}); err != nil {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
	for _, u := range []string{"https://notes.example.org/cb", "https://notes.example.org:8443/cb?tenant=a", "http://127.0.0.1:8080/cb", "http://localhost/cb", "http://[::1]:80/cb"} {
		if err := party(p, func(c *gatehouse.RelyingPartyConfig) { c.RedirectURL = u }); err != nil {
			t.Errorf("RedirectURL %s: %v", u, err)
		}
	}
}

// A config is copied by its constructor: changing it afterwards has no effect.
func TestConfigIsCopied(t *testing.T) {
	var pc *gatehouse.ProviderConfig
	var rc *gatehouse.RelyingPartyConfig
	s := world.NewSite(t, func(o *world.SiteOptions) {
		o.Provider = func(c *gatehouse.ProviderConfig) { c.SigningAlgorithms = []string{"ES256"}; pc = c }
		o.Party = func(c *gatehouse.RelyingPartyConfig) { c.AuthParams = url.Values{"ui_locales": {"de"}}; rc = c }
	})
	pc.SigningAlgorithms[0] = "RS256"
	rc.Scopes[0] = "admin"
	rc.AuthParams["ui_locales"][0] = "xx"
	rc.AuthParams.Set("prompt", "none")
	ana := s.Visitor("ana")
	start := ana.Get("/notes/")
	q := world.QueryOf(t, start.Location())
	if slices.Contains(strings.Fields(q.Get("scope")), "admin") || q.Get("ui_locales") != "de" || q.Has("prompt") {
		t.Errorf("the authorization request is %v", q)
	}
	ana.WantServed(ana.Follow(start, nil))
}

// Static metadata is copied as well.
func TestMetadataIsCopied(t *testing.T) {
	md := &gatehouse.Metadata{AuthorizationEndpoint: "https://op.test/realm/ep/az-3f", TokenEndpoint: "https://op.test/realm/ep/tok-7", JWKSURI: "https://op.test/realm/ep/keys-1"}
	s := world.NewSite(t, func(o *world.SiteOptions) { o.Provider = func(c *gatehouse.ProviderConfig) { c.Metadata = md } })
	md.AuthorizationEndpoint = "https://evil.example/"
	ana := s.Visitor("ana")
	if a := ana.Get("/notes/"); a.Code != http.StatusSeeOther || strings.Contains(a.Location(), "evil") {
		t.Errorf("got %v", a)
	}
}

// An option that weakens security says so in its name, works, and is logged
// once (CF3).
func TestCF3_InsecureHTTP(t *testing.T) {
	if err := provider("http://id.example.org", gatehouse.ProviderConfig{InsecureHTTP: true}); err != nil {
		t.Error(err)
	}
	s := world.NewSite(t, func(o *world.SiteOptions) { o.Provider = func(c *gatehouse.ProviderConfig) { c.InsecureHTTP = true } })
	s.Visitor("ana").SignIn()
	s.Visitor("ana").SignIn()
	if got := s.Logged("InsecureHTTP"); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}
}
