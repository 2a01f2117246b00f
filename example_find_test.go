package gatehouse_test

import (
	"fmt"

	"example.com/gatehouse"
)

// A provider behind a proxy is reached at its inner address. Browsers and tokens
// know its issuer.
func ExampleProviderConfig_metadataURL() {
	provider, err := gatehouse.NewProvider("https://id.example.org/realms/staff", &gatehouse.ProviderConfig{
		MetadataURL: "https://keycloak.internal:8443/realms/staff/.well-known/openid-configuration",
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(provider.Issuer())
	// Output: https://id.example.org/realms/staff
}

// Entra ID lets people of several organizations in. Each is a tenant with an
// issuer of its own; the common metadata names a template for all of them.
func ExampleProviderConfig_tenants() {
	provider, err := gatehouse.NewProvider("https://login.microsoftonline.com/{tenantid}/v2.0", &gatehouse.ProviderConfig{
		MetadataURL: "https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration",
		Tenants: []string{ // whose people may sign in
			"72f988bf-86f1-41af-91ab-2d7cd011db47",
			"9188040d-6c67-4c5b-b112-36a304b66dad",
		},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(provider.Issuer())
	// Output: https://login.microsoftonline.com/{tenantid}/v2.0
}
