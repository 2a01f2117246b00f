package oxd_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/gatehouse"
	"example.com/gatehouse/oxd"
)

// A site goes on with the client that oxd has registered for it.
func ExampleParseSite() {
	file := []byte(`
[oxd]
host = localhost
port = 8099
id = 6F9619FF-8B86-D011-B42D-00CF4FC964FF

[client]
op_host = https://op.example.com
authorization_redirect_uri = https://client.example.com/CodeState
post_logout_redirect_uri = https://client.example.com
scope = openid,profile,email
client_id = s6BhdRkqt3
client_secret = cf136dc3c1fc93f31185e5885805d
client_registration_access_token = this.is.an.access.token
client_registration_client_uri = https://op.example.com/register?client_id=s6BhdRkqt3
`)
	login, notes, err := takeOver(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = login // mux.Handle("/", login.RequireLogin(page))
	fmt.Println(strings.Join(notes, "\n"))
	// Output:
	// [oxd] has no effect: there is no oxd server, gatehouse talks to the provider itself
	// oxd_id has no effect: a Provider and a Client stand for it
}

func takeOver(file []byte) (*gatehouse.RelyingParty, []string, error) {
	site, err := oxd.ParseSite(file)
	if err != nil {
		return nil, nil, err
	}
	provider, err := gatehouse.NewProvider(site.OPHost, nil)
	if err != nil {
		return nil, nil, err
	}
	registration, err := gatehouse.NewRegistration(provider, gatehouse.RegistrationConfig{
		Metadata: site.Metadata,
		Existing: site.Existing,
		Store:    gatehouse.FileRegistrationStore("/var/lib/notes/client.json"),
	})
	if err != nil {
		return nil, nil, err
	}
	login, err := gatehouse.NewRelyingParty(provider, gatehouse.RelyingPartyConfig{
		Client:      gatehouse.Client{Registration: registration},
		RedirectURL: site.Metadata.RedirectURIs[0],
		Scopes:      site.Metadata.Scopes,
	})
	return login, site.Notes, err
}

// These are the rules of a service that moves away from oxd. They go to
// UMAProtect as they are, or together with your own rules.
func ExampleParseProtection() {
	rules, notes, err := oxd.ParseProtection([]byte(`{
		"oxd_id": "6F9619FF-8B86-D011-B42D-00CF4FC964FF",
		"resources": [{
			"path": "/photo",
			"conditions": [
				{"httpMethods": ["GET"], "scopes": ["view"]},
				{"httpMethods": ["PUT", "POST"], "scopes": ["all", "add"], "ticketScopes": ["add"]}
			]
		}]
	}`), oxd.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, pattern := range slices.Sorted(maps.Keys(rules)) {
		fmt.Println(pattern)
	}
	fmt.Println(notes[len(notes)-1])
	// protect := api.UMAProtect(rules)
	// Output:
	// GET /photo
	// POST /photo
	// PUT /photo
	// oxd_id has no effect: the ResourceServer's Client stands for it
}

// All problems are reported at once, each with its place.
func ExampleParseProtection_problems() {
	_, _, err := oxd.ParseProtection([]byte(`[{
		"path": "/photo",
		"conditions": [
			{"httpMethods": ["GET"], "scopes": ["view"]},
			{"httpMethods": ["PUT", "GET"], "scopes": []}
		]
	}]`), oxd.Options{})
	fmt.Println(err)
	// Output:
	// oxd: protection document: [0].conditions[1].scopes: the list is empty
	// [0].conditions[1].httpMethods[1]: GET of this path stands at [0].conditions[0].httpMethods[0] already; to oxd paths were the same whatever their case
}
