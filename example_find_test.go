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
